"""Tuning: which batch sizes and threads are tried, and which of them is named the best."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

import models
from auricle.cli.group import auricle
from auricle.config import BatchSettings, SessionSettings
from auricle.engine.graph import Graph
from auricle.engine.tuning import Cost, best, measure, tuned
from auricle.errors import NotFoundError, OptionError


def cost(threads: int, batch: int, wall_s: float) -> Cost:
    return Cost(threads=threads, batch=batch, wall_s=wall_s, cpu_s=wall_s)


def test_every_batch_size_is_measured_with_every_number_of_threads(tmp_path: Path) -> None:
    path = models.write_embedder(tmp_path / "e.onnx")
    costs = list(measure(path, SessionSettings(), threads=[1, 2], batches=[1, 4], rounds=2))
    assert [(cost.threads, cost.batch) for cost in costs] == [(1, 1), (1, 4), (2, 1), (2, 4)]
    assert all(cost.wall_s > 0 and cost.cpu_s >= 0 for cost in costs)


def test_a_model_that_runs_alone_is_measured_alone(tmp_path: Path) -> None:
    path = models.write_embedder(tmp_path / "e.onnx", batch=1)
    assert [cost.batch for cost in measure(path, SessionSettings(), threads=[1], rounds=1)] == [1]


def test_the_best_is_the_least_that_comes_near_the_fastest() -> None:
    assert best([cost(1, 1, 5.0), cost(1, 8, 2.0), cost(1, 16, 1.99), cost(2, 16, 1.98)]) == cost(1, 8, 2.0)
    assert best([cost(1, 8, 2.0), cost(2, 8, 1.2), cost(2, 4, 1.5)]) == cost(2, 8, 1.2)


class Machine:
    """A graph that takes so many seconds for a batch, on a clock that stands still beside it."""

    def __init__(
        self, path: Path, run_s: Callable[[int], float], monkeypatch: pytest.MonkeyPatch, device: str = "cpu"
    ) -> None:
        self.graph = Graph(path, SessionSettings(threads=1, device=device))
        self.now_s = 0.0
        self.sizes: list[int] = []

        def run(outputs: Sequence[str], segments: Sequence[NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
            self.sizes.append(len(segments))
            self.now_s += run_s(len(segments))
            return {}

        monkeypatch.setattr(self.graph, "run", run)

    def best(self, trial_s: float = 1.0) -> int | None:
        return tuned(BatchSettings(), self.graph, trial_s=trial_s, clock=lambda: self.now_s).max_segments


@pytest.mark.parametrize(
    ("run_s", "size"),
    [
        (lambda size: size * 1e-4, 32),  # nothing to gain but the handover, which is much for so small a model
        (lambda size: size * 1e-2, 8),
        (lambda size: 5e-3 + size * 1e-3, 32),
        (lambda size: size * (5e-3 if size == 16 else 1e-2), 16),
    ],
)
def test_a_server_takes_the_smallest_batch_that_comes_near_the_least_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_s: Callable[[int], float], size: int
) -> None:
    assert Machine(models.write_embedder(tmp_path / "e.onnx"), run_s, monkeypatch).best() == size


def test_the_trial_of_a_slow_model_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Machine(models.write_embedder(tmp_path / "e.onnx"), lambda size: size * 1.0, monkeypatch)
    assert slow.best(trial_s=5.0) == 8
    assert slow.sizes == [8]


@models.needs_another_device
@pytest.mark.parametrize(
    ("run_s", "size", "delay_s"),
    [
        (lambda size: 2e-3 + size * 1e-6, 128, 2.008e-3),  # nearly all of a run is its beginning
        (lambda size: 8e-3 if size <= 64 else 32e-3, 64, 5e-3),  # wide as it is; the wait is bounded
    ],
)
def test_another_device_gets_larger_batches_and_time_to_fill_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_s: Callable[[int], float], size: int, delay_s: float
) -> None:
    far = Machine(models.write_embedder(tmp_path / "e.onnx"), run_s, monkeypatch, device=models.ANOTHER_DEVICE)
    chosen = tuned(BatchSettings(), far.graph, clock=lambda: far.now_s)
    assert (chosen.max_segments, chosen.max_delay_s) == (size, pytest.approx(delay_s))
    far.sizes.clear()
    chosen = tuned(BatchSettings(max_segments=16), far.graph, clock=lambda: far.now_s)
    assert set(far.sizes) == {16}
    assert (chosen.max_segments, chosen.max_delay_s) == (16, pytest.approx(min(run_s(16), 5e-3)))
    assert tuned(BatchSettings(max_delay_s=0.0), far.graph, clock=lambda: far.now_s).max_delay_s == 0.0


def test_a_batch_size_that_is_given_stands(tmp_path: Path) -> None:
    graph = Graph(models.write_embedder(tmp_path / "e.onnx"), SessionSettings(threads=1))
    assert tuned(BatchSettings(max_segments=3), graph) == BatchSettings(max_segments=3, max_delay_s=0.0)
    given = BatchSettings(max_segments=3, max_delay_s=0.5)
    assert tuned(given, graph) is given
    alone = Graph(models.write_embedder(tmp_path / "f.onnx", batch=1), SessionSettings(threads=1))
    assert tuned(BatchSettings(), alone).max_segments == 1


def test_the_command_names_the_flags_and_prints_a_line_a_measurement(tmp_path: Path) -> None:
    models.write_embedder(tmp_path / "tiny" / "9.onnx")
    models.write_embedder(tmp_path / "tiny" / "10.onnx", batch=1)  # the newest is the one that is measured
    command = ["bench", "tiny", "--models", str(tmp_path), "--threads", "1", "--rounds", "1"]
    shown = CliRunner().invoke(auricle, command, catch_exceptions=False)
    assert shown.output.endswith("auricle serve --session-threads 1 --batch-max-segments 1\n")
    lines = CliRunner().invoke(auricle, [*command, "--json"], catch_exceptions=False).output.splitlines()
    assert [(line["threads"], line["batch"], line["best"]) for line in map(json.loads, lines)] == [(1, 1, True)]


@models.needs_another_device
def test_the_flags_name_the_device_that_was_measured(tmp_path: Path) -> None:
    path = models.write_embedder(tmp_path / "e.onnx", batch=1)
    command = ["bench", str(path), "--threads", "1", "--rounds", "1", "--device", models.ANOTHER_DEVICE]
    shown = CliRunner().invoke(auricle, command, catch_exceptions=False)
    flags = f"--device {models.ANOTHER_DEVICE} --session-threads 1 --batch-max-segments 1"
    assert shown.output.endswith(f"auricle serve {flags}\n")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["absent"], NotFoundError),
        (["./absent.onnx"], NotFoundError),
        (["tiny", "--threads", "0"], OptionError),
        (["tiny", "--threads", "many"], OptionError),
        (["tiny", "--device", "abacus"], OptionError),
    ],
)
def test_what_cannot_be_measured_is_named(tmp_path: Path, arguments: list[str], error: type[Exception]) -> None:
    models.write_embedder(tmp_path / "tiny.onnx")
    with pytest.raises(error):
        CliRunner().invoke(auricle, ["bench", *arguments, "--models", str(tmp_path)], catch_exceptions=False)
