"""The files that metadata names: labels, one a line, and score calibrations."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from pathlib import Path

from auricle.errors import BundleError
from auricle.model.calibration import Row, parse_calibration_csv
from auricle.model.labels import parse_label_lines

__all__ = [
    "parse_calibration",
    "parse_labels",
    "read_calibration",
    "read_file",
    "read_files",
    "read_labels",
]


def read_file(path: str | PathLike[str]) -> bytes:
    """The content of a file. OSError where it is not there."""
    return Path(path).read_bytes()


def read_files(paths: Iterable[str | PathLike[str]]) -> dict[str, bytes]:
    """Contents by name, which is all that metadata says of a file. OSError where one is not there.

    Raises ValueError: two files of one name that are not the same.
    """
    found: dict[str, tuple[Path, bytes]] = {}
    for path in map(Path, paths):
        content = read_file(path)
        first, there = found.setdefault(path.name, (path, content))
        if there != content:
            raise ValueError(f"{first} and {path} have one name, which is all that metadata keeps; rename one of them")
    return {name: content for name, (_, content) in found.items()}


def read_labels(path: str | PathLike[str]) -> tuple[str, ...]:
    """Labels of a file; see `parse_labels`."""
    return parse_labels(read_file(path), source=str(path))


def read_calibration(path: str | PathLike[str]) -> tuple[Row | None, ...]:
    """Rows of a file; see `parse_calibration`."""
    return parse_calibration(read_file(path), source=str(path))


def parse_labels(content: bytes, *, source: str) -> tuple[str, ...]:
    """One label a line, see `parse_label_lines` of `auricle.model`. ValueError: not UTF-8, empty, or a blank label."""
    try:
        return parse_label_lines(_text(content, source), source=source)
    except BundleError as error:
        raise ValueError(error.message) from error


def parse_calibration(content: bytes, *, source: str) -> tuple[Row | None, ...]:
    """One row a class, see `parse_calibration_csv` of `auricle.model`. ValueError names the file and the line."""
    try:
        return parse_calibration_csv(_text(content, source), source=source)
    except BundleError as error:
        raise ValueError(error.message) from error


def _text(content: bytes, source: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"the file {source} is no UTF-8 text: {error}") from error
