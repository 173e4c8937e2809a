"""TensorAudio: a buffer that keeps the newest samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from auricle.task import audio
from auricle.task.audio import AudioFormat, TensorAudio


def tensor(size: int = 5, channels: int = 1) -> TensorAudio:
    return TensorAudio(AudioFormat(channels=channels, sample_rate=16000), size)


def column(sound: TensorAudio) -> list[float]:
    return [float(value) for value in sound.buffer[:, 0]]


def test_a_new_buffer_is_float32_zeros_of_its_size_and_channels() -> None:
    sound = tensor(5, 2)
    assert sound.buffer.dtype == np.float32
    assert sound.buffer.shape == (5, 2)
    assert not sound.buffer.any()
    assert sound.buffer_size == 5
    assert sound.format == audio.AudioFormat(2, 16000)


@pytest.mark.parametrize(("channels", "rate", "size"), [(0, 16000, 5), (1, 0, 5), (1, 16000, 0), (1, -8, 5)])
def test_a_size_that_is_not_positive_is_refused_with_its_value(channels: int, rate: int, size: int) -> None:
    wrong = min(channels, rate, size)
    with pytest.raises(ValueError, match=f"should be positive, but got {wrong}\\."):
        TensorAudio(AudioFormat(channels, rate), size)


def test_less_than_a_buffer_shifts_left_and_follows() -> None:
    sound = tensor(5)
    sound.load_from_array(np.array([1.0, 2.0, 3.0]))
    assert column(sound) == [0, 0, 1, 2, 3]
    sound.load_from_array(np.array([[4.0], [5.0], [6.0], [7.0]]))
    assert column(sound) == [3, 4, 5, 6, 7]


@pytest.mark.parametrize("count", [5, 6, 12])
def test_a_buffers_worth_or_more_keeps_the_newest(count: int) -> None:
    sound = tensor(5)
    sound.load_from_array(np.arange(count, dtype=np.float64))
    assert column(sound) == [float(value) for value in range(count - 5, count)]


@pytest.mark.parametrize(
    ("offset", "size", "expected"),
    [(2, 2, [0, 0, 0, 2, 3]), (7, -1, [0, 0, 7, 8, 9]), (0, 0, [0] * 5), (10, -1, [0] * 5), (1, 8, [4, 5, 6, 7, 8])],
)
def test_offset_and_size_choose_a_range(offset: int, size: int, expected: list[float]) -> None:
    sound = tensor(5)
    sound.load_from_array(np.arange(10.0), offset, size)
    assert column(sound) == expected


@pytest.mark.parametrize(("offset", "size"), [(-1, 2), (0, 11), (8, 3), (11, -1), (0, -2)])
def test_a_range_outside_the_array_names_both_values(offset: int, size: int) -> None:
    sound = tensor(5)
    with pytest.raises(ValueError, match=rf"offset {offset}\b.*10 samples"):
        sound.load_from_array(np.arange(10.0), offset, size)
    assert not sound.buffer.any()


def test_other_channels_name_both_values() -> None:
    with pytest.raises(ValueError, match="1 channels, but this TensorAudio has 2 channels"):
        tensor(5, 2).load_from_array(np.zeros(5, np.float32))
    with pytest.raises(ValueError, match="3 channels, but this TensorAudio has 1 channels"):
        tensor(5).load_from_array(np.zeros((5, 3), np.float32))
    with pytest.raises(ValueError, match="shape 1x5x1 has 3 axes"):
        tensor(5).load_from_array(np.zeros((1, 5, 1), np.float32))


def test_integer_pcm_is_refused_instead_of_being_32768_times_too_loud() -> None:
    with pytest.raises(ValueError, match="int16 / 32768"):
        tensor(5).load_from_array(np.zeros(5, np.int16))


def test_complex_values_are_refused_instead_of_losing_a_half() -> None:
    for kind in (np.complex64, np.complex128):
        with pytest.raises(ValueError, match=f"{np.dtype(kind)} values, but samples are real"):
            tensor(5).load_from_array(np.zeros(5, kind))


def test_clear_sets_zeros() -> None:
    sound = tensor(3)
    sound.load_from_array(np.ones(3))
    sound.clear()
    assert column(sound) == [0, 0, 0]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.wav"
    soundfile.write(path, np.arange(100, dtype=np.int16), 8000, subtype="PCM_16")
    return path


def test_a_file_is_read_from_an_offset_in_samples(clip: Path) -> None:
    sound = TensorAudio.create_from_wav_file(clip, 4, 10)
    assert sound.format == AudioFormat(1, 8000)
    assert column(sound) == [value / 32768 for value in (10, 11, 12, 13)]


def test_a_file_that_ends_early_is_followed_by_zeros(clip: Path) -> None:
    sound = TensorAudio.create_from_wav_file(str(clip), 5, 97)
    assert column(sound) == [value / 32768 for value in (97, 98, 99, 0, 0)]


def test_a_flac_in_stereo_keeps_its_channels(tmp_path: Path) -> None:
    path = tmp_path / "clip.flac"
    samples = np.stack([np.arange(50), -np.arange(50)], axis=1).astype(np.int16)
    soundfile.write(path, samples, 44100)
    sound = TensorAudio.create_from_wav_file(path, 50)
    assert sound.format == AudioFormat(2, 44100)
    assert np.array_equal(sound.buffer, samples / np.float32(32768))


@pytest.mark.parametrize("offset", [-1, 101])
def test_an_offset_outside_the_file_names_both_values(clip: Path, offset: int) -> None:
    with pytest.raises(ValueError, match=rf"offset {offset} is out of range: .*clip\.wav has 100 samples"):
        TensorAudio.create_from_wav_file(clip, 4, offset)


def test_a_file_that_is_no_sound_or_is_not_there_is_named(tmp_path: Path) -> None:
    text = tmp_path / "words.wav"
    text.write_text("not a sound")
    with pytest.raises(ValueError, match=r"words\.wav cannot be decoded"):
        TensorAudio.create_from_wav_file(text, 4)
    with pytest.raises(FileNotFoundError, match=r"gone\.wav"):
        TensorAudio.create_from_wav_file(tmp_path / "gone.wav", 4)
