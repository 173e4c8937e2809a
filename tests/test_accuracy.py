"""Real voices through a real server: the benchmark's claims, on fewer clips."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from bench_accuracy import Clip, equal_error_rate, find_clips, identify, serve_and_embed
from plain import PlainVoice, cosine

# librosa's file reader imports modules that Python 3.13 drops.
pytestmark = pytest.mark.filterwarnings("ignore:'(aifc|audioop|sunau)' is deprecated:DeprecationWarning")

UTTERANCES = 5
DROP_DB = 35


@pytest.fixture(scope="module")
def clips(shared_data: Path) -> list[Clip]:
    return find_clips(shared_data, speakers=5, utterances=UTTERANCES)


@pytest.fixture(scope="module")
def by_level(clips: list[Clip], voice_models: Path) -> dict[int, np.ndarray]:
    return asyncio.run(serve_and_embed(voice_models, clips, (0, DROP_DB)))


def test_speakers_are_told_apart(clips: list[Clip], by_level: dict[int, np.ndarray]) -> None:
    speakers = [clip.speaker for clip in clips]
    assert equal_error_rate(by_level[0], speakers) <= 0.01
    assert identify(by_level[0], speakers) == (10, 10)


def test_a_low_recording_level_costs_little(clips: list[Clip], by_level: dict[int, np.ndarray]) -> None:
    speakers = [clip.speaker for clip in clips]
    every_other = np.where((np.arange(len(clips)) % 2 == 0)[:, np.newaxis], by_level[0], by_level[DROP_DB])
    assert equal_error_rate(every_other, speakers) <= 0.02
    assert identify(every_other, speakers) == (10, 10)


def test_vectors_are_those_of_librosa_and_onnxruntime(
    clips: list[Clip], by_level: dict[int, np.ndarray], voice_models: Path
) -> None:
    plain = PlainVoice(voice_models / "voice" / "1.onnx")
    for clip, vector in list(zip(clips, by_level[0], strict=True))[::2]:
        # Measured 1 - cosine: 3e-13. Both work in float32; this bound leaves room for other BLAS and FFT builds.
        assert 1.0 - cosine(vector, plain.file(clip.path)) <= 1e-8, clip.path.name


def test_equal_error_rate_of_known_scores() -> None:
    # On a circle: own voices 10 degrees apart but for one, which lies with the strangers.
    degrees = np.radians([0.0, 10.0, 90.0, 100.0, 85.0])
    vectors = np.stack([np.cos(degrees), np.sin(degrees)], axis=1).astype(np.float32)
    assert equal_error_rate(vectors[:4], ["a", "a", "b", "b"]) == 0.0
    # Own pairs lie 10, 10, 75 and 85 degrees apart; strangers 5, 15, 80, 90, 90 and 100. Between 75 and 80 one
    # of four own pairs is refused and two of six strangers pass; no other threshold has a lower worse rate.
    assert equal_error_rate(vectors, ["a", "a", "b", "b", "a"]) == pytest.approx((1 / 4 + 2 / 6) / 2)
