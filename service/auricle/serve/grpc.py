"""The gRPC door: the contract's services, health and reflection on one grpc.aio server."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager, suppress
from typing import Any, TypeVar

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer
from grpc_status import rpc_status

from auricle.config import ServerSettings, TlsSettings
from auricle.errors import BusyError, UnavailableError
from auricle.serve.admission import Admission, client_of
from auricle.serve.api import Api
from auricle.serve.payload import RequestT, parse
from auricle.serve.status import to_status
from auricle.v1 import auricle_pb2 as pb
from auricle.v1 import auricle_pb2_grpc as rpc

__all__ = ["GrpcServer"]

T = TypeVar("T")

AUDIO_SERVICE = pb.DESCRIPTOR.services_by_name["AudioService"].full_name
MODEL_SERVICE = pb.DESCRIPTOR.services_by_name["ModelService"].full_name
REFLECTION_V1 = "grpc.reflection.v1.ServerReflection"
ENVELOPE_BYTES = 1024 * 1024
QUIET_S = 0.1
LINGER_S = 1.0
REFUSALS_KEPT = 1024


class _Calls:
    """Calls in flight: what each raises becomes its status, and what outlives the grace period ends."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._refusals: dict[tuple[str, float | None], grpc.Status] = {}
        self._ended = False
        self._last = 0.0
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def track(self) -> Iterator[None]:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._idle.clear()
        try:
            yield
        finally:
            self._tasks.discard(task)
            self._last = time.monotonic()
            if not self._tasks:
                self._idle.set()

    async def wait(self, grace_s: float) -> None:
        """Until all have ended; after ``grace_s`` those that are left are ended with UNAVAILABLE."""
        try:
            await asyncio.wait_for(self._idle.wait(), grace_s)
        except TimeoutError:
            self._ended = True
            for task in list(self._tasks):
                task.cancel()
            await self._idle.wait()

    async def settle(self) -> None:
        """Returns once no call has come for a moment, or after ``LINGER_S``.

        What arrives while the transport closes is cut off by gRPC as CANCELLED; until then Admission refuses it
        with UNAVAILABLE, which clients know how to send elsewhere.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while (left_s := self._last + QUIET_S - time.monotonic()) > 0:  # noqa: ASYNC110 - later calls move it
                    await asyncio.sleep(left_s)

    async def one(self, context: grpc.aio.ServicerContext[Any, Any], answer: Awaitable[T]) -> T:
        """Awaits a unary answer."""
        with self.track():
            try:
                return await answer
            except (Exception, asyncio.CancelledError) as error:
                await self._abort(context, error)
        raise AssertionError("abort returned")

    async def many(self, context: grpc.aio.ServicerContext[Any, Any], answers: AsyncGenerator[Any, None]) -> None:
        """Writes a stream's answers as they come; a client that reads slowly slows the stream."""
        with self.track():
            try:
                async with aclosing(answers):
                    async for answer in answers:
                        await context.write(answer)
            except (Exception, asyncio.CancelledError) as error:
                await self._abort(context, error)

    async def _abort(self, context: grpc.aio.ServicerContext[Any, Any], error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError):
            if not self._ended:
                raise error
            error = UnavailableError("the server shut down before the call ended", reason="DRAINING")
        await context.abort_with_status(self._status(error))

    def _status(self, error: BaseException) -> grpc.Status:
        if not isinstance(error, BusyError):
            return rpc_status.to_status(to_status(error))
        # Under overload one refusal is like another, and must cost next to nothing.
        key = (error.message, error.retry_after_s)
        status = self._refusals.get(key)
        if status is None:
            if len(self._refusals) >= REFUSALS_KEPT:
                self._refusals.clear()
            status = self._refusals[key] = rpc_status.to_status(to_status(error))
        return status


class _AudioService:
    """AudioService's methods. Unary requests come as bytes, so that a call that is refused is never parsed."""

    def __init__(self, api: Api, admission: Admission, calls: _Calls) -> None:
        self._api = api
        self._admission = admission
        self._calls = calls

    async def embed(self, request: bytes, context: Any) -> pb.EmbedResponse:
        return await self._calls.one(context, self._unary(request, context, pb.EmbedRequest, self._api.embed))

    async def classify(self, request: bytes, context: Any) -> pb.ClassifyResponse:
        return await self._calls.one(context, self._unary(request, context, pb.ClassifyRequest, self._api.classify))

    async def stream_embed(self, requests: Any, context: Any) -> None:
        await self._calls.many(context, self._stream(requests, context, self._api.stream_embed))

    async def stream_classify(self, requests: Any, context: Any) -> None:
        await self._calls.many(context, self._stream(requests, context, self._api.stream_classify))

    async def _unary(
        self,
        data: bytes,
        context: Any,
        kind: type[RequestT],
        answer: Callable[[RequestT, memoryview | None, float], Awaitable[T]],
    ) -> T:
        with self._admission.call(client_of(context.peer())):
            return await answer(*parse(kind, data), _deadline(context))

    async def _stream(
        self, requests: Any, context: Any, answers: Callable[[Any, float], AsyncGenerator[T, None]]
    ) -> AsyncGenerator[T, None]:
        with self._admission.stream(client_of(context.peer())):
            async with aclosing(answers(requests, _deadline(context))) as results:
                async for result in results:
                    yield result

    def handler(self) -> grpc.GenericRpcHandler:
        """The methods under the contract's names."""
        unary, stream = grpc.unary_unary_rpc_method_handler, grpc.stream_stream_rpc_method_handler
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Embed": unary(self.embed, None, pb.EmbedResponse.SerializeToString),
            "Classify": unary(self.classify, None, pb.ClassifyResponse.SerializeToString),
            "StreamEmbed": stream(
                self.stream_embed, pb.StreamEmbedRequest.FromString, pb.StreamEmbedResponse.SerializeToString
            ),
            "StreamClassify": stream(
                self.stream_classify, pb.StreamClassifyRequest.FromString, pb.StreamClassifyResponse.SerializeToString
            ),
        }
        return grpc.method_handlers_generic_handler(AUDIO_SERVICE, methods)


