"""The least that a call can take in Python's gRPC: a call's parts behind a handler, on the event loop itself."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import grpc
import uvloop

from alone import make_call
from loadgen import SERVICE

__all__ = ["Pipe", "serve_bare"]


class Pipe(Protocol):
    """The end of a worker's pipe."""

    def send(self, address: str) -> None: ...

    def recv(self) -> object: ...


def serve_bare(pipe: Pipe, path: Path, core: int, method: str, files: Sequence[bytes]) -> None:
    """The process's main: sends its address, and serves until None comes.

    A call decodes the next of the files, whatever it brings, makes its features and runs the model, as ``run_alone``
    does, and is answered with the bytes of the outputs: nothing is parsed, handed to a thread or built.
    """
    os.sched_setaffinity(0, {core})
    uvloop.run(_serve(pipe, path, method, files))


async def _serve(pipe: Pipe, path: Path, method: str, files: Sequence[bytes]) -> None:
    call = make_call(path)
    calls = 0

    async def answer(request: bytes, context: Any) -> bytes:
        nonlocal calls
        calls += 1
        return b"".join(array.mean(axis=0).tobytes() for array in call(files[calls % len(files)]).values())

    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {method: grpc.unary_unary_rpc_method_handler(answer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE.strip("/"), handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    pipe.send(f"127.0.0.1:{port}")
    await asyncio.to_thread(pipe.recv)
    await server.stop(0)
