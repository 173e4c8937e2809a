"""``models import``: a .tflite or a bare .onnx file made into a bundle."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from auricle.cli.configuration import config_option
from auricle.cli.output import console, plain, print_json, print_table, table
from auricle.cli.paths import NonEmptyPath
from auricle.cli.places import default_models_dir
from auricle.cli.ranges import Number, NumberRange
from auricle.cli.settings import json_option, models_option

if TYPE_CHECKING:
    from auricle.importing.settings import Difference, ImportReport

__all__ = ["TASKS", "import_model", "print_report"]

TASKS = ("speaker-embedding", "audio-embedding", "audio-classification")
_FILE = NonEmptyPath(exists=True, dir_okay=False)


def _labels(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[tuple[str, Path], ...]:
    """``[LOCALE=]FILE``, a pipe too; a file whose own name holds the sign is taken as it is."""
    found = []
    for value in values:
        locale, sign, rest = value.partition("=")
        locale, path = (locale, Path(rest)) if sign and not Path(value).exists() else ("", Path(value))
        if not path.exists() or path.is_dir():
            raise click.BadParameter(f"there is no file {str(path)!r}")
        found.append((locale, path))
    return tuple(found)


@click.command("import", short_help="Make a model of a .tflite or .onnx file.")
@click.argument("file", type=_FILE)
@click.option("--name", metavar="NAME", help="The model's name (default: a bundle's own, else the file's).")
@click.option("--version", metavar="VERSION", help="Its version (default: the file's own, or 1).")
@click.option(
    "--precision",
    type=click.Choice(["float", "int8"]),
    default="float",
    show_default=True,
    help="Weights of a quantised .tflite: widened, or its own 8-bit ones.",
)
@click.option("--recipe", metavar="NAME", help="ONNX: what the file does not say: wespeaker or pyannote-waveform.")
@click.option("--sample-rate", "sample_rate_hz", type=click.IntRange(min=1), metavar="HZ", help="Rate that it takes.")
@click.option("--features", metavar="PRESET", help="ONNX: the features that it takes, or none: the waveform.")
@click.option("--layout", metavar="AXES", help="ONNX: axes of its input, e.g. batch,frames,bands (default: by rank).")
@click.option("--segment-length-s", type=NumberRange(min=0, min_open=True), help="ONNX: seconds of a segment.")
@click.option("--hop-s", type=NumberRange(min=0, min_open=True), help="ONNX: seconds between segments.")
@click.option("--output", "outputs", multiple=True, metavar="TENSOR", help="ONNX: an output to serve (default: all).")
@click.option("--labels", multiple=True, callback=_labels, metavar="[LOCALE=]FILE", help="Label file; may be repeated.")
@click.option("--calibration", type=_FILE, metavar="FILE", help="Score calibration: a line a class.")
@click.option(
    "--transformation",
    type=click.Choice(["IDENTITY", "LOG", "INVERSE_LOGISTIC"]),
    default="IDENTITY",
    show_default=True,
    help="What calibration does to a score first.",
)
@click.option("--default-score", type=Number(), default=0.0, show_default=True, help="Of a class without calibration.")
@click.option(
    "--activation",
    type=click.Choice(["none", "sigmoid", "softmax"]),
    default="none",
    show_default=True,
    help="What makes scores of the output's values.",
)
@click.option(
    "--task",
    type=click.Choice(TASKS),
    help="What it is for (default: a classifier where there are labels).",
)
@click.option("--description", default="", help="For people.")
@click.option("--author", default="", help="Who made it.")
@click.option("--license", default="", help="Its licence.")
@click.option("--force", is_flag=True, help="Keep it although it differs from the original.")
@click.option("--replace", is_flag=True, help="Replace the model of that name.")
@json_option
@models_option
@config_option
def import_model(file: Path, recipe: str | None, as_json: bool, models: Path | None, **flags: Any) -> None:
    """Makes a model of FILE in the directory: one .onnx file with its metadata inside.

    A .tflite file needs the extra: pip install 'auricle[tflite]'. Its own metadata says what it takes and gives.
    A frontend inside it that is known is cut off and computed by auricle instead. Then both, the original and the
    import, hear the same test sounds, and the worst difference is shown.

    \b
      auricle models import yamnet.tflite
      auricle models import yamnet.tflite --precision int8 --name yamnet8
      auricle models import voxceleb.onnx --recipe wespeaker
      auricle models import birds.onnx --sample-rate 32000 --features none --labels en=birds.txt
    """
    from auricle.importing.file_import import import_file
    from auricle.importing.settings import ImportSettings

    settings = ImportSettings(**flags)
    with _stages() as tell:
        report = import_file(file, models or default_models_dir(), settings, family=recipe, progress=tell)
    print_report(report, as_json=as_json)


@contextmanager
def _stages() -> Iterator[Callable[[str], None]]:
    """Gives the callback that an import tells of its stages; they take seconds each."""
    if not sys.stderr.isatty():
        yield lambda stage: None
        return
    with console(stderr=True).status("reading") as status:
        yield status.update


def print_report(report: ImportReport, *, as_json: bool) -> None:
    """What was made of a file, and how well it agrees with the original."""
    if as_json:
        print_json({**plain(report), "path": str(report.path)})
        return
    click.echo(f"{report.name} {report.version} is ready: {report.path} ({report.size_bytes / 1e6:.1f} MB)")
    click.echo(f"features: {report.features or 'none: the model takes the waveform'}")
    for name, kind, dimension in report.heads:
        click.echo(f"head: {name}: {kind}, {dimension}")
    for note in report.notes:
        click.echo(f"note: {note}")
    if report.differences:
        made = table("weights", "head", "measure", "from the original", "from its graph", "bound", "worst on")
        for each in report.differences:
            made.add_row(*_row(each, written=each.precision == report.precision))
        print_table(made)


def _row(each: Difference, *, written: bool) -> tuple[str, ...]:
    return (
        f"{each.precision}{' (kept)' if written else ''}",
        each.head,
        "score" if each.kind == "classification" else "1 - cosine",
        "-" if each.original is None else f"{each.original:.2g}",
        f"{each.graph:.2g}",
        f"{each.bound:g}" + ("" if each.passes else " exceeded"),
        each.sound,
    )
