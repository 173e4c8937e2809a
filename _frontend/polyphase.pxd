"""The polyphase inner products: one output sample is one row of a filter table against the samples around it."""

# Design. A row holds the filter at one position between two input samples, time reversed, so that an output is a plain
# inner product. Where every position has a row of its own (few, as in 44.1 -> 48 kHz) that is all. Where there would be
# too many, the rows stand on a coarser grid and an output is the cubic Lagrange blend of four products, which share
# their loads of x. Rows are a multiple of ROW_QUANTUM long, so there is no tail and the order of additions is fixed.

from vec cimport VF_LANES, vf, vf_load, vf_store

cdef enum:
    ROW_QUANTUM = 32


cdef inline float lane_sum(vf v) noexcept nogil:
    """The sum of the lanes, added in halves."""
    cdef float lane[16]
    cdef int width = VF_LANES // 2, i
    vf_store(lane, v)
    while width:
        for i in range(width):
            lane[i] += lane[i + width]
        width //= 2
    return lane[0]


cdef inline float inner_product(const float* x, const float* row, Py_ssize_t taps) noexcept nogil:
    """Sum of x[k] * row[k]; both (taps,)."""
    cdef vf even = vf_load(x) * vf_load(row)
    cdef vf odd = vf_load(x + VF_LANES) * vf_load(row + VF_LANES)
    cdef Py_ssize_t k = 2 * VF_LANES
    while k < taps:
        even = even + vf_load(x + k) * vf_load(row + k)
        odd = odd + vf_load(x + k + VF_LANES) * vf_load(row + k + VF_LANES)
        k += 2 * VF_LANES
    return lane_sum(even + odd)


cdef inline float blended_product(
    const float* x, const float* row, Py_ssize_t taps, float t
) noexcept nogil:
    """Four rows, at -1, 0, 1 and 2, blended for the position 0 <= t < 1; x (taps,), row (4, taps) from row -1."""
    cdef float w0 = -t * (t - 1) * (t - 2) / 6
    cdef float w1 = (t + 1) * (t - 1) * (t - 2) / 2
    cdef float w2 = -(t + 1) * t * (t - 2) / 2
    cdef float w3 = (t + 1) * t * (t - 1) / 6
    cdef vf s = vf_load(x)
    cdef vf a0 = s * vf_load(row)
    cdef vf a1 = s * vf_load(row + taps)
    cdef vf a2 = s * vf_load(row + 2 * taps)
    cdef vf a3 = s * vf_load(row + 3 * taps)
    cdef Py_ssize_t k = VF_LANES
    while k < taps:
        s = vf_load(x + k)
        a0 = a0 + s * vf_load(row + k)
        a1 = a1 + s * vf_load(row + taps + k)
        a2 = a2 + s * vf_load(row + 2 * taps + k)
        a3 = a3 + s * vf_load(row + 3 * taps + k)
        k += VF_LANES
    return lane_sum(w0 * a0 + w1 * a1 + w2 * a2 + w3 * a3)
