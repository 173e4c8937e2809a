"""The workers: threads that decode and compute features beside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from auricle.engine.priority import give_way
from auricle.engine.session import cores

__all__ = ["Workers"]

T = TypeVar("T")


class Workers:
    """The thread pool for decoding and features; kernels release the GIL, so it is as wide as the machine."""

    def __init__(self, count: int | None = None) -> None:
        self._pool = ThreadPoolExecutor(count or cores(), thread_name_prefix="frontend", initializer=give_way)

    async def call(self, work: Callable[[], T]) -> T:
        """Runs ``work`` in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def close(self) -> None:
        """Waits for what runs and ends the threads."""
        self._pool.shutdown(cancel_futures=True)
