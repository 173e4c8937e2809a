"""Sound in, features out: feature specs, log-mel and spectra, resampling and PCM conversion."""

from __future__ import annotations

from .dispatch import simd
from .pcm import PCM_BYTES, pcm_to_mono
from .resampling import ResampleStream, resample

__all__ = ["PCM_BYTES", "ResampleStream", "pcm_to_mono", "resample", "simd"]
