"""The feature engine: frames of a waveform to spectra, mel bands and their logarithms, at one instruction-set level.

Design. Lanes are frames: every variable of a kernel is a vector of VF_LANES adjacent frames, so each step is the scalar
algorithm with floats replaced by vectors, and nothing is ever shuffled inside one. A block of up to VF_LANES frames
goes through

    gather      samples, transposed once; frames that overlap read the same row at a shifted column
    analyse     mean, pre-emphasis, window, DFT, |X|² or |X|
    bank        mel triangles (their non-zero weights only) or the first bins
    compress    logarithm
    scatter     back to rows of the output

A block with fewer frames runs the same code with idle lanes, and lanes never mix: what a frame gives depends on its own
samples alone, so any chunking of a sound gives the same bits. A Plan holds the constant tables and is shared by all
threads; a Stream holds everything that changes. Kernels run without the GIL.
"""

from libc.math cimport log
from libc.stdint cimport uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove, memset

from vec cimport VF_LANES, vf, vf_load, vf_max, vf_set, vf_sqrt
from ln cimport vf_ln
from fft_general cimport Bluestein, Signal, Stockham, chirp_transform, factorize, transform

import numpy as np

from auricle.frontend import tables

LANES = VF_LANES

cdef float FLOAT_MAX = 3.4028234663852886e38
cdef float RESCUE_GAIN = 2.0 ** -64
cdef double LN_RESCUE = 44.3614195558364998  # 64·ln 2


