"""A model in service: its graph, its batcher and the calls that hold it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import structlog

from auricle.config import BatchSettings
from auricle.engine.batcher import Batcher
from auricle.engine.graph import Graph
from auricle.engine.plan import PlanCache, default_grid
from auricle.engine.turns import Turns
from auricle.errors import BusyError

__all__ = ["ServedModel"]

FAULTS_IN_A_ROW = 8


class ServedModel:
    """One version of one model, from its first call to its last.

    Calls lease it; ``retire`` lets the leases end before the batcher does, so that a swap or a removal
    loses nothing that was accepted.
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
        self._faults = 0

    @property
    def healthy(self) -> bool:
        """False while the last runs have all failed, whatever was in them."""
        return self._faults < FAULTS_IN_A_ROW

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
        if self._leases:
            self._log.warning("unloading with calls in flight", calls=self._leases)
        await self.batcher.close()

    def _ran(self, error: Exception | None, segments: int) -> None:
        before = self.healthy
        self._faults = self._faults + 1 if error is not None else 0
        if error is not None:
            self._log.error("model run failed", segments=segments, exc_info=error)
        if self.healthy != before:
            self._loop.call_soon_threadsafe(self._on_health)
