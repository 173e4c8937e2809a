"""Pieces of load on a server, each beside the bare loop's of the moment before, and every answer checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bare import BATCHES, Lap
from loadgen import Burst, Load
from plain import TOP, PlainVoice, PlainYamnet, cosine, first
from stacks import Answer
from workloads import Workload

__all__ = ["Bench", "Piece", "Plan", "Target", "Yardstick", "pooled"]

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How long to measure: a server piece in seconds, the bare loop's before it, and how many rounds."""

    piece_s: float
    bare_s: float
    rounds: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """One measurement of the server beside the bare loop's of the moment before."""

    requests_per_s: float
    latencies_ms: list[float]
    cpu_ms: float
    of_bare: float
    of_bare_cpu: float
    generator_busy: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A server under load: its processor time so far, its load generator, and the wire forms that it speaks."""

    cpu_s: Callable[[], float]
    generator: Any
    request: Callable[[Workload, bytes], bytes]
    answer: Callable[[Workload, bytes], Answer]


@dataclass(frozen=True, kw_only=True, slots=True)
class Yardstick:
    """A model's bare loop: its process, its best batch, and processor milliseconds of a segment by batch."""

    pipe: Any
    batch: int
    costs: dict[int, float]


class Bench:
    """What is measured, and the worst that the answers differed from the bare loops' by."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.worst_cosine = 1.0
        self.worst_score = 0.0

    def lap(self, bare: Any, batch: int, seconds: float) -> Lap:
        """A run of a bare loop."""
        bare.send((batch, seconds))
        found: Lap = bare.recv()
        return found

    def yardstick(self, bare: Any) -> Yardstick:
        """Finds a bare loop's best batch."""
        costs = {}
        for batch in BATCHES:
            laps = [self.lap(bare, batch, self._plan.bare_s / 4) for _ in range(3)]
            costs[batch] = min(lap.cpu_s / lap.segments for lap in laps) * 1e3
        return Yardstick(pipe=bare, batch=min(costs, key=lambda size: costs[size]), costs=costs)

    def burst(self, target: Target, workload: Workload, *, callers: int, calls: int) -> Burst:
        """A run of the load generator."""
        requests = [target.request(workload, request) for request in workload.requests]
        target.generator.send(Load(method=workload.method, requests=requests, callers=callers, calls=calls))
        found: Burst = target.generator.recv()
        return found

    def piece(
        self, target: Target, workload: Workload, callers: int, bare: Yardstick, wanted: Sequence[Floats]
    ) -> Piece:
        """The bare loop, then a server under so many callers."""
        lap = self.lap(bare.pipe, bare.batch, self._plan.bare_s)
        bare_rate = lap.segments / lap.wall_s / workload.segments
        bare_cpu_s = lap.cpu_s / lap.segments * workload.segments
        calls = max(1, round(self._plan.piece_s * bare_rate / callers))
        before = target.cpu_s()
        burst = self.burst(target, workload, callers=callers, calls=calls)
        spent_s = (target.cpu_s() - before) / len(burst.replies)
        self._check(target, workload, burst, wanted)
        rate = len(burst.replies) / (burst.ended_s - burst.begun_s)
        return Piece(
            requests_per_s=rate,
            latencies_ms=[latency * 1e3 for latency in burst.latencies_s],
            cpu_ms=spent_s * 1e3,
            of_bare=rate / bare_rate,
            of_bare_cpu=bare_cpu_s / spent_s,
            generator_busy=burst.cpu_s / (burst.ended_s - burst.begun_s),
        )

    def added_ms(self, callers: Mapping[str, Any], workload: Workload, alone: Any) -> dict[str, float]:
        """What each server adds for a lone caller at p50 to a call's parts, one after another without any."""
        alone.send((workload.files, self._plan.piece_s))
        parts_s: float = alone.recv()
        calls = max(1, round(self._plan.piece_s / parts_s))
        found = {}
        for name, caller in callers.items():
            caller.send(Load(method=workload.method, requests=workload.requests, callers=1, calls=calls))
            found[name] = (float(np.median(caller.recv().latencies_s)) - parts_s) * 1e3
        return found

    def _check(self, target: Target, workload: Workload, burst: Burst, wanted: Sequence[Floats]) -> None:
        for which, reply in burst.replies:
            embedding, scores = target.answer(workload, reply)
            right = wanted[which]
            if scores:
                right, best = first(wanted[which], TOP)
                off = [abs(one[1] - other[1]) for one, other in zip(scores, best, strict=True)]
                self.worst_score = max(self.worst_score, *off)
            self.worst_cosine = min(self.worst_cosine, cosine(embedding, right))


def pooled(answers: Floats, workload: Workload) -> list[Floats]:
    """What each of a workload's requests must give, from its segments' answers."""
    pool = PlainVoice.pool if workload.model == "voice" else PlainYamnet.pool
    return [pool(part) for part in np.split(answers, len(workload.requests))]
