"""Clips: labelled sound files, from a folder of folders or a CSV, checked before training starts."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from auricle.errors import InvalidArgumentError

__all__ = ["BACKGROUND_FOLDER", "Clip", "by_folder", "by_table", "check", "groups", "split"]

BACKGROUND_FOLDER = "_background_noise_"
SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif"})
LEAST_CLASSES = 2
LEAST_CLIPS = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """A sound file and its label. ``group`` is who or what made it: a group is never on both sides of a split."""

    path: Path
    label: str
    group: str = ""
    part: str = ""


def by_folder(folder: Path, *, group_pattern: str | None = None) -> tuple[list[Clip], list[Path]]:
    """One sub-folder a class; gives the clips, and the sounds of ``_background_noise_``, which is no class.

    Args:
        group_pattern: a regular expression with one group, searched in the file's name, e.g. ``_([a-z]+)_``.

    Raises:
        InvalidArgumentError: no such folder, or a file that the pattern does not fit.
    """
    if not folder.is_dir():
        raise InvalidArgumentError(f"there is no folder {folder}; give one with a sub-folder for each class")
    clips = [
        Clip(path=path, label=path.parent.name, group=_group(path, group_pattern))
        for path in sorted(folder.glob("*/*"))
        if path.suffix.lower() in SUFFIXES and path.parent.name != BACKGROUND_FOLDER and path.parent.name[0] != "."
    ]
    noises = [path for path in sorted((folder / BACKGROUND_FOLDER).glob("*")) if path.suffix.lower() in SUFFIXES]
    return clips, noises


def by_table(table: Path, *, group_pattern: str | None = None) -> list[Clip]:
    """Reads a CSV with a header: ``path,label`` and, if wanted, ``split`` (train, validation or test) and ``group``.

    Paths are relative to the table. Raises InvalidArgumentError that names the line at fault.
    """
    clips = []
    with table.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        if not {"path", "label"} <= set(rows.fieldnames or ()):
            raise InvalidArgumentError(f"{table} begins with {rows.fieldnames}; its header must have path and label")
        for row in rows:
            path, label, part = table.parent / (row["path"] or ""), (row["label"] or "").strip(), row.get("split") or ""
            at = f"{table}, line {rows.line_num}"
            if not path.is_file():
                raise InvalidArgumentError(f"{at}: there is no file {path}")
            if not label:
                raise InvalidArgumentError(f"{at}: {row['path']!r} has no label")
            if part not in ("", "train", "validation", "test"):
                raise InvalidArgumentError(f"{at}: split is {part!r}; use train, validation or test")
            group = row.get("group") or _group(path, group_pattern)
            clips.append(Clip(path=path, label=label, group=group, part=part))
    return clips


def check(clips: Sequence[Clip], *, where: str) -> None:
    """Raises InvalidArgumentError where nothing can be learned: no clips, one class, a class with one clip."""
    counts = Counter(clip.label for clip in clips)
    if not clips:
        raise InvalidArgumentError(
            f"{where} has no sounds; put {', '.join(sorted(SUFFIXES))} files in a sub-folder for each class"
        )
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


def split(
    clips: Sequence[Clip], *, share: float, seed: int, held_out: str | None = None
) -> tuple[list[Clip], list[Clip]]:
    """(to learn from, to test with): by the table's split where it has one, by a held-out group, or by chance.

    By chance, ``share`` of each class is tested with, at least one clip and never all.

    Raises:
        InvalidArgumentError: no clip is of the group, or all are.
    """
    if held_out is not None:
        test = [clip for clip in clips if clip.group == held_out]
        if not test or len(test) == len(clips):
            raise InvalidArgumentError(
                f"group {held_out!r} has {len(test)} of {len(clips)} clips; the groups are: {', '.join(groups(clips))}"
            )
        return [clip for clip in clips if clip.group != held_out], test
    if any(clip.part for clip in clips):
        return [clip for clip in clips if clip.part in ("", "train")], [
            clip for clip in clips if clip.part in ("validation", "test")
        ]
    generator = np.random.default_rng(seed)
    tested: set[int] = set()
    for label in sorted({clip.label for clip in clips}):
        own = [index for index, clip in enumerate(clips) if clip.label == label]
        count = min(len(own) - 1, max(1, round(share * len(own))))
        tested.update(int(index) for index in generator.permutation(own)[:count])
    return [clip for i, clip in enumerate(clips) if i not in tested], [clips[i] for i in sorted(tested)]


def _group(path: Path, pattern: str | None) -> str:
    if pattern is None:
        return ""
    found = re.search(pattern, path.name)
    if found is None or not found.groups():
        raise InvalidArgumentError(
            f"{path.name!r} does not fit the group pattern {pattern!r}, which needs one group in parentheses"
        )
    return str(found[1])
