"""Containers: what of an audio file libsndfile passes over without a word, such as that it was cut off."""

from __future__ import annotations

import re
import struct
from typing import BinaryIO

from auricle.errors import AudioError

__all__ = ["check_whole", "truncated", "without_tag"]

# Writers that cannot seek back leave a size near 2^31 or 2^32 in the header, or 2^63 or 2^64.
_UNKNOWN_SIZE = 0x7FFF_0000
_UNKNOWN_LONG = 1 << 62
# Chunks before the samples that are walked over; real files have a few, a made one could keep us busy for seconds.
_MOST_CHUNKS = 1000
# (first word, kind) -> form of a chunk's size, and the chunk that holds the samples.
_CHUNKED = {
    (b"RIFF", b"WAVE"): ("<I", b"data"),
    (b"RIFX", b"WAVE"): (">I", b"data"),
    (b"RF64", b"WAVE"): ("<I", b"data"),
    (b"FORM", b"AIFF"): (">I", b"SSND"),
    (b"FORM", b"AIFC"): (">I", b"SSND"),
}
# What stands for a size that the chunk ``ds64`` of an RF64 has: the file's, then that of its samples.
_ELSEWHERE = 0xFFFF_FFFF
_LONG_SIZES = struct.Struct("<4sIQQ")
# An Ogg page's header without its table of segment sizes, and the most that a page has in all.
_OGG_HEADER_BYTES = 27
_OGG_PAGE_BYTES = _OGG_HEADER_BYTES + 255 + 255 * 255
# Its flags: continued 1, the first of a stream 2, the last 4.
_OGG_FIRST = re.compile(rb"OggS\0[\2\3\6\7]")
_OGG_LATER = re.compile(rb"OggS\0[\0\1\4\5]")
_OGG_MARK_BYTES = 6
_BLOCK_BYTES = 1 << 20
_ID3V1_BYTES = 128


def check_whole(stream: BinaryIO, name: str, *, field: str | None = None) -> None:
    """Raises AudioError for a file that was cut off or holds several sounds, where libsndfile reads as far as it goes.

    WAV in all its forms (RIFF, RIFX, RF64, W64), AIFF, Ogg and AU are checked; FLAC and MP3 tell by themselves. What
    else libsndfile reads is nothing that we promise, and it is answered as far as it goes.

    Args:
        stream: the file, at its start; it is left anywhere.
        name: for messages.
        field: of the request, where it came in one.
    """
    head = stream.read(40)
    if how := _cut_off(stream, head):
        raise truncated(name, how, field=field)
    if head[:4] == b"OggS" and (second := _second_stream(stream)) is not None:
        raise AudioError(
            f"{name} is several Ogg streams one after another, the second from byte {second} on; "
            "send each on its own, or let a tool such as ffmpeg write one of them all",
            field=field,
            reason="AUDIO_UNDECODABLE",
        )


def truncated(name: str, how: str, *, field: str | None = None) -> AudioError:
    """What a file that was cut off is refused with."""
    return AudioError(f"{name} is truncated: {how}", field=field, reason="AUDIO_TRUNCATED")


def without_tag(stream: BinaryIO) -> BinaryIO | _Beginning:
    """A file from its start; a FLAC without the ID3v1 tag that some tools append, which no decoder of FLAC knows."""
    stream.seek(0)
    head, size = stream.read(4), stream.seek(0, 2) - _ID3V1_BYTES
    if head == b"fLaC" and size > 0:
        stream.seek(size)
        if stream.read(3) == b"TAG":
            stream.seek(0)
            return _Beginning(stream, size)
    stream.seek(0)
    return stream


class _Beginning:
    """The first so many bytes of a file, as far as libsndfile asks."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream = stream
        self._size = size
        self.tell = stream.tell

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._stream.seek(self._size + offset) if whence == 2 else self._stream.seek(offset, whence)

    def read(self, size: int) -> bytes:
        return self._stream.read(min(size, max(0, self._size - self.tell())))


def _cut_off(stream: BinaryIO, head: bytes) -> str:
    """What a file that begins so lacks, in words; empty where it lacks nothing, or does not tell."""
    end = stream.seek(0, 2)
    if chunked := _CHUNKED.get((head[:4], head[8:12])):
        return _cut_chunks(stream, end, head, *chunked)
    if head[:4] == b"OggS":
        return _cut_page(stream, end)
    if head[:4] == b"riff" and head[24:28] == b"wave":
        return _missing(end, 0, struct.unpack_from("<Q", head, 16)[0], _UNKNOWN_LONG)
    if head[:4] == b".snd" and len(head) >= 12:
        start, size = struct.unpack_from(">II", head, 4)
        return _missing(end, start, size, _UNKNOWN_SIZE)
    return ""


def _cut_chunks(stream: BinaryIO, end: int, head: bytes, size_format: str, wanted: bytes) -> str:
    at, long_size = 12, _UNKNOWN_LONG
    for _ in range(_MOST_CHUNKS):
        if at + 8 > end:
            return ""
        stream.seek(at)
        chunk = stream.read(_LONG_SIZES.size)
        (size,) = struct.unpack_from(size_format, chunk, 4)
        if chunk[:4] == b"ds64" and len(chunk) == _LONG_SIZES.size:
            long_size = _LONG_SIZES.unpack(chunk)[3]
        if chunk[:4] == wanted:
            (total,) = struct.unpack_from(size_format, head, 4)
            if not size and total <= at < end - 8:
                # Else a chunk of no samples, and others after it that the file's own size counts.
                return (
                    f"its header counts no samples, but {end - at - 8} bytes follow it: the writer never came back to "
                    "fill it in; send them as raw samples, or let a tool such as ffmpeg write the file anew"
                )
            if size == _ELSEWHERE:
                return _missing(end, at + 8, long_size, _UNKNOWN_LONG)
            return _missing(end, at + 8, size, _UNKNOWN_SIZE)
        at += 8 + size + size % 2
    return ""


def _missing(end: int, start: int, size: int, unknown: int) -> str:
    missing = start + size - end
    if missing <= 0 or size >= unknown:
        return ""
    return f"its header promises {size} {'bytes of samples' if start else 'bytes'}, {missing} are missing"


def _cut_page(stream: BinaryIO, end: int) -> str:
    tail_at = max(0, end - _OGG_PAGE_BYTES)
    stream.seek(tail_at)
    tail = stream.read()
    at = tail.rfind(b"OggS")
    sizes_at = at + _OGG_HEADER_BYTES
    segments = tail[sizes_at - 1] if sizes_at <= len(tail) else 0
    if at < 0 or len(tail) >= sizes_at + segments + sum(tail[sizes_at : sizes_at + segments]):
        return ""
    return f"it ends inside the page that begins at byte {tail_at + at}"


def _second_stream(stream: BinaryIO) -> int | None:
    """Where another begins after the end of the first. Those that are woven together all begin before any goes on."""
    stream.seek(0)
    pattern, at, kept = _OGG_LATER, 0, b""
    while block := stream.read(_BLOCK_BYTES):
        data, start = kept + block, 0
        if pattern is _OGG_LATER and (found := pattern.search(data)):
            pattern, start = _OGG_FIRST, found.start()
        if pattern is _OGG_FIRST and (found := pattern.search(data, start)):
            return at + found.start()
        kept = data[1 - _OGG_MARK_BYTES :]
        at += len(data) - len(kept)
    return None
