"""A model in service: its graph, its batcher and the calls that hold it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import numpy as np
import structlog

from auricle.config import BatchSettings
from auricle.engine.batcher import Batcher, Outcome
from auricle.engine.graph import Graph
from auricle.engine.plan import PlanCache, default_grid
from auricle.engine.turns import Turns
from auricle.errors import BusyError

__all__ = ["ServedModel"]

# After so many the model is tried with noise: what callers sent may be to blame.
FAULTS_IN_A_ROW = 8
# How often a model that failed on noise is tried again; callers who look at health send it nothing meanwhile.
TRIED_AGAIN_S = 5.0


class ServedModel:
    """One version of one model, from its first call to its last.

    Calls lease it; ``retire`` lets the leases end before the batcher does, so that a swap or a removal
    loses nothing that was accepted.

    Attributes:
        healthy: False once the model fails on noise too, until a run succeeds.
    """

    def __init__(
        self,
        name: str,
        version: str,
        graph: Graph,
        settings: BatchSettings,
        *,
        on_health: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.version = version
        self.graph = graph
        self.settings = settings
        self.grid = default_grid(graph)
        self.plans = PlanCache()
        self._turns = Turns()
        self._leases = 0
        self._free = asyncio.Event()
        self._free.set()
        self._log = structlog.get_logger().bind(model=name, version=version)
        self.batcher = Batcher(graph.run, settings, name=f"{name}-{version}", on_run=self._ran)
        self._on_health = on_health
        self._loop = asyncio.get_running_loop()
        self._outputs = tuple(dict.fromkeys(head.spec.tensor for head in graph.heads))
        self._faults = 0
        self.healthy = True
        self._retry: asyncio.TimerHandle | None = None
        self._closed = False

    @contextmanager
    def lease(self) -> Iterator[ServedModel]:
        """Keeps the model loaded for as long as the block runs."""
        self._leases += 1
        self._free.clear()
        try:
            yield self
        finally:
            self._leases -= 1
            if not self._leases:
                self._free.set()

    def admit(self) -> None:
        """Raises BusyError, with the time to come back, where too many segments wait already."""
        waiting, backlog_s = self.batcher.waiting, self.batcher.backlog_s
        if waiting >= self.settings.max_waiting:
            raise BusyError(
                f"{waiting} segments wait for model {self.name!r}, the limit is {self.settings.max_waiting}; "
                "come back after the given delay",
                retry_after_s=self._turns.take(backlog_s / waiting, least_s=backlog_s),
                resource=("auricle.model", self.name),
            )

    async def retire(self, grace_s: float) -> None:
        """Waits for the leases, at most ``grace_s``, then closes the batcher."""
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._free.wait()
        self._closed = True
        self._retry_later()
        if self._leases:
            self._log.warning("unloading with calls in flight", calls=self._leases)
        await self.batcher.close()

    def _ran(self, error: Exception | None, segments: int) -> None:
        """Counts faults, in the batcher's thread, and tries the model there once they are many in a row."""
        healthy = True
        if error is None:
            self._faults = 0
        else:
            self._log.error("model run failed", segments=segments, exc_info=error)
            self._faults += 1
            healthy = self._answers_noise() if self._faults % FAULTS_IN_A_ROW == 0 else self.healthy
        if healthy != self.healthy:
            self.healthy = healthy
            self._loop.call_soon_threadsafe(self._changed)

    def _answers_noise(self) -> bool:
        try:
            answers = self.graph.run(self._outputs, [self.graph.noise(0)])
            if not all(np.isfinite(array).all() for array in answers.values()):
                raise ArithmeticError("non-finite values for noise")
        except Exception as error:  # whatever a graph raises
            self._log.error("the model fails on noise too: it is not healthy", exc_info=error)
            return False
        return True

    def _changed(self) -> None:
        self._on_health()
        self._retry_later()

    def _retry_later(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
        self._retry = None
        if not self.healthy and not self._closed:
            self._retry = self._loop.call_later(TRIED_AGAIN_S, self._try_again)

    def _try_again(self) -> None:
        """Sends the model noise as a caller does; ``_ran`` is told how it went."""
        outcome = self.batcher.submit(self, self.graph.noise(0), self._outputs)
        outcome.add_done_callback(self._tried)

    def _tried(self, outcome: asyncio.Future[Outcome]) -> None:
        outcome.exception()  # nobody else asks for it
        self._retry_later()
