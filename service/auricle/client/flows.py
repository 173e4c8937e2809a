"""What a call does step by step, free of I/O: both clients carry the same steps out, each in its own way."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar

from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from auricle.client import options, replies
from auricle.client.audio import FLUSH, AudioInput, Chunk, UnaryLimits, Whole, chunk_bytes, cut, load
from auricle.client.files import Long
from auricle.client.options import ClassifyOptions, EmbedOptions
from auricle.client.results import (
    Classification,
    ClassifyResult,
    Embedding,
    EmbedResult,
    HeadInfo,
    ModelInfo,
    Ready,
    SegmentResult,
    StreamEvent,
    Summary,
)
from auricle.errors import InternalError, LimitError, OptionError
from auricle.v1 import auricle_pb2 as pb

__all__ = [
    "Collect",
    "Flow",
    "Step",
    "StreamCall",
    "Unary",
    "Work",
    "classify",
    "embed",
    "health",
    "model",
    "models",
    "stream_classify",
    "stream_embed",
]

T = TypeVar("T")

_LENGTH = "options.segment_length"
_ENCODING_NAMES = {code: name for name, code in options.ENCODINGS.items()}


@dataclass(frozen=True)
class Unary:
    """One call, tried again where the policy says so; answered with its response."""

    method: str
    request: Message


@dataclass(frozen=True)
class Work(Generic[T]):
    """Something that blocks; answered with what it returns."""

    run: Callable[[], T]


@dataclass(frozen=True)
class StreamCall:
    """A stream's method and first message, and how chunks become messages."""

    method: str
    config: pb.StreamEmbedConfig | pb.StreamClassifyConfig

    def first(self) -> Message:
        """Gives the message that opens the stream."""
        return self._request_type(config=self.config)

    def following(self, chunk: Chunk) -> Iterator[Message]:
        """Gives the messages for one chunk. Raises OptionError where it does not fit the stream's format."""
        if chunk is FLUSH:
            yield self._request_type(flush=pb.Flush())
            return
        encoding, channels = _ENCODING_NAMES[self.config.format.encoding], self.config.format.channels
        for piece in cut(chunk_bytes(chunk, encoding, channels), encoding, channels):
            yield self._request_type(audio=piece)

    @property
    def _request_type(self) -> Callable[..., Message]:
        return pb.StreamEmbedRequest if self.method == "StreamEmbed" else pb.StreamClassifyRequest


@dataclass(frozen=True)
class Collect:
    """A whole stream; every event is given to ``sink`` until it returns True or the stream ends."""

    call: StreamCall
    chunks: Iterator[Chunk]
    sink: Callable[[StreamEvent], bool]


Step: TypeAlias = Unary | Work[Any] | Collect
Flow: TypeAlias = Generator[Step, Any, T]
"""Each step is answered with what it gave, or the error of the tree that it raised is thrown in."""


def embed(
    audio: AudioInput, model: str | None, version: str | None, wanted: EmbedOptions, limits: UnaryLimits
) -> Flow[EmbedResult]:
    """Embeds one clip, by one message or, above the limits, by a stream whose answer is the same."""
    chosen, asked = options.selector(model, version), options.embed_options(**wanted)
    source: Whole | Long = yield Work(lambda: load(audio, limits))
    if isinstance(source, Whole):
        response = yield Unary("Embed", pb.EmbedRequest(model=chosen, audio=source.audio, options=asked))
        return replies.embed_result(response)
    call = stream_embed(source.format, model, version, wanted)
    found = yield from _collect(call, source, kinds=("embedding",))
    return EmbedResult(
        model=found.ready.model,
        version=found.ready.version,
        embeddings=tuple(found.embeddings),
        usage=found.summary.usage,
        timing=found.summary.timing,
    )


def classify(
    audio: AudioInput, model: str | None, version: str | None, wanted: ClassifyOptions, limits: UnaryLimits
) -> Flow[ClassifyResult]:
    """Classifies one clip; otherwise as `embed`."""
    chosen, asked = options.selector(model, version), options.classify_options(**wanted)
    source: Whole | Long = yield Work(lambda: load(audio, limits))
    if isinstance(source, Whole):
        response = yield Unary("Classify", pb.ClassifyRequest(model=chosen, audio=source.audio, options=asked))
        return replies.classify_result(response)
    call = stream_classify(source.format, model, version, wanted)
    kinds = ("classification", "embedding") if asked.include_embeddings else ("classification",)
    found = yield from _collect(call, source, kinds=kinds)
    return ClassifyResult(
        model=found.ready.model,
        version=found.ready.version,
        classifications=tuple(found.classifications),
        usage=found.summary.usage,
        timing=found.summary.timing,
        embeddings=tuple(found.embeddings),
    )


def stream_embed(wire: pb.PcmFormat, model: str | None, version: str | None, wanted: EmbedOptions) -> StreamCall:
    """Gives the call of a stream in that format."""
    chosen, asked = options.selector(model, version), options.embed_options(**wanted)
    return StreamCall("StreamEmbed", pb.StreamEmbedConfig(model=chosen, format=wire, options=asked))


