"""Placing: a sound cut short, stretched and put somewhere in a segment."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from auricle.training.augmentation import Augmentation
from auricle.training.decibels import to_decibels, to_power
from auricle.training.planes import SILENCE_DB
from auricle.training.warping import warp_time, waves

__all__ = ["place"]

Floats = NDArray[np.float32]


def place(
    db: Floats, rows: NDArray[np.int64], tempo: Floats, settings: Augmentation, generator: np.random.Generator
) -> Floats:
    """Cuts each sound short, stretches it in time and puts it somewhere in the segment; around it is silence."""
    count, frames, _ = db.shape
    head, tail = (
        np.floor(rows * generator.uniform(0.0, settings.crop, count) * (generator.random(count) < 0.5))
        for _ in range(2)
    )
    silent = _silent_ends(db, rows, np.asarray(generator.uniform(*settings.trim_db, count)))
    head, tail = np.maximum(head, silent[0]), np.maximum(tail, silent[1])
    active = np.maximum(rows - head - tail, 1.0) / tempo
    room = frames - active
    low, high = -settings.overhang * active, room + settings.overhang * active
    start = np.where(
        generator.random(count) < settings.served, 0.0, np.round(generator.uniform(np.minimum(low, high), high))
    )
    passed = (np.arange(frames) - start[:, None]) / active[:, None]
    passed = warp_time(passed, waves(count, settings.rubato, generator))
    source = passed * (active * tempo)[:, None] + head[:, None]
    last = (rows - 1)[:, None]
    inside = (source > head[:, None] - 1.0) & (source < (rows - tail)[:, None])
    lower = np.clip(np.floor(source), 0, last).astype(np.int64)
    upper = np.minimum(lower + 1, last)
    part = np.clip(source - lower, 0.0, 1.0).astype(np.float32)[:, :, None]
    below = _take_rows(db, lower)
    moved = below + (_take_rows(db, upper) - below) * part
    return np.where(inside[:, :, None], moved, np.float32(SILENCE_DB))


def _silent_ends(
    db: Floats, rows: NDArray[np.int64], least_db: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many frames at the beginning and at the end lie further below the loudest than ``least_db`` each."""
    ends = []
    for sound, number, below_db in zip(db, rows.tolist(), least_db.tolist(), strict=True):
        levels = to_decibels(to_power(sound[:number]).mean(1))
        loud = np.flatnonzero(levels >= levels.max() - below_db)
        ends.append((loud[0], number - 1 - loud[-1]))
    heads, tails = np.array(ends).T
    return heads, tails


def _take_rows(values: Floats, index: NDArray[np.int64]) -> Floats:
    """values[i, index[i]] for each example."""
    return np.stack([source[places] for source, places in zip(values, index, strict=True)])
