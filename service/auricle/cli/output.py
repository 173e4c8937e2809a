"""Results on stdout: JSON lines for programs, tables for people; progress on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["Each", "console", "plain", "print_json", "table", "working"]

# Beside a file there is no window to fit into; a table is as wide as its content, up to this.
_WIDE_COLUMNS = 200


def plain(value: Any) -> Any:
    """Gives a record as what JSON can hold: dataclasses as objects, arrays as lists."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    return value.tolist() if hasattr(value, "tolist") else value


def print_json(record: Mapping[str, Any]) -> None:
    """Prints one line."""
    # Written at once: a reader of a live stream waits for it.
    sys.stdout.write(json.dumps(plain(record), ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.flush()


def console() -> Console:
    """A console on stdout."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else _WIDE_COLUMNS
    return Console(file=sys.stdout, width=width, highlight=False, soft_wrap=False)


def table(*columns: str, right: Iterable[str] = ()) -> Table:
    """An empty table; the columns named in ``right`` hold numbers."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    numbers = set(right)
    for column in columns:
        made.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    return made


class Each:
    """Progress over several items, on stderr where that is a terminal and nothing else writes there."""

    def __init__(self, items: Iterable[str], verb: str, *, quiet: bool = False) -> None:
        self._items = list(items)
        self._verb = verb
        self._quiet = quiet or len(self._items) < 2 or not sys.stderr.isatty()

    def __iter__(self) -> Iterator[str]:
        if self._quiet:
            yield from self._items
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        # rich would send what is written to stdout meanwhile to its own console, which is stderr.
        with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as progress:
            task = progress.add_task(self._verb, total=len(self._items))
            for item in self._items:
                progress.update(task, description=f"{self._verb} {item}")
                yield item
                progress.advance(task)


@contextmanager
def working(what: str) -> Iterator[None]:
    """Shows that something goes on, on stderr where that is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield
