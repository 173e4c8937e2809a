"""Bad input: each kind gets the right code and reason, leaks nothing, and the next request is served."""

from __future__ import annotations

import asyncio
import gc
import os
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import pytest_asyncio

from auricle.config import Limits
from auricle.v1 import auricle_pb2 as pb
from live import Live, audio, config, encoded, failure, live_server, noise, pcm
from models import write_classifier, write_embedder

INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[Live]:
    write_embedder(tmp_path / "tiny.onnx")
    write_classifier(tmp_path / "labels.onnx")
    async with live_server(tmp_path, default_model="tiny") as running:
        yield running
        await assert_clean(running)


async def assert_clean(running: Live) -> None:
    """Nothing waits, no stream is open, and a good request is answered."""
    good = await running.audio.Embed(pb.EmbedRequest(audio=pcm(noise(1.0))))
    assert good.usage.segments > 0
    async with asyncio.timeout(5):
        while running.server.admission.calls or running.server.admission.streams:  # noqa: ASYNC110
            await asyncio.sleep(0)  # a turn of the loop that the server runs on too
    assert all(model.batcher.waiting == 0 for model in running.server.repository.models())


def wav(rate_hz: int = 16000, channels: int = 1, data: bytes = b"", promised: int | None = None) -> bytes:
    """A 16-bit WAV with a header that says what it is told to."""
    size = len(data) if promised is None else promised
    layout = struct.pack("<HHIIHH", 1, channels, rate_hz, rate_hz * channels * 2, channels * 2, 16)
    return (
        b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt " + struct.pack("<I", 16) + layout
        + b"data" + struct.pack("<I", size) + data
    )  # fmt: skip


def float_wav(bad: float) -> bytes:
    samples = noise(0.5)
    samples[100] = bad
    return encoded(samples, subtype="FLOAT")


def silent_flac(hours: float) -> bytes:
    return encoded(np.zeros(round(hours * 3600 * 4000), np.int16), 4000, "FLAC", "PCM_16")


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


CONTENT = {
    "empty": (b"", "AUDIO_EMPTY"),
    "wrong magic": (b"GIF89a" + bytes(100), "AUDIO_UNDECODABLE"),
    "text": (b"this is not sound at all\n" * 10, "AUDIO_UNDECODABLE"),
    "truncated header": (wav(data=bytes(64))[:30], "AUDIO_UNDECODABLE"),
    "truncated WAV": (cut(encoded(noise(1.0))), "AUDIO_TRUNCATED"),
    "truncated FLAC": (cut(encoded(noise(1.0), format="FLAC")), None),
    "zero-length data chunk": (wav(), "AUDIO_EMPTY"),
    "NaN": (float_wav(float("nan")), "AUDIO_NOT_FINITE"),
    "infinity": (float_wav(float("inf")), "AUDIO_NOT_FINITE"),
    "9 channels": (wav(channels=9, data=bytes(180)), "LIMIT_EXCEEDED"),
    "rate too low": (wav(rate_hz=3999, data=bytes(180)), "LIMIT_EXCEEDED"),
    "3 hours of silence": (silent_flac(3), "LIMIT_EXCEEDED"),
}


@pytest.mark.parametrize("case", CONTENT)
async def test_bad_content_is_refused_with_its_reason(server: Live, case: str) -> None:
    content, reason = CONTENT[case]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await server.audio.Embed(pb.EmbedRequest(audio=pb.Audio(content=content)))
    failed = failure(caught.value)
    assert failed.code is INVALID
    assert failed.reason == reason or (reason is None and failed.reason in ("AUDIO_TRUNCATED", "AUDIO_UNDECODABLE"))
    assert failed.fields


def raw(rate_hz: int, channels: int, data: bytes, encoding: int = pb.ENCODING_PCM_S16LE) -> pb.Audio:
    layout = pb.PcmFormat(encoding=encoding, sample_rate_hz=rate_hz, channels=channels)
    return pb.Audio(pcm=pb.PcmAudio(format=layout, data=data))


