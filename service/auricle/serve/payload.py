"""Messages from their wire form. A large unary request's sound is left where it came; protobuf would copy it twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from auricle.engine.decode import Block
from auricle.errors import LimitError, ProtocolError
from auricle.serve.wire import varint
from auricle.v1 import auricle_pb2 as pb

__all__ = ["MessageT", "RequestT", "Sent", "parse", "parse_whole"]

RequestT = TypeVar("RequestT", pb.EmbedRequest, pb.ClassifyRequest)
MessageT = TypeVar("MessageT", bound=Message)

# A walk over the fields takes about as long as both copies of so much.
LARGE_BYTES = 64 * 1024
# Of a message beside its sound: ten thousand names. They are read on the event loop, in 4 ms.
MOST_BESIDE_BYTES = 256 * 1024
READ_BLOCKS = 16
_AUDIO = pb.Audio.DESCRIPTOR.fields_by_name
_PCM = pb.PcmAudio.DESCRIPTOR.fields_by_name
# Field numbers on the way to the sound in a request; an empty mapping is the sound itself.
Fields = Mapping[int, "Fields"]
SOUND: Fields = {_AUDIO["content"].number: {}, _AUDIO["pcm"].number: {_PCM["data"].number: {}}}
# Wire types of protobuf's encoding: https://protobuf.dev/programming-guides/encoding/
VARINT, DELIMITED = 0, 2
FIXED_BYTES = {1: 8, 5: 4}
LONGEST_VARINT = 10
# Of one message on the way to the sound. A made one could have millions, and this walk is on the event loop.
MOST_FIELDS = 16


class _UnclearError(Exception):
    """The walk does not find its way: damage, a sound that comes twice, or too many fields. Protobuf judges that."""


class Sent:
    """The bytes of a sound, for whoever takes them: they are freed when that one has read them, not with the call."""

    def __init__(self, sound: memoryview) -> None:
        self._sound: memoryview | None = sound
        self.on_read: Callable[[], None] = lambda: None

    def take(self) -> memoryview:
        """The bytes, once."""
        sound, self._sound = self._sound, None
        if sound is None:
            raise RuntimeError("the sound was taken already")
        return sound

    def watch(self, blocks: Iterator[Block]) -> Iterator[Block]:
        """Passes the sound's blocks on, and calls ``on_read`` when all have been asked for, or ``READ_BLOCKS``.

        It is called in the thread that asks. A sound of more blocks takes long, and nobody should wait for its end.
        """
        for number, block in enumerate(blocks):
            if number == READ_BLOCKS:
                self.on_read()
            yield block
        self.on_read()


def parse(kind: type[RequestT], data: bytes) -> tuple[RequestT, Sent | None]:
    """A request from its wire form. Of a large one the sound comes beside it, and its field is set but empty.

    Raises ProtocolError where the bytes are no such message, LimitError where more than ``MOST_BESIDE_BYTES`` of them
    are not its sound, or cannot be told from it.
    """
    rest, sound = _divided(kind, data)
    return _decoded(kind, rest, data), None if sound is None else Sent(sound)


def parse_whole(kind: type[MessageT], data: bytes) -> MessageT:
    """Any other message from its wire form, with its sound. Raises what ``parse`` does."""
    _divided(kind, data)
    return _decoded(kind, data, data)


def _divided(kind: type[Message], data: bytes) -> tuple[bytes, memoryview | None]:
    """A message of a kind without its sound, and the sound; None where the message is small or has none."""
    if len(data) < LARGE_BYTES:
        return data, None
    audio = kind.DESCRIPTOR.fields_by_name.get("audio")
    counted, advice = "are no sound", "send shorter names and lists"
    try:
        lifted = audio and _lift(data, {audio.number: SOUND if audio.message_type else {}})
    except _UnclearError:
        lifted = None
        counted = "cannot be told from its sound"
        advice = f"send the sound once, and no more than {MOST_FIELDS} fields"
    rest, sound = lifted or (data, None)
    if len(rest) > MOST_BESIDE_BYTES:
        raise LimitError(
            f"{kind.DESCRIPTOR.full_name} has {len(rest)} bytes that {counted}, the limit is {MOST_BESIDE_BYTES}; "
            f"{advice}"
        )
    return rest, sound


def _decoded(kind: type[MessageT], data: bytes, sent: bytes) -> MessageT:
    try:
        return kind.FromString(data)
    except DecodeError as error:
        name = kind.DESCRIPTOR.full_name
        raise ProtocolError(f"the message of {len(sent)} bytes is no {name}; is the client's proto another?") from error


def _lift(data: bytes, fields: Fields) -> tuple[bytes, memoryview] | None:
    """The message without its sound, and the sound; None where it has none. Raises _UnclearError."""
    try:
        return _lift_within(data, 0, len(data), fields)
    except IndexError:  # a number does not end
        raise _UnclearError from None


def _lift_within(data: bytes, start: int, stop: int, fields: Fields) -> tuple[bytes, memoryview] | None:
    found: tuple[int, int, int, int] | None = None
    at = start
    for _ in range(MOST_FIELDS):
        if at >= stop:
            break
        begun = at
        key, at = _number(data, at)
        wire_type = key & 7
        if wire_type == DELIMITED:
            size, at = _number(data, at)
            if key >> 3 in fields:
                if found is not None:
                    raise _UnclearError
                found = begun, key, at, at + size
            at += size
        elif wire_type == VARINT:
            _, at = _number(data, at)
        elif wire_type in FIXED_BYTES:
            at += FIXED_BYTES[wire_type]
        else:
            raise _UnclearError
    if at != stop:
        raise _UnclearError
    if found is None:
        return None
    begun, key, inner, end = found
    below = fields[key >> 3]
    lifted = _lift_within(data, inner, end, below) if below else (b"", memoryview(data)[inner:end])
    if lifted is None:
        return None
    rest, sound = lifted
    return b"".join((data[start:begun], varint(key), varint(len(rest)), rest, data[end:stop])), sound


def _number(data: bytes, at: int) -> tuple[int, int]:
    """The varint at a place, and the place after it."""
    value = 0
    for place in range(LONGEST_VARINT):
        byte = data[at + place]
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, at + place + 1
    raise IndexError("the varint does not end")
