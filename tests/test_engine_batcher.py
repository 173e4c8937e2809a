"""The batcher: who shares a run, what a fault costs, and how it ends. The model is a function that waits at a gate."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import numpy as np
import pytest

from auricle.config import BatchSettings
from auricle.engine.batcher import Batcher, Outputs
from auricle.errors import DeadlineError, InternalError, UnavailableError

PATIENCE_S = 20.0  # a bound on what would otherwise hang; nothing waits for it


class Model:
    """Doubles its input under "double" and negates it under "minus"; raises for 13 and gives NaN for 0.5.

    While ``gate`` is clear a run waits in it; ``entered`` tells that one does.
    """

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.runs: list[tuple[tuple[str, ...], list[float]]] = []

    def __call__(self, outputs: Sequence[str], segments: Sequence[np.ndarray]) -> Outputs:
        self.runs.append((tuple(outputs), [float(segment[0]) for segment in segments]))
        self.entered.set()
        assert self.gate.wait(PATIENCE_S)
        batch = np.stack(segments)
        if (batch == 13).any():
            raise RuntimeError("unlucky")
        rows = np.where(batch == 0.5, np.float32(np.nan), batch)
        return {name: {"double": 2 * rows, "minus": -batch}[name] for name in outputs}

    @property
    def batches(self) -> list[list[float]]:
        return [values for _, values in self.runs]

    async def hold(self, batcher: Batcher) -> asyncio.Future[Any]:
        """Occupies the model with the segment 100 until the gate opens."""
        self.gate.clear()
        self.entered.clear()
        future = batcher.submit("holder", segment(100), ("double",))
        assert await asyncio.to_thread(self.entered.wait, PATIENCE_S)
        return future


def segment(value: float, size: int = 2) -> np.ndarray:
    return np.full(size, value, np.float32)


Opener = Callable[..., Batcher]


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
async def opened(model: Model) -> AsyncIterator[Opener]:
    """Makes batchers over the model and closes them."""
    made: list[Batcher] = []

    def make(*, on_run: Any = lambda error, segments: None, **settings: Any) -> Batcher:
        made.append(Batcher(model, BatchSettings(**settings), on_run=on_run))
        return made[-1]

    yield make
    model.gate.set()
    for batcher in made:
        await batcher.close()


async def test_a_lone_segment_runs_at_once(model: Model, opened: Opener) -> None:
    outcome = await opened().submit("a", segment(3), ("double",))
    assert outcome.outputs["double"].tolist() == [6, 6]
    assert model.batches == [[3]]


async def test_what_gathers_while_a_batch_runs_shares_the_next(model: Model, opened: Opener) -> None:
    batcher = opened()
    first = await model.hold(batcher)
    rest = [batcher.submit(caller, segment(value), ("double",)) for caller, value in (("a", 1), ("a", 2), ("b", 3))]
    assert batcher.waiting == 3
    model.gate.set()
    values = [(await future).outputs["double"][0] for future in [first, *rest]]
    assert values == [200, 2, 4, 6]
    assert model.batches == [[100], [1, 3, 2]]
    assert batcher.waiting == 0
    assert len({(await future).batch for future in rest}) == 1


async def test_a_run_computes_the_union_of_outputs_and_each_gets_its_own(model: Model, opened: Opener) -> None:
    batcher = opened()
    await model.hold(batcher)
    one = batcher.submit("a", segment(1), ("double",))
    other = batcher.submit("b", segment(2), ("minus",))
    model.gate.set()
    assert list((await one).outputs) == ["double"]
    assert list((await other).outputs) == ["minus"]
    assert model.runs[1] == (("double", "minus"), [1, 2])


async def test_a_cancelled_segment_never_runs(model: Model, opened: Opener) -> None:
    batcher = opened()
    await model.hold(batcher)
    gone = batcher.submit("a", segment(1), ("double",))
    stays = batcher.submit("a", segment(2), ("double",))
    gone.cancel()
    model.gate.set()
    await stays
    assert model.batches == [[100], [2]]


async def test_an_expired_segment_never_runs_and_hears_of_it(model: Model, opened: Opener) -> None:
    batcher = opened()
    await model.hold(batcher)
    late = batcher.submit("a", segment(1), ("double",), time.monotonic())
    stays = batcher.submit("a", segment(2), ("double",), time.monotonic() + PATIENCE_S)
    model.gate.set()
    with pytest.raises(DeadlineError):
        await late
    await stays
    assert model.batches == [[100], [2]]


async def test_a_segment_that_raises_fails_alone_and_its_mates_are_answered(model: Model, opened: Opener) -> None:
    heard: list[tuple[str, int]] = []
    batcher = opened(on_run=lambda error, segments: heard.append((str(error), segments)))
    await model.hold(batcher)
    good, bad, also = [batcher.submit(value, segment(value), ("double",)) for value in (1, 13, 2)]
    model.gate.set()
    with pytest.raises(InternalError):
        await bad
    assert [(await future).outputs["double"][0] for future in (good, also)] == [2, 4]
    assert model.batches == [[100], [1, 13, 2], [1], [13], [2]]
    assert heard == [("None", 1), ("unlucky", 3), ("None", 1), ("unlucky", 1), ("None", 1)]


async def test_a_lone_segment_that_raises_is_not_tried_twice(model: Model, opened: Opener) -> None:
    batcher = opened()
    with pytest.raises(InternalError):
        await batcher.submit("a", segment(13), ("double",))
    assert model.batches == [[13]]
    assert (await batcher.submit("a", segment(1), ("double",))).outputs["double"][0] == 2


async def test_a_non_finite_answer_fails_its_own_segment_only(model: Model, opened: Opener) -> None:
    batcher = opened()
    await model.hold(batcher)
    good, bad = [batcher.submit(value, segment(value), ("double",)) for value in (1, 0.5)]
    unasked = batcher.submit("c", segment(0.5), ("minus",))
    model.gate.set()
    with pytest.raises(InternalError, match="non-finite"):
        await bad
    assert (await good).outputs["double"][0] == 2
    assert (await unasked).outputs["minus"][0] == -0.5  # the NaN is in an output that it did not ask for
    assert len(model.runs) == 2


async def test_an_answer_without_the_output_fails_and_the_batcher_goes_on(model: Model, opened: Opener) -> None:
    batcher = opened()
    with pytest.raises(InternalError):
        await batcher.submit("a", segment(1), ("missing",))
    assert (await batcher.submit("a", segment(1), ("double",))).outputs["double"][0] == 2


async def test_a_listener_that_raises_does_not_stop_the_batcher(model: Model, opened: Opener) -> None:
    def listener(error: Exception | None, segments: int) -> None:
        raise OSError("the log is full")

    batcher = opened(on_run=listener)
    with pytest.raises(InternalError):
        await batcher.submit("a", segment(13), ("double",))
    await batcher.submit("a", segment(1), ("double",))


async def test_closing_answers_what_runs_and_fails_what_waits(model: Model, opened: Opener) -> None:
    batcher = opened()
    running = await model.hold(batcher)
    waiting = batcher.submit("a", segment(1), ("double",))
    closing = asyncio.create_task(batcher.close())
    with pytest.raises(UnavailableError):
        await waiting
    assert not closing.done()
    model.gate.set()
    await closing
    assert (await running).outputs["double"][0] == 200
    assert model.batches == [[100]]
    with pytest.raises(UnavailableError):
        batcher.submit("a", segment(1), ("double",))


async def test_a_delay_holds_a_batch_open_until_it_is_full(model: Model, opened: Opener) -> None:
    batcher = opened(max_segments=2, max_delay_s=PATIENCE_S)
    one = batcher.submit("a", segment(1), ("double",))
    assert not model.entered.is_set()
    two = batcher.submit("b", segment(2), ("double",))
    await asyncio.gather(one, two)
    assert model.batches == [[1, 2]]


async def test_a_delay_ends_by_itself(model: Model, opened: Opener) -> None:
    await opened(max_delay_s=0.001).submit("a", segment(1), ("double",))
    assert model.batches == [[1]]


async def test_a_delay_does_not_hold_up_closing(opened: Opener) -> None:
    batcher = opened(max_delay_s=PATIENCE_S)
    future = batcher.submit("a", segment(1), ("double",))
    async with asyncio.timeout(PATIENCE_S / 2):
        await batcher.close()
    with pytest.raises(UnavailableError):
        await future


async def test_the_backlog_follows_the_pace(model: Model, opened: Opener) -> None:
    batcher = opened()
    assert batcher.backlog_s == 0
    await batcher.submit("a", segment(1), ("double",))
    await model.hold(batcher)
    future = batcher.submit("a", segment(1), ("double",))
    one_s = batcher.backlog_s
    assert one_s > 0
    batcher.submit("a", segment(1), ("double",)).add_done_callback(lambda done: done.exception())
    assert batcher.backlog_s == pytest.approx(2 * one_s)
    model.gate.set()
    await future


async def test_a_hundred_callers_all_get_their_own_answer(opened: Opener) -> None:
    batcher = opened(max_segments=7)
    futures = [batcher.submit(index % 10, segment(index, 2 + index % 3), ("double",)) for index in range(100)]
    with pytest.raises(InternalError):
        await futures[13]
    rest = [index for index in range(100) if index != 13]
    answers = await asyncio.gather(*(futures[index] for index in rest))
    assert [answer.outputs["double"].tolist() for answer in answers] == [[2.0 * i] * (2 + i % 3) for i in rest]
