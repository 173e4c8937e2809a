"""Where things are by default."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from auricle.engine.directory import ModelFile

__all__ = ["default_cache_dir", "default_models_dir", "model_files"]


def default_cache_dir() -> Path:
    """Where downloads lie that are not finished."""
    from platformdirs import user_cache_path

    return user_cache_path("auricle", appauthor=False) / "downloads"


def default_models_dir() -> Path:
    """The user's own directory of models."""
    from platformdirs import user_data_path

    return user_data_path("auricle", appauthor=False) / "models"


def model_files(models_dir: Path) -> list[ModelFile]:
    """The files in a directory that may be models. OptionError where it cannot be listed."""
    from auricle.engine.directory import scan, unlisted

    try:
        return scan(models_dir)
    except OSError as error:
        raise unlisted(models_dir, error) from error
