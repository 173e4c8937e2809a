"""The float64 definition of resampling: every output as the sum over its filter, and nothing else."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

ATTENUATION_DB = 138.0
HALF_WIDTH = 100  # samples of the lower rate


def lowpass(t: NDArray[np.float64]) -> NDArray[np.float64]:
    """A sinc under a Kaiser window whose stopband begins at the lower Nyquist frequency; t in samples of that rate."""
    beta = 0.1102 * (ATTENUATION_DB - 8.7)
    inside = np.clip(1 - (t / HALF_WIDTH) ** 2, 0, None)
    window = np.where(inside > 0, np.i0(beta * np.sqrt(inside)) / np.i0(beta), 0)
    cutoff = 1 - (ATTENUATION_DB - 7.95) / (2.285 * math.pi * 2 * HALF_WIDTH) / 2
    return cutoff * np.sinc(cutoff * t) * window


def resample(x: ArrayLike, in_hz: int, out_hz: int) -> NDArray[np.float64]:
    """x (n,) at in_hz -> (ceil(n * out_hz / in_hz),); output j is the sound at the time j / out_hz."""
    sound = np.asarray(x, np.float64)
    lower_hz = min(in_hz, out_hz)
    reach = math.ceil(HALF_WIDTH * in_hz / lower_hz) + 1
    padded = np.pad(sound, reach)
    out = np.empty(-(-len(sound) * out_hz // in_hz))
    for j in range(len(out)):
        place, part = divmod(j * in_hz, out_hz)
        near = np.arange(place - reach, place + reach + 1)
        weights = lowpass((place - near + part / out_hz) * lower_hz / in_hz)
        out[j] = padded[near + reach] @ weights / weights.sum()
    return out
