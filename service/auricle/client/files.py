"""Audio files, decoded here in chunks where they are too long for one message."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from auricle.client.options import Encoding, wire_format
from auricle.errors import AudioError
from auricle.v1 import auricle_pb2 as pb

__all__ = ["CHUNK_BYTES", "Long", "open_file"]

CHUNK_BYTES = 256 * 1024

# Sixteen bits hold every sample of these exactly, and halve the bytes on the wire.
_INT16_SUBTYPES = frozenset({"PCM_16", "PCM_S8", "PCM_U8", "ULAW", "ALAW"})
# libsndfile's word for a length that the header does not give.
_UNKNOWN_FRAMES = 1 << 62
# Writers that cannot seek back leave a size near 2^31 or 2^32 in the header.
_UNKNOWN_BYTES = 0x7FFF_0000


@dataclass(frozen=True, kw_only=True)
class Long:
    """A clip for a stream. ``chunks`` reads it from the start, each time that it is called."""

    format: pb.PcmFormat
    chunks: Callable[[], Iterator[bytes]]
    duration_s: float


def open_file(source: Callable[[], BinaryIO], name: str) -> Long:
    """Reads a file's header.

    Args:
        source: opens the file at its start.
        name: for messages.

    Raises:
        AudioError: no audio that libsndfile knows; and from the chunks where it breaks off.
    """
    import soundfile

    with source() as stream:
        try:
            with soundfile.SoundFile(stream) as header:
                rate_hz, channels, frames = header.samplerate, header.channels, header.frames
                encoding: Encoding = "s16le" if header.subtype in _INT16_SUBTYPES else "f32le"
        except soundfile.LibsndfileError as error:
            what = f"no audio that can be decoded ({error.error_string})"
            raise AudioError(f"{name}: {what}", reason="AUDIO_UNDECODABLE") from error

    def chunks() -> Iterator[bytes]:
        with source() as stream:
            _check_whole(stream, name)
            stream.seek(0)
            with soundfile.SoundFile(stream) as opened:
                yield from _decoded(opened, encoding, name, soundfile.LibsndfileError)

    wire = wire_format(rate_hz, channels, encoding)
    return Long(format=wire, chunks=chunks, duration_s=frames / rate_hz)


def _decoded(opened: Any, encoding: Encoding, name: str, failure: type[Exception]) -> Iterator[bytes]:
    dtype, wire_dtype, sample_bytes = ("int16", "<i2", 2) if encoding == "s16le" else ("float32", "<f4", 4)
    # soundfile seeks after every read of a file that can, and an MP3 decoder starts anew there, with a glitch.
    opened.seekable = lambda: False
    chunk_frames, seen_frames = max(1, CHUNK_BYTES // (opened.channels * sample_bytes)), 0
    while True:
        try:
            block = opened.read(chunk_frames, dtype=dtype)
        except failure as error:
            at_s = seen_frames / opened.samplerate
            raise AudioError(f"{name}: damaged after {at_s:.2f} s ({error})", reason="AUDIO_UNDECODABLE") from error
        if not len(block):
            break
        seen_frames += len(block)
        yield block.astype(wire_dtype, copy=False).tobytes()
    if seen_frames < opened.frames < _UNKNOWN_FRAMES:
        raise AudioError(
            f"{name}: truncated: its header promises {opened.frames} sample frames, {seen_frames} are there",
            reason="AUDIO_TRUNCATED",
        )


def _check_whole(stream: BinaryIO, name: str) -> None:
    """Finds a WAV or AIFF that was cut off, which libsndfile reads as far as it goes without a word."""
    kinds = {
        (b"RIFF", b"WAVE"): ("<I", b"data"),
        (b"FORM", b"AIFF"): (">I", b"SSND"),
        (b"FORM", b"AIFC"): (">I", b"SSND"),
    }
    head = stream.read(12)
    kind = kinds.get((head[:4], head[8:12]))
    if kind is None:
        return
    size_format, wanted = kind
    size_bytes = stream.seek(0, 2)
    at = len(head)
    while at + 8 <= size_bytes:
        stream.seek(at)
        chunk = stream.read(8)
        (chunk_bytes,) = struct.unpack(size_format, chunk[4:])
        if chunk[:4] == wanted:
            missing_bytes = at + 8 + chunk_bytes - size_bytes
            if missing_bytes > 0 and chunk_bytes < _UNKNOWN_BYTES:
                raise AudioError(
                    f"{name}: truncated: {missing_bytes} of the {chunk_bytes} bytes of samples are missing",
                    reason="AUDIO_TRUNCATED",
                )
            (total_bytes,) = struct.unpack(size_format, head[4:8])
            if not chunk_bytes and total_bytes <= at < size_bytes - 8:
                raise AudioError(
                    f"{name}: truncated: its header counts no samples, but {size_bytes - at - 8} bytes follow it: the "
                    "writer never came back to fill it in; send them as a Pcm, or let a tool such as ffmpeg write the "
                    "file anew",
                    reason="AUDIO_TRUNCATED",
                )
            return
        at += 8 + chunk_bytes + chunk_bytes % 2
