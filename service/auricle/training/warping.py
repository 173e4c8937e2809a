"""Warping: formants and pitch moved apart, over the bands of a spectrum and within the time of a sound."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from auricle.training.planes import SILENCE_DB

__all__ = ["EDGE_MARGIN_BINS", "read_bands", "take_bands", "warp_bands", "warp_time", "waves"]

Floats = NDArray[np.float32]

# Width in bins of the smoothing that parts a spectrum's envelope (formants) from its fine structure (pitch).
ENVELOPE_BINS = 13
EDGE_MARGIN_BINS = 3.0
# Sine waves over the sound that a bend of its bands, or a change of its tempo, is made of.
WAVES = 2


def waves(count: int, size: float, generator: np.random.Generator) -> Floats:
    """Weights of ``WAVES`` sine waves for each example, (n, waves), which sum up to no more than ``size``."""
    return np.asarray(generator.uniform(-size, size, (count, WAVES)) / WAVES, np.float32)


def warp_bands(db: Floats, formants: Floats, pitch: Floats, bends: Floats, edge: Floats) -> tuple[Floats, Floats]:
    """Moves envelope and fine structure apart: each band is read at its place times the factor, and bent."""
    clear = np.maximum(db, np.float32(-120.0))
    half = ENVELOPE_BINS // 2
    padded = np.pad(clear, ((0, 0), (0, 0), (half + 1, half)), mode="edge")
    sums = np.cumsum(padded, axis=2, dtype=np.float32)
    envelope = (sums[:, :, ENVELOPE_BINS:] - sums[:, :, :-ENVELOPE_BINS]) / np.float32(ENVELOPE_BINS)
    bands = np.arange(db.shape[2], dtype=np.float32)
    moved_edge = edge / formants
    fine = read_bands(clear - envelope, np.minimum(bands * pitch[:, None], edge[:, None] - EDGE_MARGIN_BINS))
    # Close to the edge of what was recorded the envelope falls off a cliff that is no voice's.
    places = bands * formants[:, None]
    along = np.minimum(places / edge[:, None], 1.0)
    for number, weight in enumerate(bends.T, 1):
        places += weight[:, None] * np.sin(np.float32(np.pi * number) * along)
    warped = read_bands(envelope, places) + fine
    silent = (db <= SILENCE_DB + 1.0).all(axis=2, keepdims=True)
    beyond = bands >= moved_edge[:, None]
    return np.where(silent | beyond[:, None, :], np.float32(SILENCE_DB), warped), moved_edge


def read_bands(values: Floats, places: Floats) -> Floats:
    """``values`` (n, frames, bands) between bands, at ``places`` (n, bands), linearly; clamped at the ends."""
    last = values.shape[2] - 1
    low = np.clip(places.astype(np.int64), 0, last - 1)
    part = np.clip(places - low, 0.0, 1.0).astype(np.float32)[:, None, :]
    below = take_bands(values, low)
    return np.asarray(below + (take_bands(values, low + 1) - below) * part)


def take_bands(values: Floats, index: NDArray[np.int64]) -> Floats:
    """values[i, :, index[i]] for each example; one take an example, many times faster than one for all."""
    taken = np.empty_like(values)
    for source, places, target in zip(values, index, taken, strict=True):
        np.take(source, places, axis=1, out=target, mode="clip")
    return taken


def warp_time(passed: NDArray[np.float64], weights: Floats) -> NDArray[np.float64]:
    """Shares of a sound, (n, frames), of which 0 to 1 lie within it: slower here and faster there by ``weights``."""
    along = np.clip(passed, 0.0, 1.0)
    for number, weight in enumerate(weights.T, 1):
        # The tempo's own change, weight * cos(...), is at most the weight.
        passed = passed + weight[:, None] * np.sin(np.pi * number * along) / (np.pi * number)
    return passed
