"""``stream``: a file as if it were being recorded, answers as they come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from auricle.cli.clips import over_files, segment_options
from auricle.cli.connect import connected
from auricle.cli.output import print_json
from auricle.cli.settings import Connection, connection_options, json_option, model_options

if TYPE_CHECKING:
    from auricle.client import Client, SegmentResult, StreamEvent

__all__ = ["paced", "stream"]

_PIECE_S = 0.1
_CLASSIFYING = "audio-classification"
_SAMPLE_BYTES = {"s16le": 2, "f32le": 4}


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--realtime", is_flag=True, help="Send the sound as slowly as it was recorded.")
@click.option(
    "--as",
    "kind",
    type=click.Choice(["embed", "classify"]),
    help="What to ask for (default: what the model is for).",
)
@click.option(
    "--max-results", type=int, default=3, show_default=True, help="When classifying: the best so many; -1: all."
)
@model_options
@segment_options
@json_option
@connection_options
def stream(
    files: tuple[str, ...],
    realtime: bool,
    kind: str | None,
    max_results: int,
    model: str | None,
    version: str | None,
    as_json: bool,
    **flags: Any,
) -> int:
    """Streams files over one connection each and prints what comes, as it comes.

    Of vectors people see how alike each is to the one before; --json has them in full, a line an event.

    \b
      auricle stream talk.wav --realtime
      auricle stream talk.wav --pooling mean --json
    """
    with connected(Connection.take(flags)) as client:

        def one(file: str) -> None:
            asked = kind or _purpose(client, model)
            source, format_of = _live(file) if realtime else (file, {})
            options = {"model": model, "version": version, **format_of, **flags}
            if asked == "classify":
                events = client.stream_classify(source, max_results=max_results, **options)
            else:
                events = client.stream_embed(source, **options)
            show = _Lines(file)
            with closing(events):
                for event in events:
                    if as_json:
                        print_json(event_record(file, event))
                    else:
                        show(event)

        return over_files(files, one, "streaming", as_json=as_json, prints=True)


def paced(
    chunks: Iterable[bytes],
    bytes_per_s: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[bytes]:
    """Gives the same bytes in pieces of a tenth of a second, none before its sound would have been recorded."""
    step = max(1, round(bytes_per_s * _PIECE_S))
    begun_s, sent_bytes = clock(), 0
    for chunk in chunks:
        for start in range(0, len(chunk), step):
            piece = chunk[start : start + step]
            sent_bytes += len(piece)
            wait_s = begun_s + sent_bytes / bytes_per_s - clock()
            if wait_s > 0:
                sleep(wait_s)
            yield piece


def event_record(file: str, event: StreamEvent) -> dict[str, Any]:
    """One event, for JSON; "event" is ready, segment, flushed or summary."""
    from auricle.cli.output import plain

    names = {"Ready": "ready", "SegmentResult": "segment", "Flushed": "flushed", "Summary": "summary"}
    return {"event": names[type(event).__name__], "file": file, **plain(event)}


def _live(file: str) -> tuple[Iterator[bytes], dict[str, Any]]:
    from auricle.client.audio import open_long
    from auricle.client.options import ENCODINGS

    long = open_long(file)
    wire = long.format
    encoding = next(name for name, code in ENCODINGS.items() if code == wire.encoding)
    bytes_per_s = wire.sample_rate_hz * wire.channels * _SAMPLE_BYTES[encoding]
    layout = {"sample_rate_hz": wire.sample_rate_hz, "channels": wire.channels, "encoding": encoding}
    return paced(long.chunks(), bytes_per_s), layout


def _purpose(client: Client, name: str | None) -> str:
    """What a model is for; where the server alone knows which it takes, embedding."""
    served = client.models()
    names = {each.name for each in served}
    wanted = name or (next(iter(names)) if len(names) == 1 else None)
    tasks = {each.task for each in served if each.name == wanted}
    return "classify" if tasks == {_CLASSIFYING} else "embed"


class _Lines:
    """Prints events for people, a line each."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._before: dict[str, Any] = {}

    def __call__(self, event: StreamEvent) -> None:
        from auricle.client import Ready, SegmentResult, Summary

        if isinstance(event, Ready):
            rate_hz = event.sample_rate_hz
            click.echo(
                f"{self._file}: {event.model}/{event.version}, segments of {event.segment_samples / rate_hz:.2f} s "
                f"every {event.hop_samples / rate_hz:.2f} s"
            )
        elif isinstance(event, SegmentResult):
            self._segment(event)
        elif isinstance(event, Summary):
            usage, timing = event.usage, event.timing
            click.echo(f"{usage.duration_s:.2f} s of sound, {usage.segments} segments, in {timing.total_s:.2f} s")

    def _segment(self, event: SegmentResult) -> None:
        from auricle.client import cosine
        from auricle.errors import OptionError

        for each in event.embeddings:
            before, self._before[each.head] = self._before.get(each.head), each.vector
            try:
                likeness = "" if before is None else f"  {cosine(before, each.vector):.4f} to the one before"
            except OptionError:
                likeness = "  silent"
            click.echo(f"{each.start_s:8.2f} - {each.end_s:.2f} s  {each.head} ({each.vector.size}){likeness}")
        for one in event.classifications:
            labels = ", ".join(f"{each.label} {each.score:.2f}" for each in one.categories)
            click.echo(f"{one.start_s:8.2f} - {one.end_s:.2f} s  {labels or '-'}")
