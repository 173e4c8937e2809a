"""Patience: each wait is bounded by itself, and a client that takes no reply keeps its stream's place no longer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from auricle.config import Limits
from auricle.serve import patience
from auricle.serve.calls import UNTAKEN_IDLES, Calls
from auricle.serve.patience import Patience
from live import audio, config, failure, live_server, noise
from models import STATISTICS, waveform_bundle, write

LONGEST_S = 0.01
# Numbers in an embedding, 64 KiB: a few are more than HTTP/2 takes for a client that does not read.
WIDE = 16384


class Clock:
    """Time that passes when the test says so, and tells when it was looked at."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self._looked = asyncio.Event()

    def __call__(self) -> float:
        self._looked.set()
        return self.now_s

    async def looks(self, times: int) -> None:
        for _ in range(times):
            self._looked.clear()
            await self._looked.wait()

    monotonic = __call__


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    fake = Clock()
    monkeypatch.setattr(patience, "time", fake)
    return fake


async def test_waits_that_end_in_time_do_not_add_up_and_a_long_one_ends(clock: Clock) -> None:
    with Patience(LONGEST_S) as waits:
        for _ in range(5):
            waits.begin()
            clock.now_s += 0.9 * LONGEST_S
            await clock.looks(2)
            waits.end()
        waits.begin()
        await clock.looks(2)
        clock.now_s += LONGEST_S
        with pytest.raises(asyncio.CancelledError):
            await asyncio.Event().wait()
        assert waits.ran_out()


async def test_a_cancellation_from_elsewhere_is_not_taken_back(clock: Clock) -> None:
    async def wait() -> bool:
        with Patience(LONGEST_S) as waits:
            waits.begin()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return waits.ran_out()
            return True

    task = asyncio.create_task(wait())
    await clock.looks(2)
    task.cancel()
    assert not await task


class Reader:
    """A stream's context, whose client takes every reply or nothing, its status neither."""

    def __init__(self, *, reads: bool) -> None:
        self.taken: list[str] = []
        self.aborted = asyncio.Event()
        self._reads = reads

    async def write(self, reply: str) -> None:
        if not self._reads:
            await asyncio.Event().wait()
        self.taken.append(reply)

    async def abort_with_status(self, _: grpc.Status) -> None:
        self.aborted.set()
        await asyncio.Event().wait()


async def test_time_between_replies_is_not_the_client_s(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: asyncio.Queue[None] = asyncio.Queue()
    look = Patience._look

    def tells(self: Patience) -> None:
        look(self)
        looked.put_nowait(None)

    async def replies() -> AsyncGenerator[str, None]:
        yield "ready"
        clock.now_s += 2 * LONGEST_S
        for _ in range(2):
            await looked.get()
        yield "a late result"

    monkeypatch.setattr(Patience, "_look", tells)
    reader: Any = Reader(reads=True)
    async with asyncio.timeout(20):
        await Calls(LONGEST_S / UNTAKEN_IDLES).many(reader, replies())
    assert reader.taken == ["ready", "a late result"]


async def test_nobody_waits_for_a_client_to_take_its_status_who_took_no_reply() -> None:
    async def replies() -> AsyncGenerator[str, None]:
        yield "ready"

    calls, reader = Calls(LONGEST_S / UNTAKEN_IDLES), Reader(reads=False)
    unread = asyncio.create_task(calls.many(reader, replies()))  # type: ignore[arg-type]
    async with asyncio.timeout(20):
        await reader.aborted.wait()
        await calls.wait(3600)
    assert not unread.done()
    unread.cancel()


async def test_who_takes_no_reply_loses_the_place_and_is_told_so_once_it_reads(tmp_path: Path) -> None:
    write(
        tmp_path / "wide.onnx",
        nodes=[*STATISTICS, ("MatMul", ["statistics", "matrix"], "embedding")],
        inputs={"wave": ["batch", "samples"]},
        outputs={"embedding": ["batch", WIDE]},
        constants={"matrix": np.ones((3, WIDE), np.float32)},
        metadata=waveform_bundle(),
    )
    async with live_server(tmp_path, limits=Limits(idle_s=2 / UNTAKEN_IDLES)) as running:
        stream = running.audio.StreamEmbed()
        await stream.write(config())
        assert (await stream.read()).HasField("ready")
        await stream.write(audio(noise(5.0).tobytes()))
        async with asyncio.timeout(30):
            while running.server.admission.streams:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0)
        kinds = []

        async def read() -> None:
            while (reply := await stream.read()) is not grpc.aio.EOF:
                kinds.append(reply.WhichOneof("payload"))

        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await read()
        failed = failure(caught.value)
        assert (failed.code, failed.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "STREAM_IDLE")
        assert "no reply was taken for 2 s" in failed.message
        assert set(kinds) == {"result"}
