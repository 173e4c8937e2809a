"""The yardstick: the model alone in a bare onnxruntime loop, one thread, in a process of its own."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plain import session

__all__ = ["BATCHES", "Lap", "loop"]

BATCHES = (1, 2, 4, 8, 16, 32)
Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Lap:
    """What came of a run: segments, seconds by the clock and of the processor."""

    segments: int
    wall_s: float
    cpu_s: float


def loop(pipe: Connection, path: Path, core: int, outputs: Sequence[str], mels: Sequence[Floats]) -> None:
    """The process's main. First sends each segment's answer, then a Lap for each (batch, seconds), until None.

    Args:
        path: the ONNX file, of a model with one input.
        outputs: the tensors that a run computes; an answer is these, one after another.
        mels: segments, f32 (frames, bands) each.
    """
    os.sched_setaffinity(0, {core})
    runtime = session(path)
    name = runtime.get_inputs()[0].name

    def run(batch: Floats) -> list[Floats]:
        found: list[Floats] = runtime.run(list(outputs), {name: batch})
        return found

    pipe.send(np.concatenate([np.concatenate(run(mel[np.newaxis]), axis=1) for mel in mels]))
    batches = {size: np.stack([mels[place % len(mels)] for place in range(size)]) for size in BATCHES}
    while (wanted := pipe.recv()) is not None:
        batch, seconds = wanted
        pipe.send(_lap(run, batches[batch], seconds))


def _lap(run: Callable[[Floats], Any], batch: Floats, seconds: float) -> Lap:
    begun, cpu, runs = time.monotonic(), time.process_time(), 0
    while time.monotonic() - begun < seconds:
        run(batch)
        runs += 1
    wall_s, spent_s = time.monotonic() - begun, time.process_time() - cpu
    return Lap(segments=runs * len(batch), wall_s=wall_s, cpu_s=spent_s)
