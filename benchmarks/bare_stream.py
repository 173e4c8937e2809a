"""A streaming server that does nothing with what comes: what gRPC alone takes from a core for a crowd's chunks."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection
from multiprocessing.connection import Connection
from typing import Any

__all__ = ["serve_nothing"]

SERVICE, METHOD = "auricle.v1.AudioService", "StreamEmbed"
# StreamEmbedResponse's members in wire form, as far as a crowd looks at them: tag, length.
READY, SUMMARY = b"\x0a\x00", b"\x1a\x00"
RESULT = b"\x12"


def serve_nothing(pipe: Connection, cores: Collection[int], due: tuple[float, float], reply_bytes: int) -> None:
    """The process's main: sends its address and pid, and answers the chunks of ``Crowd.due`` with so many bytes."""
    import grpc
    import uvloop

    first, each = due
    result = RESULT + bytes(reply_bytes)

    async def stream(_: Any, context: Any) -> None:
        await context.read()
        await context.write(READY)
        chunk, results = 0, 0
        while await context.read() is not grpc.aio.EOF:
            if chunk >= first + results * each:
                results += 1
                await context.write(result)
            chunk += 1
        await context.write(SUMMARY)

    async def serve() -> None:
        server = grpc.aio.server(options=[("grpc.http2.bdp_probe", 0)])  # as auricle's
        handler: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(stream)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        pipe.send((f"127.0.0.1:{port}", os.getpid()))
        await asyncio.to_thread(pipe.recv)
        await server.stop(0)

    os.sched_setaffinity(0, cores)
    uvloop.run(serve())
