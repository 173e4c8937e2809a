"""Sounds: files read and cut as the pipeline reads and cuts them, before there is a graph."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auricle import frontend
from auricle.config import Limits
from auricle.engine.cutter import Cutter
from auricle.engine.decode import open_content
from auricle.engine.plan import default_grid
from auricle.engine.segments import Intake
from auricle.errors import AudioError
from auricle.frontend import FeatureSpec
from auricle.model.bundle import Bundle

__all__ = ["Recipe", "cut", "read"]

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Recipe:
    """The metadata of a model that is yet to be trained: how its sound is cut and what its features are."""

    bundle: Bundle
    features: FeatureSpec | None


def read(path: Path) -> tuple[Floats, int]:
    """A file's samples, mixed down, f32 (n,), and their rate in Hz. AudioError names the file."""
    try:
        sound = open_content(path.read_bytes(), Limits())
        blocks = [frontend.pcm_to_mono(block, sound.format.encoding, sound.format.channels) for block in sound.blocks]
    except AudioError as error:
        raise AudioError(f"{path}: {error.message}", field="path", reason=error.reason) from error
    if not blocks:
        raise AudioError(f"{path}: it has no samples", field="path", reason="AUDIO_EMPTY")
    return np.concatenate(blocks), sound.format.sample_rate_hz


def cut(path: Path, recipe: Intake) -> Floats:
    """The rows of a file's segments, f32 (segments, length, bands), the same bits as a server feeds its model."""
    try:
        sound = open_content(path.read_bytes(), Limits())
        cutter = Cutter(recipe, default_grid(recipe), sound.format)
        segments = [segment for block in sound.blocks for segment in cutter.feed(block)] + cutter.finish()
    except AudioError as error:
        raise AudioError(f"{path}: {error.message}", field="path", reason=error.reason) from error
    if not segments:
        raise AudioError(f"{path}: it has no samples", field="path", reason="AUDIO_EMPTY")
    return np.stack([segment.rows for segment in segments])
