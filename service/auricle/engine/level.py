"""The level of segments: quiet ones are raised to a target before the model hears them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from auricle.engine.segments import SegmentGrid
from auricle.frontend import HopEnergy

__all__ = ["Level", "gain_to"]

# 240 dB; one step of 32 bits is less than 190 below full scale. What would need more is silence, such as an Opus
# decoder's, whose samples are not quite 0: neither its power nor its gain squared would fit float32.
MOST_GAIN = 2.0**40


def gain_to(target: float, energy: float, samples: int) -> float:
    """What so many samples of that sum of squares are multiplied by to have the RMS ``target``: 1 or more.

    Where they are at it already it is 1, and so it is for silence: what is more than 240 dB below the target.
    """
    rms = math.sqrt(energy / samples)
    return target / rms if target < rms * MOST_GAIN and rms < target else 1.0


class Level:
    """Keeps the energy of a sound per feature hop and gives each segment's gain.

    The RMS is over the segment's real samples, padding not counted, summed in double. Sums are taken per
    feature hop, split where a segment's end falls inside one (a snipped segment ends half-way through
    its last hop), so that they do not depend on how the sound arrives.
    """

    def __init__(self, target_dbfs: float, grid: SegmentGrid) -> None:
        self._target = 10.0 ** (target_dbfs / 20.0)
        self._grid = grid
        self._whole, split = divmod(grid.samples or 0, grid.row_samples)
        self._energy = HopEnergy(grid.row_samples, split)
        self._parts = np.empty((0, 2), np.float64)
        self._first = 0

    def feed(self, wave: NDArray[np.float32]) -> None:
        """Takes the next samples f32 (n,) at the model's rate."""
        self._append(self._energy.feed(wave))

    def finish(self) -> None:
        """Closes the last, incomplete hop; the sound has ended."""
        self._append(self._energy.finish())

    def gain(self, index: int, real_samples: int) -> float:
        """What segment ``index``, of which so many samples are sound, is multiplied by; see ``gain_to``."""
        row = index * self._grid.hop
        if row > self._first:
            self._parts = self._parts[row - self._first :]
            self._first = row
        if self._grid.samples is None:
            energy = self._parts.sum()
        else:
            energy = self._parts[: self._whole].sum() + self._head(self._whole)
        return gain_to(self._target, energy, real_samples)

    def _head(self, block: int) -> float:
        """Energy of the samples of a hop that the segment ending in it takes; the hop may not be complete yet."""
        return float(self._parts[block, 0]) if block < len(self._parts) else self._energy.head

    def _append(self, parts: NDArray[np.float64]) -> None:
        if len(parts):
            self._parts = np.concatenate([self._parts, parts]) if len(self._parts) else parts
