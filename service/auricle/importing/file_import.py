"""A model file of either kind as a bundle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from auricle.errors import OptionError
from auricle.importing.onnx_import import import_onnx
from auricle.importing.settings import ImportReport, ImportSettings
from auricle.importing.tflite_import import import_tflite
from auricle.model.formats import is_tflite

__all__ = ["import_file"]


def import_file(
    path: Path,
    models_dir: Path,
    settings: ImportSettings,
    *,
    family: str | None = None,
    progress: Callable[[str], None] = lambda stage: None,
) -> ImportReport:
    """`import_tflite` or `import_onnx`, by what the file begins with; one called .tflite is to be what it is called.

    Raises errors of either; OptionError: it is no regular file, or a recipe for a .tflite file.
    """
    if path.exists() and not path.is_file():
        raise OptionError(f"{path} is no regular file: a model is read more than once; write it to a file first")
    if not is_tflite(path) and path.suffix.lower() != ".tflite":
        progress("importing")
        return import_onnx(path, models_dir, settings, family=family)
    if family is not None:
        raise OptionError("--recipe: a .tflite file says this itself; leave it out", field="recipe")
    return import_tflite(path, models_dir, settings, progress=progress)
