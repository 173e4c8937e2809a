"""The client for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing, closing
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import grpc
import grpc.aio

from auricle.client import flows, replies
from auricle.client.audio import AudioInput, Chunk, UnaryLimits
from auricle.client.failures import from_rpc_error
from auricle.client.flows import Collect, Flow, Step, StreamCall, Unary
from auricle.client.options import ClassifyOptions, EmbedOptions, Encoding
from auricle.client.outcome import Outcome
from auricle.client.results import ClassifyResult, EmbedResult, ModelInfo, StreamEvent
from auricle.client.retries import RetryPolicy, TimeLimit, finite_s
from auricle.client.sources import in_loop
from auricle.client.streams import AnyChunks, open_chunks
from auricle.client.transport import CHANNEL_OPTIONS, TlsOptions, check_target, grpc_calls
from auricle.errors import AuricleError, CancelledError, UnavailableError

__all__ = ["AsyncClient"]

T = TypeVar("T")


class AsyncClient:
    """`Client` for asyncio: the same names, arguments and errors, to be awaited. Belongs to one event loop.

    Files are read and decoded in threads, so that nothing here blocks the loop. Cancelling a task cancels its
    call on the server too.
    """

    def __init__(
        self,
        target: str = "127.0.0.1:50051",
        *,
        tls: TlsOptions | None = None,
        timeout_s: float | None = 60.0,
        retry: RetryPolicy | None = RetryPolicy(),  # noqa: B008 - frozen, so shared without harm
        limits: UnaryLimits = UnaryLimits(),  # noqa: B008
    ) -> None:
        self._target = check_target(target)
        self._tls = tls
        self._timeout_s = timeout_s
        self._retry = retry
        self._limits = limits
        self._channel: grpc.aio.Channel | None = None
        self._calls: Mapping[str, Callable[..., Any]] | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the connection and the calls on it. Once is enough, again does no harm."""
        self._closed = True
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    async def embed(
        self,
        audio: AudioInput,
        *,
        model: str | None = None,
        version: str | None = None,
        timeout_s: float | None = None,
        **wanted: Unpack[EmbedOptions],
    ) -> EmbedResult:
        """Embeds one clip; see `Client.embed`."""
        return await self._run(flows.embed(audio, model, version, wanted, self._limits), timeout_s)

    async def classify(
        self,
        audio: AudioInput,
        *,
        model: str | None = None,
        version: str | None = None,
        timeout_s: float | None = None,
        **wanted: Unpack[ClassifyOptions],
    ) -> ClassifyResult:
        """Classifies one clip; see `Client.classify`."""
        return await self._run(flows.classify(audio, model, version, wanted, self._limits), timeout_s)

    async def stream_embed(
        self,
        chunks: AnyChunks,
        *,
        sample_rate_hz: int | None = None,
        channels: int | None = None,
        encoding: Encoding | None = None,
        model: str | None = None,
        version: str | None = None,
        timeout_s: float | None = None,
        **wanted: Unpack[EmbedOptions],
    ) -> AsyncGenerator[StreamEvent]:
        """Embeds sound as it comes; see `Client.stream_embed`. Chunks may be an async iterable too.

        To stop early, close the generator (``contextlib.aclosing``) or cancel the task.
        """
        wire, opened = await asyncio.to_thread(open_chunks, chunks, sample_rate_hz, channels, encoding)
        call = flows.stream_embed(wire, model, version, wanted)
        async with aclosing(self._events(call, opened, timeout_s)) as events:
            async for event in events:
                yield event

    async def stream_classify(
        self,
        chunks: AnyChunks,
        *,
        sample_rate_hz: int | None = None,
        channels: int | None = None,
        encoding: Encoding | None = None,
        model: str | None = None,
        version: str | None = None,
        timeout_s: float | None = None,
        **wanted: Unpack[ClassifyOptions],
    ) -> AsyncGenerator[StreamEvent]:
        """Classifies sound as it comes; see `stream_embed`."""
        wire, opened = await asyncio.to_thread(open_chunks, chunks, sample_rate_hz, channels, encoding)
        call = flows.stream_classify(wire, model, version, wanted)
        async with aclosing(self._events(call, opened, timeout_s)) as events:
            async for event in events:
                yield event

    async def models(self, kind: str | None = None, *, timeout_s: float | None = None) -> tuple[ModelInfo, ...]:
        """Lists what is served; see `Client.models`."""
        return await self._run(flows.models(kind), timeout_s)

    async def model(self, name: str, version: str | None = None, *, timeout_s: float | None = None) -> ModelInfo:
        """Gives one model in full, labels included. Raises NotFoundError."""
        return await self._run(flows.model(name, version), timeout_s)

    async def health(self, service: str = "", *, timeout_s: float | None = None) -> str:
        """Gives the health status; see `Client.health`."""
        return await self._run(flows.health(service), timeout_s)

    async def _run(self, flow: Flow[T], timeout_s: float | None) -> T:
        limit = TimeLimit(self._timeout_s if timeout_s is None else timeout_s, streams=timeout_s is not None)
        with closing(flow):
            try:
                step = next(flow)
                while True:
                    try:
                        answer = await self._perform(step, limit)
                    except AuricleError as error:
                        step = flow.throw(error)
                    else:
                        step = flow.send(answer)
            except StopIteration as done:
                result: T = done.value
                return result

    async def _perform(self, step: Step, limit: TimeLimit) -> object:
        if isinstance(step, Unary):
            return await self._unary(step, limit)
        if isinstance(step, Collect):
            async with aclosing(self._events(step.call, step.chunks, limit.stream_left_s)) as events:
                async for event in events:
                    if step.sink(event):
                        break
            return None
        return await asyncio.to_thread(step.run)

    async def _unary(self, step: Unary, limit: TimeLimit) -> object:
        attempt = 1
        while True:
            # Looked up each time: the client may have been closed in the pause.
            call = self._call(step.method)
            try:
                return await call(step.request, timeout=limit.left_s)
            except asyncio.CancelledError:
                self._check_cancelled()
                raise
            except grpc.RpcError as failure:
                error, cause = from_rpc_error(failure, target=self._target, timeout_s=limit.limit_s), failure
            delay_s = self._retry.delay_s(error, attempt) if self._retry else None
            if delay_s is None or not limit.allows(delay_s):
                raise error from cause
            await asyncio.sleep(delay_s)
            attempt += 1

    async def _events(
        self, call: StreamCall, chunks: Iterable[Chunk] | AsyncIterable[Chunk], timeout_s: float | None
    ) -> AsyncGenerator[StreamEvent]:
        limit_s = finite_s(timeout_s)
        replying = self._call(call.method)(timeout=limit_s)
        outcome = Outcome(replying)
        own_failure: list[BaseException] = []

        async def ended(step: Awaitable[None]) -> bool:
            try:
                await step
            except (grpc.RpcError, asyncio.InvalidStateError, asyncio.CancelledError):
                # The call has ended; the reader below learns why.
                return True
            return False

        async def send() -> None:
            try:
                async with aclosing(in_loop(chunks)) as source:
                    if await ended(replying.write(call.first())):
                        return
                    async for chunk in source:
                        for message in call.following(chunk):
                            if await ended(replying.write(message)):
                                return
                await ended(replying.done_writing())
            except BaseException as error:
                if sending.cancelling():
                    raise
                own_failure.append(error)
                replying.cancel()

        sending = asyncio.create_task(send())
        try:
            while (response := await replying.read()) is not grpc.aio.EOF:
                event = replies.stream_event(response)
                if event is not None:
                    yield event
        except asyncio.CancelledError:
            # Our own cancel and the task's look alike from here.
            if own_failure:
                raise own_failure[0] from None
            self._check_cancelled()
            raise
        except grpc.RpcError as failure:
            told = await outcome.of(failure)
            raise from_rpc_error(told, target=self._target, timeout_s=limit_s) from told
        finally:
            replying.cancel()
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    def _check_cancelled(self) -> None:
        """Raises CancelledError of the tree where a call was cancelled by ``close`` and its task by nobody."""
        task = asyncio.current_task()
        if self._closed and not (task and task.cancelling()):
            raise CancelledError("the client was closed before the call ended") from None

    def _call(self, method: str) -> Callable[..., Any]:
        if self._closed:
            raise UnavailableError("this client is closed; make another")
        if self._calls is None:
            # Made here and not in __init__: a channel belongs to the loop that runs.
            self._channel = self._connect()
            self._calls = grpc_calls(self._channel)
        return self._calls[method]

    def _connect(self) -> grpc.aio.Channel:
        if self._tls is None:
            return grpc.aio.insecure_channel(self._target, options=CHANNEL_OPTIONS)
        settings = (*CHANNEL_OPTIONS, *self._tls.channel_options)
        return grpc.aio.secure_channel(self._target, self._tls.credentials(), options=settings)
