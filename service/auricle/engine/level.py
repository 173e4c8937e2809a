"""The level of segments: quiet ones are raised to a target before the model hears them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from auricle.engine.segments import SegmentGrid

__all__ = ["Level"]

Floats = NDArray[np.float32]


class Level:
    """Keeps the energy of a sound per feature hop and gives each segment's gain.

    The RMS is over the segment's real samples, padding not counted, summed in double. Sums are taken per
    feature hop, split where a segment's end falls inside one (a snipped segment ends half-way through
    its last hop), so that they do not depend on how the sound arrives.
    """

    def __init__(self, target_dbfs: float, grid: SegmentGrid) -> None:
        self._target = 10.0 ** (target_dbfs / 20.0)
        self._grid = grid
        self._hop = grid.row_samples
        self._split = grid.samples % self._hop if grid.samples is not None else 0
        self._rest = np.empty(0, np.float32)
        self._parts = np.empty((0, 2), np.float64)
        self._first = 0

    def feed(self, wave: Floats) -> None:
        """Takes the next samples f32 (n,) at the model's rate."""
        if self._rest.size:
            wave = np.concatenate([self._rest, wave])
        blocks = wave.size // self._hop
        self._rest = wave[blocks * self._hop :].copy()
        if blocks:
            self._append(wave[: blocks * self._hop])

    def finish(self) -> None:
        """Closes the last, incomplete hop; the sound has ended."""
        if self._rest.size:
            self._append(np.pad(self._rest, (0, self._hop - self._rest.size)))
            self._rest = np.empty(0, np.float32)

    def gain(self, index: int, real_samples: int) -> float:
        """What segment ``index``, of which so many samples are sound, is multiplied by: 1 or more."""
        row = index * self._grid.hop
        if row > self._first:
            self._parts = self._parts[row - self._first :]
            self._first = row
        if self._grid.samples is None:
            energy = self._parts.sum()
        else:
            whole = self._grid.samples // self._hop
            energy = self._parts[:whole].sum() + self._head(whole)
        rms = math.sqrt(energy / real_samples)
        return self._target / rms if 0 < rms < self._target else 1.0

    def _head(self, block: int) -> float:
        """Energy of the samples of a hop that the segment ending in it takes; the hop may not be complete yet."""
        if block < len(self._parts):
            return float(self._parts[block, 0])
        return float(self._sums(np.pad(self._rest, (0, self._hop - self._rest.size)))[0, 0])

    def _append(self, wave: Floats) -> None:
        self._parts = np.concatenate([self._parts, self._sums(wave)])

    def _sums(self, wave: Floats) -> NDArray[np.float64]:
        """Energy before and after the split of each hop of f32 (k hops): f64 (k, 2)."""
        squares = np.square(wave.reshape(-1, self._hop), dtype=np.float64)
        return np.stack([squares[:, : self._split].sum(1), squares[:, self._split :].sum(1)], axis=1)
