"""Between the contract's messages and the engine's values, both ways."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TypeVar, cast

import numpy as np
from google.protobuf import duration_pb2
from numpy.typing import NDArray

from auricle.config import Limits
from auricle.engine.decode import Sound, SoundFormat, open_at_once, open_content, open_pcm
from auricle.engine.options import Options, VectorType
from auricle.engine.pipeline import Answer, Timing
from auricle.engine.plan import Plan
from auricle.engine.served import ServedModel
from auricle.engine.workers import Workers
from auricle.errors import AudioError, OptionError
from auricle.model.heads import Head, Pooling
from auricle.model.labels import Ranked
from auricle.v1 import auricle_pb2 as pb

__all__ = [
    "classification",
    "classify_options",
    "embed_options",
    "embedding",
    "model_message",
    "open_audio",
    "pcm_format",
    "ready",
    "selector",
    "timing",
    "usage",
    "varint",
]

T = TypeVar("T")

NS = 1_000_000_000
ENCODINGS: dict[int, str] = {
    pb.ENCODING_PCM_S16LE: "s16le",
    pb.ENCODING_PCM_F32LE: "f32le",
    pb.ENCODING_MULAW: "mulaw",
    pb.ENCODING_ALAW: "alaw",
}
POOLINGS: dict[int, Pooling | None] = {
    pb.POOLING_UNSPECIFIED: None,
    pb.POOLING_NONE: "none",
    pb.POOLING_MEAN: "mean",
    pb.POOLING_MAX: "max",
}
POOLING_NUMBERS = {"none": pb.POOLING_NONE, "mean": pb.POOLING_MEAN, "max": pb.POOLING_MAX}
VECTOR_TYPES: dict[int, VectorType] = {
    pb.VECTOR_TYPE_UNSPECIFIED: "float32",
    pb.VECTOR_TYPE_FLOAT32: "float32",
    pb.VECTOR_TYPE_INT8: "int8",
    pb.VECTOR_TYPE_FLOAT16: "float16",
}
KINDS = {"embedding": pb.HEAD_KIND_EMBEDDING, "classification": pb.HEAD_KIND_CLASSIFICATION}


async def open_audio(audio: pb.Audio, sent: memoryview | None, limits: Limits, workers: Workers) -> Sound:
    """The sound of a request, whose bytes are ``sent`` where they came beside it; AudioError where it has none."""
    source = audio.WhichOneof("source")
    if source == "content":
        content = audio.content if sent is None else sent
        at_once = open_at_once(content, limits)
        return await workers.call(lambda: open_content(content, limits)) if at_once is None else at_once
    if source == "pcm":
        pcm = audio.pcm
        return open_pcm(pcm_format(pcm.format, "audio.pcm.format"), pcm.data if sent is None else sent, limits)
    raise AudioError(
        "audio is empty; set audio.content to the bytes of a file, or audio.pcm to samples",
        field="audio",
        reason="AUDIO_EMPTY",
    )


def pcm_format(message: pb.PcmFormat, field: str) -> SoundFormat:
    """A request's sample layout. OptionError for an encoding that is not given or not known."""
    encoding = _known(message.encoding, ENCODINGS, pb.Encoding.Name, f"{field}.encoding")
    return SoundFormat(encoding=encoding, sample_rate_hz=message.sample_rate_hz, channels=message.channels or 1)


def embed_options(message: pb.EmbedOptions) -> Options:
    """EmbedOptions as the engine takes them."""
    vector_type = _known(message.vector_type, VECTOR_TYPES, pb.VectorType.Name, "options.vector_type")
    return Options(
        kind="embedding",
        heads=tuple(message.heads),
        pooling=_pooling(message.pooling),
        hop_ns=_time_ns(message, "hop"),
        segment_length_ns=_time_ns(message, "segment_length"),
        l2_normalize=message.l2_normalize if message.HasField("l2_normalize") else None,
        vector_type=vector_type,
    )


def classify_options(message: pb.ClassifyOptions) -> Options:
    """ClassifyOptions as the engine takes them."""
    threshold = message.score_threshold if message.HasField("score_threshold") else None
    if threshold is not None and math.isnan(threshold):
        raise OptionError("options.score_threshold must be a number, but is NaN", field="options.score_threshold")
    return Options(
        kind="classification",
        heads=tuple(message.heads),
        pooling=_pooling(message.pooling),
        hop_ns=_time_ns(message, "hop"),
        segment_length_ns=_time_ns(message, "segment_length"),
        max_results=message.max_results if message.HasField("max_results") else None,
        score_threshold=threshold,
        allow=tuple(message.category_allowlist),
        deny=tuple(message.category_denylist),
        locale=message.display_names_locale,
        include_embeddings=message.include_embeddings,
    )


def _pooling(number: int) -> Pooling | None:
    return _known(number, POOLINGS, pb.Pooling.Name, "options.pooling")


def _known(number: int, values: Mapping[int, T], name: Callable[[int], str], field: str) -> T:
    """What a number of an enum stands for; OptionError with the names of all that are known."""
    if number not in values:
        names = ", ".join(name(known) for known in values)
        raise OptionError(f"{field} must be one of {names}, but is {number}", field=field)
    return values[number]


