"""Arrivals: calls that are open and whose message is yet to come; neither long nor many, whatever clients do.

Of the contract's services, that is. Health's and reflection's calls are gRPC's own, and some are made to stay open.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, NamedTuple

import grpc

from auricle.errors import AuricleError, BusyError, IdleError, ProtocolError

__all__ = ["Arrivals"]

# How far a message is gRPC does not tell, so that all of it has the time of so many silences of a stream: 15 minutes by
# default, in which 64 MiB come at 0.6 Mbit/s.
MESSAGE_IDLES = 15
# Such a call takes no place; it costs 20 kB, and what came of its message.
MOST_WAITING = 1024


class _Wait(NamedTuple):
    client: str
    since_s: float


class Arrivals:
    """Waits for the messages of unary calls. Used on one event loop.

    Calls share one timer, which is set while any of them waits; a small call comes and goes under it.

    Args:
        idle_s: seconds that a stream may be silent; ``MESSAGE_IDLES`` of them are a message's. None waits for ever.
        most: calls that wait at once. One more ends the one that has waited longest of the client with the most: were
            new ones refused, silent calls would keep everybody out, and were it anyone's, they would end slow uploads.
    """

    def __init__(self, idle_s: float | None, *, most: int = MOST_WAITING) -> None:
        self._longest_s = None if idle_s is None else MESSAGE_IDLES * idle_s
        self._most = most
        self._loop = asyncio.get_running_loop()
        # The oldest first.
        self._waits: dict[asyncio.Task[Any], _Wait] = {}
        self._errors: dict[asyncio.Task[Any], AuricleError] = {}
        self._alarm: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """Calls whose message is yet to come."""
        return len(self._waits)

    async def message(self, context: Any, client: str) -> bytes | AuricleError:
        """A client's one message of a call, or why there is none: for whoever counts calls, which it is not yet."""
        task = asyncio.current_task()
        assert task is not None
        self._waits[task] = _Wait(client, self._loop.time())
        if len(self._waits) > self._most:
            self._end_one()
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
            self._waits.pop(task, None)
            self._errors.pop(task, None)
        if message is grpc.aio.EOF:
            return ProtocolError("the call ended before its request; send one message")
        return message  # type: ignore[no-any-return]

    def _end(self, task: asyncio.Task[Any], error: AuricleError) -> None:
        del self._waits[task]
        self._errors[task] = error
        task.cancel()

    def _end_one(self) -> None:
        ((client, calls),) = Counter(wait.client for wait in self._waits.values()).most_common(1)
        error = BusyError(
            f"more than {self._most} calls wait for their message, {calls} of them from client {client}, of which this "
            "one has waited longest; open fewer calls before their messages",
            reason="TOO_MANY_CALLS",
            retry_after_s=1.0,
        )
        self._end(next(task for task, wait in self._waits.items() if wait.client == client), error)

    def _set_alarm(self) -> None:
        if self._longest_s is not None and self._waits:
            oldest = next(iter(self._waits.values()))
            self._alarm = self._loop.call_at(oldest.since_s + self._longest_s, self._ring)

    def _ring(self) -> None:
        assert self._longest_s is not None
        self._alarm = None
        late = self._loop.time() - self._longest_s
        for task in [task for task, wait in self._waits.items() if wait.since_s <= late]:
            error = IdleError(
                f"the request did not come whole within {self._longest_s:g} s, {MESSAGE_IDLES} times the limit idle_s; "
                "stream the sound, or send less of it at a time"
            )
            self._end(task, error)
        self._set_alarm()
