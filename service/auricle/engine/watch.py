"""The watch: looks at a directory again as it changes, and now and then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

import structlog
import watchfiles

__all__ = ["watch"]

# The watcher wakes once in so long, and waits for one that was quiet before it tells: idle, it costs nothing.
SETTLE_MS = 500
LONGEST_SETTLE_MS = 2000
# What changed before the watch stood, or on a file system that tells nobody, is found by looking.
RESCAN_MS = 5000


async def watch(folder: Path, look: Callable[[], Awaitable[None]], *, rescan_ms: int = RESCAN_MS) -> None:
    """Calls ``look`` as the folder changes and every ``rescan_ms``, until cancelled; makes a folder that is not there.

    Whatever fails is logged once and tried again after ``rescan_ms``: descriptors run out, file systems come back.
    """
    log = structlog.get_logger()
    said = ""
    while True:
        try:
            try:
                await asyncio.to_thread(folder.stat)
            except FileNotFoundError:
                log.warning("the models folder is not there; it is made", folder=str(folder))
                await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
            await look()
            async with aclosing(_changes(folder, rescan_ms)) as changes:
                async for _ in changes:
                    await look()
                    said = ""
        except Exception as error:  # whatever a file system does to us, the server goes on, and looks again
            if str(error) != said:
                log.error("the models folder cannot be watched; it is tried again", folder=str(folder), exc_info=error)
            said = str(error)
        await asyncio.sleep(rescan_ms / 1000)


async def _changes(folder: Path, rescan_ms: int) -> AsyncGenerator[None, None]:
    stop = asyncio.Event()
    try:
        async for _ in watchfiles.awatch(
            folder,
            debounce=LONGEST_SETTLE_MS,
            step=SETTLE_MS,
            stop_event=stop,
            rust_timeout=rescan_ms,
            yield_on_timeout=True,
        ):
            yield None
    finally:
        stop.set()
