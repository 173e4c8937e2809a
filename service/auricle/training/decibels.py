"""Decibels: spectra of power and back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from auricle.training.planes import SILENCE_DB

__all__ = ["to_decibels", "to_power"]

Floats = NDArray[np.float32]


def to_power(db: Floats) -> Floats:
    """The power of levels in dB over 1."""
    return np.asarray(np.exp(db * np.float32(np.log(10.0) / 10.0)))


def to_decibels(power: Floats) -> Floats:
    """The levels of powers in dB over 1, no lower than ``SILENCE_DB``."""
    least = np.float32(10.0 ** (SILENCE_DB / 10.0))
    return np.asarray(np.float32(10.0 / np.log(10.0)) * np.log(np.maximum(power, least)))
