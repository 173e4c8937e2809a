"""What stands on stdout: names as they are, JSON in any encoding, and a reader that has gone."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from auricle.cli.pulling import _bar
from command import RATE_HZ
from models import LENGTH, write_classifier

# What rich would take for a style, for an end of one that never began, and for pictures.
LABELS = ["[noise]", "go[/x]", ":bug:", "[bold]"]


@pytest.fixture
def odd_models(tmp_path: Path) -> Path:
    labels = [{"locale": "en", "names": LABELS}]
    write_classifier(tmp_path / "models" / "a[x].onnx", name="a[x]", heads=[{}, {"labels": labels}, {}])
    return tmp_path / "models"


def write_sound(path: Path) -> Path:
    soundfile.write(path, np.full(LENGTH, 0.5), RATE_HZ)
    return path


def test_names_in_a_table_are_no_markup(run: Any, odd_models: Path, tmp_path: Path) -> None:
    clips = [write_sound(tmp_path / name) for name in ("x[take 1].flac", "a:bug:.flac")]
    ran = run("classify", *clips, "--models", odd_models, "--model", "a[x]", "--head", "scene")
    assert (ran.code, ran.err) == (0, "")
    assert all(name in ran.out for name in (*LABELS, "x[take 1].flac", "a:bug:.flac", "by a[x]/1"))
    assert "a[x]" in run("models", "list", "--models", odd_models).out


def test_names_in_a_progress_bar_are_no_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    name = "https://example.com/a[x]:bug:{0}.onnx"
    with _bar(name, []) as progress:
        progress("download", 1, 2)
    assert f"{name}: download" in sys.stderr.getvalue()


@pytest.mark.parametrize("words", [["models", "list"], ["models", "pull"], ["--help"], ["--version"], ["embed", "-h"]])
def test_a_reader_that_has_gone_is_told_from_a_failure(words: list[str], odd_models: Path) -> None:
    place = ["--models", str(odd_models)] if words[0] == "models" else []
    ours, theirs = os.pipe()
    os.close(ours)
    command = [sys.executable, "-m", "auricle.cli", *words, *place]
    ran = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, check=False)
    os.close(theirs)
    assert (ran.returncode, ran.stderr) == (141, b"")


def written(*words: object, encoding: str) -> bytes:
    command = [sys.executable, "-m", "auricle.cli", *map(str, words)]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    return subprocess.run(command, capture_output=True, env=environment, check=False).stdout


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_json_can_be_read_whatever_the_encoding_of_stdout(encoding: str) -> None:
    name = "/nowhere/é 🐛.wav"
    out = written("embed", name, "--server", "127.0.0.1:1", "--json", encoding=encoding)
    assert json.loads(out.decode("utf-8"))["file"] == name
    assert out.isascii() is (encoding != "utf-8")


def test_a_models_own_json_can_be_read_whatever_the_encoding_of_stdout(tmp_path: Path) -> None:
    path = write_classifier(tmp_path / "birds.onnx", description="Vögel 🐦")
    out = written("models", "show", path, "--tflite-json", encoding="latin-1")
    assert json.loads(out.decode("utf-8"))["description"] == "Vögel 🐦"
