"""Clips: labelled sound files, from a folder of folders or a CSV, checked before training starts."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from auricle.errors import InvalidArgumentError

__all__ = ["BACKGROUND_FOLDER", "PARTS", "Clip", "by_folder", "by_table", "check", "groups"]

BACKGROUND_FOLDER = "_background_noise_"
SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif"})
PARTS = ("train", "validation", "test")
LEAST_CLASSES = 2
LEAST_CLIPS = 2
_WANTED = f"files {', '.join(sorted(SUFFIXES))}"
_COLUMNS = ("path", "label", "split", "group")
_TABLE = "give a CSV with the columns path and label"


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """A sound file and its label.

    Attributes:
        group: who or what made it, which a split keeps on one side unless a table says otherwise; empty: made by
            none of the others' makers.
        part: of ``PARTS``, where a table says which; empty: train.
    """

    path: Path
    label: str
    group: str = ""
    part: str = ""


def by_folder(folder: Path, *, group_pattern: str | None = None) -> tuple[list[Clip], list[Path]]:
    """One sub-folder a class; gives the clips, and the sounds of ``_background_noise_``, which is no class.

    Names that begin with a dot are left out, as a file manager leaves them out.

    Args:
        group_pattern: a regular expression with one group, searched in the file's name, e.g. ``_([a-z]+)_``.

    Raises:
        InvalidArgumentError: no such folder, a sub-folder without sounds, a sound that is no file, a file that the
            pattern does not fit, or a name that is no text in one line.
    """
    if not folder.is_dir():
        raise InvalidArgumentError(f"there is no folder {folder}; give one with a sub-folder for each class")
    pattern = _compiled(group_pattern)
    clips: list[Clip] = []
    for each in sorted(folder.iterdir()):
        if not each.is_dir() or each.name.startswith(".") or each.name == BACKGROUND_FOLDER:
            continue
        sounds = _sounds(each)
        _check_text(each, *sounds)
        _check_label(each.name, f"class folder {each}")
        if not sounds:
            raise InvalidArgumentError(f"class folder {each} has no sounds: {_WANTED}; fill it or take it away")
        clips += [Clip(path=path, label=each.name, group=_group(path, pattern)) for path in sounds]
    return clips, _sounds(folder / BACKGROUND_FOLDER)


def by_table(table: Path, *, group_pattern: str | None = None) -> list[Clip]:
    """Reads a CSV with a header: ``path,label`` and, if wanted, ``split`` (see ``PARTS``) and ``group``.

    Paths are relative to the table. Raises InvalidArgumentError that names the line at fault, or both of one file.
    """
    _check_text(table)
    pattern, lines, clips = _compiled(group_pattern), dict[Path, int](), list[Clip]()
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, skipinitialspace=True)
            if rows.fieldnames is None:
                raise InvalidArgumentError(f"{table} is empty; {_TABLE}")
            rows.fieldnames = [name.strip() for name in rows.fieldnames]
            counts = Counter(rows.fieldnames)
            if not {"path", "label"} <= counts.keys():
                raise InvalidArgumentError(
                    f"{table} begins with {','.join(rows.fieldnames)}; its header must have path and label"
                )
            if twice := [name for name in _COLUMNS if counts[name] > 1]:
                raise InvalidArgumentError(f"{table} has {counts[twice[0]]} columns {twice[0]}; keep one of them")
            for row in rows:
                at = f"{table}, line {rows.line_num}"
                clip = _of_row(row, table, at, pattern)
                first = lines.setdefault(clip.path.resolve(), rows.line_num)
                if first != rows.line_num:
                    raise InvalidArgumentError(f"{at}: {row['path']!r} is in line {first} too; name each file once")
                clips.append(clip)
    except FileNotFoundError as error:
        raise InvalidArgumentError(f"there is no table {table}; {_TABLE}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidArgumentError(f"{table} is no CSV in UTF-8: {error}; save it as one") from error
    if not clips:
        raise InvalidArgumentError(f"{table} has a header and nothing below it; give a line for each sound")
    return clips


def check(clips: Sequence[Clip], *, where: str) -> None:
    """Raises InvalidArgumentError where nothing can be learned: no clips, one class, a class with one clip."""
    counts = Counter(clip.label for clip in clips)
    if not clips:
        raise InvalidArgumentError(f"{where} has no sounds; put {_WANTED} in a sub-folder for each class")
    if len(counts) < LEAST_CLASSES:
        raise InvalidArgumentError(f"{where} has one class, {clips[0].label!r}; at least {LEAST_CLASSES} are needed")
    few = [label for label, count in sorted(counts.items()) if count < LEAST_CLIPS]
    if few:
        raise InvalidArgumentError(
            f"{where}: class {few[0]!r} has {counts[few[0]]} clip; each needs at least {LEAST_CLIPS}, "
            "one to learn from and one to test with"
        )


def groups(clips: Sequence[Clip]) -> list[str]:
    """The groups' names, sorted."""
    return sorted({clip.group for clip in clips if clip.group})


def _sounds(folder: Path) -> list[Path]:
    """Sound files by suffix, sorted; none where there is no such folder. InvalidArgumentError: one is no file."""
    named = [path for path in sorted(folder.glob("*")) if path.suffix.lower() in SUFFIXES]
    found = [path for path in named if not path.name.startswith(".")]
    for path in found:
        # A pipe, say, that nobody writes to would be waited for without end.
        if not path.is_file():
            raise InvalidArgumentError(f"{path} has the name of a sound but is no file, or leads to none; take it away")
    return found


def _check_label(label: str, at: str) -> None:
    """A label is a line of a report and of a list of labels."""
    if label.splitlines() != [label]:
        raise InvalidArgumentError(f"{at}: the label {label!r} has a line break; write it in one line")


def _check_text(*paths: Path) -> None:
    """A label, a report and a bundle are text, and so must be the names that come into them."""
    for path in paths:
        try:
            str(path).encode()
        except UnicodeEncodeError:
            shown = os.fsencode(path).decode("utf-8", "backslashreplace")
            raise InvalidArgumentError(f"the name {shown} is no text in UTF-8; rename it") from None


def _of_row(row: Mapping[str, str | None], table: Path, at: str, pattern: re.Pattern[str] | None) -> Clip:
    path, label = table.parent / (row["path"] or ""), (row["label"] or "").strip()
    part, group = ((row.get(name) or "").strip() for name in ("split", "group"))
    if not row["path"]:
        raise InvalidArgumentError(f"{at}: there is no path; name a file in each line")
    if not path.is_file():
        raise InvalidArgumentError(f"{at}: there is no file {path}")
    if not label:
        raise InvalidArgumentError(f"{at}: {row['path']!r} has no label")
    _check_label(label, at)
    if part not in ("", *PARTS):
        raise InvalidArgumentError(f"{at}: split is {part!r}; use train, validation or test")
    return Clip(path=path, label=label, group=group or _group(path, pattern), part=part)


def _compiled(pattern: str | None) -> re.Pattern[str] | None:
    try:
        found = None if pattern is None else re.compile(pattern)
    except re.error as error:
        raise InvalidArgumentError(f"the group pattern {pattern!r} is no regular expression: {error}") from error
    if found is not None and found.groups != 1:
        raise InvalidArgumentError(f"the group pattern {pattern!r} has {found.groups} groups in parentheses, not one")
    return found


def _group(path: Path, pattern: re.Pattern[str] | None) -> str:
    if pattern is None:
        return ""
    found = pattern.search(path.name)
    if found is None or not found[1]:
        raise InvalidArgumentError(f"{path.name!r} does not fit the group pattern {pattern.pattern!r}")
    return found[1]
