"""The examples: the flows that the TensorFlow Lite Task Library shows, with the import line changed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

import models
from sound_card import Card, install

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_two_clips_are_embedded_and_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = models.write_classifier(tmp_path / "m.onnx", heads=[{}, {}, {}])
    clips = []
    # Samples 6, 7 and 8 are the embedding, 0 to 3 and 4 and 5 the scores.
    for name, samples in (("a", [0, 1, 0, 0, 0.5, 0, 0.25, 0, 0]), ("b", [0.5, 0.5, 0, 0, 0, 0.5, 0.5, 0, 0])):
        clips.append(str(tmp_path / f"{name}.wav"))
        soundfile.write(clips[-1], np.array(samples + [0] * 3000), 16000, subtype="FLOAT")
    example("embed_and_compare").main(["--model", str(model), *clips])
    assert capsys.readouterr().out.splitlines() == [
        "head 0 (3 values): cosine 1.0000",
        "head 1 (4 values): cosine 0.7071",
        "head 2 (2 values): cosine 0.0000",
    ]


def test_a_file_is_classified_window_by_window(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = models.write_classifier(tmp_path / "m.onnx")
    samples = np.zeros(models.LENGTH + 100)
    samples[:6] = [0.0, 0.5, 0.25, 0.0, 0.0, 0.75]
    samples[models.LENGTH :][:6] = [0.75, 0.0, 0.0, 0.0, 0.5, 0.0]
    clip = tmp_path / "clip.wav"
    soundfile.write(clip, samples, 16000, subtype="FLOAT")
    example("classify_file").main(["--model", str(model), "--score-threshold", "0.25", "--max-results", "2", str(clip)])
    assert capsys.readouterr().out.splitlines() == [
        "    0.00 s  scene: cat 0.50, bird 0.25",
        "    0.00 s  mood: loud 0.75",
        "    0.10 s  scene: dog 0.75",
        "    0.10 s  mood: calm 0.50",
    ]


def test_the_microphone_is_classified_in_a_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = models.write_classifier(tmp_path / "m.onnx")
    cards: list[Card] = install(monkeypatch)
    waits: list[float] = []

    def record(wait_s: float) -> None:
        """In place of waiting: as much of a sound as the wait is long, its first sample marked."""
        waits.append(wait_s)
        samples = np.zeros(models.LENGTH)
        samples[: len(waits)] = 0.5
        cards[0].play(samples)

    arguments = ["--model", str(model), "--windows", "2", "--max-results", "3", "--score-threshold", "0.1"]
    example("classify_microphone").main(arguments, sleep=record)
    assert capsys.readouterr().out.splitlines() == [
        "scene: dog 0.50",
        "mood: -",
        "scene: dog 0.50, cat 0.50",
        "mood: -",
    ]
    assert waits[0] == pytest.approx(0.1)
    assert all(0 <= wait_s <= 0.05 for wait_s in waits[1:])
    assert cards[0].calls == ["start", "stop"]


def test_an_overlap_of_a_whole_window_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        example("classify_microphone").main(["--model", "m.onnx", "--overlap", "1"])
    assert "--overlap must be from 0 to below 1, but is 1.0" in capsys.readouterr().err


def test_a_clip_of_another_rate_is_refused_with_both_values(tmp_path: Path) -> None:
    model = models.write_classifier(tmp_path / "m.onnx")
    clip = tmp_path / "clip.wav"
    soundfile.write(clip, np.zeros(100), 44100)
    with pytest.raises(ValueError, match="44100 Hz, but the model takes 16000 Hz"):
        example("classify_file").main(["--model", str(model), str(clip)])


@pytest.mark.parametrize(("name", "clips"), [("classify_file", 1), ("embed_and_compare", 2)])
def test_a_file_that_is_no_sound_is_one_line(tmp_path: Path, name: str, clips: int) -> None:
    model, clip = models.write_classifier(tmp_path / "m.onnx"), tmp_path / "notes.wav"
    clip.write_text("no sound at all, whoever reads this")
    command = [sys.executable, EXAMPLES / f"{name}.py", "--model", model, *[clip] * clips]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert len(ran.stderr.splitlines()) == 1
    assert ran.stderr.startswith(f"{name}: ")
    assert "notes.wav" in ran.stderr
