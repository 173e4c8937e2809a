"""Audio files, decoded here in chunks where they are too long for one message."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from auricle.client.options import Encoding, wire_format
from auricle.containers import check_whole, truncated, without_tag
from auricle.errors import AudioError
from auricle.v1 import auricle_pb2 as pb

__all__ = ["CHUNK_BYTES", "Long", "open_file"]

CHUNK_BYTES = 256 * 1024

# Sixteen bits hold every sample of these exactly, and halve the bytes on the wire.
_INT16_SUBTYPES = frozenset({"PCM_16", "PCM_S8", "PCM_U8", "ULAW", "ALAW"})
# libsndfile's word for a length that the header does not give.
_UNKNOWN_FRAMES = 1 << 62


@dataclass(frozen=True, kw_only=True)
class Long:
    """A clip for a stream. ``chunks`` reads it from the start, each time that it is called.

    ``exceeds`` is the limit of one message that it is over, in words; empty where none was looked at.
    """

    format: pb.PcmFormat
    chunks: Callable[[], Iterator[bytes]]
    duration_s: float
    exceeds: str = ""


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
            with soundfile.SoundFile(without_tag(stream)) as header:
                rate_hz, channels, frames = header.samplerate, header.channels, header.frames
                encoding: Encoding = "s16le" if header.subtype in _INT16_SUBTYPES else "f32le"
        except soundfile.LibsndfileError as error:
            what = f"no audio that can be decoded ({error.error_string})"
            raise AudioError(f"{name}: {what}", reason="AUDIO_UNDECODABLE") from error

    def chunks() -> Iterator[bytes]:
        with source() as stream:
            check_whole(stream, name)
            with soundfile.SoundFile(without_tag(stream)) as opened:
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
        raise truncated(name, f"its header promises {opened.frames} sample frames, {seen_frames} are there")
