"""More callers than a server can serve, in a process of its own: they come back when they are told to, or never."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import grpc
import uvloop
from google.rpc import error_details_pb2, status_pb2

__all__ = ["Crush", "Pressure", "press"]

METHOD = "/auricle.v1.AudioService/Embed"
CONNECTIONS = 32
TIMEOUT_S = 60.0
JITTER = 0.25
DETAILS = "grpc-status-details-bin"


@dataclass(frozen=True, kw_only=True, slots=True)
class Pressure:
    """What to send for ``seconds``: closed loops of ``callers``, or an open one of ``rate_hz`` arrivals a second.

    A closed loop's caller that is refused waits as RetryInfo says, and up to a quarter more. ``lead_s`` is not counted.
    """

    requests: Sequence[bytes]
    seconds: float
    callers: int = 0
    rate_hz: float = 0.0
    lead_s: float = 1.0


@dataclass(kw_only=True, slots=True)
class Crush:
    """What came of a Pressure, counted over ``wall_s``. ``failed`` are calls that were neither answered nor refused."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    answered_s: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    retry_s: list[float] = field(default_factory=list)
    failed: int = 0
    unadvised: int = 0

    @property
    def goodput(self) -> float:
        """Answers a second."""
        return len(self.answered_s) / self.wall_s

    @property
    def refusals(self) -> float:
        """Refusals a second."""
        return len(self.refused_s) / self.wall_s


def press(pipe: Connection, address: str, core: int) -> None:
    """The process's main: a Crush for each Pressure that comes through the pipe, until None comes."""
    os.sched_setaffinity(0, {core})
    uvloop.run(_serve(pipe, address))


async def _serve(pipe: Connection, address: str) -> None:
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
    channels = [grpc.aio.insecure_channel(address, options) for _ in range(CONNECTIONS)]
    calls: list[Any] = [channel.unary_unary(METHOD) for channel in channels]
    try:
        await asyncio.gather(*(channel.channel_ready() for channel in channels))
        while (pressure := await asyncio.to_thread(pipe.recv)) is not None:
            pipe.send(await _Press(pressure, calls).run())
    finally:
        await asyncio.gather(*(channel.close() for channel in channels))


class _Press:
    def __init__(self, pressure: Pressure, calls: Sequence[Any]) -> None:
        self._pressure = pressure
        self._calls = calls
        self._found = Crush()
        self._begin_s = time.monotonic() + pressure.lead_s
        self._end_s = self._begin_s + pressure.seconds

    async def run(self) -> Crush:
        pressure, found = self._pressure, self._found
        work = self._open_loop() if pressure.rate_hz else self._closed_loops()
        task = asyncio.create_task(work)
        await asyncio.sleep(pressure.lead_s)
        cpu, begun = time.process_time(), time.monotonic()
        await asyncio.sleep(pressure.seconds)
        found.cpu_s, found.wall_s = time.process_time() - cpu, time.monotonic() - begun
        await task
        return found

    async def _closed_loops(self) -> None:
        async def caller(number: int) -> None:
            chance = random.Random(number)
            turn = number
            while time.monotonic() < self._end_s:
                delay_s = await self._call(turn)
                turn += 1
                if delay_s:
                    left_s = self._end_s - time.monotonic()
                    await asyncio.sleep(min(delay_s * (1.0 + JITTER * chance.random()), max(left_s, 0.0)))

        await asyncio.gather(*(caller(number) for number in range(self._pressure.callers)))

    async def _open_loop(self) -> None:
        chance = random.Random(0)
        due, tasks, turn = time.monotonic(), set[asyncio.Task[float]](), 0
        while due < self._end_s:
            due += chance.expovariate(self._pressure.rate_hz)
            if (wait_s := due - time.monotonic()) > 0:
                await asyncio.sleep(wait_s)
            task = asyncio.create_task(self._call(turn))
            turn += 1
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)

    async def _call(self, turn: int) -> float:
        """One call; gives the seconds to stay away."""
        found, requests = self._found, self._pressure.requests
        sent = time.monotonic()
        try:
            await self._calls[turn % len(self._calls)](requests[turn % len(requests)], timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            took_s, counts = self._took(sent)
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                found.failed += counts
                return 0.1
            delay_s = _retry_s(error)
            if counts:
                found.refused_s.append(took_s)
                found.retry_s.append(delay_s)
                found.unadvised += not delay_s
            return delay_s or 1.0
        took_s, counts = self._took(sent)
        if counts:
            found.answered_s.append(took_s)
        return 0.0

    def _took(self, sent: float) -> tuple[float, bool]:
        now = time.monotonic()
        return now - sent, self._begin_s <= now <= self._end_s


def _retry_s(error: grpc.aio.AioRpcError) -> float:
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS:
            for packed in status_pb2.Status.FromString(value).details:
                retry = error_details_pb2.RetryInfo()
                if packed.Unpack(retry):
                    return float(retry.retry_delay.ToNanoseconds() / 1e9)
    return 0.0
