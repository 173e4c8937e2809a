"""``models``: listed, shown, removed, pulled."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from auricle.cli.bench import _path
from auricle.model.bundled import bundled_dir
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


def test_what_comes_with_auricle_is_measured_and_cannot_be_removed(run: Any, tmp_path: Path) -> None:
    flags = ["--models", tmp_path, "--rounds", "1", "--threads", "1", "--json"]
    assert run("bench", "digits", *flags).lines
    ran = run("models", "remove", "digits", "--yes", "--models", tmp_path)
    assert (ran.code, ran.out) == (3, "")
    assert ran.err == "auricle: digits comes with auricle and cannot be removed; --no-bundled serves without it\n"
    # One of the user's own hides it, and goes.
    own = write_embedder(tmp_path / "digits.onnx")
    assert _path("digits", tmp_path) == own
    assert run("models", "remove", "digits", "--yes", "--models", tmp_path).code == 0
    assert _path("digits", tmp_path) == bundled_dir() / "digits.onnx"


def test_a_file_of_another_version_is_not_shown(run: Any, tmp_path: Path) -> None:
    path = write_embedder(tmp_path / "tones.onnx", version="2")
    assert run("models", "show", path, "--version", "2").code == 0
    ran = run("models", "show", path, "--version", "3")
    assert (ran.code, ran.out) == (4, "")
    assert "no version '3'; loaded are: 2" in ran.err


def test_a_file_that_cannot_be_shown_says_why(run: Any, tmp_path: Path) -> None:
    hidden = write_embedder(tmp_path / ".tones.onnx")
    ran = run("models", "show", hidden)
    assert (ran.code, ran.out) == (3, "")
    assert f"{hidden} begins with a dot" in ran.err


@pytest.mark.parametrize("command", [["models", "list"], ["embed", "CLIP"], ["bench", "tones"]])
def test_a_directory_that_cannot_be_listed_is_not_an_empty_one(
    run: Any, tmp_path: Path, clips: list[Path], command: list[str]
) -> None:
    (tmp_path / "models").symlink_to("models")
    ran = run(*(clips[0] if word == "CLIP" else word for word in command), "--models", tmp_path / "models")
    assert (ran.code, ran.out) == (3, "")
    assert ran.err.endswith(
        f"cannot list {tmp_path / 'models'}: Too many levels of symbolic links; give a folder that can be read\n"
    )
