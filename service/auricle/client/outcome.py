"""The status that a server gave a stream, kept from being overwritten."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import grpc
import grpc.aio

__all__ = ["Outcome"]

_OVERWRITTEN = "Internal error from Core"
_PATIENCE_S = 1.0


class Outcome:
    """Watches one grpc.aio call.

    A write that fails because the server has ended the call sets the status to INTERNAL, over what the server said,
    or before that arrives (grpc/grpc issue 36066). So the server's word is taken down as it comes.
    """

    def __init__(self, call: Any) -> None:
        self._told = asyncio.Event()
        self._error: grpc.aio.AioRpcError | None = None
        call.add_done_callback(self._take_down)

    async def of(self, failure: grpc.RpcError) -> grpc.RpcError:
        """Gives what the server said where ``failure`` hides it, else ``failure`` itself."""
        if not isinstance(failure, grpc.aio.AioRpcError) or failure.details() != _OVERWRITTEN:
            return failure
        try:
            await asyncio.wait_for(self._told.wait(), _PATIENCE_S)
        except TimeoutError:
            return failure
        return self._error or failure

    def _take_down(self, call: Any) -> None:
        error = _now(_status(call))
        if self._error is None and error.details() != _OVERWRITTEN:
            self._error = error
            self._told.set()


async def _status(call: Any) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(
        await call.code(), grpc.aio.Metadata(), await call.trailing_metadata(), await call.details()
    )


def _now(ready: Coroutine[Any, Any, grpc.aio.AioRpcError]) -> grpc.aio.AioRpcError:
    """Runs what has nothing to wait for: by the loop's next turn the status may be another."""
    try:
        ready.send(None)
    except StopIteration as done:
        result: grpc.aio.AioRpcError = done.value
        return result
    ready.close()
    raise RuntimeError("a call that is done has no status")
