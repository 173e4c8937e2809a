"""The feature engine: frames of a waveform to spectra, mel bands and their logarithms, at one instruction-set level.

Design. Lanes are frames: every variable of a kernel is a vector of VF_LANES adjacent frames, so each step is the scalar
algorithm with floats replaced by vectors, and nothing is ever shuffled inside one. Frames go through (kernels.pxd)

    gather      a chunk of samples, transposed once, with pre-emphasis and the sums that means are made of; frames that
                overlap read the same row at a shifted column
    analyse     for VF_LANES frames: window, DFT, |X|² or |X|, and mel triangles (their non-zero weights) or bins
    compress    logarithm
    scatter     back to rows of the output

A block with fewer frames runs the same code with idle lanes, and lanes never mix: what a frame gives depends on its own
samples alone, so any chunking of a sound gives the same bits. A Plan holds the constant tables and is shared by all
threads; a Stream (stream.pxi) holds everything that changes. Kernels run without the GIL.

Few frames, such as what 20 ms of sound complete, leave most lanes of a wide vector idle. A level can then borrow the
kernels of a narrower one that rounds alike (AVX-512 those of AVX2): a Plan is made with that level's, its ``narrow``.
"""

from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from libc.stdint cimport uintptr_t
from libc.stdlib cimport calloc, free, malloc

from codelets cimport COLUMN_ENTRIES, ROW_ENTRIES, column_entries, column_entry, row_entries, row_entry
from fft_general cimport factorize
from kernels cimport CHUNK, GAPS, Scratch, Tables, run_chunk
from normalize cimport Segment, affine, clamp_whisper, standardize, subtract_means
from vec cimport VF_LANES, vf

import numpy as np

from auricle.frontend import tables

LANES = VF_LANES

cdef enum:
    CHUNK_BYTES = 1 << 18


cdef const char* LENT = "auricle.features.Lent"

cdef struct Lent:
    # What one level's module needs to run another's kernels: the same source, so the same structs.
    const Tables* tables
    Py_ssize_t lanes
    void* (*allocate)(const Tables*, Scratch*) noexcept nogil
    void (*run)(const Tables*, const float*, Py_ssize_t, Py_ssize_t, float*, Py_ssize_t, Scratch*) noexcept nogil


cdef class Plan:
    """The constant tables of one spec (its normalisation aside). Immutable, shared by streams and threads.

    ``narrow`` is the plan of a level with fewer lanes that rounds alike; runs of few frames go there.
    """

    cdef readonly object spec, narrow
    cdef readonly Py_ssize_t front, back, reach   # samples of padding, and of the past that the end's mirror needs
    cdef Py_ssize_t lanes                         # of the narrowest kernels that it runs
    cdef bint drop_last, reflect
    cdef Tables t
    cdef Lent own, few                            # the kernels to lend, and those for few frames (none where run is NULL)
    cdef list keep                                # the arrays that t points into
    cdef list spare                               # workspaces that no call uses now

    def __init__(self, spec, narrow=None):
        self.spec, self.narrow = spec, narrow
        self.keep = []
        self.spare = []
        self.front, self.back = spec.front_samples, spec.back_samples
        self.reflect = spec.padding == "centre-reflect"
        self.reach = self.front + 1 if self.reflect else 0
        self.drop_last = spec.drop_last_frame
        self.t.frame_length, self.t.hop = spec.frame_length, spec.hop
        self.t.bins, self.t.bands, self.t.fft_size = spec.bins, spec.bands, spec.fft_size
        self.t.remove_dc = spec.remove_dc
        self.t.emphasis = spec.preemphasis
        self.t.magnitude = spec.spectrum == "magnitude"
        self.t.compressed = spec.compression != "none"
        self.t.floor, self.t.offset = spec.floor, spec.offset
        self.t.log_scale = tables.log_scale(spec)
        if self.t.magnitude and self.t.compressed and spec.filterbank == "bins" and not spec.offset and spec.floor > 1e-18:
            # log max(|X|, floor) is half of log max(|X|², floor²): no roots. (The floor's square is a normal float.)
            self.t.magnitude, self.t.floor, self.t.log_scale = False, spec.floor ** 2, tables.log_scale(spec) / 2
        bank = None if spec.filterbank == "bins" else tables.mel_weights(spec).astype(np.float32)
        used = np.arange(spec.bands) if bank is None else bank.any(axis=0).nonzero()[0]
        if not self._plan_codelets(spec, used.max(initial=0)):
            self._plan_general(spec)
        self._plan_bank(spec, bank, used)
        self.own.tables, self.own.lanes, self.own.allocate, self.own.run = &self.t, VF_LANES, allocate, run_frames
        if narrow is not None:
            self.few = (<const Lent*> PyCapsule_GetPointer(narrow.lend(), LENT))[0]
        self.lanes = VF_LANES if narrow is None else self.few.lanes

    def lend(self):
        """The kernels and tables, for the plan of another level; they live as long as this plan."""
        return PyCapsule_New(&self.own, LENT, NULL)

    cdef const float* _floats(self, values):
        cdef const float[::1] array = np.ascontiguousarray(values, dtype=np.float32).ravel()
        self.keep.append(array)
        return &array[0] if array.shape[0] else NULL

    cdef const int* _ints(self, values):
        cdef const int[::1] array = np.ascontiguousarray(values, dtype=np.intc).ravel()
        self.keep.append(array)
        return &array[0] if array.shape[0] else NULL

    cdef object _places(self, spec):
        """Where sample j of the frame that begins at column 0 stands in the chunk: row j % hop, column j // hop."""
        self.t.rows = min(spec.hop, spec.frame_length)
        # The hops that a chunk's last frames share with the next chunk's are gathered for both: few and long chunks, as
        # far as the second cache level has room for them.
        self.t.chunk = CHUNK if self.t.rows * CHUNK * sizeof(float) <= CHUNK_BYTES else VF_LANES
        columns = self.t.chunk + (spec.frame_length - 1) // spec.hop
        self.t.stride = -(-columns // 8) * 8  # eight columns are stored at once, within one cache line
        j = np.arange(spec.frame_length)
        places = j % spec.hop * self.t.stride + j // spec.hop
        if spec.preemphasis:
            places[0] = self.t.rows * self.t.stride
        return places

    cdef object _plan_bank(self, spec, bank, used):
        """``bank`` (bands, bins), None where bands are bins; ``used``: the bins that bands use."""
        slots = np.arange(spec.bins)
        if self.t.row != NULL:
            slots = tables.bin_slots(self.t.row_points, self.t.columns.points)
        self.t.used_bins, self.t.slots = len(used), self._ints(slots[used])
        if bank is not None:
            sizes, bins, weights = tables.shared(bank, GAPS)
            self.t.groups, self.t.group_bins = len(sizes), self._ints(sizes)
            self.t.band_places, self.t.weights = self._ints(slots[bins] * VF_LANES), self._floats(weights)

    cdef bint _plan_codelets(self, spec, Py_ssize_t last_bin) except -1:
        """The pair of codelets with the fewest operations; false if no pair makes the size."""
        cdef const row_entry* row = NULL
        cdef Py_ssize_t i, c, cost, best = 0
        for i in range(ROW_ENTRIES):
            for c in range(COLUMN_ENTRIES):
                if row_entries[i].points * column_entries[c].points != spec.fft_size:
                    continue
                if row_entries[i].inputs * column_entries[c].points < spec.frame_length:
                    continue
                if last_bin >= column_entries[c].wanted * row_entries[i].points:
                    continue
                cost = row_entries[i].operations * column_entries[c].points
                cost += column_entries[c].operations * row_entries[i].points // 2
                if row == NULL or cost < best:
                    row, best, self.t.columns = &row_entries[i], cost, &column_entries[c]
        if row == NULL:
            return False
        self.t.row = row.levelled if spec.remove_dc else row.plain
        self.t.row_points, self.t.row_inputs = row.points, row.inputs
        # Samples past the frame are read from its beginning, and their window is zero.
        self.t.offsets = self._ints(tables.by_column(self._places(spec), row.inputs, self.t.columns.points))
        self.t.window = self._floats(tables.by_column(tables.window(spec), row.inputs, self.t.columns.points))
        self.t.twiddles = self._floats(tables.column_twiddles(row.points, self.t.columns.points))
        return True

    cdef object _plan_general(self, spec):
        # A real transform of even length is a complex one of half the length and a pass that takes it apart.
        self.t.row = NULL
        self.t.offsets, self.t.window = self._ints(self._places(spec)), self._floats(tables.window(spec))
        self.t.packed = spec.fft_size % 2 == 0
        self.t.half_length = spec.fft_size // 2 if self.t.packed else spec.fft_size
        cosine, sine = tables.twiddles(spec.fft_size)
        self.t.half_cosine, self.t.half_sine = self._floats(cosine), self._floats(sine)
        self.t.chirped = not factorize(&self.t.stockham, self.t.half_length)
        if not self.t.chirped:
            cosine, sine = tables.twiddles(self.t.half_length)
            self.t.stockham.cosine, self.t.stockham.sine = self._floats(cosine), self._floats(sine)
            return
        inner = 1 << (2 * self.t.half_length - 2).bit_length()
        factorize(&self.t.bluestein.inner, inner)
        self.t.bluestein.length = self.t.half_length
        cosine, sine = tables.twiddles(inner)
        self.t.bluestein.inner.cosine, self.t.bluestein.inner.sine = self._floats(cosine), self._floats(sine)
        wave, response = tables.chirp(self.t.half_length, inner)
        self.t.bluestein.chirp_re, self.t.bluestein.chirp_im = self._floats(wave.real), self._floats(wave.imag)
        self.t.bluestein.filter_re = self._floats(response.real)
        self.t.bluestein.filter_im = self._floats(response.imag)

    cdef Py_ssize_t frames(self, Py_ssize_t n) noexcept nogil:
        """FeatureSpec.frames."""
        cdef Py_ssize_t room = n + self.front + self.back - self.t.frame_length
        if n <= 0 or room < 0:
            return 0
        return max(room // self.t.hop + 1 - self.drop_last, 0)


cdef void* allocate(const Tables* t, Scratch* s) noexcept nogil:
    """The scratch of a call in one allocation; returns what to free, or NULL. Zeros, since idle lanes read it."""
    # A row's last block of lanes may reach past the row.
    cdef Py_ssize_t chunk = (t.rows + 1) * t.stride // VF_LANES + 2, sums = 2 * t.stride // VF_LANES + 2
    cdef Py_ssize_t edge = (1 + 4 * t.hop) // VF_LANES + 1, values = max(t.bands, GAPS * t.groups)
    cdef Py_ssize_t spectrum = t.bins, general = 0
    cdef void* memory
    cdef vf* at
    if t.row != NULL:
        spectrum = 2 * (t.row_points // 2 + 1) * t.columns.points
    else:
        general = t.bluestein.inner.length if t.chirped else t.half_length
    memory = calloc(3 + edge + chunk + sums + values + spectrum + 4 * general, sizeof(vf))
    if memory == NULL:
        return NULL
    at = <vf*> ((<uintptr_t> memory + 2 * sizeof(vf) - 1) // sizeof(vf) * sizeof(vf))
    s.edge = <float*> at
    at += edge
    s.chunk = <float*> at
    s.sums = <float*> (at + chunk)
    s.values = at + chunk + sums + 1
    s.spectrum = s.values + values
    s.a.re = s.spectrum + spectrum
    s.a.im = s.a.re + general
    s.b.re = s.a.im + general
    s.b.im = s.b.re + general
    return memory


cdef void run_frames(
    const Tables* t, const float* x, Py_ssize_t n, Py_ssize_t count, float* out, Py_ssize_t out_stride, Scratch* s
) noexcept nogil:
    """x (n,) → the count frames at its beginning, out (count, bands), a chunk at a time."""
    cdef Py_ssize_t done = 0
    while done < count:
        run_chunk(
            t, x + done * t.hop, n - done * t.hop, min(count - done, t.chunk),
            out + done * out_stride, out_stride, s,
        )
        done += t.chunk


cdef class Workspace:
    """The scratch of one call. The plan keeps those that are free: a stream that waits for its sound holds none."""

    cdef Scratch scratch, few
    cdef void* memory
    cdef void* few_memory

    def __cinit__(self, Plan plan):
        self.memory = allocate(&plan.t, &self.scratch)
        if plan.few.run != NULL:
            self.few_memory = plan.few.allocate(plan.few.tables, &self.few)
        if self.memory == NULL or (plan.few.run != NULL and self.few_memory == NULL):
            raise MemoryError

    def __dealloc__(self):
        free(self.memory)
        free(self.few_memory)

    cdef void run(
        self, Plan plan, const float* x, Py_ssize_t n, Py_ssize_t count, float* out, Py_ssize_t out_stride
    ) noexcept nogil:
        """x (n,) → the count frames at its beginning; what is left after whole vectors goes to the narrow ones it fits."""
        cdef Py_ssize_t rest = count % VF_LANES
        if plan.few.run == NULL or rest > plan.few.lanes:
            rest = 0
        count -= rest
        run_frames(&plan.t, x, n, count, out, out_stride, &self.scratch)
        if rest:
            x += count * plan.t.hop
            n -= count * plan.t.hop
            plan.few.run(plan.few.tables, x, n, rest, out + count * out_stride, out_stride, &self.few)


include "stream.pxi"


def normalize(float[:, :] values, spec):
    """The spec's normalisation of values (frames, bands), in place."""
    cdef Segment segment
    cdef str kind = spec.normalization
    cdef double first = spec.norm_epsilon if kind == "z-norm" else spec.norm_mean
    cdef double scale = 1 / <double> spec.norm_deviation
    cdef double* means
    if values.shape[0] == 0 or kind == "none":
        return
    segment.values, segment.stride = &values[0, 0], values.strides[0] // <Py_ssize_t> sizeof(float)
    segment.frames, segment.bands = values.shape[0], values.shape[1]
    if kind == "z-norm":
        with nogil:
            standardize(&segment, first)
    elif kind == "fixed":
        with nogil:
            affine(&segment, first, scale)
    elif kind == "whisper":
        with nogil:
            clamp_whisper(&segment)
    else:
        means = <double*> malloc(segment.bands * sizeof(double))
        if means == NULL:
            raise MemoryError
        with nogil:
            subtract_means(&segment, means)
        free(means)
