"""Turns: who is refused comes back after the others, not with them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

import models
from auricle.config import BatchSettings, SessionSettings
from auricle.engine.batcher import Batcher
from auricle.engine.graph import Graph
from auricle.engine.served import ServedModel
from auricle.engine.turns import LEAST_RETRY_S, LONGEST_RETRY_S, Turns
from auricle.errors import BusyError
from streaming import Opener


def test_turns_come_one_after_another_from_the_least_delay_on() -> None:
    turns = Turns(lambda: 100.0)
    assert [turns.take(0.1, least_s=2.0) for _ in range(3)] == pytest.approx([2.0, 2.1, 2.2])
    assert turns.take(0.1) == pytest.approx(2.3)
    assert Turns(lambda: 100.0).take(0.1, least_s=0.0) == LEAST_RETRY_S


def test_turns_that_have_passed_are_forgotten_and_none_is_later_than_the_longest() -> None:
    now_s = [100.0]
    turns = Turns(lambda: now_s[0])
    assert max(turns.take(10.0) for _ in range(9)) == LONGEST_RETRY_S
    now_s[0] += 1000.0
    assert turns.take(10.0) == LEAST_RETRY_S


async def test_a_full_queue_spreads_those_whom_it_refuses(tmp_path: Path) -> None:
    graph = Graph(models.write_embedder(tmp_path / "e.onnx"), SessionSettings(threads=1))
    # The batch waits for company that never comes, so that its segment stays in the queue.
    model = ServedModel("e", "1", graph, BatchSettings(max_waiting=1, max_delay_s=3600.0))
    waiting = model.batcher.submit("caller", np.zeros_like(graph.noise(0)), (graph.heads[0].spec.tensor,))
    delays = []
    for _ in range(20):
        with pytest.raises(BusyError, match="1 segments wait") as caught:
            model.admit()
        delays.append(caught.value.retry_after_s)
    # The first is told the least delay; 20 turns of 5 ms each follow it.
    assert delays[0] == LEAST_RETRY_S
    assert delays == sorted(delays)
    assert delays[-1] >= LEAST_RETRY_S + 0.08
    waiting.cancel()
    await asyncio.wait_for(model.retire(0), 10)


async def test_who_is_refused_comes_back_once_what_waits_has_run(
    tmp_path: Path, serve: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = serve(models.write_waveform(tmp_path / "w.onnx"), max_waiting=2)
    monkeypatch.setattr(Batcher, "waiting", 2)
    monkeypatch.setattr(Batcher, "backlog_s", 6.0)
    delays = []
    for _ in range(2):
        with pytest.raises(BusyError) as caught:
            model.admit()
        delays.append(caught.value.retry_after_s)
    # The second comes a segment later than the first, which takes 3 s.
    assert delays[0] == 6.0
    assert 7.0 < delays[1] <= 9.0
