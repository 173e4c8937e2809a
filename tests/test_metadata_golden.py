"""The writers reproduce the JSON files that the TensorFlow Lite metadata writer made, as text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import models
from auricle.metadata import (
    ClassificationTensorMd,
    GeneralMd,
    InputAudioTensorMd,
    LabelFileMd,
    MetadataWriter,
    ScoreCalibrationMd,
    ScoreTransformationType,
)

SINGLE = ["daredevil_sound_recognizer_320ms", "yamnet_tfhub", "yamnet_wavin_quantized_mel_relu6"]
ALL = [
    *SINGLE,
    "two_heads",
    "two_heads_default",
    "yamnet_wavin_quantized_mel_relu6_default",
]


def onnx_model(path: Path, outputs: dict[str, int]) -> bytes:
    """A model of the waveform with outputs of those names and lengths."""
    written = models.write(
        path,
        nodes=[("Slice", ["audio_clip", "first", f"{name}_end", "axis"], name) for name in outputs],
        inputs={"audio_clip": [1, 15600]},
        outputs={name: [1, size] for name, size in outputs.items()},
        constants={
            "first": np.array([0], np.int64),
            "axis": np.array([1], np.int64),
            **{f"{name}_end": np.array([size], np.int64) for name, size in outputs.items()},
        },
        metadata=None,
    )
    return written.read_bytes()


@pytest.fixture
def golden(shared_data: Path) -> Path:
    return shared_data / "golden" / "metadata"


def described(view: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    graph = view["subgraph_metadata"][0]
    return graph["input_tensor_metadata"][0]["content"]["content_properties"], graph["output_tensor_metadata"]


def calibration(output: dict[str, Any], path: Path) -> ScoreCalibrationMd | None:
    for unit in output.get("process_units", ()):
        options = unit["options"]
        kind = ScoreTransformationType[options.get("score_transformation", "IDENTITY")]
        return ScoreCalibrationMd(kind, options.get("default_score", 0.0), path)
    return None


@pytest.mark.parametrize("name", SINGLE)
def test_create_for_inference_gives_the_golden_text(golden: Path, tmp_path: Path, name: str) -> None:
    text = (golden / f"{name}.json").read_text()
    sound, (output,) = described(json.loads(text))
    labels_name, calibration_name = (file["name"] for file in output["associated_files"])
    labels = golden / labels_name
    count = len(labels.read_text().splitlines())
    curve = tmp_path / calibration_name
    curve.write_text("\n".join(["1.0,2.0,-3.0"] * count) + "\n")
    writer = MetadataWriter.create_for_inference(
        onnx_model(tmp_path / "m.onnx", {"scores": count}),
        sound["sample_rate"],
        sound["channels"],
        [str(labels)],
        calibration(output, curve),
    )
    assert writer.get_metadata_json() == text
    assert writer.get_populated_metadata_json() == text


def test_nothing_said_gives_the_golden_defaults(golden: Path, tmp_path: Path) -> None:
    text = (golden / "yamnet_wavin_quantized_mel_relu6_default.json").read_text()
    writer = MetadataWriter.create_from_metadata_info(onnx_model(tmp_path / "m.onnx", {"scores": 521}))
    assert writer.get_metadata_json() == text
    assert writer.get_populated_metadata_json() == text


def test_two_heads_with_nothing_said_have_their_tensors_names(golden: Path, tmp_path: Path) -> None:
    text = (golden / "two_heads_default.json").read_text()
    model = onnx_model(tmp_path / "m.onnx", {"Identity": 2, "Identity_1": 3})
    writer = MetadataWriter.create_from_metadata_info_for_multihead(model)
    assert writer.get_metadata_json() == text
    assert writer.get_populated_metadata_json() == text


@pytest.mark.parametrize("turned", [False, True])
def test_two_heads_give_the_golden_text_in_the_models_order(golden: Path, tmp_path: Path, turned: bool) -> None:
    text = (golden / "two_heads.json").read_text()
    view = json.loads(text)
    sound, outputs = described(view)
    sizes = {"Identity": 2, "Identity_1": 3}
    mds = []
    for tensor, output in zip(sizes, outputs, strict=True):
        *label_names, curve_name = (file["name"] for file in output["associated_files"])
        for name in label_names:
            (tmp_path / name).write_text("\n".join(f"{name} {index}" for index in range(sizes[tensor])))
        curve = tmp_path / curve_name
        curve.write_text("\n" * (sizes[tensor] - 1) + "1,2,3,0.5\n")
        mds.append(
            ClassificationTensorMd(
                name=output["name"],
                label_files=[LabelFileMd(tmp_path / name) for name in label_names],
                score_calibration_md=calibration(output, curve),
                tensor_name=tensor,
            )
        )
    writer = MetadataWriter.create_from_metadata_info_for_multihead(
        onnx_model(tmp_path / "m.onnx", sizes),
        GeneralMd(name=view["name"]),
        InputAudioTensorMd(
            name=view["subgraph_metadata"][0]["input_tensor_metadata"][0]["name"],
            sample_rate=sound["sample_rate"],
            channels=sound["channels"],
        ),
        mds[::-1] if turned else mds,
    )
    assert writer.get_metadata_json() == text
    assert writer.get_populated_metadata_json() == text


@pytest.mark.parametrize("name", ALL)
def test_a_golden_view_read_back_and_written_is_the_same_text(golden: Path, tmp_path: Path, name: str) -> None:
    text = (golden / f"{name}.json").read_text()
    view = json.loads(text)
    _, outputs = described(view)
    model = onnx_model(tmp_path / "m.onnx", {f"out{index}": 2 for index in range(len(outputs))})
    assert MetadataWriter(model, text).get_metadata_json() == text
    graph = view.pop("subgraph_metadata")[0]
    writer = MetadataWriter.create_from_metadata(
        model, view, graph["input_tensor_metadata"], graph["output_tensor_metadata"]
    )
    assert writer.get_metadata_json() == text
