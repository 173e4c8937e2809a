"""The sound of a large request: found where it lies, and the rest of the message as protobuf reads it."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from auricle.errors import ProtocolError
from auricle.serve import payload
from auricle.serve.payload import LARGE_BYTES, parse
from auricle.v1 import auricle_pb2 as pb

SOUND = bytes(range(256)) * (LARGE_BYTES // 256)
FORMAT = pb.PcmFormat(encoding=pb.ENCODING_PCM_S16LE, sample_rate_hz=16000)
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
    request, sound = parse(pb.EmbedRequest, data)
    assert sound is not None
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
    request, sound = parse(pb.EmbedRequest, b"".join(parts))
    assert sound is not None
    assert whole(request, sound) == file()


def test_fields_of_a_newer_contract_are_passed_over() -> None:
    varint, fixed64, text, fixed32 = (
        b"\xa0\x06\x96\x01",
        b"\xa9\x06" + bytes(8),
        b"\xb2\x06\x02hi",
        b"\xbd\x06" + bytes(4),
    )
    data = varint + fixed64 + file().SerializeToString() + text + fixed32
    request, sound = parse(pb.EmbedRequest, data)
    assert sound is not None
    assert whole(request, sound) == pb.EmbedRequest.FromString(data)


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
    data = b"\xa0\x06\x01" * LARGE_BYTES + file().SerializeToString()
    request, sound = parse(pb.EmbedRequest, data)
    assert sound is None
    assert request.audio.content == SOUND


@pytest.mark.parametrize("tail", [b"\x12", b"\x12\xff", b"\x80" * 64, b"\x1a\x7f", b"\x0b", b"\x09\x00"])
def test_a_damaged_message_is_refused(tail: bytes) -> None:
    with pytest.raises(ProtocolError, match=r"is no auricle\.v1\.EmbedRequest"):
        parse(pb.EmbedRequest, file().SerializeToString() + tail)


@given(st.data())
def test_damage_changes_nothing_that_protobuf_would_say(data: st.DataObject) -> None:
    sound = bytes(200)
    message = bytearray(data.draw(st.sampled_from([file, samples]))().SerializeToString().replace(SOUND, sound))
    for _ in range(data.draw(st.integers(0, 4))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    message = message[: data.draw(st.integers(0, len(message)))] + data.draw(st.binary(max_size=8))
    sent = bytes(message)
    lifted = payload._lift(sent, {2: payload.SOUND})
    try:
        expected = pb.EmbedRequest.FromString(sent)
    except DecodeError:
        if lifted is not None:
            with pytest.raises(DecodeError):
                pb.EmbedRequest.FromString(lifted[0])
        return
    if lifted is not None:
        assert whole(pb.EmbedRequest.FromString(lifted[0]), lifted[1]) == expected
