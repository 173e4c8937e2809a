"""The client's connections: absent servers, threads, cancelling, closing and TLS."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass

import grpc
import numpy as np
import pytest

from auricle import errors
from auricle.client import AsyncClient, Client, Pcm, Ready, RetryPolicy, SegmentResult, sync
from auricle.client.transport import grpc_calls
from client_server import RATE_HZ, SEGMENT, Toy, info, serving, status

SOUND = Pcm(np.arange(SEGMENT, dtype=np.int16), RATE_HZ)
NOBODY = "127.0.0.1:1"
PATIENCE_S = 5.0


class Watched(Toy):
    """Notes when a stream's call has ended, however it did."""

    def __init__(self):
        super().__init__()
        self.ended = threading.Event()

    def StreamEmbed(self, requests, context):  # noqa: N802
        context.add_callback(self.ended.set)
        yield from super().StreamEmbed(requests, context)


class Held(Toy):
    """Answers a unary call once it is let go."""

    def __init__(self):
        super().__init__()
        self.begun, self.let_go = threading.Event(), threading.Event()

    def Embed(self, request, context):  # noqa: N802
        self.begun.set()
        self.let_go.wait(PATIENCE_S)
        return super().Embed(request, context)


@dataclass(frozen=True, kw_only=True)
class Between(RetryPolicy):
    """Has something done between two attempts."""

    act: Callable[[], object]

    def delay_s(self, error, attempt, chance=None):
        self.act()
        return 0.0


def endless():
    while True:
        yield bytes(SEGMENT)


async def endless_async():
    while True:
        yield bytes(SEGMENT)
        await asyncio.sleep(0)


def test_nobody_at_the_address_is_unavailable_with_a_hint():
    policy = RetryPolicy(attempts=2, first_delay_s=0.001)
    with (
        Client(NOBODY, retry=policy) as client,
        pytest.raises(errors.UnavailableError, match="auricle serve") as caught,
    ):
        client.embed(SOUND)
    assert NOBODY in caught.value.message
    with Client(NOBODY) as client, pytest.raises(errors.UnavailableError):
        list(client.stream_embed([b""], sample_rate_hz=8000))


def test_a_server_that_is_slow_to_answer_the_connection_is_waited_for():
    # It accepts and says nothing, for longer than a handshake takes over any line.
    with (
        socket.create_server(("127.0.0.1", 0)) as mute,
        Client(f"127.0.0.1:{mute.getsockname()[1]}") as client,
        pytest.raises(errors.DeadlineError),
    ):
        list(client.stream_embed([b""], sample_rate_hz=8000, timeout_s=0.5))


def test_nothing_is_sent_before_the_first_call():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with Client(address):
            pass
        asyncio.run(AsyncClient(address).close())
        server.setblocking(False)
        with pytest.raises(BlockingIOError):  # nobody is at the door
            server.accept()


def test_many_threads_share_one_client():
    with serving(Toy()) as port, Client(f"127.0.0.1:{port}") as client, ThreadPoolExecutor(8) as pool:
        vectors = list(pool.map(lambda _: client.embed(SOUND).vector, range(40)))
    assert len(vectors) == 40
    assert all(np.array_equal(vector, vectors[0]) for vector in vectors)


def test_a_closed_client_says_so():
    with serving(Toy()) as port:
        client = Client(f"127.0.0.1:{port}")
        client.embed(SOUND)
        client.close()
        client.close()
        with pytest.raises(errors.UnavailableError, match="closed"):
            client.embed(SOUND)


def test_a_client_that_is_closed_between_two_attempts_says_so():
    client = Client(NOBODY, retry=Between(act=lambda: client.close()))
    with pytest.raises(errors.UnavailableError, match="closed"):
        client.embed(SOUND)


async def test_an_async_client_that_is_closed_between_two_attempts_says_so():
    closing = []
    client = AsyncClient(NOBODY, retry=Between(act=lambda: closing.append(asyncio.ensure_future(client.close()))))
    with pytest.raises(errors.UnavailableError, match="closed"):
        await client.embed(SOUND)
    await asyncio.gather(*closing)


@pytest.mark.parametrize("method", ["embed", "stream_embed"])
def test_a_client_that_is_closed_just_before_the_call_says_so(monkeypatch, method):
    client = Client(NOBODY)

    def closing_first(call):
        def invoke(sent, timeout):
            client.close()
            return call(sent, timeout=timeout)

        return invoke

    monkeypatch.setattr(
        sync, "grpc_calls", lambda channel: {name: closing_first(call) for name, call in grpc_calls(channel).items()}
    )
    with pytest.raises(errors.UnavailableError, match="closed"):
        list(getattr(client, method)(SOUND))


def test_closing_a_client_ends_a_call_in_flight():
    held = Held()
    with serving(held) as port, ThreadPoolExecutor(1) as pool:
        client = Client(f"127.0.0.1:{port}")
        call = pool.submit(client.embed, SOUND)
        assert held.begun.wait(PATIENCE_S)
        client.close()
        with pytest.raises(errors.CancelledError):
            call.result(PATIENCE_S)
        held.let_go.set()


