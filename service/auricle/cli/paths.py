"""Types of options that are files and folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from auricle.model.formats import is_tflite

__all__ = ["NonEmptyPath", "names_file"]

MODEL_SUFFIXES = (".onnx", ".tflite")


def names_file(text: str) -> bool:
    """Whether NAME|FILE is a file: by its suffix, or as one that is there and is no bundle yet."""
    return Path(text).suffix.lower() in MODEL_SUFFIXES or is_tflite(Path(text))


class NonEmptyPath(click.Path):
    """click's path, as a Path. An empty one, as an unset variable of a shell gives, is not the current folder."""

    def __init__(self, *, exists: bool = False, file_okay: bool = True, dir_okay: bool = True) -> None:
        super().__init__(exists=exists, file_okay=file_okay, dir_okay=dir_okay, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Reads it. Raises BadParameter where it is empty."""
        if value == "":
            self.fail("the path is empty; name one (. is the current folder), or leave it out", param, ctx)
        return super().convert(value, param, ctx)