PCM = {
    "no source": (pb.Audio(), "AUDIO_EMPTY", "audio"),
    "no encoding": (raw(16000, 1, bytes(64), 0), "OPTION_INVALID", "audio.pcm.format.encoding"),
    "unknown encoding": (raw(16000, 1, bytes(64), 99), "OPTION_INVALID", "audio.pcm.format.encoding"),
    "0 Hz": (raw(0, 1, bytes(64)), "LIMIT_EXCEEDED", "audio.pcm.format.sample_rate_hz"),
    "9 channels": (raw(16000, 9, bytes(180)), "LIMIT_EXCEEDED", "audio.pcm.format.channels"),
    "odd length": (raw(16000, 1, bytes(63)), "AUDIO_SPLIT_SAMPLE", "audio.pcm.data"),
    "half a stereo frame": (raw(16000, 2, bytes(62)), "AUDIO_SPLIT_SAMPLE", "audio.pcm.data"),
    "no samples": (raw(16000, 1, b""), "AUDIO_EMPTY", "audio"),
    "NaN": (pcm(np.array([0, np.nan, 0], np.float32)), "AUDIO_NOT_FINITE", "audio"),
    "far out of range": (pcm(np.full(16000, 1e19, np.float32)), "AUDIO_OUT_OF_RANGE", "audio"),
}


@pytest.mark.parametrize("case", PCM)
async def test_bad_pcm_is_refused_with_its_field(server: Live, case: str) -> None:
    sound, reason, field = PCM[case]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await server.audio.Embed(pb.EmbedRequest(audio=sound))
    failed = failure(caught.value)
    assert (failed.code, failed.reason) == (INVALID, reason)
    assert any(name.startswith(field) for name in failed.fields)


