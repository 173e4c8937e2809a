"""PCM conversion: what the formats' definitions say, at any address, length and channel count."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auricle import frontend
from auricle.errors import AudioError, OptionError


def mulaw_value(code: int) -> int:
    """ITU-T G.711 mu-law on a 16-bit scale: the bits are sent inverted; segment e, step m, bias 33."""
    u = ~code & 0xFF
    magnitude = 4 * ((33 + 2 * (u & 15)) * 2 ** (u >> 4 & 7) - 33)
    return -magnitude if u & 0x80 else magnitude


def alaw_value(code: int) -> int:
    """ITU-T G.711 A-law on a 16-bit scale: even bits are sent inverted; the two lowest segments share a step size."""
    u = code ^ 0x55
    step, segment = 2 * (u & 15) + 1, u >> 4 & 7
    magnitude = 8 * (step if segment == 0 else (step + 32) * 2 ** (segment - 1))
    return magnitude if u & 0x80 else -magnitude


def stored(samples: int, encoding: str, seed: int = 0) -> tuple[bytes, np.ndarray]:
    """Random sound in an encoding, and the values it stands for in float64."""
    rng = np.random.default_rng(seed)
    if encoding == "s16le":
        numbers = rng.integers(-32768, 32768, samples).astype("<i2")
        return numbers.tobytes(), numbers / 32768.0
    if encoding == "f32le":
        numbers = rng.standard_normal(samples).astype("<f4")
        return numbers.tobytes(), numbers.astype(np.float64)
    codes = rng.integers(0, 256, samples).astype(np.uint8)
    value = mulaw_value if encoding == "mulaw" else alaw_value
    return codes.tobytes(), np.array([value(int(code)) for code in codes], np.float64) / 32768.0


@pytest.mark.parametrize(("encoding", "value"), [("mulaw", mulaw_value), ("alaw", alaw_value)])
def test_every_g711_code_has_the_value_of_the_standard(encoding: str, value) -> None:
    got = frontend.pcm_to_mono(bytes(range(256)), encoding, 1)
    np.testing.assert_array_equal(got * 32768, [value(code) for code in range(256)])
    assert not np.signbit(got[got == 0]).any()


def test_known_points_of_g711() -> None:
    # The ends and the middle of both scales, as the standard's tables have them (14 and 13 bits, here in 16).
    mulaw = frontend.pcm_to_mono(bytes([0x00, 0x80, 0x7F, 0xFF]), "mulaw", 1) * 32768
    np.testing.assert_array_equal(mulaw, [-32124, 32124, 0, 0])
    alaw = frontend.pcm_to_mono(bytes([0x2A, 0xAA, 0x55, 0xD5]), "alaw", 1) * 32768
    np.testing.assert_array_equal(alaw, [-32256, 32256, -8, 8])


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="the audioop module left the library in Python 3.13")
@pytest.mark.filterwarnings("ignore:'audioop' is deprecated:DeprecationWarning")
def test_g711_agrees_with_audioop() -> None:
    import audioop

    codes = bytes(range(256))
    for encoding, decode in (("mulaw", audioop.ulaw2lin), ("alaw", audioop.alaw2lin)):
        want = np.frombuffer(decode(codes, 2), "<i2")
        np.testing.assert_array_equal(frontend.pcm_to_mono(codes, encoding, 1) * 32768, want)


def test_every_int16_is_scaled_exactly() -> None:
    numbers = np.arange(-32768, 32768).astype("<i2")
    np.testing.assert_array_equal(frontend.pcm_to_mono(numbers.tobytes(), "s16le", 1), numbers / 32768.0)


def test_mono_floats_pass_through_bit_for_bit() -> None:
    x = np.array([0.1, -0.0, 1e-42, 1e6, -1e-30], "<f4")
    assert frontend.pcm_to_mono(x.tobytes(), "f32le", 1).tobytes() == x.tobytes()


@pytest.mark.parametrize("encoding", list(frontend.PCM_BYTES))
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("frames", [0, 1, 2, 15, 16, 17, 255, 2_047, 2_048, 2_049, 5_000])
def test_the_mean_of_the_channels_comes_out(encoding: str, channels: int, frames: int) -> None:
    data, values = stored(frames * channels, encoding, seed=frames)
    got = frontend.pcm_to_mono(data, encoding, channels)
    assert got.dtype == np.float32
    # Eight additions in float32 of values up to 5.
    np.testing.assert_allclose(got, values.reshape(frames, channels).mean(axis=1), rtol=0, atol=1e-6)


@settings(deadline=None, max_examples=80)
@given(
    encoding=st.sampled_from(sorted(frontend.PCM_BYTES)),
    channels=st.integers(1, 9),
    frames=st.integers(0, 700),
    offset=st.integers(0, 7),
)
def test_the_address_does_not_matter(encoding: str, channels: int, frames: int, offset: int) -> None:
    data, _ = stored(frames * channels, encoding, seed=frames)
    want = frontend.pcm_to_mono(data, encoding, channels)
    shifted = memoryview(bytes(offset) + data)[offset:]
    np.testing.assert_array_equal(frontend.pcm_to_mono(shifted, encoding, channels), want)
    np.testing.assert_array_equal(frontend.pcm_to_mono(bytearray(data), encoding, channels), want)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_frames_do_not_depend_on_their_neighbours(channels: int) -> None:
    data, _ = stored(4_000 * channels, "mulaw")
    whole = frontend.pcm_to_mono(data, "mulaw", channels)
    parts = [data[:channels], data[channels : 2_500 * channels], data[2_500 * channels :]]
    got = np.concatenate([frontend.pcm_to_mono(part, "mulaw", channels) for part in parts])
    np.testing.assert_array_equal(got, whole)


def test_equal_channels_are_one_channel() -> None:
    numbers = np.arange(-32768, 32768, 7).astype("<i2")
    stereo = np.stack([numbers, numbers], axis=1)
    np.testing.assert_array_equal(frontend.pcm_to_mono(stereo, "s16le", 2), numbers / 32768.0)


def test_the_mean_of_the_loudest_floats_is_exact() -> None:
    x = np.full((40, 2), np.nextafter(np.float32(2**20), np.float32(0)), np.float32)
    np.testing.assert_array_equal(frontend.pcm_to_mono(x, "f32le", 2), x[:, 0])


@pytest.mark.parametrize(("dtype", "encoding"), [(np.int16, "s16le"), (np.float32, "f32le")])
def test_arrays_as_soundfile_gives_them_are_taken(dtype: type, encoding: str) -> None:
    x = (np.random.default_rng(0).standard_normal((1_000, 2)) * 100).astype(dtype)
    want = frontend.pcm_to_mono(x.tobytes(), encoding, 2)
    np.testing.assert_array_equal(frontend.pcm_to_mono(x, encoding, 2), want)
    np.testing.assert_array_equal(frontend.pcm_to_mono(np.asfortranarray(x), encoding, 2), want)
    np.testing.assert_array_equal(
        frontend.pcm_to_mono(x[:, 0].copy(), encoding, 1), np.float32(x[:, 0] * (1 / 32768 if dtype is np.int16 else 1))
    )
    assert frontend.pcm_to_mono(x[:0], encoding, 2).shape == (0,)


@pytest.mark.parametrize("encoding", list(frontend.PCM_BYTES))
def test_arrays_of_octets_are_taken_as_bytes(encoding: str) -> None:
    data, _ = stored(300, encoding)
    octets = np.frombuffer(data, np.uint8)
    np.testing.assert_array_equal(frontend.pcm_to_mono(octets, encoding, 2), frontend.pcm_to_mono(data, encoding, 2))


@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("channels", "frame", "channel"), [(1, 0, 0), (1, 4_999, 0), (2, 3_000, 1), (3, 17, 2)])
def test_a_sample_that_is_not_finite_is_named(bad: float, channels: int, frame: int, channel: int) -> None:
    x = np.zeros((5_000, channels), np.float32)
    x[frame, channel] = bad
    x[frame + 1 :, 0] = np.nan
    with pytest.raises(AudioError, match=f"sample {frame} of channel {channel} is ") as caught:
        frontend.pcm_to_mono(x.tobytes(), "f32le", channels)
    assert (caught.value.field, caught.value.reason) == ("audio", "AUDIO_NOT_FINITE")
    with pytest.raises(AudioError, match=f"sample {70_000 + frame} of channel {channel} is "):
        frontend.pcm_to_mono(x.tobytes(), "f32le", channels, first_frame=70_000)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("channels", "frame", "channel"), [(1, 0, 0), (1, 4_999, 0), (2, 3_000, 1), (3, 17, 2)])
def test_a_sample_far_out_of_range_is_named_and_the_largest_is_not(
    sign: int, channels: int, frame: int, channel: int
) -> None:
    x = np.zeros((5_000, channels), np.float32)
    x[frame, channel] = sign * np.nextafter(np.float32(2**20), np.float32(0))
    assert frontend.pcm_to_mono(x.tobytes(), "f32le", channels)[frame] == x[frame].mean()
    for bad in (2.0**20, 1e19, 3e38):
        x[frame, channel] = sign * bad
        with pytest.raises(AudioError, match=f"sample {frame} of channel {channel} is .*outside -1 to 1") as caught:
            frontend.pcm_to_mono(x.tobytes(), "f32le", channels)
        assert (caught.value.field, caught.value.reason) == ("audio", "AUDIO_OUT_OF_RANGE")


@pytest.mark.parametrize(
    ("size", "encoding", "channels"), [(3, "s16le", 1), (6, "s16le", 2), (7, "mulaw", 2), (13, "f32le", 3)]
)
def test_a_split_sample_is_refused_with_both_numbers(size: int, encoding: str, channels: int) -> None:
    frame_bytes = frontend.PCM_BYTES[encoding] * channels
    with pytest.raises(AudioError, match=rf"^{size} bytes .*frames of {frame_bytes} bytes") as caught:
        frontend.pcm_to_mono(bytes(size), encoding, channels)
    assert (caught.value.field, caught.value.reason) == ("audio", "AUDIO_SPLIT_SAMPLE")


def test_an_unknown_encoding_is_refused_with_the_known_ones() -> None:
    with pytest.raises(OptionError, match=r"'s24le' is unknown; use one of: s16le, f32le, mulaw, alaw") as caught:
        frontend.pcm_to_mono(b"", "s24le", 1)
    assert caught.value.field == "encoding"


@pytest.mark.parametrize("channels", [0, -1, 2_049])
def test_a_channel_count_out_of_range_is_refused(channels: int) -> None:
    with pytest.raises(OptionError, match=f"{channels} channels") as caught:
        frontend.pcm_to_mono(b"", "s16le", channels)
    assert caught.value.field == "channels"


def test_the_most_channels_are_mixed() -> None:
    data, values = stored(3 * 2_048, "mulaw")
    want = values.reshape(3, 2_048).mean(axis=1)
    # So many additions in float32, of values that come to a few at most.
    np.testing.assert_allclose(frontend.pcm_to_mono(data, "mulaw", 2_048), want, rtol=0, atol=1e-6)


def test_an_array_that_says_otherwise_is_refused() -> None:
    with pytest.raises(OptionError, match="float64 is not f32le; convert it to float32") as caught:
        frontend.pcm_to_mono(np.zeros(4), "f32le", 1)
    assert caught.value.field == "encoding"
    with pytest.raises(OptionError, match=r"shape \(4, 2\) does not hold 1 channels") as caught:
        frontend.pcm_to_mono(np.zeros((4, 2), np.int16), "s16le", 1)
    assert caught.value.field == "channels"
