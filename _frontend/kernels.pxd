# What happens to a block of frames: gather, analyse, bank, compress, scatter (see features.pyx for the design).
# All of it is arithmetic on pointers; the tables were designed elsewhere and nothing is allocated here.
from libc.float cimport FLT_MAX
from libc.math cimport log
from libc.string cimport memset

from codelets cimport column_entry, row_codelet
from fft_general cimport Bluestein, Signal, Stockham, chirp_transform, transform
from ln cimport vf_ln
from vec cimport VF_LANES, fetch_part, vf, vf_load, vf_max, vf_set, vf_sqrt, vf_triangles_4
from vec cimport transpose_4x4, transpose_8x4

cdef enum:
    CHUNK = 32              # most frames gathered at once, a multiple of every level's lanes
    GAPS = 4                # between bands' peaks, summed at once: their chains of additions run side by side

cdef extern from "gather.h" nogil:
    enum:
        GATHER_WIDTH
    void gather_4(
        const float* x, Py_ssize_t hop, bint first, Py_ssize_t rows, Py_ssize_t part, float a,
        float* to, Py_ssize_t stride, float* sums, float* part_sums
    )
    void gather_wide(
        const float* x, Py_ssize_t hop, bint first, Py_ssize_t rows, Py_ssize_t part, float a,
        float* to, Py_ssize_t stride, float* sums, float* part_sums
    )

cdef extern from *:
    """
    #define RESCUE_GAIN 5.421010862427522e-20f /* 2^-64 */
    #define LN_RESCUE 44.3614195558364998      /* 64 ln 2 */
    """
    const float RESCUE_GAIN
    const double LN_RESCUE

cdef struct Tables:
    # The constants of one spec, owned by a Plan.
    Py_ssize_t frame_length, hop, bins, bands, fft_size
    bint remove_dc, magnitude, compressed
    float emphasis, floor, offset, log_scale
    # The gathered chunk: rows × stride floats, sample r of hop c; one more row for the frames' first samples.
    Py_ssize_t rows, stride
    Py_ssize_t chunk        # frames gathered at once
    # Where a codelet or the general transform finds its samples in the chunk, and their window.
    const int* offsets
    const float* window
    # Where the spectrum has the bins that bands use.
    Py_ssize_t used_bins
    const int* slots
    # Bands are triangles over bins, summed by the gaps between their peaks, GAPS of them at once: those of group g have
    # group_bins[g] bins each (shorter ones are filled up with zero weights); places are the bins' first floats in the
    # spectrum, weights a pair for each (tables.shared has the order). No groups: bands are the used bins themselves.
    Py_ssize_t groups
    const int* group_bins
    const int* band_places
    const float* weights
    # The transform by codelets, rows_points × columns.points; none where row is NULL.
    row_codelet row
    const column_entry* columns
    int row_points, row_inputs
    const float* twiddles
    # The general transform.
    bint packed, chirped
    int half_length
    Stockham stockham
    Bluestein bluestein
    const float* half_cosine
    const float* half_sine

cdef struct Scratch:
    # Working memory of one running chunk.
    float* edge       # 1 + 4 · hop samples, where the sound begins or ends
    float* chunk      # (rows + 1) × stride
    float* sums       # (2, stride): of whole hops and of their first frame_length % hop samples
    # Fetched while a block is analysed: samples of the next chunk, and where the block's values will be written.
    const float* next
    const float* target
    Py_ssize_t next_count, target_count
    vf* values        # bands, with room for one before them
    vf* spectrum      # the row transforms' results, (row_points / 2 + 1, columns.points) pairs, and then the bins
    Signal a, b       # the general transform's two sides


