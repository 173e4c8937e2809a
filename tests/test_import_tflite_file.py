"""What is read off a .tflite file before anything converts it, and what is refused there."""

from __future__ import annotations

import contextlib
import json
import random
from pathlib import Path

import numpy as np
import pytest

from auricle.cli import main
from auricle.errors import BundleError, OptionError, UnavailableError
from auricle.importing import convert
from auricle.importing.settings import ImportSettings
from auricle.importing.tflite import read_tflite
from auricle.importing.tflite_import import import_tflite
from auricle.metadata.view import Content, Stats, dump_view
from tflite_files import CALIBRATION, LABELS, UINT8, File, Output

YAMNET = "models/yamnet_audio_classifier_with_metadata.tflite"
THREE = "dog\ncat\nbird\n"
TWO_HEADS = File(
    outputs=[
        Output(
            classes=3,
            name="animals",
            files=[("en.txt", LABELS, "en"), ("de.txt", LABELS, "de"), ("curve.csv", CALIBRATION, "")],
            calibration=(1, 0.25),
            threshold=0.5,
        ),
        Output(classes=4, name="voice print"),
    ],
    packed={"en.txt": THREE, "de.txt": "Hund\nKatze\nVogel", "curve.csv": "1,2,3\n\n4,5,6,0.1\n"},
)


def labelled(packed: str, **output: object) -> File:
    files = [("labels.txt", LABELS, "")]
    return File(outputs=[Output(classes=3, name="scores", files=files, **output)], packed={"labels.txt": packed})


def test_the_description_of_a_two_headed_model_is_read_in_full(tmp_path: Path) -> None:
    model = read_tflite(TWO_HEADS.write(tmp_path / "two.tflite"))
    assert [(each.name, each.shape, each.dtype) for each in model.inputs] == [("waveform", (1, 64), "float32")]
    assert [each.shape for each in model.outputs] == [(1, 3), (1, 4)]
    about = model.metadata
    assert about is not None
    assert (about.name, about.description, about.version, about.author, about.license) == (
        "Small",
        "A test.",
        "7",
        "us",
        "MIT",
    )
    assert (about.sample_rate_hz, about.channels) == (16000, 1)
    animals, voice = about.outputs
    assert (animals.name, animals.transformation, animals.default_score, animals.score_threshold) == (
        "animals",
        "LOG",
        0.25,
        0.5,
    )
    assert [(file.name, file.kind, file.locale) for file in animals.files] == [
        ("en.txt", "labels", "en"),
        ("de.txt", "labels", "de"),
        ("curve.csv", "calibration", ""),
    ]
    assert (voice.name, voice.files, voice.transformation, voice.score_threshold) == ("voice print", (), None, None)
    assert model.files["de.txt"] == b"Hund\nKatze\nVogel"
    assert not model.quantized


def test_yamnets_own_metadata_is_read(shared_data: Path) -> None:
    model = read_tflite(shared_data / YAMNET)
    about = model.metadata
    assert about is not None
    assert (about.name, about.version, about.author, about.sample_rate_hz) == (
        "yamnet/classification",
        "v1",
        "TensorFlow",
        16000,
    )
    assert [(note.name, [file.name for file in note.files]) for note in about.outputs] == [
        ("scores", ["yamnet_label_list.txt"])
    ]
    labels = model.files["yamnet_label_list.txt"].decode().splitlines()
    assert (len(labels), labels[0], labels[500]) == (521, "Speech", "Inside, small room")
    assert model.quantized
    assert [each.shape for each in (*model.inputs, *model.outputs)] == [(15600,), (1, 521)]
    # The last layer flattens [1, 1, 1, 1024] itself: its bias is the one that conversion loses.
    (bias,) = model.flattening_biases.values()
    assert bias.shape == (521,)
    assert float(np.abs(bias).max()) == pytest.approx(0.79, abs=0.01)


