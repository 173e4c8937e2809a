"""What each part of augmentation does to a spectrum of which everything is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from auricle.frontend import FeatureSpec
from auricle.training import digits
from auricle.training.architecture import BANDS, FRAMES
from auricle.training.augment import augment
from auricle.training.augmentation import STILL, Augmentation
from auricle.training.placing import place
from auricle.training.planes import SILENCE_DB, Planes
from auricle.training.warping import WAVES, warp_time, waves

ROWS, EDGE, LEVEL_DB = 20, 186, -40.0
NOISES = np.full((1, FRAMES, BANDS), -50.0, np.float32)


@pytest.fixture
def spec() -> FeatureSpec:
    """Of the model, but in decibels still: without normalisation."""
    features = digits.recipe().features
    assert features is not None
    return replace(features, normalization="none", norm_epsilon=0.0)


def sound(*, rows: int = ROWS) -> Planes:
    """Equally loud in the first frames below the edge, and nothing else."""
    db = np.full((1, FRAMES, BANDS), SILENCE_DB, np.float16)
    db[:, :rows, :EDGE] = LEVEL_DB
    return Planes(
        db=db,
        rows=np.array([rows]),
        edge=np.array([EDGE], np.float32),
        source=np.zeros(1, np.int64),
        first=np.ones(1, bool),
    )


def made(spec: FeatureSpec, settings: Augmentation, *, rows: int = ROWS, seed: int = 1) -> np.ndarray:
    return augment(sound(rows=rows), np.zeros(1, np.int64), NOISES, spec, settings, np.random.default_rng(seed))[0]


def silent_db(spec: FeatureSpec) -> float:
    return float(20 * np.log10(spec.floor))


def test_the_strongest_band_has_the_level_that_was_drawn(spec: FeatureSpec) -> None:
    plane = made(spec, replace(STILL, peak_db=(-33.0, -33.0)))
    assert plane.max() == pytest.approx(-33.0, abs=1e-3)
    assert plane[ROWS:].max() == pytest.approx(silent_db(spec))


def test_noise_of_the_recording_ends_where_it_ends_and_has_its_ratio(spec: FeatureSpec) -> None:
    settings = replace(STILL, hissing=1.0, murmuring=0.0, hiss_snr_db=(0.0, 0.0))
    plane = made(spec, settings)
    # The noise has the sound's own power: 3 dB more. Close to the edge the envelope is smoothed.
    np.testing.assert_allclose(plane[:ROWS, : EDGE - 13], LEVEL_DB + 10 * np.log10(2), atol=0.01)
    assert plane[ROWS:].max() == pytest.approx(silent_db(spec))
    assert plane[:, EDGE:].max() == pytest.approx(silent_db(spec))


def test_noise_around_the_sound_fills_the_segment(spec: FeatureSpec) -> None:
    plane = made(spec, replace(STILL, noisy=1.0, snr_db=(20.0, 20.0)))
    np.testing.assert_allclose(plane[ROWS:], LEVEL_DB - 20.0, atol=0.01)
    np.testing.assert_allclose(plane[:, EDGE:], LEVEL_DB - 20.0, atol=0.01)


def test_echoes_gather_as_a_geometric_series(spec: FeatureSpec) -> None:
    plane = made(spec, replace(STILL, echoing=1.0, echo_db=(0.0, 0.0), decay_db=(3.0, 3.0)))
    kept = 10.0**-0.3
    gathered = 1 + kept * (1 - kept ** np.arange(ROWS)) / (1 - kept)
    np.testing.assert_allclose(plane[:ROWS, 50], LEVEL_DB + 10 * np.log10(gathered), atol=0.01)


def test_a_cropped_sound_is_shorter_by_no_more_than_was_allowed(spec: FeatureSpec) -> None:
    lengths = [
        int((made(spec, replace(STILL, crop=0.25), seed=seed)[:, 50] > LEVEL_DB - 1).sum()) for seed in range(40)
    ]
    assert max(lengths) == ROWS
    # Up to a quarter at each end, in whole frames.
    assert ROWS // 2 <= min(lengths) < ROWS


def test_weak_ends_are_cut_off_and_weak_middles_stay() -> None:
    db = np.full((2, FRAMES, BANDS), SILENCE_DB, np.float32)
    db[:, :ROWS] = LEVEL_DB
    db[:, :3] = db[:, 9] = db[:, ROWS - 2 : ROWS] = LEVEL_DB - 30.0
    for least_db, lost in ((25.0, 3 + 2), (35.0, 0)):
        settings = replace(STILL, trim_db=(least_db, least_db))
        placed = place(db, np.full(2, ROWS), np.ones(2, np.float32), settings, np.random.default_rng(1))
        assert (placed[:, :, 0] > SILENCE_DB).sum(1).tolist() == [ROWS - lost] * 2
        np.testing.assert_allclose(placed[:, 9 - (3 if lost else 0)], LEVEL_DB - 30.0)


def test_a_sound_that_changes_its_tempo_keeps_its_order_and_its_ends() -> None:
    passed = np.linspace(-0.5, 1.5, 201)[None].repeat(50, axis=0)
    warped = warp_time(passed, waves(50, 0.4, np.random.default_rng(1)))
    assert np.diff(warped, axis=1).min() >= 0.6 * 0.01 - 1e-6
    outside = (passed <= 0.0) | (passed >= 1.0)
    np.testing.assert_allclose(warped[outside], passed[outside], atol=1e-6)
    assert np.abs(warped - passed).max() > 0.03
    np.testing.assert_array_equal(warp_time(passed, np.zeros((50, WAVES), np.float32)), passed)


def test_a_bend_moves_a_formant_and_leaves_the_ends_of_the_spectrum(spec: FeatureSpec) -> None:
    tops = []
    for seed in range(30):
        planes = sound()
        # A formant as broad as the smoothing, in the middle.
        planes.db[0, :ROWS, :EDGE] += 30.0 * np.exp(-(((np.arange(EDGE) - EDGE / 2) / 12.0) ** 2))
        bent = augment(
            planes, np.zeros(1, np.int64), NOISES, spec, replace(STILL, bend=8.0), np.random.default_rng(seed)
        )
        tops.append(int(bent[0, 0].argmax()))
        np.testing.assert_allclose(bent[0, 0, :8], LEVEL_DB, atol=0.3)
    assert 2 <= np.ptp(tops) <= 16
    assert abs(np.mean(tops) - EDGE / 2) < 3
