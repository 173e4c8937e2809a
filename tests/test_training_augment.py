"""What each part of augmentation does to a spectrum of which everything is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from auricle.frontend import FeatureSpec
from auricle.training import digits
from auricle.training.augment import STILL, Augmentation, augment
from auricle.training.network import BANDS, FRAMES
from auricle.training.planes import SILENCE_DB, Planes

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
