"""A stream's incoming messages, each waited for with patience that ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Generic, TypeVar

from auricle.errors import IdleError

__all__ = ["Messages"]

T = TypeVar("T")


class Messages(Generic[T]):
    """What a client sends, one after another. A context manager, used by one task at a time.

    A stream has one timer, which looks when it rings at how long the client has been silent: a timer for each of its
    messages would cost more than the message. Time in which nobody waits for the client does not count.

    Args:
        source: the messages.
        idle_s: seconds that ``next`` waits; None waits for ever.

    Attributes:
        reader: the task that calls ``next``, at first the one that enters. Whoever hands the messages on to another
            says so here: to ask for the current task each time costs a twentieth of a message.
    """

    def __init__(self, source: AsyncIterator[T], idle_s: float | None) -> None:
        self._source = source
        self._idle_s = idle_s
        self.reader: asyncio.Task[Any] | None = None
        self._waits = False
        self._since_s = 0.0
        self._late = False
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Messages[T]:
        self.reader = asyncio.current_task()
        if self._idle_s is not None:
            self._arm(self._idle_s)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()

    async def next(self) -> T | None:
        """The next message, None at the half-close. IdleError where none comes in time."""
        self._since_s = time.monotonic()
        self._waits = True
        try:
            return await anext(self._source)
        except StopAsyncIteration:
            return None
        except asyncio.CancelledError:
            if self._late and self.reader is not None and not self.reader.uncancel():
                raise IdleError(
                    f"the stream was silent for {self._idle_s:g} s, the limit idle_s; send audio, or close it"
                ) from None
            raise
        finally:
            self._waits = False

    def _arm(self, delay_s: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._look)

    def _look(self) -> None:
        assert self._idle_s is not None
        if not self._waits or self.reader is None:
            self._arm(self._idle_s)
            return
        left_s = self._since_s + self._idle_s - time.monotonic()
        if left_s > 0:
            # The loop's clock may be a millisecond behind.
            self._arm(max(left_s, 0.001))
            return
        self._late = True
        self.reader.cancel()
