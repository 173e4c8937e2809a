"""``bench``: the batch size and the threads that serve a model fastest, and where the time of a call goes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from auricle.cli.configuration import config_option
from auricle.cli.logs import configure_logs
from auricle.cli.output import print_json, print_table, table, working
from auricle.cli.paths import NonEmptyPath, names_file
from auricle.cli.places import default_models_dir, model_files
from auricle.cli.settings import json_option, models_option
from auricle.errors import NotFoundError, OptionError

if TYPE_CHECKING:
    from auricle.config import SessionSettings
    from auricle.engine.tuning import Cost

__all__ = ["bench"]


@click.command()
@click.argument("model", metavar="NAME|FILE")
@models_option
@click.option("--threads", metavar="N,N,…", help="Threads to try (default: powers of two up to all cores).")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or another, as auricle serve has it.")
@click.option("--rounds", type=click.IntRange(min=1), default=9, show_default=True, help="Runs of each batch size.")
@click.option("--profile", "profiled", is_flag=True, help="Instead: where the time of a call goes, stage by stage.")
@click.option(
    "--sound",
    type=NonEmptyPath(exists=True, dir_okay=False),
    help="File that --profile sends (default: one segment of noise).",
)
@click.option("--calls", type=click.IntRange(min=1), default=50, show_default=True, help="Calls that --profile makes.")
@json_option
@config_option
def bench(
    model: str,
    models: Path | None,
    threads: str | None,
    device: str,
    rounds: int,
    profiled: bool,
    sound: Path | None,
    calls: int,
    as_json: bool,
) -> None:
    """Measures what one segment costs by batch size and threads, and names the flags that serve it best.

    The model runs alone on noise: nothing of decoding, features or transport is in the figures. With --profile a
    server of its own gets calls one after another, and a table shows what each stage takes.

    \b
      auricle bench voice
      auricle bench ./birds.onnx --threads 1,4 --json
      auricle bench voice --profile --sound clip.wav
    """
    from auricle.config import SessionSettings
    from auricle.engine.tuning import best, measure

    path = _path(model, models or default_models_dir())
    counts = _counts(threads)
    if profiled:
        _profile(path, SessionSettings(device=device, threads=counts[0] if threads else None), sound, calls, as_json)
        return
    with working(f"measuring {path.name}"):
        costs = list(measure(path, SessionSettings(device=device), threads=counts, rounds=rounds))
    chosen = best(costs)
    if as_json:
        for cost in costs:
            print_json({**asdict(cost), "best": cost is chosen})
        return
    _show(costs, chosen, device)


def _profile(path: Path, session: SessionSettings, sound: Path | None, calls: int, as_json: bool) -> None:
    import asyncio
    import statistics

    from auricle.serve.profile import profile

    configure_logs(level="error")
    content = sound.read_bytes() if sound is not None else None
    with working(f"calling {path.name}"):
        found = [asdict(call) for call in asyncio.run(profile(path, session, content, calls=calls))]
    if as_json:
        for call in found:
            print_json(call)
        return
    whole_s = statistics.median(call["round_trip_s"] for call in found)
    numbers = ("ms, median", "of the round trip")
    made = table("stage", *numbers, right=numbers)
    for stage in found[0]:
        spent_s = statistics.median(call[stage] for call in found)
        name = stage.removesuffix("_s").replace("_", " ")
        made.add_row(name, f"{spent_s * 1e3:.3f}", f"{spent_s / whole_s:.0%}")
    print_table(made)


def _show(costs: list[Cost], chosen: Cost, device: str) -> None:
    numbers = ("threads", "batch", "ms/segment", "segments/s", "CPU ms/segment")
    made = table(*numbers, "", right=numbers)
    for cost in costs:
        figures = f"{cost.wall_s * 1e3:.3f}", f"{1 / cost.wall_s:.0f}", f"{cost.cpu_s * 1e3:.3f}"
        made.add_row(str(cost.threads), str(cost.batch), *figures, "best" if cost is chosen else "")
    print_table(made)
    named = "" if device == "cpu" else f" --device {device}"
    click.echo(f"\nauricle serve{named} --session-threads {chosen.threads} --batch-max-segments {chosen.batch}")


def _path(model: str, models_dir: Path) -> Path:
    """A file, or the newest version of that name in the directory, else of those that come with auricle."""
    from auricle.engine.directory import scan, version_key
    from auricle.model.bundled import bundled_dir

    if names_file(model):
        if not Path(model).is_file():
            raise NotFoundError(f"no file {model}")
        return Path(model)
    files = [*model_files(models_dir), *scan(bundled_dir(), bundled=True)]
    found = [file for file in files if file.name == model]
    if not found:
        raise NotFoundError(f"no model {model!r} in {models_dir}; auricle models list shows what there is")
    # The user's own hide one of that name that comes with auricle, as where they are served.
    return max(found, key=lambda file: (not file.bundled, version_key(file.version or ""))).path


def _counts(text: str | None) -> list[int]:
    if text is None:
        from auricle.engine.session import cores

        return sorted({1 << power for power in range(cores().bit_length())} | {cores()})
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        counts = []
    if not counts or min(counts) < 1:
        raise OptionError(f"--threads must be whole numbers above 0 with commas between, but is {text!r}")
    return counts
