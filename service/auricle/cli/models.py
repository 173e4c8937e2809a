"""``models``: what there is, what it takes and gives; fetch one, remove one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from auricle.cli.configuration import config_option
from auricle.cli.connect import connected, local_client
from auricle.cli.importing import TASKS, import_model
from auricle.cli.output import plain, print_json, print_json_text, print_table, short_size, table, working
from auricle.cli.paths import names_file
from auricle.cli.places import default_models_dir
from auricle.cli.pulling import pull
from auricle.cli.settings import Connection, connection_options, json_option, models_option, typed
from auricle.errors import InvalidArgumentError, NotFoundError
from auricle.model.bundled import bundled_names
from auricle.model.formats import is_tflite, refuse_tflite
from auricle.model.place import files_of, remove_files

if TYPE_CHECKING:
    from auricle.client import ModelInfo

__all__ = ["models"]

_SUFFIX, _TFLITE = ".onnx", ".tflite"
_FEW_LABELS = 8


@click.group()
def models() -> None:
    """Models: what there is, what each takes and gives; fetch, import or remove one."""


models.add_command(import_model)
models.add_command(pull)


@models.command("list", short_help="What a directory or a server has.")
@click.option("--task", type=click.Choice(TASKS), help="Only those that are for this.")
@json_option
@connection_options
def list_models(task: str | None, as_json: bool, **flags: Any) -> None:
    """Lists the models of the directory, or of a server.

    \b
      auricle models list
      auricle models list --task speaker-embedding
      auricle models list --server 127.0.0.1:50051 --json
    """
    with working("loading models"), connected(Connection.take(flags)) as client:
        found = [each for each in client.models() if task in (None, each.task)]
    if as_json:
        for each in found:
            print_json(_record(each))
        return
    made = table("model", "version", "task", "rate", "heads", "size", "licence", right=("rate", "size"))
    for each in found:
        heads = ", ".join(f"{head.name} ({head.dimension})" for head in each.heads)
        version = each.version if each.newest else f"{each.version} (older)"
        rate, size = f"{each.sample_rate_hz} Hz", short_size(each.size_bytes)
        made.add_row(each.name, version, each.task, rate, heads, size, each.license)
    print_table(made)


@models.command("show", short_help="One model in full.")
@click.argument("name", metavar="NAME|FILE")
@click.option("--version", metavar="VERSION", help="Its version (default: the newest).")
@click.option("--tflite-json", is_flag=True, help="A file's metadata in the TensorFlow Lite metadata schema.")
@json_option
@connection_options
def show(name: str, version: str | None, tflite_json: bool, as_json: bool, **flags: Any) -> None:
    """Shows what a model takes and gives: one of the directory, of a server, or a file.

    \b
      auricle models show voice
      auricle models show ./birds.onnx --json
      auricle models show ./birds.onnx --tflite-json
      auricle models show ./birds.tflite --tflite-json
    """
    connection = Connection.take(flags)
    if tflite_json:
        _print_view(name)
        return
    with working("loading"):
        # A server has no files: one that the environment or the file names is not meant.
        if names_file(name) and not (connection.server and typed("server")):
            with _alone(Path(name)) as directory, local_client(directory) as client:
                info = client.model(Path(name).stem, version)
        else:
            with connected(connection) as client:
                info = client.model(name, version)
    if as_json:
        print_json({**_record(info), "label_lists": {head.name: plain(head.label_lists) for head in info.heads}})
        return
    for key, value in _facts(info):
        click.echo(f"{key:<12} {value}")


@models.command(short_help="Remove a model from the directory.")
@click.argument("name")
@click.option("--version", metavar="VERSION", help="This version only (default: all).")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@models_option
@config_option
def remove(name: str, version: str | None, yes: bool, as_json: bool, models: Path | None) -> None:
    """Removes a model's files: NAME.onnx and NAME/VERSION.onnx, with their sidecars.

    \b
      auricle models remove voice
      auricle models remove voice --version 1 --yes
    """
    directory = models or default_models_dir()
    files = files_of(directory, name, version)
    if not files and name in bundled_names():
        raise InvalidArgumentError(f"{name} comes with auricle and cannot be removed; --no-bundled serves without it")
    if not files:
        wanted = name if version is None else f"{name} version {version}"
        raise NotFoundError(f"no model {wanted} in {directory}; `auricle models list` has the names")
    if not yes:
        click.echo("\n".join(map(str, files)), err=True)
        click.confirm("Remove?", abort=True, err=True)
    remove_files(directory, files)
    if as_json:
        print_json({"name": name, "removed": [str(path) for path in files]})
    else:
        click.echo(f"removed {', '.join(map(str, files))}")


@contextmanager
def _alone(path: Path) -> Iterator[Path]:
    """A directory that holds one model file, with its sidecar and what holds its weights."""
    from auricle.metadata.onnxfile import data_files

    if not path.is_file():
        raise FileNotFoundError(2, "no such file", str(path))
    if path.name.startswith("."):
        raise InvalidArgumentError(f"{path} begins with a dot, and hidden files are not looked at; rename it")
    refuse_tflite(path)
    with tempfile.TemporaryDirectory(prefix="auricle-") as scratch:
        names = {path.name: f"{path.stem}{_SUFFIX}", f"{path.stem}.json": f"{path.stem}.json"}
        for name, shown in (names | {each: each for each in data_files(path)}).items():
            source, link = path.parent / name, Path(scratch) / shown
            if source.is_file():
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(source.resolve())
        yield Path(scratch)


def _print_view(name: str) -> None:
    """Prints a file's metadata as TensorFlow Lite's tools do; of a .tflite file its own."""
    from auricle.importing.tflite import tflite_json as original_json
    from auricle.metadata import tflite_json

    if is_tflite(Path(name)) or name.lower().endswith(_TFLITE):
        print_json_text(original_json(Path(name)))
        return
    if not names_file(name):
        raise click.UsageError(f"--tflite-json shows a FILE, and {name!r} is a name; give the path of its {_SUFFIX}")
    print_json_text(tflite_json(name))


def _record(info: ModelInfo) -> dict[str, Any]:
    record: dict[str, Any] = plain(info)
    for head in record["heads"]:
        del head["label_lists"]
    return record


def _facts(info: ModelInfo) -> Iterator[tuple[str, str]]:
    """What there is to say of a model, for people."""
    rate_hz = info.sample_rate_hz
    yield "model", f"{info.name}/{info.version}" + ("" if info.newest else " (there is a newer one)")
    for key, value in (("description", info.description), ("author", info.author), ("licence", info.license)):
        if value:
            yield key, value
    yield "task", info.task
    yield "size", short_size(info.size_bytes)
    yield "audio", f"{rate_hz} Hz, {info.channels} channel{'s' if info.channels != 1 else ''}; others are converted"
    yield "features", info.features or "no preset: the model takes the waveform, or features of its own"
    if info.segment_samples is None or info.hop_samples is None:
        yield "segment", "the whole clip at once"
    else:
        yield "segment", f"{info.segment_samples / rate_hz:.3f} s, every {info.hop_samples / rate_hz:.3f} s"
    for head in info.heads:
        labels = f", {head.labels} labels" if head.labels else ""
        yield "head", f"{head.name}: {head.kind}, {head.dimension}{labels}, pooled by {head.pooling}"
        for locale, names in head.label_lists.items():
            more = f", ... ({len(names)})" if len(names) > _FEW_LABELS else ""
            yield f"  {locale or '-'}", ", ".join(names[:_FEW_LABELS]) + more
