"""Energy by hops: sums of squares of each hop of a sound, in double precision, however the sound arrives."""

# Design. Sample j of a part of a hop is added to lane j % LANES, and lanes are added up when the part is complete: the
# order of every sum is fixed by the place of a sample in its hop and by nothing else, while full rows of lanes are one
# vector operation each. Nothing of the sound is kept. A square of a float32 is exact in double.

import numpy as np

cdef enum:
    LANES = 16


cdef void add_squares(double* lanes, Py_ssize_t first, const float* x, Py_ssize_t n) noexcept nogil:
    """x (n,), whose first sample is number ``first`` of its part → lanes (LANES,)."""
    cdef double sums[LANES]
    cdef Py_ssize_t i = 0, lane
    while i < n and (first + i) % LANES:
        lanes[(first + i) % LANES] += <double>x[i] * <double>x[i]
        i += 1
    for lane in range(LANES):
        sums[lane] = lanes[lane]
    while i + LANES <= n:
        for lane in range(LANES):
            sums[lane] += <double>x[i + lane] * <double>x[i + lane]
        i += LANES
    for lane in range(LANES):
        lanes[lane] = sums[lane]
    lane = 0
    while i < n:
        lanes[lane] += <double>x[i] * <double>x[i]
        lane += 1
        i += 1


cdef double total(const double* lanes) noexcept nogil:
    cdef double sums[LANES]
    cdef Py_ssize_t width = LANES, lane
    for lane in range(LANES):
        sums[lane] = lanes[lane]
    while width > 1:
        width //= 2
        for lane in range(width):
            sums[lane] += sums[lane + width]
    return sums[0]


cdef class HopEnergy:
    """One sound, fed in pieces of any size; each hop is summed in two parts, before and after sample ``split``.

    Args:
        hop: samples of a hop, above 0.
        split: 0 to hop - 1.
    """

    cdef Py_ssize_t hop, split, place   # place: samples of the hop that is not complete yet
    cdef double before                  # its first part, once that is complete
    cdef double lanes[LANES]            # its current part

    def __cinit__(self, Py_ssize_t hop, Py_ssize_t split):
        if hop < 1 or not 0 <= split < hop:
            raise ValueError(f"a hop of {hop} samples cannot be split at {split}")
        self.hop, self.split = hop, split

    def feed(self, const float[::1] x not None):
        """x (n,) → the energies of the hops that it completes, f64 (k, 2)."""
        cdef Py_ssize_t n = x.shape[0], count = (self.place + n) // self.hop
        result = np.empty((count, 2), np.float64)
        cdef double[:, ::1] rows = result
        if n:
            with nogil:
                self._run(&x[0], n, &rows[0, 0] if count else NULL)
        return result

    def finish(self):
        """The energies of the incomplete hop, f64 (1, 2), or (0, 2) where there is none; then all begins anew."""
        cdef double head = self.head
        if not self.place:
            return np.empty((0, 2), np.float64)
        tail = total(self.lanes) if self.place > self.split else 0.0
        self._reset()
        return np.array([[head, tail]], np.float64)

    @property
    def head(self):
        """Energy of the first ``split`` samples of the incomplete hop, or of as many of them as are there."""
        return total(self.lanes) if self.place < self.split else self.before

    cdef void _reset(self) noexcept nogil:
        cdef Py_ssize_t lane
        for lane in range(LANES):
            self.lanes[lane] = 0
        self.place, self.before = 0, 0

    cdef void _run(self, const float* x, Py_ssize_t n, double* out) noexcept nogil:
        cdef Py_ssize_t begin, end, taken, lane
        while n > 0:
            begin = 0 if self.place < self.split else self.split
            end = self.split if self.place < self.split else self.hop
            taken = min(end - self.place, n)
            add_squares(self.lanes, self.place - begin, x, taken)
            x += taken
            n -= taken
            self.place += taken
            if self.place == self.hop:
                out[0], out[1] = self.before, total(self.lanes)
                out += 2
                self._reset()
            elif self.place == self.split:
                self.before = total(self.lanes)
                for lane in range(LANES):
                    self.lanes[lane] = 0
