"""Where a stream's chunks come from: what a source raises, and one that never gives another."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError
from contextlib import aclosing
from queue import Queue

import grpc
import pytest

from auricle import errors
from auricle.client import AsyncClient
from auricle.client.sources import in_loop
from client_server import info, status

PATIENCE_S = 5.0


class UpstreamError(grpc.RpcError):
    """What a source raises that is fed by another server."""


class Unplugged(BaseException):
    """Not an Exception, as an exit or an interrupt is none."""


FAILURES = [UpstreamError, asyncio.InvalidStateError, Unplugged]


@pytest.mark.timeout(2 * PATIENCE_S)
@pytest.mark.parametrize("failure", [*FAILURES, ZeroDivisionError, CancelledError])
def test_what_the_chunks_raise_ends_the_stream_and_is_raised(client, failure):
    def chunks():
        yield bytes(100)
        raise failure("the microphone broke")

    with pytest.raises(failure, match="microphone"):
        client.events("stream_embed", chunks(), sample_rate_hz=8000)


@pytest.mark.parametrize("failure", [*FAILURES, asyncio.CancelledError])
async def test_what_async_chunks_raise_ends_the_stream_and_is_raised(port, failure):
    async def chunks():
        yield bytes(100)
        raise failure("the microphone broke")

    async with AsyncClient(f"127.0.0.1:{port}") as client, asyncio.timeout(PATIENCE_S):
        with pytest.raises(failure, match="microphone"):
            _ = [event async for event in client.stream_embed(chunks(), sample_rate_hz=8000)]


def test_none_is_no_chunk_and_no_end(client):
    with pytest.raises(errors.OptionError, match="a chunk is a NoneType"):
        client.events("stream_embed", [bytes(100), None, bytes(100)], sample_rate_hz=8000)


@pytest.mark.timeout(2 * PATIENCE_S)
def test_a_source_that_blocks_keeps_nothing_from_ending(client, toy):
    toy.failures.append(status(grpc.StatusCode.NOT_FOUND, "no model", info("MODEL_NOT_FOUND")))
    silent = Queue()
    with pytest.raises(errors.NotFoundError):
        client.events("stream_embed", iter(silent.get, None), sample_rate_hz=8000)
    silent.put(None)


async def test_a_source_is_read_in_order_and_a_little_ahead_of_who_asks():
    given, taken = [], []

    def source():
        for number in range(1000):
            given.append(number)
            yield number
        raise ZeroDivisionError("the microphone broke")

    async def take():
        async for number in in_loop(source()):
            taken.append(number)
            assert len(given) <= len(taken) + 2

    with pytest.raises(ZeroDivisionError, match="microphone"):
        await take()
    assert taken == list(range(1000))


async def test_a_source_is_left_where_the_stream_ends():
    left = threading.Event()

    def source():
        try:
            while True:
                yield bytes(100)
        finally:
            left.set()

    async with aclosing(in_loop(source())) as chunks:
        assert await anext(chunks) == bytes(100)
    assert await asyncio.to_thread(left.wait, PATIENCE_S)
