"""Audio on its way to the server: whole where it fits one message, else in chunks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from io import BytesIO
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from auricle.client.files import CHUNK_BYTES, Long, open_file
from auricle.client.options import ENCODINGS, Encoding, wire_format
from auricle.errors import AudioError, OptionError
from auricle.v1 import auricle_pb2 as pb

__all__ = [
    "FLUSH",
    "AudioInput",
    "Chunk",
    "Long",
    "Pcm",
    "UnaryLimits",
    "Whole",
    "chunk_bytes",
    "cut",
    "load",
    "open_long",
]


class _Flush(Enum):
    FLUSH = "flush"

    def __repr__(self) -> str:
        return "FLUSH"


FLUSH: Final = _Flush.FLUSH
"""Among a stream's chunks: forces the pending sound out; `Flushed` comes after its results."""

Chunk: TypeAlias = bytes | bytearray | memoryview | NDArray[Any] | _Flush


@dataclass(frozen=True, kw_only=True)
class UnaryLimits:
    """Above any of these a clip goes as a stream, with the same answer. The defaults are the server's."""

    content_bytes: int = 64 * 1024 * 1024
    duration_s: float = 3600.0
    decoded_bytes: int = 1024 * 1024 * 1024

    def exceeded(self, content_bytes: int, clip: Long) -> str:
        """Gives the first limit that a clip of so many bytes on the wire is above, with its value; empty: none."""
        sizes = {
            "content_bytes": content_bytes,
            "duration_s": clip.duration_s,
            "decoded_bytes": clip.duration_s * clip.format.sample_rate_hz * clip.format.channels * 4,
        }
        over = (name for name, size in sizes.items() if size > getattr(self, name))
        return next((f"{name} = {getattr(self, name):.12g}" for name in over), "")


@dataclass(frozen=True, eq=False)
class Pcm:
    """Samples without a header.

    Args:
        data: an array, float (full scale 1.0; sent as float32) or int16, (n,) or (n, channels); or bytes,
            interleaved.
        sample_rate_hz: 4000 to 192000.
        channels: of bytes: 1 where None; of an array: its own, so leave it out.
        encoding: of bytes: required; of an array: follows from its type, so leave it out.

    Raises:
        OptionError: an array of another type or shape, or values that do not go together.
    """

    data: NDArray[Any] | bytes | bytearray | memoryview
    sample_rate_hz: int
    channels: int | None = None
    encoding: Encoding | None = None

    def __post_init__(self) -> None:
        if isinstance(self.data, np.ndarray):
            channels, encoding = _layout(self.data)
            for name, given, own in (
                ("channels", self.channels, channels),
                ("encoding", self.encoding, encoding),
            ):
                if given is not None and given != own:
                    raise OptionError(f"{name} is {given!r}, but the array's is {own!r}; leave it out with an array")
            object.__setattr__(self, "channels", channels)
            object.__setattr__(self, "encoding", encoding)
        elif self.encoding is None:
            raise OptionError(f"bytes do not say their encoding; give one of {', '.join(map(repr, ENCODINGS))}")
        elif self.channels is None:
            object.__setattr__(self, "channels", 1)
        _format(self)

    @property
    def content(self) -> bytes:
        """The samples as the wire has them: interleaved, little-endian."""
        return _to_bytes(self.data, self.encoding or "")


@dataclass(frozen=True, kw_only=True)
class Whole:
    """A clip for one message."""

    audio: pb.Audio


_FileInput: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview
AudioInput: TypeAlias = _FileInput | Pcm


def load(audio: AudioInput, limits: UnaryLimits) -> Whole | Long:
    """Reads what ``audio`` names. Blocks on files.

    Raises:
        OSError: a file that cannot be read.
        AudioError: a file over the limits in which no audio is recognised.
        OptionError: an array without a sample rate, or what is no audio at all.
    """
    if isinstance(audio, Pcm):
        content = audio.content
        long = _long_pcm(audio, content)
        if exceeds := limits.exceeded(len(content), long):
            return replace(long, exceeds=exceeds)
        return Whole(audio=pb.Audio(pcm=pb.PcmAudio(format=long.format, data=content)))
    if isinstance(audio, np.ndarray):
        raise OptionError("an array does not say its sample rate; wrap it: Pcm(array, sample_rate_hz=16000)")
    audio = _rereadable(audio)
    if isinstance(audio, bytes | bytearray | memoryview):
        content = bytes(audio)
        size_bytes = len(content)
    elif isinstance(audio, str | os.PathLike):
        size_bytes = Path(audio).stat().st_size
    else:
        raise OptionError(f"audio is a {type(audio).__name__}; give a path, the bytes of a file, or a Pcm")
    try:
        long = open_long(audio)
    except AudioError:
        # The server's decoder has the last word, and the words for what is wrong.
        if size_bytes > limits.content_bytes:
            raise
    else:
        if exceeds := limits.exceeded(size_bytes, long):
            return replace(long, exceeds=exceeds)
    if not isinstance(audio, bytes | bytearray | memoryview):
        content = Path(audio).read_bytes()
    return Whole(audio=pb.Audio(content=content))


