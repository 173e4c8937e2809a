"""The batcher: segments of all callers wait here until the session is free, then run together.

There is no timer. While one batch runs, the next gathers by itself: under load batches fill, and a lone
caller waits for nobody. A timer would add its delay to every quiet call and buy nothing on a CPU; an
accelerator, which is free again before anyone can gather, may be given ``max_delay_s``.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from auricle.config import BatchSettings
from auricle.engine.priority import give_way
from auricle.errors import AuricleError, DeadlineError, InternalError, UnavailableError

__all__ = ["Batcher", "Entry", "Outcome", "Outputs", "Run", "choose"]

Outputs = Mapping[str, NDArray[Any]]


class Run(Protocol):
    """Runs segments (n, ...) of one shape; gives arrays (n, ...) by output name."""

    def __call__(self, outputs: Sequence[str], segments: Sequence[NDArray[np.float32]]) -> Outputs: ...


class Outcome(NamedTuple):
    """What one segment got: its row of each output, and where the time went."""

    outputs: Outputs
    batch: int
    wait_s: float
    run_s: float


@dataclass(eq=False, slots=True)
class Entry:
    """One segment that waits. ``deadline`` is on the monotonic clock."""

    tensor: NDArray[np.float32]
    outputs: tuple[str, ...]
    future: asyncio.Future[Outcome]
    deadline: float = math.inf
    since: float = field(default_factory=time.monotonic)


Result = tuple[Entry, Outcome | AuricleError]


def choose(turns: Iterable[Sequence[Entry]], settings: BatchSettings, now: float) -> tuple[list[Entry], list[Entry]]:
    """Picks what runs next: (taken, dropped). Pure: it changes nothing and looks at no clock.

    ``turns`` are the callers' queues, first come first. The first live segment sets the shape; then every
    caller in turn gives one segment of that shape, again and again until the batch is full, so that a long
    file shares each batch with the short clips behind it. Segments whose caller has gone or whose deadline
    has passed are dropped before they cost anything.
    """
    taken: list[Entry] = []
    dropped: list[Entry] = []
    limit = settings.segments
    shape: tuple[int, ...] | None = None
    # Lazily: of a thousand callers that wait, those that fill the batch are looked at and no more.
    queues: Iterable[Iterator[Entry]] = map(iter, turns)
    while queues and len(taken) < limit:
        left = []
        for queue in queues:
            for entry in queue:
                if entry.future.cancelled() or entry.deadline <= now:
                    dropped.append(entry)
                    continue
                if shape is None:
                    shape = entry.tensor.shape
                    limit = max(1, min(limit, settings.max_elements // max(1, entry.tensor.size)))
                if entry.tensor.shape == shape:
                    taken.append(entry)
                    left.append(queue)
                break
            if len(taken) >= limit:
                break
        queues = left
    return taken, dropped


class Batcher:
    """Runs one model's segments in its own thread. A context manager within an asyncio loop.

    Args:
        run: the model.
        settings: budget and bounds.
        name: names the thread.
        on_run: told in the batcher's thread of every run: what the model raised or None, and how many segments.
    """

    def __init__(
        self,
        run: Run,
        settings: BatchSettings,
        *,
        name: str = "model",
        on_run: Callable[[Exception | None, int], None] = lambda error, segments: None,
    ) -> None:
        self._run = run
        self._settings = settings
        self._on_run = on_run
        self._queues: OrderedDict[Hashable, deque[Entry]] = OrderedDict()
        self._count = 0
        self._closing = False
        self._changed = threading.Condition()
        self._numbers = itertools.count()
        self._pace_s = 0.0
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, name=f"batcher-{name}", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Segments that wait for the session."""
        return self._count

    @property
    def backlog_s(self) -> float:
        """Seconds until what waits now has run, by the pace of late."""
        return self._count * self._pace_s

    def submit(
        self, caller: Hashable, tensor: NDArray[np.float32], outputs: tuple[str, ...], deadline: float = math.inf
    ) -> asyncio.Future[Outcome]:
        """Queues one segment; the future gives its Outcome. Cancelling the future withdraws it."""
        entry = Entry(tensor, outputs, self._loop.create_future(), deadline)
        with self._changed:
            if self._closing:
                raise UnavailableError("the model is unloading; send the call again", retry_after_s=1.0)
            self._queues.setdefault(caller, deque()).append(entry)
            self._count += 1
            self._changed.notify()
        return entry.future

    async def close(self) -> None:
        """Fails what still waits with UNAVAILABLE, lets the running batch finish and ends the thread."""
        with self._changed:
            self._closing = True
            rest = [entry for queue in self._queues.values() for entry in queue]
            self._queues.clear()
            self._count = 0
            self._changed.notify()
        gone = UnavailableError("the model was unloaded before it could answer; send the call again")
        self._settle([(entry, gone) for entry in rest])
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        give_way()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._count or self._closing)
                if self._closing:
                    return
                self._gather()
                taken, dropped = choose(self._queues.values(), self._settings, time.monotonic())
                self._remove(taken, dropped)
            results = self._results(taken, dropped)
            try:
                self._loop.call_soon_threadsafe(self._settle, results)
            except RuntimeError:  # the loop is gone, and with it everyone who could be told
                return

    def _gather(self) -> None:
        """With ``max_delay_s``: holds the batch open until it is full or its first segment has waited so long."""
        if not self._settings.max_delay_s:
            return
        first = min(queue[0].since for queue in self._queues.values())
        self._changed.wait_for(
            lambda: self._closing or self._count >= self._settings.segments,
            timeout=first + self._settings.max_delay_s - time.monotonic(),
        )

    def _remove(self, taken: Sequence[Entry], dropped: Sequence[Entry]) -> None:
        """Takes entries off their queues; callers that were served go to the back."""
        gone = {id(entry) for entry in (*taken, *dropped)}
        self._count -= len(gone)
        left, changed = len(gone), []
        for caller, queue in self._queues.items():
            if not left:
                break
            before = left
            while queue and id(queue[0]) in gone:
                queue.popleft()
                left -= 1
            if left < before:
                changed.append(caller)
        for caller in changed:
            if self._queues[caller]:
                self._queues.move_to_end(caller)
            else:
                del self._queues[caller]

    def _results(self, taken: Sequence[Entry], dropped: Sequence[Entry]) -> list[Result]:
        late = DeadlineError("the deadline passed while the segment waited for the model")
        return [(entry, late) for entry in dropped] + (self._run_batch(taken) if taken else [])

    def _run_batch(self, entries: Sequence[Entry]) -> list[Result]:
        begun = time.monotonic()
        outputs = tuple(dict.fromkeys(name for entry in entries for name in entry.outputs))
        try:
            arrays = self._run(outputs, [entry.tensor for entry in entries])
            answers = [{name: arrays[name][row] for name in entry.outputs} for row, entry in enumerate(entries)]
            # Once a tensor: a look at every row on its own costs as much as a small model.
            suspect = not all(np.isfinite(arrays[name]).all() for name in outputs)
        except Exception as error:
            self._tell(error, len(entries))
            if len(entries) == 1:
                return [(entries[0], InternalError("the model failed on this segment"))]
            # One bad segment must not fail its batch-mates: each runs once more, alone, if it is wanted still.
            alone = (choose([[entry]], self._settings, time.monotonic()) for entry in entries)
            return [result for each in alone for result in self._results(*each)]
        run_s = time.monotonic() - begun
        finite = [not suspect or all(np.isfinite(values).all() for values in own.values()) for own in answers]
        self._tell(None if any(finite) else ArithmeticError("non-finite values for every segment"), len(entries))
        self._pace_s += 0.2 * (run_s / len(entries) - self._pace_s)
        number, broken = next(self._numbers), InternalError("the model gave a non-finite value for this segment")
        return [
            (entry, Outcome(own, number, begun - entry.since, run_s) if good else broken)
            for entry, own, good in zip(entries, answers, finite, strict=True)
        ]

    def _tell(self, error: Exception | None, segments: int) -> None:
        with contextlib.suppress(Exception):  # a listener's own fault must not end the thread
            self._on_run(error, segments)

    @staticmethod
    def _settle(results: Iterable[Result]) -> None:
        for entry, result in results:
            if not entry.future.done():
                if isinstance(result, Outcome):
                    entry.future.set_result(result)
                else:
                    entry.future.set_exception(result)
                    entry.future.exception()  # or asyncio logs it where its caller has gone by itself
