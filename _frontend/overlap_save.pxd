"""Overlap-save resampling: a block of input -> its spectrum, filtered and cut or extended -> a block of output."""

# Design. A real transform of columns * rows points has three steps, and its reverse the same ones backwards:
#   1. real transforms down the columns, x[rows * n1 + n2] over n1; lanes are neighbouring n2, loads are contiguous;
#   2. twiddle factors, and a transposition that makes the lanes neighbouring k1;
#   3. complex transforms along n2, in one or two passes; lane k1 of result k2 is bin k1 + columns * k2.
# Only bins k1 <= columns / 2 are calculated, padded to full vectors by bins that are known by symmetry; the rest are
# their mirror images. So one block alone fills the vectors, whether it comes from a stream or a file, and both give the
# same bits. Between the transforms the spectrum lies in natural order around index 0 of `spectrum`, as if on a circle
# of the output's length: what is beyond the lower Nyquist frequency is zero, so cutting and extending cost nothing.
# The filter's factors also move the block in time, so that the first valid output is number 0.

from libc.stdint cimport uintptr_t
from libc.stdlib cimport calloc

from vec cimport VF_LANES, fetch_part, vf, vf_load, vf_store

cdef extern from "dft.h" nogil:
    ctypedef struct Steps:
        Py_ssize_t stride
        Py_ssize_t step
    ctypedef void (*RealDft)(const float*, Py_ssize_t, const float*, float*, float*) noexcept nogil
    ctypedef void (*HermitianDft)(const float*, const float*, const float*, float*, Py_ssize_t) noexcept nogil
    ctypedef void (*ComplexDft)(
        const float*, const float*, Steps, float*, float*, Steps, const float*, Py_ssize_t
    ) noexcept nogil
    RealDft real_dft(int size)
    HermitianDft hermitian_dft(int size)
    ComplexDft complex_dft(int size, int ends)
    ComplexDft complex_dft_turned(int size, int ends)
    void transpose(const float* x, Py_ssize_t in_stride, float* y, Py_ssize_t out_stride)
    void store_where(float* p, vf v, vf m)
    vf reversed(vf v)

# One real transform of columns * rows points, rows = first * second.
cdef struct Transform:
    Py_ssize_t columns, rows, first, second
    Py_ssize_t bins  # columns / 2 + 1, padded to whole vectors
    Py_ssize_t groups  # of VF_LANES rows
    const float* outer  # twiddle factors (groups, bins, 2, VF_LANES)
    const float* inner  # twiddle factors (second, first - 1, 2)
    ComplexDft first_pass, second_pass

cdef struct Block:
    Transform analysis, synthesis
    Py_ssize_t length_in, length_out  # their points
    RealDft real
    HermitianDft hermitian
    Py_ssize_t reach  # rows of bins on either side of 0 that the filter passes: -reach to reach - 1
    Py_ssize_t inner  # those of them, -inner to inner - 1, that lie in the filter's band as a whole
    const float* response  # (2, 2 * reach, bins): real and imaginary parts at bin columns * (row - reach) + lane
    float* scratch  # what calloc gave; the arrays below lie in it, each with real parts before imaginary ones
    float* tile  # (2, bins, VF_LANES)
    float* turned  # (2, padded rows, bins)
    float* middle  # (2, rows, VF_LANES)
    float* lanes  # (2, padded rows, bins)
    float* spectrum_re  # index 0 of the circle; VF_LANES floats of margin on both sides
    float* spectrum_im
    float* out  # (length_out + VF_LANES,)


cdef enum:
    CACHE_LINE = 16  # floats


