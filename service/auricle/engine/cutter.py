"""The cutter: samples in, segments out. One instance serves one sound, from any number of pieces."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auricle import frontend
from auricle.engine.decode import Block, SoundFormat
from auricle.engine.level import Level, gain_to
from auricle.engine.segments import Intake, SegmentGrid
from auricle.errors import AudioError

__all__ = ["Cutter", "Segment"]

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Segment:
    """What the model takes in at once: rows (n, bands) or samples (n,), and where they lie in the sound.

    ``epoch_start`` is the sample of the last flush before it, or 0: pools begin again with each.
    """

    rows: Floats
    start_sample: int
    end_sample: int
    epoch_start: int


class Cutter:
    """PCM of any rate and channel count to the model's segments.

    Law: any chunking of the same audio gives the same segments, bit for bit. Not thread-safe; one call at
    a time, from any thread. A sound that is resampled is slow to ``feed`` until it is ``designed``.
    """

    def __init__(self, graph: Intake, grid: SegmentGrid, sound: SoundFormat) -> None:
        self._graph = graph
        self._grid = grid
        self._sound = sound
        self._base = 0
        self._flushed = 0
        self.features_s = 0.0
        self.resample_s = 0.0
        self.designed = False
        self._resampler: frontend.ResampleStream | None = None
        self._begin()

    @property
    def samples(self) -> int:
        """Samples at the model's rate so far."""
        return self._base + self._samples

    @property
    def resamples(self) -> bool:
        """Whether the sound comes at another rate than the model's."""
        return self._sound.sample_rate_hz != self._graph.bundle.audio.sample_rate_hz

    @property
    def end_samples(self) -> int:
        """Samples at the model's rate that ``finish`` or ``flush`` may go over: a segment's, or the whole sound's."""
        return self._samples if self._grid.samples is None else self._grid.samples

    @property
    def missing_frames(self) -> int:
        """Sample frames of the fed sound without which the next segment cannot be complete."""
        grid = self._grid
        if grid.samples is None:
            return 0
        # A resampler gives at most what the time that it has heard is worth.
        needed = (grid.start(self._next) + grid.samples) * self._sound.sample_rate_hz
        return max(0, needed // self._graph.bundle.audio.sample_rate_hz - self._fed)

    @property
    def ready(self) -> int:
        """Segments that are complete and not taken yet."""
        grid = self._grid
        if grid.length is None:
            return 0
        complete = min(grid.whole(self._samples), (len(self._rows) - grid.length) // grid.hop + 1)
        return max(0, complete - self._next)

    def feed(self, block: Block) -> list[Segment]:
        """Takes whole sample frames of any number; gives the segments that they complete, however many."""
        self.push(block)
        return self.take(self.ready)

    def push(self, block: Block) -> None:
        """As ``feed``, and leaves the segments to ``take``."""
        begun = time.perf_counter()
        first = self._flushed + self._fed
        mono = frontend.pcm_to_mono(block, self._sound.encoding, self._sound.channels, first_frame=first)
        self._fed += mono.size
        self._hear(self._resample(mono) if self.resamples else mono)
        self.features_s += time.perf_counter() - begun

    def take(self, count: int) -> list[Segment]:
        """Cuts the next segments, at most ``ready``; all of those are to be taken before what comes next."""
        begun = time.perf_counter()
        segments = [self._cut() for _ in range(count)]
        self.features_s += time.perf_counter() - begun
        return segments

    def _resample(self, mono: Floats) -> Floats:
        begun = time.perf_counter()
        if self._resampler is None:
            # The first one between two rates is designed, for up to 20 ms: here, where we are in a thread.
            self._resampler = frontend.ResampleStream(
                self._sound.sample_rate_hz, self._graph.bundle.audio.sample_rate_hz
            )
            self.designed = True
        wave = self._resampler.feed(mono)
        self.resample_s += time.perf_counter() - begun
        return wave

    def finish(self) -> list[Segment]:
        """Ends the sound: the last whole segments and the partial one where the grid keeps it."""
        return self._end(force=False)

    def flush(self) -> list[Segment]:
        """Forces the pending sound out, whatever its coverage; counts go on, everything else begins again."""
        segments = self._end(force=True)
        self._base += self._samples
        self._flushed += self._fed
        self._begin()
        return segments

    def _begin(self) -> None:
        target = self._graph.bundle.segment.raise_to_dbfs
        features = self._graph.features
        self._resampler = None
        self._features = frontend.FeatureStream(features, normalize=False) if features else None
        self._level = Level(target, self._grid) if target is not None and features else None
        self._rows = _Rows()
        self._samples = 0
        self._fed = 0
        self._next = 0

    def _end(self, *, force: bool) -> list[Segment]:
        begun = time.perf_counter()
        if self._resampler:
            rest = self._resampler.finish()
            self.resample_s += time.perf_counter() - begun
            self._hear(rest)
        segments = list(self._last(force=force)) if self._samples else []
        self.features_s += time.perf_counter() - begun
        return segments

    def _last(self, *, force: bool) -> Iterator[Segment]:
        grid, real = self._grid, self._samples
        count = grid.whole(real)
        partial = grid.keeps_partial(real, force=force)
        if partial and grid.samples is not None:
            missing = grid.start(count) + grid.samples - real
            if missing:
                self._append(np.zeros(missing, np.float32))
        if self._features:
            self._rows.append(self._features.finish())
        if self._level:
            self._level.finish()
        while self._next < count:
            yield self._cut()
        if partial:
            if grid.length is None and real < grid.min_samples:
                raise AudioError(
                    f"the sound has {real} samples at {self._graph.bundle.audio.sample_rate_hz} Hz; model "
                    f"{self._graph.bundle.name!r} needs at least {grid.min_samples}",
                    field="audio",
                    reason="AUDIO_TOO_SHORT",
                )
            yield self._cut()

    def _hear(self, wave: Floats) -> None:
        """Takes samples at the model's rate."""
        if not wave.size:
            return
        self._samples += wave.size
        if self._level:
            self._level.feed(wave)
        self._append(wave)

    def _append(self, wave: Floats) -> None:
        self._rows.append(self._features.feed(wave) if self._features else wave)

    def _cut(self) -> Segment:
        grid, index = self._grid, self._next
        self._next += 1
        first = index * grid.hop
        stop = first + grid.length if grid.length is not None else len(self._rows)
        start = grid.start(index)
        end = min(start + grid.samples, self._samples) if grid.samples is not None else self._samples
        rows = self._rows.take(first, stop)
        self._rows.drop(first + grid.hop if grid.length is not None else stop)
        rows = self._raise(rows, index, end - start)
        if self._graph.features and self._graph.features.normalization != "none":
            rows = frontend.normalize(rows, self._graph.features)
        return Segment(rows, self._base + start, self._base + end, self._base)

    def _raise(self, rows: Floats, index: int, real: int) -> Floats:
        """Lifts a quiet segment to the bundle's level: by g on waveform and magnitude, by g^2 on power."""
        target = self._graph.bundle.segment.raise_to_dbfs
        if target is None:
            return rows
        features = self._graph.features
        if self._level is None or features is None:
            gain = gain_to(10.0 ** (target / 20.0), float(np.square(rows, dtype=np.float64).sum()), real)
        else:
            gain = self._level.gain(index, real)
            gain = gain * gain if features.spectrum == "power" else gain
        return rows if gain == 1.0 else rows * np.float32(gain)


class _Rows:
    """The rows that a later segment may still need, numbered from the start of the sound."""

    def __init__(self) -> None:
        self._pieces: list[Floats] = []
        self._first = 0
        self._count = 0
        self._needed = 0

    def __len__(self) -> int:
        """Rows so far, dropped ones included."""
        return self._count

    def append(self, rows: Floats) -> None:
        if len(rows):
            self._pieces.append(rows)
            self._count += len(rows)
            self.drop(self._needed)

    def take(self, first: int, stop: int) -> Floats:
        """Rows [first, stop) as one contiguous copy, or a view where they came as one piece."""
        if len(self._pieces) > 1:
            self._pieces = [np.concatenate(self._pieces)]
        if not self._pieces:
            return np.empty(0, np.float32)
        return self._pieces[0][first - self._first : stop - self._first]

    def drop(self, before: int) -> None:
        """Forgets the rows before this one, also those that are yet to come."""
        self._needed = before
        while self._pieces and self._first + len(self._pieces[0]) <= before:
            self._first += len(self._pieces.pop(0))
        if self._pieces and before > self._first:
            self._pieces[0] = self._pieces[0][before - self._first :]
            self._first = before
