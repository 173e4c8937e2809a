"""``embed`` and ``classify``: clips to vectors or labels."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from auricle.cli.connect import connected
from auricle.cli.exits import describe, report
from auricle.cli.output import Each, print_json, print_table, short_names, table
from auricle.cli.ranges import Number, Results, Seconds
from auricle.cli.settings import Connection, connection_options, json_option, model_options
from auricle.errors import AuricleError

if TYPE_CHECKING:
    from auricle.client import Category, ClassifyResult, EmbedResult

Result = TypeVar("Result", "EmbedResult", "ClassifyResult")

__all__ = [
    "classify",
    "classify_options",
    "embed",
    "embed_options",
    "files_argument",
    "over_files",
    "segment_options",
    "sound_of",
]

_FEW_ELEMENTS = 3


def files_argument(command: Any) -> Any:
    """Adds the files; ``-`` is standard input."""
    return click.argument("files", metavar="FILE...", nargs=-1, required=True)(command)


def sound_of(file: str) -> str | bytes:
    """Gives a file's path, or what standard input holds where it is ``-``."""
    return sys.stdin.buffer.read() if file == "-" else file


def segment_options(command: Any) -> Any:
    """Adds what both kinds of result share."""
    for decorator in (
        click.option("--head", "heads", multiple=True, metavar="NAME", help="Head that answers; may be repeated."),
        click.option("--segment-length-s", type=Seconds(), help="Seconds of a segment, for models of variable length."),
        click.option("--hop-s", type=Seconds(), help="Seconds between segment starts (default: the model's)."),
        click.option(
            "--pooling",
            type=click.Choice(["none", "mean", "max"]),
            help="One answer a segment (none) or a clip (default: the model's way; in a stream none).",
        ),
    ):
        command = decorator(command)
    return command


def embed_options(command: Any) -> Any:
    """Adds what shapes vectors."""
    for decorator in (
        click.option(
            "--l2-normalize/--no-l2-normalize", default=None, help="Vectors of length 1 (default: the model's way)."
        ),
        click.option(
            "--vector-type",
            type=click.Choice(["float32", "float16", "int8"]),
            default="float32",
            show_default=True,
            help="Type of the vectors.",
        ),
    ):
        command = decorator(command)
    return segment_options(command)


def classify_options(command: Any) -> Any:
    """Adds what shapes categories."""
    for decorator in (
        click.option("--include-embeddings", is_flag=True, help="Vectors of the same inference, too."),
        click.option("--locale", "display_names_locale", default="", help="Language of the names shown (default: en)."),
        click.option(
            "--deny",
            "category_denylist",
            multiple=True,
            metavar="NAME",
            help="Drop the category of this name; may be repeated.",
        ),
        click.option(
            "--allow",
            "category_allowlist",
            multiple=True,
            metavar="NAME",
            help="Keep the category of this name only; may be repeated.",
        ),
        click.option("--score-threshold", type=Number(), help="Least score (default: the model's, else 0)."),
        click.option("--max-results", type=Results(), default=5, show_default=True, help="Best so many; -1: all."),
    ):
        command = decorator(command)
    return segment_options(command)


@click.command()
@files_argument
@model_options
@embed_options
@json_option
@connection_options
def embed(files: tuple[str, ...], model: str | None, version: str | None, as_json: bool, **flags: Any) -> int:
    """Gives the vectors of clips.

    WAV, FLAC, OGG, MP3 or AIFF; - is standard input. --json has a line a file with the vectors in full.

    \b
      auricle embed ann.wav ben.flac
      auricle embed talk.mp3 --pooling none --json | jq '.embeddings[].start_s'
    """
    columns = {"file": "left", "from": "right", "to": "right", "head": "left", "size": "right", "vector": "left"}
    with connected(Connection.take(flags)) as client:
        return _answer(
            files,
            lambda sound: client.embed(sound, model=model, version=version, **flags),
            record=embed_record if as_json else None,
            rows=_embed_rows,
            columns=columns,
            verb="embedding",
        )