cdef inline void transform_fill(
    Transform* t, Py_ssize_t columns, Py_ssize_t first, Py_ssize_t second, const float* outer, const float* inner
) noexcept:
    t.columns, t.first, t.second, t.rows = columns, first, second, first * second
    t.bins = (columns // 2 + VF_LANES) // VF_LANES * VF_LANES
    t.groups = (t.rows + VF_LANES - 1) // VF_LANES
    t.outer, t.inner = outer, inner


cdef inline int ends(Py_ssize_t size, Py_ssize_t each, Py_ssize_t reach) noexcept:
    """How many of ``size`` parts of ``each`` rows, from either end, hold the rows within ``reach``; 0 for all."""
    cdef Py_ssize_t needed = (reach + each - 1) // each
    return <int>needed if needed <= 2 and 2 * needed < size else 0


cdef inline bint block_choose(Block* b) noexcept:
    """Chooses the codelets of a block whose transforms and reach are known; False where there are none."""
    cdef Transform* a = &b.analysis
    cdef Transform* s = &b.synthesis
    cdef Py_ssize_t band
    b.length_in, b.length_out = a.columns * a.rows, s.columns * s.rows
    band = (min(b.length_in, b.length_out) + 1) // 2  # the filter passes the bins below it
    b.inner = min((band - a.bins) // a.columns + 1, (band - 1) // a.columns)
    b.real, b.hermitian = real_dft(<int>a.columns), hermitian_dft(<int>s.columns)
    # Of the analysis nobody looks at the results beyond the reach, of the synthesis the inputs beyond it are zero.
    a.first_pass = complex_dft_turned(<int>a.first, 0)
    a.second_pass = complex_dft(<int>a.second, ends(a.second, a.first, b.reach))
    s.first_pass = complex_dft_turned(<int>s.first, ends(s.first, s.second, (band + s.columns - 1) // s.columns))
    s.second_pass = complex_dft(<int>s.second, 0)
    return (
        b.real != NULL and b.hermitian != NULL and a.second_pass != NULL and s.second_pass != NULL
        and (a.first == 1 or a.first_pass != NULL) and (s.first == 1 or s.first_pass != NULL)
        and b.reach <= a.rows
    )


cdef inline bint block_lay_out(Block* b) noexcept:
    """Allocates the scratch in one piece, each array on a cache line; False if there is no memory for it."""
    cdef Py_ssize_t sizes[6]
    cdef float* parts[6]
    cdef Py_ssize_t total = CACHE_LINE, i
    cdef float* at
    sizes[0] = 2 * max(b.analysis.bins, b.synthesis.bins) * VF_LANES  # tile
    sizes[1] = 2 * b.analysis.groups * VF_LANES * b.analysis.bins  # turned
    sizes[2] = 2 * max(b.analysis.rows, b.synthesis.rows) * VF_LANES  # middle
    sizes[3] = 2 * max(b.analysis.rows, b.synthesis.groups * b.synthesis.bins) * VF_LANES  # lanes
    sizes[4] = 2 * (b.length_out + 3 * VF_LANES)  # spectrum
    sizes[5] = b.length_out + VF_LANES  # out
    for i in range(6):
        sizes[i] = (sizes[i] + CACHE_LINE - 1) // CACHE_LINE * CACHE_LINE
        total += sizes[i]
    b.scratch = <float*>calloc(total, sizeof(float))
    if b.scratch == NULL:
        return False
    at = b.scratch + (CACHE_LINE - <uintptr_t>b.scratch // sizeof(float) % CACHE_LINE)
    for i in range(6):
        parts[i] = at
        at += sizes[i]
    b.tile, b.turned, b.middle, b.lanes, b.out = parts[0], parts[1], parts[2], parts[3], parts[5]
    b.spectrum_re = parts[4] + VF_LANES
    b.spectrum_im = b.spectrum_re + b.length_out + 2 * VF_LANES
    return True


cdef inline void along_rows(
    const Transform* t, const float* re, const float* im, Py_ssize_t stride, float* middle,
    float* out_re, float* out_im, Py_ssize_t out_stride
) noexcept nogil:
    """Forward complex transforms of VF_LANES neighbouring lanes over the rows, ``stride`` apart; results in order."""
    cdef float* middle_im = middle + t.rows * VF_LANES
    cdef Steps source, target
    if t.first > 1:
        source.stride, source.step = t.second * stride, stride
        target.stride, target.step = t.second * VF_LANES, VF_LANES
        t.first_pass(re, im, source, middle, middle_im, target, t.inner, t.second)
        re, im, stride = middle, middle_im, VF_LANES
    source.stride, source.step = stride, t.second * stride
    target.stride, target.step = t.first * out_stride, out_stride
    t.second_pass(re, im, source, out_re, out_im, target, NULL, t.first)


cdef inline void analyse(Block* b, const float* x, Py_ssize_t ahead) noexcept nogil:
    """x (length_in,) -> the spectrum, filtered; fetches the ``ahead`` samples that follow x."""
    cdef const Transform* t = &b.analysis
    cdef Py_ssize_t g, p, k
    cdef float* tile_im = b.tile + t.bins * VF_LANES
    cdef float* turned_im = b.turned + t.groups * VF_LANES * t.bins
    for g in range(t.groups):
        fetch_part(x + b.length_in, ahead, g, t.groups)
        b.real(x + g * VF_LANES, t.rows, t.outer + g * t.bins * 2 * VF_LANES, b.tile, tile_im)
        for p in range(t.bins // VF_LANES):
            k = p * VF_LANES
            transpose(b.tile + k * VF_LANES, VF_LANES, b.turned + g * VF_LANES * t.bins + k, t.bins)
            transpose(tile_im + k * VF_LANES, VF_LANES, turned_im + g * VF_LANES * t.bins + k, t.bins)
    for p in range(t.bins // VF_LANES):
        k = p * VF_LANES
        along_rows(t, b.turned + k, turned_im + k, t.bins, b.middle,
                   b.lanes, b.lanes + t.rows * VF_LANES, VF_LANES)
        put_bins(b, k)


cdef inline void put_bins(Block* b, Py_ssize_t k) noexcept nogil:
    """Filters the results of lanes k, k + 1, ... and puts them and their mirror images into the spectrum."""
    cdef Py_ssize_t columns = b.analysis.columns, bins = b.analysis.bins, rows = b.analysis.rows
    cdef Py_ssize_t length = b.length_out
    cdef Py_ssize_t reach = b.reach, inner = b.inner, row, at, mirror
    cdef const float* response_re = b.response + k
    cdef const float* response_im = response_re + 2 * reach * bins
    cdef const float* lanes_re = b.lanes + (rows - reach) * VF_LANES
    cdef const float* lanes_im = lanes_re + rows * VF_LANES
    cdef float* spectrum_re = b.spectrum_re
    cdef float* spectrum_im = b.spectrum_im
    cdef vf re, im, c, s, a, d
    for row in range(-reach, reach):
        if row == 0:
            lanes_re -= rows * VF_LANES
            lanes_im -= rows * VF_LANES
        re, im = vf_load(lanes_re), vf_load(lanes_im)
        c, s = vf_load(response_re), vf_load(response_im)
        a = re * c - im * s
        d = re * s + im * c
        at = columns * row + k
        mirror = -(at + VF_LANES - 1)
        if row >= 0:
            mirror += length
        else:
            at += length
        if -inner <= row < inner:
            vf_store(spectrum_re + at, a)
            vf_store(spectrum_im + at, d)
            vf_store(spectrum_re + mirror, reversed(a))
            vf_store(spectrum_im + mirror, reversed(-d))
        else:
            # At the band's edge a vector reaches past it, where on the circle the other half begins.
            store_where(spectrum_re + at, a, c)
            store_where(spectrum_im + at, d, c)
            store_where(spectrum_re + mirror, reversed(a), reversed(c))
            store_where(spectrum_im + mirror, reversed(-d), reversed(c))
        lanes_re += VF_LANES
        lanes_im += VF_LANES
        response_re += bins
        response_im += bins


cdef inline void synthesise(Block* b, float* out, Py_ssize_t ahead) noexcept nogil:
    """The spectrum -> out (length_out + VF_LANES,), of which the first outputs are valid; fetches what follows it."""
    cdef const Transform* t = &b.synthesis
    cdef Py_ssize_t g, p, k
    cdef float* tile_im = b.tile + t.bins * VF_LANES
    cdef float* lanes_im = b.lanes + t.groups * VF_LANES * t.bins
    # Real and imaginary parts are exchanged on both sides, which makes the transform the backward one.
    for p in range(t.bins // VF_LANES):
        k = p * VF_LANES
        along_rows(t, b.spectrum_im + k, b.spectrum_re + k, t.columns, b.middle, lanes_im + k, b.lanes + k, t.bins)
    # Backwards, since the idle lanes of the last group spill over what the first one writes.
    for g in range(t.groups - 1, -1, -1):
        fetch_part(out + b.length_out, ahead, g, t.groups)
        for p in range(t.bins // VF_LANES):
            k = p * VF_LANES
            transpose(b.lanes + g * VF_LANES * t.bins + k, t.bins, b.tile + k * VF_LANES, VF_LANES)
            transpose(lanes_im + g * VF_LANES * t.bins + k, t.bins, tile_im + k * VF_LANES, VF_LANES)
        b.hermitian(b.tile, tile_im, t.outer + g * t.bins * 2 * VF_LANES, out + g * VF_LANES, t.rows)
