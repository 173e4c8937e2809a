"""The arena: memory of unusual runs is given back, by usual runs and not at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import models
from auricle.config import SessionSettings
from auricle.engine.arena import LEAST_PAUSE_S, PAUSE, Arena
from auricle.engine.graph import Graph

MIB = 1 << 20


class Runs:
    """An arena whose runs take the time that they are given."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.arena = Arena(lambda: self.now_s)

    def run(self, size_bytes: int, took_s: float = 0.0, *, shrink: bool = False) -> bool:
        with self.arena.run(size_bytes, shrink=shrink) as shrinks:
            self.now_s += took_s
        return shrinks


@pytest.fixture
def loaded() -> Runs:
    runs = Runs()
    for size in (1, 8, 4):
        assert not runs.run(size)
    assert runs.run(1, shrink=True)
    return runs


def test_usual_runs_never_give_memory_back(loaded: Runs) -> None:
    for size in (8, 1, 8):
        loaded.now_s += 1000
        assert not loaded.run(size)


def test_an_unusual_run_is_followed_by_one_that_gives_its_memory_back(loaded: Runs) -> None:
    assert not loaded.run(9, 0.01)
    assert not loaded.run(8)
    loaded.now_s += LEAST_PAUSE_S
    assert not loaded.run(9, 0.01)  # one as large would but take it anew
    assert loaded.run(8)
    loaded.now_s += 1000
    assert not loaded.run(8)


def test_runs_above_the_usual_neither_give_back_nor_put_off_what_a_far_larger_one_took(loaded: Runs) -> None:
    for _ in range(3):
        loaded.now_s += 1000
        assert not loaded.run(30)
    loaded.run(1000, 2.0)
    for _ in range(3):
        loaded.now_s += 0.3 * PAUSE * 2.0
        assert not loaded.run(30, 0.001)
    loaded.now_s += 0.1 * PAUSE * 2.0
    assert not loaded.run(251, 0.001)
    assert loaded.run(250)
    loaded.now_s += 1000
    assert not loaded.run(30)


def test_the_pause_is_many_times_as_long_as_the_run_was(loaded: Runs) -> None:
    loaded.run(9, 2.0)
    loaded.now_s += 1.9 * PAUSE
    assert not loaded.run(1)
    loaded.now_s += 0.1 * PAUSE
    assert loaded.run(1)


def test_a_run_that_fails_gives_its_memory_back_too(loaded: Runs) -> None:
    with pytest.raises(ValueError, match="too much"), loaded.arena.run(9):
        raise ValueError("too much")
    loaded.now_s += LEAST_PAUSE_S
    assert loaded.run(1)


def test_before_the_first_shrinking_run_every_run_is_usual() -> None:
    runs = Runs()
    for size in (1, 1000, 1):
        runs.now_s += 1000
        assert not runs.run(size)


def resident_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    now = [0.0]
    monkeypatch.setattr("auricle.engine.session.Arena", lambda: Arena(lambda: now[0]))
    return now


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc to read memory from")
def test_what_one_long_clip_took_is_given_back(tmp_path: Path, clock: list[float]) -> None:
    graph = Graph(models.write_convolution(tmp_path / "c.onnx", width=4, stride=1), SessionSettings(threads=1))
    graph.shrink()
    short = [graph.noise(0)]
    wanted = graph.run(("embedding",), short)["embedding"]
    before = resident_bytes()
    # Its convolutions are three times as long as the clip.
    graph.run(("embedding",), [np.zeros(16 * MIB, np.float32)])
    held = resident_bytes()
    assert held - before > 150 * MIB
    clock[0] += LEAST_PAUSE_S
    np.testing.assert_array_equal(graph.run(("embedding",), short)["embedding"], wanted)
    assert held - resident_bytes() > 150 * MIB