def _time_ns(message: pb.EmbedOptions | pb.ClassifyOptions, name: str) -> int | None:
    if not message.HasField(name):
        return None
    time = cast(duration_pb2.Duration, getattr(message, name))
    time_ns = time.seconds * NS + time.nanos
    if time_ns <= 0:
        raise OptionError(f"options.{name} must be above 0 s, but is {time_ns / NS:g} s", field=f"options.{name}")
    return time_ns


def selector(model: ServedModel, reply: pb.ModelSelector) -> None:
    """Writes which model answers."""
    reply.name = model.name
    reply.version = model.version


def embedding(answer: Answer, rate_hz: int, reply: pb.Embedding) -> None:
    """Writes an embedding head's answer into its place in a reply, as all these do: a copy would cost as much again."""
    values = cast("NDArray[np.generic]", answer.value)
    vector = reply.vector
    vector.dimension = values.size
    if values.dtype == np.int8:
        vector.int8 = values.tobytes()
    elif values.dtype == np.float16:
        vector.float16 = values.tobytes()
    else:
        vector.floats.MergeFromString(_packed_floats(values))
    _place(answer, rate_hz, reply)


def classification(answer: Answer, rate_hz: int, reply: pb.Classification) -> None:
    """Writes a classification head's answer."""
    ranked = cast(Ranked, answer.value)
    names, shown = answer.head.head.spec.category_names, answer.head.display_names
    add = reply.categories.add
    for index, score in zip(ranked.indices.tolist(), ranked.scores.tolist(), strict=True):
        category = add(index=index, score=score)
        if names:
            category.category_name = names[index]
        if shown:
            category.display_name = shown[index]
    _place(answer, rate_hz, reply)


def usage(samples: int, segments: int, rate_hz: int, reply: pb.Usage) -> None:
    """Writes what a call consumed."""
    reply.samples = samples
    reply.segments = segments
    _sample_time(samples, rate_hz, reply.duration)


def timing(spent: Timing, total_s: float, reply: pb.Timing) -> None:
    """Writes where a call's time went."""
    _time(spent.queue_s, reply.queue)
    _time(spent.decode_s, reply.decode)
    _time(spent.features_s, reply.features)
    _time(spent.inference_s, reply.inference)
    _time(total_s, reply.total)


def ready(model: ServedModel, plan: Plan) -> pb.StreamReady:
    """A stream's first reply."""
    return pb.StreamReady(
        model=pb.ModelSelector(name=model.name, version=model.version),
        sample_rate_hz=model.graph.bundle.audio.sample_rate_hz,
        segment_samples=plan.grid.samples or 0,
        hop_samples=plan.grid.hop_samples,
        heads=[_head(head.head, labels=False) for head in plan.heads],
    )


def model_message(model: ServedModel, *, newest: bool, labels: bool) -> pb.Model:
    """A loaded model, with its label lists or without."""
    bundle = model.graph.bundle
    message = pb.Model(
        name=model.name,
        version=model.version,
        description=bundle.description,
        author=bundle.author,
        license=bundle.license,
        task=bundle.task,
        sample_rate_hz=bundle.audio.sample_rate_hz,
        channels=bundle.audio.channels,
        features=bundle.preset,
        heads=[_head(head, labels=labels) for head in model.graph.heads],
        newest=newest,
        size_bytes=model.graph.size_bytes,
    )
    grid = model.grid
    if grid.samples is not None:
        message.segment_samples, message.hop_samples = grid.samples, grid.hop_samples
    return message


def _head(head: Head, *, labels: bool) -> pb.Head:
    spec = head.spec
    lists = [pb.LabelList(locale=names.locale, names=names.names) for names in spec.labels] if labels else []
    return pb.Head(
        name=spec.name,
        index=head.index,
        kind=KINDS[spec.kind],
        dimension=head.dimension,
        labels=len(spec.category_names),
        label_lists=lists,
        pooling=POOLING_NUMBERS[spec.pool],
    )


def _place(answer: Answer, rate_hz: int, reply: pb.Embedding | pb.Classification) -> None:
    reply.head = answer.head.head.spec.name
    reply.head_index = answer.head.head.index
    reply.start_sample = answer.start_sample
    reply.end_sample = answer.end_sample
    _sample_time(answer.start_sample, rate_hz, reply.start_offset)
    _sample_time(answer.end_sample, rate_hz, reply.end_offset)


def _packed_floats(values: NDArray[np.generic]) -> bytes:
    """The wire form of ``Floats{values}``: no Python object a float."""
    data = values.astype("<f4", copy=False).tobytes()
    return b"\x0a" + varint(len(data)) + data


def varint(value: int) -> bytes:
    """A number in protobuf's wire form."""
    made = bytearray()
    while value >= 0x80:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)


def _sample_time(samples: int, rate_hz: int, reply: duration_pb2.Duration) -> None:
    reply.seconds, rest = divmod(samples, rate_hz)
    reply.nanos = rest * NS // rate_hz


def _time(seconds: float, reply: duration_pb2.Duration) -> None:
    reply.seconds, reply.nanos = divmod(round(seconds * NS), NS)
