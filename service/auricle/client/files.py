"""Audio files, decoded here in chunks where they are too long for one message."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from auricle.client.options import wire_format
from auricle.containers import check_whole, without_tag
from auricle.errors import AudioError
from auricle.v1 import auricle_pb2 as pb

__all__ = ["CHUNK_BYTES", "Long", "open_file"]

CHUNK_BYTES = 256 * 1024


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

    from auricle import soundfiles

    with source() as stream:
        try:
            with soundfile.SoundFile(without_tag(stream)) as header:
                rate_hz, channels, frames = header.samplerate, header.channels, header.frames
                encoding = soundfiles.encoding_of(header)
        except soundfile.LibsndfileError as error:
            what = f"no audio that can be decoded ({error.error_string})"
            raise AudioError(f"{name}: {what}", reason="AUDIO_UNDECODABLE") from error

    wire_dtype, sample_bytes = ("<i2", 2) if encoding == "s16le" else ("<f4", 4)
    chunk_frames = max(1, CHUNK_BYTES // (channels * sample_bytes))

    def chunks() -> Iterator[bytes]:
        with source() as stream:
            check_whole(stream, name)
            with soundfile.SoundFile(without_tag(stream)) as opened:
                for block in soundfiles.blocks(opened, chunk_frames, name):
                    yield block.astype(wire_dtype, copy=False).tobytes()

    wire = wire_format(rate_hz, channels, encoding)
    return Long(format=wire, chunks=chunks, duration_s=frames / rate_hz)
