"""Planes: spectra in decibels of every clip at several speeds, the store that augmentation draws from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auricle import frontend
from auricle.frontend import FeatureSpec
from auricle.frontend.resampling import MAX_RATE_HZ, MIN_RATE_HZ
from auricle.training.cache import FeatureCache
from auricle.training.clips import Clip
from auricle.training.sounds import read

__all__ = ["SILENCE_DB", "Planes", "make_planes", "planes_of"]

Floats = NDArray[np.float32]

# What the preset's own floor of 1e-10 gives for digital silence.
SILENCE_DB = -200.0
# A last, partial segment with less sound than this says too little of its label to learn from.
LEAST_COVERAGE = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Planes:
    """Segments' spectra before the floor, the noise and the normalisation.

    Attributes:
        db: f16 (n, frames, bands), 20 log10 of the magnitude; ``SILENCE_DB`` where there is none.
        rows: int (n,), frames that have sound, from the first on.
        edge: f32 (n,), the band above which the recording's sample rate left nothing.
        source: int (n,), index of the clip.
        first: bool (n,), whether the sound begins on the first sample, as a served clip's does.
    """

    db: NDArray[np.float16]
    rows: NDArray[np.int64]
    edge: Floats
    source: NDArray[np.int64]
    first: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, sources: Sequence[int]) -> Planes:
        """Those of some clips."""
        kept = np.isin(self.source, np.asarray(sources))
        return Planes(
            db=self.db[kept],
            rows=self.rows[kept],
            edge=self.edge[kept],
            source=self.source[kept],
            first=self.first[kept],
        )


def make_planes(
    clips: Sequence[Clip],
    spec: FeatureSpec,
    *,
    length: int,
    speeds: Sequence[float],
    per_clip: int | Sequence[int],
    seed: int,
    cache: FeatureCache | None = None,
    on_clip: Callable[[], None] = lambda: None,
) -> Planes:
    """Planes of every clip: once as it is, and ``per_clip - 1`` times at a random one of ``speeds``.

    A speed changes pitch, formants and tempo alike, as resampling does. Every variant but the first starts at a
    random sample within a hop, so that frames fall on the sound in all ways.

    Args:
        per_clip: 1 or more, of all clips or of each.
    """
    generator, cache = np.random.default_rng(seed), cache or FeatureCache()
    low = replace(spec, floor=1e-10, normalization="none", norm_epsilon=0.0)
    counts = [per_clip] * len(clips) if isinstance(per_clip, int) else per_clip
    found = []
    for clip, count in zip(clips, counts, strict=True):
        drawn = [1.0, *generator.choice(np.asarray(speeds), count - 1, replace=count - 1 > len(speeds))]
        variants = tuple(
            (float(speed), int(generator.integers(spec.hop)) if number else 0) for number, speed in enumerate(drawn)
        )
        what = ("planes", LEAST_COVERAGE, low, length, variants)
        found.append(cache.arrays(clip.path, what, partial(_variants, clip.path, variants, low, length)))
        on_clip()
    joined = {name: np.concatenate([each[name] for each in found]) for name in found[0]}
    source = np.repeat(np.arange(len(found)), [len(each["rows"]) for each in found])
    return Planes(**joined, source=source)


def _variants(path: Path, variants: Sequence[tuple[float, int]], low: FeatureSpec, length: int) -> dict[str, Any]:
    """All but ``source`` of a clip's planes, at each speed and with as many zeros before it."""
    wave, rate_hz = read(path)
    made: list[tuple[Floats, int, float, bool]] = []
    for number, (speed, shifted) in enumerate(variants):
        edge = min(rate_hz * speed, low.sample_rate_hz) / 2 / low.sample_rate_hz * low.fft_size
        for db, rows in planes_of(*_at(speed, wave, rate_hz, low.sample_rate_hz), low, length=length, lead=shifted):
            made.append((db, rows, edge, number == 0))
    return {
        "db": np.stack([each[0] for each in made]).astype(np.float16),
        "rows": np.array([each[1] for each in made]),
        "edge": np.array([each[2] for each in made], np.float32),
        "first": np.array([each[3] for each in made]),
    }


def _at(speed: float, wave: Floats, rate_hz: int, out_hz: int) -> tuple[Floats, int]:
    """A sound's samples and the rate in Hz that plays them at a speed; ``out_hz`` is the one they will be taken to."""
    if not MIN_RATE_HZ <= round(rate_hz * speed) <= MAX_RATE_HZ:
        # A model's own rate leaves room for any speed.
        wave, rate_hz = frontend.resample(wave, rate_hz, out_hz), out_hz
    return wave, round(rate_hz * speed)


def planes_of(wave: Floats, rate_hz: int, spec: FeatureSpec, *, length: int, lead: int = 0) -> list[tuple[Floats, int]]:
    """(f32 (length, bands) in dB, frames with sound) of each segment of a sound, with ``lead`` zeros before it."""
    resampled = frontend.resample(wave, rate_hz, spec.sample_rate_hz)
    resampled = np.concatenate([np.zeros(lead, np.float32), resampled])
    samples = spec.segment_samples(length)
    starts = [0] + [
        start
        for start in range(samples, resampled.size, samples)
        if min(samples, resampled.size - start) >= LEAST_COVERAGE * samples
    ]
    made = []
    for start in starts:
        piece = resampled[start : start + samples]
        rows = min(length, -(-(piece.size + spec.frame_length - spec.hop) // spec.hop))
        padded = np.concatenate([piece, np.zeros(samples - piece.size, np.float32)])
        made.append((frontend.features(padded, spec, normalize=False), rows))
    return made