class _ModelService(rpc.ModelServiceServicer):
    def __init__(self, api: Api, calls: _Calls) -> None:
        self._api = api
        self._calls = calls

    async def ListModels(self, request: pb.ListModelsRequest, context: Any) -> pb.ListModelsResponse:  # noqa: N802
        return await self._calls.one(context, self._api.list_models(request))

    async def GetModel(self, request: pb.GetModelRequest, context: Any) -> pb.GetModelResponse:  # noqa: N802
        return await self._calls.one(context, self._api.get_model(request))


class GrpcServer:
    """Serves an Api. ``start`` binds and listens; ``stop`` drains."""

    def __init__(self, api: Api, admission: Admission, settings: ServerSettings) -> None:
        self._calls = _Calls()
        self._settings = settings
        self._health = health.aio.HealthServicer()
        self._models: set[str] = set()
        self._server = grpc.aio.server(options=_options(settings))
        self._server.add_generic_rpc_handlers((_AudioService(api, admission, self._calls).handler(),))
        rpc.add_ModelServiceServicer_to_server(_ModelService(api, self._calls), self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (AUDIO_SERVICE, MODEL_SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME, REFLECTION_V1)
        _add_reflection(self._server, names)
        self.port = 0

    async def start(self) -> None:
        """Binds and serves. UnavailableError where the address cannot be had."""
        listen = self._settings.listen
        try:
            self.port = _bind(self._server, listen, self._settings.tls)
        except RuntimeError as error:
            raise UnavailableError(f"cannot listen on {listen}: {error}; is the port taken?") from error
        await self._server.start()
        await self._health.set(MODEL_SERVICE, health_pb2.HealthCheckResponse.SERVING)
        await self._health.set("", health_pb2.HealthCheckResponse.SERVING)

    async def show_models(self, models: Mapping[str, bool]) -> None:
        """Sets the health of each model, and of the audio service, which needs a healthy one at least."""
        statuses = health_pb2.HealthCheckResponse
        for name in self._models - set(models):
            await self._health.set(f"auricle.model/{name}", statuses.SERVICE_UNKNOWN)
        for name, healthy in models.items():
            await self._health.set(f"auricle.model/{name}", statuses.SERVING if healthy else statuses.NOT_SERVING)
        self._models = set(models)
        await self._health.set(AUDIO_SERVICE, statuses.SERVING if any(models.values()) else statuses.NOT_SERVING)

    async def stop(self) -> None:
        """NOT_SERVING; waits for the calls in flight, ends those that outlast the grace period, closes the port.

        Admission refuses new calls meanwhile.
        """
        await self._health.enter_graceful_shutdown()
        await self._calls.wait(self._settings.grace_s)
        await self._calls.settle()
        await self._server.stop(QUIET_S)


def _deadline(context: grpc.aio.ServicerContext[Any, Any]) -> float:
    left_s = context.time_remaining()
    return math.inf if left_s is None else time.monotonic() + left_s


def _options(settings: ServerSettings) -> list[tuple[str, int]]:
    silent_ms = round(settings.keepalive_s * 1000)
    return [
        ("grpc.max_receive_message_length", settings.limits.content_bytes + ENVELOPE_BYTES),
        ("grpc.max_send_message_length", -1),
        # Two servers on one port would share its connections in silence.
        ("grpc.so_reuseport", 0),
        # Half-open connections are found by pings, and clients may ping too.
        ("grpc.keepalive_time_ms", silent_ms),
        ("grpc.keepalive_timeout_ms", silent_ms // 3),
        # Without it a ping has a minute to be answered, whatever the keepalive says.
        ("grpc.http2.ping_timeout_ms", silent_ms // 3),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ]


def _bind(server: grpc.aio.Server, listen: str, tls: TlsSettings | None) -> int:
    if tls is None:
        return server.add_insecure_port(listen)
    authority = tls.client_ca.read_bytes() if tls.client_ca else None
    pair = (tls.key.read_bytes(), tls.certificate.read_bytes())
    credentials = grpc.ssl_server_credentials(
        [pair], root_certificates=authority, require_client_auth=authority is not None
    )
    return server.add_secure_port(listen, credentials)


def _add_reflection(server: grpc.aio.Server, names: tuple[str, ...]) -> None:
    """Serves one servicer under both names: v1's messages are v1alpha's on the wire."""
    servicer = ReflectionServicer(names)
    for name in (reflection.SERVICE_NAME, REFLECTION_V1):
        handler = grpc.stream_stream_rpc_method_handler(
            servicer.ServerReflectionInfo,
            request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
            response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
        method = {"ServerReflectionInfo": handler}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, method),))
