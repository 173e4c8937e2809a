"""Cosine similarity of two vectors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auricle.errors import OptionError

__all__ = ["cosine"]


def cosine(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Gives ``a·b / √(|a|²·|b|²)``, summed in double precision.

    Args:
        a: vector (n,), any float type or int8. int8 vectors are compared as the integers that they hold.
        b: vector (n,) of the same kind.

    Returns:
        A number from -1 to 1.

    Raises:
        OptionError: an empty vector, a zero or non-finite norm, different sizes, or one float and one int8.
    """
    kinds = _kind("first", a), _kind("second", b)
    if kinds[0] != kinds[1]:
        raise OptionError(
            f"cannot compare a vector of {a.dtype} with one of {b.dtype}; ask for the same vector_type twice"
        )
    if a.size != b.size:
        raise OptionError(f"cannot compare {a.size} elements with {b.size}; were they made by the same head?")
    u, v = a.astype(np.float64), b.astype(np.float64)
    norm_squared = float(u @ u) * float(v @ v)
    if not norm_squared > 0.0 or math.isinf(norm_squared):
        raise OptionError("cannot compare: a vector's norm is zero or not finite (digital silence gives zero vectors)")
    # Rounding may step over the bound by an ulp, which acos and the like refuse.
    return max(-1.0, min(1.0, float(u @ v) / math.sqrt(norm_squared)))


def _kind(which: str, vector: NDArray[Any]) -> str:
    if vector.ndim != 1 or vector.size == 0:
        raise OptionError(f"the {which} vector has the shape {vector.shape}; (n,) with n > 0 is needed")
    if vector.dtype == np.int8:
        return "int8"
    if np.issubdtype(vector.dtype, np.floating):
        return "float"
    raise OptionError(f"the {which} vector is of {vector.dtype}; a float type or int8 is needed")
