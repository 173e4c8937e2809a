"""Decoding: every format, and the ways in which a file can be wrong or too large."""

from __future__ import annotations

import io
import itertools
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from auricle import frontend
from auricle.config import Limits
from auricle.engine.decode import BLOCK_FRAMES, Sound, SoundFormat, open_content, open_pcm
from auricle.errors import AudioError, LimitError

LIMITS = Limits()
# Whole steps of 16 bits, so that lossless means equal.
SINE = np.round(16384 * np.sin(np.arange(32000) * 0.1)).astype(np.float32) / 32768
LOSSLESS = [("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "FLOAT"), ("FLAC", "PCM_16"), ("AIFF", "PCM_16")]
# Forms of WAV, and AU, that writers of long files and old tools make.
LESS_USUAL = [("RF64", "PCM_16"), ("W64", "PCM_16"), ("AU", "PCM_16"), ("AU", "ULAW")]
LOSSY = [("WAV", "ULAW"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")]


def encode(container: str, subtype: str, wave: np.ndarray = SINE, rate_hz: int = 16000) -> bytes:
    file = io.BytesIO()
    if subtype.startswith("PCM"):  # as integers: libsndfile scales floats by 32767
        wave = np.round(wave * 32768).astype(np.int16)
    soundfile.write(file, wave, rate_hz, format=container, subtype=subtype)
    return file.getvalue()


def decode(sound: Sound) -> np.ndarray:
    form = sound.format
    blocks = [frontend.pcm_to_mono(block, form.encoding, form.channels) for block in sound.blocks]
    return np.concatenate(blocks) if blocks else np.empty(0, np.float32)


def refused(content: bytes | memoryview, limits: Limits = LIMITS) -> AudioError | LimitError:
    """What opening or reading the content raises."""
    with pytest.raises((AudioError, LimitError)) as caught:
        decode(open_content(content, limits))
    return caught.value


@pytest.mark.parametrize(("container", "subtype"), LOSSLESS)
def test_lossless_formats_give_the_samples(container: str, subtype: str) -> None:
    sound = open_content(encode(container, subtype), LIMITS)
    assert (sound.format.sample_rate_hz, sound.format.channels) == (16000, 1)
    np.testing.assert_array_equal(decode(sound), SINE)


@pytest.mark.parametrize(("container", "subtype"), LOSSY)
def test_lossy_formats_give_the_sound(container: str, subtype: str) -> None:
    wave = decode(open_content(encode(container, subtype), LIMITS))
    assert wave.size == SINE.size
    middle = slice(4000, 28000)
    assert np.corrcoef(wave[middle], SINE[middle])[0, 1] > 0.99


def test_compressed_speech_is_read(shared_data: Path) -> None:
    for name in ("test.mp3", "test.opus", "test.wav"):
        wave = decode(open_content((shared_data / "formats" / name).read_bytes(), LIMITS))
        assert wave.size > 16000
        assert np.abs(wave).max() > 0.01


def test_channels_stay_interleaved() -> None:
    stereo = np.stack([SINE, np.zeros_like(SINE)], axis=1)
    sound = open_content(encode("WAV", "FLOAT", stereo), LIMITS)
    assert sound.format.channels == 2
    np.testing.assert_allclose(decode(sound), SINE / 2, atol=1e-7)


@pytest.mark.parametrize(("container", "subtype"), [*LOSSLESS, *LOSSY, *LESS_USUAL])
@pytest.mark.parametrize("keep", [0.3, 0.6, 0.95])
def test_a_truncated_file_is_refused(container: str, subtype: str, keep: float) -> None:
    content = encode(container, subtype)
    error = refused(content[: int(len(content) * keep)])
    assert error.reason in ("AUDIO_TRUNCATED", "AUDIO_UNDECODABLE")


@pytest.mark.parametrize(("container", "subtype"), [*LOSSLESS, *LOSSY])
def test_a_file_cut_in_its_header_is_refused(container: str, subtype: str) -> None:
    assert isinstance(refused(encode(container, subtype)[:40]), AudioError)


@pytest.mark.parametrize(("container", "subtype"), LESS_USUAL)
def test_a_less_usual_file_that_is_whole_is_read(container: str, subtype: str) -> None:
    assert decode(open_content(encode(container, subtype), LIMITS)).size == SINE.size


def test_a_big_endian_wav_is_read_whole_and_refused_where_it_was_cut() -> None:
    file = io.BytesIO()
    soundfile.write(file, SINE, 16000, format="WAV", subtype="PCM_16", endian="BIG")
    content = file.getvalue()
    assert content[:4] == b"RIFX"
    assert decode(open_content(content, LIMITS)).size == SINE.size
    assert "2 are missing" in refused(content[:-2]).message


@pytest.mark.parametrize("second", ["VORBIS", "OPUS"])
def test_ogg_streams_one_after_another_are_refused_and_not_answered_in_part(second: str) -> None:
    first = encode("OGG", "VORBIS")
    error = refused(first + encode("OGG", second))
    assert f"the second from byte {len(first)} on" in error.message


def test_a_flac_with_an_id3v1_tag_at_its_end_is_read() -> None:
    content = encode("FLAC", "PCM_16")
    np.testing.assert_array_equal(decode(open_content(content + b"TAG" + bytes(125), LIMITS)), SINE)


def test_damage_is_said_to_be_at_or_after_what_was_read() -> None:
    content = bytearray(encode("FLAC", "PCM_16"))
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    assert "at or after 0 sample frames" in refused(bytes(content)).message


def test_a_byte_that_is_missing_is_counted() -> None:
    assert "64000 bytes of samples, 1 are missing" in refused(encode("WAV", "PCM_16")[:-1]).message


def test_no_content_and_no_sound_are_told_apart() -> None:
    assert refused(b"").reason == "AUDIO_EMPTY"
    nonsense = b"not a sound file at all" * 10
    for content in (nonsense, memoryview(nonsense)):  # a large message is read as views of itself
        error = refused(content)
        assert error.reason == "AUDIO_UNDECODABLE"
        assert "b'not a so'" in error.message
        assert "WAV, FLAC" in error.message


@pytest.mark.parametrize("head", [b"RIFF", b"RIFF\0\0\0\0WAVE", b"fLaC", b"OggS", b"ID3\x04", b"FORM\0\0\0\0AIFF"])
def test_a_magic_number_alone_is_no_file(head: bytes) -> None:
    assert isinstance(refused(head), AudioError)


def test_an_empty_data_chunk_has_no_samples() -> None:
    assert decode(open_content(encode("WAV", "PCM_16", SINE[:0]), LIMITS)).size == 0


def test_a_wav_of_unknown_size_is_read_to_its_end() -> None:
    content = bytearray(encode("WAV", "PCM_16"))
    struct.pack_into("<I", content, 40, 0xFFFFFFFF)  # as a writer leaves it that cannot seek back
    assert decode(open_content(bytes(content), LIMITS)).size == SINE.size


def test_a_wav_whose_header_was_never_filled_in_is_no_empty_one() -> None:
    content = bytearray(encode("WAV", "PCM_16"))
    struct.pack_into("<I", content, 4, 36)
    struct.pack_into("<I", content, 40, 0)
    error = refused(bytes(content))
    assert error.reason == "AUDIO_TRUNCATED"
    assert f"{2 * SINE.size} bytes follow" in str(error)


def test_chunks_after_no_samples_are_no_samples() -> None:
    content = bytearray(encode("WAV", "PCM_16", SINE[:0]) + b"LIST\4\0\0\0INFO")
    struct.pack_into("<I", content, 4, len(content) - 8)
    assert decode(open_content(bytes(content), LIMITS)).size == 0


@pytest.mark.parametrize(
    ("offset", "layout", "value", "kind"),
    [
        (40, "<I", 1 << 30, AudioError),  # bytes of samples
        (24, "<I", 0, AudioError),  # rate
        (24, "<I", 3999, LimitError),
        (24, "<I", 192001, LimitError),
        (22, "<H", 0, AudioError),  # channels
        (22, "<H", 65535, AudioError),
    ],
)
def test_a_wav_header_that_lies_is_refused(offset: int, layout: str, value: int, kind: type) -> None:
    content = bytearray(encode("WAV", "PCM_16"))
    struct.pack_into(layout, content, offset, value)
    assert isinstance(refused(bytes(content)), kind)


def test_a_wav_of_countless_chunks_is_given_up_soon() -> None:
    # Walking millions of chunks would hold the event loop for seconds; what is past the first thousand is not seen.
    head = b"RIFF\xff\xff\xff\x7fWAVE"
    short_data = b"data\xff\0\0\0"
    assert refused(head + b"junk\0\0\0\0" * 900 + short_data).reason == "AUDIO_TRUNCATED"
    assert refused(head + b"junk\0\0\0\0" * 7_000_000 + short_data).reason == "AUDIO_UNDECODABLE"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_float_that_is_not_finite_is_refused(value: float) -> None:
    wave = SINE.copy()
    wave[20000] = value
    error = refused(encode("WAV", "FLOAT", wave))
    assert error.reason == "AUDIO_NOT_FINITE"


def test_limits_name_themselves_and_the_value() -> None:
    assert "1 to 8, but is 9" in refused(encode("WAV", "PCM_16", np.zeros((10, 9)))).message
    small = Limits(content_bytes=1000, duration_s=1.5)
    assert "content_bytes = 1000" in refused(encode("WAV", "PCM_16"), small).message
    assert "duration_s = 1.5" in refused(encode("FLAC", "PCM_16", np.zeros(32000)), Limits(duration_s=1.5)).message
    wide = Limits(decoded_bytes=100_000)
    assert "decoded_bytes = 100000" in refused(encode("FLAC", "PCM_16", np.zeros((16000, 2))), wide).message


@pytest.fixture(scope="module")
def three_hours() -> bytes:
    """Three hours of silence at 4 kHz in a FLAC file of some 100 kB."""
    file = io.BytesIO()
    minute = np.zeros(4000 * 60, np.int16)
    with soundfile.SoundFile(file, "w", 4000, 1, format="FLAC", subtype="PCM_16") as flac:
        for _ in range(180):
            flac.write(minute)
    return file.getvalue()


def test_three_hours_of_flac_are_refused_before_decoding(three_hours: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(LimitError, match=r"10800\.0 s or more, over the limit duration_s = 3600"):
            open_content(three_hours, LIMITS)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < len(three_hours) + 100_000


def test_a_flac_that_hides_its_length_is_stopped_at_the_limit(three_hours: bytes) -> None:
    hidden = bytearray(three_hours)
    hidden[21] &= 0xF0  # the 36 bits of STREAMINFO that count samples; 0 is unknown
    hidden[22:26] = bytes(4)
    sound = open_content(bytes(hidden), Limits(duration_s=60.0))
    blocks = itertools.islice(sound.blocks, 60 * 4000 // BLOCK_FRAMES)
    assert all(len(block) == BLOCK_FRAMES for block in blocks)
    with pytest.raises(LimitError, match="duration_s = 60"):
        next(sound.blocks)


def test_pcm_blocks_are_views_of_whole_frames() -> None:
    data = np.arange(3 * (BLOCK_FRAMES + 5), dtype="<i2").tobytes()
    blocks = list(open_pcm(SoundFormat(encoding="s16le", sample_rate_hz=16000, channels=3), data, LIMITS).blocks)
    assert [len(block) for block in blocks] == [BLOCK_FRAMES * 6, 30]
    assert b"".join(blocks) == data


@pytest.mark.parametrize(
    ("size", "encoding", "channels", "left"), [(3, "s16le", 1, 1), (10, "f32le", 2, 2), (5, "mulaw", 2, 1)]
)
def test_pcm_with_a_split_sample_is_refused(size: int, encoding: str, channels: int, left: int) -> None:
    form = SoundFormat(encoding=encoding, sample_rate_hz=16000, channels=channels)
    with pytest.raises(AudioError, match=f"{left} left over") as caught:
        open_pcm(form, bytes(size), LIMITS)
    assert (caught.value.reason, caught.value.field) == ("AUDIO_SPLIT_SAMPLE", "audio.pcm.data")


@pytest.mark.parametrize(
    ("rate_hz", "channels", "field"),
    [(3999, 1, "sample_rate_hz"), (192001, 1, "sample_rate_hz"), (0, 1, "sample_rate_hz"), (16000, 0, "channels")],
)
def test_a_pcm_format_outside_the_limits_names_its_field(rate_hz: int, channels: int, field: str) -> None:
    with pytest.raises(LimitError) as caught:
        open_pcm(SoundFormat(encoding="s16le", sample_rate_hz=rate_hz, channels=channels), b"", LIMITS)
    assert caught.value.field == f"audio.pcm.format.{field}"
