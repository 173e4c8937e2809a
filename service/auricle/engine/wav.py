"""Plain WAV: samples that need no decoder, found where they lie in the file."""

from __future__ import annotations

import struct
from typing import NamedTuple

__all__ = ["WavSamples", "find_samples"]

CHUNK = struct.Struct("<4sI")
# Format tag, channels, rate, bytes a second, bytes of a sample frame, bits of a sample.
FORMAT = struct.Struct("<HHIIHH")
# After these in an extensible header: bytes that follow, valid bits, speakers, and a GUID that begins with the tag.
EXTENSION = struct.Struct("<HHIH14s")
EXTENSIBLE = 0xFFFE
GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")
# (format tag, bits of a sample) -> encoding, for what the PCM kernels take as it is stored.
ENCODINGS = {(1, 16): "s16le", (3, 32): "f32le", (6, 8): "alaw", (7, 8): "mulaw"}
# Real files have a handful of chunks before their samples; one with more is left to the decoder's own walk.
MOST_CHUNKS = 32


class WavSamples(NamedTuple):
    """Whole sample frames at ``content[start:stop]``."""

    encoding: str
    sample_rate_hz: int
    channels: int
    start: int
    stop: int


def find_samples(content: bytes | memoryview) -> WavSamples | None:
    """The samples of a WAV of 16-bit PCM, 32-bit floats, mu-law or A-law, also with an extensible header.

    None for anything else, and for whatever is out of order (no samples, an unknown or uneven size, a file that
    was cut off): the decoder judges that.
    """
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        return None
    form: tuple[str, int, int, int] | None = None
    at = 12
    for _ in range(MOST_CHUNKS):
        if at + CHUNK.size > len(content):
            return None
        name, size = CHUNK.unpack_from(content, at)
        at += CHUNK.size
        if name == b"data":
            if form is None or not size or at + size > len(content) or size % form[3]:
                return None
            return WavSamples(*form[:3], at, at + size)
        if name == b"fmt ":
            form = _parse_format(content[at : at + min(size, FORMAT.size + EXTENSION.size)])
            if form is None:
                return None
        at += size + size % 2
    return None


def _parse_format(chunk: bytes | memoryview) -> tuple[str, int, int, int] | None:
    """(encoding, Hz, channels, bytes of a sample frame), or None for what is not stored plainly."""
    if len(chunk) < FORMAT.size:
        return None
    tag, channels, rate_hz, _, frame_bytes, bits = FORMAT.unpack_from(chunk)
    if tag == EXTENSIBLE:
        if len(chunk) < FORMAT.size + EXTENSION.size:
            return None
        _, valid_bits, _, tag, tail = EXTENSION.unpack_from(chunk, FORMAT.size)
        if tail != GUID_TAIL or valid_bits != bits:
            return None
    encoding = ENCODINGS.get((tag, bits))
    if encoding is None or not rate_hz or not channels or frame_bytes != channels * bits // 8:
        return None
    return encoding, rate_hz, channels, frame_bytes
