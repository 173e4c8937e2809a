"""``models pull``: a model that the project knows, or one of a hub or a URL, into the directory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from auricle.cli.configuration import config_option
from auricle.cli.importing import print_report
from auricle.cli.output import console, print_json, print_table, short_size, table
from auricle.cli.paths import NonEmptyPath
from auricle.cli.places import default_cache_dir, default_models_dir
from auricle.cli.settings import json_option, models_option

__all__ = ["pull"]


@click.command(short_help="Fetch a model: a known one, or from a hub or a URL.")
@click.argument("name", required=False, metavar="[NAME|SOURCE]")
@click.option(
    "--from",
    "from_file",
    type=NonEmptyPath(),
    metavar="FILE",
    help="A file fetched elsewhere, instead of the network.",
)
@click.option("--force", is_flag=True, help="Fetch it even where it is there.")
@click.option("--name", "own_name", metavar="NAME", help="SOURCE: the model's name (default: its own).")
@click.option("--recipe", metavar="NAME", help="SOURCE: as for import; known families are recognised.")
@click.option("--sha256", metavar="HEX", help="SOURCE: what the file must add up to.")
@json_option
@models_option
@config_option
def pull(
    name: str | None,
    from_file: Path | None,
    force: bool,
    own_name: str | None,
    recipe: str | None,
    sha256: str | None,
    as_json: bool,
    models: Path | None,
) -> None:
    """Fetches a model into the directory. Without a NAME: lists what there is to fetch.

    SOURCE is hf:OWNER/REPO[@REV][/FILE] (extra: pip install 'auricle[hub]') or https://... of an .onnx or .tflite file;
    what comes is checked and imported as `auricle models import` does. A download that breaks off is gone on with.

    \b
      auricle models pull
      auricle models pull voice
      auricle models pull hf:OWNER/REPO --name speaker
      auricle models pull https://example.com/birds.onnx --sha256 HEX
    """
    from auricle.importing.sources import is_remote
    from auricle.model.catalogue import catalogue
    from auricle.model.pull import pull as fetch_known

    of_source = {"name": own_name, "recipe": recipe, "sha256": sha256}
    remote = name is not None and is_remote(name)
    for option, value in {"from": from_file}.items() if remote else of_source.items():
        if value is not None:
            raise click.UsageError(f"--{option} is for a {'NAME' if remote else 'SOURCE'}, which {name!r} is not")
    if name is None:
        _print_catalogue(catalogue(), as_json=as_json)
        return
    directory = models or default_models_dir()
    if remote:
        _pull_source(name, directory, force=force, name=own_name, recipe=recipe, sha256=sha256, as_json=as_json)
        return
    stages: list[str] = []
    with _bar(name, stages) as progress:
        path = fetch_known(name, directory, from_file=from_file, force=force, progress=progress)
    there_already = stages == ["present"]
    if as_json:
        print_json({"name": name, "path": str(path), "fetched": not there_already})
    elif there_already:
        click.echo(f"{name} is there already: {path} (--force fetches it again)")
    else:
        click.echo(f"{name} is ready: {path}")


def _pull_source(
    source: str,
    directory: Path,
    *,
    force: bool,
    name: str | None,
    recipe: str | None,
    sha256: str | None,
    as_json: bool,
) -> None:
    from auricle.importing.fetch import fetch
    from auricle.importing.settings import ImportSettings

    settings = ImportSettings(name=name, replace=force)
    with _bar(source, []) as progress:
        report = fetch(
            source, directory, default_cache_dir(), settings, family=recipe, sha256=sha256, progress=progress
        )
    print_report(report, as_json=as_json)


@contextmanager
def _bar(name: str, stages: list[str]) -> Iterator[Callable[[str, int, int | None], None]]:
    """Gives the callback that a pull tells of its progress; ``stages`` gets each stage once."""

    def note(stage: str) -> None:
        if stage not in stages:
            stages.append(stage)

    if not sys.stderr.isatty():
        yield lambda stage, done, total: note(stage)
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn())
    with Progress(*columns, console=console(stderr=True), transient=True, redirect_stdout=False) as bar:
        task = bar.add_task(name, total=None)

        def tell(stage: str, done: int, total: int | None) -> None:
            note(stage)
            bar.update(task, description=f"{name}: {stage}", completed=done, total=total)

        yield tell


def _print_catalogue(entries: Any, *, as_json: bool) -> None:
    if as_json:
        for each in entries:
            names = ("name", "version", "description", "license", "source", "size_bytes")
            print_json({key: getattr(each, key) for key in names})
        return
    made = table("model", "download", "licence", "what it is", "source", right=("download",))
    for each in entries:
        made.add_row(each.name, short_size(each.size_bytes), each.license, each.description, each.source)
    print_table(made)
