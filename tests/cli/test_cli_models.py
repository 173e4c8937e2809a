"""``models``: listed, shown, removed, pulled."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from models import write_classifier, write_embedder


def test_models_are_listed_shown_and_removed(run: Any, tmp_path: Path) -> None:
    for version in ("1", "2"):
        write_embedder(tmp_path / "tones" / f"{version}.onnx", version=version)
    flat = write_classifier(tmp_path / "scenes.onnx", name="scenes")
    lines = run("models", "list", "--models", tmp_path, "--json").lines
    # What comes with auricle is listed too: it answers.
    assert [(each["name"], each["version"], each["newest"]) for each in lines] == [
        ("digits", "1", True),
        ("scenes", "1", True),
        ("tones", "2", True),
        ("tones", "1", False),
    ]
    assert "2 (older)" not in run("models", "list", "--models", tmp_path).out

    (line,) = run("models", "show", "scenes", "--models", tmp_path, "--json").lines
    assert line["label_lists"]["scene"]["de"][0] == "Hund"
    people = run("models", "show", flat).out
    assert re.search(r"segment +0\.100 s, every 0\.050 s", people)
    assert re.search(r"head +scene: classification, 4, 4 labels", people)

    asked = run("models", "remove", "tones", "--models", tmp_path)
    assert asked.code == 130
    assert (tmp_path / "tones" / "1.onnx").exists()
    run("models", "remove", "tones", "--version", "1", "--yes", "--models", tmp_path)
    assert [path.name for path in (tmp_path / "tones").iterdir()] == ["2.onnx"]
    (line,) = run("models", "remove", "tones", "--yes", "--models", tmp_path, "--json").lines
    assert len(line["removed"]) == 1
    assert not (tmp_path / "tones").exists()
    assert flat.exists()


@pytest.mark.parametrize("name", ["../outside", "..", ".", "/etc", "*", "tones/../../outside"])
def test_remove_stays_in_its_directory(run: Any, tmp_path: Path, name: str) -> None:
    inside = tmp_path / "models"
    kept = [write_embedder(inside / "tones" / "1.onnx"), write_embedder(tmp_path / "outside.onnx")]
    assert run("models", "remove", name, "--yes", "--models", inside).code == 4
    assert all(path.exists() for path in kept)


def test_pull_tells_what_there_is(run: Any) -> None:
    lines = run("models", "pull", "--json").lines
    assert "voice" in [line["name"] for line in lines]
    assert "voice" in run("models", "pull").out


def test_pull_tells_whether_it_fetched(run: Any, voice_models: Path) -> None:
    (line,) = run("models", "pull", "voice", "--models", voice_models, "--json").lines
    assert line["fetched"] is False
    assert Path(line["path"]).is_file()
