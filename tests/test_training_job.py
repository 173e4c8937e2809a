"""Transfer from a folder to a bundle that serves, its report, and what is refused before training starts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

import models
from auricle.client import Client
from auricle.errors import AudioError, AuricleError, InvalidArgumentError, OptionError
from auricle.serve.local import LocalTransport
from auricle.training.job import Job, run
from auricle.training.report import make_report

RATE_HZ = 16000
LEVELS = {"loud": 0.5, "quiet": 0.05}


def write_clip(path: Path, level: float, seconds: float = 0.2, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = np.random.default_rng(seed).uniform(-level, level, int(seconds * RATE_HZ))
    soundfile.write(path, wave, RATE_HZ)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two classes, ten clips each, of speakers ann and ben."""
    for label, level in LEVELS.items():
        for number in range(10):
            who = "ann" if number < 7 else "ben"
            write_clip(tmp_path / "data" / label / f"{who}_{number}.wav", level * (1 + number / 30), seed=number)
    return tmp_path / "data"


@pytest.fixture
def backbone(tmp_path: Path) -> Path:
    """Its embedding is a segment's highest, lowest and mean sample."""
    return models.write_waveform(tmp_path / "statistics.onnx", version="1")


def test_a_folder_becomes_a_bundle_that_serves(data: Path, backbone: Path, tmp_path: Path) -> None:
    out = tmp_path / "served" / "levels.onnx"
    seen: list[tuple[str, int, int]] = []
    report = run(Job(data=data, out=out, backbone=str(backbone)), lambda *each: seen.append(each))
    assert (report.labels, report.clips, report.accuracy) == (("loud", "quiet"), 4, 1.0)
    assert {stage for stage, _, _ in seen} == {"reading", "embedding"}
    with LocalTransport(models_dir=out.parent) as transport:
        client = Client(transport=transport, retry=None)
        for label in LEVELS:
            result = client.classify(data / label / "ann_1.wav")
            assert (result.model, result.categories[0].label) == ("levels", label)
            assert sum(category.score for category in result.categories) == pytest.approx(1.0, abs=1e-5)
            assert client.embed(data / label / "ann_1.wav").vector.shape == (3,)
        info = client.model("levels")
    assert "trained on 16 clips with seed 1; 100.0% of 4 clips" in info.description


def test_the_same_seed_gives_the_same_file(data: Path, backbone: Path, tmp_path: Path) -> None:
    files = [tmp_path / name / "levels.onnx" for name in ("one", "two")]
    for out in files:
        run(Job(data=data, out=out, backbone=str(backbone)))
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_held_out_speaker_is_all_that_is_tested(data: Path, backbone: Path, tmp_path: Path) -> None:
    job = Job(data=data, out=tmp_path / "l.onnx", backbone=str(backbone), group_pattern="^([a-z]+)_", held_out="ben")
    assert run(job).clips == 6


@pytest.mark.parametrize("case", ["empty", "one-class", "one-clip", "text", "short", "not-finite", "backbone", "share"])
def test_what_cannot_be_learned_from_is_refused_and_nothing_is_written(
    data: Path, backbone: Path, tmp_path: Path, case: str
) -> None:
    job = {"data": data, "out": tmp_path / "new" / "l.onnx", "backbone": str(backbone)}
    kind: type[AuricleError] = InvalidArgumentError
    if case == "empty":
        (tmp_path / "nothing").mkdir()
        job["data"], message = tmp_path / "nothing", "nothing has no sounds"
    elif case == "one-class":
        for path in (data / "loud").iterdir():
            path.unlink()
        message = "has one class, 'quiet'"
    elif case == "one-clip":
        write_clip(data / "odd" / "x.wav", 0.1)
        message = "class 'odd' has 1 clip"
    elif case == "text":
        (data / "loud" / "ann_0.wav").write_text("dear reader")
        kind, message = AudioError, r"ann_0\.wav: audio\.content cannot be read"
    elif case == "short":
        for path in data.glob("*/*.wav"):
            write_clip(path, 0.1, seconds=0.05)
        job["short"], message = "drop", r"without the clips that are shorter than 0\.100 s, has no sounds"
    elif case == "not-finite":
        soundfile.write(data / "loud" / "bad.wav", np.array([0.1, np.nan] * 800), RATE_HZ, subtype="FLOAT")
        kind, message = AudioError, r"bad\.wav: sample 1 of channel 0 is nan"
    elif case == "backbone":
        job["backbone"], kind, message = "nowhere.onnx", OptionError, "there is no bundle nowhere.onnx"
    else:
        job["test_share"], kind, message = 1.0, OptionError, "test_share must lie between 0 and 1, but is 1.0"
    with pytest.raises(kind, match=message):
        run(Job(**job))  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()


def test_a_report_counts_and_names_the_surest_mistakes() -> None:
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6]], np.float32)
    report = make_report(
        ["a", "b"], ["1.wav", "2.wav", "3.wav", "4.wav"], np.array([0, 0, 1, 1]), scores, losses=[2, 1]
    )
    assert report.confusion.tolist() == [[1, 1], [1, 1]]
    assert report.rows() == [("a", 2, 0.5, 0.5), ("b", 2, 0.5, 0.5)]
    assert [(mistake.file, mistake.said) for mistake in report.worst] == [("2.wav", "b"), ("3.wav", "a")]
    assert "accuracy 50.0% on 4 clips" in report.text()
    assert "2.wav: a taken for b (0.80)" in report.page()
    assert "<svg" in report.page()
