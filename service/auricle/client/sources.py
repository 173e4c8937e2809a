"""Where a stream's chunks come from, as an event loop goes through them."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

__all__ = ["SourceError", "carried", "in_loop"]

T = TypeVar("T")

# So many are read before they are asked for: enough to decode one while the other is sent.
_AHEAD = 2


@dataclass(frozen=True)
class _End:
    error: BaseException | None = None


class SourceError(Exception):
    """Stands for whatever a source raised; see `carried`."""


def carried(items: Iterable[T], failures: list[BaseException]) -> Iterator[T]:
    """Goes through items for one who can be told of an Exception and of nothing else.

    What the items raise is put into ``failures``, for the caller to raise, and SourceError is raised in its place.
    """
    try:
        yield from items
    except GeneratorExit:
        raise
    except BaseException as error:
        failures.append(error)
        raise SourceError from error


async def in_loop(items: Iterable[T] | AsyncIterable[T]) -> AsyncGenerator[T]:
    """Goes through items of either kind, in order; raises what they raise.

    Those that may block are read in a thread, a few ahead of who asks. It is a daemon, since nothing can wake it where
    the next item never comes: leaving early abandons it, and it keeps no process from ending.
    """
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
        return
    loop, room, left = asyncio.get_running_loop(), threading.Semaphore(_AHEAD - 1), threading.Event()
    arrived: asyncio.Queue[T | _End] = asyncio.Queue()

    def tell(what: T | _End) -> None:
        # A loop that has closed has nobody who waits.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(arrived.put_nowait, what)

    def read() -> None:
        try:
            for item in items:
                tell(item)
                room.acquire()
                if left.is_set():
                    return
        except BaseException as error:
            tell(_End(error))
        else:
            tell(_End())

    threading.Thread(target=contextvars.copy_context().run, args=(read,), name="auricle-chunks", daemon=True).start()
    try:
        while not isinstance(what := await arrived.get(), _End):
            room.release()
            yield what
        if what.error is not None:
            raise what.error
    finally:
        left.set()
        room.release()
