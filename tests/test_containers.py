"""Containers: a second Ogg stream is found wherever it lies; chunks that never end keep nobody busy."""

from __future__ import annotations

import io
import struct

import pytest

from auricle.containers import check_whole
from auricle.errors import AudioError

BLOCK_BYTES = 1 << 20
FIRST, LATER, LAST = 2, 0, 4


def page(flags: int, size: int = 0) -> bytes:
    """An Ogg page of a header and so many bytes of sound."""
    sizes = bytes([*[255] * (size // 255), size % 255])
    return b"OggS\0" + bytes([flags]) + bytes(20) + bytes([len(sizes)]) + sizes + bytes(size)


def long_stream(size_bytes: int) -> bytes:
    """A whole stream of so many bytes."""
    begun, ended, middle = page(FIRST, 30), page(LAST, 10), page(LATER, 60_000)
    full, rest = divmod(size_bytes - len(begun) - len(ended), len(middle))
    # Two pages fill what is left, whatever it is.
    left = rest + len(middle)
    halves = [left // 2, left - left // 2]
    fill = b"".join(
        page(LATER, next(n for n in range(half - 300, half) if len(page(LATER, n)) == half)) for half in halves
    )
    made = begun + middle * (full - 1) + fill + ended
    assert len(made) == size_bytes
    return made


@pytest.mark.parametrize("before", [*range(7), 200_000])
def test_a_second_stream_is_found_across_the_blocks_that_are_read(before: int) -> None:
    first = long_stream(BLOCK_BYTES - before)
    check_whole(io.BytesIO(first), "x.ogg")
    with pytest.raises(AudioError, match=f"the second from byte {len(first)} on") as caught:
        check_whole(io.BytesIO(first + long_stream(300_000)), "x.ogg")
    assert caught.value.reason == "AUDIO_UNDECODABLE"


def test_streams_that_begin_together_are_one_sound() -> None:
    begun, sound = page(FIRST, 30), page(LATER, 500) * 2
    check_whole(io.BytesIO(begun * 2 + sound + page(LAST, 10) * 2), "x.ogg")
    with pytest.raises(AudioError, match=f"the second from byte {len(begun + sound)} on"):
        check_whole(io.BytesIO(begun + sound + begun + page(LAST, 10) * 2), "x.ogg")


def test_empty_chunks_without_end_are_walked_over_for_a_while_only() -> None:
    class Counted(io.BytesIO):
        reads = 0

        def read(self, size: int | None = -1, /) -> bytes:
            self.reads += 1
            return super().read(size)

    stream = Counted(b"RIFF" + struct.pack("<I", 0) + b"WAVE" + b"junk\0\0\0\0" * 100_000)
    check_whole(stream, "x.wav")
    assert stream.reads < 2_000
