"""Resampling: exact at any chunking, true to the definition, and as clean as the figures it promises."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

import reference_resample
from auricle import frontend
from auricle._frontend import cpu
from auricle.errors import AudioError, OptionError
from auricle.frontend import resampling

COMMON_HZ = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000)
ODD_PAIRS = ((12_345, 9_876), (44_100, 48_001), (4_001, 191_999), (192_000, 4_000))
PAIRS = [(a, b) for a in COMMON_HZ for b in COMMON_HZ if a != b] + list(ODD_PAIRS)
CHECKED_PAIRS = [(44_100, 16_000), (48_000, 16_000), (22_050, 16_000), (8_000, 16_000), (16_000, 48_000)]
CHECKED_PAIRS += [(44_100, 48_000), (11_025, 8_000), (96_000, 44_100), (44_100, 96_000), *ODD_PAIRS]


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(samples) * 0.1).astype(np.float32)


def streamed(x: np.ndarray, in_hz: int, out_hz: int, chunks: list[int]) -> np.ndarray:
    """``x`` fed by chunks of the given sizes in turn."""
    stream = frontend.ResampleStream(in_hz, out_hz, 1 if x.ndim == 1 else x.shape[1])
    parts, start, turn = [], 0, 0
    while start < len(x):
        size = chunks[turn % len(chunks)]
        parts.append(stream.feed(x[start : start + size]))
        start, turn = start + size, turn + 1
    return np.concatenate([*parts, stream.finish()])


def fitted_tone(y: np.ndarray, hz: float, rate_hz: int) -> tuple[float, float, float]:
    """Amplitude and phase (radians) of the tone in the middle of ``y``, and the RMS of what is left without it."""
    middle = np.arange(len(y) // 4, len(y) - len(y) // 4)
    angle = 2 * np.pi * hz * middle / rate_hz
    basis = np.stack([np.sin(angle), np.cos(angle)], axis=1)
    weights, *_ = np.linalg.lstsq(basis, y[middle].astype(np.float64), rcond=None)
    rest = y[middle] - basis @ weights
    return float(np.hypot(*weights)), float(np.arctan2(weights[1], weights[0])), float(np.sqrt(np.mean(rest**2)))


def tone(hz: float, rate_hz: int, samples: int) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(samples) / rate_hz)).astype(np.float32)


def tone_samples(in_hz: int, out_hz: int) -> int:
    """Long enough that the quarter cut off at either end holds the filter's run-in."""
    return math.ceil(in_hz / min(in_hz, out_hz) * 2_000)


