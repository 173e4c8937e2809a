"""Tuning: what a model's segment costs by batch size and threads, measured."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from auricle.config import BatchSettings, SessionSettings
from auricle.engine.graph import Graph

__all__ = ["BATCHES", "Cost", "best", "measure", "tuned"]

BATCHES = (1, 2, 4, 8, 16, 32)
FAR_BATCHES = (*BATCHES, 64, 128)
# A larger batch or more threads must save so much of the time to be worth the wait or the cores.
WORTH = 0.03
# A server takes no fewer: each run wakes the loop once more, and a short trial may err.
TRIED = (8, 16, 32)
# What has thousands of lanes is filled by larger ones only.
TRIED_FAR = (8, 16, 32, 64, 128)
# Another device is free again before a batch has gathered, so it waits, but never for so long that a caller notices.
MOST_DELAY_S = 5e-3
# What a run costs a server beside the model: two threads wake up, each to caches that the other has emptied.
HANDOVER_S = 800e-6
TRIAL_S = 0.5
TRIALS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """Of one segment in a batch: seconds by the clock and of the processor, medians of the rounds."""

    threads: int
    batch: int
    wall_s: float
    cpu_s: float


def measure(
    path: Path,
    settings: SessionSettings,
    *,
    threads: Sequence[int],
    batches: Sequence[int] | None = None,
    rounds: int = 5,
) -> Iterator[Cost]:
    """Runs noise through the model, the batch sizes in turn so that what slows the machine slows them all.

    A model that is served at batch 1 is measured there alone. Raises BundleError where it cannot be loaded.

    Args:
        batches: None: powers of two, up to 32 on a CPU, or 128.
    """
    for count in threads:
        graph = Graph(path, replace(settings, threads=count))
        outputs = tuple(dict.fromkeys(spec.tensor for spec in graph.bundle.heads))
        tried = batches if batches is not None else BATCHES if graph.device == "cpu" else FAR_BATCHES
        sizes = [size for size in tried if size == 1 or graph.batches]
        segments = [graph.noise(seed) for seed in range(max(sizes))]
        found: dict[int, list[tuple[float, float]]] = {size: [] for size in sizes}
        for _ in range(rounds):
            for size in sizes:
                wall_s, cpu_s = time.perf_counter(), time.process_time()
                graph.run(outputs, segments[:size])
                found[size].append(((time.perf_counter() - wall_s) / size, (time.process_time() - cpu_s) / size))
        for size, laps in found.items():
            wall, cpu = (statistics.median(values) for values in zip(*laps, strict=True))
            yield Cost(threads=count, batch=size, wall_s=wall, cpu_s=cpu)


def best(costs: Iterable[Cost]) -> Cost:
    """The fewest threads and the smallest batch among those that come near the least time a segment."""
    found = list(costs)
    least_s = min(cost.wall_s for cost in found)
    near = [cost for cost in found if cost.wall_s <= least_s * (1 + WORTH)]
    return min(near, key=lambda cost: (cost.threads, cost.batch))


def tuned(
    settings: BatchSettings,
    graph: Graph,
    *,
    trial_s: float = TRIAL_S,
    clock: Callable[[], float] = time.perf_counter,
) -> BatchSettings:
    """The settings with a model's best batch size, and how long it waits to fill, where they leave these open.

    Noise runs for about ``trial_s``. Batches that are too large for the time are not tried: of a model so slow,
    batching changes little. On a CPU a batch takes what is there. Elsewhere it waits as long as the smallest run takes,
    so that a lone caller's time in the model is at most doubled.
    """
    if not graph.batches:
        return replace(settings, max_segments=settings.max_segments or 1, max_delay_s=settings.max_delay_s or 0.0)
    near = graph.device == "cpu"
    if near and settings.max_delay_s is None:
        settings = replace(settings, max_delay_s=0.0)
    if settings.max_segments is not None and settings.max_delay_s is not None:
        return settings
    sizes = (TRIED if near else TRIED_FAR) if settings.max_segments is None else (settings.max_segments,)
    outputs = tuple(dict.fromkeys(spec.tensor for spec in graph.bundle.heads))
    segments = [graph.noise(seed) for seed in range(max(sizes))]
    least: dict[int, float] = {}
    begun = clock()
    for size in sizes * TRIALS:
        since = clock()
        if least and since - begun > trial_s:
            break
        graph.run(outputs, segments[:size])
        run_s = clock() - since
        least[size] = min(run_s, least.get(size, run_s))
    costs = {size: (run_s + HANDOVER_S) / size for size, run_s in least.items()}
    bound = min(costs.values()) * (1 + WORTH)
    chosen = min(size for size, cost in costs.items() if cost <= bound)
    delay_s = min(*least.values(), MOST_DELAY_S) if settings.max_delay_s is None else settings.max_delay_s
    return replace(settings, max_segments=chosen, max_delay_s=delay_s)
