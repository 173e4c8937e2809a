"""Plain WAV: found as libsndfile would read it, and left to libsndfile where anything is out of order."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import soundfile

from auricle import frontend
from auricle.config import Limits
from auricle.engine.decode import open_at_once, open_content
from auricle.engine.wav import find_samples
from auricle.errors import AudioError, LimitError

WAVE = np.random.default_rng(0).uniform(-1, 1, (5000, 2)).astype(np.float32)
PLAIN = {"PCM_16": "s16le", "FLOAT": "f32le", "ULAW": "mulaw", "ALAW": "alaw"}


def encode(subtype: str, container: str = "WAV", channels: int = 2, rate_hz: int = 22050) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, WAVE[:, :channels], rate_hz, format=container, subtype=subtype)
    return file.getvalue()


@pytest.mark.parametrize("container", ["WAV", "WAVEX"])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("subtype", PLAIN)
def test_samples_are_those_that_libsndfile_reads(subtype: str, channels: int, container: str) -> None:
    content = encode(subtype, container, channels)
    sound = open_content(content, Limits())
    form = sound.format
    assert (form.encoding, form.sample_rate_hz, form.channels) == (PLAIN[subtype], 22050, channels)
    assert sound.stored_samples == 5000 * channels
    mono = np.concatenate([frontend.pcm_to_mono(block, form.encoding, channels) for block in sound.blocks])
    dtype = "float32" if subtype == "FLOAT" else "int16"
    read, _ = soundfile.read(io.BytesIO(content), dtype=dtype, always_2d=True)
    np.testing.assert_array_equal(
        mono, frontend.pcm_to_mono(read, "f32le" if dtype == "float32" else "s16le", channels)
    )


def test_samples_are_not_copied() -> None:
    content = encode("PCM_16")
    (block,) = open_content(content, Limits()).blocks
    assert isinstance(block, memoryview)
    assert block.obj is content


def test_chunks_before_and_behind_the_samples_are_passed_over() -> None:
    content = encode("PCM_16")
    odd = b"LIST" + struct.pack("<I", 3) + b"abc\0"
    found = find_samples(content[:12] + odd + content[12:] + b"id3 \4\0\0\0beef")
    plain = find_samples(content)
    assert found is not None
    assert plain is not None
    assert (found.start, found.stop) == (plain.start + len(odd), plain.stop + len(odd))


def changed(offset: int, layout: str, value: int) -> bytes:
    content = bytearray(encode("PCM_16"))
    struct.pack_into(layout, content, offset, value)
    return bytes(content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"RIFF",
        encode("PCM_24"),
        encode("PCM_U8"),
        encode("DOUBLE"),
        encode("PCM_16", "AIFF"),
        encode("PCM_16")[:-1],
        changed(40, "<I", 0),  # bytes of samples
        changed(40, "<I", 0xFFFFFFFF),
        changed(40, "<I", 19_999),
        changed(32, "<H", 5),  # bytes of a sample frame
        changed(22, "<H", 0),  # channels
        changed(24, "<I", 0),  # rate
        changed(16, "<I", 15),  # bytes of the format chunk
        changed(36, "<I", 0),  # the samples' chunk has another name
        encode("PCM_16", "WAVEX").replace(b"\x00\xaa\x00\x38\x9b\x71", b"\x00\xaa\x00\x38\x9b\x72"),
        b"RIFF\0\0\0\0WAVE" + b"junk\0\0\0\0" * 100 + encode("PCM_16")[12:],
    ],
)
def test_what_is_not_plain_is_left_to_the_decoder(content: bytes) -> None:
    assert find_samples(content) is None


def test_limits_hold_for_plain_files() -> None:
    content = encode("PCM_16")
    with pytest.raises(LimitError, match=r"duration_s = 0\.2"):
        open_content(content, Limits(duration_s=0.2))
    with pytest.raises(LimitError, match="1 to 1, but is 2"):
        open_content(content, Limits(channels=1))
    with pytest.raises(LimitError, match="decoded_bytes = 39999"):
        open_content(content, Limits(decoded_bytes=39_999))


def test_a_float_that_is_not_finite_is_refused() -> None:
    content = bytearray(encode("FLOAT"))
    content[-4:] = struct.pack("<f", float("nan"))
    sound = open_content(bytes(content), Limits())
    with pytest.raises(AudioError, match="sample 4999 of channel 1"):
        [frontend.pcm_to_mono(block, sound.format.encoding, 2) for block in sound.blocks]


def test_a_large_file_opens_at_once_only_where_it_is_plain() -> None:
    small, large = WAVE[:1000], np.tile(WAVE, (4, 1))
    for subtype, wave, at_once in [("PCM_16", large, True), ("PCM_24", large, False), ("PCM_24", small, True)]:
        file = io.BytesIO()
        soundfile.write(file, wave, 22050, format="WAV", subtype=subtype)
        assert (open_at_once(file.getvalue(), Limits()) is not None) == at_once
