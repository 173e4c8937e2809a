"""Reports: what a classifier gets right and wrong, and how it learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["History", "Mistake", "Report", "make_report"]

WORST = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Mistake:
    """A clip that was taken for something else, and how sure the model was of that."""

    file: str
    label: str
    said: str
    score: float


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """How a model learned.

    Attributes:
        of: what there is one value for: ``epoch`` or ``step``.
        loss, accuracy: on what it learned from, as it was learned from: augmented, with dropout.
        watched: accuracy on clips that it did not learn from; empty where none were watched.
    """

    of: str
    loss: tuple[float, ...]
    accuracy: tuple[float, ...]
    watched: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """How a model did on clips that it had not learned from, as the written file answers.

    Attributes:
        labels: the classes.
        confusion: int (classes, classes), clips by true and by said class.
        worst: the surest mistakes, surest first.
        history: how it learned.
        precision: of the file's weights: float32, float16 or int8.
        float32_accuracy: of the model before it was quantised; None where it was not.
    """

    labels: tuple[str, ...]
    confusion: NDArray[np.int64]
    worst: tuple[Mistake, ...]
    history: History | None = None
    precision: str = "float32"
    float32_accuracy: float | None = None

    @property
    def clips(self) -> int:
        """How many were tested."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """Part of the clips that got their own label."""
        return float(np.trace(self.confusion) / max(1, self.clips))

    def rows(self) -> list[tuple[str, int, float, float]]:
        """(label, clips, precision, recall) of each class; 0 where it was never said, or never tested."""
        right, there, said = np.diag(self.confusion), self.confusion.sum(1), self.confusion.sum(0)
        return [
            (label, int(there[i]), float(right[i] / max(1, said[i])), float(right[i] / max(1, there[i])))
            for i, label in enumerate(self.labels)
        ]

    def title(self) -> str:
        """The accuracy in a line."""
        line = f"accuracy {self.accuracy:.1%} on {self.clips} clips"
        if self.float32_accuracy is None:
            return line
        return f"{line} as {self.precision}; {self.float32_accuracy:.1%} as float32"

    def text(self) -> str:
        """A summary of a few lines."""
        width = max(5, *map(len, self.labels))
        lines = [self.title(), f"{'class':<{width}}  clips  precision  recall"]
        lines += [f"{name:<{width}}  {count:5d}  {prec:9.1%}  {rec:6.1%}" for name, count, prec, rec in self.rows()]
        lines += [f"worst: {m.file}: {m.label} taken for {m.said} ({m.score:.2f})" for m in self.worst]
        return "\n".join(lines)


def make_report(
    labels: Sequence[str],
    files: Sequence[str],
    wanted: NDArray[np.int64],
    scores: NDArray[np.float32],
    *,
    history: History | None = None,
    precision: str = "float32",
    float32_accuracy: float | None = None,
) -> Report:
    """A report of scores f32 (clips, classes) against the true classes int (clips,)."""
    said = scores.argmax(1)
    confusion = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(confusion, (wanted, said), 1)
    wrong = sorted(np.flatnonzero(said != wanted), key=lambda index: -float(scores[index, said[index]]))
    worst = tuple(
        Mistake(
            file=files[int(index)],
            label=labels[int(wanted[index])],
            said=labels[int(said[index])],
            score=float(scores[index, said[index]]),
        )
        for index in wrong[:WORST]
    )
    return Report(
        labels=tuple(labels),
        confusion=confusion,
        worst=worst,
        history=history,
        precision=precision,
        float32_accuracy=float32_accuracy,
    )