@click.command()
@files_argument
@model_options
@classify_options
@json_option
@connection_options
def classify(files: tuple[str, ...], model: str | None, version: str | None, as_json: bool, **flags: Any) -> int:
    """Gives the labels of clips with their scores, best first.

    --allow and --deny take a category's name; what --locale calls it stands behind that in brackets.

    \b
      auricle classify street.wav --max-results 3
      auricle classify street.wav --pooling none --allow Speech --json
    """
    columns = {"file": "left", "from": "right", "to": "right", "head": "left", "score": "right", "label": "left"}
    with connected(Connection.take(flags)) as client:
        return _answer(
            files,
            lambda sound: client.classify(sound, model=model, version=version, **flags),
            record=classify_record if as_json else None,
            rows=_classify_rows,
            columns=columns,
            verb="classifying",
        )


def _answer(
    files: tuple[str, ...],
    call: Callable[[str | bytes], Result],
    *,
    record: Callable[[str, Result], dict[str, Any]] | None,
    rows: Callable[[str, Result], Iterable[tuple[str, ...]]],
    columns: Mapping[str, str],
    verb: str,
) -> int:
    """Asks about each file; ``record`` makes a line of JSON as each answer comes, None a table at the end."""
    names, found, models = short_names(files), list[tuple[str, ...]](), dict[str, None]()

    def one(file: str) -> None:
        result = call(sound_of(file))
        if record is not None:
            print_json(record(file, result))
            return
        found.extend(rows(names[file], result))
        models[f"{result.model}/{result.version}"] = None

    code = over_files(files, one, verb, as_json=record is not None)
    if found:
        made = table(*columns, right=[name for name, side in columns.items() if side == "right"])
        for row in found:
            made.add_row(*row)
        print_table(made)
        click.echo(f"by {', '.join(models)}")
    return code


def over_files(
    files: Iterable[str], act: Callable[[str], None], verb: str, *, as_json: bool, prints: bool = False
) -> int:
    """Does something with each file; one that fails is told of, and the rest goes on.

    Args:
        files: paths, or ``-``.
        act: what to do.
        verb: the progress says it.
        as_json: tell of a failure in a line of JSON, too.
        prints: ``act`` itself writes to stdout as it goes.

    Returns:
        0, or the exit code of the first failure.
    """
    code = 0
    for file in Each(files, verb, quiet=(as_json or prints) and sys.stdout.isatty()):
        try:
            act(file)
        except BrokenPipeError:
            raise
        except (AuricleError, OSError) as error:
            failed = report(error, about=file)
            code = code or failed
            if as_json:
                print_json(error_record(file, error))
    return code


def embed_record(file: str, result: EmbedResult) -> dict[str, Any]:
    """One file's vectors, for JSON."""
    return {
        "file": file,
        **{name: getattr(result, name) for name in ("model", "version", "embeddings", "usage", "timing")},
    }


def classify_record(file: str, result: ClassifyResult) -> dict[str, Any]:
    """One file's categories, for JSON."""
    names = ("model", "version", "classifications", "embeddings", "usage", "timing")
    return {"file": file, **{name: getattr(result, name) for name in names}}


def error_record(file: str, error: Exception) -> dict[str, Any]:
    """One file's failure, for JSON."""
    told = {"code": "INVALID_ARGUMENT", "reason": "FILE"}
    if isinstance(error, AuricleError):
        told = {"code": error.code, "reason": error.reason}
    return {"file": file, "error": {**told, "message": describe(error)}}


def _embed_rows(file: str, result: EmbedResult) -> Iterable[tuple[str, ...]]:
    for each in result.embeddings:
        few = "  ".join(f"{float(value):.4g}" for value in each.vector[:_FEW_ELEMENTS])
        more = "  ..." if each.vector.size > _FEW_ELEMENTS else ""
        yield file, f"{each.start_s:.2f} s", f"{each.end_s:.2f} s", each.head, str(each.vector.size), few + more


def _classify_rows(file: str, result: ClassifyResult) -> Iterable[tuple[str, ...]]:
    for each in result.classifications:
        place = (file, f"{each.start_s:.2f} s", f"{each.end_s:.2f} s", each.head)
        for category in each.categories:
            yield *place, f"{category.score:.4f}", _named(category)
            place = ("", "", "", "")
        if not each.categories:
            yield *place, "", "(nothing over the threshold)"


def _named(category: Category) -> str:
    """What a category is called, after its name, by which --allow and --deny know it, where that is another."""
    if category.category_name in ("", category.label):
        return category.label
    return f"{category.category_name} ({category.label})"
