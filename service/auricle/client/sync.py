"""The blocking client."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterable, Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import grpc
from google.protobuf.message import Message

from auricle.client import flows, replies
from auricle.client.audio import AudioInput, Chunk, UnaryLimits
from auricle.client.failures import from_rpc_error
from auricle.client.flows import Collect, Flow, Step, StreamCall, Unary
from auricle.client.options import ClassifyOptions, EmbedOptions, Encoding
from auricle.client.results import ClassifyResult, EmbedResult, ModelInfo, StreamEvent
from auricle.client.retries import RetryPolicy, TimeLimit, finite_s
from auricle.client.sources import SourceError, carried
from auricle.client.streams import Chunks, open_chunks
from auricle.client.transport import CHANNEL_OPTIONS, TlsOptions, Transport, check_target, grpc_calls
from auricle.errors import AuricleError, OptionError, UnavailableError

__all__ = ["Client"]

T = TypeVar("T")


class Client:
    """Talks to an auricle server. Connects on the first call; any number of threads may share one client.

    Args:
        target: HOST:PORT, or any gRPC target.
        tls: how to encrypt; None: plaintext.
        timeout_s: time limit of a unary call with all its retries, where the call does not say; None or infinity:
            no limit.
        retry: when to try a unary call again; None: never.
        limits: above them a clip is sent as a stream.
        transport: calls to use instead of a server's, e.g. an engine in this process; the caller closes it.

    Every call raises from the tree in `auricle.errors`; what the network does is `UnavailableError` or
    `DeadlineError`. A file that cannot be opened raises OSError.
    """

    def __init__(
        self,
        target: str = "127.0.0.1:50051",
        *,
        tls: TlsOptions | None = None,
        timeout_s: float | None = 60.0,
        retry: RetryPolicy | None = RetryPolicy(),  # noqa: B008 - frozen, so shared without harm
        limits: UnaryLimits = UnaryLimits(),  # noqa: B008
        transport: Transport | None = None,
    ) -> None:
        self._target = check_target(target)
        self._tls = tls
        self._timeout_s = timeout_s
        self._retry = retry
        self._limits = limits
        self._transport = transport
        self._lock = threading.Lock()
        self._channel: grpc.Channel | None = None
        self._calls: Mapping[str, Callable[..., Any]] | None = None
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection and the calls on it. Once is enough, again does no harm."""
        with self._lock:
            self._closed = True
            if self._channel is not None:
                self._channel.close()
                self._channel = None

    def embed(
        self,
        audio: AudioInput,
        *,
        model: str | None = None,
        version: str | None = None,
        timeout_s: float | None = None,
        **wanted: Unpack[EmbedOptions],
    ) -> EmbedResult:
        """Embeds one clip.

        Args:
            audio: a path, the bytes of a file, or a `Pcm`. Above the limits it is decoded here and streamed,
                with the same answer; then only a ``timeout_s`` that is given here counts. A model that takes a
                clip at once cannot give that one: LimitError, unless ``segment_length_s`` is given.
            model: name; None: the server's default.
            version: None: the newest.
            timeout_s: seconds for the whole call; None: the client's.
            wanted: see `EmbedOptions`.
        """
        return self._run(flows.embed(audio, model, version, wanted, self._limits), timeout_s)

    def classify(
        self,
        audio: AudioInput,
        *,
        model: str | None = None,
        version: str | None = None,
        timeout_s: float | None = None,
        **wanted: Unpack[ClassifyOptions],
    ) -> ClassifyResult:
        """Classifies one clip. As `embed`, with `ClassifyOptions`."""
        return self._run(flows.classify(audio, model, version, wanted, self._limits), timeout_s)

    def stream_embed(
        self,
        chunks: Chunks,
        *,
        sample_rate_hz: int | None = None,
        channels: int | None = None,
        encoding: Encoding | None = None,
        model: str | None = None,
        version: str | None = None,
        timeout_s: float | None = None,
        **wanted: Unpack[EmbedOptions],
    ) -> Generator[StreamEvent]:
        """Embeds sound as it comes: `Ready`, a `SegmentResult` as each segment completes, `Summary`.

        Args:
            chunks: a path, a `Pcm`, or an iterable of bytes and arrays of any length, and `FLUSH`; read in
                another thread. What it raises ends the stream and is raised here.
            sample_rate_hz: 4000 to 192000; required with an iterable.
            channels: 1 to 8; None: 1.
            encoding: None: "s16le". Arrays must be of its type: int16 for "s16le", float for "f32le".
            model: name; None: the server's default.
            version: None: the newest.
            timeout_s: seconds for the whole stream; None or infinity: no limit.
            wanted: see `EmbedOptions`.

        Closing the generator cancels the stream. Nothing is sent before its first ``next``.
        """
        wire, opened = open_chunks(chunks, sample_rate_hz, channels, encoding)
        call = flows.stream_embed(wire, model, version, wanted)
        return self._events(call, opened, timeout_s)

    def stream_classify(
        self,
        chunks: Chunks,
        *,
        sample_rate_hz: int | None = None,
        channels: int | None = None,
        encoding: Encoding | None = None,
        model: str | None = None,
        version: str | None = None,
        timeout_s: float | None = None,
        **wanted: Unpack[ClassifyOptions],
    ) -> Generator[StreamEvent]:
        """Classifies sound as it comes. As `stream_embed`, with `ClassifyOptions`."""
        wire, opened = open_chunks(chunks, sample_rate_hz, channels, encoding)
        call = flows.stream_classify(wire, model, version, wanted)
        return self._events(call, opened, timeout_s)

    def models(self, kind: str | None = None, *, timeout_s: float | None = None) -> tuple[ModelInfo, ...]:
        """Lists what is served, labels left out; ``kind``: "embedding" or "classification", None: all."""
        return self._run(flows.models(kind), timeout_s)

    def model(self, name: str, version: str | None = None, *, timeout_s: float | None = None) -> ModelInfo:
        """Gives one model in full, labels included. Raises NotFoundError."""
        return self._run(flows.model(name, version), timeout_s)

    def health(self, service: str = "", *, timeout_s: float | None = None) -> str:
        """Gives "SERVING" or "NOT_SERVING" of the server, a service, or "auricle.model/NAME".

        Raises NotFoundError for a service that the server does not know.
        """
        return self._run(flows.health(service), timeout_s)

    def _run(self, flow: Flow[T], timeout_s: float | None) -> T:
        limit = TimeLimit(self._timeout_s if timeout_s is None else timeout_s, streams=timeout_s is not None)
        with closing(flow):
            try:
                step = next(flow)
                while True:
                    try:
                        answer = self._perform(step, limit)
                    except AuricleError as error:
                        step = flow.throw(error)
                    else:
                        step = flow.send(answer)
            except StopIteration as done:
                result: T = done.value
                return result

    def _perform(self, step: Step, limit: TimeLimit) -> object:
        if isinstance(step, Unary):
            return self._unary(step, limit)
        if isinstance(step, Collect):
            events = self._events(step.call, step.chunks, limit.stream_left_s)
            with closing(events):
                any(step.sink(event) for event in events)
            return None
        return step.run()

    def _unary(self, step: Unary, limit: TimeLimit) -> object:
        attempt = 1
        while True:
            # Looked up each time: the client may have been closed in the pause.
            call = self._call(step.method)
            try:
                return self._invoke(call, step.request, limit.left_s)
            except grpc.RpcError as failure:
                error, cause = from_rpc_error(failure, target=self._target, timeout_s=limit.limit_s), failure
            except AuricleError as failure:
                error, cause = failure, None
            delay_s = self._retry.delay_s(error, attempt) if self._retry else None
            if delay_s is None or not limit.allows(delay_s):
                raise error from cause
            time.sleep(delay_s)
            attempt += 1

    def _events(
        self, call: StreamCall, chunks: Iterable[Chunk] | AsyncIterable[Chunk], timeout_s: float | None
    ) -> Generator[StreamEvent]:
        if isinstance(chunks, AsyncIterable):
            raise OptionError("an async iterable of chunks needs the AsyncClient")
        limit_s = finite_s(timeout_s)
        own_failure: list[BaseException] = []

        def requests() -> Iterator[Message]:
            yield call.first()
            for chunk in chunks:
                yield from call.following(chunk)

        # gRPC reads them in a thread of its own, where it ends the call for an Exception and nothing else.
        replying = self._invoke(self._call(call.method), carried(requests(), own_failure), limit_s)
        try:
            for response in replying:
                event = replies.stream_event(response)
                if event is not None:
                    yield event
        except (grpc.RpcError, AuricleError, SourceError) as failure:
            if own_failure:
                raise own_failure[0] from None
            if isinstance(failure, grpc.RpcError):
                raise from_rpc_error(failure, target=self._target, timeout_s=limit_s) from failure
            raise
        finally:
            stop = getattr(replying, "cancel", None) or getattr(replying, "close", None)
            if stop is not None:
                stop()

    def _invoke(self, call: Callable[..., Any], sent: Message | Iterator[Message], timeout_s: float | None) -> Any:
        try:
            return call(sent, timeout=timeout_s)
        except ValueError:
            # gRPC's word where another thread has closed the channel since.
            if self._closed:
                raise _closed() from None
            raise

    def _call(self, method: str) -> Callable[..., Any]:
        with self._lock:
            if self._closed:
                raise _closed()
            if self._transport is not None:
                return _call_of(self._transport, method)
            if self._calls is None:
                self._channel = self._connect()
                self._calls = grpc_calls(self._channel)
            return self._calls[method]

    def _connect(self) -> grpc.Channel:
        if self._tls is None:
            return grpc.insecure_channel(self._target, options=CHANNEL_OPTIONS)
        settings = (*CHANNEL_OPTIONS, *self._tls.channel_options)
        return grpc.secure_channel(self._target, self._tls.credentials(), options=settings)


def _closed() -> UnavailableError:
    return UnavailableError("this client is closed; make another")


def _call_of(transport: Transport, method: str) -> Callable[..., Any]:
    call: Callable[..., Any] | None = getattr(transport, method, None)
    if call is None:
        raise UnavailableError(f"{type(transport).__name__} has no {method}; connect to a server for it")
    return call
