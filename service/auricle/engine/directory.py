"""The model directory: the files in it that may be models, and their names and versions."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from auricle.errors import OptionError

__all__ = ["ModelFile", "scan", "unlisted", "version_key"]

SUFFIX = ".onnx"


class ModelFile(NamedTuple):
    """A file that a scan found. ``version`` is None where the path does not say, and the metadata does.

    ``stamp`` changes with the file, and is empty where it could not be read. ``bundled`` files come with the package,
    not from the user's directory.
    """

    path: Path
    name: str
    version: str | None
    stamp: tuple[int, ...]
    bundled: bool = False


def version_key(version: str) -> tuple[tuple[int, int, str], ...]:
    """Orders versions part by part, numbers as numbers: 10 > 9, 1.2 > 1.1, 1.0 > 1.0-rc1."""
    parts = re.findall(r"\d+|[^\W\d_]+", version)
    return (*((1, int(part), "") if part.isdecimal() else (-1, 0, part) for part in parts), (0, 0, ""))


def scan(
    models_dir: Path,
    *,
    bundled: bool = False,
    on_unread: Callable[[Path, OSError], None] = lambda folder, error: None,
) -> list[ModelFile]:
    """``NAME.onnx`` and ``NAME/VERSION.onnx`` under the directory; hidden files are not looked at.

    A directory that is not there is empty; OSError where it cannot be listed.

    Args:
        on_unread: told of each folder in it that cannot be listed.
    """
    try:
        inside = _list(models_dir)
    except FileNotFoundError:
        return []
    paths = [path for path in inside if path.suffix == SUFFIX]
    for folder in inside:
        if folder.suffix == SUFFIX:
            continue
        try:
            paths += [path for path in _list(folder) if path.suffix == SUFFIX]
        except (FileNotFoundError, NotADirectoryError):  # a file, or it went while we looked
            continue
        except OSError as error:
            on_unread(folder, error)
    found = []
    for path in paths:
        nested = path.parent != models_dir
        name, version = (path.parent.name, path.stem) if nested else (path.stem, None)
        try:
            found.append(ModelFile(path, name, version, _stamp(path), bundled))
        except FileNotFoundError:  # it went while we looked
            continue
    return found


def unlisted(models_dir: Path, error: OSError) -> OptionError:
    """What a directory that cannot be listed is refused with, where nothing was loaded from it before."""
    why = f"cannot list {models_dir}: {error.strerror}; give a folder that can be read"
    return OptionError(why, field="models_dir")


def _list(folder: Path) -> list[Path]:
    """What is in a folder and not hidden, by name. Path.glob takes a folder that it cannot list for an empty one."""
    with os.scandir(folder) as entries:
        return sorted(folder / entry.name for entry in entries if not entry.name.startswith("."))


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        stats = [path.stat()]
        with suppress(FileNotFoundError):
            stats.append(path.with_suffix(".json").stat())
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not path.is_symlink():
            raise
        return ()  # loading it will tell why
    return tuple(value for stat in stats for value in (stat.st_mtime_ns, stat.st_size, stat.st_ino))
