"""A lone caller: calls one after another over bare HTTP/2, so that hardly any of their time is the caller's own."""

from __future__ import annotations

import os
import select
import time
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait

from loadgen import SERVICE, TIMEOUT_S, Burst, Load
from wire import Connection, framed

__all__ = ["call_alone"]


def call_alone(pipe: Pipe, address: str, core: int) -> None:
    """The process's main: a Burst for each Load of one caller that comes through the pipe, until None comes."""
    os.sched_setaffinity(0, {core})
    host, _, port = address.partition(":")
    replies: list[bytes] = []
    ends: list[bytes] = []
    connection = Connection(
        (host, int(port)),
        on_message=lambda _, message: replies.append(message),
        on_end=lambda _, why: ends.append(why),
    )
    while (load := _next(pipe, connection)) is not None:
        pipe.send(_run(load, connection, replies, ends))


def _next(pipe: Pipe, connection: Connection) -> Load | None:
    """What comes through the pipe. Until then the server is answered, which closes a connection that says nothing."""
    while not pipe.poll():
        if connection.socket in wait([pipe, connection.socket]):
            connection.receive()
    load: Load | None = pipe.recv()
    return load


def _run(load: Load, connection: Connection, replies: list[bytes], ends: list[bytes]) -> Burst:
    latencies_s: list[float] = []
    found: list[tuple[int, bytes]] = []
    begun_s, cpu_s = time.monotonic(), time.process_time()
    for call in range(load.calls):
        which = call % len(load.requests)
        replies.clear()
        ends.clear()
        sent = time.monotonic()
        stream = connection.open(f"{SERVICE}/{load.method}")
        connection.send(stream, framed(load.requests[which]), last=True)
        while not ends:
            writes = [connection.socket] if connection.blocked else []
            if not any(select.select([connection.socket], writes, [], TIMEOUT_S)):
                raise TimeoutError(f"no answer within {TIMEOUT_S:g} s")
            connection.flush()
            connection.receive()
        latencies_s.append(time.monotonic() - sent)
        if not replies:
            raise RuntimeError(f"the call failed: {ends[0].decode() or 'its status has no message'}")
        found.append((which, replies[0]))
    return Burst(
        begun_s=begun_s,
        ended_s=time.monotonic(),
        latencies_s=latencies_s,
        cpu_s=time.process_time() - cpu_s,
        replies=found,
    )
