"""The one pipeline: sound in, answers out. Unary is a stream of one chunk; every door goes through here."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeVar

from auricle.engine.batcher import Outcome, Outputs
from auricle.engine.cutter import Cutter, Segment
from auricle.engine.decode import Block, Sound, SoundFormat
from auricle.engine.plan import HeadPlan, Plan, Value
from auricle.engine.served import ServedModel
from auricle.engine.workers import Workers
from auricle.errors import AudioError, CancelledError, DeadlineError
from auricle.model.heads import Pool

__all__ = ["Answer", "Flushed", "Put", "Stream", "Ticket", "Timing"]

T = TypeVar("T")

# Sound that a stream holds back at most before it becomes features.
HELD_S = 1.0
# So many samples become features in 0.15 to 0.5 ms, less than what a thread adds to a call; they are cut on the loop.
INLINE_SAMPLES = 65536
# At odd ratios of rates a sample costs 0.07 us.
INLINE_RESAMPLED = 16384


@dataclass(slots=True)
class Timing:
    """Seconds per stage; stages overlap, so they need not add up. ``resample_s`` is a part of ``features_s``."""

    queue_s: float = 0.0
    decode_s: float = 0.0
    resample_s: float = 0.0
    features_s: float = 0.0
    inference_s: float = 0.0


class Answer(NamedTuple):
    """One head's value for a stretch of the sound, in samples at the model's rate."""

    head: HeadPlan
    start_sample: int
    end_sample: int
    value: Value


class Ticket(NamedTuple):
    """A segment on its way through the model."""

    segment: Segment
    outcome: asyncio.Future[Outcome]


class Flushed(NamedTuple):
    """The place of a flush among a stream's tickets."""

    end_sample: int


# Takes tickets and flushes as they come, and takes its time: a stream goes no faster.
Put = Callable[[Ticket | Flushed], Awaitable[None]]


