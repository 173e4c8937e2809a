"""Where things are by default."""

from __future__ import annotations

from pathlib import Path

__all__ = ["default_models_dir"]


def default_models_dir() -> Path:
    """The user's own directory of models."""
    from platformdirs import user_data_path

    return user_data_path("auricle", appauthor=False) / "models"