async def test_unknown_model_is_not_found_and_the_message_lists_the_names(server: Live) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await server.audio.Embed(pb.EmbedRequest(model=pb.ModelSelector(name="nobody"), audio=pcm(noise(1.0))))
    failed = failure(caught.value)
    assert (failed.code, failed.reason) == (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND")
    assert "tiny" in failed.message


async def test_wrong_head_kind_is_a_failed_precondition(server: Live) -> None:
    request = pb.ClassifyRequest(model=pb.ModelSelector(name="tiny"), audio=pcm(noise(1.0)))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await server.audio.Classify(request)
    assert failure(caught.value).code is grpc.StatusCode.FAILED_PRECONDITION


async def test_unknown_head_is_invalid_and_names_its_place(server: Live) -> None:
    request = pb.EmbedRequest(audio=pcm(noise(1.0)), options=pb.EmbedOptions(heads=["nose"]))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await server.audio.Embed(request)
    failed = failure(caught.value)
    assert (failed.code, failed.fields) == (INVALID, ("options.heads[0]",))


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (pb.EmbedOptions(pooling=17), "options.pooling"),  # type: ignore[arg-type]
        (pb.EmbedOptions(vector_type=17), "options.vector_type"),  # type: ignore[arg-type]
        (pb.EmbedOptions(hop={"seconds": -1}), "options.hop"),
        (pb.EmbedOptions(hop={}), "options.hop"),
        (pb.EmbedOptions(segment_length={"seconds": 1}), "options.segment_length"),
    ],
)
async def test_bad_options_name_their_field(server: Live, options: pb.EmbedOptions, field: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await server.audio.Embed(pb.EmbedRequest(audio=pcm(noise(1.0)), options=options))
    failed = failure(caught.value)
    assert (failed.code, failed.fields) == (INVALID, (field,))


async def test_an_unknown_number_is_told_what_is_known(server: Live) -> None:
    options = pb.EmbedOptions(vector_type=17)  # type: ignore[arg-type]
    with pytest.raises(grpc.aio.AioRpcError, match=r"VECTOR_TYPE_FLOAT32, VECTOR_TYPE_INT8, .*but is 17"):
        await server.audio.Embed(pb.EmbedRequest(audio=pcm(noise(1.0)), options=options))


STREAMS = {
    "audio before config": ([audio(bytes(64))], INVALID, "STREAM_PROTOCOL"),
    "flush before config": ([pb.StreamEmbedRequest(flush=pb.Flush())], INVALID, "STREAM_PROTOCOL"),
    "nothing at all": ([], INVALID, "STREAM_PROTOCOL"),
    "an empty message first": ([pb.StreamEmbedRequest()], INVALID, "STREAM_PROTOCOL"),
    "an empty message later": ([config(), pb.StreamEmbedRequest()], INVALID, "STREAM_PROTOCOL"),
    "two configs": ([config(), config()], INVALID, "STREAM_PROTOCOL"),
    "a split sample at the end": ([config(), audio(bytes(63))], INVALID, "AUDIO_SPLIT_SAMPLE"),
    "NaN": ([config(), audio(np.full(16, np.nan, "<f4").tobytes())], INVALID, "AUDIO_NOT_FINITE"),
    "0 Hz": ([config(rate_hz=0)], INVALID, "LIMIT_EXCEEDED"),
    "unknown model": ([config(model=pb.ModelSelector(name="x"))], grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND"),
}


@pytest.mark.parametrize("case", STREAMS)
async def test_a_bad_stream_ends_with_its_reason(server: Live, case: str) -> None:
    messages, code, reason = STREAMS[case]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in server.audio.StreamEmbed(iter(messages)):
            pass
    failed = failure(caught.value)
    assert (failed.code, failed.reason) == (code, reason)


async def test_a_silent_stream_is_ended_at_the_idle_time_out(tmp_path: Path) -> None:
    write_embedder(tmp_path / "tiny.onnx")
    async with live_server(tmp_path, limits=Limits(idle_s=0.2)) as running:
        call = running.audio.StreamEmbed()
        await call.write(config())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in call:
                pass
        await assert_clean(running)
    failed = failure(caught.value)
    assert (failed.code, failed.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "STREAM_IDLE")


async def test_a_client_that_vanishes_leaves_nothing_behind(server: Live) -> None:
    call = server.audio.StreamEmbed()
    await call.write(config())
    await call.write(audio(noise(3.0).tobytes()))
    assert (await call.read()).HasField("ready")
    call.cancel()


async def test_a_deadline_that_has_passed_is_said_and_leaves_nothing_behind(server: Live) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await server.audio.Embed(pb.EmbedRequest(audio=pcm(noise(600.0))), timeout=0.001)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_message_over_the_limit_is_refused_by_grpc_itself(tmp_path: Path) -> None:
    write_embedder(tmp_path / "tiny.onnx")
    async with live_server(tmp_path, limits=Limits(content_bytes=1000)) as running:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running.audio.Embed(pb.EmbedRequest(audio=pcm(noise(60.0, 48000))))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running.audio.Embed(pb.EmbedRequest(audio=pcm(noise(1.0))))
        failed = failure(caught.value)
        assert (failed.code, failed.reason) == (INVALID, "LIMIT_EXCEEDED")
        assert "content_bytes = 1000" in failed.message


async def test_too_many_streams_are_told_when_to_come_back(tmp_path: Path) -> None:
    write_embedder(tmp_path / "tiny.onnx")
    async with live_server(tmp_path, limits=Limits(streams=1)) as running:
        first = running.audio.StreamEmbed()
        await first.write(config())
        assert (await first.read()).HasField("ready")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in running.audio.StreamEmbed(iter([config()])):
                pass
        failed = failure(caught.value)
        assert (failed.code, failed.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS")
        assert failed.retry_s is not None
        assert failed.retry_s > 0
        await first.done_writing()
        assert (await first.read()).HasField("summary")
        assert await first.read() is grpc.aio.EOF


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the process's memory from /proc")
async def test_bad_input_leaves_no_memory_behind(server: Live) -> None:
    small = [content for name, (content, _) in CONTENT.items() if name != "3 hours of silence"]

    async def fail(content: bytes) -> None:
        with pytest.raises(grpc.aio.AioRpcError):
            await server.audio.Embed(pb.EmbedRequest(audio=pb.Audio(content=content)))

    async def vanish() -> None:
        call = server.audio.StreamEmbed()
        await call.write(config())
        await call.write(audio(noise(3.0).tobytes()))
        await call.read()
        call.cancel()

    async def a_round() -> None:
        await asyncio.gather(*(fail(content) for content in small), *(vanish() for _ in range(4)))

    for _ in range(10):
        await a_round()
    gc.collect()
    before = resident_bytes()
    # Each round sends about 1 MB: were any of it kept, 60 rounds would show.
    for _ in range(60):
        await a_round()
    gc.collect()
    assert resident_bytes() - before < 16 * 1024 * 1024