@pytest.mark.parametrize(("in_hz", "out_hz"), PAIRS)
def test_chunking_does_not_change_a_bit(in_hz: int, out_hz: int) -> None:
    x = noise(in_hz // 4 + 3)
    whole = frontend.resample(x, in_hz, out_hz)
    assert len(whole) == -(-len(x) * out_hz // in_hz)
    for chunks in ([in_hz // 50], [1, 0, 7, 441, 1, 9_000], [len(x) - 1]):
        np.testing.assert_array_equal(streamed(x, in_hz, out_hz, chunks), whole)


@settings(deadline=None, max_examples=60)
@given(
    in_hz=st.sampled_from(COMMON_HZ) | st.integers(4_000, 192_000),
    out_hz=st.sampled_from(COMMON_HZ) | st.integers(4_000, 192_000),
    samples=st.integers(0, 3_000),
    chunks=st.lists(st.integers(0, 1_500), min_size=1, max_size=6).filter(any),
)
def test_length_and_bits_hold_at_any_ratio(in_hz: int, out_hz: int, samples: int, chunks: list[int]) -> None:
    x = noise(samples, seed=samples)
    whole = frontend.resample(x, in_hz, out_hz)
    assert len(whole) == -(-samples * out_hz // in_hz)
    np.testing.assert_array_equal(streamed(x, in_hz, out_hz, chunks), whole)


@pytest.mark.parametrize(("in_hz", "out_hz"), [(44_100, 16_000), (8_000, 16_000), (12_345, 9_876)])
def test_single_samples_give_the_same_bits(in_hz: int, out_hz: int) -> None:
    x = noise(3_000)
    np.testing.assert_array_equal(streamed(x, in_hz, out_hz, [1]), frontend.resample(x, in_hz, out_hz))


@pytest.mark.parametrize(("in_hz", "out_hz"), CHECKED_PAIRS)
def test_agrees_with_the_definition(in_hz: int, out_hz: int) -> None:
    for samples in (1, 2, 220 * in_hz // min(in_hz, out_hz)):  # the last one longer than the filter
        x = noise(samples, seed=samples)
        want = reference_resample.resample(x, in_hz, out_hz)
        # Rounding of float32 input, coefficients and sums, for a signal of RMS 0.1.
        assert np.abs(frontend.resample(x, in_hz, out_hz) - want).max() <= 3e-7


@pytest.mark.parametrize(("in_hz", "out_hz"), CHECKED_PAIRS)
def test_agrees_with_the_sound_in_closed_form(in_hz: int, out_hz: int) -> None:
    def sound(t: np.ndarray) -> np.ndarray:
        return sum(np.sin(np.pi * part * min(in_hz, out_hz) * t + part) for part in (0.01, 0.2, 0.5, 0.8)) / 8

    x = sound(np.arange(in_hz // 8) / in_hz)
    got = frontend.resample(x, in_hz, out_hz)
    want = sound(np.arange(len(got)) / out_hz)
    middle = slice(len(want) // 4, -len(want) // 4)
    # 130 dB below full scale in RMS, with room for the peak.
    assert np.abs(got - want)[middle].max() <= 6e-7
    assert np.sqrt(np.mean((got - want)[middle] ** 2)) <= 10 ** (-130 / 20)
    if in_hz * out_hz < 1e10:
        # soxr HQ itself is up to 5e-5 off the closed form where the ratio is not simple.
        theirs = soxr.resample(x.astype(np.float32), in_hz, out_hz, quality="HQ")
        assert np.abs(got[middle] - theirs[middle.start : middle.start + len(got[middle])]).max() <= 1e-4


@pytest.mark.parametrize(("in_hz", "out_hz"), CHECKED_PAIRS)
def test_a_tone_comes_out_clean_in_time_and_as_loud(in_hz: int, out_hz: int) -> None:
    nyquist_hz = min(in_hz, out_hz) / 2
    for part in (0.02, 0.31, 0.9):
        hz = part * nyquist_hz
        y = frontend.resample(tone(hz, in_hz, tone_samples(in_hz, out_hz)), in_hz, out_hz)
        amplitude, phase, rest = fitted_tone(y, hz, out_hz)
        assert 20 * np.log10(amplitude / math.sqrt(2) / rest) >= 130  # what is left holds every image and alias
        assert abs(20 * np.log10(amplitude / 0.5)) <= 0.001
        assert abs(phase) <= 1e-6  # linear phase, delay compensated: no shift at any frequency


@pytest.mark.parametrize(("in_hz", "out_hz"), CHECKED_PAIRS)
def test_the_edge_of_the_band_is_kept(in_hz: int, out_hz: int) -> None:
    hz = 0.925 * min(in_hz, out_hz) / 2
    y = frontend.resample(tone(hz, in_hz, tone_samples(in_hz, out_hz)), in_hz, out_hz)
    assert 20 * np.log10(fitted_tone(y, hz, out_hz)[0] / 0.5) >= -0.1


@pytest.mark.parametrize(("in_hz", "out_hz"), [pair for pair in CHECKED_PAIRS if pair[0] > pair[1]])
def test_what_lies_above_the_band_does_not_fold_back(in_hz: int, out_hz: int) -> None:
    for part in (1.0, 1.013, 1.2):
        if part * out_hz > in_hz:
            continue
        y = frontend.resample(tone(part * out_hz / 2, in_hz, tone_samples(in_hz, out_hz)), in_hz, out_hz)
        middle = y[len(y) // 4 : -len(y) // 4].astype(np.float64)
        assert 20 * np.log10(np.sqrt(np.mean(middle**2)) * math.sqrt(2) / 0.5) <= -130


def test_equal_rates_pass_through_untouched() -> None:
    x = noise(1_000)
    x[3] = np.nan
    whole = frontend.resample(x, 16_000, 16_000)
    np.testing.assert_array_equal(whole, x)
    assert not np.shares_memory(whole, x)
    np.testing.assert_array_equal(streamed(x, 16_000, 16_000, [7, 300]), x)


@pytest.mark.parametrize(("in_hz", "out_hz"), [(44_100, 16_000), (16_000, 48_000), (44_100, 48_001), (8_000, 8_000)])
def test_channels_are_resampled_each_for_itself(in_hz: int, out_hz: int) -> None:
    x = np.stack([noise(5_000, seed) for seed in range(3)], axis=1)
    whole = frontend.resample(x, in_hz, out_hz)
    assert whole.shape == (-(-len(x) * out_hz // in_hz), 3)
    for channel in range(3):
        np.testing.assert_array_equal(whole[:, channel], frontend.resample(x[:, channel], in_hz, out_hz))
    np.testing.assert_array_equal(streamed(x, in_hz, out_hz, [1, 0, 999]), whole)


def test_one_channel_keeps_the_axis_it_came_with() -> None:
    assert frontend.resample(noise(441), 44_100, 16_000).shape == (160,)
    assert frontend.resample(noise(441)[:, None], 44_100, 16_000).shape == (160, 1)


@pytest.mark.parametrize(("in_hz", "out_hz"), [(44_100, 16_000), (16_000, 44_101), (8_000, 8_000)])
def test_nothing_in_nothing_out(in_hz: int, out_hz: int) -> None:
    assert frontend.resample(np.empty(0, np.float32), in_hz, out_hz).shape == (0,)
    assert frontend.resample(np.empty((0, 2), np.float32), in_hz, out_hz).shape == (0, 2)
    stream = frontend.ResampleStream(in_hz, out_hz)
    assert stream.feed(np.empty(0, np.float32)).shape == (0,)
    assert stream.finish().shape == (0,)


def test_any_real_array_is_taken() -> None:
    x = noise(4_000)
    want = frontend.resample(x, 44_100, 16_000)
    odd_address = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view("<f4")
    read_only = x.copy()
    read_only.flags.writeable = False
    for given_x in (x.astype(np.float64), x.tolist(), np.repeat(x, 2)[::2], odd_address, read_only, x.astype(">f4")):
        np.testing.assert_array_equal(frontend.resample(given_x, 44_100, 16_000), want)
        stream = frontend.ResampleStream(44_100, 16_000)
        np.testing.assert_array_equal(np.concatenate([stream.feed(given_x), stream.finish()]), want)


@pytest.mark.parametrize("in_hz", [3_999, 192_001, 0, -44_100])
def test_a_rate_out_of_range_is_named(in_hz: int) -> None:
    with pytest.raises(OptionError, match=f"in_hz is {in_hz} Hz; use 4000 to 192000 Hz"):
        frontend.resample(noise(10), in_hz, 16_000)
    with pytest.raises(OptionError, match=f"out_hz is {in_hz} Hz"):
        frontend.ResampleStream(16_000, in_hz)


def test_a_rate_that_is_no_whole_number_is_refused() -> None:
    with pytest.raises(OptionError, match=r"44100\.5"):
        frontend.resample(noise(10), 44_100.5, 16_000)  # type: ignore[arg-type]


def test_a_channel_count_out_of_range_is_refused() -> None:
    with pytest.raises(OptionError, match="0 channels") as caught:
        frontend.ResampleStream(44_100, 16_000, channels=0)
    assert caught.value.field == "channels"


@pytest.mark.parametrize("shape", [(10, 3), (10, 2, 1), ()])
def test_a_shape_that_is_not_the_stream_s_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(AudioError, match="shape"):
        frontend.ResampleStream(44_100, 16_000, channels=2).feed(np.zeros(shape, np.float32))
    if len(shape) != 2:
        with pytest.raises(AudioError, match="shape"):
            frontend.resample(np.zeros(shape, np.float32), 44_100, 16_000)


def test_a_finished_stream_takes_nothing_more() -> None:
    stream = frontend.ResampleStream(44_100, 16_000)
    stream.feed(noise(100))
    stream.finish()
    with pytest.raises(AudioError, match="finished"):
        stream.feed(noise(100))


@pytest.mark.parametrize("value", [1e30, -1e30, 1e-42, 1.0])
@pytest.mark.parametrize(("in_hz", "out_hz"), [(44_100, 16_000), (48_000, 16_000), (16_000, 44_101)])
def test_extreme_constants_keep_their_value(value: float, in_hz: int, out_hz: int) -> None:
    x = np.full(in_hz // 4, value, np.float32)
    y = frontend.resample(x, in_hz, out_hz)
    middle = y[len(y) // 4 : -len(y) // 4]
    # A denormal keeps what its few bits hold.
    np.testing.assert_allclose(middle, x[0], rtol=1e-6, atol=3e-44)


def test_streams_in_many_threads_do_not_meet() -> None:
    pairs = [(44_100, 16_000), (48_000, 16_000), (16_000, 48_000), (44_100, 48_001)]
    sounds = [noise(in_hz, seed) for seed, (in_hz, _) in enumerate(pairs)]
    want = [frontend.resample(x, *pair) for x, pair in zip(sounds, pairs, strict=True)]
    got: dict[tuple[int, int], np.ndarray] = {}

    def work(turn: int) -> None:
        for index, (x, pair) in enumerate(zip(sounds, pairs, strict=True)):
            got[turn, index] = streamed(x, *pair, [997 + turn])

    threads = [threading.Thread(target=work, args=(turn,)) for turn in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 16
    for (_, index), y in got.items():
        np.testing.assert_array_equal(y, want[index])


def test_the_plans_used_last_are_kept_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    designed: list[tuple[int, int]] = []

    def design(in_hz: int, out_hz: int, lanes: int) -> object:
        designed.append((in_hz, out_hz))
        return object()

    monkeypatch.setattr(resampling, "design", design)
    cache = resampling._PlanCache(2)
    first, second, third = (1, 2), (3, 4), (5, 6)
    assert cache.get(*first) is cache.get(*first)
    for pair in (second, first, third, first, second):
        cache.get(*pair)
    # The third took the place of the second, which was used longest ago.
    assert designed == [first, second, third, second]


def test_all_levels_agree(tmp_path: Path) -> None:
    script = (
        "import sys, numpy as np; from auricle import frontend\n"
        "x = (np.random.default_rng(0).standard_normal(20_000) * 0.1).astype(np.float32)\n"
        "pairs = [(44_100, 16_000), (48_000, 16_000), (8_000, 48_000), (12_345, 9_876), (44_100, 48_001)]\n"
        "np.save(sys.argv[1], np.concatenate([frontend.resample(x, *pair) for pair in pairs]))\n"
    )
    results = []
    for level in cpu.levels():
        path = tmp_path / f"{level}.npy"
        subprocess.run([sys.executable, "-c", script, path], env={**os.environ, "AURICLE_SIMD": level}, check=True)
        results.append(np.load(path))
    for other in results[1:]:
        # Other blocks and another order of additions: each level's rounding alone, as against the definition.
        assert np.abs(other - results[0]).max() <= 3e-7


def test_a_block_is_not_kept_longer_than_it_promises() -> None:
    for in_hz, out_hz in itertools.permutations(COMMON_HZ, 2):
        stream = frontend.ResampleStream(in_hz, out_hz)
        taken = returned = 0
        for size in [in_hz // 100] * 30:
            taken += size
            returned += len(stream.feed(np.zeros(size, np.float32)))
            # The next output's time is past, but by no more than the lag.
            assert taken / in_hz - returned / out_hz <= 0.070 + 1e-9
