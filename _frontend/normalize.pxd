# The normalisation of one segment, values (frames, bands) with rows `stride` floats apart, in place.
#
# Sums are in double precision and in one fixed order: eight running sums, each of every eighth band, frame after frame.
# A segment's result then depends on its values alone, and the loops over the eight become vector operations.
cdef enum:
    SUMS = 8

cdef struct Segment:
    float* values
    Py_ssize_t frames, bands, stride


cdef inline double moment(const Segment* s, double centre, bint squared) noexcept nogil:
    """Σ (v - centre) or Σ (v - centre)² over all values."""
    cdef double[SUMS] sums
    cdef double d, total = 0
    cdef Py_ssize_t t, b, l
    cdef const float* row
    for l in range(SUMS):
        sums[l] = 0
    for t in range(s.frames):
        row = s.values + t * s.stride
        for b in range(s.bands // SUMS):
            for l in range(SUMS):
                d = row[b * SUMS + l] - centre
                sums[l] += d * d if squared else d
        for b in range(s.bands // SUMS * SUMS, s.bands):
            d = row[b] - centre
            sums[b % SUMS] += d * d if squared else d
    for l in range(SUMS):
        total += sums[l]
    return total


cdef inline void affine(const Segment* s, double centre, double scale) noexcept nogil:
    """v → (v - centre)·scale"""
    cdef Py_ssize_t t, b
    cdef float* row
    for t in range(s.frames):
        row = s.values + t * s.stride
        for b in range(s.bands):
            row[b] = <float> ((row[b] - centre) * scale)


cdef inline void standardize(const Segment* s, double epsilon) noexcept nogil:
    """v → (v - mean) / (deviation + epsilon); zero where all values are equal and epsilon is zero."""
    cdef double count = <double> s.frames * s.bands
    cdef double mean = moment(s, 0, False) / count
    cdef double deviation = (moment(s, mean, True) / count) ** 0.5 + epsilon
    affine(s, mean, 1 / deviation if deviation > 0 else 0)


cdef inline void subtract_means(const Segment* s, double* means) noexcept nogil:
    """v → v - mean of its band over time; ``means`` (bands,) is working memory."""
    cdef Py_ssize_t t, b
    cdef float* row
    for b in range(s.bands):
        means[b] = 0
    for t in range(s.frames):
        row = s.values + t * s.stride
        for b in range(s.bands):
            means[b] += row[b]
    for b in range(s.bands):
        means[b] /= s.frames
    for t in range(s.frames):
        row = s.values + t * s.stride
        for b in range(s.bands):
            row[b] = <float> (row[b] - means[b])


cdef inline void clamp_whisper(const Segment* s) noexcept nogil:
    """v → (max(v, greatest - 8) + 4) / 4"""
    cdef Py_ssize_t t, b
    cdef float* row
    cdef float greatest = s.values[0], low
    for t in range(s.frames):
        row = s.values + t * s.stride
        for b in range(s.bands):
            greatest = row[b] if row[b] > greatest else greatest
    low = greatest - 8
    for t in range(s.frames):
        row = s.values + t * s.stride
        for b in range(s.bands):
            row[b] = ((row[b] if row[b] > low else low) + 4) * <float> 0.25
