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

from libc.string cimport memcpy

from vec cimport VF_LANES, vf, vf_load, vf_store

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
    ComplexDft complex_dft(int size)
    ComplexDft complex_dft_turned(int size)
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
    RealDft real
    HermitianDft hermitian
    Py_ssize_t reach  # rows of bins on either side of 0 that the filter passes
    const float* response  # (2, 2 * reach + 1, bins): real and imaginary parts at bin columns * (row - reach) + lane
    # Scratch, each with real parts before imaginary ones.
    float* tile  # (2, bins, VF_LANES)
    float* turned  # (2, padded rows, bins)
    float* middle  # (2, rows, VF_LANES)
    float* lanes  # (2, padded rows, bins)
    float* spectrum_re  # index 0 of the circle; VF_LANES floats of margin on both sides
    float* spectrum_im
    float* out  # (columns * rows + VF_LANES,) of the synthesis


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


cdef inline void analyse(Block* b, const float* x) noexcept nogil:
    """x (columns * rows of the analysis,) -> the spectrum, filtered."""
    cdef const Transform* t = &b.analysis
    cdef Py_ssize_t g, p, k
    cdef float* tile_im = b.tile + t.bins * VF_LANES
    cdef float* turned_im = b.turned + t.groups * VF_LANES * t.bins
    for g in range(t.groups):
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
    cdef const Transform* t = &b.analysis
    cdef Py_ssize_t length = b.synthesis.columns * b.synthesis.rows
    cdef const float* response_im = b.response + (2 * b.reach + 1) * t.bins
    cdef Py_ssize_t row, place, at, mirror
    cdef vf re, im, c, s, a, d
    for row in range(-b.reach, b.reach + 1):
        place = (row if row >= 0 else row + t.rows) * VF_LANES
        re = vf_load(b.lanes + place)
        im = vf_load(b.lanes + t.rows * VF_LANES + place)
        c = vf_load(b.response + (row + b.reach) * t.bins + k)
        s = vf_load(response_im + (row + b.reach) * t.bins + k)
        a = re * c - im * s
        d = re * s + im * c
        at = t.columns * row + k
        mirror = -(at + VF_LANES - 1)
        if row >= 0:
            mirror += length
        else:
            at += length
        # At the band's edge a vector reaches past it, where on the circle the other half begins.
        store_where(b.spectrum_re + at, a, c)
        store_where(b.spectrum_im + at, d, c)
        store_where(b.spectrum_re + mirror, reversed(a), reversed(c))
        store_where(b.spectrum_im + mirror, reversed(-d), reversed(c))


cdef inline void synthesise(Block* b) noexcept nogil:
    """The spectrum -> out, of which the first outputs are valid."""
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
        for p in range(t.bins // VF_LANES):
            k = p * VF_LANES
            transpose(b.lanes + g * VF_LANES * t.bins + k, t.bins, b.tile + k * VF_LANES, VF_LANES)
            transpose(lanes_im + g * VF_LANES * t.bins + k, t.bins, tile_im + k * VF_LANES, VF_LANES)
        b.hermitian(b.tile, tile_im, t.outer + g * t.bins * 2 * VF_LANES, b.out + g * VF_LANES, t.rows)
