# The streaming side of the feature engine, a part of features.pyx: what one sound needs between the pieces it comes in.

from libc.string cimport memcpy, memmove, memset


cdef class Stream:
    """One sound, fed in pieces of any size; ``feed`` gives the frames that the new samples complete.

    Positions count in the padded sound: its front padding begins at 0, frame f at f·hop. ``held`` keeps the samples
    from ``base`` on that later frames, or the mirror at the end, still need.
    """

    cdef readonly Plan plan
    cdef Workspace work
    cdef float* held
    cdef Py_ssize_t capacity, base, end      # held covers positions base … end
    cdef Py_ssize_t samples, emitted         # fed and given so far
    cdef bint primed, finished, busy

    def __cinit__(self, Plan plan):
        self.plan = plan
        self.capacity = plan.front + 3 * plan.t.frame_length + (1 + plan.lanes) * plan.t.hop + plan.reach + plan.back
        self.held = <float*> malloc(self.capacity * sizeof(float))
        if self.held == NULL:
            raise MemoryError
        self.restart()

    def restart(self):
        """Forgets everything: the next sample begins another sound."""
        memset(self.held, 0, self.plan.front * sizeof(float))
        self.base = self.samples = self.emitted = 0
        self.end = self.plan.front
        self.primed = not self.plan.reflect
        self.finished = False

    def __dealloc__(self):
        free(self.held)

    def feed(self, const float[::1] x, out=None):
        """x (n,) → the completed frames (k, bands), written to ``out[:k]`` where given (at least k rows)."""
        cdef const float* at = &x[0] if x.shape[0] else NULL
        cdef Py_ssize_t n = x.shape[0], count
        cdef float[:, :] rows
        if <uintptr_t> at % sizeof(float):
            raise ValueError("x is not aligned")
        self._enter()
        try:
            if not self.primed:
                n -= self._prime(&at, n)
            count = self._completed(n) - self.emitted
            result = np.empty((count, self.plan.t.bands), np.float32) if out is None else out[:count]
            rows = result
            with nogil:
                self._feed(at, n, count, &rows[0, 0] if count else NULL, rows.strides[0] // <Py_ssize_t> sizeof(float))
        finally:
            self._leave()
        return result

    def finish(self, out=None):
        """The frames that the end of the sound completes (k, bands); the stream takes nothing more."""
        cdef Py_ssize_t count
        cdef float[:, :] rows
        self._enter()
        try:
            self.finished = True
            count = self.plan.frames(self.samples) - self.emitted
            result = np.empty((count, self.plan.t.bands), np.float32) if out is None else out[:count]
            rows = result
            if count:
                with nogil:
                    self._pad_end()
                    self._run_held(self.end, count, &rows[0, 0], rows.strides[0] // <Py_ssize_t> sizeof(float))
                self.emitted += count
        finally:
            self._leave()
        return result

    cdef int _enter(self) except -1:
        if self.busy:
            raise RuntimeError("a FeatureStream is used by one thread at a time; give each thread its own")
        if self.finished:
            raise RuntimeError("the FeatureStream is finished; make a new one for the next sound")
        self.work = self.plan.spare.pop() if self.plan.spare else Workspace(self.plan)
        self.busy = True
        return 0

    cdef object _leave(self):
        self.busy = False
        self.plan.spare.append(self.work)
        self.work = None

    cdef Py_ssize_t _prime(self, const float** x, Py_ssize_t n) noexcept:
        """Holds samples back until the mirror image at the front can be made of them; returns how many it took."""
        cdef Py_ssize_t i, front = self.plan.front, taken = min(n, front + 1 - self.samples)
        self._append(x[0], taken)
        self.samples += taken
        if taken:
            x[0] += taken
        if self.samples > front:
            for i in range(front):
                self.held[front - 1 - i] = self.held[front + 1 + i]
            self.primed = True
        return taken

    cdef Py_ssize_t _completed(self, Py_ssize_t n) noexcept:
        """How many frames are complete once n more samples are in."""
        cdef Py_ssize_t room = self.plan.front + self.samples + n - self.plan.t.frame_length
        if not self.primed or room < 0:
            return self.emitted
        return max(min(room // self.plan.t.hop + 1, self.plan.frames(self.samples + n)), self.emitted)

    cdef void _append(self, const float* x, Py_ssize_t n) noexcept nogil:
        if n > 0:
            memcpy(self.held + (self.end - self.base), x, n * sizeof(float))
            self.end += n

    cdef void _run_held(self, Py_ssize_t end, Py_ssize_t count, float* out, Py_ssize_t out_stride) noexcept nogil:
        """The next count frames from what is held up to position end."""
        cdef Py_ssize_t first = self.emitted * self.plan.t.hop
        self.work.run(self.plan, self.held + (first - self.base), end - first, count, out, out_stride)

    cdef void _feed(self, const float* x, Py_ssize_t n, Py_ssize_t count, float* out, Py_ssize_t out_stride) noexcept nogil:
        cdef Py_ssize_t hop = self.plan.t.hop, length = self.plan.t.frame_length
        cdef Py_ssize_t start = self.end                       # position of x[0]
        cdef Py_ssize_t target = self.emitted + count
        cdef Py_ssize_t split = min(max((start + hop - 1) // hop, self.emitted), target)  # frames from here lie in x
        cdef Py_ssize_t lent, keep
        if self.emitted < split:
            # Frames that began in what is held, and those after them that fill its vectors: lend it as much of x as the
            # last of them needs, then take it back.
            split = min(self.emitted + up_to_whole(split - self.emitted, self.plan.lanes), target)
            lent = (split - 1) * hop + length - start
            self._append(x, lent)
            self._run_held(self.end, split - self.emitted, out, out_stride)
            self.end = start
        if split < target:
            self.work.run(
                self.plan, x + (split * hop - start), n - (split * hop - start), target - split,
                out + (split - self.emitted) * out_stride, out_stride,
            )
        self.emitted = target
        self.samples += n
        keep = max(min(target * hop, start + n - self.plan.reach), 0)
        if keep >= start:
            keep = min(keep, start + n)
            self.base = self.end = keep
            self._append(x + (keep - start), start + n - keep)
        else:
            memmove(self.held, self.held + (keep - self.base), (start - keep) * sizeof(float))
            self.base = keep
            self._append(x, n)

    cdef void _pad_end(self) noexcept nogil:
        """Appends the back padding; a sound shorter than its mirror is reflected to and fro."""
        cdef Py_ssize_t i, at, n = self.samples, front = self.plan.front
        cdef float* sound
        if not self.primed:
            # Nothing was discarded yet: held is the front padding's room and the whole sound.
            sound = self.held + front
            for i in range(front):
                at = reflected(-1 - i, n)
                sound[-1 - i] = sound[at]
            for i in range(self.plan.back):
                sound[n + i] = sound[reflected(n + i, n)]
        elif self.plan.reflect:
            for i in range(self.plan.back):
                self.held[self.end - self.base + i] = self.held[self.end - self.base - 2 - i]
        else:
            memset(self.held + (self.end - self.base), 0, self.plan.back * sizeof(float))
        self.end += self.plan.back


cdef Py_ssize_t up_to_whole(Py_ssize_t count, Py_ssize_t lanes) noexcept nogil:
    """The next multiple of lanes from count on."""
    return (count + lanes - 1) // lanes * lanes


cdef Py_ssize_t reflected(Py_ssize_t i, Py_ssize_t n) noexcept nogil:
    """The sample that the endless mirror image of n samples shows at i (the ends are not repeated)."""
    cdef Py_ssize_t period = 2 * (n - 1)
    if n == 1:
        return 0
    i = i % period
    if i < 0:
        i += period
    return i if i < n else period - i
