"""The client against a real server with small models: what it streams equals what it sends whole."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import soundfile

from auricle import errors
from auricle.client import (
    FLUSH,
    AsyncClient,
    Client,
    EmbedResult,
    Pcm,
    Ready,
    RetryPolicy,
    SegmentResult,
    StreamEvent,
    Summary,
    UnaryLimits,
    cosine,
)
from auricle.config import Limits, ServerSettings
from auricle.serve.local import LocalTransport
from models import write_classifier, write_embedder, write_waveform, write_whole_clip
from serving import serving

SMALL = UnaryLimits(content_bytes=1)
LIMITS = Limits(content_bytes=4_000_000)
RATE_HZ = 16000


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_embedder(folder / "embedder" / "1.onnx", heads=[{"pool": "mean", "l2_normalize": True}])
    # A rest of less than half a segment is dropped, which the running value must not miss.
    write_waveform(
        folder / "waveform" / "2.onnx",
        segment={"length": 1600, "hop": 800, "min_coverage": 0.6},
        heads=[{"pool": "max"}],
    )
    write_classifier(folder / "classifier.onnx", heads=[{"pool": "mean"}, {"pool": "mean"}, {"pool": "mean"}])
    write_whole_clip(folder / "whole.onnx", heads=[{"pool": "mean"}])
    return folder


@pytest.fixture(scope="module")
def address(models_dir: Path) -> Iterator[str]:
    settings = ServerSettings(models_dir=models_dir, listen="127.0.0.1:0", watch=False, grace_s=2.0, limits=LIMITS)
    with serving(settings) as target:
        yield target


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    seconds = np.arange(2.37 * 22050) / 22050
    tone = 0.3 * np.sin(2 * np.pi * 440 * seconds * (1 + seconds))
    return (tone + np.random.default_rng(5).normal(0, 0.05, seconds.size)).astype(np.float32)


def same(one: EmbedResult, other: EmbedResult) -> bool:
    assert (one.model, one.version, one.usage) == (other.model, other.version, other.usage)
    assert len(one.embeddings) == len(other.embeddings) > 0
    for a, b in zip(one.embeddings, other.embeddings, strict=True):
        assert (a.head, a.start_sample, a.end_sample) == (b.head, b.start_sample, b.end_sample)
        assert (a.start_s, a.end_s) == (b.start_s, b.end_s)
        np.testing.assert_array_equal(a.vector, b.vector)
    return True


@pytest.mark.parametrize("model", ["embedder", "waveform"])
@pytest.mark.parametrize("pooling", [None, "none", "mean", "max"])
def test_a_streamed_clip_equals_a_whole_one_whatever_the_pooling(
    address: str, tmp_path: Path, clip: np.ndarray, model: str, pooling: Any
) -> None:
    path = tmp_path / "clip.wav"
    soundfile.write(path, clip, 22050, subtype="PCM_16")
    with Client(address) as whole, Client(address, limits=SMALL) as streaming:
        assert same(
            streaming.embed(path, model=model, pooling=pooling), whole.embed(path, model=model, pooling=pooling)
        )


@pytest.mark.parametrize(
    ("suffix", "subtype"),
    [
        (".wav", "PCM_16"),
        (".wav", "PCM_U8"),
        (".wav", "PCM_24"),
        (".wav", "FLOAT"),
        (".wav", "ULAW"),
        (".wav", "ALAW"),
        (".flac", "PCM_16"),
        (".flac", "PCM_24"),
        (".aiff", "PCM_16"),
        (".ogg", "VORBIS"),
        (".mp3", "MPEG_LAYER_III"),
    ],
)
def test_a_streamed_clip_equals_a_whole_one_whatever_the_format(
    address: str, tmp_path: Path, clip: np.ndarray, suffix: str, subtype: str
) -> None:
    path = tmp_path / f"clip{suffix}"
    soundfile.write(path, np.stack([clip, 0.5 * clip[::-1]], axis=1), 22050, subtype=subtype)
    with Client(address) as whole, Client(address, limits=SMALL) as streaming:
        assert same(streaming.embed(path, model="embedder"), whole.embed(path, model="embedder"))


def test_a_streamed_classification_equals_a_whole_one(address: str, clip: np.ndarray) -> None:
    sound = Pcm(clip, 22050)
    wanted: dict[str, Any] = {"model": "classifier", "max_results": 2, "include_embeddings": True}
    with Client(address) as whole, Client(address, limits=SMALL) as streaming:
        one, other = streaming.classify(sound, **wanted), whole.classify(sound, **wanted)
    assert one.classifications == other.classifications
    assert [each.head for each in one.classifications] == ["scene", "mood"]
    np.testing.assert_array_equal(one.embeddings[0].vector, other.embeddings[0].vector)


@pytest.mark.parametrize("pooling", [None, "none", "mean"])
def test_a_model_that_takes_a_clip_at_once_is_given_no_long_one_in_segments_unasked(
    address: str, clip: np.ndarray, pooling: Any
) -> None:
    sound, wanted = Pcm(clip, 22050), {"model": "whole", "pooling": pooling}

    async def awaited() -> None:
        async with AsyncClient(address, limits=UnaryLimits(duration_s=2)) as client:
            await client.embed(sound, **wanted)

    with Client(address) as whole, Client(address, limits=SMALL) as streaming:
        with pytest.raises(
            errors.LimitError, match=r"the limit content_bytes = 1 of .*, and whole .*segment_length_s="
        ):
            streaming.embed(sound, **wanted)
        with pytest.raises(errors.LimitError, match="the limit duration_s = 2 of"):
            asyncio.run(awaited())
        assert whole.embed(sound, **wanted).usage.segments == 1
        assert same(
            streaming.embed(sound, segment_length_s=0.4, **wanted), whole.embed(sound, segment_length_s=0.4, **wanted)
        )


@pytest.mark.parametrize("pooling", [None, "mean"])
@pytest.mark.parametrize("stream_length", [None, 8000])
def test_nor_is_the_default_model(tmp_path: Path, clip: np.ndarray, pooling: Any, stream_length: int | None) -> None:
    write_whole_clip(tmp_path / "w.onnx", segment={"length": None, "hop": None, "stream_length": stream_length})
    settings = ServerSettings(models_dir=tmp_path, listen="127.0.0.1:0", watch=False, grace_s=2.0)
    sound = Pcm(clip, 22050)
    refused = pytest.raises(errors.LimitError, match=r"the limit content_bytes = 1 of .*, and (w|the default model) ")

    async def awaited(target: str) -> None:
        async with AsyncClient(target, limits=SMALL) as client:
            await client.embed(sound, pooling=pooling)

    with serving(settings) as target, Client(target, limits=SMALL) as client:
        with refused as caught:
            client.embed(sound, pooling=pooling)
        assert caught.value.field == "options.segment_length"
        with refused:
            asyncio.run(awaited(target))
        assert client.embed(sound, segment_length_s=0.4, pooling=pooling).model == "w"


def test_a_length_of_a_segment_that_the_default_model_does_not_take_is_a_bad_option(
    tmp_path: Path, clip: np.ndarray
) -> None:
    write_embedder(tmp_path / "e.onnx")
    refused = pytest.raises(errors.OptionError, match="takes segments of 96 frames and no other")
    with LocalTransport(models_dir=tmp_path) as transport, Client(transport=transport, limits=SMALL) as client, refused:
        client.embed(Pcm(clip, 22050), segment_length_s=0.4)


def test_every_door_gives_the_same_answer(address: str, models_dir: Path, clip: np.ndarray) -> None:
    sound = Pcm(clip, 22050)

    async def awaited(limits: UnaryLimits) -> EmbedResult:
        async with AsyncClient(address, limits=limits) as client:
            return await client.embed(sound, model="waveform")

    with Client(address) as client:
        expected = client.embed(sound, model="waveform")
    assert same(asyncio.run(awaited(UnaryLimits())), expected)
    assert same(asyncio.run(awaited(SMALL)), expected)
    with LocalTransport(models_dir=models_dir) as transport:
        for limits in (UnaryLimits(), SMALL):
            with Client(transport=transport, limits=limits) as client:
                assert same(client.embed(sound, model="waveform"), expected)


def test_a_chunk_larger_than_a_message_may_be_is_streamed(address: str, models_dir: Path) -> None:
    # Three channels: no power of two is a whole number of their frames.
    frames = LIMITS.content_bytes // 8
    chunk = np.random.default_rng(3).uniform(-0.5, 0.5, (frames, 3)).astype(np.float32)
    asked: dict[str, Any] = {
        "sample_rate_hz": 48000,
        "channels": 3,
        "encoding": "f32le",
        "model": "waveform",
        "hop_s": 1,
    }
    chunks = {"one": [chunk], "bytes": [chunk.tobytes()], "many": np.array_split(chunk, 50)}

    def vectors(events: list[StreamEvent]) -> np.ndarray:
        assert isinstance(events[-1], Summary)
        return np.array([event.embeddings[0].vector for event in events if isinstance(event, SegmentResult)])

    async def awaited() -> list[StreamEvent]:
        async with AsyncClient(address) as client:
            return [event async for event in client.stream_embed(chunks["one"], **asked)]

    with Client(address) as client, LocalTransport(models_dir=models_dir) as transport:
        expected = vectors(list(client.stream_embed(chunks["many"], **asked)))
        for name in ("one", "bytes"):
            np.testing.assert_array_equal(vectors(list(client.stream_embed(chunks[name], **asked))), expected)
        local = Client(transport=transport)
        np.testing.assert_array_equal(vectors(list(local.stream_embed(chunks["one"], **asked))), expected)
    np.testing.assert_array_equal(vectors(asyncio.run(awaited())), expected)


def test_a_stream_gives_what_unary_gives_with_a_flush_between(address: str, clip: np.ndarray) -> None:
    sound = (clip * 32767).astype(np.int16)[:16000]
    with Client(address) as client:
        alone = [
            client.embed(Pcm(part, RATE_HZ), model="waveform", pooling="none") for part in (sound[:9000], sound[9000:])
        ]
        chunks = [sound[:100], sound[100:9000], FLUSH, sound[9000:]]
        events = list(client.stream_embed(chunks, sample_rate_hz=RATE_HZ, model="waveform"))
    assert isinstance(events[0], Ready)
    assert isinstance(events[-1], Summary)
    got = [event.embeddings[0].vector for event in events if isinstance(event, SegmentResult)]
    first, second = ([each.vector for each in result.embeddings] for result in alone)
    # A flush forces out the rest that the end of a clip would drop.
    assert len(got) >= len(first) + len(second)
    np.testing.assert_array_equal(got[: len(first)], first)
    np.testing.assert_array_equal(got[len(got) - len(second) :], second)


@pytest.mark.parametrize(
    ("call", "expected", "reason"),
    [
        (lambda c: c.embed(b"", model="embedder"), errors.AudioError, "AUDIO_EMPTY"),
        (lambda c: c.embed(b"RIFFnonsense", model="embedder"), errors.AudioError, "AUDIO_UNDECODABLE"),
        (lambda c: c.embed(Pcm(np.full(99, np.nan), 16000), model="embedder"), errors.AudioError, None),
        (lambda c: c.embed(Pcm(np.zeros(99), 100), model="embedder"), errors.LimitError, "LIMIT_EXCEEDED"),
        (lambda c: c.embed(Pcm(np.zeros(99), 0), model="embedder"), errors.InvalidArgumentError, None),
        (lambda c: c.embed(Pcm(bytes(3), 16000, encoding="s16le"), model="embedder"), errors.AudioError, None),
        (lambda c: c.embed(Pcm(np.zeros(99), 16000), model="nobody"), errors.NotFoundError, "MODEL_NOT_FOUND"),
        (lambda c: c.embed(Pcm(np.zeros(99), 16000), model="embedder", version="9"), errors.NotFoundError, None),
        (lambda c: c.embed(Pcm(np.zeros(99), 16000)), errors.InvalidArgumentError, "MODEL_REQUIRED"),
        (lambda c: c.classify(Pcm(np.zeros(99), 16000), model="embedder"), errors.HeadKindError, "HEAD_KIND"),
        (lambda c: c.embed(Pcm(np.zeros(99), 16000), model="embedder", heads=["x"]), errors.InvalidArgumentError, None),
        (lambda c: c.embed(Pcm(np.zeros(99), 16000), model="embedder", hop_s=-1), errors.OptionError, None),
        (lambda c: c.embed(Pcm(np.zeros(2_100_000, np.int16), 48000), model="embedder"), errors.LimitError, None),
        (lambda c: list(c.stream_embed([bytes(3)], sample_rate_hz=16000, model="embedder")), errors.AudioError, None),
        (lambda c: list(c.stream_embed([b""], sample_rate_hz=16000, model="no")), errors.NotFoundError, None),
    ],
)  # fmt: skip
def test_what_the_server_refuses_has_its_class(address: str, call: Any, expected: type, reason: str | None) -> None:
    with Client(address) as client, pytest.raises(expected) as caught:
        call(client)
    assert reason is None or caught.value.reason == reason


def test_models_are_listed_and_shown(address: str) -> None:
    with Client(address) as client:
        assert [each.name for each in client.models()] == ["classifier", "embedder", "waveform", "whole"]
        assert [each.name for each in client.models("classification")] == ["classifier"]
        shown = client.model("classifier")
        assert client.health() == "SERVING"
        assert client.health("auricle.model/embedder") == "SERVING"
    assert shown.heads[1].label_lists["de"][0] == "Hund"
    assert [head.pooling for head in shown.heads] == ["mean"] * 3
    assert (shown.segment_samples, shown.hop_samples) == (1600, 800)


def test_vector_types_are_of_the_same_vector(address: str, clip: np.ndarray) -> None:
    with Client(address) as client:
        full, half, byte = (
            client.embed(Pcm(clip, 22050), model="embedder", vector_type=each).vector
            for each in ("float32", "float16", "int8")
        )
    np.testing.assert_array_equal(half, full.astype(np.float16))
    assert byte.dtype == np.int8
    assert cosine(byte, byte) == pytest.approx(1.0)


def test_a_server_that_comes_up_late_is_found_by_the_retries(models_dir: Path, clip: np.ndarray) -> None:
    settings = ServerSettings(models_dir=models_dir, listen="127.0.0.1:0", watch=False, grace_s=1.0)
    with serving(settings) as target:
        pass
    patient = RetryPolicy(attempts=40, first_delay_s=0.05, factor=1.0)
    with Client(target, retry=patient, timeout_s=60) as client:
        with pytest.raises(errors.UnavailableError):
            list(client.stream_embed(Pcm(clip, 22050), model="embedder"))
        again = ServerSettings(models_dir=models_dir, listen=target, watch=False, grace_s=1.0)
        with serving(again):
            assert client.embed(Pcm(clip, 22050), model="embedder").model == "embedder"


def test_a_foreign_server_is_told_apart(clip: np.ndarray) -> None:
    from concurrent.futures import ThreadPoolExecutor

    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with Client(f"127.0.0.1:{port}") as client, pytest.raises(errors.AuricleError, match="auricle server"):
            client.embed(Pcm(clip, 22050))
    finally:
        server.stop(None).wait()
