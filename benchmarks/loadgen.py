"""A load generator in a process of its own: closed-loop callers over gRPC or HTTP, one connection each."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import cast

import grpc
import uvloop

__all__ = ["Burst", "Load", "generate"]

SERVICE = "/auricle.v1.AudioService"
TIMEOUT_S = 60.0
OPTIONS = [
    # A connection for each caller, as callers on many machines would have.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", -1),
]

Call = Callable[[bytes], Awaitable[bytes]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """What to send: every caller sends ``calls`` requests one after another, each its own way round the list.

    ``method`` is AudioService's.
    """

    method: str
    requests: Sequence[bytes]
    callers: int
    calls: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Burst:
    """What came of a Load. Times are on the system's monotonic clock, ``cpu_s`` is the generator's own.

    ``replies`` holds, of each call, which request it was and the reply in wire form.
    """

    begun_s: float
    ended_s: float
    latencies_s: list[float]
    cpu_s: float
    replies: list[tuple[int, bytes]]


def generate(pipe: Connection, address: str, core: int) -> None:
    """The process's main: a Burst for each Load that comes through the pipe, until None comes."""
    os.sched_setaffinity(0, {core})
    uvloop.run(_serve(pipe, address))


async def _serve(pipe: Connection, address: str) -> None:
    if address.startswith("http://"):
        return await _serve_http(pipe, address.removeprefix("http://"))
    channels: list[grpc.aio.Channel] = []
    try:
        while (load := await asyncio.to_thread(pipe.recv)) is not None:
            while len(channels) < load.callers:
                channels.append(grpc.aio.insecure_channel(address, OPTIONS))
                await channels[-1].channel_ready()
            # Bytes in, bytes out: the generator's core is for callers, not for protobuf.
            path = f"{SERVICE}/{load.method}"
            calls = [cast(Call, channel.unary_unary(path)) for channel in channels[: load.callers]]
            pipe.send(await _run(load, calls))
    finally:
        await asyncio.gather(*(channel.close() for channel in channels))


async def _serve_http(pipe: Connection, address: str) -> None:
    while (load := await asyncio.to_thread(pipe.recv)) is not None:
        # Servers close connections that were idle between two loads.
        calls, writers = [], []
        for _ in range(load.callers):
            embed, writer = await _http_caller(address)
            calls.append(embed)
            writers.append(writer)
        pipe.send(await _run(load, calls))
        for writer in writers:
            writer.close()


async def _http_caller(address: str) -> tuple[Call, asyncio.StreamWriter]:
    """POST /predict over a connection that stays open."""
    host, _, port = address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))

    async def embed(body: bytes) -> bytes:
        head = f"POST /predict HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n"
        writer.write(head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        status, _, fields = answer.partition(b"\r\n")
        if b" 200 " not in status:
            raise RuntimeError(f"the peer said {status.decode(errors='replace')}")
        lengths = [line for line in fields.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        return await reader.readexactly(int(lengths[0].partition(b":")[2]))

    return embed, writer


async def _run(load: Load, calls: Sequence[Call]) -> Burst:
    latencies_s: list[float] = []
    replies: list[tuple[int, bytes]] = []

    async def caller(number: int, embed: Call) -> None:
        for call in range(load.calls):
            which = (number + call) % len(load.requests)
            sent = time.monotonic()
            reply = await asyncio.wait_for(embed(load.requests[which]), TIMEOUT_S)
            latencies_s.append(time.monotonic() - sent)
            replies.append((which, reply))

    begun_s, cpu_s = time.monotonic(), time.process_time()
    await asyncio.gather(*(caller(number, embed) for number, embed in enumerate(calls)))
    return Burst(
        begun_s=begun_s,
        ended_s=time.monotonic(),
        latencies_s=latencies_s,
        cpu_s=time.process_time() - cpu_s,
        replies=replies,
    )
