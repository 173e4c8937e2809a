"""Where things are by default."""

from __future__ import annotations

from pathlib import Path

__all__ = ["default_cache_dir", "default_models_dir"]


def default_cache_dir() -> Path:
    """Where downloads lie that are not finished."""
    from platformdirs import user_cache_path

    return user_cache_path("auricle", appauthor=False) / "downloads"


def default_models_dir() -> Path:
    """The user's own directory of models."""
    from platformdirs import user_data_path

    return user_data_path("auricle", appauthor=False) / "models"
