"""The gRPC door: the contract's services, health and reflection on one grpc.aio server."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from functools import partial
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer

from auricle.config import ServerSettings
from auricle.errors import AuricleError, UnavailableError
from auricle.serve.admission import Admission, client_of
from auricle.serve.api import Api
from auricle.serve.arrivals import Arrivals
from auricle.serve.calls import QUIET_S, Calls
from auricle.serve.payload import MessageT, RequestT, Sent, parse, parse_whole
from auricle.serve.reads import Reads, Share
from auricle.serve.transport import bind, options
from auricle.v1 import auricle_pb2 as pb

__all__ = ["GrpcServer"]

T = TypeVar("T")

AUDIO_SERVICE = pb.DESCRIPTOR.services_by_name["AudioService"].full_name
MODEL_SERVICE = pb.DESCRIPTOR.services_by_name["ModelService"].full_name
REFLECTION_V1 = "grpc.reflection.v1.ServerReflection"


class _Requests:
    """What comes on a stream. gRPC's own iterator over it is an asynchronous generator, which costs more a message.

    Messages are parsed here: what is none would else be the server's own fault.
    """

    def __init__(self, context: Any, kind: type[Message]) -> None:
        self._read = context.read
        self._kind = kind

    def __aiter__(self) -> _Requests:
        return self

    async def __anext__(self) -> Any:
        message = await self._read()
        if message is grpc.aio.EOF:
            raise StopAsyncIteration
        return parse_whole(self._kind, message)


class _AudioService(grpc.GenericRpcHandler):
    """AudioService's methods.

    Unary requests are read as bytes, as a stream's first message: gRPC would hold one that it brought itself until the
    call ends, long after its sound has become features. Large ones are read as those before them have. Replies are
    bytes too, since large ones are serialised in the workers.

    gRPC asks for a call's handler before it takes a message. While admission is full it gets one that refuses without
    any, and without an exception, whose traceback would keep the call alive until the next collection.
    """

    def __init__(self, api: Api, admission: Admission, calls: Calls, arrivals: Arrivals) -> None:
        self._api = api
        self._admission = admission
        self._calls = calls
        self._arrivals = arrivals
        self._reads = Reads()
        self._loop = asyncio.get_running_loop()
        unary, stream = grpc.stream_unary_rpc_method_handler, grpc.stream_stream_rpc_method_handler
        self._methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            f"/{AUDIO_SERVICE}/Embed": unary(self.embed),
            f"/{AUDIO_SERVICE}/Classify": unary(self.classify),
            f"/{AUDIO_SERVICE}/StreamEmbed": stream(self.stream_embed, None, pb.StreamEmbedResponse.SerializeToString),
            f"/{AUDIO_SERVICE}/StreamClassify": stream(
                self.stream_classify, None, pb.StreamClassifyResponse.SerializeToString
            ),
        }
        # As a stream's, it is called before there is a message and need not write one.
        self._refusing: grpc.RpcMethodHandler[Any, Any] = stream(self.refuse)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The handler of a call; None where the method is another service's."""
        handler = self._methods.get(handler_call_details.method)
        if handler is not None and not handler.response_streaming and self._admission.full:
            return self._refusing
        return handler

    async def refuse(self, _: Any, context: Any) -> None:
        """Ends a call for which there is no place with its status alone."""
        status = self._calls.status(self._admission.refusal())
        context.set_code(status.code)
        context.set_details(status.details)
        context.set_trailing_metadata(status.trailing_metadata)

    async def embed(self, _: Any, context: Any) -> bytes:
        with await self._reads.turn() as share:
            client = client_of(context.peer())
            came = self._arrivals.message(context, client)
            answer = self._unary(await came, client, context, share, pb.EmbedRequest, self._api.embed_wire)
            return await self._calls.one(context, answer)

    async def classify(self, _: Any, context: Any) -> bytes:
        with await self._reads.turn() as share:
            client = client_of(context.peer())
            came = self._arrivals.message(context, client)
            answer = self._unary(await came, client, context, share, pb.ClassifyRequest, self._api.classify_wire)
            return await self._calls.one(context, answer)

    async def stream_embed(self, _: Any, context: Any) -> None:
        await self._calls.many(context, self._stream(context, pb.StreamEmbedRequest, self._api.stream_embed))

    async def stream_classify(self, _: Any, context: Any) -> None:
        await self._calls.many(context, self._stream(context, pb.StreamClassifyRequest, self._api.stream_classify))

    async def _unary(
        self,
        message: bytes | AuricleError,
        client: str,
        context: Any,
        share: Share,
        kind: type[RequestT],
        answer: Callable[[RequestT, Sent | None, float], Awaitable[T]],
    ) -> T:
        # A call takes no place before its message is there: those that send none would fill the server.
        if isinstance(message, AuricleError):
            raise message
        with self._admission.call(client):
            share.came(len(message))
            request, sent = parse(kind, message)
            del message
            if sent is None:
                share.release()
            else:
                sent.on_read = partial(self._release, share)
            return await answer(request, sent, _deadline(context))

    def _release(self, share: Share) -> None:
        """Gives a share back from whatever thread has read its message."""
        with suppress(RuntimeError):  # the loop may be gone
            self._loop.call_soon_threadsafe(share.release)

    async def _stream(
        self, context: Any, kind: type[Message], answers: Callable[[Any, float], AsyncGenerator[T, None]]
    ) -> AsyncGenerator[T, None]:
        with self._admission.stream(client_of(context.peer())):
            async with aclosing(answers(_Requests(context, kind), _deadline(context))) as results:
                async for result in results:
                    yield result


