"""The models that come with the package: ``digits``, which needs no download."""

from __future__ import annotations

from pathlib import Path

__all__ = ["bundled_dir", "bundled_names"]


def bundled_dir() -> Path:
    """A directory of models, laid out as any other."""
    return Path(__file__).parent


def bundled_names() -> set[str]:
    """The models' names."""
    return {path.stem for path in bundled_dir().glob("*.onnx")}
