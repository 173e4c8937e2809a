"""The client: audio in, typed results with NumPy vectors out, over gRPC or any object with the same calls."""

from auricle.client.aio import AsyncClient
from auricle.client.audio import FLUSH, AudioInput, Pcm, UnaryLimits
from auricle.client.detections import Detection, Detector
from auricle.client.options import ClassifyOptions, EmbedOptions, Encoding, Pooling, VectorType
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
from auricle.client.retries import RetryPolicy
from auricle.client.similarity import cosine
from auricle.client.sync import Client
from auricle.client.transport import TlsOptions

__all__ = [
    "FLUSH",
    "AsyncClient",
    "AudioInput",
    "Category",
    "Classification",
    "ClassifyOptions",
    "ClassifyResult",
    "Client",
    "Detection",
    "Detector",
    "EmbedOptions",
    "EmbedResult",
    "Embedding",
    "Encoding",
    "Flushed",
    "HeadInfo",
    "ModelInfo",
    "Pcm",
    "Pooling",
    "Ready",
    "RetryPolicy",
    "SegmentResult",
    "StreamEvent",
    "Summary",
    "Timing",
    "TlsOptions",
    "UnaryLimits",
    "Usage",
    "VectorType",
    "cosine",
]
