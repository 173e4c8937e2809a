"""A stream's incoming messages, each waited for with patience that ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Generic, TypeVar

from auricle.errors import IdleError
from auricle.serve.patience import Patience

__all__ = ["Messages"]

T = TypeVar("T")


class Messages(Generic[T]):
    """What a client sends, one after another. A context manager, used by one task at a time.

    Time in which nobody waits for the client does not count.

    Args:
        source: the messages.
        idle_s: seconds that ``next`` waits; None waits for ever.
    """

    def __init__(self, source: AsyncIterator[T], idle_s: float | None) -> None:
        self._source = source
        self._idle_s = idle_s
        self._patience = Patience(idle_s)

    def __enter__(self) -> Messages[T]:
        self._patience.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._patience.__exit__(kind, error, trace)

    def hand_to(self, reader: asyncio.Task[Any]) -> None:
        """From now on ``reader`` is the task that calls ``next``, at first it is the one that entered."""
        self._patience.task = reader

    async def next(self) -> T | None:
        """The next message, None at the half-close. IdleError where none comes in time."""
        self._patience.begin()
        try:
            return await anext(self._source)
        except StopAsyncIteration:
            return None
        except asyncio.CancelledError:
            if self._patience.ran_out():
                raise IdleError(
                    f"the stream was silent for {self._idle_s:g} s, the limit idle_s; send audio, or close it"
                ) from None
            raise
        finally:
            self._patience.end()
