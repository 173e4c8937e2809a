"""What the batcher runs next, as a pure function of the queues."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from auricle.config import BatchSettings
from auricle.engine.batcher import Entry, choose

NOW = 1000.0


def entry(size: int = 4, *, deadline: float = NOW + 1, cancelled: bool = False) -> Entry:
    future: Any = Future()  # only ever asked whether it is cancelled
    if cancelled:
        future.cancel()
    return Entry(np.zeros(size, np.float32), ("out",), future, deadline, since=NOW - 1)


def settings(max_segments: int = 32, max_elements: int = 10**6) -> BatchSettings:
    return BatchSettings(max_segments=max_segments, max_elements=max_elements)


def test_nothing_waits_nothing_runs() -> None:
    assert choose([], settings(), NOW) == ([], [])


def test_callers_take_turns_and_keep_their_order() -> None:
    a, b, c = [entry() for _ in range(3)], [entry()], [entry(), entry()]
    taken, dropped = choose([a, b, c], settings(), NOW)
    assert taken == [a[0], b[0], c[0], a[1], c[1], a[2]]
    assert dropped == []


def test_the_budget_counts_segments() -> None:
    a, b = [entry() for _ in range(5)], [entry() for _ in range(5)]
    assert choose([a, b], settings(max_segments=3), NOW)[0] == [a[0], b[0], a[1]]


def test_the_budget_counts_elements_but_lets_one_segment_run() -> None:
    queue = [entry(100) for _ in range(5)]
    assert len(choose([queue], settings(max_elements=399), NOW)[0]) == 3
    assert len(choose([queue], settings(max_elements=99), NOW)[0]) == 1


def test_a_batch_has_one_shape_and_the_first_live_segment_sets_it() -> None:
    gone, long, short = entry(9, cancelled=True), entry(8), entry(4)
    taken, dropped = choose([[gone, long, short], [short], [entry(8)]], settings(), NOW)
    assert [item.tensor.size for item in taken] == [8, 8]
    assert dropped == [gone]


def test_a_caller_is_not_overtaken_by_itself() -> None:
    first, other, last = entry(4), entry(8), entry(4)
    # The third fits the batch, but its caller's second does not: their order stays.
    assert choose([[first, other, last]], settings(), NOW)[0] == [first]


def test_cancelled_and_expired_segments_are_dropped_and_cost_nothing() -> None:
    cancelled, expired, live = entry(cancelled=True), entry(deadline=NOW), entry(deadline=NOW + 0.001)
    taken, dropped = choose([[cancelled, expired, live]], settings(max_segments=1), NOW)
    assert (taken, dropped) == ([live], [cancelled, expired])


def test_choosing_changes_nothing() -> None:
    queue = deque([entry(), entry(cancelled=True)])
    before = list(queue)
    assert choose([queue], settings(), NOW) == choose([queue], settings(), NOW)
    assert list(queue) == before


@given(
    queues=st.lists(st.lists(st.tuples(st.sampled_from([4, 8]), st.booleans()), min_size=1, max_size=6), max_size=6),
    limit=st.integers(1, 8),
)
def test_what_is_gone_is_a_prefix_of_each_queue(queues: list[list[tuple[int, bool]]], limit: int) -> None:
    waiting = [[entry(size, cancelled=gone) for size, gone in queue] for queue in queues]
    taken, dropped = choose(waiting, settings(limit), NOW)
    gone = {id(item) for item in (*taken, *dropped)}
    assert len(gone) == len(taken) + len(dropped)
    assert len({item.tensor.shape for item in taken}) <= 1
    assert len(taken) <= limit
    for queue in waiting:
        flags = [id(item) in gone for item in queue]
        assert flags == sorted(flags, reverse=True)
    live = [item for queue in waiting for item in queue if not item.future.cancelled()]
    assert bool(taken) == bool(live)
