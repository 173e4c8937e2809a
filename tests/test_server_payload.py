"""The sound of a large request: found where it lies, and the rest of the message as protobuf reads it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import DecodeError, Message
from hypothesis import given
from hypothesis import strategies as st

from auricle.config import AdmissionSettings, BatchSettings
from auricle.errors import AuricleError, LimitError, ProtocolError
from auricle.serve import payload
from auricle.serve.arrivals import Arrivals
from auricle.serve.payload import LARGE_BYTES, MOST_BESIDE_BYTES, Sent, parse, parse_whole
from auricle.v1 import auricle_pb2 as pb
from live import failure, live_server, noise, pcm
from models import write_classifier, write_embedder

SOUND = bytes(range(256)) * (LARGE_BYTES // 256)
FORMAT = pb.PcmFormat(encoding=pb.ENCODING_PCM_S16LE, sample_rate_hz=16000)
METHODS = ("AudioService/Embed", "AudioService/Classify", "ModelService/ListModels", "ModelService/GetModel")
SELECTOR = pb.ModelSelector(name="voice", version="2")


def file() -> pb.EmbedRequest:
    return pb.EmbedRequest(model=SELECTOR, audio=pb.Audio(content=SOUND), options=pb.EmbedOptions(heads=["a"]))


def samples() -> pb.EmbedRequest:
    return pb.EmbedRequest(audio=pb.Audio(pcm=pb.PcmAudio(format=FORMAT, data=SOUND)), options=file().options)


def whole(request: pb.EmbedRequest, sound: memoryview | None) -> pb.EmbedRequest:
    """The request with its sound put back."""
    joined = pb.EmbedRequest()
    joined.CopyFrom(request)
    if sound is not None and joined.audio.WhichOneof("source") == "content":
        joined.audio.content = bytes(sound)
    elif sound is not None:
        joined.audio.pcm.data = bytes(sound)
    return joined


@pytest.mark.parametrize("request_", [file(), samples()], ids=["file", "samples"])
def test_large_sound_is_a_view_of_the_message(request_: pb.EmbedRequest) -> None:
    data = request_.SerializeToString()
    request, sent = parse(pb.EmbedRequest, data)
    assert sent is not None
    sound = sent.take()
    assert sound.obj is data
    assert sound == SOUND
    assert request.audio.WhichOneof("source") == request_.audio.WhichOneof("source")
    assert request.ByteSize() < 200
    assert whole(request, sound) == request_


def test_the_order_of_fields_does_not_matter() -> None:
    parts = [
        pb.EmbedRequest(audio=file().audio).SerializeToString(),
        pb.EmbedRequest(options=file().options).SerializeToString(),
        pb.EmbedRequest(model=SELECTOR).SerializeToString(),
    ]
    request, sent = parse(pb.EmbedRequest, b"".join(parts))
    assert sent is not None
    assert whole(request, sent.take()) == file()


def test_fields_of_a_newer_contract_are_passed_over() -> None:
    varint, fixed64, text, fixed32 = (
        b"\xa0\x06\x96\x01",
        b"\xa9\x06" + bytes(8),
        b"\xb2\x06\x02hi",
        b"\xbd\x06" + bytes(4),
    )
    data = varint + fixed64 + file().SerializeToString() + text + fixed32
    request, sent = parse(pb.EmbedRequest, data)
    assert sent is not None
    assert whole(request, sent.take()) == pb.EmbedRequest.FromString(data)


def test_a_small_request_is_parsed_whole() -> None:
    small = pb.EmbedRequest(model=SELECTOR, audio=pb.Audio(content=b"RIFF"))
    assert parse(pb.EmbedRequest, small.SerializeToString()) == (small, None)


def test_sound_that_comes_twice_is_left_to_protobuf() -> None:
    data = samples().SerializeToString() + file().SerializeToString()
    assert parse(pb.EmbedRequest, data) == (pb.EmbedRequest.FromString(data), None)


def test_a_large_request_without_sound_is_left_to_protobuf() -> None:
    request = pb.EmbedRequest(model=pb.ModelSelector(name="x" * LARGE_BYTES))
    assert parse(pb.EmbedRequest, request.SerializeToString()) == (request, None)


def test_a_walk_over_many_fields_ends() -> None:
    data = b"\xa0\x06\x01" * (LARGE_BYTES // 3) + file().SerializeToString()
    request, sent = parse(pb.EmbedRequest, data)
    assert sent is None
    assert request.audio.content == SOUND


@pytest.mark.parametrize("tail", [b"\x12", b"\x12\xff", b"\x80" * 64, b"\x1a\x7f", b"\x0b", b"\x09\x00"])
def test_a_damaged_message_is_refused(tail: bytes) -> None:
    with pytest.raises(ProtocolError, match=r"is no auricle\.v1\.EmbedRequest"):
        parse(pb.EmbedRequest, file().SerializeToString() + tail)


def names(size: int) -> pb.ClassifyOptions:
    """Options of about so many bytes."""
    return pb.ClassifyOptions(category_denylist=["x" * 100] * (size // 102))


def test_a_message_that_is_large_beside_its_sound_is_refused_unparsed(monkeypatch: pytest.MonkeyPatch) -> None:
    long = pb.ClassifyRequest(audio=pb.Audio(content=SOUND), options=names(MOST_BESIDE_BYTES + 1000))
    start = pb.StreamClassifyRequest(config=pb.StreamClassifyConfig(options=long.options))
    cases = [(parse, long), (parse_whole, start), (parse_whole, pb.GetModelRequest(model={"name": "x" * 300_000}))]
    monkeypatch.setattr(payload, "_decoded", None)
    for parsed, message in cases:
        with pytest.raises(LimitError, match=r"bytes that are no sound, the limit is 262144; send shorter names"):
            parsed(type(message), message.SerializeToString())  # type: ignore[operator]


@pytest.mark.parametrize("many", [{"model": SELECTOR}, {"audio": pb.Audio(content=b"RIFF")}], ids=["fields", "sounds"])
def test_of_a_message_whose_sound_is_not_found_nothing_is_said_that_may_be_false(many: dict[str, Message]) -> None:
    large = pb.EmbedRequest(audio=pb.Audio(content=SOUND * 8)).SerializeToString()
    with pytest.raises(
        LimitError, match=r"cannot be told from its sound, .* the sound once, and no more than 16 fields"
    ):
        parse(pb.EmbedRequest, pb.EmbedRequest(**many).SerializeToString() * 20 + large)  # type: ignore[arg-type]


def test_long_lists_and_any_length_of_sound_are_taken() -> None:
    fitting = pb.ClassifyRequest(audio=pb.Audio(content=SOUND * 8), options=names(MOST_BESIDE_BYTES - 1000))
    request, _ = parse(pb.ClassifyRequest, fitting.SerializeToString())
    assert request.options == fitting.options
    piece = pb.StreamClassifyRequest(audio=SOUND * 8)
    assert parse_whole(pb.StreamClassifyRequest, piece.SerializeToString()) == piece


async def test_long_lists_are_refused_with_the_limit(tmp_path: Path) -> None:
    write_classifier(tmp_path / "labels.onnx")
    options = names(MOST_BESIDE_BYTES + 1000)
    start = pb.StreamClassifyRequest(config=pb.StreamClassifyConfig(format=FORMAT, options=options))
    async with live_server(tmp_path) as running:
        unary = running.audio.Classify(pb.ClassifyRequest(audio=pcm(noise(1.0)), options=options))
        stream = running.audio.StreamClassify(iter([start]))
        for ending in (unary, stream.read()):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await ending
            failed = failure(caught.value)
            assert (failed.code, failed.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "LIMIT_EXCEEDED")


async def test_what_is_no_message_is_refused_as_such_wherever_it_comes(tmp_path: Path) -> None:
    write_classifier(tmp_path / "labels.onnx")
    garbage = b"\xff\xff\xff"
    # Both kinds of stream have the same form of config, and the model has heads for both.
    start = pb.StreamEmbedRequest(config=pb.StreamEmbedConfig(format=FORMAT)).SerializeToString()
    async with live_server(tmp_path) as running:
        calls: list[AsyncIterator[bytes]] = [
            running.channel.unary_stream(f"/auricle.v1.{method}")(garbage) for method in METHODS
        ]
        for method in ("StreamEmbed", "StreamClassify"):
            open_stream = running.channel.stream_stream(f"/auricle.v1.AudioService/{method}")
            calls += [open_stream(iter([garbage])), open_stream(iter([start, garbage]))]
        for call in calls:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                async for _ in call:
                    pass
            failed = failure(caught.value)
            assert (failed.code, failed.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "STREAM_PROTOCOL")
            assert "is no auricle.v1." in failed.message


async def test_a_sound_is_let_go_when_it_has_become_features(tmp_path: Path) -> None:
    write_embedder(tmp_path / "tiny.onnx")
    # The delay holds the segments in the batcher: the call waits long after its sound was read.
    async with live_server(tmp_path, batch=BatchSettings(max_delay_s=5.0)) as running:
        layout = pb.PcmFormat(encoding=pb.ENCODING_PCM_S16LE, sample_rate_hz=16000)
        request = pb.EmbedRequest(audio=pb.Audio(pcm=pb.PcmAudio(format=layout)))
        data = bytearray(16000)
        call = asyncio.ensure_future(running.server.api.embed(request, Sent(memoryview(data))))
        (model,) = running.server.repository.models()
        while not model.batcher.waiting:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)
        data.clear()  # a BufferError where anybody still has a view
        assert (len(data), call.done()) == (0, False)
        call.cancel()


async def test_a_message_is_let_go_before_its_call_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone, loop = asyncio.Event(), asyncio.get_running_loop()

    class Watched(bytes):
        def __del__(self) -> None:
            loop.call_soon_threadsafe(gone.set)

    class WatchedArrivals(Arrivals):
        async def message(self, context: Any, client: str) -> bytes | AuricleError:
            came = await super().message(context, client)
            assert isinstance(came, bytes)
            return Watched(came)

    monkeypatch.setattr("auricle.serve.grpc.Arrivals", WatchedArrivals)
    write_embedder(tmp_path / "tiny.onnx")
    # Whole segments: the last one waits for the delay's end, with nothing left to read.
    async with live_server(tmp_path, batch=BatchSettings(max_delay_s=60.0), grace_s=0.0) as running:
        call = running.audio.Embed(pb.EmbedRequest(audio=pcm(noise(10.0))))
        await asyncio.wait_for(gone.wait(), 20)
        assert not call.done()
        call.cancel()


async def test_a_call_without_a_message_takes_no_place_and_is_told_so(tmp_path: Path) -> None:
    write_embedder(tmp_path / "tiny.onnx")
    async with live_server(tmp_path, admission=AdmissionSettings(calls=1)) as running:
        silent = running.channel.stream_unary("/auricle.v1.AudioService/Embed")()
        await silent.wait_for_connection()
        # The server takes calls in the order in which they came: the silent one is there when this one is answered.
        await running.audio.Embed(pb.EmbedRequest(audio=pcm(noise(1.0))))
        await silent.done_writing()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await silent
        assert failure(caught.value).code is grpc.StatusCode.INVALID_ARGUMENT


@given(st.data())
def test_damage_changes_nothing_that_protobuf_would_say(data: st.DataObject) -> None:
    sound = bytes(200)
    message = bytearray(data.draw(st.sampled_from([file, samples]))().SerializeToString().replace(SOUND, sound))
    for _ in range(data.draw(st.integers(0, 4))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    message = message[: data.draw(st.integers(0, len(message)))] + data.draw(st.binary(max_size=8))
    sent = bytes(message)
    try:
        lifted = payload._lift(sent, {2: payload.SOUND})
    except payload._UnclearError:
        lifted = None
    try:
        expected = pb.EmbedRequest.FromString(sent)
    except DecodeError:
        if lifted is not None:
            with pytest.raises(DecodeError):
                pb.EmbedRequest.FromString(lifted[0])
        return
    if lifted is not None:
        assert whole(pb.EmbedRequest.FromString(lifted[0]), lifted[1]) == expected
