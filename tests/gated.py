"""A model that waits at a gate, so that a test says what gathers behind a run, and a clock that waits for the test."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from auricle.engine.batcher import Batcher, Outputs

PATIENCE_S = 20.0  # a bound on what would otherwise hang; nothing waits for it


class Clock:
    """Stands for the batcher's ``time``: it goes on only where a test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


class Model:
    """Doubles its input under "double" and negates it under "minus"; raises for 13 and gives NaN for 0.5.

    While ``gate`` is clear a run waits in it; ``entered`` tells that one does. A segment takes a second of ``clock``.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.runs: list[tuple[tuple[str, ...], list[float]]] = []

    def __call__(self, outputs: Sequence[str], segments: Sequence[np.ndarray]) -> Outputs:
        self.runs.append((tuple(outputs), [float(segment[0]) for segment in segments]))
        self.entered.set()
        assert self.gate.wait(PATIENCE_S)
        self.clock.now_s += len(segments)
        batch = np.stack(segments)
        if (batch == 13).any():
            raise RuntimeError("unlucky")
        rows = np.where(batch == 0.5, np.float32(np.nan), batch)
        return {name: {"double": 2 * rows, "minus": -batch}[name] for name in outputs}

    @property
    def batches(self) -> list[list[float]]:
        return [values for _, values in self.runs]

    async def hold(self, batcher: Batcher, segments: int = 1) -> asyncio.Future[Any]:
        """Occupies the model with the segment 100, or so many of it, until the gate opens."""
        self.gate.clear()
        self.entered.clear()
        futures = [batcher.submit("holder", segment(100), ("double",)) for _ in range(segments)]
        assert await asyncio.to_thread(self.entered.wait, PATIENCE_S)
        return futures[-1]


def segment(value: float, size: int = 2) -> np.ndarray:
    return np.full(size, value, np.float32)
