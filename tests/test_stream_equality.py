"""A stream in chunks of any size answers what Embed answers, bit for bit, over real gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import soundfile
import soxr

from auricle.config import ServerSettings
from auricle.v1 import auricle_pb2 as pb
from auricle.v1 import auricle_pb2_grpc as rpc
from serving import serving

RATE_HZ = 16000
# Of 1.6 s every 0.8 s, and one more, partial, where a quarter at most is missing or it is the only one.
SEGMENTS = {0.3: 1, 3: 3, 5: 5, 60: 74}
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


@pytest.fixture(scope="module")
def stub(voice_models: Path) -> Iterator[rpc.AudioServiceStub]:
    settings = ServerSettings(models_dir=voice_models, listen="127.0.0.1:0", watch=False)
    with serving(settings) as address, grpc.insecure_channel(address, UNLIMITED) as channel:
        yield rpc.AudioServiceStub(channel)


@pytest.fixture(scope="module")
def minute(shared_data: Path) -> bytes:
    """A minute of speech, s16le mono at 16 kHz."""
    samples, rate_hz = soundfile.read(shared_data / "formats" / "test.wav", dtype="int16")
    assert (rate_hz, samples.shape) == (RATE_HZ, (60 * RATE_HZ,))
    return samples.astype("<i2").tobytes()


def unary(stub: rpc.AudioServiceStub, layout: pb.PcmFormat, sound: bytes, options: pb.EmbedOptions) -> list[bytes]:
    """Embed's answers, each in its wire form: the vector's bits, offsets and head."""
    audio = pb.Audio(pcm=pb.PcmAudio(format=layout, data=sound))
    return wire(stub.Embed(pb.EmbedRequest(audio=audio, options=options)).embeddings)


def streamed(
    stub: rpc.AudioServiceStub, layout: pb.PcmFormat, sound: bytes, chunk_bytes: int, options: pb.EmbedOptions
) -> list[bytes]:
    """StreamEmbed's answers to the same sound in chunks of so many bytes."""

    def messages() -> Iterator[pb.StreamEmbedRequest]:
        yield pb.StreamEmbedRequest(config=pb.StreamEmbedConfig(format=layout, options=options))
        for start in range(0, len(sound), chunk_bytes):
            yield pb.StreamEmbedRequest(audio=sound[start : start + chunk_bytes])

    replies = list(stub.StreamEmbed(messages()))
    assert replies[0].HasField("ready")
    assert replies[-1].HasField("summary")
    frames = len(sound) // (2 * layout.channels)
    assert replies[-1].summary.usage.samples == -(-frames * RATE_HZ // layout.sample_rate_hz)
    return wire([embedding for reply in replies[1:-1] for embedding in reply.result.embeddings])


def wire(embeddings: list[pb.Embedding]) -> list[bytes]:
    return [embedding.SerializeToString(deterministic=True) for embedding in embeddings]


# A message costs what it costs: sound in specks of a byte is slow to send, whatever the server does.
LONG = [pytest.param(1, 3, marks=pytest.mark.slow), pytest.param(7, 60, marks=pytest.mark.slow)]


@pytest.mark.parametrize(("chunk_bytes", "seconds"), [(1, 0.3), (7, 5), (160, 60), (1600, 60), (16001, 60), *LONG])
def test_chunks_of_any_size_give_the_unary_answer(
    stub: rpc.AudioServiceStub, minute: bytes, chunk_bytes: int, seconds: float
) -> None:
    layout = pb.PcmFormat(encoding=pb.ENCODING_PCM_S16LE, sample_rate_hz=RATE_HZ, channels=1)
    sound = minute[: round(seconds * RATE_HZ) * 2]
    options = pb.EmbedOptions(pooling=pb.POOLING_NONE)
    whole = unary(stub, layout, sound, options)
    assert len(whole) == SEGMENTS[seconds]
    assert streamed(stub, layout, sound, chunk_bytes, options) == whole


@pytest.mark.parametrize("chunk_bytes", [161, 1764, 16001])
def test_resampled_stereo_in_chunks_gives_the_unary_answer(
    stub: rpc.AudioServiceStub, minute: bytes, chunk_bytes: int
) -> None:
    mono = np.frombuffer(minute, "<i2")[: 6 * RATE_HZ]
    sides = soxr.resample(np.stack([mono, mono[::-1] // 4], axis=1), RATE_HZ, 44100)
    layout = pb.PcmFormat(encoding=pb.ENCODING_PCM_S16LE, sample_rate_hz=44100, channels=2)
    sound = sides.astype("<i2").tobytes()
    options = pb.EmbedOptions(pooling=pb.POOLING_NONE)
    assert streamed(stub, layout, sound, chunk_bytes, options) == unary(stub, layout, sound, options)


def test_a_stream_s_last_running_mean_is_the_unary_answer(stub: rpc.AudioServiceStub, minute: bytes) -> None:
    layout = pb.PcmFormat(encoding=pb.ENCODING_PCM_S16LE, sample_rate_hz=RATE_HZ, channels=1)
    options = pb.EmbedOptions(pooling=pb.POOLING_MEAN)
    (whole,) = unary(stub, layout, minute, options)
    assert streamed(stub, layout, minute, 3200, options)[-1] == whole
