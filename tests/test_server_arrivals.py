"""Arrivals: a call whose message does not come ends, and many such calls keep nobody out."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from auricle.config import Limits
from auricle.errors import AuricleError
from auricle.serve.arrivals import MESSAGE_IDLES, Arrivals
from auricle.v1 import auricle_pb2 as pb
from live import failure, live_server, noise, pcm
from models import write_embedder

LONG_S = 3600.0
METHODS = ("AudioService/Embed", "AudioService/Classify", "ModelService/ListModels", "ModelService/GetModel")


class Upload:
    """A call's context whose message comes when the test says so."""

    def __init__(self) -> None:
        self.came: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def read(self) -> Any:
        return await self.came


def begin(arrivals: Arrivals, client: str = "10.0.0.1") -> tuple[Upload, asyncio.Task[bytes | AuricleError]]:
    upload = Upload()
    return upload, asyncio.create_task(arrivals.message(upload, client))


async def settle() -> None:
    """Lets every task go on as far as it can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_message_that_does_not_come_ends_its_call_and_no_other() -> None:
    arrivals = Arrivals(0.02 / MESSAGE_IDLES)
    upload, quick = begin(arrivals)
    _, silent = begin(arrivals)
    upload.came.set_result(b"sound")
    assert await quick == b"sound"
    ended = await asyncio.wait_for(silent, 10.0)
    assert isinstance(ended, AuricleError)
    assert (ended.code, ended.reason) == ("DEADLINE_EXCEEDED", "STREAM_IDLE")
    assert "within 0.02 s" in ended.message
    # The timer is set anew for whoever comes later.
    _, later = begin(arrivals)
    assert isinstance(await asyncio.wait_for(later, 10.0), AuricleError)
    assert arrivals.waiting == 0


async def test_one_call_more_than_may_wait_ends_the_one_that_has_waited_longest() -> None:
    arrivals = Arrivals(LONG_S, most=2)
    calls = [begin(arrivals) for _ in range(4)]
    await settle()
    assert [call.done() for _, call in calls] == [True, True, False, False]
    ended = await calls[0][1]
    assert isinstance(ended, AuricleError)
    assert (ended.code, ended.reason, ended.retry_after_s) == ("RESOURCE_EXHAUSTED", "TOO_MANY_CALLS", 1.0)
    for upload, call in calls[2:]:
        upload.came.set_result(b"sound")
        assert await call == b"sound"
    assert arrivals.waiting == 0


async def test_a_client_with_many_silent_calls_ends_its_own_and_nobody_s_slow_upload() -> None:
    arrivals = Arrivals(LONG_S, most=3)
    slow, upload = begin(arrivals, "10.0.0.2")
    silent = [begin(arrivals)[1] for _ in range(5)]
    _, newcomer = begin(arrivals, "10.0.0.3")
    await settle()
    assert [call.done() for call in silent] == [True, True, True, True, False]
    ended = await silent[0]
    assert isinstance(ended, AuricleError)
    assert "3 of them from client 10.0.0.1" in ended.message
    assert "open fewer calls before their messages" in ended.message
    slow.came.set_result(b"sound")
    assert await upload == b"sound"
    assert not newcomer.done()
    for call in (silent[-1], newcomer):
        call.cancel()


async def test_who_is_cancelled_leaves_nothing_behind() -> None:
    arrivals = Arrivals(LONG_S, most=1)
    _, gone = begin(arrivals)
    await settle()
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert arrivals.waiting == 0
    # Cancelled while it is being ended, it stays cancelled.
    _, first = begin(arrivals)
    await settle()
    _, second = begin(arrivals)
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    second.cancel()


async def test_without_an_idle_time_out_a_message_may_take_for_ever() -> None:
    arrivals = Arrivals(None)
    upload, call = begin(arrivals)
    await settle()
    assert arrivals._alarm is None
    upload.came.set_result(b"sound")
    assert await call == b"sound"


@pytest.mark.parametrize("method", METHODS)
async def test_a_call_that_sends_nothing_is_ended_over_the_wire_and_others_are_answered(
    tmp_path: Path, method: str
) -> None:
    write_embedder(tmp_path / "tiny.onnx")
    async with live_server(tmp_path, limits=Limits(idle_s=1 / MESSAGE_IDLES)) as running:
        silent = running.channel.stream_unary(f"/auricle.v1.{method}")()
        await silent.wait_for_connection()
        assert (await running.audio.Embed(pb.EmbedRequest(audio=pcm(noise(1.0))))).usage.segments == 2
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asyncio.wait_for(silent, 10.0)
        failed = failure(caught.value)
        assert (failed.code, failed.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "STREAM_IDLE")
        assert "did not come whole within 1 s" in failed.message
        assert (await running.audio.Embed(pb.EmbedRequest(audio=pcm(noise(1.0))))).usage.segments == 2


async def test_silent_calls_of_all_methods_are_counted_together_by_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auricle.serve.grpc.Arrivals", partial(Arrivals, most=len(METHODS) - 1))
    async with live_server(tmp_path) as running:
        calls = [running.channel.stream_unary(f"/auricle.v1.{method}")() for method in METHODS]
        silent = [asyncio.ensure_future(call) for call in calls]
        # Those of one connection that begin together come in any order.
        (ended,), left = await asyncio.wait(silent, timeout=10.0, return_when=asyncio.FIRST_COMPLETED)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ended
        failed = failure(caught.value)
        assert (failed.code, failed.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS")
        assert f"{len(METHODS)} of them from client 127.0.0.1," in failed.message
        assert len(left) == len(METHODS) - 1
        for call in calls:
            call.cancel()
        await asyncio.wait(left)
