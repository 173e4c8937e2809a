"""Files that are bundles already: taken over whole, described as they were served, and options of no effect refused."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import onnx
import pytest

import models
from auricle.cli import main
from auricle.config import SessionSettings
from auricle.engine.graph import Graph
from auricle.errors import BundleError, OptionError
from auricle.importing.file_import import import_file
from auricle.importing.onnx_import import import_onnx
from auricle.importing.settings import ImportReport, ImportSettings
from auricle.metadata import audio_embedder, tflite_json
from auricle.metadata.onnxfile import data_files
from tflite_files import File, Output


@pytest.fixture
def ready(tmp_path: Path) -> Path:
    return models.write_embedder(tmp_path / "ready.onnx", name="tones", author="me", version="3")


def taken(path: Path, tmp_path: Path, **settings: Any) -> ImportReport:
    return import_onnx(path, tmp_path / "models", ImportSettings(**settings))


def described(report: ImportReport) -> Any:
    return Graph(report.path, SessionSettings(threads=1)).bundle


def with_data_beside(path: Path) -> Path:
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location=f"{path.stem}.data", size_threshold=0)
    return path


def test_a_bundle_is_taken_over_as_it_is(ready: Path, tmp_path: Path) -> None:
    report = taken(ready, tmp_path)
    assert report.path == tmp_path / "models" / "tones.onnx"
    assert report.path.read_bytes() == ready.read_bytes()
    assert report.notes == ("it is a bundle already and was taken over as it is",)
    # What it says already is nothing new.
    again = taken(ready, tmp_path, name="tones", author="me", version="3", replace=True)
    assert again.path.read_bytes() == ready.read_bytes()


def test_a_name_and_texts_are_put_into_a_bundle(ready: Path, tmp_path: Path) -> None:
    report = taken(ready, tmp_path, name="other", version="4", license="MIT", task="speaker-embedding")
    assert report.notes == ("it is a bundle already, with another name and version and license and task now",)
    bundle = described(report)
    assert (bundle.name, bundle.version, bundle.license, bundle.task) == ("other", "4", "MIT", "speaker-embedding")
    assert (report.version, bundle.author) == ("4", "me")


def test_what_the_original_said_of_itself_is_told_with_the_new_texts(tmp_path: Path) -> None:
    bare = models.write_waveform(tmp_path / "bare.onnx", metadata=None)
    made = audio_embedder.MetadataWriter.create_for_inference(bare.read_bytes(), 16000, 1).populate()
    (tmp_path / "made.onnx").write_bytes(made)
    report = taken(tmp_path / "made.onnx", tmp_path, author="somebody")
    assert json.loads(tflite_json(report.path))["author"] == "somebody"
    assert json.loads(tflite_json(report.path))["subgraph_metadata"]


@pytest.mark.parametrize("inside", [True, False])
def test_the_description_of_a_sidecar_goes_into_the_file(tmp_path: Path, inside: bool) -> None:
    path = models.write_embedder(tmp_path / "v.onnx", **({} if inside else {"metadata": None}))
    (tmp_path / "v.json").write_text(json.dumps(models.embedder_bundle(name="sidecar", version="7")))
    report = taken(path, tmp_path)
    assert (report.name, report.version) == ("sidecar", "7")
    assert described(report).version == "7"
    assert report.notes == ("it is a bundle already", "the description in v.json was put into the file")
    assert [each.name for each in (tmp_path / "models").iterdir()] == ["sidecar.onnx"]


def test_a_sidecar_that_describes_no_model_is_named(tmp_path: Path) -> None:
    path = models.write_embedder(tmp_path / "v.onnx")
    (tmp_path / "v.json").write_text('{"about": "something else"}')
    with pytest.raises(BundleError, match=r"^v\.json: the metadata .*move it from beside the model"):
        taken(path, tmp_path)


def test_weights_beside_a_file_go_into_it(tmp_path: Path) -> None:
    whole = models.write_embedder(tmp_path / "e.onnx")
    content = whole.read_bytes()
    path = with_data_beside(whole)
    assert data_files(path) == ("e.data",)
    report = taken(path, tmp_path)
    assert report.notes[-1] == "the weights in e.data were put into the file"
    assert (data_files(report.path), report.size_bytes) == ((), report.path.stat().st_size)
    assert report.size_bytes > len(content) // 2
    assert described(report).name == "embedder"
    bare = with_data_beside(models.write_waveform(tmp_path / "bare.onnx", metadata=None))
    settings = {"sample_rate_hz": 16000, "features": "none"}
    assert data_files(taken(bare, tmp_path, **settings).path) == ()


def test_a_file_with_weights_beside_it_is_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "e").mkdir()
    path = with_data_beside(models.write_embedder(tmp_path / "e" / "E.ONNX"))
    with pytest.raises(SystemExit) as left:
        main(["models", "show", str(path), "--json"])
    captured = capfd.readouterr()
    assert (left.value.code, captured.err) == (0, "")
    assert json.loads(captured.out)["name"] == "E"


NO_EFFECT: list[tuple[str, Any]] = [
    ("sample_rate_hz", 16000),
    ("features", "none"),
    ("layout", "batch,samples"),
    ("segment_length_s", 1.0),
    ("hop_s", 1.0),
    ("outputs", ("embedding",)),
    ("labels", (("", Path("labels.txt")),)),
    ("activation", "softmax"),
    ("precision", "int8"),
    ("force", True),
]


@pytest.mark.parametrize(("option", "value"), NO_EFFECT)
def test_an_option_that_would_change_nothing_is_refused(
    ready: Path, tmp_path: Path, option: str, value: object
) -> None:
    with pytest.raises(OptionError, match=r"^--[a-z-]+: (ready\.onnx says this itself|it is for \.tflite)") as caught:
        taken(ready, tmp_path, **{option: value})
    assert caught.value.field == option
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("made", ["embedder", "classifier", "bare", "tflite"])
def test_a_task_that_no_head_is_for_is_refused(tmp_path: Path, made: str) -> None:
    task, has, given = "speaker-embedding", "classification", dict[str, Any]()
    if made == "embedder":
        task, has, path = "audio-classification", "embedding", models.write_embedder(tmp_path / "m.onnx")
    elif made == "classifier":
        path = models.write_waveform(tmp_path / "m.onnx", heads=[{"kind": "classification"}])
    else:
        (tmp_path / "labels.txt").write_text("a\nb\nc\n")
        given = {"sample_rate_hz": 16000, "features": "none", "labels": (("", tmp_path / "labels.txt"),)}
        if made == "bare":
            path = models.write_waveform(tmp_path / "m.onnx", metadata=None)
        else:
            path = File(outputs=[Output(classes=3)]).write(tmp_path / "m.tflite")
    message = f"^--task {task} is for a model with a head of kind .*, but this one has {has} alone"
    with pytest.raises(OptionError, match=message) as caught:
        import_file(path, tmp_path / "models", ImportSettings(**{"task": task, **given}))
    assert caught.value.field == "task"
    assert not (tmp_path / "models").exists()


def test_a_task_of_any_of_the_heads_is_taken(tmp_path: Path) -> None:
    path = models.write_classifier(tmp_path / "m.onnx")
    for task in ("audio-classification", "audio-embedding", "speaker-embedding"):
        assert described(taken(path, tmp_path, task=task, replace=True)).task == task


def test_a_recipe_is_for_files_that_are_no_bundles(ready: Path, tmp_path: Path) -> None:
    for path in (ready, File(outputs=[Output(classes=3)]).write(tmp_path / "small.tflite")):
        with pytest.raises(OptionError, match=r"^--recipe: "):
            import_file(path, tmp_path / "models", ImportSettings(), family="wespeaker")


def test_options_of_scores_want_scores(tmp_path: Path) -> None:
    for given in ({"transformation": "LOG"}, {"default_score": 0.5}):
        with pytest.raises(OptionError, match="there is no --calibration that it would be of"):
            ImportSettings(**given)
    bare = models.write_waveform(tmp_path / "bare.onnx", metadata=None)
    with pytest.raises(OptionError, match=r"^--activation: no output is a classification"):
        taken(bare, tmp_path, sample_rate_hz=16000, features="none", activation="sigmoid")
    for locale, which in (("de", "of locale 'de'"), ("", "without a locale")):
        with pytest.raises(OptionError, match=f"^--labels: there are two files {which}"):
            ImportSettings(labels=((locale, Path("a")), ("en", Path("b")), (locale, Path("c"))))


@pytest.mark.parametrize("name", ["small.bin", "small.onnx", "SMALL.TFLITE"])
def test_a_tflite_file_is_known_by_its_bytes(tmp_path: Path, name: str) -> None:
    file = File(outputs=[Output(classes=3)], sample_rate_hz=None).write(tmp_path / name)
    with pytest.raises(BundleError, match=f"^{name}: its metadata does not describe audio"):
        import_file(file, tmp_path / "models", ImportSettings())
    with pytest.raises(BundleError, match=f"^{name}: a TensorFlow Lite file; import it first: auricle models import"):
        import_onnx(file, tmp_path / "models", ImportSettings())


@pytest.mark.parametrize("name", ["small.bin", "small.onnx", "SMALL.TFLITE"])
@pytest.mark.parametrize("command", ["bench", "models show"])
def test_a_tflite_file_is_to_be_imported_first(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, command: str
) -> None:
    file = File(outputs=[Output(classes=3)]).write(tmp_path / name)
    with pytest.raises(SystemExit) as left:
        main([*command.split(), str(file), "--models", str(tmp_path / "models")])
    captured = capfd.readouterr()
    assert (left.value.code, captured.out) == (3, "")
    assert captured.err == (f"auricle: {name}: a TensorFlow Lite file; import it first: auricle models import {file}\n")


def test_labels_may_come_through_a_pipe_and_a_model_may_not(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bare = models.write_waveform(tmp_path / "bare.onnx", metadata=None)
    (classes,) = {each.type.tensor_type.shape.dim[1].dim_value for each in onnx.load(bare).graph.output}
    reading, writing = os.pipe()
    os.write(writing, b"".join(b"%d\n" % index for index in range(classes)))
    os.close(writing)
    given = ["--sample-rate", "16000", "--features", "none", "--models", str(tmp_path / "models")]
    with pytest.raises(SystemExit) as left:
        main(["models", "import", str(bare), "--labels", f"en=/dev/fd/{reading}", *given])
    assert (left.value.code, f"classification, {classes}" in capfd.readouterr().out) == (0, True)
    with pytest.raises(SystemExit) as left:
        main(["models", "import", f"/dev/fd/{reading}", *given])
    os.close(reading)
    assert (left.value.code, "is no regular file" in capfd.readouterr().err) == (3, True)
