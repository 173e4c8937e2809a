"""A report's pages: HTML that needs nothing beside it, and a picture."""

from __future__ import annotations

import html
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auricle.training.report import History, Report

__all__ = ["page", "picture"]

STYLE = (
    "body{font:15px sans-serif;margin:2em}td,th{padding:.25em .6em;text-align:right}"
    "table{border-collapse:collapse;margin:1em 0}"
)
WIDTH, HEIGHT, MARGIN = 500, 200, 20
# Inches of the picture's matrix, and how many classes it has room to name.
LONGEST_SIDE, MOST_NAMED = 20.0, 60


def page(report: Report) -> str:
    """One HTML page without links: the classes, the confusion matrix, the worst mistakes, the curves."""
    names = "".join(f"<th>{html.escape(name)}</th>" for name in report.labels)
    matrix = "".join(
        f"<tr><th>{html.escape(name)}</th>{_cells(row, i)}</tr>"
        for i, (name, row) in enumerate(zip(report.labels, report.confusion, strict=True))
    )
    classes = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{count}</td><td>{prec:.1%}</td><td>{rec:.1%}</td></tr>"
        for name, count, prec, rec in report.rows()
    )
    worst = "".join(
        f"<li>{html.escape(m.file)}: {html.escape(m.label)} taken for {html.escape(m.said)} ({m.score:.2f})</li>"
        for m in report.worst
    )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Training report</title>"
        f"<style>{STYLE}</style><h1>{html.escape(report.title())}</h1>"
        f"<h2>Classes</h2><table><tr><th><th>clips<th>precision<th>recall</tr>{classes}</table>"
        f"<h2>True class by row, said class by column</h2><table><tr><th></th>{names}</tr>{matrix}</table>"
        f"<h2>Surest mistakes</h2><ul>{worst or '<li>none</li>'}</ul>{_curves(report.history)}</html>"
    )


def picture(report: Report, path: Path) -> None:
    """Draws the confusion matrix, and the curves where there are any, into a PNG file.

    Of more than `MOST_NAMED` classes the matrix has the colours alone, without names and counts.

    ImportError: matplotlib, of the extra ``train``, is not installed.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    side = min(max(3.5, 1.5 + 0.5 * len(report.labels)), LONGEST_SIDE)
    drawn = report.history is not None and len(report.history.loss) > 1
    figure = Figure(figsize=(side + (10 if drawn else 0), side), layout="constrained")
    widths = [side, 5, 5] if drawn else [side]
    matrix, *others = figure.subplots(1, len(widths), width_ratios=widths, squeeze=False)[0]
    shares = report.confusion / np.maximum(1, report.confusion.sum(1, keepdims=True))
    matrix.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    named = len(report.labels) <= MOST_NAMED
    places, names = (range(len(report.labels)), report.labels) if named else ((), ())
    # A label is what somebody called a folder: a $ in it begins no formula.
    matrix.set_xticks(places, names, rotation=90, parse_math=False)
    matrix.set_yticks(places, names, parse_math=False)
    matrix.set(xlabel="said", ylabel="true")
    for row, column in zip(*np.nonzero(report.confusion), strict=True) if named else ():
        count, colour = str(report.confusion[row, column]), "w" if shares[row, column] > 0.5 else "k"
        matrix.text(column, row, count, ha="center", va="center", color=colour)
    if report.history is not None and drawn:
        for axes, (title, lines) in zip(others, _lines(report.history).items(), strict=True):
            for name, values in lines.items():
                axes.plot(range(1, len(values) + 1), values, label=name)
            axes.set(title=title, xlabel=report.history.of, ylim=(0, None))
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.legend()
    figure.suptitle(report.title())
    with warnings.catch_warnings():
        # The page has what matplotlib's own font has no letters for.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure.savefig(path, dpi=120)


def _lines(history: History) -> dict[str, dict[str, Sequence[float]]]:
    """By title of a plot, its lines by name."""
    watched = {"watched": history.watched} if history.watched else {}
    return {"loss": {"learned": history.loss}, "accuracy": {"learned": history.accuracy, **watched}}


def _curves(history: History | None) -> str:
    """The plots as SVG inside the page."""
    if history is None or len(history.loss) < 2:
        return ""
    plots = []
    for title, lines in _lines(history).items():
        top = max(1e-9, *(max(values) for values in lines.values()))
        drawn = "".join(
            f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{_points(values, top)}"/>'
            for values, colour in zip(lines.values(), ("#357", "#c50"), strict=False)
        )
        ends = ", ".join(f"{name} from {values[0]:.3f} to {values[-1]:.3f}" for name, values in lines.items())
        plots.append(
            f'<h2>{title.capitalize()} by {history.of}: {ends}</h2><svg width="{WIDTH}" height="{HEIGHT}">{drawn}</svg>'
        )
    return "".join(plots)


def _points(values: Sequence[float], top: float) -> str:
    width, height = WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN
    return " ".join(
        f"{MARGIN + width * i / (len(values) - 1):.1f},{HEIGHT - MARGIN - height * value / top:.1f}"
        for i, value in enumerate(values)
    )


def _cells(row: NDArray[np.int64], right: int) -> str:
    return "".join(_cell(int(value), int(row.sum()), place == right) for place, value in enumerate(row))


def _cell(value: int, total: int, right: bool) -> str:
    if not value:
        # Of many classes nearly every cell.
        return "<td></td>"
    hue = "60,140,60" if right else "200,60,60"
    return f'<td style="background:rgba({hue},{value / total:.2f})">{value}</td>'
