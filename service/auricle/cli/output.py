"""Results on stdout: JSON lines for programs, tables for people; progress on stderr."""

from __future__ import annotations

import codecs
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn
    from rich.table import Table

__all__ = [
    "Each",
    "console",
    "plain",
    "print_json",
    "print_json_text",
    "print_table",
    "short_names",
    "short_size",
    "table",
    "working",
]

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
    print_json_text(json.dumps(plain(record), ensure_ascii=False, allow_nan=False) + "\n")


def print_json_text(text: str) -> None:
    """Prints JSON that is made already, as UTF-8 or, where stdout has another encoding, as ASCII."""
    if codecs.lookup(sys.stdout.encoding or "utf-8").name != "utf-8":
        text = re.sub(r"[^\x00-\x7f]+", lambda found: json.dumps(found[0])[1:-1], text)
    # Written at once: a reader of a live stream waits for it.
    sys.stdout.write(text)
    sys.stdout.flush()


def console(*, stderr: bool = False) -> Console:
    """A console on stdout or stderr. Names are printed as they are: brackets and colons in them are no markup."""
    from rich.console import Console

    plainly: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}
    if stderr:
        return Console(stderr=True, **plainly)
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else _WIDE_COLUMNS, **plainly)


def print_table(made: Table) -> None:
    """Prints a table."""
    # By click: of a reader that has gone, rich would make exit code 1.
    lines = console()
    with lines.capture() as captured:
        lines.print(made)
    click.echo(captured.get(), nl=False)


def short_size(size_bytes: int) -> str:
    """A file's size for people."""
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 1e5 else f"{size_bytes / 1e3:.1f} kB"


def table(*columns: str, right: Iterable[str] = ()) -> Table:
    """An empty table; the columns named in ``right`` hold numbers."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    numbers = set(right)
    for column in columns:
        made.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    return made


def short_names(files: Iterable[str]) -> dict[str, str]:
    """Gives what to call each file in a table: its name without the folder, where no other has that."""
    files = list(dict.fromkeys(files))
    names = [Path(file).name for file in files]
    return {file: name if names.count(name) == 1 else file for file, name in zip(files, names, strict=True)}


class Each:
    """Progress over items, on stderr where that is a terminal and nothing else writes there."""

    def __init__(self, items: Iterable[str], verb: str, *, quiet: bool = False) -> None:
        self._items = list(items)
        self._verb = verb
        self._quiet = quiet or not sys.stderr.isatty()

    def __iter__(self) -> Iterator[str]:
        if self._quiet:
            yield from self._items
            return
        with _progress(bar=len(self._items) > 1) as progress:
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
    with _progress(bar=False) as progress:
        progress.add_task(what)
        yield


def _progress(*, bar: bool) -> Progress:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    text = TextColumn("{task.description}", markup=False)
    columns: tuple[ProgressColumn, ...] = (SpinnerColumn(), text, TimeElapsedColumn())
    if bar:
        columns = (text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # rich would send what is written to stdout meanwhile to its own console, which is stderr.
    return Progress(*columns, console=console(stderr=True), transient=True, redirect_stdout=False)