cdef class Plan:
    """The constant tables of one spec (its normalisation aside). Immutable, shared by streams and threads."""

    cdef readonly object spec
    cdef readonly Py_ssize_t frame_length, hop, bands, front, back, reach
    cdef bint drop_last, remove_dc, magnitude, reflect, compressed
    cdef float emphasis, floor, offset, log_scale
    cdef Py_ssize_t rows, stride                  # the gathered block: rows × stride floats
    cdef int bins, half_length
    cdef bint packed, chirped
    cdef float[::1] window, weights
    cdef int[::1] offsets, first_bin, n_bins
    cdef Stockham stockham
    cdef Bluestein bluestein
    cdef list keep                                # arrays whose memory the structs point into
    cdef const float* half_cosine
    cdef const float* half_sine

    def __init__(self, spec):
        self.spec = spec
        self.keep = []
        self.frame_length, self.hop, self.bands = spec.frame_length, spec.hop, spec.bands
        self.front, self.back = spec.front_samples, spec.back_samples
        self.reflect = spec.padding == "centre-reflect"
        self.reach = self.front + 1 if self.reflect else 0
        self.drop_last = spec.drop_last_frame
        self.remove_dc = spec.remove_dc
        self.emphasis = spec.preemphasis
        self.magnitude = spec.spectrum == "magnitude"
        self.compressed = spec.compression != "none"
        self.floor, self.offset = spec.floor, spec.offset
        self.log_scale = _log_scale(spec)
        self.bins = spec.bins
        self.window = tables.window(spec).astype(np.float32)
        self._plan_block()
        self._plan_bank(spec)
        self._plan_transform(spec.fft_size)

    def _plan_block(self):
        # Sample j of the frame in lane l is row j % rows, column l + j // rows.
        j = np.arange(self.frame_length)
        self.rows = min(self.hop, self.frame_length)
        self.stride = VF_LANES + (self.frame_length - 1) // self.hop
        self.offsets = ((j % self.hop) * self.stride + j // self.hop).astype(np.int32)

    def _plan_bank(self, spec):
        if spec.filterbank == "bins":
            self.first_bin = np.arange(self.bands, dtype=np.int32)
            self.n_bins = np.ones(self.bands, dtype=np.int32)
            self.weights = np.ones(self.bands, dtype=np.float32)
            return
        dense = tables.mel_weights(spec).astype(np.float32)
        used = dense > 0
        self.n_bins = used.sum(axis=1, dtype=np.int32)
        self.first_bin = used.argmax(axis=1).astype(np.int32)
        self.weights = np.ascontiguousarray(dense[used])

    def _plan_transform(self, int fft_size):
        # A real transform of even length is a complex one of half the length and a pass that takes it apart.
        self.packed = fft_size % 2 == 0
        self.half_length = fft_size // 2 if self.packed else fft_size
        self.half_cosine, self.half_sine = self._table(tables.twiddles(fft_size))
        self.chirped = not factorize(&self.stockham, self.half_length)
        if not self.chirped:
            self.stockham.cosine, self.stockham.sine = self._table(tables.twiddles(self.half_length))
            return
        inner = 1 << (2 * self.half_length - 2).bit_length()
        factorize(&self.bluestein.inner, inner)
        self.bluestein.length = self.half_length
        self.bluestein.inner.cosine, self.bluestein.inner.sine = self._table(tables.twiddles(inner))
        wave, response = tables.chirp(self.half_length, inner)
        self.bluestein.chirp_re, self.bluestein.chirp_im = self._table((wave.real, wave.imag))
        self.bluestein.filter_re, self.bluestein.filter_im = self._table((response.real, response.imag))

    cdef (const float*, const float*) _table(self, pair):
        cdef float[::1] first = pair[0].astype(np.float32)
        cdef float[::1] second = pair[1].astype(np.float32)
        self.keep.append(first)
        self.keep.append(second)
        return &first[0], &second[0]

    cdef Py_ssize_t frames(self, Py_ssize_t n) noexcept nogil:
        """FeatureSpec.frames."""
        cdef Py_ssize_t room = n + self.front + self.back - self.frame_length
        if n <= 0 or room < 0:
            return 0
        return max(room // self.hop + 1 - self.drop_last, 0)


def _log_scale(spec):
    """What turns ln into the spec's logarithm."""
    scale = {"none": 0.0, "ln": 1.0, "log10": 1 / np.log(10.0), "db": 10 / np.log(10.0)}[spec.compression]
    return 2 * scale if spec.compression == "db" and spec.spectrum == "magnitude" else scale


cdef struct Scratch:
    # Working memory of one running block; vectors of VF_LANES frames.
    float* block      # rows × stride samples
    vf* values        # bands
    vf* spectrum      # bins
    Signal a, b       # the transform's two sides


cdef inline Py_ssize_t inner_length(Plan plan) noexcept nogil:
    return plan.bluestein.inner.length if plan.chirped else plan.half_length


cdef void* allocate_scratch(Plan plan, Scratch* s) noexcept nogil:
    """One allocation, carved up; returns what to free, or NULL."""
    cdef Py_ssize_t m = inner_length(plan) + 1
    cdef Py_ssize_t block = (plan.rows * plan.stride + VF_LANES) // VF_LANES + 1
    cdef void* memory = malloc((block + plan.bands + plan.bins + 4 * m + 1) * sizeof(vf))
    cdef vf* at
    if memory == NULL:
        return NULL
    at = <vf*> ((<uintptr_t> memory + sizeof(vf) - 1) // sizeof(vf) * sizeof(vf))
    s.block = <float*> at
    s.values = at + block
    s.spectrum = s.values + plan.bands
    s.a.re = s.spectrum + plan.bins
    s.a.im = s.a.re + m
    s.b.re = s.a.im + m
    s.b.im = s.b.re + m
    return memory


cdef void gather(Plan plan, const float* x, Py_ssize_t count, float gain, float* block) noexcept nogil:
    """x ((count - 1)·hop + frame_length,) → block (rows, stride): row r, column c is x[c·hop + r]; idle ones zero."""
    cdef Py_ssize_t r, c, used, n = (count - 1) * plan.hop + plan.frame_length
    for r in range(plan.rows):
        used = min((n - r + plan.hop - 1) // plan.hop, plan.stride)
        for c in range(used):
            block[r * plan.stride + c] = x[c * plan.hop + r] * gain
        for c in range(used, plan.stride):
            block[r * plan.stride + c] = 0


cdef inline vf windowed(Plan plan, const float* block, vf level, Py_ssize_t j) noexcept nogil:
    """Sample j of the frames: pre-emphasised, less ``level``, times the window; zero past the frame."""
    cdef vf v
    if j >= plan.frame_length:
        return vf_set(0)
    v = vf_load(block + plan.offsets[j])
    if plan.emphasis != 0:
        v = v - plan.emphasis * vf_load(block + plan.offsets[j - 1 if j > 0 else 0])
    return (v - level) * plan.window[j]


cdef vf frame_level(Plan plan, const float* block) noexcept nogil:
    """What to subtract from the pre-emphasised samples so that the frames' means are gone: (1 - a)·mean."""
    cdef vf total = vf_set(0), part
    cdef Py_ssize_t j, first
    if not plan.remove_dc:
        return total
    # Sums of sums: a single long one would round at the size of the whole.
    for first in range(0, plan.frame_length, 16):
        part = vf_set(0)
        for j in range(first, min(first + 16, plan.frame_length)):
            part = part + vf_load(block + plan.offsets[j])
        total = total + part
    return total * ((<float> 1.0 - plan.emphasis) / <float> plan.frame_length)


cdef void analyse(Plan plan, const float* block, Scratch* s) noexcept nogil:
    """block (rows, stride) → s.spectrum (bins,): |X|² or |X| of the frames."""
    cdef vf level = frame_level(plan, block)
    cdef Py_ssize_t i, k, m = plan.half_length
    cdef Signal z
    cdef vf even_re, even_im, odd_re, odd_im, re, im
    cdef float wr, wi
    for i in range(m):
        if plan.packed:
            s.a.re[i] = windowed(plan, block, level, 2 * i)
            s.a.im[i] = windowed(plan, block, level, 2 * i + 1)
        else:
            s.a.re[i] = windowed(plan, block, level, i)
            s.a.im[i] = vf_set(0)
    if plan.chirped:
        z = chirp_transform(&plan.bluestein, s.a, s.b)
    else:
        z = transform(&plan.stockham, s.a, s.b)
    for k in range(plan.bins):
        if plan.packed:
            # Z[k] = E[k] + i·O[k] with E, O the transforms of even and odd samples; X[k] = E[k] + ω^k·O[k].
            i = k if k < m else 0
            even_re = (z.re[i] + z.re[(m - k) % m]) * <float> 0.5
            even_im = (z.im[i] - z.im[(m - k) % m]) * <float> 0.5
            odd_re = (z.im[i] + z.im[(m - k) % m]) * <float> 0.5
            odd_im = (z.re[(m - k) % m] - z.re[i]) * <float> 0.5
            wr = plan.half_cosine[k]
            wi = -plan.half_sine[k]
            re = even_re + (odd_re * wr - odd_im * wi)
            im = even_im + (odd_re * wi + odd_im * wr)
        else:
            re = z.re[k]
            im = z.im[k]
        s.spectrum[k] = re * re + im * im
        if plan.magnitude:
            s.spectrum[k] = vf_sqrt(s.spectrum[k])


cdef void bank(Plan plan, const vf* spectrum, vf* values) noexcept nogil:
    """spectrum (bins,) → values (bands,): the sum of each band's bins by their weights."""
    cdef const float* weight = &plan.weights[0] if plan.weights.shape[0] else NULL
    cdef const vf* bins
    cdef Py_ssize_t b
    cdef int i
    cdef vf total
    for b in range(plan.bands):
        bins = spectrum + plan.first_bin[b]
        total = vf_set(0)
        for i in range(plan.n_bins[b]):
            total = total + bins[i] * weight[i]
        weight += plan.n_bins[b]
        values[b] = total


cdef void compress(Plan plan, vf* values) noexcept nogil:
    """values (bands,) in place: the logarithm of max(v, floor) + offset."""
    cdef vf floor = vf_set(plan.floor)
    cdef Py_ssize_t b
    for b in range(plan.bands):
        values[b] = vf_ln(vf_max(values[b], floor) + plan.offset) * plan.log_scale


cdef void scatter(Plan plan, const vf* values, Py_ssize_t count, float* out, Py_ssize_t out_stride) noexcept nogil:
    """values (bands,) of vectors → out (count, bands)."""
    cdef const float* lanes = <const float*> values
    cdef Py_ssize_t l, b
    for l in range(count):
        for b in range(plan.bands):
            out[l * out_stride + b] = lanes[b * VF_LANES + l]


cdef bint overflowed(Plan plan, const vf* values, Py_ssize_t lane) noexcept nogil:
    cdef const float* lanes = <const float*> values
    cdef Py_ssize_t b
    for b in range(plan.bands):
        if not lanes[b * VF_LANES + lane] <= FLOAT_MAX:
            return True
    return False


cdef void rescue(Plan plan, const vf* values, Py_ssize_t lane, float* out) noexcept nogil:
    """Values of a frame that was scaled down by RESCUE_GAIN (lane of values) → out (bands,), scaled back."""
    cdef const float* lanes = <const float*> values
    cdef double gain = 1.0 / RESCUE_GAIN, lift = LN_RESCUE, v
    cdef Py_ssize_t b
    if not plan.magnitude:
        gain *= gain
        lift *= 2
    for b in range(plan.bands):
        v = lanes[b * VF_LANES + lane]
        if not plan.compressed:
            out[b] = <float> (v * gain)
        elif v * gain < FLOAT_MAX:
            out[b] = <float> (log(max(v * gain, <double> plan.floor) + plan.offset) * plan.log_scale)
        else:
            out[b] = <float> ((log(v) + lift) * plan.log_scale)


cdef void run_block(Plan plan, const float* x, Py_ssize_t count, float* out, Py_ssize_t out_stride, Scratch* s) noexcept nogil:
    """count ≤ VF_LANES frames from x on → out (count, bands), rows out_stride apart."""
    cdef bint spoilt[64]
    cdef bint any_spoilt = False
    cdef Py_ssize_t l
    gather(plan, x, count, 1, s.block)
    analyse(plan, s.block, s)
    bank(plan, s.spectrum, s.values)
    for l in range(count):
        spoilt[l] = overflowed(plan, s.values, l)
        any_spoilt |= spoilt[l]
    if plan.compressed:
        compress(plan, s.values)
    scatter(plan, s.values, count, out, out_stride)
    if any_spoilt:
        # Power of a sound beyond ±1e18 leaves float32's range; its logarithm does not.
        gather(plan, x, count, RESCUE_GAIN, s.block)
        analyse(plan, s.block, s)
        bank(plan, s.spectrum, s.values)
        for l in range(count):
            if spoilt[l]:
                rescue(plan, s.values, l, out + l * out_stride)


cdef void run_frames(Plan plan, const float* x, Py_ssize_t count, float* out, Py_ssize_t out_stride, Scratch* s) noexcept nogil:
    """x ((count - 1)·hop + frame_length,) → out (count, bands), a block at a time."""
    cdef Py_ssize_t done = 0, step
    while done < count:
        step = min(count - done, <Py_ssize_t> VF_LANES)
        run_block(plan, x + done * plan.hop, step, out + done * out_stride, out_stride, s)
        done += step


cdef class Stream:
    """One sound, fed in pieces of any size; ``feed`` gives the frames that the new samples complete.

    Positions count in the padded sound: its front padding begins at 0, frame f at f·hop. ``held`` keeps the samples
    from ``base`` on that later frames, or the mirror at the end, still need.
    """

    cdef readonly Plan plan
    cdef Scratch scratch
    cdef void* memory
    cdef float* held
    cdef Py_ssize_t capacity, base, end      # held covers positions base … end
    cdef Py_ssize_t samples, emitted         # fed and given so far
    cdef bint primed, finished, busy

    def __cinit__(self, Plan plan):
        self.plan = plan
        self.capacity = plan.front + 3 * plan.frame_length + plan.hop + plan.reach + plan.back
        self.held = <float*> malloc(self.capacity * sizeof(float))
        self.memory = allocate_scratch(plan, &self.scratch)
        if self.held == NULL or self.memory == NULL:
            raise MemoryError
        memset(self.held, 0, plan.front * sizeof(float))
        self.end = plan.front
        self.primed = not plan.reflect

    def __dealloc__(self):
        free(self.held)
        free(self.memory)

    def feed(self, const float[::1] x, out=None):
        """x (n,) → the completed frames (k, bands), written to ``out[:k]`` where given (at least k rows)."""
        cdef const float* at = &x[0] if x.shape[0] else NULL
        cdef Py_ssize_t n = x.shape[0], count
        cdef float[:, :] rows
        self._enter()
        try:
            if not self.primed:
                n -= self._prime(&at, n)
            count = self._completed(n) - self.emitted
            result = np.empty((count, self.plan.bands), np.float32) if out is None else out[:count]
            rows = result
            with nogil:
                self._feed(at, n, count, &rows[0, 0] if count else NULL, rows.strides[0] // <Py_ssize_t> sizeof(float))
        finally:
            self.busy = False
        return result

    def finish(self, out=None):
        """The frames that the end of the sound completes (k, bands); the stream takes nothing more."""
        cdef Py_ssize_t count
        cdef float[:, :] rows
        self._enter()
        try:
            self.finished = True
            count = self.plan.frames(self.samples) - self.emitted
            result = np.empty((count, self.plan.bands), np.float32) if out is None else out[:count]
            rows = result
            if count:
                with nogil:
                    self._pad_end()
                    run_frames(
                        self.plan, self.held + (self.emitted * self.plan.hop - self.base), count,
                        &rows[0, 0], rows.strides[0] // <Py_ssize_t> sizeof(float), &self.scratch,
                    )
                self.emitted += count
        finally:
            self.busy = False
        return result

    cdef int _enter(self) except -1:
        if self.busy:
            raise RuntimeError("a FeatureStream is used by one thread at a time; give each thread its own")
        if self.finished:
            raise RuntimeError("the FeatureStream is finished; make a new one for the next sound")
        self.busy = True
        return 0

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
        cdef Py_ssize_t room = self.plan.front + self.samples + n - self.plan.frame_length
        if not self.primed or room < 0:
            return self.emitted
        return max(min(room // self.plan.hop + 1, self.plan.frames(self.samples + n)), self.emitted)

    cdef void _append(self, const float* x, Py_ssize_t n) noexcept nogil:
        if n > 0:
            memcpy(self.held + (self.end - self.base), x, n * sizeof(float))
            self.end += n

    cdef void _feed(self, const float* x, Py_ssize_t n, Py_ssize_t count, float* out, Py_ssize_t out_stride) noexcept nogil:
        cdef Py_ssize_t hop = self.plan.hop, length = self.plan.frame_length
        cdef Py_ssize_t start = self.end                       # position of x[0]
        cdef Py_ssize_t target = self.emitted + count
        cdef Py_ssize_t split = min(max((start + hop - 1) // hop, self.emitted), target)  # frames from here lie in x
        cdef Py_ssize_t lent, keep
        if self.emitted < split:
            # Frames that began in what is held: lend it as much of x as the last of them needs, then take it back.
            lent = (split - 1) * hop + length - start
            self._append(x, lent)
            run_frames(self.plan, self.held + (self.emitted * hop - self.base), split - self.emitted, out, out_stride, &self.scratch)
            self.end = start
        if split < target:
            run_frames(
                self.plan, x + (split * hop - start), target - split,
                out + (split - self.emitted) * out_stride, out_stride, &self.scratch,
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


cdef Py_ssize_t reflected(Py_ssize_t i, Py_ssize_t n) noexcept nogil:
    """The sample that the endless mirror image of n samples shows at i (the ends are not repeated)."""
    cdef Py_ssize_t period = 2 * (n - 1)
    if n == 1:
        return 0
    i = i % period
    if i < 0:
        i += period
    return i if i < n else period - i


def normalize(float[:, :] values, spec):
    """The spec's normalisation of values (frames, bands), in place; sums are in double precision, frame by frame."""
    cdef Py_ssize_t frames = values.shape[0], bands = values.shape[1], t, b
    cdef str kind = spec.normalization
    cdef double total = 0, mean, deviation, scale, count = frames * bands
    cdef double epsilon = spec.norm_epsilon
    cdef float low
    if frames == 0 or kind == "none":
        return
    if kind == "z-norm":
        with nogil:
            for t in range(frames):
                for b in range(bands):
                    total += values[t, b]
            mean = total / count
            total = 0
            for t in range(frames):
                for b in range(bands):
                    total += (values[t, b] - mean) * (values[t, b] - mean)
            deviation = (total / count) ** 0.5 + epsilon
            scale = 1 / deviation if deviation > 0 else 0
            for t in range(frames):
                for b in range(bands):
                    values[t, b] = <float> ((values[t, b] - mean) * scale)
    elif kind == "mean":
        with nogil:
            for b in range(bands):
                total = 0
                for t in range(frames):
                    total += values[t, b]
                mean = total / frames
                for t in range(frames):
                    values[t, b] = <float> (values[t, b] - mean)
    elif kind == "fixed":
        mean = spec.norm_mean
        scale = 1 / <double> spec.norm_deviation
        with nogil:
            for t in range(frames):
                for b in range(bands):
                    values[t, b] = <float> ((values[t, b] - mean) * scale)
    else:
        with nogil:
            low = values[0, 0]
            for t in range(frames):
                for b in range(bands):
                    low = max(low, values[t, b])
            low -= 8
            for t in range(frames):
                for b in range(bands):
                    values[t, b] = (max(values[t, b], low) + 4) / 4
