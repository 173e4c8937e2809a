"""``train``: a folder of sounds in, a model out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from auricle.cli.configuration import config_option
from auricle.cli.exits import tell
from auricle.cli.logs import configure_logs
from auricle.cli.output import console, print_json
from auricle.cli.paths import NonEmptyPath
from auricle.cli.ranges import Number
from auricle.cli.settings import json_option
from auricle.errors import OptionError

if TYPE_CHECKING:
    from auricle.training.augmentation import Augmentation
    from auricle.training.report import Report

__all__ = ["train"]

# Keras seeds with 32 bits.
_MOST_SEED = 2**32 - 1


def _locales(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, list[str]]:
    """``LOCALE=FILE``, one name a line."""
    from auricle.importing.files import label_names, read

    found = {}
    for value in values:
        locale, sign, file = value.partition("=")
        # A pipe by name or process substitution is a file like any other.
        if not locale or not sign or not Path(file).exists() or Path(file).is_dir():
            raise click.BadParameter(f"{value!r} should be LOCALE=FILE, with a file of one name a line")
        if locale in found:
            raise click.BadParameter(f"{value!r} is a second file for {locale}; give one for each locale")
        source, text = read(Path(file))
        found[locale] = label_names(text, classes=None, source=source)
    return found


def _augmentation(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> Augmentation:
    """``NAME=VALUE`` or ``NAME=LOW,HIGH``, one after another; ``none`` draws nothing, and what follows adds to it."""
    from dataclasses import fields, replace

    from auricle.training.augmentation import STILL, Augmentation

    made = Augmentation()
    kinds = {field.name: type(field.default) for field in fields(Augmentation)}
    optional = {field.name for field in fields(Augmentation) if str(field.type).endswith("| None")}
    for value in values:
        name, _sign, text = value.partition("=")
        if value == "none":
            made = STILL
            continue
        if name not in kinds:
            raise click.BadParameter(f"there is no {name!r}; there are none, {', '.join(kinds)}")
        try:
            numbers = [(int if kinds[name] is int else float)(part) for part in text.split(",")]
        except ValueError:
            numbers = []
        ranged, off = kinds[name] is tuple, name in optional and text == "none"
        if len(numbers) != 1 + ranged and not off:
            wanted = f"{name}=LOW,HIGH" if ranged else f"{name}={'N' if kinds[name] is int else 'VALUE'}"
            raise click.BadParameter(f"{value!r} should be {wanted}{' or none' * (name in optional)}")
        changed: dict[str, Any] = {name: None if off else tuple(numbers) if ranged else numbers[0]}
        try:
            made = replace(made, **changed)
        except OptionError as error:
            raise click.BadParameter(error.message) from error
    return made


@click.command()
@click.argument("data", metavar="FOLDER|CSV", type=NonEmptyPath())
@click.option(
    "--out",
    required=True,
    type=NonEmptyPath(dir_okay=False),
    metavar="FILE",
    help="The bundle to write: NAME.onnx, or NAME/VERSION.onnx with a number.",
)
@click.option(
    "--backbone",
    default="browser-fft",
    show_default=True,
    metavar="browser-fft|BUNDLE",
    help="What gives the embeddings: the model that comes with auricle, or a bundle's file.",
)
@click.option("--head", metavar="NAME", help="The backbone's embedding head, where it has several.")
@click.option("--whole-model", is_flag=True, help="Train the browser-FFT network end to end; needs auricle[train].")
@click.option(
    "--short",
    type=click.Choice(["pad", "drop"]),
    default="pad",
    show_default=True,
    help="What happens to clips that are shorter than the model's segment.",
)
@click.option("--group-pattern", metavar="REGEX", help="Its one group, in a file's name, says who made the sound.")
@click.option("--hold-out", metavar="GROUP", help="Test with this group; without it with a share of each class.")
@click.option("--test-share", type=Number(), default=0.2, show_default=True, help="Share of each class to test with.")
@click.option("--epochs", type=click.IntRange(min=1), help="Of a whole model.")
@click.option(
    "--augment",
    "augmentation",
    multiple=True,
    callback=_augmentation,
    metavar="NAME=VALUE",
    help="How far a whole model's clips are changed, e.g. snr_db=5,30, masks=0 or none; may be repeated.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0, max=_MOST_SEED),
    default=1,
    show_default=True,
    help="The same seed gives the same model.",
)
@click.option(
    "--quantize",
    type=click.Choice(["float16", "int8"]),
    help="How the model is stored; its accuracy is printed beside float32's.",
)
@click.option(
    "--cache",
    type=NonEmptyPath(file_okay=False),
    metavar="DIR",
    help="Keeps features there for the next time.",
)
@click.option(
    "--labels",
    "locales",
    multiple=True,
    callback=_locales,
    metavar="LOCALE=FILE",
    help="What the classes are called, in the order of their names, a background that is added last; may be repeated.",
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    help="Where the backbone runs: cpu, cuda or another, as auricle serve has it; auto: cuda if it is there.",
)
@click.option("--author", default="", help="Who made it.")
@click.option("--license", default="", help="Its licence.")
@click.option("--report", type=NonEmptyPath(file_okay=False), metavar="DIR", help="Write the report there.")
@json_option
@config_option
def train(
    data: Path,
    out: Path,
    hold_out: str | None,
    epochs: int | None,
    seed: int,
    report: Path | None,
    as_json: bool,
    **wanted: Any,
) -> None:
    """Makes a classifier of labelled sounds and writes it as a model that a server can load.

    FOLDER has a sub-folder for each class; the sounds of _background_noise_ are mixed into a whole model's, and are a
    class, background. A CSV has the columns path and label, and may have split (train, validation, test) and group.

    \b
      auricle train birds/ --out models/birds.onnx
      auricle train people/ --backbone voice/1.onnx --out who.onnx
      auricle train words/ --whole-model --group-pattern '^([a-z]+)_' --hold-out ann --out words.onnx
      auricle train words/ --quantize int8 --labels de=worte.txt --report report/ --out words.onnx
    """
    from dataclasses import replace

    from auricle.training.augmentation import Augmentation
    from auricle.training.export import served_as
    from auricle.training.fit import Fitting
    from auricle.training.job import Job, run

    for option, given in (("--augment", wanted["augmentation"] != Augmentation()), ("--epochs", epochs is not None)):
        if given and not wanted["whole_model"]:
            raise click.UsageError(f"{option} is for a whole model; add --whole-model, or leave it out")
    configure_logs(level="error")
    if report is not None:
        # A place that cannot be written is told of now, not when all is trained.
        report.mkdir(parents=True, exist_ok=True)
    fitting = replace(Fitting(seed=seed), **({"epochs": epochs} if epochs is not None else {}))
    with _bar() as progress:
        made = run(Job(data=data, out=out, held_out=hold_out, fitting=fitting, **wanted), progress)
    if as_json:
        print_json(
            {
                "out": str(out),
                "accuracy": made.accuracy,
                "precision": made.precision,
                "float32_accuracy": made.accuracy if made.float32_accuracy is None else made.float32_accuracy,
                "clips": made.clips,
                "labels": list(made.labels),
                "confusion": made.confusion.tolist(),
            }
        )
    else:
        click.echo(made.text())
        click.echo(f"{out} is ready; `auricle serve --models {served_as(out)[0]}` serves it")
    # Last: whatever becomes of it, the model is there.
    if report is not None:
        _write(made, report)


@contextmanager
def _bar() -> Iterator[Callable[[str, int, int], None]]:
    """Gives the callback that a job tells of its progress; it shows on stderr where that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda stage, done, total: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(stderr=True), transient=True, redirect_stdout=False) as bar:
        tasks: dict[str, Any] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=done)

        yield show


def _write(report: Report, folder: Path) -> None:
    """The page, and the picture where matplotlib is there."""
    from auricle.training.report_page import page, picture

    (folder / "report.html").write_text(page(report), encoding="utf-8")
    (folder / "report.txt").write_text(report.text() + "\n", encoding="utf-8")
    try:
        picture(report, folder / "report.png")
    except ImportError:
        tell("no report.png: matplotlib is not installed; pip install 'auricle[train]'")
