"""Sounds to try a model with: the same ones on every machine."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["probes", "trials"]

Sound = NDArray[np.float32]


def probes(sample_rate_hz: int, samples: int) -> Iterator[tuple[str, Sound]]:
    """A few named sounds f32 (samples,) in [-1, 1] that tell one frontend from another.

    Every band holds some noise: in an empty one float32's rounding, which no two frontends share, is all there is.
    """
    yield "noise", _noise(samples, 0.1)
    yield "sweep and noise", _sweep(sample_rate_hz, samples) + _noise(samples, 0.01)


def trials(sample_rate_hz: int, samples: int) -> Iterator[tuple[str, Sound]]:
    """Named sounds f32 (samples,) in [-1, 1] from silence to full scale: noise, tones, clicks, voices, chirps."""
    time = np.arange(samples) / sample_rate_hz
    yield "silence", np.zeros(samples, np.float32)
    yield "noise", _noise(samples, 0.1)
    yield "quiet noise", _noise(samples, 0.003)
    yield "loud noise", np.clip(_noise(samples, 0.4), -1, 1)
    yield "brown noise", _level(np.cumsum(_noise(samples, 1.0) - _noise(samples, 1.0).mean()), 0.5)
    yield "sweep", _sweep(sample_rate_hz, samples)
    yield "tone", _level(np.sin(2 * np.pi * 440 * time), 0.5)
    clicks = np.zeros(samples)
    clicks[:: max(1, sample_rate_hz // 8)] = 1
    yield "clicks", _level(clicks, 0.9)
    for name, pitch_hz in (("low voice", 110.0), ("high voice", 220.0)):
        yield name, _voice(time, pitch_hz)
    bursts = np.sin(2 * np.pi * 3000 * time + 20 * np.sin(2 * np.pi * 25 * time)) * (np.sin(2 * np.pi * 5 * time) > 0)
    yield "chirps", _level(bursts, 0.3)


def _noise(samples: int, deviation: float) -> Sound:
    return np.random.default_rng(samples).normal(0, deviation, samples).astype(np.float32)


def _sweep(sample_rate_hz: int, samples: int) -> Sound:
    """From 50 Hz to 0.45 of the rate, exponentially."""
    seconds = samples / sample_rate_hz
    growth = np.log(0.45 * sample_rate_hz / 50) / seconds
    time = np.arange(samples) / sample_rate_hz
    return _level(np.sin(2 * np.pi * 50 * np.expm1(growth * time) / growth), 0.5)


def _voice(time: NDArray[np.float64], pitch_hz: float) -> Sound:
    """Harmonics under three formants that glide, in syllables of a quarter of a second."""
    total = np.zeros_like(time)
    pitch = pitch_hz * (1 + 0.05 * np.sin(2 * np.pi * 3 * time))
    phase = 2 * np.pi * np.cumsum(pitch) * (time[1] - time[0] if time.size > 1 else 0)
    formants = (600 + 200 * np.sin(2 * np.pi * 2 * time), 1500 + 500 * np.sin(2 * np.pi * 1.3 * time), 2600.0)
    for harmonic in range(1, int(4000 / pitch_hz)):
        hz = harmonic * pitch
        gain = sum(np.exp(-(((hz - formant) / 150) ** 2)) for formant in formants) + 0.02
        total += gain * np.sin(harmonic * phase)
    return _level(total * np.clip(np.sin(2 * np.pi * 4 * time) + 0.5, 0, 1), 0.5)


def _level(sound: NDArray[np.floating], peak: float) -> Sound:
    highest = float(np.abs(sound).max(initial=0.0))
    return (sound * (peak / highest if highest else 0.0)).astype(np.float32)