async def test_closing_an_async_client_ends_a_call_in_flight_and_cancels_no_task():
    held = Held()
    with serving(held) as port:
        client = AsyncClient(f"127.0.0.1:{port}")
        call = asyncio.create_task(client.embed(SOUND))
        assert await asyncio.to_thread(held.begun.wait, PATIENCE_S)
        await client.close()
        with pytest.raises(errors.CancelledError, match="closed before"):
            await call
        assert not call.cancelled()
        held.let_go.set()


@pytest.mark.parametrize("reading", [True, False])
async def test_closing_an_async_client_ends_a_stream_and_cancels_no_task(reading):
    begun, closed = asyncio.Event(), asyncio.Event()

    async def silent():
        yield bytes(100)
        await closed.wait()

    async def listen(client):
        async for _ in client.stream_embed(silent(), sample_rate_hz=8000):
            begun.set()
            if not reading:
                await closed.wait()

    with serving(Toy()) as port:
        client = AsyncClient(f"127.0.0.1:{port}")
        task = asyncio.create_task(listen(client))
        await begun.wait()
        await client.close()
        closed.set()
        with pytest.raises(errors.CancelledError):
            await task
        assert not task.cancelled()


def test_closing_a_stream_early_cancels_it_on_the_server():
    toy = Watched()
    with serving(toy) as port, Client(f"127.0.0.1:{port}") as client:
        events = client.stream_embed(endless(), sample_rate_hz=8000)
        assert isinstance(next(events), Ready)
        assert isinstance(next(events), SegmentResult)
        events.close()
        assert toy.ended.wait(PATIENCE_S)
        # The connection lives on.
        assert client.embed(SOUND).model == "toy"


@pytest.mark.parametrize("chunks", [endless, endless_async])
async def test_closing_an_async_stream_early_cancels_it_on_the_server(chunks):
    toy = Watched()
    with serving(toy) as port:
        async with AsyncClient(f"127.0.0.1:{port}") as client:
            async with aclosing(client.stream_embed(chunks(), sample_rate_hz=8000)) as events:
                async for event in events:
                    if isinstance(event, SegmentResult):
                        break
            assert await asyncio.to_thread(toy.ended.wait, PATIENCE_S)
            assert (await client.embed(SOUND)).model == "toy"


async def test_cancelling_the_task_cancels_the_stream_on_the_server():
    toy, begun = Watched(), asyncio.Event()

    async def listen(client):
        async for event in client.stream_embed(endless_async(), sample_rate_hz=8000):
            if isinstance(event, SegmentResult):
                begun.set()

    with serving(toy) as port:
        async with AsyncClient(f"127.0.0.1:{port}") as client:
            task = asyncio.create_task(listen(client))
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(toy.ended.wait, PATIENCE_S)


async def test_async_chunks_are_streamed():
    async def chunks():
        for _ in range(4):
            await asyncio.sleep(0)
            yield bytes(SEGMENT)

    with serving(Toy()) as port:
        async with AsyncClient(f"127.0.0.1:{port}") as client:
            events = [event async for event in client.stream_embed(chunks(), sample_rate_hz=8000)]
    assert sum(isinstance(event, SegmentResult) for event in events) == 2


async def test_many_async_calls_run_at_once():
    with serving(Toy()) as port:
        async with AsyncClient(f"127.0.0.1:{port}") as client:
            results = await asyncio.gather(*(client.embed(SOUND) for _ in range(40)))
    assert len(results) == 40


async def test_the_servers_word_survives_writes_that_fail_after_it():
    # A write on a call that the server has ended would put INTERNAL over what the server said.
    toy = Toy()
    with serving(toy) as port:
        async with AsyncClient(f"127.0.0.1:{port}") as client:
            for _ in range(50):
                toy.failures.append(status(grpc.StatusCode.NOT_FOUND, "no model", info("MODEL_NOT_FOUND")))
                with pytest.raises(errors.NotFoundError, match="no model"):
                    _ = [e async for e in client.stream_embed([bytes(100)] * 20, sample_rate_hz=8000)]


def test_an_async_iterable_needs_the_async_client():
    with Client(NOBODY) as client, pytest.raises(errors.OptionError, match="AsyncClient"):
        list(client.stream_embed(endless_async(), sample_rate_hz=8000))


def test_a_transport_takes_the_servers_place():
    class Here(Toy):
        def _enter(self, method, context):
            if self.failures:
                raise errors.BusyError("full", retry_after_s=self.failures.popleft())

        def Embed(self, request, timeout=None):  # noqa: N802
            assert 0 < timeout <= 60
            return super().Embed(request, None)

        def StreamEmbed(self, requests, timeout=None):  # noqa: N802
            return super().StreamEmbed(requests, None)

    here = Here()
    here.failures.append(0.001)
    with Client(transport=here) as client:
        assert client.embed(SOUND).vector.shape == (2,)
        assert len(list(client.stream_embed(SOUND))) == 3
        here.failures.append(0.001)
        with pytest.raises(errors.BusyError):
            list(client.stream_embed(SOUND))
        with pytest.raises(errors.UnavailableError, match="has no Check"):
            client.health()
