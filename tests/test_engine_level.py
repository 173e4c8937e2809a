"""The level of segments: RMS over real samples, gain by the kind of features, and chunking that changes nothing."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import models
from auricle import frontend
from auricle.config import SessionSettings
from auricle.engine.cutter import Cutter, Segment
from auricle.engine.decode import SoundFormat
from auricle.engine.graph import Graph
from auricle.engine.level import Level
from auricle.engine.plan import default_grid
from auricle.engine.segments import SegmentGrid

FLOAT = SoundFormat(encoding="f32le", sample_rate_hz=16000)
LINEAR = {"preset": "yamnet-64", "compression": "none", "offset": 0.0}


def noise(samples: int, level: float = 0.01, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, level, samples).astype(np.float32)


def cut(path: Path, *pieces: np.ndarray) -> list[Segment]:
    graph = Graph(path, SessionSettings(threads=1))
    cutter = Cutter(graph, default_grid(graph), FLOAT)
    segments = [segment for piece in pieces for segment in cutter.feed(piece.tobytes())]
    return segments + cutter.finish()


def rms(wave: np.ndarray) -> float:
    return math.sqrt(np.square(wave, dtype=np.float64).mean())


def snipped() -> SegmentGrid:
    """Three frames of 400 every 160, which span 720 samples: four and a half hops."""
    return SegmentGrid(length=3, hop=2, row_samples=160, samples=720)


def gains(grid: SegmentGrid, wave: np.ndarray, pieces: list[int], target_dbfs: float = -20.0) -> list[float]:
    level = Level(target_dbfs, grid)
    at = 0
    for size in [*pieces, wave.size]:
        level.feed(wave[at : at + size])
        at += size
    level.finish()
    count = grid.whole(wave.size) + grid.keeps_partial(wave.size)
    return [level.gain(i, min(grid.samples or wave.size, wave.size - grid.start(i))) for i in range(count)]


def test_the_gain_lifts_the_real_samples_to_the_target() -> None:
    wave = noise(1500)
    grid = snipped()
    expected = [0.1 / rms(wave[start : start + 720]) for start in (0, 320, 640, 960)]
    assert gains(grid, wave, []) == pytest.approx(expected, rel=1e-12)


def test_padding_does_not_count() -> None:
    wave = noise(100)
    assert gains(snipped(), wave, []) == pytest.approx([0.1 / rms(wave)], rel=1e-12)


def test_loud_segments_and_digital_silence_keep_their_level() -> None:
    assert gains(snipped(), noise(720, level=0.2), []) == [1.0]
    assert gains(snipped(), np.zeros(720, np.float32), []) == [1.0]


@pytest.mark.parametrize("level", [1e-12, 1e-16, 1e-20, 2e-34, 1e-42, 1e-44])
@pytest.mark.parametrize("kind", ["power", "magnitude", "waveform"])
def test_what_is_all_but_silent_is_answered_like_silence_or_like_itself_but_louder(
    tmp_path: Path, kind: str, level: float
) -> None:
    segment = {"raise_to_dbfs": -20.0}
    if kind == "waveform":
        path = models.write_waveform(tmp_path / "w.onnx", segment=segment)
    else:
        path = models.write_embedder(tmp_path / "e.onnx", features={**LINEAR, "spectrum": kind}, segment=segment)
    shape = noise(15600, level=1.0)
    faint, loud = (cut(path, shape * np.float32(by))[0].rows for by in (level, 0.01))
    expected = loud if level > 1e-13 else np.zeros_like(loud)
    # Silence is not raised: what is left of it is as faint as it came.
    np.testing.assert_allclose(faint, expected, rtol=1e-4, atol=1e-6)


def test_each_segment_has_its_own_gain() -> None:
    grid = SegmentGrid(length=2, hop=2, row_samples=160, samples=320)
    wave = np.concatenate([noise(320, 0.001), noise(320, 0.5), noise(320, 0.01)])
    assert gains(grid, wave, []) == pytest.approx([0.1 / rms(wave[:320]), 1.0, 0.1 / rms(wave[640:])], rel=1e-12)


@given(pieces=st.lists(st.integers(0, 500), max_size=12), samples=st.integers(1, 2000))
def test_chunking_does_not_change_a_gain(pieces: list[int], samples: int) -> None:
    wave = noise(samples, seed=samples)
    assert gains(snipped(), wave, pieces) == gains(snipped(), wave, [])


@pytest.mark.parametrize(("spectrum", "power"), [("magnitude", 1), ("power", 2)])
def test_features_are_raised_by_the_gain_or_its_square(tmp_path: Path, spectrum: str, power: int) -> None:
    features = {**LINEAR, "spectrum": spectrum}
    wave = noise(15600)
    plain, raised = (
        cut(models.write_embedder(tmp_path / f"{name}.onnx", features=features, segment=segment), wave)[0].rows
        for name, segment in (("plain", {}), ("raised", {"raise_to_dbfs": -20.0}))
    )
    gain = 0.1 / rms(wave)
    np.testing.assert_allclose(raised, plain * gain**power, rtol=3e-7)
    # The same as a louder waveform, within the frontend's float32.
    louder = frontend.features(wave * np.float32(gain), frontend.FeatureSpec.from_mapping(features))
    np.testing.assert_allclose(raised, louder, rtol=1e-4, atol=1e-6)


def test_a_waveform_is_raised_over_its_real_samples(tmp_path: Path) -> None:
    path = models.write_waveform(tmp_path / "w.onnx", segment={"raise_to_dbfs": -20.0})
    wave = noise(1700)
    first, last = cut(path, wave)
    assert rms(first.rows) == pytest.approx(0.1, rel=1e-6)
    assert rms(last.rows[:900]) == pytest.approx(0.1, rel=1e-6)
    assert not last.rows[900:].any()


def test_a_whole_clip_is_raised_as_one(tmp_path: Path) -> None:
    path = models.write_whole_clip(
        tmp_path / "w.onnx", segment={"length": None, "hop": None, "raise_to_dbfs": -20.0, "stream_length": 8000}
    )
    (segment,) = cut(path, noise(5000))
    assert rms(segment.rows) == pytest.approx(0.1, rel=1e-6)


@pytest.mark.parametrize("pieces", [[15600], [15599, 1], [7680] * 3, [1] * 3 + [40000], [100, 23180]])
def test_chunking_does_not_change_a_raised_segment(tmp_path: Path, pieces: list[int]) -> None:
    path = models.write_embedder(tmp_path / "e.onnx", features=LINEAR, segment={"raise_to_dbfs": -20.0})
    wave = noise(30000)
    parts = np.split(wave, np.cumsum(pieces)[np.cumsum(pieces) < wave.size])
    whole, chunked = cut(path, wave), cut(path, *parts)
    assert len(whole) == len(chunked) == 3
    for a, b in zip(whole, chunked, strict=True):
        np.testing.assert_array_equal(a.rows, b.rows)
    for segment, start in zip(whole, (0, 7680, 15360), strict=True):
        gain = 0.1 / rms(wave[start : start + 15600])
        padded = np.pad(wave, (0, 31000 - wave.size))[start : start + 15600]
        plain = frontend.features(padded, frontend.FeatureSpec.from_mapping(LINEAR))
        np.testing.assert_allclose(segment.rows, plain * gain, rtol=1e-5)
