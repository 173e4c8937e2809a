"""The yardstick: the model alone in a bare onnxruntime loop, one thread, in a process of its own."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BATCHES", "Lap", "loop"]

BATCHES = (1, 2, 4, 8, 16, 32)
Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Lap:
    """What came of a run: segments, seconds by the clock and of the processor."""

    segments: int
    wall_s: float
    cpu_s: float


def loop(pipe: Connection, path: str, core: int, mels: Sequence[Floats]) -> None:
    """The process's main. First sends each segment's vector, then a Lap for each (batch, seconds), until None.

    Args:
        path: the ONNX file.
        mels: segments, f32 (160, 40) each.
    """
    import onnxruntime

    os.sched_setaffinity(0, {core})
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    pipe.send(np.concatenate([_run(session, mel[np.newaxis]) for mel in mels]))
    batches = {size: np.stack([mels[place % len(mels)] for place in range(size)]) for size in BATCHES}
    while (wanted := pipe.recv()) is not None:
        batch, seconds = wanted
        pipe.send(_lap(session, batches[batch], seconds))


def _lap(session: Any, batch: Floats, seconds: float) -> Lap:
    begun, cpu, runs = time.monotonic(), time.process_time(), 0
    while time.monotonic() - begun < seconds:
        _run(session, batch)
        runs += 1
    return Lap(segments=runs * len(batch), wall_s=time.monotonic() - begun, cpu_s=time.process_time() - cpu)


def _run(session: Any, batch: Floats) -> Floats:
    (vectors,) = session.run(["embedding"], {"mels": batch})
    found: Floats = vectors
    return found
