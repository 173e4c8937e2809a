"""The instruction-set level in use, chosen once at import, and the compiled modules of that level."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from auricle._frontend import cpu
from auricle.errors import OptionError

__all__ = ["load", "load_narrower", "simd"]

# Levels whose kernels give the same bits with fewer lanes: both fuse multiplications into additions.
_NARROWER = {"avx512": "avx2"}


def _choose() -> str:
    available = cpu.levels()
    forced = os.environ.get("AURICLE_SIMD", "")
    if not forced:
        return available[-1]
    if forced not in available:
        raise OptionError(
            f"AURICLE_SIMD={forced!r} does not run here; use one of: {', '.join(available)}",
            field="AURICLE_SIMD",
        )
    return forced


simd: str = _choose()


def load(name: str) -> Any:
    """The compiled module ``name`` of the level in use, e.g. ``load("features")``."""
    return import_module(f"auricle._frontend.{name}_{simd}")


def load_narrower(name: str) -> Any | None:
    """The compiled module ``name`` of the level that has fewer lanes and gives the same bits, if there is one."""
    level = _NARROWER.get(simd)
    return import_module(f"auricle._frontend.{name}_{level}") if level else None
