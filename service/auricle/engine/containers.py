"""Containers: what of a file libsndfile passes over without a word, such as that it was cut off."""

from __future__ import annotations

import re
import struct

from auricle.errors import AudioError

__all__ = ["check_whole", "truncated", "without_tag"]

# Writers that cannot seek back leave a size near 2^31 or 2^32 in the header, or 2^63 or 2^64.
UNKNOWN_SIZE = 0x7FFF_0000
UNKNOWN_LONG = 1 << 62
# Chunks before the samples that are walked over; real files have a few, a made one could keep us busy for seconds.
MOST_CHUNKS = 1000
# What stands for a size that the chunk ``ds64`` of an RF64 has: the file's, then that of its samples.
ELSEWHERE = 0xFFFF_FFFF
LONG_SIZES = struct.Struct("<4sIQQ")
# An Ogg page's header without its table of segment sizes.
OGG_HEADER_BYTES = 27
# Its flags: continued 1, the first of a stream 2, the last 4.
OGG_FIRST = re.compile(rb"OggS\0[\2\3\6\7]")
OGG_LATER = re.compile(rb"OggS\0[\0\1\4\5]")
ID3V1_BYTES = 128


def without_tag(content: bytes) -> bytes:
    """The content of a FLAC without the ID3v1 tag that some tools append, which no decoder of FLAC knows."""
    tagged = content[:4] == b"fLaC" and content[-ID3V1_BYTES:].startswith(b"TAG")
    return content[:-ID3V1_BYTES] if tagged else content


def check_whole(content: bytes) -> None:
    """Raises AudioError for a file that was cut off or holds several sounds, where libsndfile reads as far as it goes.

    WAV in all its forms (RIFF, RIFX, RF64, W64), AIFF, Ogg and AU are checked; FLAC and MP3 tell by themselves. What
    else libsndfile reads is nothing that we promise, and it is answered as far as it goes.
    """
    if content[:4] in (b"RIFF", b"RF64") and content[8:12] == b"WAVE":
        _check_iff(content, "<I", b"data")
    elif content[:4] == b"RIFX" and content[8:12] == b"WAVE":
        _check_iff(content, ">I", b"data")
    elif content[:4] == b"FORM" and content[8:11] == b"AIF":
        _check_iff(content, ">I", b"SSND")
    elif content[:4] == b"OggS":
        _check_ogg(content)
    elif content[:4] == b"riff" and content[24:28] == b"wave":
        _check_size(content, 0, struct.unpack_from("<Q", content, 16)[0], UNKNOWN_LONG)
    elif content[:4] == b".snd" and len(content) >= 12:
        start, size = struct.unpack_from(">II", content, 4)
        _check_size(content, start, size, UNKNOWN_SIZE)


def truncated(how: str) -> AudioError:
    """What a file that was cut off is refused with."""
    return AudioError(f"audio.content is truncated: {how}", field="audio.content", reason="AUDIO_TRUNCATED")


def _check_ogg(content: bytes) -> None:
    later = OGG_LATER.search(content)
    another = OGG_FIRST.search(content, later.start()) if later else None
    if another:
        raise AudioError(
            f"audio.content is several Ogg streams one after another, the second from byte {another.start()} on; "
            "send each on its own, or let a tool such as ffmpeg write one of them all",
            field="audio.content",
            reason="AUDIO_UNDECODABLE",
        )
    at = content.rfind(b"OggS")
    sizes_at = at + OGG_HEADER_BYTES
    sizes = content[sizes_at : sizes_at + content[sizes_at - 1]] if sizes_at <= len(content) else b""
    if len(content) < sizes_at + len(sizes) + sum(sizes):
        raise truncated(f"it ends inside the page that begins at byte {at}")


def _check_iff(content: bytes, size_format: str, wanted: bytes) -> None:
    at = 12
    long_size = UNKNOWN_LONG
    for _ in range(MOST_CHUNKS):
        if at + 8 > len(content):
            return
        (size,) = struct.unpack_from(size_format, content, at + 4)
        if content[at : at + 4] == b"ds64" and at + LONG_SIZES.size <= len(content):
            long_size = LONG_SIZES.unpack_from(content, at)[3]
        if content[at : at + 4] == wanted:
            if size == ELSEWHERE:
                _check_size(content, at + 8, long_size, UNKNOWN_LONG)
            else:
                _check_size(content, at + 8, size, UNKNOWN_SIZE)
            (total,) = struct.unpack_from(size_format, content, 4)
            if not size and total <= at < len(content) - 8:
                # Else a chunk of no samples, and others after it that the file's own size counts.
                raise truncated(
                    f"its header counts no samples, but {len(content) - at - 8} bytes follow it: the writer never came "
                    "back to fill it in; send them as audio.pcm, or let a tool such as ffmpeg write the file anew"
                )
            return
        at += 8 + size + size % 2


def _check_size(content: bytes, start: int, size: int, unknown: int) -> None:
    missing = start + size - len(content)
    if missing > 0 and size < unknown:
        what = "bytes of samples" if start else "bytes"
        raise truncated(f"its header promises {size} {what}, {missing} are missing")
