"""Noises made by arithmetic, for data sets that bring no background of their own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["KINDS", "make_noise"]

Floats = NDArray[np.float32]
KINDS = ("coloured", "band", "hum", "clicks", "breath", "tones")


def make_noise(generator: np.random.Generator, kind: str, samples: int, rate_hz: int) -> Floats:
    """f32 (samples,) of one kind, with an RMS level of 1: scale it before use."""
    made = {"coloured": _coloured, "band": _band, "hum": _hum, "clicks": _clicks, "breath": _breath, "tones": _tones}
    wave = made[kind](generator, samples, rate_hz)
    level = float(np.sqrt(np.mean(np.square(wave))))
    return (wave / max(level, 1e-12)).astype(np.float32)


def _shaped(generator: np.random.Generator, samples: int, gains: NDArray[np.float64]) -> NDArray[np.float64]:
    spectrum = np.fft.rfft(generator.standard_normal(samples))
    return np.asarray(np.fft.irfft(spectrum * gains, samples))


def _coloured(generator: np.random.Generator, samples: int, rate_hz: int) -> NDArray[np.float64]:
    """White to brown and beyond: power falls by 0 to 9 dB an octave."""
    hz = np.fft.rfftfreq(samples, 1 / rate_hz)
    return _shaped(generator, samples, np.maximum(hz, 20.0) ** -generator.uniform(0.0, 1.5))


def _band(generator: np.random.Generator, samples: int, rate_hz: int) -> NDArray[np.float64]:
    """A wide bump of noise about a random frequency, over a faint floor: traffic, a fan, wind."""
    hz = np.fft.rfftfreq(samples, 1 / rate_hz)
    octaves = np.log2(np.maximum(hz, 1.0) / np.exp(generator.uniform(np.log(80), np.log(5000))))
    return _shaped(generator, samples, np.exp(-0.5 * (octaves / generator.uniform(0.2, 1.5)) ** 2) + 0.01)


def _hum(generator: np.random.Generator, samples: int, rate_hz: int) -> NDArray[np.float64]:
    """A mains hum with harmonics, and some noise."""
    time_s = np.arange(samples) / rate_hz
    base_hz = generator.choice([50.0, 60.0, 100.0, 120.0]) * generator.uniform(0.99, 1.01)
    wave = 0.1 * generator.standard_normal(samples)
    for number in range(1, 16):
        phase, level = generator.uniform(0, 2 * np.pi), generator.uniform(0.1, 1.0) / number
        wave += level * np.sin(2 * np.pi * base_hz * number * time_s + phase)
    return np.asarray(wave)


def _clicks(generator: np.random.Generator, samples: int, rate_hz: int) -> NDArray[np.float64]:
    """A few bursts that die away: keys, taps, a door."""
    wave = 0.003 * generator.standard_normal(samples)
    for _ in range(int(generator.integers(1, 8))):
        start, decay_s = int(generator.integers(samples)), np.exp(generator.uniform(np.log(0.002), np.log(0.1)))
        fading = np.exp(-np.arange(samples - start) / (decay_s * rate_hz))
        wave[start:] += generator.uniform(0.2, 1.0) * fading * generator.standard_normal(samples - start)
    return np.asarray(wave)


def _breath(generator: np.random.Generator, samples: int, rate_hz: int) -> NDArray[np.float64]:
    """Coloured noise that swells and fades."""
    time_s = np.arange(samples) / rate_hz
    swell = 1 + np.sin(2 * np.pi * generator.uniform(0.3, 3.0) * time_s + generator.uniform(0, 2 * np.pi))
    return _coloured(generator, samples, rate_hz) * (0.02 + swell**2)


def _tones(generator: np.random.Generator, samples: int, rate_hz: int) -> NDArray[np.float64]:
    """One to four steady or sliding tones: beeps, music held, a siren."""
    time_s = np.arange(samples) / rate_hz
    wave = 0.01 * generator.standard_normal(samples)
    for _ in range(int(generator.integers(1, 5))):
        low_hz, slide = np.exp(generator.uniform(np.log(100), np.log(3000))), generator.uniform(-0.5, 0.5)
        wave += generator.uniform(0.2, 1) * np.sin(2 * np.pi * low_hz * (time_s + 0.5 * slide * time_s**2))
    return np.asarray(wave)