def test_the_view_is_all_that_yamnets_metadata_says(shared_data: Path) -> None:
    about = read_tflite(shared_data / YAMNET).metadata
    assert about is not None
    (sound,), (scores,) = about.view.inputs, about.view.outputs
    assert (sound.name, sound.description[:11], sound.stats) == ("audio_clip", "Input audio", Stats())
    assert sound.content == Content(
        content_properties_type="AudioProperties", content_properties={"sample_rate": 16000, "channels": 1}
    )
    assert scores.stats == Stats(max=(1.0,), min=(0.0,))
    (labels,) = scores.associated_files
    assert (labels.type, labels.description[:21]) == ("TENSOR_AXIS_LABELS", "Labels for categories")
    assert about.view.min_parser_version == "1.3.0"


def test_the_view_has_steps_and_files_in_the_schemas_words(tmp_path: Path) -> None:
    about = read_tflite(TWO_HEADS.write(tmp_path / "two.tflite")).metadata
    assert about is not None
    animals, _ = json.loads(dump_view(about.view))["subgraph_metadata"][0]["output_tensor_metadata"]
    assert animals == {
        "name": "animals",
        "process_units": [
            {
                "options_type": "ScoreCalibrationOptions",
                "options": {"score_transformation": "LOG", "default_score": 0.25},
            },
            {"options_type": "ScoreThresholdingOptions", "options": {"global_score_threshold": 0.5}},
        ],
        "associated_files": [
            {"name": "en.txt", "type": "TENSOR_AXIS_LABELS", "locale": "en"},
            {"name": "de.txt", "type": "TENSOR_AXIS_LABELS", "locale": "de"},
            {"name": "curve.csv", "type": "TENSOR_AXIS_SCORE_CALIBRATION"},
        ],
    }


def test_a_step_of_a_newer_schema_is_left_out(tmp_path: Path) -> None:
    file = File(outputs=[Output(classes=3, name="scores", threshold=0.5, newer_step=True)])
    about = read_tflite(file.write(tmp_path / "newer.tflite")).metadata
    assert about is not None
    assert [unit.options_type for unit in about.view.outputs[0].process_units] == ["ScoreThresholdingOptions"]


@pytest.mark.parametrize("kept", [0, 7, 8, 40, 0.2, 0.5, 0.9, 0.999])
def test_a_file_cut_off_anywhere_is_refused_by_name(tmp_path: Path, kept: float) -> None:
    whole = TWO_HEADS.write(tmp_path / "whole.tflite").read_bytes()
    path = tmp_path / "part.tflite"
    path.write_bytes(whole[: int(kept if kept >= 1 else kept * len(whole))])
    with pytest.raises(BundleError, match=r"^part\.tflite: (cut off|not a TensorFlow Lite|its metadata names)"):
        read_tflite(path)


def test_yamnet_cut_off_in_its_weights_is_refused(shared_data: Path, tmp_path: Path) -> None:
    path = tmp_path / "yamnet.tflite"
    path.write_bytes((shared_data / YAMNET).read_bytes()[:2_000_000])
    with pytest.raises(BundleError, match=r"^yamnet\.tflite: cut off or damaged"):
        import_tflite(path, tmp_path, ImportSettings())


def test_damaged_bytes_never_give_anything_but_a_bundle_error(tmp_path: Path) -> None:
    whole = TWO_HEADS.write(tmp_path / "whole.tflite").read_bytes()
    path, generator, refused = tmp_path / "damaged.tflite", random.Random(4), 0
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(generator.randint(1, 6)):
            data[generator.randrange(8, len(data))] = generator.randrange(256)
        path.write_bytes(data)
        with contextlib.suppress(BundleError):
            read_tflite(path)
            continue
        refused += 1
    assert refused > 40


def test_a_text_file_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "notes.tflite"
    path.write_text("this is no model at all")
    with pytest.raises(BundleError, match=r"^notes\.tflite: not a TensorFlow Lite model"):
        import_tflite(path, tmp_path, ImportSettings())


