"""Labels of a classification head and the filter that a request puts on them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from auricle.errors import BundleError, OptionError

__all__ = ["CategoryFilter", "LabelList", "Ranked", "display_names", "parse_label_lines"]

DEFAULT_LOCALE = "en"


class LabelList(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The names of all classes in one locale, by class index; an empty locale is unknown."""

    locale: str = ""
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ranked:
    """Class indices, best first, and their scores: int (k,), f32 (k,)."""

    indices: NDArray[np.intp]
    scores: NDArray[np.float32]


def display_names(lists: Sequence[LabelList], locale: str) -> tuple[str, ...] | None:
    """The names in ``locale`` (empty: "en"), or None where no list has it."""
    wanted = locale or DEFAULT_LOCALE
    return next((labels.names for labels in lists if labels.locale == wanted), None)


def parse_label_lines(text: str, *, source: str) -> tuple[str, ...]:
    """One name a line, by class index; blank lines at the end are none.

    Raises BundleError: no name at all, or a blank line between names, which would be a class without one.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise BundleError(f"{source}: the label file is empty; write one name a line, in the order of the classes")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise BundleError(f"{source}, line {number}: the name of class {number - 1} is empty; write one a line")
    return tuple(lines)


class CategoryFilter:
    """What of a head's classes a request keeps: allow or deny list, threshold, top-k, in that order.

    Args:
        names: category names of the head by index; empty where it has no labels.
        classes: length of the head's output.
        allow, deny: category names; not both. Unknown names and duplicates are ignored.
        threshold: keeps score >= threshold.
        max_results: -1 or None keeps all, k > 0 the best k after filtering.

    Raises OptionError: both lists, max_results of 0 or below -1.
    """

    def __init__(
        self,
        names: Sequence[str],
        classes: int,
        *,
        allow: Collection[str] = (),
        deny: Collection[str] = (),
        threshold: float = 0.0,
        max_results: int | None = None,
    ) -> None:
        if allow and deny:
            raise OptionError(
                "category_allowlist and category_denylist exclude each other; send one of them",
                field="options.category_denylist",
            )
        if max_results is not None and (max_results == 0 or max_results < -1):
            raise OptionError(
                f"max_results must be -1 (all) or above 0, but is {max_results}", field="options.max_results"
            )
        self._kept: NDArray[np.intp] | None = None
        if allow or deny:
            listed, wanted = set(allow or deny), bool(allow)
            kept = [index for index, name in enumerate(names) if (name in listed) == wanted]
            self._kept = np.array(kept if names or allow else range(classes), np.intp)
        self._threshold = np.float32(threshold)
        self._limit = None if max_results in (None, -1) else max_results

    def rank(self, scores: NDArray[np.float32]) -> Ranked:
        """The classes of scores f32 (classes,) that are kept, highest first, ties by index."""
        values = scores if self._kept is None else scores[self._kept]
        least = self._threshold
        if self._limit is not None and self._limit < values.size:
            # Whatever ranks is as high as the last that does: so few are left to sort, that sorting costs nothing.
            last = values.size - self._limit
            parted = values.copy()
            parted.partition(last)
            least = max(least, parted[last])
        (above,) = (values >= least).nonzero()
        best = above[(-values[above]).argsort(kind="stable")[: self._limit]]
        return Ranked(best if self._kept is None else self._kept[best], values[best])
