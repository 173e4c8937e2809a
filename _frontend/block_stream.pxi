# Resampling through the frequency domain, a part of resample.pyx.

from libc.string cimport memcpy

from overlap_save cimport Block, analyse, block_choose, block_lay_out, synthesise, transform_fill


cdef class BlockStream(Stream):
    """Outputs by blocks through the frequency domain, see overlap_save.pxd.

    Args:
        analysis, synthesis: of the input's and the output's transform: (columns, first, second, outer, inner) with
            outer f32 (groups, bins, 2, LANES) and inner f32 (second, max(first - 1, 1), 2).
        response: f32 (2, 2 * reach, bins), what each bin of the analysis is multiplied by.
        step_in, step_out: the rates' ratio in lowest terms.
        lead: input frames of a block before the position of its first output.
        hop_out: outputs a block gives; a multiple of step_out.
        channels: at least 1.
    """

    cdef Block block
    cdef list tables
    cdef Py_ssize_t hop_in, hop_out

    def __init__(self, analysis, synthesis, response, long long step_in, long long step_out, Py_ssize_t lead,
                 Py_ssize_t hop_out, Py_ssize_t channels):
        cdef Table analysis_outer = Table(analysis[3]), analysis_inner = Table(analysis[4])
        cdef Table synthesis_outer = Table(synthesis[3]), synthesis_inner = Table(synthesis[4])
        cdef Table filtering = Table(response)
        cdef Block* b = &self.block
        self.tables = [analysis_outer, analysis_inner, synthesis_outer, synthesis_inner, filtering]
        for tables in (analysis, synthesis):
            columns, first, second, outer, inner = tables
            bins, groups = -(-(columns // 2 + 1) // LANES) * LANES, -(-first * second // LANES)
            if outer.shape != (groups, bins, 2, LANES) or inner.shape != (second, max(first - 1, 1), 2):
                raise ValueError(f"the tables do not fit a transform of {columns} x {first} x {second} points")
        transform_fill(&b.analysis, analysis[0], analysis[1], analysis[2], analysis_outer.data, analysis_inner.data)
        transform_fill(
            &b.synthesis, synthesis[0], synthesis[1], synthesis[2], synthesis_outer.data, synthesis_inner.data
        )
        b.reach, b.response = response.shape[1] // 2, filtering.data
        if response.shape != (2, 2 * b.reach, b.analysis.bins) or hop_out % step_out or not block_choose(b):
            raise ValueError(f"the response of shape {response.shape} or {hop_out} outputs a block do not fit")
        self.hop_out = hop_out
        self.hop_in = hop_out // step_out * step_in
        if not block_lay_out(b):
            raise MemoryError
        self.allocate(channels, step_in, step_out, lead, b.length_in - lead)

    def __dealloc__(self):
        free(self.block.scratch)

    cdef long long determined(self, long long received) noexcept nogil:
        cdef long long spare = received + self.before - self.block.length_in
        return (spare // self.hop_in + 1) * self.hop_out if spare >= 0 else 0

    cdef long long begin(self) noexcept nogil:
        """Where in the sound the next block begins."""
        return self.returned // self.step_out * self.step_in - self.before

    cdef void produce(self, float* out, long long count) noexcept nogil:
        cdef Py_ssize_t place = <Py_ssize_t>(self.begin() - self.origin)
        cdef Py_ssize_t c, j, valid
        while count > 0:
            valid = <Py_ssize_t>min(count, <long long>self.hop_out)
            for c in range(self.channels):
                analyse(&self.block, self.buffer + c * self.capacity + place, 0)
                synthesise(&self.block, self.block.out, 0)
                if self.channels == 1:
                    memcpy(out, self.block.out, valid * sizeof(float))
                else:
                    for j in range(valid):
                        out[j * self.channels + c] = self.block.out[j]
            out += valid * self.channels
            count -= valid
            place += self.hop_in

    cdef void run(self, const float* x, long long frames, float* out, long long until) noexcept nogil:
        """Works on blocks that lie in x as a whole where they lie; the others go through the buffer."""
        cdef long long base = self.origin + self.filled, first = self.returned, place = self.begin()
        cdef long long hop_in = self.hop_in, length = self.block.length_in
        cdef long long head = (base - place + hop_in - 1) // hop_in * hop_in + place + length - hop_in - base
        if x == NULL or self.channels > 1 or frames < head + 2 * length:
            Stream.run(self, x, frames, out, until)
            return
        if place < base:  # the blocks that begin before x
            Stream.run(self, x, head, out, until)
            place = self.begin()
        while place + length + VF_LANES <= base + frames and until - self.returned >= self.hop_out:
            analyse(&self.block, x + (place - base), self.hop_in)
            if until - self.returned >= self.block.length_out + VF_LANES:
                # What is not valid the next block overwrites.
                synthesise(&self.block, out + (self.returned - first), self.hop_out)
            else:
                synthesise(&self.block, self.block.out, 0)
                memcpy(out + (self.returned - first), self.block.out, self.hop_out * sizeof(float))
            self.returned += self.hop_out
            place += hop_in
        self.filled, self.origin = 0, place
        Stream.run(self, x + (place - base), frames - (place - base), out + (self.returned - first), until)
