"""From the server's messages to the records that calls give back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from google.protobuf.duration_pb2 import Duration
from numpy.typing import NDArray

from auricle.client.results import (
    Category,
    Classification,
    ClassifyResult,
    Embedding,
    EmbedResult,
    Flushed,
    HeadInfo,
    ModelInfo,
    Ready,
    SegmentResult,
    StreamEvent,
    Summary,
    Timing,
    Usage,
)
from auricle.errors import InternalError
from auricle.v1 import auricle_pb2 as pb

__all__ = ["classify_result", "embed_result", "model_info", "stream_event"]


def embed_result(response: pb.EmbedResponse) -> EmbedResult:
    """Reads Embed's answer."""
    return EmbedResult(
        model=response.model.name,
        version=response.model.version,
        embeddings=_embeddings(response.embeddings),
        usage=_usage(response.usage),
        timing=_timing(response.timing),
    )


def classify_result(response: pb.ClassifyResponse) -> ClassifyResult:
    """Reads Classify's answer."""
    return ClassifyResult(
        model=response.model.name,
        version=response.model.version,
        classifications=_classifications(response.classifications),
        usage=_usage(response.usage),
        timing=_timing(response.timing),
        embeddings=_embeddings(response.embeddings),
    )


def model_info(model: pb.Model) -> ModelInfo:
    """Reads one model of ListModels or GetModel."""
    return ModelInfo(
        name=model.name,
        version=model.version,
        description=model.description,
        author=model.author,
        license=model.license,
        task=model.task,
        sample_rate_hz=model.sample_rate_hz,
        channels=model.channels,
        segment_samples=model.segment_samples if model.HasField("segment_samples") else None,
        hop_samples=model.hop_samples if model.HasField("hop_samples") else None,
        features=model.features,
        heads=_heads(model.heads),
        newest=model.newest,
        size_bytes=model.size_bytes,
    )


def stream_event(response: pb.StreamEmbedResponse | pb.StreamClassifyResponse) -> StreamEvent | None:
    """Reads one reply of a stream; None for a kind that this client does not know yet."""
    kind = response.WhichOneof("payload")
    if kind == "ready":
        ready = response.ready
        return Ready(
            model=ready.model.name,
            version=ready.model.version,
            sample_rate_hz=ready.sample_rate_hz,
            segment_samples=ready.segment_samples,
            hop_samples=ready.hop_samples,
            heads=_heads(ready.heads),
        )
    if kind == "result":
        if isinstance(response, pb.StreamEmbedResponse):
            return SegmentResult(embeddings=_embeddings(response.result.embeddings))
        return SegmentResult(
            embeddings=_embeddings(response.result.embeddings),
            classifications=_classifications(response.result.classifications),
        )
    if kind == "flushed":
        return Flushed(end_sample=response.flushed.end_sample)
    if kind == "summary":
        return Summary(usage=_usage(response.summary.usage), timing=_timing(response.summary.timing))
    return None


def _vector(message: pb.FeatureVector) -> NDArray[Any]:
    kind = message.WhichOneof("value")
    vector: NDArray[Any]
    if kind == "floats":
        values = message.floats.values
        vector = np.fromiter(values, dtype=np.float32, count=len(values))
    elif kind == "int8":
        vector = np.frombuffer(message.int8, dtype=np.int8).copy()
    elif kind == "float16":
        vector = np.frombuffer(message.float16, dtype="<f2").astype(np.float16)
    else:
        raise InternalError("the reply holds a vector of a type that this client does not know; update it")
    if vector.size != message.dimension:
        raise InternalError(f"the reply's vector has {vector.size} elements, not {message.dimension} as it says")
    return vector


def _embeddings(messages: Iterable[pb.Embedding]) -> tuple[Embedding, ...]:
    return tuple(Embedding(**_place(each), vector=_vector(each.vector)) for each in messages)


def _classifications(messages: Iterable[pb.Classification]) -> tuple[Classification, ...]:
    return tuple(
        Classification(
            **_place(each),
            categories=tuple(
                Category(
                    index=category.index,
                    score=category.score,
                    category_name=category.category_name,
                    display_name=category.display_name,
                )
                for category in each.categories
            ),
        )
        for each in messages
    )


def _place(answer: pb.Embedding | pb.Classification) -> dict[str, Any]:
    """Which head's answer it is, and of what part of the sound."""
    return {
        "head": answer.head,
        "head_index": answer.head_index,
        "start_s": _seconds(answer.start_offset),
        "end_s": _seconds(answer.end_offset),
        "start_sample": answer.start_sample,
        "end_sample": answer.end_sample,
    }


_KINDS = {pb.HEAD_KIND_EMBEDDING: "embedding", pb.HEAD_KIND_CLASSIFICATION: "classification"}
_POOLINGS = {pb.POOLING_NONE: "none", pb.POOLING_MEAN: "mean", pb.POOLING_MAX: "max"}


def _heads(messages: Iterable[pb.Head]) -> tuple[HeadInfo, ...]:
    return tuple(
        HeadInfo(
            name=each.name,
            index=each.index,
            kind=_KINDS.get(each.kind, "unknown"),
            dimension=each.dimension,
            labels=each.labels,
            pooling=_POOLINGS.get(each.pooling),
            label_lists={one.locale: tuple(one.names) for one in each.label_lists},
        )
        for each in messages
    )


def _usage(message: pb.Usage) -> Usage:
    return Usage(samples=message.samples, duration_s=_seconds(message.duration), segments=message.segments)


def _timing(message: pb.Timing) -> Timing:
    return Timing(
        queue_s=_seconds(message.queue),
        decode_s=_seconds(message.decode),
        features_s=_seconds(message.features),
        inference_s=_seconds(message.inference),
        total_s=_seconds(message.total),
    )


def _seconds(message: Duration) -> float:
    # Rounded once: 1 + 0.996916099 is 1.9969160989999999.
    return (message.seconds * 1_000_000_000 + message.nanos) / 1e9
