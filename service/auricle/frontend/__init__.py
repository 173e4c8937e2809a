"""Sound in, features out: feature specs, log-mel and spectra, resampling and PCM conversion."""

from __future__ import annotations

from .dispatch import simd
from .energy import HopEnergy
from .features import FeatureStream, features, features_batch, normalize
from .pcm import PCM_BYTES, pcm_to_mono
from .resampling import ResampleStream, resample
from .spec import FeatureSpec, preset, presets

__all__ = [
    "PCM_BYTES",
    "FeatureSpec",
    "FeatureStream",
    "HopEnergy",
    "ResampleStream",
    "features",
    "features_batch",
    "normalize",
    "pcm_to_mono",
    "preset",
    "presets",
    "resample",
    "simd",
]
