"""The metadata writers: what becomes of it in the bundle, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

import models
from auricle.errors import BundleError
from auricle.metadata import (
    ClassificationTensorMd,
    EmbeddingTensorMd,
    GeneralMd,
    InputAudioTensorMd,
    LabelFileMd,
    MetadataWriter,
    ScoreThresholdingMd,
    TensorMd,
    audio_classifier,
    audio_embedder,
    tflite_json,
)
from auricle.model.bundle import METADATA_KEY
from auricle.task.audio import AudioClassifier, AudioClassifierOptions, AudioEmbedder
from auricle.task.core import BaseOptions
from metadata_cases import LENGTH, bundle_in, model, scores_of, text_file, writer


def test_a_populated_model_classifies_with_its_labels(tmp_path: Path) -> None:
    populated = writer(tmp_path).populate()
    assert isinstance(populated, bytearray)
    assert scores_of(populated, 0.25, 0.75, 0.5) == [("b", 0.75), ("c", 0.5), ("a", 0.25)]


def test_the_bundle_says_what_the_graph_and_the_metadata_say(tmp_path: Path) -> None:
    assert bundle_in(writer(tmp_path).populate()) == {
        "format": 1,
        "name": "AudioClassifier",
        "version": "1",
        "task": "audio-classification",
        "description": "Identify the most prominent type in the audio clip from a known set of categories.",
        "author": "",
        "license": "",
        "audio": {"sample_rate_hz": 16000, "channels": 1},
        "features": None,
        "segment": {"length": LENGTH, "hop": LENGTH, "unit": "samples"},
        "input": {"tensor": "wave", "layout": "batch,samples"},
        "heads": [
            {
                "name": "probability",
                "tensor": "scores",
                "kind": "classification",
                "labels": [{"locale": "", "names": ["a", "b", "c"]}],
            }
        ],
    }


def test_populating_again_changes_nothing(tmp_path: Path) -> None:
    first = writer(tmp_path)
    populated = first.populate()
    assert first.populate() == populated
    again = MetadataWriter(populated)
    assert again.populate() == populated
    assert again.get_metadata_json() == first.get_metadata_json()


def test_new_metadata_takes_the_place_of_old_and_other_properties_stay(tmp_path: Path) -> None:
    marked = onnx.load_from_string(bytes(writer(tmp_path).populate()))
    onnx.helper.set_model_props(marked, {**{e.key: e.value for e in marked.metadata_props}, "origin": "here"})
    new = MetadataWriter.create_for_inference(
        marked.SerializeToString(), 8000, 1, [text_file(tmp_path, "new.txt", "x\ny\nz")]
    ).populate()
    properties = [(entry.key, entry.value) for entry in onnx.load_from_string(bytes(new)).metadata_props]
    assert sorted(key for key, _ in properties) == [METADATA_KEY, "auricle.tflite_metadata", "origin"]
    assert bundle_in(new)["audio"]["sample_rate_hz"] == 8000
    assert bundle_in(new)["heads"][0]["labels"] == [{"locale": "", "names": ["x", "y", "z"]}]


def test_labels_with_locales_become_display_names(tmp_path: Path) -> None:
    english, german = (
        text_file(tmp_path, f"{name}.txt", text) for name, text in (("e", "one\ntwo"), ("d", "eins\nzwei"))
    )
    made = MetadataWriter.create_from_metadata_info(
        model(tmp_path, scores=2),
        GeneralMd("numbers", "3", "Spoken numbers.", "someone", "Apache-2.0"),
        InputAudioTensorMd(sample_rate=16000, channels=1),
        ClassificationTensorMd(label_files=[LabelFileMd(english, "en"), LabelFileMd(german, locale="de")]),
    )
    bundle = bundle_in(made.populate())
    facts = ("name", "version", "description", "author", "license")
    assert [bundle[fact] for fact in facts] == ["numbers", "3", "Spoken numbers.", "someone", "Apache-2.0"]
    assert bundle["heads"][0]["name"] == "scores"
    assert bundle["heads"][0]["labels"] == [
        {"locale": "en", "names": ["one", "two"]},
        {"locale": "de", "names": ["eins", "zwei"]},
    ]
    files = json.loads(made.get_metadata_json())["subgraph_metadata"][0]["output_tensor_metadata"][0][
        "associated_files"
    ]
    assert [file["locale"] for file in files] == ["en", "de"]


def test_a_threshold_is_the_heads_default(tmp_path: Path) -> None:
    made = MetadataWriter.create_from_metadata_info(
        model(tmp_path),
        input_md=InputAudioTensorMd(sample_rate=16000, channels=1),
        output_md=ClassificationTensorMd(score_thresholding_md=ScoreThresholdingMd(0.5)),
    )
    populated = made.populate()
    assert [score for _, score in scores_of(populated, 0.25, 0.75, 0.5)] == [0.75, 0.5]
    unit = json.loads(made.get_metadata_json())["subgraph_metadata"][0]["output_tensor_metadata"][0]["process_units"][0]
    assert unit == {"options_type": "ScoreThresholdingOptions", "options": {"global_score_threshold": 0.5}}


@pytest.mark.parametrize(
    ("rate", "channels", "wrong"), [(0, 1, "sample_rate"), (-5, 1, "sample_rate"), (1, 0, "channels")]
)
def test_a_rate_or_a_channel_count_that_is_not_positive_is_refused(
    tmp_path: Path, rate: int, channels: int, wrong: str
) -> None:
    value = rate if wrong == "sample_rate" else channels
    message = f"^{wrong} should be positive, but got {value}\\.$"
    with pytest.raises(ValueError, match=message):
        audio_classifier.MetadataWriter.create_for_inference(model(tmp_path), rate, channels, [])
    with pytest.raises(ValueError, match=message):
        audio_embedder.MetadataWriter.create_for_inference(model(tmp_path), rate, channels)


def test_a_rate_that_is_not_served_is_written_and_refused_at_load(tmp_path: Path) -> None:
    populated = MetadataWriter.create_for_inference(model(tmp_path), 2, 1, []).populate()
    with pytest.raises(ValueError, match=r"sample_rate_hz|>= 4000"):
        AudioClassifier.create_from_options(AudioClassifierOptions(BaseOptions(file_content=bytes(populated))))


def test_an_embedder_is_written(tmp_path: Path) -> None:
    made = audio_embedder.MetadataWriter.create_for_inference(model(tmp_path, vector=4), 16000, 1)
    view = json.loads(made.get_metadata_json())
    assert view["name"] == "AudioEmbedder"
    assert view["subgraph_metadata"][0]["output_tensor_metadata"][0]["name"] == "embedding"
    populated = made.populate()
    assert bundle_in(populated)["task"] == "audio-embedding"
    assert bundle_in(populated)["heads"] == [{"name": "embedding", "tensor": "vector", "kind": "embedding"}]
    path = tmp_path / "embedder.onnx"
    path.write_bytes(populated)
    assert AudioEmbedder.create_from_file(path).get_embedding_dimension(0) == 4


def test_a_vector_beside_scores_keeps_its_kind(tmp_path: Path) -> None:
    made = MetadataWriter.create_from_metadata_info_for_multihead(
        model(tmp_path, vector=4, scores=2),
        input_md=InputAudioTensorMd(sample_rate=16000, channels=1),
        output_md_list=[
            ClassificationTensorMd("mood", tensor_name="scores"),
            EmbeddingTensorMd("embedding", tensor_name="vector"),
        ],
    )
    populated = made.populate()
    heads = [(head["name"], head["tensor"], head["kind"]) for head in bundle_in(populated)["heads"]]
    assert heads == [("embedding", "vector", "embedding"), ("mood", "scores", "classification")]
    # The view has no word for kinds, but the bundle in the file has.
    assert MetadataWriter(populated).populate() == populated


def test_heads_with_one_name_get_their_tensors_names(tmp_path: Path) -> None:
    made = MetadataWriter.create_from_metadata_info_for_multihead(
        model(tmp_path, left=2, right=3), output_md_list=[TensorMd("probability"), TensorMd("probability")]
    )
    assert [head["name"] for head in bundle_in(made.populate())["heads"]] == ["left", "right"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["left"], r"1 output metadata were given, but the model has 2"),
        (["left", "middle"], r"\['left', 'middle'\] .* should be those of the model: \['left', 'right'\]"),
        (["left", "left"], r"should be those of the model"),
        (["left", None], r"should be those of the model"),
    ],
)
def test_output_metadata_that_do_not_match_are_refused(tmp_path: Path, names: list[str | None], message: str) -> None:
    mds = [TensorMd(tensor_name=name) for name in names]
    with pytest.raises(ValueError, match=message):
        MetadataWriter.create_from_metadata_info_for_multihead(model(tmp_path, left=2, right=3), output_md_list=mds)


def test_several_outputs_need_the_multihead_writer(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 outputs, not one; use create_from_metadata_info_for_multihead"):
        MetadataWriter.create_for_inference(model(tmp_path, left=2, right=3), 16000, 1, [])


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x08"])
def test_bytes_that_are_no_model_are_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=f"the model buffer of {len(content)} bytes is no ONNX model"):
        MetadataWriter(content)


def test_metadata_of_another_schema_is_refused_with_its_field(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown field `shape`.*output_tensor_metadata"):
        MetadataWriter.create_from_metadata(model(tmp_path), output_metadata=[{"shape": [1, 3]}])
    with pytest.raises(ValueError, match="describes 2 output tensors, but the model has 1"):
        MetadataWriter.create_from_metadata(model(tmp_path), output_metadata=[{"name": "a"}, {"name": "b"}])
    with pytest.raises(ValueError, match="does not follow the TensorFlow Lite metadata schema"):
        MetadataWriter(model(tmp_path), "{")


def test_files_named_in_a_view_are_taken_by_their_base_names(tmp_path: Path) -> None:
    made = writer(tmp_path)
    view = made.get_metadata_json()
    with pytest.raises(ValueError, match=r"names the file 'labels\.txt', but it was not given"):
        MetadataWriter(model(tmp_path), view).populate()
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    labels = text_file(folder, "labels.txt", "x\ny\nz")
    populated = MetadataWriter(model(tmp_path), view, [labels]).populate()
    assert bundle_in(populated)["heads"][0]["labels"][0]["names"] == ["x", "y", "z"]


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((LENGTH,), "samples"),
        ((1, LENGTH), "batch,samples"),
        (("batch", LENGTH, 1), "batch,samples,1"),
        (("batch", 1, LENGTH), "batch,1,samples"),
    ],
)
def test_the_layout_of_a_waveform_is_read_off_the_graph(
    tmp_path: Path, shape: tuple[int | str, ...], layout: str
) -> None:
    populated = MetadataWriter.create_for_inference(model(tmp_path, shape), 16000, 1, []).populate()
    assert bundle_in(populated)["input"]["layout"] == layout
    assert [score for _, score in scores_of(populated, 0.1, 0.3, 0.2)] == pytest.approx([0.3, 0.2, 0.1])


def test_a_model_of_features_says_how_in_fields_of_the_bundle(tmp_path: Path) -> None:
    content = models.write_embedder(tmp_path / "m.onnx", metadata=None).read_bytes()
    made = audio_embedder.MetadataWriter.create_for_inference(content, 16000, 1)
    with pytest.raises(ValueError, match=r"'patches' of shape \?x\?x64 is no waveform; say how .*bundle="):
        made.populate()
    features = {
        "features": {"preset": "yamnet-64"},
        "segment": {"length": 96, "hop": 48, "unit": "frames"},
        "input": {"tensor": "patches", "layout": "batch,frames,bands"},
    }
    populated = audio_embedder.MetadataWriter.create_for_inference(content, 16000, 1, bundle=features).populate()
    path = tmp_path / "embedder.onnx"
    path.write_bytes(populated)
    assert AudioEmbedder.create_from_file(path).required_input_buffer_size == 15600
    with pytest.raises(ValueError, match=r"features: .*no-such"):
        audio_embedder.MetadataWriter.create_for_inference(
            content, 16000, 1, bundle={**features, "features": {"preset": "no-such"}}
        ).populate()


def test_any_bundle_has_a_view_even_where_none_was_written(tmp_path: Path) -> None:
    calibration = {"transformation": "LOG", "default_score": 0.5, "parameters": [[1.0, 2.0, 3.0, None]] * 4}
    path = models.write_classifier(
        tmp_path / "m.onnx", license="MIT", heads=[{}, {"calibration": calibration, "score_threshold": 0.25}, {}]
    )
    text = tflite_json(path)
    view = json.loads(text)
    assert (view["name"], view["version"], view["license"]) == ("classifier", "1", "MIT")
    graph = view["subgraph_metadata"][0]
    assert graph["input_tensor_metadata"][0]["content"]["content_properties"] == {"sample_rate": 16000, "channels": 1}
    # In the graph's order, which is not the bundle's.
    assert [output["name"] for output in graph["output_tensor_metadata"]] == ["scene", "mood", "embedding"]
    scene = graph["output_tensor_metadata"][0]
    assert [file["name"] for file in scene["associated_files"]] == [
        "scene_labels_en.txt",
        "scene_labels_de.txt",
        "scene_score_calibration.txt",
    ]
    assert [unit["options"] for unit in scene["process_units"]] == [
        {"score_transformation": "LOG", "default_score": 0.5},
        {"global_score_threshold": 0.25},
    ]
    made = MetadataWriter(path.read_bytes())
    assert made.get_metadata_json() == text
    heads = {head["name"]: head for head in bundle_in(made.populate())["heads"]}
    assert heads["scene"]["calibration"] == calibration
    assert [labels["locale"] for labels in heads["scene"]["labels"]] == ["en", "de"]
    assert heads["embedding"]["kind"] == "embedding"


def test_a_written_view_is_shown_as_it_was_written(tmp_path: Path) -> None:
    made = writer(tmp_path)
    path = tmp_path / "written.onnx"
    path.write_bytes(made.populate())
    assert tflite_json(path) == made.get_metadata_json()


def test_a_file_without_metadata_or_that_is_no_model_is_named(tmp_path: Path) -> None:
    model(tmp_path)
    with pytest.raises(BundleError, match=r"model\.onnx: no metadata"):
        tflite_json(tmp_path / "model.onnx")
    with pytest.raises(BundleError, match=r"words\.onnx: the model buffer of 5 bytes is no ONNX model"):
        tflite_json(text_file(tmp_path, "words.onnx", "words"))


def test_ranges_follow_the_type_of_the_output() -> None:
    ranges = {
        kind: ClassificationTensorMd(tensor_type=kind).create_metadata().stats for kind in ("float32", "uint8", "int8")
    }
    found = {kind: (stats.min, stats.max) for kind, stats in ranges.items() if stats is not None}
    assert found == {"float32": ((0.0,), (1.0,)), "uint8": ((0.0,), (255.0,)), "int8": ((-128.0,), (127.0,))}
    with pytest.raises(ValueError, match="tensor_type should be one of float32, uint8, int8, but got 'int64'"):
        ClassificationTensorMd(tensor_type="int64").create_metadata()
