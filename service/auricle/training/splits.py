"""Splits: which clips are learned from, which are watched while that happens, and which are tested in the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from auricle.errors import InvalidArgumentError
from auricle.training.clips import PARTS, Clip, groups

__all__ = ["Split", "split", "spread"]

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Split:
    """Clips by their use. ``watched`` ones give the curve of each epoch, and decide nothing."""

    learned: tuple[Clip, ...]
    watched: tuple[Clip, ...]
    tested: tuple[Clip, ...]


def split(clips: Sequence[Clip], *, share: float, seed: int, held_out: str | None = None) -> Split:
    """By the table's split where it has one, by a held-out group, or by chance.

    By chance, about ``share`` of each class is tested with, at least one clip and never all; a group goes whole.
    The tested clips are the watched ones too, but where a table tells validation from test.

    Raises:
        InvalidArgumentError: a side would be empty, or a class has no clip left to learn from.
    """
    if held_out is not None:
        parted = _by_group(clips, held_out)
    elif any(clip.part for clip in clips):
        parted = _by_part(clips)
    else:
        parted = _by_chance(clips, share, seed)
    missing = sorted({clip.label for clip in clips} - {clip.label for clip in parted.learned})
    if missing:
        raise InvalidArgumentError(f"no clip of class {missing[0]!r} is left to learn from; test with others")
    return parted


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """Up to ``most`` of the items, evenly over all of them, which often come class by class."""
    return [items[place] for place in np.unique(np.linspace(0, len(items) - 1, most).astype(int))] if items else []


def _by_group(clips: Sequence[Clip], held_out: str) -> Split:
    test = [clip for clip in clips if clip.group == held_out]
    if not test or len(test) == len(clips):
        known = ", ".join(groups(clips)) or "none; a group pattern, or a table's column group, names them"
        raise InvalidArgumentError(f"group {held_out!r} has {len(test)} of {len(clips)} clips; the groups are: {known}")
    return _split([clip for clip in clips if clip.group != held_out], test)


def _by_part(clips: Sequence[Clip]) -> Split:
    parts = {part: [clip for clip in clips if (clip.part or PARTS[0]) == part] for part in PARTS}
    watched = parts["validation"] or parts["test"]
    tested = parts["test"] or watched
    if not tested or not parts["train"]:
        what = "test with" if not tested else "learn from"
        raise InvalidArgumentError(f"the table's split leaves nothing to {what}; it needs rows train, and rows test")
    return _split(parts["train"], tested, watched)


def _by_chance(clips: Sequence[Clip], share: float, seed: int) -> Split:
    """Class by class, groups in random order are put to the test until the share of the class is reached."""
    members: dict[str, list[int]] = {}
    for index, clip in enumerate(clips):
        # A clip without a group is one of its own.
        members.setdefault(f"of {clip.group}" if clip.group else f"clip {index}", []).append(index)
    order = [list(members)[place] for place in np.random.default_rng(seed).permutation(len(members))]
    counts = {name: Counter(clips[index].label for index in own) for name, own in members.items()}
    totals = Counter(clip.label for clip in clips)
    left, tested = totals.copy(), set[int]()
    for label, total in sorted(totals.items()):
        wanted = max(1, round(share * total))
        for name in order:
            labels, already = counts[name], total - left[label]
            if not labels[label] or not tested.isdisjoint(members[name]):
                continue
            if already and already + labels[label] > wanted:
                continue
            if all(left[each] > count for each, count in labels.items()):
                tested.update(members[name])
                left -= labels
    if not tested:
        raise InvalidArgumentError(
            f"no group can be tested without the last clips of a class; the groups are: {', '.join(groups(clips))}"
        )
    learned = [clip for index, clip in enumerate(clips) if index not in tested]
    return _split(learned, [clips[index] for index in sorted(tested)])


def _split(learned: Sequence[Clip], tested: Sequence[Clip], watched: Sequence[Clip] | None = None) -> Split:
    return Split(tuple(learned), tuple(tested if watched is None else watched), tuple(tested))
