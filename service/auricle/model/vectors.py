"""Arithmetic on finished vectors: L2 normalisation, the compact types, cosine similarity."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from auricle.errors import OptionError

__all__ = ["cosine_similarity", "l2_normalize", "to_float16", "to_int8"]

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


def cosine_similarity(u: NDArray[np.generic], v: NDArray[np.generic]) -> float:
    """u.v / sqrt(|u|^2 |v|^2) in double, of two vectors (n,) of one type, float or int8.

    Raises OptionError: empty, different sizes, one float and one int8, or a zero norm.
    """
    if u.size == 0 or v.size == 0:
        raise OptionError("cosine similarity needs two non-empty vectors")
    if u.shape != v.shape:
        raise OptionError(f"cosine similarity needs vectors of one size, not {u.shape} and {v.shape}")
    if (u.dtype == np.int8) != (v.dtype == np.int8):
        raise OptionError(f"cosine similarity needs vectors of one type, not {u.dtype} and {v.dtype}")
    a, b = u.astype(np.float64).ravel(), v.astype(np.float64).ravel()
    norms = float(np.dot(a, a)) * float(np.dot(b, b))
    if not norms > 0:
        raise OptionError("cosine similarity is not defined for a vector of norm 0")
    return float(np.dot(a, b)) / math.sqrt(norms)
