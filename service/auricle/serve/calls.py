"""Calls in flight: what each raises becomes its status; what outlives the grace period, or goes unread, ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing, suppress
from typing import Any, TypeVar

import grpc
from grpc_status import rpc_status

from auricle.errors import BusyError, IdleError, UnavailableError
from auricle.serve.patience import Patience
from auricle.serve.status import to_status

__all__ = ["QUIET_S", "Calls"]

T = TypeVar("T")

QUIET_S = 0.1
LINGER_S = 1.0
REFUSALS_KEPT = 1024
# A reply may go untaken for so many times what a stream may be silent: who reads is often slower than who sends.
UNTAKEN_IDLES = 5


class Calls:
    """The calls of one server.

    Args:
        idle_s: seconds that a stream may be silent; with ``UNTAKEN_IDLES`` of them it is ended where its client takes
            no reply. None waits for ever.
    """

    def __init__(self, idle_s: float | None) -> None:
        self._untaken_s = None if idle_s is None else UNTAKEN_IDLES * idle_s
        self._tasks: set[asyncio.Task[Any]] = set()
        self._refusals: dict[tuple[str, float | None], grpc.Status] = {}
        self._ended = False
        self._last = 0.0
        self._idle = asyncio.Event()
        self._idle.set()

    def _begin(self) -> asyncio.Task[Any]:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._idle.clear()
        return task

    def _end(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        self._last = time.monotonic()
        if not self._tasks:
            self._idle.set()

    async def wait(self, grace_s: float) -> None:
        """Until all have ended; after ``grace_s`` those that are left are ended with UNAVAILABLE."""
        try:
            await asyncio.wait_for(self._idle.wait(), grace_s)
        except TimeoutError:
            self.end()
            await self._idle.wait()

    def end(self) -> None:
        """Ends all calls with UNAVAILABLE; whoever waits for them goes on once they have."""
        self._ended = True
        for task in list(self._tasks):
            task.cancel()

    async def settle(self) -> None:
        """Returns once no call has come for a moment, or after ``LINGER_S``.

        What arrives while the transport closes is cut off by gRPC as CANCELLED; until then Admission refuses it
        with UNAVAILABLE, which clients know how to send elsewhere.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while (left_s := self._last + QUIET_S - time.monotonic()) > 0:  # noqa: ASYNC110 - later calls move it
                    await asyncio.sleep(left_s)

    async def one(self, context: grpc.aio.ServicerContext[Any, Any], answer: Awaitable[T]) -> T:
        """Awaits a unary answer."""
        task = self._begin()
        try:
            return await answer
        except (Exception, asyncio.CancelledError) as error:
            await self._abort(context, error)
        finally:
            self._end(task)
        raise AssertionError("abort returned")

    async def many(self, context: grpc.aio.ServicerContext[Any, Any], answers: AsyncGenerator[Any, None]) -> None:
        """Writes a stream's answers as they come; a client that reads slowly slows the stream.

        One that takes no answer for long ends it. Its place is free then, while the status waits with the answer, and
        nobody waits for that.
        """
        task = self._begin()
        try:
            async with aclosing(answers):
                with Patience(self._untaken_s) as patience:
                    async for answer in answers:
                        patience.begin()
                        try:
                            await context.write(answer)
                        except asyncio.CancelledError:
                            if patience.ran_out():
                                self._end(task)
                                raise IdleError(
                                    f"no reply was taken for {self._untaken_s:g} s, {UNTAKEN_IDLES} times the limit "
                                    "idle_s; read while you send"
                                ) from None
                            raise
                        patience.end()
        except (Exception, asyncio.CancelledError) as error:
            await self._abort(context, error)
        finally:
            self._end(task)

    async def _abort(self, context: grpc.aio.ServicerContext[Any, Any], error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError):
            if not self._ended:
                raise error
            error = UnavailableError("the server shut down before the call ended", reason="DRAINING")
        await context.abort_with_status(self.status(error))

    def status(self, error: BaseException) -> grpc.Status:
        """What a failed call ends with."""
        if not isinstance(error, BusyError):
            return rpc_status.to_status(to_status(error))
        # Under overload one refusal is like another, and must cost next to nothing.
        key = (error.message, error.retry_after_s)
        status = self._refusals.get(key)
        if status is None:
            if len(self._refusals) >= REFUSALS_KEPT:
                self._refusals.clear()
            status = self._refusals[key] = rpc_status.to_status(to_status(error))
        return status