def test_a_model_without_metadata_is_refused_with_what_to_give(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "models/model_without_metadata.tflite"
    with pytest.raises(BundleError, match=r"^model_without_metadata\.tflite: it has no metadata.*--sample-rate"):
        import_tflite(path, tmp_path, ImportSettings())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (labelled("dog\ncat\n"), r"labels\.txt: 2 labels for an output of 3 classes"),
        (labelled(THREE + "more\n"), r"labels\.txt: 4 labels for an output of 3 classes"),
        (labelled(""), r"labels\.txt: the label file is empty"),
        (
            File(
                outputs=[Output(classes=3, files=[("curve.csv", CALIBRATION, "")], calibration=(0, 0.0))],
                packed={"curve.csv": "1,2,3\n"},
            ),
            r"curve\.csv: 1 lines of calibration for an output of 3 classes",
        ),
        (
            File(
                outputs=[Output(classes=3, files=[("curve.csv", CALIBRATION, "")], calibration=(0, 0.0))],
                packed={"curve.csv": "1,2,3\n\n-1,2,3\n"},
            ),
            r"curve\.csv, line 3: scale must be 0 or more",
        ),
        (File(outputs=[Output(classes=3)], sample_rate_hz=None), "its metadata does not describe audio"),
        (File(outputs=[Output(classes=3)], channels=2), "it takes 2 channels"),
        (File(outputs=[Output(classes=3)], rank=3), r"input 'waveform' is \[1, 1, 64\]"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_converted(tmp_path: Path, file: File, message: str) -> None:
    path = file.write(tmp_path / "wrong.tflite")
    with pytest.raises(BundleError, match=rf"^wrong\.tflite: .*{message}"):
        import_tflite(path, tmp_path / "models", ImportSettings())
    assert not (tmp_path / "models").exists()


def test_the_extra_that_is_missing_is_named_with_the_line_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convert, "find_spec", lambda name: None)
    path = labelled(THREE).write(tmp_path / "small.tflite")
    with pytest.raises(UnavailableError, match=r"tensorflow, tf2onnx.*pip install 'auricle\[tflite\]'") as caught:
        import_tflite(path, tmp_path / "models", ImportSettings())
    assert caught.value.reason == "EXTRA_MISSING"


def test_options_that_do_not_go_with_the_file_are_refused(tmp_path: Path) -> None:
    path = labelled(THREE).write(tmp_path / "small.tflite")
    with pytest.raises(OptionError, match="no 8-bit weights"):
        import_tflite(path, tmp_path / "models", ImportSettings(precision="int8"))
    with pytest.raises(OptionError, match="its frontend is found in the file"):
        import_tflite(path, tmp_path / "models", ImportSettings(features="kaldi-80"))
    models = tmp_path / "models"
    models.mkdir()
    (models / "small.onnx").write_bytes(b"")
    with pytest.raises(OptionError, match="in the way of a model 'small'"):
        import_tflite(path, models, ImportSettings())
    with pytest.raises(OptionError, match="usable as a file's name"):
        ImportSettings(name="../small")


def test_an_8_bit_output_is_described_with_its_scale(tmp_path: Path) -> None:
    model = read_tflite(File(outputs=[Output(classes=3, dtype=UINT8)]).write(tmp_path / "q.tflite"))
    (output,) = model.outputs
    assert (output.dtype, output.scale, output.zero_point) == ("uint8", 1 / 256, 0)


def test_the_command_tells_of_a_bad_file_and_of_flags_that_are_not_for_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "notes.tflite"
    path.write_text("this is no model at all")
    for arguments, code, said in (
        ([], 3, "auricle: notes.tflite: not a TensorFlow Lite model"),
        (["--layout", "batch,samples"], 3, "--layout: a .tflite file says this itself"),
        (["--labels", "absent.txt"], 2, "there is no file 'absent.txt'"),
    ):
        with pytest.raises(SystemExit) as left:
            main(["models", "import", str(path), "--models", str(tmp_path / "models"), *arguments])
        assert left.value.code == code
        captured = capsys.readouterr()
        assert captured.out == ""
        assert said in captured.err