def open_long(audio: AudioInput) -> Long:
    """Reads the header of what ``audio`` names, for decoding it here chunk by chunk. Blocks on files.

    Raises:
        OSError: a file that cannot be read.
        AudioError: no audio that libsndfile knows.
    """
    if isinstance(audio, Pcm):
        return _long_pcm(audio, audio.content)
    audio = _rereadable(audio)
    if isinstance(audio, bytes | bytearray | memoryview):
        content = audio
        return open_file(lambda: BytesIO(content), "the content")
    path = Path(audio)
    return open_file(lambda: path.open("rb"), str(path))


def chunk_bytes(chunk: bytes | bytearray | memoryview | NDArray[Any], encoding: str, channels: int) -> bytes:
    """Gives a stream's chunk as bytes in its encoding.

    Raises:
        OptionError: an array whose type or channels are not the stream's, or what is no chunk at all.
    """
    if isinstance(chunk, np.ndarray):
        own_channels, own_encoding = _layout(chunk)
        if own_encoding != encoding:
            raise OptionError(
                f"a chunk of {chunk.dtype} is {own_encoding!r}, but the stream's encoding is {encoding!r}; "
                f"pass encoding={own_encoding!r}"
            )
        # A flat array may hold interleaved channels, as bytes do.
        if chunk.ndim == 2 and own_channels != channels:
            raise OptionError(f"a chunk has {own_channels} channels, the stream {channels}")
    elif not isinstance(chunk, bytes | bytearray | memoryview):
        raise OptionError(f"a chunk is a {type(chunk).__name__}; give bytes, arrays or FLUSH")
    return _to_bytes(chunk, encoding)


def cut(samples: bytes, encoding: str, channels: int) -> Iterator[bytes]:
    """Cuts samples, between frames, into pieces that are no more than a message should hold; at least one."""
    frame_bytes = _sample_bytes(encoding) * channels
    step_bytes = max(1, CHUNK_BYTES // frame_bytes) * frame_bytes
    for start in range(0, len(samples) or 1, step_bytes):
        yield samples[start : start + step_bytes]


def _rereadable(audio: _FileInput) -> _FileInput:
    """Gives what a pipe or a device holds in its place, since it can be read but once; else ``audio`` itself."""
    if not isinstance(audio, str | os.PathLike) or Path(audio).is_file():
        return audio
    return Path(audio).read_bytes()


def _layout(array: NDArray[Any]) -> tuple[int, Encoding]:
    if array.ndim not in (1, 2):
        raise OptionError(f"the array has the shape {array.shape}; (n,) or (n, channels) is needed")
    channels = 1 if array.ndim == 1 else array.shape[1]
    if array.dtype == np.int16:
        return channels, "s16le"
    if np.issubdtype(array.dtype, np.floating):
        return channels, "f32le"
    raise OptionError(f"the array is of {array.dtype}; int16 or float is needed")


def _to_bytes(data: NDArray[Any] | bytes | bytearray | memoryview, encoding: str) -> bytes:
    if isinstance(data, np.ndarray):
        return data.astype("<i2" if encoding == "s16le" else "<f4", copy=False).tobytes()
    return bytes(data)


def _format(pcm: Pcm) -> pb.PcmFormat:
    return wire_format(pcm.sample_rate_hz, pcm.channels, pcm.encoding)


def _long_pcm(pcm: Pcm, content: bytes) -> Long:
    wire = _format(pcm)
    frames = len(content) / (_sample_bytes(pcm.encoding or "") * wire.channels)
    return Long(format=wire, chunks=lambda: iter((content,)), duration_s=frames / wire.sample_rate_hz)


def _sample_bytes(encoding: str) -> int:
    return {"s16le": 2, "f32le": 4}.get(encoding, 1)