cdef inline void gather(
    const Tables* t, const float* x, Py_ssize_t n, Py_ssize_t count, float gain, Scratch* s
) noexcept nogil:
    """x (n,) → s.chunk (rows, columns): row r, column c is x[c·hop + r]·gain, pre-emphasised, zero from n on; and s.sums."""
    cdef Py_ssize_t c = 0, i, width, have, hop = t.hop, rows = t.rows, part = t.frame_length % hop, stride = t.stride
    cdef Py_ssize_t used = (count + (t.frame_length - 1) // hop + 3) & ~3
    cdef const float* at
    while c < used:
        at = x + c * hop
        width = GATHER_WIDTH if gain == 1 and c + GATHER_WIDTH <= used and (c + GATHER_WIDTH) * hop <= n else 4
        if gain != 1 or (c + width) * hop > n:
            # Where x does not reach, a copy with zeros does.
            have = min(max(n - c * hop, 0), 4 * hop)
            s.edge[0] = (at - 1)[0] * gain if 0 < c * hop <= n else 0
            for i in range(have):
                s.edge[1 + i] = at[i] * gain
            memset(s.edge + 1 + have, 0, (4 * hop - have) * sizeof(float))
            at = s.edge + 1
        if width > 4:
            gather_wide(at, hop, c == 0, rows, part, t.emphasis, s.chunk + c, stride, s.sums + c, s.sums + stride + c)
        else:
            gather_4(at, hop, c == 0, rows, part, t.emphasis, s.chunk + c, stride, s.sums + c, s.sums + stride + c)
        c += width


cdef inline vf mean_level(const Tables* t, const float* sums) noexcept nogil:
    """What to subtract from the pre-emphasised samples so that the frames' means are gone: (1 - a)·mean."""
    cdef Py_ssize_t q, whole = t.frame_length // t.hop
    cdef vf total = vf_load(sums + t.stride + whole)
    for q in range(whole):
        total = total + vf_load(sums + q)
    return total * ((<float> 1.0 - t.emphasis) / <float> t.frame_length)


cdef inline void transform_codelets(const Tables* t, const float* chunk, vf level, Scratch* s) noexcept nogil:
    """chunk from the block's first column on → s.spectrum: |X|² of bin k at slots[k]."""
    cdef Py_ssize_t points = t.columns.points, c, k
    for c in range(points):
        fetch_part(s.next, s.next_count, c, points)
        t.row(chunk, t.offsets + c * t.row_inputs, t.window + c * t.row_inputs, level, s.spectrum + 2 * c, 2 * points)
    t.columns.first(s.spectrum)
    for k in range(1, (t.row_points + 1) // 2):
        fetch_part(s.target, s.target_count, k, (t.row_points + 1) // 2)
        t.columns.column(s.spectrum + 2 * points * k, t.twiddles + 2 * points * k)
    if t.row_points % 2 == 0:
        t.columns.middle(s.spectrum + points * t.row_points)


cdef inline vf windowed(const Tables* t, const float* chunk, vf level, Py_ssize_t j) noexcept nogil:
    """Sample j of the frames less the level, times the window; zero past the frame."""
    if j >= t.frame_length:
        return vf_set(0)
    return (vf_load(chunk + t.offsets[j]) - level) * t.window[j]


cdef inline void transform_general(const Tables* t, const float* chunk, vf level, Scratch* s) noexcept nogil:
    """The same for any size."""
    cdef Py_ssize_t i, k, mirror, m = t.half_length
    cdef Signal z
    cdef vf even_re, even_im, odd_re, odd_im, re, im
    cdef float wr, wi
    for i in range(m):
        if t.packed:
            s.a.re[i] = windowed(t, chunk, level, 2 * i)
            s.a.im[i] = windowed(t, chunk, level, 2 * i + 1)
        else:
            s.a.re[i] = windowed(t, chunk, level, i)
            s.a.im[i] = vf_set(0)
    if t.chirped:
        z = chirp_transform(&t.bluestein, s.a, s.b)
    else:
        z = transform(&t.stockham, s.a, s.b)
    for k in range(t.bins):
        if t.packed:
            # Z[k] = E[k] + i·O[k] with E, O the transforms of even and odd samples; X[k] = E[k] + ω^k·O[k].
            i = k if k < m else 0
            mirror = (m - k) % m
            even_re = (z.re[i] + z.re[mirror]) * <float> 0.5
            even_im = (z.im[i] - z.im[mirror]) * <float> 0.5
            odd_re = (z.im[i] + z.im[mirror]) * <float> 0.5
            odd_im = (z.re[mirror] - z.re[i]) * <float> 0.5
            wr = t.half_cosine[k]
            wi = -t.half_sine[k]
            re = even_re + (odd_re * wr - odd_im * wi)
            im = even_im + (odd_re * wi + odd_im * wr)
        else:
            re = z.re[k]
            im = z.im[k]
        s.spectrum[k] = re * re + im * im


cdef inline vf bank(const Tables* t, const vf* spectrum, vf* values) noexcept nogil:
    """spectrum (bins,) → values (bands,): each band's bins by their weights. Returns 0 where all values are finite."""
    cdef const float* weight = t.weights
    cdef const int* place = t.band_places
    cdef vf nothing = vf_set(0), zero = vf_set(0), rise = vf_set(0)
    cdef vf* four = values - 1
    cdef Py_ssize_t g, i
    for g in range(t.groups):
        # The band that falls over gap i is band i - 1.
        rise = vf_triangles_4(<const float*> spectrum, place, weight, t.group_bins[g], rise, four)
        nothing = nothing + ((four[0] + four[1]) + (four[2] + four[3])) * zero
        four += GAPS
        weight += 2 * GAPS * t.group_bins[g]
        place += GAPS * t.group_bins[g]
    if t.groups == 0:
        for i in range(t.bands):
            values[i] = spectrum[t.slots[i]]
            nothing = nothing + values[i] * zero
    return nothing


cdef inline void compress(const Tables* t, vf* values) noexcept nogil:
    """values (bands,) in place: the logarithm of max(v, floor) + offset."""
    cdef vf floor = vf_set(t.floor), offset = vf_set(t.offset), scale = vf_set(t.log_scale)
    cdef Py_ssize_t b
    for b in range(t.bands):
        values[b] = vf_ln(vf_max(values[b], floor) + offset) * scale


cdef inline void scatter(const Tables* t, const vf* values, Py_ssize_t count, float* out, Py_ssize_t out_stride) noexcept nogil:
    """values (bands,) of vectors → out (count, bands)."""
    cdef const float* lanes = <const float*> values
    cdef Py_ssize_t l = 0, b, i, bands = t.bands
    while l + 4 <= count:
        for b in range(0, bands - 7, 8):
            transpose_8x4(lanes + b * VF_LANES + l, VF_LANES, out + l * out_stride + b, out_stride)
        if bands & 4:
            b = bands & ~7
            transpose_4x4(lanes + b * VF_LANES + l, VF_LANES, out + l * out_stride + b, out_stride)
        for b in range(bands & ~3, bands):
            for i in range(l, l + 4):
                out[i * out_stride + b] = lanes[b * VF_LANES + i]
        l += 4
    for b in range(bands):
        for i in range(l, count):
            out[i * out_stride + b] = lanes[b * VF_LANES + i]


cdef inline void rescue(const Tables* t, const vf* values, Py_ssize_t lane, float* out) noexcept nogil:
    """Values of a frame that was scaled down by RESCUE_GAIN (lane of values) → out (bands,), scaled back."""
    cdef const float* lanes = <const float*> values
    cdef double gain = 1.0 / RESCUE_GAIN, lift = LN_RESCUE, v
    cdef Py_ssize_t b
    if not t.magnitude:
        gain *= gain
        lift *= 2
    for b in range(t.bands):
        v = lanes[b * VF_LANES + lane]
        if not t.compressed:
            out[b] = <float> (v * gain)
        elif v * gain < FLT_MAX:
            out[b] = <float> (log(max(v * gain, <double> t.floor) + t.offset) * t.log_scale)
        else:
            out[b] = <float> ((log(v) + lift) * t.log_scale)


cdef inline vf analyse(const Tables* t, Py_ssize_t column, Scratch* s) noexcept nogil:
    """The frames that begin at a column of the chunk and after → s.values (bands,), not yet compressed; as ``bank``."""
    cdef vf level = vf_set(0)
    cdef Py_ssize_t k
    if t.remove_dc:
        level = mean_level(t, s.sums + column)
    if t.row != NULL:
        transform_codelets(t, s.chunk + column, level, s)
    else:
        transform_general(t, s.chunk + column, level, s)
    if t.magnitude:
        for k in range(t.used_bins):
            s.spectrum[t.slots[k]] = vf_sqrt(s.spectrum[t.slots[k]])
    return bank(t, s.spectrum, s.values)


cdef inline void run_chunk(
    const Tables* t, const float* x, Py_ssize_t n, Py_ssize_t count, float* out, Py_ssize_t out_stride, Scratch* s
) noexcept nogil:
    """x (n,) → the count ≤ CHUNK frames at its beginning, out (count, bands) with rows out_stride apart."""
    cdef bint spoilt[CHUNK]
    cdef bint any_spoilt = False
    cdef Py_ssize_t f = 0, l, lanes
    cdef vf nothing
    # Columns past the last frame's hold what an earlier chunk left: no lane that counts looks at them.
    gather(t, x, n, count, 1, s)
    while f < count:
        lanes = min(count - f, <Py_ssize_t> VF_LANES)
        s.target, s.target_count = out + f * out_stride, lanes * out_stride
        s.next = x + (t.chunk + f) * t.hop
        s.next_count = max(min(lanes * t.hop, n - (t.chunk + f) * t.hop), 0)
        nothing = analyse(t, f, s)
        for l in range(lanes):
            spoilt[f + l] = (<float*> &nothing)[l] != 0
            any_spoilt |= spoilt[f + l]
        if t.compressed:
            compress(t, s.values)
        scatter(t, s.values, lanes, out + f * out_stride, out_stride)
        f += VF_LANES
    if not any_spoilt:
        return
    # The power of a sound beyond ±1e18 leaves float32's range; its logarithm does not.
    gather(t, x, n, count, RESCUE_GAIN, s)
    for f in range(count):
        s.next_count = s.target_count = 0
        if f % VF_LANES == 0:
            analyse(t, f, s)
        if spoilt[f]:
            rescue(t, s.values, f % VF_LANES, out + f * out_stride)
