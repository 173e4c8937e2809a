"""A real server in the test's own loop, on a free port, and what async tests ask of it."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import soundfile
from google.rpc import error_details_pb2, status_pb2

from auricle.config import ServerSettings
from auricle.serve.lifecycle import Server
from auricle.v1 import auricle_pb2 as pb
from auricle.v1 import auricle_pb2_grpc as rpc

DETAILS_KEY = "grpc-status-details-bin"


@dataclass(frozen=True)
class Live:
    """A running server and its stubs."""

    server: Server
    channel: grpc.aio.Channel
    audio: Any
    models: Any


@asynccontextmanager
async def live_server(models_dir: Path, **settings: Any) -> AsyncIterator[Live]:
    """Serves a models directory on a free port of 127.0.0.1."""
    chosen = {"listen": "127.0.0.1:0", "watch": False, "grace_s": 5.0} | settings
    async with Server(ServerSettings(models_dir=models_dir, **chosen)) as server:
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options) as channel:
            yield Live(server, channel, rpc.AudioServiceStub(channel), rpc.ModelServiceStub(channel))


@dataclass(frozen=True)
class Failure:
    """A gRPC failure with its google.rpc details."""

    code: grpc.StatusCode
    message: str
    reason: str | None
    fields: tuple[str, ...]
    retry_s: float | None


def failure(error: grpc.aio.AioRpcError) -> Failure:
    """Reads a status and its details."""
    reason, retry_s = None, None
    fields: list[str] = []
    for key, value in error.trailing_metadata():
        if key != DETAILS_KEY:
            continue
        for packed in status_pb2.Status.FromString(value).details:
            info, request, retry = (
                error_details_pb2.ErrorInfo(),
                error_details_pb2.BadRequest(),
                error_details_pb2.RetryInfo(),
            )
            if packed.Unpack(info):
                reason = info.reason
            elif packed.Unpack(request):
                fields += [violation.field for violation in request.field_violations]
            elif packed.Unpack(retry):
                retry_s = retry.retry_delay.ToNanoseconds() / 1e9
    return Failure(error.code(), error.details() or "", reason, tuple(fields), retry_s)


def noise(seconds: float, rate_hz: int = 16000, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Deterministic noise at about -20 dBFS: f32 (n,) or (n, channels)."""
    shape = (round(seconds * rate_hz), channels) if channels > 1 else round(seconds * rate_hz)
    return np.random.default_rng(seed).normal(0, 0.1, shape).astype(np.float32)


def encoded(samples: np.ndarray, rate_hz: int = 16000, format: str = "WAV", subtype: str | None = None) -> bytes:  # noqa: A002
    """Samples as the bytes of a file."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format=format, subtype=subtype)
    return file.getvalue()


def pcm(samples: np.ndarray, rate_hz: int = 16000) -> pb.Audio:
    """f32 samples (n,) or (n, channels) as raw PCM."""
    channels = samples.shape[1] if samples.ndim == 2 else 1
    layout = pb.PcmFormat(encoding=pb.ENCODING_PCM_F32LE, sample_rate_hz=rate_hz, channels=channels)
    return pb.Audio(pcm=pb.PcmAudio(format=layout, data=samples.astype("<f4").tobytes()))


def vectors(embeddings: Iterable[pb.Embedding]) -> np.ndarray:
    """Float vectors as rows."""
    return np.array([embedding.vector.floats.values for embedding in embeddings], np.float32)


def config(rate_hz: int = 16000, encoding: int = pb.ENCODING_PCM_F32LE, **fields: Any) -> pb.StreamEmbedRequest:
    """A stream's first message."""
    layout = pb.PcmFormat(encoding=encoding, sample_rate_hz=rate_hz)
    return pb.StreamEmbedRequest(config=pb.StreamEmbedConfig(format=layout, **fields))


def audio(data: bytes) -> pb.StreamEmbedRequest:
    """A piece of a stream."""
    return pb.StreamEmbedRequest(audio=data)