class Stream:
    """One sound on its way through one model.

    ``cut``, ``flush`` and ``finish`` submit what ``hold`` was given, no more at a time than ``per_caller`` lets wait;
    ``settle`` takes their tickets, in order, and gives the answers. A context manager: leaving it withdraws what still
    waits.

    Args:
        model: leased by the caller for as long as the stream lives.
        plan: from ``make_plan`` for that model.
        sound: how the fed samples are laid out.
        workers: where long pieces are cut.
        deadline: on the monotonic clock; segments past it are not run.
    """

    def __init__(
        self,
        model: ServedModel,
        plan: Plan,
        sound: SoundFormat,
        *,
        workers: Workers,
        deadline: float = math.inf,
    ) -> None:
        self._model = model
        self._plan = plan
        self._sound = sound
        self._workers = workers
        self._deadline = deadline
        self._cutter = Cutter(model.graph, plan.grid, sound)
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._wanted_bytes = 0
        self._open: deque[asyncio.Future[Outcome]] = deque()
        self._pools: list[Pool | None] = []
        self._epoch = -1
        self._batch = -1
        self._left = False
        self._timing = Timing()
        self.segments = 0

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self._left = True
        for outcome in self._open:
            outcome.cancel()

    @property
    def bytes_per_second(self) -> int:
        """Bytes that a second of the fed sound has."""
        return self._sound.frame_bytes * self._sound.sample_rate_hz

    @property
    def samples(self) -> int:
        """Samples at the model's rate so far, padding not counted."""
        return self._cutter.samples

    @property
    def timing(self) -> Timing:
        """Where the time went so far."""
        self._timing.features_s = self._cutter.features_s
        self._timing.resample_s = self._cutter.resample_s
        return self._timing

    def hold(self, data: bytes) -> bool:
        """Takes raw bytes of any number, also parts of a sample; True where it is time to ``cut``.

        That is once they can complete a segment, or come to a second: cutting costs by the call, and a live sound comes
        in small pieces.
        """
        self._held.append(data)
        self._held_bytes += len(data)
        return self._held_bytes >= self._wanted_bytes

    async def cut(self, put: Put) -> None:
        """Cuts and submits what is held; ``put`` is awaited with each ticket."""
        sound = self._sound
        data = b"".join(self._held)
        whole = len(data) - len(data) % sound.frame_bytes
        self._held = [data[whole:]] if whole < len(data) else []
        self._held_bytes = len(data) - whole
        if not whole:
            return
        cutter, share = self._cutter, self._model.settings.per_caller
        samples = whole // sound.frame_bytes * sound.channels
        await self._work(partial(cutter.push, memoryview(data)[:whole]), samples, self._inline_samples)
        while count := min(cutter.ready, share):
            await self._submit(await self._work(partial(cutter.take, count), count * cutter.end_samples), put)
        self._wanted_bytes = sound.frame_bytes * min(cutter.missing_frames, round(HELD_S * sound.sample_rate_hz))

    async def flush(self, put: Put) -> None:
        """Forces the pending sound out and begins the grid anew; ``Flushed`` is put last."""
        await self._end(self._cutter.flush, "a flush", put)
        self._wanted_bytes = 0
        await put(Flushed(self._cutter.samples))

    async def finish(self, put: Put) -> None:
        """Ends the sound. AudioError where it ends inside a sample."""
        await self._end(self._cutter.finish, "the end of the stream", put)

    async def _end(self, end: Callable[[], list[Segment]], place: str, put: Put) -> None:
        await self.cut(put)
        self._check_split(place)
        await self._submit(await self._work(end, self._cutter.end_samples, self._inline_samples), put)

    async def settle(self, ticket: Ticket) -> list[Answer]:
        """Waits for a ticket's outcome and gives one answer a head: its own values, or the pool so far."""
        return self._answers(await self._outputs(ticket), ticket.segment, running=True)

    async def answer(self, sound: Sound) -> list[Answer]:
        """A whole sound's answers: by segment, then by head; a pooled head answers once, first.

        It is cut a share of segments at a time, at most one thread hop a share, so that a long one is never held whole.
        """
        blocks = iter(sound.blocks)
        share = self._model.settings.per_caller
        cut: deque[Segment] = deque()
        waiting: deque[Ticket] = deque()
        kept: list[Answer] = []
        last: Segment | None = None
        ended = False

        def advance() -> bool:
            while True:
                cut.extend(self._cutter.take(min(self._cutter.ready, share - len(cut))))
                if len(cut) >= share:
                    return False
                block = self._next_block(blocks)
                if block is None:
                    cut.extend(self._cutter.finish())
                    return True
                self._cutter.push(block)

        samples = math.inf if sound.stored_samples is None else max(sound.stored_samples, self._cutter.end_samples)
        while True:
            if not cut and not ended:
                ended = await self._work(advance, samples, self._inline_samples)
            while cut and len(waiting) < share:
                waiting.append(self._submit_one(cut.popleft()))
            if not waiting:
                break
            ticket = waiting.popleft()
            last = ticket.segment
            kept += self._answers(await self._outputs(ticket), last, running=False)
        if last is None:
            raise AudioError("the audio is empty: it has no samples", field="audio", reason="AUDIO_EMPTY")
        kept += self._pooled(last)
        return sorted(kept, key=lambda answer: (answer.start_sample, answer.head.head.index))

    async def _outputs(self, ticket: Ticket) -> Outputs:
        outcome = await ticket.outcome
        self._waits()
        self._count(outcome)
        return outcome.outputs

    def _answers(self, outputs: Outputs, segment: Segment, *, running: bool) -> list[Answer]:
        """Takes a segment into the pools; answers for it, and for the pools so far where ``running``."""
        if segment.epoch_start != self._epoch:
            self._epoch = segment.epoch_start
            self._pools = [head.pool() for head in self._plan.heads]
        answers = []
        for head, pool in zip(self._plan.heads, self._pools, strict=True):
            values = head.head.values(outputs[head.head.spec.tensor])
            if pool is None:
                answers.append(Answer(head, segment.start_sample, segment.end_sample, head.finish(values)))
                continue
            pool.add(values)
            if running:
                answers.append(self._pool_answer(head, pool, segment))
        return answers

    def _pooled(self, last: Segment) -> list[Answer]:
        pools = zip(self._plan.heads, self._pools, strict=True)
        return [self._pool_answer(head, pool, last) for head, pool in pools if pool is not None]

    def _pool_answer(self, head: HeadPlan, pool: Pool, last: Segment) -> Answer:
        return Answer(head, self._epoch, last.end_sample, head.finish(pool.value()))

    async def _submit(self, segments: list[Segment], put: Put) -> None:
        """Submits segments as there is room for them."""
        share = self._model.settings.per_caller
        at = 0
        while at < len(segments):
            while self._waits() >= share:
                await asyncio.wait([self._open[0]])
            room = share - len(self._open)
            for ticket in [self._submit_one(segment) for segment in segments[at : at + room]]:
                await put(ticket)
            at += room

    def _waits(self) -> int:
        """Segments that wait, from the first on that has not run."""
        while self._open and self._open[0].done():
            self._open.popleft()
        return len(self._open)

    def _submit_one(self, segment: Segment) -> Ticket:
        outcome = self._model.batcher.submit(self, segment.rows, self._plan.outputs, self._deadline)
        self._open.append(outcome)
        return Ticket(segment, outcome)

    @property
    def _inline_samples(self) -> int:
        """Samples of a sound that are cut here and not in a thread."""
        if not self._cutter.resamples:
            return INLINE_SAMPLES
        return INLINE_RESAMPLED if self._cutter.designed else 0

    async def _work(self, work: Callable[[], T], samples: float, limit: int = INLINE_SAMPLES) -> T:
        """Runs work that goes over so many samples: here where that is over before a thread would begin."""
        if samples <= limit:
            return work()
        return await self._workers.call(work)

    def _next_block(self, blocks: Iterator[Block]) -> Block | None:
        # Looked at in a thread, which nothing else would stop.
        if self._left:
            raise CancelledError("the caller went away while its sound was decoded")
        if time.monotonic() >= self._deadline:
            raise DeadlineError("the deadline passed while the sound was decoded")
        begun = time.perf_counter()
        block = next(blocks, None)
        self._timing.decode_s += time.perf_counter() - begun
        return block

    def _check_split(self, place: str) -> None:
        if self._held_bytes:
            raise AudioError(
                f"{place} came inside a sample: {self._held_bytes} of {self._sound.frame_bytes} bytes "
                f"({self._sound.encoding} x {self._sound.channels} channels)",
                field="audio",
                reason="AUDIO_SPLIT_SAMPLE",
            )

    def _count(self, outcome: Outcome) -> None:
        self.segments += 1
        if outcome.batch != self._batch:
            self._batch = outcome.batch
            self._timing.queue_s += outcome.wait_s
            self._timing.inference_s += outcome.run_s
