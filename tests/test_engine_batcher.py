"""The batcher: who shares a run, what a fault costs, and how it ends. The model is a function that waits at a gate."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from auricle.config import BatchSettings
from auricle.engine import batcher as module
from auricle.engine.batcher import Batcher, Entry
from auricle.errors import DeadlineError, InternalError, UnavailableError
from gated import PATIENCE_S, Clock, Model, segment

Opener = Callable[..., Batcher]


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def clock(model: Model, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the batchers that are made in a test."""
    monkeypatch.setattr(module, "time", model.clock)
    monkeypatch.setattr(module, "Entry", lambda *fields: Entry(*fields, since=model.clock.now_s))
    return model.clock


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


async def test_a_rare_shape_waits_for_one_batch(model: Model, opened: Opener) -> None:
    batcher = opened(max_segments=10)
    await model.hold(batcher)
    common = [batcher.submit("common", segment(1), ("double",)) for _ in range(30)]
    rare = batcher.submit("rare", segment(2, size=3), ("double",))
    model.gate.set()
    await asyncio.gather(rare, *common)
    assert model.batches == [[100], [1] * 10, [2], [1] * 10, [1] * 10]


async def test_callers_that_were_served_go_to_the_back(model: Model, opened: Opener) -> None:
    batcher = opened(max_segments=2)
    await model.hold(batcher)
    futures = [batcher.submit(caller, segment(caller), ("double",)) for caller in (1, 1, 1, 2, 2, 3, 3, 3)]
    model.gate.set()
    await asyncio.gather(*futures)
    assert model.batches == [[100], [1, 2], [3, 1], [2, 3], [1, 3]]


async def test_a_long_file_does_not_starve_a_hundred_short_clips(model: Model, opened: Opener) -> None:
    batcher = opened(max_segments=32)
    await model.hold(batcher)
    file = [batcher.submit("file", segment(0), ("double",)) for _ in range(600)]
    clips = [batcher.submit(clip, segment(clip), ("double",)) for clip in range(200, 300)]
    model.gate.set()
    await asyncio.gather(*file, *clips)
    # 101 callers at 32 a batch: all clips are through after the fourth, as if the file were a clip too.
    assert sorted(value for batch in model.batches[1:5] for value in batch if value) == list(range(200, 300))
    assert all(len(batch) == 32 for batch in model.batches[1:-1])


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
    with pytest.raises(UnavailableError) as caught:
        batcher.submit("a", segment(1), ("double",))
    assert caught.value.retry_after_s == 1.0


async def test_a_delay_holds_a_batch_open_until_it_is_full(model: Model, opened: Opener) -> None:
    batcher = opened(max_segments=2, max_delay_s=PATIENCE_S)
    one = batcher.submit("a", segment(1), ("double",))
    assert not model.entered.is_set()
    two = batcher.submit("b", segment(2), ("double",))
    async with asyncio.timeout(PATIENCE_S / 2):
        await asyncio.gather(one, two)
    assert model.batches == [[1, 2]]


async def test_a_delay_counts_from_the_segment_that_has_waited_longest(
    model: Model, opened: Opener, clock: Clock
) -> None:
    batcher = opened(max_segments=3, max_delay_s=PATIENCE_S)
    await model.hold(batcher, segments=3)
    first = batcher.submit("a", segment(1), ("double",))
    clock.now_s += PATIENCE_S
    last = batcher.submit("b", segment(2), ("double",))
    model.gate.set()
    async with asyncio.timeout(PATIENCE_S / 2):
        await asyncio.gather(first, last)
    assert model.batches == [[100] * 3, [1, 2]]


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


async def test_the_backlog_follows_the_pace_of_a_segment(model: Model, opened: Opener, clock: Clock) -> None:
    batcher = opened(max_segments=4)
    assert batcher.backlog_s == 0
    await model.hold(batcher)
    futures = [batcher.submit("a", segment(1), ("double",)) for _ in range(400)]
    model.gate.set()
    await asyncio.gather(*futures)
    await model.hold(batcher)
    assert batcher.backlog_s == 0
    for waiting in (1, 2, 3):
        futures.append(batcher.submit("a", segment(1), ("double",)))
        assert batcher.backlog_s == pytest.approx(waiting)  # seconds: four a run, which takes four
    model.gate.set()
    await asyncio.gather(*futures)


async def test_an_outcome_tells_its_batch_and_where_the_time_went(model: Model, opened: Opener, clock: Clock) -> None:
    batcher = opened(max_segments=2)
    alone = await model.hold(batcher)
    clock.now_s += 1
    futures = [batcher.submit("a", segment(1), ("double",))]
    clock.now_s += 4
    futures += [batcher.submit("b", segment(value), ("double",)) for value in (2, 3)]
    model.gate.set()
    outcomes = [await future for future in (alone, *futures)]
    assert [(outcome.wait_s, outcome.run_s) for outcome in outcomes] == [(0, 6), (5, 2), (1, 2), (3, 1)]
    assert [outcome.batch for outcome in outcomes] == [0, 1, 1, 2]


async def test_a_hundred_callers_all_get_their_own_answer(opened: Opener) -> None:
    batcher = opened(max_segments=7)
    futures = [batcher.submit(index % 10, segment(index, 2 + index % 3), ("double",)) for index in range(100)]
    with pytest.raises(InternalError):
        await futures[13]
    rest = [index for index in range(100) if index != 13]
    answers = await asyncio.gather(*(futures[index] for index in rest))
    assert [answer.outputs["double"].tolist() for answer in answers] == [[2.0 * i] * (2 + i % 3) for i in rest]
