"""``stream``: files, standard input as it comes, or the microphone; answers as they come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from auricle.cli.clips import over_files, segment_options, sound_of
from auricle.cli.connect import connected
from auricle.cli.microphone import microphone
from auricle.cli.output import print_json
from auricle.cli.pipe import standard_input
from auricle.cli.ranges import NumberRange, Results
from auricle.cli.settings import Connection, connection_options, json_option, model_options

if TYPE_CHECKING:
    from auricle.client import Client, ModelInfo, SegmentResult, StreamEvent

__all__ = ["paced", "stream"]

_PIECE_S = 0.1
_MICROPHONE = "microphone"
_USUAL_RATE_HZ = 16_000
_CLASSIFYING = "audio-classification"
_SAMPLE_BYTES = {"s16le": 2, "f32le": 4}


@click.command()
@click.argument("files", metavar="[FILE...]", nargs=-1)
@click.option("--realtime", is_flag=True, help="Send the sound as slowly as it was recorded.")
@click.option("--sample-rate", "sample_rate_hz", type=int, metavar="HZ", help="With -: raw samples of this rate.")
@click.option("--channels", type=int, help="Of raw samples, interleaved (default: 1).")
@click.option(
    "--encoding",
    type=click.Choice(["s16le", "f32le", "mulaw", "alaw"]),
    help="Of raw samples (default: s16le).",
)
@click.option("--mic", is_flag=True, help="Record the microphone instead of reading FILEs, until Ctrl-C.")
@click.option("--device", metavar="NAME", help="With --mic: the device, by name or number (python -m sounddevice).")
@click.option("--duration-s", type=NumberRange(min=0, min_open=True), help="With --mic: stop after so many seconds.")
@click.option(
    "--as",
    "kind",
    type=click.Choice(["embed", "classify"]),
    help="What to ask for (default: what the model is for).",
)
@click.option(
    "--max-results", type=Results(), default=3, show_default=True, help="When classifying: the best so many; -1: all."
)
@model_options
@segment_options
@json_option
@connection_options
def stream(
    files: tuple[str, ...],
    realtime: bool,
    sample_rate_hz: int | None,
    channels: int | None,
    encoding: str | None,
    mic: bool,
    device: str | None,
    duration_s: float | None,
    kind: str | None,
    max_results: int,
    model: str | None,
    version: str | None,
    as_json: bool,
    **flags: Any,
) -> int:
    """Streams files over one connection each, or the microphone, and prints what comes, as it comes.

    Of vectors people see how alike each is to the one before; --json has them in full, a line an event. - is standard
    input: a file, read to its end first, or with --sample-rate raw samples, sent as they come. Ctrl-C ends them.

    \b
      auricle stream talk.wav --realtime
      auricle stream talk.wav --pooling mean --json
      auricle stream --mic --server 127.0.0.1:50051
      arecord -q -t raw -f S16_LE -r 16000 | auricle stream - --sample-rate 16000
    """
    _check_source(files, mic=mic, with_mic={"--device": device, "--duration-s": duration_s})
    raw = {"sample_rate_hz": sample_rate_hz, "channels": channels, "encoding": encoding}
    _check_raw(files, raw, realtime=realtime)
    with connected(Connection.take(flags)) as client:

        def one(file: str) -> None:
            if sample_rate_hz is not None:
                with standard_input() as chunks:
                    answer(file, chunks, raw)
            else:
                answer(file, *_decoded(file, realtime=realtime))

        def live(name: str) -> None:
            rate_hz = _rate_hz(client, model)
            with microphone(rate_hz, device=device, duration_s=duration_s) as recorded:
                layout = {"sample_rate_hz": recorded.sample_rate_hz, "channels": 1, "encoding": "f32le"}
                answer(name, recorded.chunks, layout)

        def answer(file: str, source: Any, format_of: dict[str, Any]) -> None:
            asked = kind or _purpose(client, model)
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

        if mic:
            return over_files([_MICROPHONE], live, "recording", as_json=as_json, prints=True)
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


def _decoded(file: str, *, realtime: bool) -> tuple[Iterator[bytes], dict[str, Any]]:
    """A file's samples, and how they are laid out."""
    from auricle.client.audio import open_long
    from auricle.client.options import ENCODINGS

    long = open_long(sound_of(file))
    wire = long.format
    encoding = next(name for name, code in ENCODINGS.items() if code == wire.encoding)
    layout = {"sample_rate_hz": wire.sample_rate_hz, "channels": wire.channels, "encoding": encoding}
    if not realtime:
        return long.chunks(), layout
    return paced(long.chunks(), wire.sample_rate_hz * wire.channels * _SAMPLE_BYTES[encoding]), layout


def _purpose(client: Client, name: str | None) -> str:
    """What a model is for; where the server alone knows which it takes, embedding."""
    tasks = {each.task for each in _candidates(client, name)}
    return "classify" if tasks == {_CLASSIFYING} else "embed"


def _rate_hz(client: Client, name: str | None) -> int:
    """The model's own rate; where the server alone knows which model it takes, the usual one, and it resamples."""
    rates_hz = {each.sample_rate_hz for each in _candidates(client, name)}
    return rates_hz.pop() if len(rates_hz) == 1 else _USUAL_RATE_HZ


def _candidates(client: Client, name: str | None) -> list[ModelInfo]:
    """The versions of the model of that name; of None, where one is the only one, as a server finds it."""
    from auricle.model.bundled import bundled_names

    served = client.models()
    names = {each.name for each in served}
    names = names - bundled_names() or names
    wanted = name or (next(iter(names)) if len(names) == 1 else None)
    return [each for each in served if each.name == wanted]


def _check_source(files: tuple[str, ...], *, mic: bool, with_mic: Mapping[str, object]) -> None:
    if mic and files:
        raise click.UsageError("--mic records: leave the FILEs out")
    if not mic and not files:
        raise click.UsageError("name a FILE, or record with --mic")
    for option, value in with_mic.items():
        if value is not None and not mic:
            raise click.UsageError(f"{option} goes with --mic")


def _check_raw(files: tuple[str, ...], raw: Mapping[str, object], *, realtime: bool) -> None:
    given = [option for option, value in raw.items() if value is not None]
    if not given:
        return
    if raw["sample_rate_hz"] is None:
        raise click.UsageError(f"--{given[0]} is for raw samples; give their --sample-rate too")
    if files != ("-",):
        raise click.UsageError("--sample-rate is for raw samples on standard input; name - and no other FILE")
    if realtime:
        raise click.UsageError("--realtime is for files: raw samples are sent as they come")


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
