"""The model that comes with the package, on takes that it has not learned from, whole and live."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from auricle.client import Client, Detector
from auricle.model.bundled import bundled_dir, bundled_names
from auricle.serve.local import LocalTransport

RATE_HZ = 8000
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo")
MOST_BYTES = 3_000_000


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Of an engine without a model of the user's."""
    with LocalTransport(models_dir=tmp_path_factory.mktemp("none"), bundled=True) as transport:
        yield Client(transport=transport, retry=None)


@pytest.fixture
def takes(shared_data: Path) -> Path:
    return shared_data / "fsdd"


def test_digits_is_small_and_answers_without_a_name(client: Client) -> None:
    assert bundled_names() == {"digits"}
    assert (bundled_dir() / "digits.onnx").stat().st_size <= MOST_BYTES
    info = client.model("digits")
    assert (info.task, info.sample_rate_hz, info.segment_samples) == ("audio-classification", 44100, 44032)
    assert [(head.name, head.labels) for head in info.heads] == [("embedding", 0), ("scores", 11)]


def test_takes_that_it_has_not_learned_from_are_known(client: Client, takes: Path) -> None:
    # 98.0 % of all 250 such takes; a fifth of them here, so that one more may be wrong by the draw of the sample.
    paths = [takes / f"{digit}_{who}_{digit % 5}.wav" for who in SPEAKERS for digit in range(10)]
    right = [client.classify(path).categories[0].category_name == path.name[0] for path in paths]
    assert np.mean(right) >= 0.96


def test_noise_and_silence_are_background(client: Client, tmp_path: Path) -> None:
    generator = np.random.default_rng(4)
    for level in (0.0, 0.001, 0.03, 0.2):
        path = tmp_path / f"{level}.wav"
        soundfile.write(path, level * generator.normal(size=16000), 16000)
        best = client.classify(path).categories[0]
        assert best.display_name == "background", (level, best)


@pytest.mark.parametrize("digits", ["370", "162"])
def test_three_digits_with_pauses_are_each_told_once(client: Client, takes: Path, digits: str) -> None:
    gap = 0.0005 * np.random.default_rng(8).normal(size=int(0.8 * RATE_HZ))
    pieces = [gap]
    for digit in digits:
        pieces += [soundfile.read(takes / f"{digit}_jackson_1.wav")[0], gap]
    sound = np.concatenate([*pieces, gap]).astype(np.float32)
    detector = Detector()
    chunks = (sound[start : start + 800] for start in range(0, sound.size, 800))
    events = client.stream_classify(chunks, sample_rate_hz=RATE_HZ, encoding="f32le", model="digits", hop_s=0.25)
    found = [detection.label for event in events if (detection := detector.take(event))]
    assert found == list(digits)
