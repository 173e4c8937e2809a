"""Audio files that were cut off or joined together, of which libsndfile reads what it finds without a word."""

from __future__ import annotations

import struct
from typing import BinaryIO

from auricle.errors import AudioError

__all__ = ["check_whole"]

# (first word, kind) -> form of a chunk's size, and the chunk that holds the samples.
_CHUNKED = {
    (b"RIFF", b"WAVE"): ("<I", b"data"),
    (b"RIFX", b"WAVE"): (">I", b"data"),
    (b"RF64", b"WAVE"): ("<I", b"data"),
    (b"FORM", b"AIFF"): (">I", b"SSND"),
    (b"FORM", b"AIFC"): (">I", b"SSND"),
}
# Writers that cannot seek back leave a size near 2^31 or 2^32 in the header.
_UNKNOWN_BYTES = 0x7FFF_0000
# RF64 writes this in place of a size, which its chunk `ds64` has in 64 bits; half of those mean one that is unknown.
_ELSEWHERE = 0xFFFF_FFFF
_UNKNOWN_LARGE_BYTES = 1 << 63
# An Ogg page's header without its table of segment sizes, and the most that a page has in all.
_OGG_HEADER_BYTES = 27
_OGG_PAGE_BYTES = _OGG_HEADER_BYTES + 255 + 255 * 255
_OGG_BEGINS, _OGG_ENDS = 2, 4


def check_whole(stream: BinaryIO, name: str) -> None:
    """Raises AudioError for a WAV, AIFF or Ogg file that was cut off, and for an Ogg file that goes on after its end.

    Args:
        stream: the file, at its start; it is left anywhere.
        name: for messages.
    """
    head = stream.read(12)
    chunked = _CHUNKED.get((head[:4], head[8:12]))
    if chunked is not None:
        _check_chunks(stream, name, head, *chunked)
    elif head[:4] == b"OggS":
        _check_last_page(stream, name)
        _check_one_stream(stream, name)


def _check_chunks(stream: BinaryIO, name: str, head: bytes, size_format: str, wanted: bytes) -> None:
    size_bytes = stream.seek(0, 2)
    at, large_bytes = len(head), 0
    while at + 8 <= size_bytes:
        stream.seek(at)
        chunk = stream.read(24)
        (chunk_bytes,) = struct.unpack_from(size_format, chunk, 4)
        if chunk[:4] == b"ds64" and len(chunk) == 24:
            (large_bytes,) = struct.unpack_from("<Q", chunk, 16)
        if chunk[:4] == wanted:
            promised_bytes = chunk_bytes if chunk_bytes < _UNKNOWN_BYTES else 0
            if chunk_bytes == _ELSEWHERE and large_bytes < _UNKNOWN_LARGE_BYTES:
                promised_bytes = large_bytes
            missing_bytes = at + 8 + promised_bytes - size_bytes
            if missing_bytes > 0:
                raise _truncated(name, f"{missing_bytes} of the {promised_bytes} bytes of samples are missing")
            (total_bytes,) = struct.unpack_from(size_format, head, 4)
            if not chunk_bytes and total_bytes <= at < size_bytes - 8:
                raise _truncated(
                    name,
                    f"its header counts no samples, but {size_bytes - at - 8} bytes follow it: the writer never came "
                    "back to fill it in; send them as a Pcm, or let a tool such as ffmpeg write the file anew",
                )
            return
        at += 8 + chunk_bytes + chunk_bytes % 2


def _check_last_page(stream: BinaryIO, name: str) -> None:
    tail_at = max(0, stream.seek(0, 2) - _OGG_PAGE_BYTES)
    stream.seek(tail_at)
    tail = stream.read()
    at = tail.rfind(b"OggS")
    sizes_at = at + _OGG_HEADER_BYTES
    if at < 0:
        return
    segments = tail[sizes_at - 1] if sizes_at <= len(tail) else 0
    if len(tail) < sizes_at + segments + sum(tail[sizes_at : sizes_at + segments]):
        raise _truncated(name, f"it ends inside the page that begins at byte {tail_at + at}")


def _check_one_stream(stream: BinaryIO, name: str) -> None:
    at, ended = 0, False
    while True:
        stream.seek(at)
        page = stream.read(_OGG_HEADER_BYTES + 255)
        if page[:4] != b"OggS" or len(page) < _OGG_HEADER_BYTES:
            return
        if ended and page[5] & _OGG_BEGINS:
            raise AudioError(
                f"{name}: several Ogg streams one after another, of which the first alone would be read: another "
                f"begins at byte {at}; decode it to WAV or FLAC first, with a tool such as ffmpeg",
                reason="AUDIO_UNDECODABLE",
            )
        ended = ended or bool(page[5] & _OGG_ENDS)
        sizes = page[_OGG_HEADER_BYTES : _OGG_HEADER_BYTES + page[_OGG_HEADER_BYTES - 1]]
        at += _OGG_HEADER_BYTES + len(sizes) + sum(sizes)


def _truncated(name: str, how: str) -> AudioError:
    return AudioError(f"{name}: truncated: {how}", reason="AUDIO_TRUNCATED")
