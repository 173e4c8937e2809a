"""Sound in, features out: feature specs, log-mel and spectra, resampling and PCM conversion."""

from __future__ import annotations

from .dispatch import simd

__all__ = ["simd"]
