"""What one sound takes of a model and of the machine: no more than its share, and nothing once nobody waits for it."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import models
from auricle.config import Limits
from auricle.engine.cutter import Cutter, Segment
from auricle.engine.decode import Block, Sound, open_pcm
from auricle.engine.options import Options
from auricle.engine.pipeline import Stream, Ticket
from auricle.engine.plan import make_plan
from auricle.engine.workers import Workers
from auricle.errors import DeadlineError
from streaming import FLOAT, Opener, fed, noise, pieces_of, plain, streamed, unary


async def test_a_clip_of_more_segments_than_may_wait_is_answered_whole(
    tmp_path: Path, serve: Opener, workers: Workers
) -> None:
    few, many = [
        serve(models.write_waveform(tmp_path / "w.onnx"), per_caller=count, max_segments=3) for count in (1, 64)
    ]
    data = noise(90000)
    answers = [await unary(model, workers, data, pooling="none") for model in (few, many)]
    assert len(answers[0]) == 112
    assert plain(answers[0]) == plain(answers[1])


@pytest.mark.parametrize("way", [unary, streamed])
async def test_no_more_segments_of_one_sound_wait_than_may_and_others_are_admitted(
    tmp_path: Path, serve: Opener, workers: Workers, monkeypatch: pytest.MonkeyPatch, way: Callable[..., Any]
) -> None:
    model = serve(models.write_waveform(tmp_path / "w.onnx"), per_caller=4, max_waiting=5)
    submit, take, waiting, taken = model.batcher.submit, Cutter.take, [0], [0]

    def submit_(*args: Any) -> Any:
        outcome = submit(*args)
        waiting.append(model.batcher.waiting)
        model.admit()
        return outcome

    def take_(cutter: Cutter, most: int) -> list[Segment]:
        taken.append(most)
        return take(cutter, most)

    monkeypatch.setattr(model.batcher, "submit", submit_)
    monkeypatch.setattr(Cutter, "take", take_)
    data = noise(4000)
    answers = await way(model, workers, [data] if way is streamed else data, pooling="none", hop_ns=1)
    assert [answer.start_sample for answer in answers] == list(range(2401))
    assert 0 < max(waiting) <= 4
    assert max(taken) <= 4


@pytest.mark.parametrize("length", [1000, 70000], ids=["on the loop", "in a thread"])
@pytest.mark.parametrize("per_caller", [1, 3])
async def test_a_stream_of_more_segments_than_may_wait_is_answered_whole(
    tmp_path: Path, serve: Opener, workers: Workers, per_caller: int, length: int
) -> None:
    path = models.write_waveform(tmp_path / "w.onnx", segment={"length": length, "hop": 500, "raise_to_dbfs": -1})
    few, many = serve(path, per_caller=per_caller), serve(path)
    data = noise(90000)
    whole = await unary(many, workers, data, pooling="none")
    assert len(whole) > 40
    for size in (4 * 12345, len(data)):
        assert plain(await streamed(few, workers, pieces_of(data, size))) == plain(whole)


async def test_a_deadline_that_has_passed_costs_no_inference(tmp_path: Path, serve: Opener, workers: Workers) -> None:
    model = serve(models.write_waveform(tmp_path / "w.onnx"))
    plan = make_plan(model.graph, Options(kind="embedding"), stream=False)
    with Stream(model, plan, FLOAT, workers=workers, deadline=0.0) as stream:
        with pytest.raises(DeadlineError):
            await stream.answer(open_pcm(FLOAT, noise(1600), Limits()))
        assert stream.segments == 0


@pytest.mark.parametrize("why", ["deadline", "gone"])
async def test_nothing_is_decoded_for_a_caller_who_waits_no_longer(
    tmp_path: Path, serve: Opener, workers: Workers, why: str
) -> None:
    model = serve(models.write_whole_clip(tmp_path / "w.onnx"))
    plan = make_plan(model.graph, Options(kind="embedding"), stream=False)
    deadline = time.monotonic() + 0.05 if why == "deadline" else math.inf
    loop, begun, left = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    asked = 0

    def blocks() -> Iterator[Block]:
        nonlocal asked
        for _ in range(9):
            asked += 1
            if why == "gone":
                loop.call_soon_threadsafe(begun.set)
                assert left.wait(20)
            while why == "deadline" and time.monotonic() < deadline:
                pass
            yield noise(100)

    with Stream(model, plan, FLOAT, workers=workers, deadline=deadline) as stream:
        answer = asyncio.create_task(stream.answer(Sound(FLOAT, blocks())))
        if why == "gone":
            await begun.wait()
            answer.cancel()
        with pytest.raises(DeadlineError if why == "deadline" else asyncio.CancelledError):
            await answer
    left.set()
    await asyncio.to_thread(workers.close)
    assert asked <= 1


async def test_leaving_a_stream_withdraws_what_waits(tmp_path: Path, serve: Opener, workers: Workers) -> None:
    model = serve(models.write_waveform(tmp_path / "w.onnx"), max_delay_s=60.0)  # so that nothing runs meanwhile
    plan = make_plan(model.graph, Options(kind="embedding"), stream=True)
    with Stream(model, plan, FLOAT, workers=workers) as stream:
        tickets = [item for item in await fed(stream, noise(2400)) if isinstance(item, Ticket)]
        assert len(tickets) == 2
    assert all(ticket.outcome.cancelled() for ticket in tickets)