def stream_classify(wire: pb.PcmFormat, model: str | None, version: str | None, wanted: ClassifyOptions) -> StreamCall:
    """As `stream_embed`."""
    chosen, asked = options.selector(model, version), options.classify_options(**wanted)
    return StreamCall("StreamClassify", pb.StreamClassifyConfig(model=chosen, format=wire, options=asked))


def models(kind: str | None) -> Flow[tuple[ModelInfo, ...]]:
    """Lists the models, all or those with a head of one kind."""
    kinds = {"embedding": pb.HEAD_KIND_EMBEDDING, "classification": pb.HEAD_KIND_CLASSIFICATION}
    wanted = None if kind is None else options.choice("kind", kind, kinds)
    response = yield Unary("ListModels", pb.ListModelsRequest(kind=wanted))
    return tuple(replies.model_info(each) for each in response.models)


def model(name: str, version: str | None) -> Flow[ModelInfo]:
    """Gives one model in full."""
    response = yield Unary("GetModel", pb.GetModelRequest(model=options.selector(name, version)))
    return replies.model_info(response.model)


def health(service: str) -> Flow[str]:
    """Gives the name of a service's health status."""
    response = yield Unary("Check", health_pb2.HealthCheckRequest(service=service))
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(response.status))


@dataclass
class _Found:
    """What a stream has given so far, made into what a unary call would give."""

    pooled: bool
    embeddings: list[Embedding] = field(default_factory=list)
    classifications: list[Classification] = field(default_factory=list)
    first: Ready | None = None
    last: Summary | None = None

    def add(self, event: StreamEvent) -> bool:
        if isinstance(event, Ready):
            self.first = event
        elif isinstance(event, Summary):
            self.last = event
        elif isinstance(event, SegmentResult):
            if self.pooled:
                # Each running value stands for all that came before it.
                self.embeddings.clear()
                self.classifications.clear()
            self.embeddings.extend(event.embeddings)
            self.classifications.extend(event.classifications)
        return False

    @property
    def ready(self) -> Ready:
        if self.first is None:
            raise InternalError("the server's stream ended without `ready`; is it a proxy that cut it?")
        return self.first

    @property
    def summary(self) -> Summary:
        if self.last is None:
            raise InternalError("the server's stream ended without `summary`; is it a proxy that cut it?")
        return self.last


def _collect(call: StreamCall, source: Long, *, kinds: tuple[str, ...]) -> Flow[_Found]:
    wanted = call.config.options
    whole, unpooled = not wanted.HasField("segment_length"), wanted.pooling == pb.POOLING_UNSPECIFIED
    if whole or unpooled:
        try:
            info = yield from _model_of(call)
        except OptionError as error:
            # The stream that would tell the default model's name does not begin without a length.
            if whole and error.field == _LENGTH:
                raise _at_once(source, "the default model") from error
            raise
        if whole and info.segment_samples is None:
            raise _at_once(source, info.name)
        if unpooled:
            wanted.pooling = _unary_pooling(info, wanted.heads, kinds)
    found = _Found(pooled=wanted.pooling != pb.POOLING_NONE)
    yield Collect(call, source.chunks(), found.add)
    return found


def _at_once(source: Long, model: str) -> LimitError:
    return LimitError(
        f"the clip is over the limit {source.exceeds} of one message, and {model} takes a clip at once, "
        "which a stream cannot give it; pass segment_length_s= to have it cut into segments",
        field=_LENGTH,
    )


def _model_of(call: StreamCall) -> Flow[ModelInfo]:
    """Gives the model that a stream will have, and names it in the call."""
    chosen = call.config.model
    if not chosen.name:
        # Only the server knows which model it takes; it says so before it has heard a sample.
        probe = _Found(pooled=False)
        yield Collect(call, iter(()), lambda event: probe.add(event) or isinstance(event, Ready))
        chosen.name, chosen.version = probe.ready.model, probe.ready.version
    return (yield from model(chosen.name, chosen.version))


def _unary_pooling(info: ModelInfo, named: Any, kinds: tuple[str, ...]) -> pb.Pooling:
    """Finds what a unary call would do: a stream that is not told pools nothing."""
    heads = [each for each in info.heads if _answers(each, named, kinds)]
    ways = {each.pooling for each in heads if each.pooling is not None}
    if len(ways) > 1:
        listed = ", ".join(f"{each.name} ({each.pooling})" for each in heads)
        raise OptionError(
            "this clip is over the size of one message, and a stream pools all heads alike, "
            f"but {info.name}'s differ: {listed}; pass pooling= or choose heads=",
            field="options.pooling",
        )
    return options.POOLINGS[ways.pop()] if ways else pb.POOLING_NONE


def _answers(head: HeadInfo, named: Any, kinds: tuple[str, ...]) -> bool:
    # `heads` of a classify call names classification heads only: vectors come from all embedding heads.
    if head.kind not in kinds:
        return False
    return not named or head.name in named or head.kind != kinds[0]
