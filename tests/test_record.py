"""AudioRecord and its ring, with a stand-in for the sound card."""

from __future__ import annotations

import sys
import threading

import numpy as np
import pytest

from auricle.task.audio import AudioFormat, AudioRecord, TensorAudio
from auricle.task.ring import Ring
from sound_card import Card, install


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> list[Card]:
    return install(monkeypatch)


def column(samples: np.ndarray) -> list[float]:
    return [float(value) for value in samples[:, 0]]


@pytest.mark.parametrize("pieces", [[1] * 23, [4, 4, 4], [3, 7, 2, 11], [7], [6, 1, 8], [20], [0, 5, 0]])
@pytest.mark.parametrize("size", [1, 6, 7, 8])
def test_the_ring_keeps_the_newest_whatever_the_pieces(pieces: list[int], size: int) -> None:
    ring = Ring(size, 2)
    everything = np.zeros((size, 2), np.float32)
    rng = np.random.default_rng(3)
    for count in pieces:
        piece = rng.normal(size=(count, 2)).astype(np.float32)
        ring.write(piece)
        everything = np.concatenate((everything, piece))
        for wanted in range(1, size + 1):
            assert np.array_equal(ring.newest(wanted), everything[-wanted:])


def test_a_readers_copy_does_not_change_with_the_ring() -> None:
    ring = Ring(3, 1)
    ring.write(np.array([[1], [2], [3]], np.float32))
    before = ring.newest(3)
    ring.write(np.array([[4], [5]], np.float32))
    assert column(before) == [1, 2, 3]


def test_a_write_costs_what_it_writes_not_what_the_ring_holds() -> None:
    ring = Ring(1 << 22, 1)
    block = np.ones((4, 1), np.float32)
    ring.write(block)
    data = ring._data
    ring.write(block)
    assert ring._data is data
    assert np.flatnonzero(data[:16, 0]).tolist() == list(range(8))


@pytest.mark.parametrize(("channels", "rate", "size"), [(0, 16000, 5), (-1, 16000, 5), (1, 0, 5), (1, 16000, 0)])
def test_what_is_not_positive_is_refused_before_the_card_is_asked(channels: int, rate: int, size: int) -> None:
    with pytest.raises(ValueError, match="should be positive, but got"):
        AudioRecord(channels, rate, size)


def test_without_sounddevice_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(ImportError, match=r"auricle\[mic\]"):
        AudioRecord(1, 16000, 100)


def test_without_portaudio_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # The real sounddevice does just this where it does not find the library.
    folder = tmp_path_factory.mktemp("modules")
    (folder / "sounddevice.py").write_text("raise OSError('PortAudio library not found')\n")
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.syspath_prepend(folder)
    with pytest.raises(OSError, match=r"PortAudio library not found.*libportaudio2"):
        AudioRecord(1, 16000, 100)


def test_the_card_is_asked_for_float32_in_the_given_format(cards: list[Card]) -> None:
    record = AudioRecord(2, 44100, 100, device="usb")
    assert (record.channels, record.sampling_rate, record.buffer_size) == (2, 44100, 100)
    asked = cards[0].arguments
    assert (asked["channels"], asked["samplerate"], asked["dtype"], asked["device"]) == (2, 44100, "float32", "usb")


def test_a_card_that_refuses_is_an_oserror_with_the_format(cards: list[Card]) -> None:
    with pytest.raises(OSError, match="12345 Hz with 1 channels: Invalid sample rate"):
        AudioRecord(1, 12345, 100)
    with pytest.raises(OSError, match="matching 'none'"):
        AudioRecord(1, 16000, 100, device="none")


def test_recording_starts_empty_and_stops(cards: list[Card]) -> None:
    with AudioRecord(1, 16000, 4) as record:
        record.start_recording()
        cards[0].play(np.array([1, 2, 3]))
        assert column(record.read(4)) == [0, 1, 2, 3]
        record.stop()
        assert column(record.read(2)) == [2, 3]
        record.start_recording()
        assert column(record.read(4)) == [0, 0, 0, 0]
    assert cards[0].calls == ["start", "stop", "start", "close"]


def test_on_overflow_the_newest_samples_are_kept(cards: list[Card]) -> None:
    record = AudioRecord(1, 16000, 3)
    cards[0].play(np.array([1, 2]))
    cards[0].play(np.array([3, 4]))
    assert column(record.read(3)) == [2, 3, 4]
    cards[0].play(np.arange(10, 20))
    assert column(record.read(3)) == [17, 18, 19]
    assert column(record.read(1)) == [19]


@pytest.mark.parametrize("size", [0, -1])
def test_reading_nothing_is_refused(cards: list[Card], size: int) -> None:
    with pytest.raises(ValueError, match=f"should be positive, but got {size}"):
        AudioRecord(1, 16000, 4).read(size)


def test_reading_more_than_the_buffer_names_both_values(cards: list[Card]) -> None:
    with pytest.raises(ValueError, match="cannot read 5 samples: the buffer holds 4"):
        AudioRecord(1, 16000, 4).read(5)


def test_chunks_give_every_sample_once_and_end_with_the_recording(cards: list[Card]) -> None:
    record = AudioRecord(1, 16000, 64)
    record.start_recording()
    got: list[float] = []
    reader = threading.Thread(target=lambda: [got.extend(column(chunk)) for chunk in record.chunks()])
    reader.start()
    for start in range(0, 60, 6):
        cards[0].play(np.arange(start, start + 6))
    record.stop()
    reader.join()
    assert got == [float(value) for value in range(60)]
    assert record.lost_samples == 0


def test_chunks_count_what_a_slow_reader_lost(cards: list[Card]) -> None:
    record = AudioRecord(1, 16000, 4)
    record.start_recording()
    cards[0].play(np.arange(3))
    chunks = record.chunks()
    assert column(next(chunks)) == [0, 1, 2]
    cards[0].play(np.arange(3, 13))
    assert column(next(chunks)) == [9, 10, 11, 12]
    assert record.lost_samples == 6


def test_a_silent_card_is_reported_and_a_gone_one_ends_the_chunks(cards: list[Card]) -> None:
    record = AudioRecord(1, 16000, 4)
    record.start_recording()
    with pytest.raises(OSError, match=r"no sound for 0\.01 s"):
        next(record.chunks(timeout_s=0.01))
    cards[0].play(np.arange(2))
    cards[0].arguments["finished_callback"]()
    assert [column(chunk) for chunk in record.chunks()] == [[0, 1]]


def test_a_tensor_takes_the_newest_of_a_record(cards: list[Card]) -> None:
    record = AudioRecord(1, 16000, 8)
    tensor = TensorAudio(AudioFormat(1, 16000), 3)
    cards[0].play(np.arange(1, 6))
    tensor.load_from_audio_record(record)
    assert column(tensor.buffer) == [3, 4, 5]


def test_a_record_that_does_not_fit_is_refused_size_first_then_channels_then_rate(cards: list[Card]) -> None:
    tensor = TensorAudio(AudioFormat(1, 16000), 4)
    with pytest.raises(ValueError, match="holds 3 samples, which is less than this TensorAudio's 4"):
        tensor.load_from_audio_record(AudioRecord(2, 8000, 3))
    with pytest.raises(ValueError, match="has 2 channels, but this TensorAudio has 1"):
        tensor.load_from_audio_record(AudioRecord(2, 8000, 4))
    with pytest.raises(ValueError, match="records at 8000 Hz, but this TensorAudio is at 16000 Hz"):
        tensor.load_from_audio_record(AudioRecord(1, 8000, 4))
