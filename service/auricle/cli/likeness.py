"""``compare`` and ``verify``: how alike clips are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from auricle.cli.clips import files_argument, over_files, sound_of
from auricle.cli.connect import connected
from auricle.cli.exits import DIFFERENT
from auricle.cli.output import print_json, print_table, short_names, table
from auricle.cli.ranges import NumberRange
from auricle.cli.settings import Connection, connection_options, json_option, model_options, setting
from auricle.errors import OptionError

if TYPE_CHECKING:
    from auricle.client import Embedding, EmbedResult

__all__ = ["compare", "verify"]


def _pooled_options(command: Any) -> Any:
    for decorator in (
        click.option("--head", metavar="NAME", help="Embedding head to compare by, where the model has several."),
        click.option(
            "--pooling",
            type=click.Choice(["mean", "max"]),
            default="mean",
            show_default=True,
            help="How a clip's segments become one vector.",
        ),
    ):
        command = decorator(command)
    return command


@click.command()
@files_argument
@model_options
@_pooled_options
@json_option
@connection_options
def compare(
    files: tuple[str, ...],
    model: str | None,
    version: str | None,
    head: str | None,
    pooling: str,
    as_json: bool,
    **flags: Any,
) -> int:
    """Gives the cosine of each two clips' vectors, from -1 to 1.

    \b
      auricle compare ann.wav ben.flac
      auricle compare voices/*.wav --json
    """
    if len(files) < 2:
        raise click.UsageError("compare needs two files at least")
    code, found = _vectors(files, model, version, head, pooling, as_json, flags)
    if len(found) < 2:
        return code
    from auricle.client import cosine

    names = [name for name, _, _ in found]
    matrix = [[cosine(one.vector, other.vector) for _, _, other in found] for _, _, one in found]
    result = found[0][1]
    if as_json:
        print_json({"files": names, "model": result.model, "version": result.version, "cosine": matrix})
    elif len(names) == 2:
        click.echo(f"{matrix[0][1]:.4f}  {names[0]}  {names[1]}")
    else:
        numbers = [str(place) for place in range(1, len(names) + 1)]
        made = table("", "file", *numbers, right=("", *numbers))
        shown = short_names(names)
        for number, name, row in zip(numbers, names, matrix, strict=True):
            made.add_row(number, shown[name], *(f"{value:.4f}" for value in row))
        print_table(made)
    return code


@click.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@setting("--threshold", type=NumberRange(-1, 1), required=True, help="Least cosine that counts as the same.")
@model_options
@_pooled_options
@json_option
@connection_options
def verify(
    first: str,
    second: str,
    threshold: float,
    model: str | None,
    version: str | None,
    head: str | None,
    pooling: str,
    as_json: bool,
    **flags: Any,
) -> int:
    """Says whether two clips are the same by the model: exit code 0 if so, 1 if not.

    The right threshold depends on the model and on what a mistake costs; measure it on clips of your own.

    \b
      auricle verify enrolled.wav caller.wav --threshold 0.7 && echo welcome
    """
    code, found = _vectors((first, second), model, version, head, pooling, as_json, flags)
    if len(found) < 2:
        return code
    from auricle.client import cosine

    (_, result, one), (_, _, other) = found
    value = cosine(one.vector, other.vector)
    same = value >= threshold
    if as_json:
        record = {"files": [first, second], "model": result.model, "version": result.version}
        print_json({**record, "cosine": value, "threshold": threshold, "same": same})
    else:
        click.echo(f"{'same' if same else 'different'}: cosine {value:.4f}, threshold {threshold:g}")
    return 0 if same else DIFFERENT


def _vectors(
    files: tuple[str, ...],
    model: str | None,
    version: str | None,
    head: str | None,
    pooling: Any,
    as_json: bool,
    flags: dict[str, Any],
) -> tuple[int, list[tuple[str, EmbedResult, Embedding]]]:
    """One vector a clip, and the exit code of the first that has none."""
    found: list[tuple[str, EmbedResult, Embedding]] = []
    # How alike two clips are is a question for a model that was chosen, not for the one that happens to be there.
    with connected(Connection.take(flags), bundled=model is not None) as client:

        def one(file: str) -> None:
            result = client.embed(
                sound_of(file), model=model, version=version, pooling=pooling, heads=[head] if head else []
            )
            if len(result.embeddings) != 1:
                heads = ", ".join(each.head for each in result.embeddings)
                raise OptionError(f"{result.model} has several embedding heads: {heads}; choose one with --head")
            found.append((file, result, result.embeddings[0]))

        code = over_files(files, one, "embedding", as_json=as_json)
    return code, found
