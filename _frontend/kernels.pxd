# What happens to a block of frames: gather, analyse, bank, compress, scatter (see features.pyx for the design).
# All of it is arithmetic on pointers; the tables were designed elsewhere and nothing is allocated here.
from libc.float cimport FLT_MAX
from libc.math cimport log

from codelets cimport column_entry, row_codelet
from fft_general cimport Bluestein, Signal, Stockham, chirp_transform, transform
from ln cimport vf_ln
from vec cimport VF_LANES, transpose_4x4, transpose_4x8, vf, vf_dot, vf_load, vf_max, vf_set, vf_sqrt, vf_store, vf_sum

cdef enum:
    CHUNK = 32              # frames gathered at once, a multiple of every level's lanes

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
    Py_ssize_t linear       # samples under a chunk
    # Where a codelet or the general transform finds its samples in the chunk, and their window.
    const int* offsets
    const float* window
    # Where the spectrum has bin k.
    const int* slots
    # The band b is the weighted sum of n_bins[b] bins; their slots and weights follow one another from band to band.
    const int* n_bins
    const int* band_slots
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
    float* linear     # its samples with gain and pre-emphasis, (CHUNK + columns that overlap) · hop
    float* chunk      # (rows + 1) × stride
    float* sums       # (2, stride): of whole hops and of their first frame_length % hop samples
    vf* values        # bands
    vf* spectrum      # the row transforms' results, (row_points / 2 + 1, columns.points) pairs, and then the bins
    Signal a, b       # the general transform's two sides


cdef inline float emphasize(
    const Tables* t, const float* x, const float* before, Py_ssize_t n, float gain, float* y
) noexcept nogil:
    """y[i] = gain·(x[i] - a·x[i-1]) for i < n, where before[i] is x[i-1] for the first VF_LANES; returns gain·Σ x."""
    cdef Py_ssize_t i = 0
    cdef float a = t.emphasis, rest = 0
    cdef vf now, total = vf_set(0)
    while i + VF_LANES <= n:
        now = vf_load(x + i)
        vf_store(y + i, (now - a * vf_load(x + i - 1 if i else before)) * gain)
        total = total + now
        i += VF_LANES
    while i < n:
        y[i] = (x[i] - a * (x[i - 1] if i >= VF_LANES else before[i])) * gain
        rest += x[i]
        i += 1
    return (vf_sum(total) + rest) * gain


cdef inline void prepare(const Tables* t, const float* x, Py_ssize_t n, Py_ssize_t count, float gain, Scratch* s) noexcept nogil:
    """x (n,) → s.linear: gain and pre-emphasis; and what needs the bare samples, their sums and every hop's first.

    A frame's first sample stands for the one before it, too: (1 - a)·x beside the (x - a·x[-1]) that earlier frames see.
    """
    cdef Py_ssize_t c, i, at, hop = t.hop, part = t.frame_length % hop, columns = count + (t.frame_length - 1) // hop
    cdef float* firsts = s.chunk + t.rows * t.stride
    cdef float[VF_LANES] head
    cdef const float* before
    cdef float some
    for i in range(VF_LANES):
        head[i] = x[i - 1 if i else 0] if i < n else 0
    for c in range(columns):
        at = c * hop
        before = x + at - 1 if c else head
        firsts[c] = x[at] * gain * (<float> 1.0 - t.emphasis) if at < n else 0
        some = emphasize(t, x + at, before, min(part, max(n - at, 0)), gain, s.linear + at)
        s.sums[t.stride + c] = some
        if part:
            at += part
            before = x + at - 1
        s.sums[c] = some + emphasize(t, x + at, before, min(hop - part, max(n - at, 0)), gain, s.linear + at)


cdef inline void gather(const Tables* t, const float* x, Py_ssize_t n, Py_ssize_t count, Scratch* s) noexcept nogil:
    """x (n,) → s.chunk (rows, columns): row r, column c is x[c·hop + r], zero from n on."""
    cdef Py_ssize_t r, c, i, full, hop = t.hop, rows = t.rows, stride = t.stride
    cdef Py_ssize_t used = (count + (t.frame_length - 1) // hop + 3) & ~3
    cdef float* chunk = s.chunk
    for c in range(0, used, 4):
        full = min(max(n - (c + 3) * hop, 0), rows) & ~7
        for r in range(0, full, 8):
            transpose_4x8(x + c * hop + r, hop, chunk + r * stride + c, stride)
        for r in range(full, rows):
            for i in range(c, c + 4):
                chunk[r * stride + i] = x[i * hop + r] if i * hop + r < n else 0


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
        t.row(chunk, t.offsets + c * t.row_inputs, t.window + c * t.row_inputs, level, s.spectrum + 2 * c, 2 * points)
    t.columns.first(s.spectrum)
    for k in range(1, (t.row_points + 1) // 2):
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
    cdef const int* slot = t.band_slots
    cdef vf nothing = vf_set(0), zero = vf_set(0)
    cdef Py_ssize_t b
    for b in range(t.bands):
        values[b] = vf_dot(spectrum, slot, weight, t.n_bins[b])
        nothing = nothing + values[b] * zero
        weight += t.n_bins[b]
        slot += t.n_bins[b]
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
    cdef Py_ssize_t l = 0, b, i, bands = t.bands, whole = bands & ~3
    while l + 8 <= count:
        for b in range(0, whole, 4):
            transpose_4x8(lanes + b * VF_LANES + l, VF_LANES, out + l * out_stride + b, out_stride)
        l += 8
    while l + 4 <= count:
        for b in range(0, whole, 4):
            transpose_4x4(lanes + b * VF_LANES + l, VF_LANES, out + l * out_stride + b, out_stride)
        l += 4
    for b in range(whole):
        for i in range(l, count):
            out[i * out_stride + b] = lanes[b * VF_LANES + i]
    for b in range(whole, bands):
        for i in range(count):
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
        for k in range(t.bins):
            s.spectrum[t.slots[k]] = vf_sqrt(s.spectrum[t.slots[k]])
    return bank(t, s.spectrum, s.values)


cdef inline void load_chunk(
    const Tables* t, const float* x, Py_ssize_t n, Py_ssize_t count, float gain, Scratch* s
) noexcept nogil:
    if t.emphasis == 0 and not t.remove_dc and gain == 1:
        gather(t, x, n, count, s)
        return
    prepare(t, x, n, count, gain, s)
    # Columns past the last frame's hold what an earlier chunk left: no lane that counts looks at them.
    gather(t, s.linear, t.linear, count, s)


cdef inline void run_chunk(
    const Tables* t, const float* x, Py_ssize_t n, Py_ssize_t count, float* out, Py_ssize_t out_stride, Scratch* s
) noexcept nogil:
    """x (n,) → the count ≤ CHUNK frames at its beginning, out (count, bands) with rows out_stride apart."""
    cdef bint spoilt[CHUNK]
    cdef bint any_spoilt = False
    cdef Py_ssize_t f = 0, l, lanes
    cdef vf nothing
    load_chunk(t, x, n, count, 1, s)
    while f < count:
        lanes = min(count - f, <Py_ssize_t> VF_LANES)
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
    load_chunk(t, x, n, count, RESCUE_GAIN, s)
    for f in range(count):
        if f % VF_LANES == 0:
            analyse(t, f, s)
        if spoilt[f]:
            rescue(t, s.values, f % VF_LANES, out + f * out_stride)