class _ModelService:
    """ModelService's methods, whose requests are read and parsed as AudioService's are."""

    def __init__(self, api: Api, calls: Calls, arrivals: Arrivals) -> None:
        self._api = api
        self._calls = calls
        self._arrivals = arrivals
        unary = grpc.stream_unary_rpc_method_handler
        self.handler = grpc.method_handlers_generic_handler(
            MODEL_SERVICE,
            {
                "ListModels": unary(self.list_models, None, pb.ListModelsResponse.SerializeToString),
                "GetModel": unary(self.get_model, None, pb.GetModelResponse.SerializeToString),
            },
        )

    async def list_models(self, _: Any, context: Any) -> pb.ListModelsResponse:
        return await self._unary(context, pb.ListModelsRequest, self._api.list_models)

    async def get_model(self, _: Any, context: Any) -> pb.GetModelResponse:
        return await self._unary(context, pb.GetModelRequest, self._api.get_model)

    async def _unary(self, context: Any, kind: type[MessageT], answer: Callable[[MessageT], Awaitable[T]]) -> T:
        message = await self._arrivals.message(context, client_of(context.peer()))
        return await self._calls.one(context, self._answer(message, kind, answer))

    async def _answer(
        self, message: bytes | AuricleError, kind: type[MessageT], answer: Callable[[MessageT], Awaitable[T]]
    ) -> T:
        if isinstance(message, AuricleError):
            raise message
        return await answer(parse_whole(kind, message))


UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class _Health(health.aio.HealthServicer):
    """The protocol keeps SERVICE_UNKNOWN for those who watch; who asks about a model that is gone gets NOT_FOUND."""

    def __init__(self) -> None:
        super().__init__()
        self._names = {""}

    async def set(self, service: str, status: Any) -> None:
        self._names.add(service)
        await super().set(service, status)

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Any) -> Any:  # noqa: N802
        reply = await super().Check(request, context)
        if reply.status == UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND)
        return reply

    async def List(self, request: Any, context: Any) -> Any:  # noqa: N802
        """What is known, by name, without models that are gone. The library leaves this method to others."""
        asked = {name: health_pb2.HealthCheckRequest(service=name) for name in self._names}
        replies = {name: await super(_Health, self).Check(each, context) for name, each in asked.items()}
        known = {name: reply for name, reply in replies.items() if reply.status != UNKNOWN}
        return health_pb2.HealthListResponse(statuses=known)  # type: ignore[attr-defined]


class GrpcServer:
    """Serves an Api. ``start`` binds and listens; ``stop`` drains."""

    def __init__(self, api: Api, admission: Admission, settings: ServerSettings) -> None:
        self._calls = Calls(settings.limits.idle_s)
        self._settings = settings
        self._health = _Health()
        self._models: set[str] = set()
        self._server = grpc.aio.server(options=options(settings))
        arrivals = Arrivals(settings.limits.idle_s)
        audio_service = _AudioService(api, admission, self._calls, arrivals)
        self._server.add_generic_rpc_handlers((audio_service, _ModelService(api, self._calls, arrivals).handler))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (AUDIO_SERVICE, MODEL_SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME, REFLECTION_V1)
        _add_reflection(self._server, names)
        self.port = 0

    async def start(self) -> None:
        """Binds and serves. UnavailableError where the address cannot be had, OptionError for a bad TLS file."""
        listen = self._settings.listen
        try:
            self.port = bind(self._server, listen, self._settings.tls)
        except RuntimeError as error:
            # gRPC says why on stderr, and here only that it failed.
            raise UnavailableError(
                f"cannot listen on {listen}; is the port taken, or the address none of ours?"
            ) from error
        await self._health.set(MODEL_SERVICE, health_pb2.HealthCheckResponse.SERVING)
        await self._health.set("", health_pb2.HealthCheckResponse.SERVING)
        await self._server.start()

    async def show_models(self, models: Mapping[str, bool]) -> None:
        """Sets the health of each model, and of the audio service, which needs a healthy one at least."""
        statuses = health_pb2.HealthCheckResponse
        for name in self._models - set(models):
            await self._health.set(f"auricle.model/{name}", statuses.SERVICE_UNKNOWN)
        for name, healthy in models.items():
            await self._health.set(f"auricle.model/{name}", statuses.SERVING if healthy else statuses.NOT_SERVING)
        self._models = set(models)
        await self._health.set(AUDIO_SERVICE, statuses.SERVING if any(models.values()) else statuses.NOT_SERVING)

    def hurry(self) -> None:
        """Ends the calls for which ``stop`` waits."""
        self._calls.end()

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
