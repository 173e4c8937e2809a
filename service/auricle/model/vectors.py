"""Arithmetic on finished vectors: L2 normalisation and the compact types."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["l2_normalize", "to_float16", "to_int8"]

Floats = NDArray[np.float32]


def l2_normalize(vector: Floats) -> Floats:
    """Scales f32 (n,) by 1/sqrt(sum of squares), summed in float32; a zero vector stays as it is."""
    total = np.dot(vector, vector)
    if not total > 0:
        return vector
    return (vector * np.float32(1.0 / math.sqrt(total))).astype(np.float32, copy=False)


def to_int8(vector: Floats) -> NDArray[np.int8]:
    """clamp(round_half_away_from_zero(v * 128), -128, 127), one byte an element."""
    scaled = vector.astype(np.float64) * 128.0
    rounded = np.trunc(scaled + np.copysign(0.5, scaled))
    return np.clip(rounded, -128, 127).astype(np.int8)


def to_float16(vector: Floats) -> NDArray[np.float16]:
    """IEEE half, little-endian; values past +-65504 become the largest half, so that none turns infinite."""
    return np.clip(vector, -65504.0, 65504.0).astype("<f2")
