"""Reports: what a classifier gets right and wrong, for a terminal and as a page."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["Mistake", "Report", "make_report"]

WORST = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Mistake:
    """A clip that was taken for something else, and how sure the model was of that."""

    file: str
    label: str
    said: str
    score: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """How a model did on clips that it had not learned from.

    Attributes:
        labels: the classes.
        confusion: int (classes, classes), clips by true and by said class.
        worst: the surest mistakes, surest first.
        losses: by epoch, where there are epochs.
    """

    labels: tuple[str, ...]
    confusion: NDArray[np.int64]
    worst: tuple[Mistake, ...]
    losses: tuple[float, ...] = ()

    @property
    def clips(self) -> int:
        """How many were tested."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """Part of the clips that got their own label."""
        return float(np.trace(self.confusion) / max(1, self.clips))

    def rows(self) -> list[tuple[str, int, float, float]]:
        """(label, clips, precision, recall) of each class; precision is 0 where it was never said."""
        right, there, said = np.diag(self.confusion), self.confusion.sum(1), self.confusion.sum(0)
        return [
            (label, int(there[i]), float(right[i] / max(1, said[i])), float(right[i] / max(1, there[i])))
            for i, label in enumerate(self.labels)
        ]

    def text(self) -> str:
        """A summary of a few lines."""
        width = max(5, *map(len, self.labels))
        lines = [f"accuracy {self.accuracy:.1%} on {self.clips} clips", f"{'class':<{width}}  clips  precision  recall"]
        lines += [f"{name:<{width}}  {count:5d}  {prec:9.1%}  {rec:6.1%}" for name, count, prec, rec in self.rows()]
        lines += [f"worst: {m.file}: {m.label} taken for {m.said} ({m.score:.2f})" for m in self.worst]
        return "\n".join(lines)

    def page(self) -> str:
        """One HTML page without links: the summary, the confusion matrix, the worst mistakes, the losses."""
        names = "".join(f"<th>{html.escape(name)}</th>" for name in self.labels)
        matrix = "".join(
            f"<tr><th>{html.escape(name)}</th>{_cells(row, i)}</tr>"
            for i, (name, row) in enumerate(zip(self.labels, self.confusion, strict=True))
        )
        classes = "".join(
            f"<tr><th>{html.escape(name)}</th><td>{count}</td><td>{prec:.1%}</td><td>{rec:.1%}</td></tr>"
            for name, count, prec, rec in self.rows()
        )
        worst = "".join(
            f"<li>{html.escape(m.file)}: {html.escape(m.label)} taken for {html.escape(m.said)} ({m.score:.2f})</li>"
            for m in self.worst
        )
        return (
            "<!doctype html><html lang=en><meta charset=utf-8><title>Training report</title>"
            "<style>body{font:15px sans-serif;margin:2em}td,th{padding:.25em .6em;text-align:right}"
            "table{border-collapse:collapse;margin:1em 0}</style>"
            f"<h1>{self.accuracy:.1%} of {self.clips} clips</h1>"
            f"<h2>Classes</h2><table><tr><th><th>clips<th>precision<th>recall</tr>{classes}</table>"
            f"<h2>True class by row, said class by column</h2><table><tr><th></th>{names}</tr>{matrix}</table>"
            f"<h2>Surest mistakes</h2><ul>{worst or '<li>none</li>'}</ul>{_curve(self.losses)}</html>"
        )

    def picture(self, path: Path) -> None:
        """Draws the confusion matrix into a PNG file; needs matplotlib, of the extra ``train``."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(1.5 + 0.5 * len(self.labels),) * 2, layout="constrained")
        axes = figure.subplots()
        axes.imshow(self.confusion / np.maximum(1, self.confusion.sum(1, keepdims=True)), cmap="Blues", vmin=0, vmax=1)
        places = range(len(self.labels))
        axes.set_xticks(places, self.labels, rotation=90)
        axes.set_yticks(places, self.labels)
        axes.set(xlabel="said", ylabel="true", title=f"{self.accuracy:.1%} of {self.clips} clips")
        figure.savefig(path, dpi=120)


def make_report(
    labels: Sequence[str],
    files: Sequence[str],
    wanted: NDArray[np.int64],
    scores: NDArray[np.float32],
    *,
    losses: Sequence[float] = (),
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
    return Report(labels=tuple(labels), confusion=confusion, worst=worst, losses=tuple(losses))


def _cells(row: NDArray[np.int64], right: int) -> str:
    return "".join(_cell(int(value), int(row.sum()), place == right) for place, value in enumerate(row))


def _cell(value: int, total: int, right: bool) -> str:
    hue = "60,140,60" if right else "200,60,60"
    return f'<td style="background:rgba({hue},{value / max(1, total):.2f})">{value or ""}</td>'


def _curve(losses: Sequence[float]) -> str:
    """The losses as a line, drawn inside the page."""
    if len(losses) < 2:
        return ""
    top = max(losses)
    points = " ".join(
        f"{20 + 460 * i / (len(losses) - 1):.1f},{180 - 160 * loss / top:.1f}" for i, loss in enumerate(losses)
    )
    return (
        f'<h2>Loss by epoch, from {losses[0]:.3f} to {losses[-1]:.3f}</h2><svg width="500" height="200">'
        f'<polyline fill="none" stroke="#357" stroke-width="2" points="{points}"/></svg>'
    )
