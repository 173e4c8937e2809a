"""``auricle models show FILE --tflite-json``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import models
from auricle.cli import main
from tflite_files import File, Output

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def show(capfd: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as leaving:
            main(["models", "show", *map(str, arguments)])
        captured = capfd.readouterr()
        assert isinstance(leaving.value.code, int)
        return leaving.value.code, captured.out, captured.err

    return call


def test_a_files_metadata_is_printed_in_the_schema_of_tensorflow_lite(show: Run, tmp_path: Path) -> None:
    path = models.write_classifier(tmp_path / "sounds.onnx")
    code, out, _ = show(path, "--tflite-json")
    assert code == 0
    graph = json.loads(out)["subgraph_metadata"][0]
    assert [output["name"] for output in graph["output_tensor_metadata"]] == ["scene", "mood", "embedding"]


def test_a_tflite_files_own_metadata_is_printed(show: Run, tmp_path: Path) -> None:
    code, out, _ = show(File(outputs=[Output(classes=3, name="scores")]).write(tmp_path / "a.tflite"), "--tflite-json")
    assert (code, json.loads(out)["name"]) == (0, "Small")
    bare = File(outputs=[Output(classes=3)], metadata=False).write(tmp_path / "bare.tflite")
    code, _, errors = show(bare, "--tflite-json")
    assert (code, "bare.tflite: it has no metadata" in errors) == (3, True)


def test_people_see_format_features_segment_heads_size_and_licence(show: Run, tmp_path: Path) -> None:
    path = models.write_classifier(tmp_path / "sounds.onnx", license="MIT")
    code, out, _ = show(path)
    assert code == 0
    for fact in ("16000 Hz", "waveform", "0.100 s, every 0.050 s", "scene: classification, 4, 4 labels", " kB", "MIT"):
        assert fact in out


def test_a_name_instead_of_a_file_is_refused(show: Run) -> None:
    code, _, errors = show("voice", "--tflite-json")
    assert code == 2
    assert "--tflite-json shows a FILE" in errors


def test_a_file_that_is_missing_or_no_model_is_named(show: Run, tmp_path: Path) -> None:
    code, _, errors = show(tmp_path / "gone.onnx", "--tflite-json")
    assert (code, "gone.onnx: No such file" in errors) == (3, True)
    words = tmp_path / "words.onnx"
    words.write_text("not a model")
    code, _, errors = show(words, "--tflite-json")
    assert (code, "words.onnx: the model buffer of 11 bytes is no ONNX model" in errors) == (3, True)
