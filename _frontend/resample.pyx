"""Resampling streams: samples at one rate go in by chunks of any size, samples at another come out."""

# Design. A stream keeps the input that later outputs still need, one row a channel, and knows by integer arithmetic
# which outputs the samples so far determine. Every output depends on absolute positions only, never on where a chunk
# ended, so any chunking gives the same bits; one-shot is a stream of one chunk. The tables come ready from
# auricle.frontend; here they are only applied.

from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS,
    PyBUF_FORMAT,
    PyBUF_WRITABLE,
    PyBuffer_Release,
    PyObject_GetBuffer,
)
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memmove, memset

from overlap_save cimport VF_LANES
from polyphase cimport ROW_QUANTUM, blended_product, inner_product

import numpy as np

from auricle.errors import AudioError

LANES = VF_LANES  # the tables of overlap-save are laid out for it

cdef enum:
    PIECE = 4096  # frames taken in at a time, so that the work stays in the first-level cache

cdef object empty = np.empty
cdef object float32 = np.dtype(np.float32)


cdef class Table:
    """A contiguous float32 array, kept alive for its memory."""

    cdef Py_buffer view
    cdef const float* data

    def __cinit__(self, array):
        PyObject_GetBuffer(array, &self.view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
        if self.view.itemsize != 4 or self.view.format[0] != c"f":
            PyBuffer_Release(&self.view)
            raise ValueError("a table holds float32")
        self.data = <const float*>self.view.buf

    def __dealloc__(self):
        PyBuffer_Release(&self.view)


cdef object acquire(object x, Py_buffer* view, Py_ssize_t channels):
    """Opens ``x`` as float32 (n,) or (n, channels), converting where it must; the caller releases ``view``."""
    cdef int flags = PyBUF_C_CONTIGUOUS | PyBUF_FORMAT
    try:
        PyObject_GetBuffer(x, view, flags)
    except (TypeError, ValueError, BufferError):
        x = np.ascontiguousarray(x, dtype=np.float32)
        PyObject_GetBuffer(x, view, flags)
    if view.itemsize != 4 or view.format[0] != c"f":
        PyBuffer_Release(view)
        x = np.ascontiguousarray(x, dtype=np.float32)
        PyObject_GetBuffer(x, view, flags)
    if not (view.ndim == 1 and channels == 1 or view.ndim == 2 and view.shape[1] == channels):
        shape = tuple([view.shape[i] for i in range(view.ndim)])
        PyBuffer_Release(view)
        wanted = "(n,)" if channels == 1 else f"(n, {channels})"
        raise AudioError(f"the samples have shape {shape}, this stream takes {wanted}; reshape them")
    return x


cdef object new_array(Py_ssize_t frames, Py_ssize_t channels):
    if channels == 1:
        return empty(frames, float32)
    return empty((frames, channels), float32)


cdef class Stream:
    """What all resamplers share: the input kept back, the counting, and the Python face."""

    cdef readonly Py_ssize_t channels
    cdef long long step_in, step_out  # out/in in lowest terms is step_out/step_in
    cdef long long received, returned  # frames taken in and given out, zeros of the padding not counted
    cdef Py_ssize_t before, after  # frames that an output needs before and after its own position
    cdef Py_ssize_t capacity, room, filled  # frames: of a row, of which may be filled, and are
    cdef long long origin  # position in the sound of the first frame of the buffer
    cdef float* buffer  # (channels, capacity)
    cdef bint busy, finished

    def __cinit__(self):
        self.buffer = NULL

    def __dealloc__(self):
        free(self.buffer)

    cdef int allocate(self, Py_ssize_t channels, long long step_in, long long step_out,
                      Py_ssize_t before, Py_ssize_t after) except -1:
        self.channels = channels
        self.step_in = step_in
        self.step_out = step_out
        self.before = before
        self.after = after
        # What is kept back between outputs, and one piece more; the last vector of a block reads past its end.
        self.room = before + after + <Py_ssize_t>(step_in // step_out) + 2 + PIECE
        self.capacity = self.room + VF_LANES
        self.buffer = <float*>calloc(channels * self.capacity, sizeof(float))
        if self.buffer == NULL:
            raise MemoryError
        self.filled = before  # silence before the sound begins
        self.origin = -before
        return 0

    cdef long long determined(self, long long received) noexcept nogil:
        """How many outputs the first ``received`` input frames determine."""
        return 0

    cdef void produce(self, float* out, long long count) noexcept nogil:
        """Writes the next ``count`` output frames; out (count, channels)."""
        pass

    cdef void append(self, const float* x, Py_ssize_t frames) noexcept nogil:
        """Puts x (frames, channels) behind the buffer's rows; NULL stands for silence."""
        cdef Py_ssize_t c, i
        cdef float* row
        for c in range(self.channels):
            row = self.buffer + c * self.capacity + self.filled
            if x == NULL:
                memset(row, 0, frames * sizeof(float))
            elif self.channels == 1:
                memcpy(row, x, frames * sizeof(float))
            else:
                for i in range(frames):
                    row[i] = x[i * self.channels + c]
        self.filled += frames

    cdef void forget(self) noexcept nogil:
        """Drops what no later output needs."""
        cdef long long needed = self.returned * self.step_in // self.step_out - self.before
        cdef Py_ssize_t drop = <Py_ssize_t>(needed - self.origin)
        cdef Py_ssize_t c
        cdef float* row
        if drop > self.filled:
            drop = self.filled
        if drop <= 0:
            return
        for c in range(self.channels):
            row = self.buffer + c * self.capacity
            memmove(row, row + drop, (self.filled - drop) * sizeof(float))
        self.filled -= drop
        self.origin += drop

    cdef void run(self, const float* x, long long frames, float* out, long long until) noexcept nogil:
        """Takes in x (frames, channels), silence where NULL, and writes the outputs up to number ``until``."""
        cdef long long taken = 0, count
        cdef Py_ssize_t piece
        while taken < frames:
            piece = <Py_ssize_t>min(frames - taken, <long long>PIECE)
            if self.filled + piece > self.room:
                self.forget()
            self.append(x, piece)
            if x != NULL:
                x += piece * self.channels
            taken += piece
            count = min(self.determined(self.origin + self.filled), until) - self.returned
            if count > 0:
                self.produce(out, count)
                out += count * self.channels
                self.returned += count

    cdef object advance(self, object x, bint last):
        """Takes in ``x`` (None for nothing) and returns what it determines; ``last`` ends the sound after it."""
        cdef Py_buffer source, target
        cdef long long frames = 0, until, first = self.returned
        cdef float* out
        if self.finished:
            raise AudioError("the resampling stream has finished; make a new one for the next sound")
        if self.busy:
            raise RuntimeError("two threads use one resampling stream at once; give each its own")
        if x is not None:
            x = acquire(x, &source, self.channels)
            frames = source.shape[0]
        try:
            until = self.determined(self.received + frames)
            if last:
                until = ((self.received + frames) * self.step_out + self.step_in - 1) // self.step_in
            made = new_array(until - first, self.channels)
            PyObject_GetBuffer(made, &target, PyBUF_WRITABLE | PyBUF_C_CONTIGUOUS)
            out = <float*>target.buf
            self.busy = True
            try:
                with nogil:
                    if frames:
                        self.run(<const float*>source.buf, frames, out, until)
                    while last and self.returned < until:
                        self.run(NULL, PIECE, out + (self.returned - first) * self.channels, until)
            finally:
                self.busy = False
                PyBuffer_Release(&target)
            self.received += frames
            self.finished = last
            return made
        finally:
            if x is not None:
                PyBuffer_Release(&source)

    def feed(self, x):
        """The outputs that the sound so far determines and that were not returned before, f32 (k,) or (k, channels)."""
        return self.advance(x, False)

    def finish(self):
        """The rest, after which the stream takes nothing more; silence follows the sound."""
        return self.advance(None, True)

    def whole(self, x):
        """``feed`` and ``finish`` in one array."""
        return self.advance(x, True)


cdef class PolyphaseStream(Stream):
    """Outputs as inner products with the rows of a filter table, see polyphase.pxd.

    Args:
        table: f32 (rows, taps), one row for each of the ``step_out`` positions between two samples; or, blended,
            ``grid`` + 3 rows at (r - 1) / grid for r = 0, 1, ...; taps a multiple of 32.
        step_in, step_out: the rates' ratio in lowest terms; output j stands at input position j * step_in / step_out.
        grid: 0, or the number of rows a sample of a blended table.
        channels: at least 1.
    """

    cdef Table table
    cdef Py_ssize_t taps, grid

    def __init__(self, table, long long step_in, long long step_out, Py_ssize_t grid, Py_ssize_t channels):
        rows, self.taps = table.shape
        if self.taps == 0 or self.taps % ROW_QUANTUM or rows != (grid + 3 if grid else step_out):
            raise ValueError(f"a table of shape {table.shape} does not fit this stream")
        self.table = Table(table)
        self.grid = grid
        self.allocate(channels, step_in, step_out, self.taps // 2 - 1, self.taps // 2)

    cdef long long determined(self, long long received) noexcept nogil:
        if received <= self.after:
            return 0
        return ((received - self.after) * self.step_out + self.step_in - 1) // self.step_in

    cdef void produce(self, float* out, long long count) noexcept nogil:
        cdef long long j, row
        cdef Py_ssize_t c
        cdef long long place = self.returned * self.step_in // self.step_out
        cdef long long phase = self.returned * self.step_in % self.step_out
        cdef const float* x
        cdef const float* coefficients
        cdef float t
        for j in range(count):
            # The window begins `before` frames ahead of the position; row 0 of a blended table stands at -1.
            x = self.buffer + (place - self.before - self.origin)
            row = phase * self.grid // self.step_out if self.grid else phase
            coefficients = self.table.data + row * self.taps
            t = <float>(phase * self.grid % self.step_out) / <float>self.step_out
            for c in range(self.channels):
                if self.grid:
                    out[0] = blended_product(x + c * self.capacity, coefficients, self.taps, t)
                else:
                    out[0] = inner_product(x + c * self.capacity, coefficients, self.taps)
                out += 1
            phase += self.step_in
            place += phase // self.step_out
            phase %= self.step_out


cdef class CopyStream(Stream):
    """Equal rates: what comes in goes out."""

    def __init__(self, Py_ssize_t channels):
        self.allocate(channels, 1, 1, 0, 0)

    cdef long long determined(self, long long received) noexcept nogil:
        return received

    cdef void produce(self, float* out, long long count) noexcept nogil:
        cdef Py_ssize_t c
        cdef long long j
        cdef const float* x = self.buffer + (self.returned - self.origin)
        for j in range(count):
            for c in range(self.channels):
                out[j * self.channels + c] = x[c * self.capacity + j]


include "block_stream.pxi"
