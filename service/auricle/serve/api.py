"""The Api: protos in, protos out. The gRPC server and the engine in a client's process call this one alike."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from auricle.config import Limits
from auricle.engine.options import Options
from auricle.engine.pipeline import Answer, Flushed, Stream, Ticket, Timing
from auricle.engine.plan import Plan, make_plan
from auricle.engine.repository import Repository
from auricle.engine.served import ServedModel
from auricle.engine.workers import Workers
from auricle.errors import InvalidArgumentError, ProtocolError
from auricle.model.heads import HeadKind
from auricle.serve import wire
from auricle.serve.messages import Messages
from auricle.serve.payload import Sent
from auricle.serve.replies import is_small, wire_form, write
from auricle.v1 import auricle_pb2 as pb

__all__ = ["Api"]

Request = TypeVar("Request", pb.StreamEmbedRequest, pb.StreamClassifyRequest)
_Asked = pb.EmbedRequest | pb.ClassifyRequest | pb.StreamEmbedConfig | pb.StreamClassifyConfig
Response = TypeVar("Response", pb.StreamEmbedResponse, pb.StreamClassifyResponse)

# A message is cut in pieces of so much sound, so that a large one cannot flood the queue.
PIECE_S = 10


class Api:
    """Every RPC of the contract as a method.

    Deadlines are on the monotonic clock. Methods raise AuricleError; cancelling a call withdraws its segments.
    ``on_answer`` is told where the time of each unary call went.
    """

    def __init__(
        self,
        repository: Repository,
        workers: Workers,
        limits: Limits,
        *,
        on_answer: Callable[[Timing], None] = lambda timing: None,
    ) -> None:
        self._repository = repository
        self._workers = workers
        self._limits = limits
        self._on_answer = on_answer

    async def embed(
        self, request: pb.EmbedRequest, sound: Sent | None = None, deadline: float = math.inf
    ) -> pb.EmbedResponse:
        """AudioService.Embed. A door that has the sound elsewhere gives it as ``sound``, in place of the field's."""
        reply = pb.EmbedResponse()
        write(*await self._unary(request, sound, wire.embed_options, deadline, reply), reply)
        return reply

    async def classify(
        self, request: pb.ClassifyRequest, sound: Sent | None = None, deadline: float = math.inf
    ) -> pb.ClassifyResponse:
        """AudioService.Classify. For ``sound`` see ``embed``."""
        reply = pb.ClassifyResponse()
        write(*await self._unary(request, sound, wire.classify_options, deadline, reply), reply)
        return reply

    async def embed_wire(
        self, request: pb.EmbedRequest, sound: Sent | None = None, deadline: float = math.inf
    ) -> bytes:
        """``embed`` with the reply in wire form, for doors on a loop that others use too: a large one keeps none up."""
        reply = pb.EmbedResponse()
        answers = await self._unary(request, sound, wire.embed_options, deadline, reply)
        return await wire_form(*answers, reply, self._workers)

    async def classify_wire(
        self, request: pb.ClassifyRequest, sound: Sent | None = None, deadline: float = math.inf
    ) -> bytes:
        """``classify`` with the reply in wire form, see ``embed_wire``."""
        reply = pb.ClassifyResponse()
        answers = await self._unary(request, sound, wire.classify_options, deadline, reply)
        return await wire_form(*answers, reply, self._workers)

    def stream_embed(
        self, requests: AsyncIterator[pb.StreamEmbedRequest], deadline: float = math.inf
    ) -> AsyncGenerator[pb.StreamEmbedResponse, None]:
        """AudioService.StreamEmbed."""

        def result(answers: list[Answer], rate_hz: int) -> pb.StreamEmbedResponse:
            reply = pb.StreamEmbedResponse(result={})
            write(answers, rate_hz, reply.result)
            return reply

        return self._live(requests, wire.embed_options, pb.StreamEmbedResponse, result, deadline)

    def stream_classify(
        self, requests: AsyncIterator[pb.StreamClassifyRequest], deadline: float = math.inf
    ) -> AsyncGenerator[pb.StreamClassifyResponse, None]:
        """AudioService.StreamClassify."""

        def result(answers: list[Answer], rate_hz: int) -> pb.StreamClassifyResponse:
            reply = pb.StreamClassifyResponse(result={})
            write(answers, rate_hz, reply.result)
            return reply

        return self._live(requests, wire.classify_options, pb.StreamClassifyResponse, result, deadline)

    async def list_models(self, request: pb.ListModelsRequest) -> pb.ListModelsResponse:
        """ModelService.ListModels."""
        models = [
            message
            for message in (self._model(model, labels=False) for model in self._repository.models())
            if request.kind == pb.HEAD_KIND_UNSPECIFIED or any(head.kind == request.kind for head in message.heads)
        ]
        return pb.ListModelsResponse(models=models)

    async def get_model(self, request: pb.GetModelRequest) -> pb.GetModelResponse:
        """ModelService.GetModel."""
        if not request.model.name:
            raise InvalidArgumentError(
                "model.name is empty; ListModels has the names", field="model.name", reason="MODEL_REQUIRED"
            )
        model = self._repository.find(request.model.name, request.model.version)
        return pb.GetModelResponse(model=self._model(model, labels=True))

    def _find(self, asked: _Asked) -> ServedModel:
        kind: HeadKind = "embedding" if isinstance(asked, pb.EmbedRequest | pb.StreamEmbedConfig) else "classification"
        return self._repository.find(asked.model.name, asked.model.version, kind=kind)

    def _model(self, model: ServedModel, *, labels: bool) -> pb.Model:
        newest = self._repository.newest(model.name) is model
        return wire.model_message(model, newest=newest, labels=labels)

    async def _unary(
        self,
        request: pb.EmbedRequest | pb.ClassifyRequest,
        sent: Sent | None,
        options: Callable[[Any], Options],
        deadline: float,
        reply: pb.EmbedResponse | pb.ClassifyResponse,
    ) -> tuple[list[Answer], int]:
        """Answers a call, and writes into its reply what does not depend on the kind."""
        begun = time.monotonic()
        model = self._find(request)
        with model.lease():
            plan = _plan(model, request.options, options, stream=False)
            model.admit()
            sound = await wire.open_audio(request.audio, sent.take() if sent else None, self._limits, self._workers)
            if sent is not None:
                sound = replace(sound, blocks=sent.watch(sound.blocks))
            with Stream(model, plan, sound.format, workers=self._workers, deadline=deadline) as stream:
                answers = await stream.answer(sound)
                rate_hz = model.graph.bundle.audio.sample_rate_hz
                wire.selector(model, reply.model)
                wire.usage(stream.samples, stream.segments, rate_hz, reply.usage)
                spent = stream.timing
                wire.timing(spent, time.monotonic() - begun, reply.timing)
                self._on_answer(spent)
                return answers, rate_hz

    async def _live(
        self,
        requests: AsyncIterator[Request],
        options: Callable[[Any], Options],
        response: Callable[..., Response],
        result: Callable[[list[Answer], int], Response],
        deadline: float,
    ) -> AsyncGenerator[Response, None]:
        begun = time.monotonic()
        with Messages(requests, self._limits.idle_s) as messages:
            config = await self._config(messages)
            model = self._find(config)
            with model.lease():
                plan = _plan(model, config.options, options, stream=True)
                sound = wire.pcm_format(config.format, "config.format")
                sound.check(self._limits, "config.format")
                rate_hz = model.graph.bundle.audio.sample_rate_hz
                with Stream(model, plan, sound, workers=self._workers, deadline=deadline) as stream:
                    yield response(ready=wire.ready(model, plan))
                    async with aclosing(self._tickets(messages, stream)) as tickets:
                        async for item in tickets:
                            if isinstance(item, Flushed):
                                yield response(flushed=pb.Flushed(end_sample=item.end_sample))
                            else:
                                answers = await stream.settle(item)
                                if is_small(answers):
                                    yield result(answers, rate_hz)
                                else:
                                    yield await self._workers.call(partial(result, answers, rate_hz))
                    summary = pb.StreamSummary()
                    wire.usage(stream.samples, stream.segments, rate_hz, summary.usage)
                    wire.timing(stream.timing, time.monotonic() - begun, summary.timing)
                    yield response(summary=summary)

    async def _tickets(self, messages: Messages[Request], stream: Stream) -> AsyncGenerator[Ticket | Flushed, None]:
        """Reads ahead of the answers, as far as the reply queue lets it: beyond, the client is slowed."""
        queue: asyncio.Queue[Ticket | Flushed | BaseException | None] = asyncio.Queue(self._limits.stream_replies)

        async def read() -> None:
            try:
                await self._cut(messages, stream, queue)
                await queue.put(None)
            except Exception as error:  # carried to the writer, which ends the stream with it
                await queue.put(error)

        reader = asyncio.create_task(read())
        messages.hand_to(reader)
        try:
            while (item := await queue.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            reader.cancel()

    async def _cut(self, messages: Messages[Request], stream: Stream, queue: asyncio.Queue[Any]) -> None:
        """Puts the tickets of all messages into the queue. Most messages only add to what the stream holds."""
        piece_bytes = PIECE_S * stream.bytes_per_second
        while (request := await messages.next()) is not None:
            payload = request.WhichOneof("payload")
            if payload == "audio":
                audio = request.audio
                for start in range(0, len(audio), piece_bytes):
                    if stream.hold(audio[start : start + piece_bytes]):
                        await stream.cut(queue.put)
            elif payload == "flush":
                await stream.flush(queue.put)
            elif payload == "config":
                raise ProtocolError("config came twice; open a new stream for another one", field="config")
            else:
                raise ProtocolError("the message is empty; send audio or flush", field="payload")
        await stream.finish(queue.put)

    async def _config(
        self, messages: Messages[pb.StreamEmbedRequest] | Messages[pb.StreamClassifyRequest]
    ) -> pb.StreamEmbedConfig | pb.StreamClassifyConfig:
        request = await messages.next()
        payload = request.WhichOneof("payload") if request is not None else None
        if request is None or payload != "config":
            came = "the stream ended" if request is None else f"{payload or 'an empty message'} came"
            raise ProtocolError(f"{came} before config; send config first, once", field="config")
        config: pb.StreamEmbedConfig | pb.StreamClassifyConfig = request.config
        return config


def _plan(
    model: ServedModel,
    message: pb.EmbedOptions | pb.ClassifyOptions,
    options: Callable[[Any], Options],
    *,
    stream: bool,
) -> Plan:
    """The plan of a call for a model. Raises OptionError or HeadKindError."""
    sent = message.SerializeToString(deterministic=True)
    return model.plans.get((options, stream), sent, lambda: make_plan(model.graph, options(message), stream=stream))
