"""Arrivals: calls that are open and whose message is yet to come; neither long nor many, whatever clients do."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from auricle.errors import AuricleError, BusyError, IdleError, ProtocolError

__all__ = ["Arrivals"]

# How far a message is gRPC does not tell, so that all of it has the time of so many silences of a stream: 15 minutes by
# default, in which 64 MiB come at 0.6 Mbit/s.
MESSAGE_IDLES = 15
# Such a call takes no place; it costs 20 kB, and what came of its message.
MOST_WAITING = 1024


class Arrivals:
    """Waits for the messages of unary calls. Used on one event loop.

    Calls share one timer, which is set while any of them waits; a small call comes and goes under it.

    Args:
        idle_s: seconds that a stream may be silent; ``MESSAGE_IDLES`` of them are a message's. None waits for ever.
        most: calls that wait at once. One more ends the one that has waited longest: were new ones refused, silent
            calls would keep everybody out.
    """

    def __init__(self, idle_s: float | None, *, most: int = MOST_WAITING) -> None:
        self._longest_s = None if idle_s is None else MESSAGE_IDLES * idle_s
        self._most = most
        self._loop = asyncio.get_running_loop()
        # The oldest first.
        self._since: dict[asyncio.Task[Any], float] = {}
        self._errors: dict[asyncio.Task[Any], AuricleError] = {}
        self._alarm: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """Calls whose message is yet to come."""
        return len(self._since)

    async def message(self, context: Any) -> bytes | AuricleError:
        """A call's one message, or why there is none: for whoever counts calls, which this one is not yet."""
        task = asyncio.current_task()
        assert task is not None
        if len(self._since) >= self._most:
            self._end_oldest()
        self._since[task] = self._loop.time()
        if self._alarm is None:
            self._set_alarm()
        try:
            message = await context.read()
        except asyncio.CancelledError:
            error = self._errors.get(task)
            if error is None or task.uncancel():
                raise
            return error
        finally:
            self._since.pop(task, None)
            self._errors.pop(task, None)
        if message is grpc.aio.EOF:
            return ProtocolError("the call ended before its request; send one message")
        return message  # type: ignore[no-any-return]

    def _end(self, task: asyncio.Task[Any], error: AuricleError) -> None:
        del self._since[task]
        self._errors[task] = error
        task.cancel()

    def _end_oldest(self) -> None:
        error = BusyError(
            f"{self._most} calls wait for their message, the most there may be, and this one has waited longest; "
            "send the message with the call, after the given delay",
            reason="TOO_MANY_CALLS",
            retry_after_s=1.0,
        )
        self._end(next(iter(self._since)), error)

    def _set_alarm(self) -> None:
        if self._longest_s is not None and self._since:
            oldest = next(iter(self._since.values()))
            self._alarm = self._loop.call_at(oldest + self._longest_s, self._ring)

    def _ring(self) -> None:
        assert self._longest_s is not None
        self._alarm = None
        late = self._loop.time() - self._longest_s
        for task in [task for task, since in self._since.items() if since <= late]:
            error = IdleError(
                f"the request did not come whole within {self._longest_s:g} s, {MESSAGE_IDLES} times the limit idle_s; "
                "stream the sound, or send less of it at a time"
            )
            self._end(task, error)
        self._set_alarm()
