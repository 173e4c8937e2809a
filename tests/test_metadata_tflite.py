"""Metadata inside a .tflite file: field by field as the schema has them, read back by the importer's reader."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs

from auricle.importing.flatbuffer import Table, root
from auricle.importing.tflite import read_tflite
from auricle.importing.tflite_view import read_view
from auricle.metadata.schema import MARK
from auricle.metadata.tflitefile import metadata_buffer, with_metadata
from auricle.metadata.view import ModelMetadata, dump_view, parse_view
from tflite_files import LABELS, File, Output

GOLDEN = ["daredevil_sound_recognizer_320ms", "yamnet_tfhub", "yamnet_wavin_quantized_mel_relu6", "two_heads"]


def golden(shared_data: Path, name: str) -> ModelMetadata:
    return parse_view((shared_data / "golden" / "metadata" / f"{name}.json").read_text())


def tensors(note: Table, field: int) -> tuple[Table, ...]:
    return note.tables(3)[0].tables(field)


@pytest.mark.parametrize("name", GOLDEN)
def test_every_field_of_the_writers_json_is_in_the_flatbuffer(shared_data: Path, name: str) -> None:
    view = golden(shared_data, name)
    data = metadata_buffer(view)
    assert data[4:8] == MARK
    note = root(data)
    assert [note.text(field) for field in (0, 1, 2, 4, 5, 7)] == [
        *(view.name, view.description, view.version, view.author, view.license),
        "1.3.0",
    ]
    for field, entries in ((2, view.inputs), (3, view.outputs)):
        assert len(tensors(note, field)) == len(entries)
        for table, entry in zip(tensors(note, field), entries, strict=True):
            assert (table.text(0), table.text(1)) == (entry.name, entry.description)
            stats = table.table(5)
            assert stats is not None
            assert entry.stats is not None
            np.testing.assert_array_equal(stats.numbers(0), np.float32(entry.stats.max))
            np.testing.assert_array_equal(stats.numbers(1), np.float32(entry.stats.min))
            files = [(each.text(0), each.text(1), each.text(3)) for each in table.tables(6)]
            assert files == [(each.name, each.description, each.locale) for each in entry.associated_files]
            units = [unit.integer(0, "B") for unit in table.tables(4)]
            assert units == [2 if unit.options_type == "ScoreCalibrationOptions" else 3 for unit in entry.process_units]


@pytest.mark.parametrize("name", GOLDEN)
def test_what_is_written_is_read_back_as_the_same_text(shared_data: Path, name: str) -> None:
    text = (shared_data / "golden" / "metadata" / f"{name}.json").read_text()
    view = read_view(metadata_buffer(parse_view(text)))
    assert view.min_parser_version == "1.3.0"
    assert dump_view(structs.replace(view, min_parser_version="")) == text


def test_every_table_of_the_schema_is_written_and_read() -> None:
    tensor = {
        "name": "picture",
        "dimension_names": ["batch", "height"],
        "content": {
            "content_properties_type": "ImageProperties",
            "content_properties": {"color_space": "RGB", "default_size": {"width": 640, "height": 480}},
            "range": {"min": -2, "max": 3},
        },
        "process_units": [
            {"options_type": "NormalizationOptions", "options": {"mean": [0.5], "std": [0.25]}},
            {"options_type": "BertTokenizerOptions", "options": {"vocab_file": [{"name": "v", "type": "VOCABULARY"}]}},
            {
                "options_type": "SentencePieceTokenizerOptions",
                "options": {"sentencePiece_model": [{"name": "s"}], "vocab_file": [{"name": "v"}]},
            },
            {"options_type": "RegexTokenizerOptions", "options": {"delim_regex_pattern": "x", "vocab_file": []}},
        ],
        "stats": {},
    }
    box = {
        "content": {
            "content_properties_type": "BoundingBoxProperties",
            "content_properties": {"index": [1, 0], "type": "CENTER", "coordinate_type": "PIXEL"},
        }
    }
    graph = {
        "name": "graph",
        "input_tensor_metadata": [tensor],
        "output_tensor_metadata": [box],
        "input_process_units": [{"options_type": "ScoreThresholdingOptions", "options": {}}],
        "output_tensor_groups": [{"name": "both", "tensor_names": ["a", "b"]}],
        "custom_metadata": [{"name": "mine", "data": [1, 2, 255]}],
    }
    given = parse_view({"subgraph_metadata": [graph], "min_parser_version": "1.5.0"})
    found = json.loads(dump_view(read_view(metadata_buffer(given))))
    del graph["input_tensor_metadata"][0]["process_units"][3]["options"]["vocab_file"]  # an empty list says nothing
    assert found == {"subgraph_metadata": [graph], "min_parser_version": "1.5.0"}


def test_what_the_schema_has_no_place_for_is_refused() -> None:
    for content, message in (
        (
            {"content_properties_type": "AudioProperties", "content_properties": {"loudness": 1}},
            "AudioProperties.loudn",
        ),
        ({"content_properties_type": "Smell", "content_properties": {}}, "content_properties_type is 'Smell', not one"),
    ):
        view = parse_view({"subgraph_metadata": [{"input_tensor_metadata": [{"content": content}]}]})
        with pytest.raises(ValueError, match=message):
            metadata_buffer(view)
    unknown = {"associated_files": [{"name": "x", "type": "RECIPE"}]}
    with pytest.raises(ValueError, match="AssociatedFileType is 'RECIPE', not one of UNKNOWN"):
        metadata_buffer(parse_view(unknown))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_metadata_takes_the_place_of_metadata_and_the_model_stays(shared_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorflow", reason="the schema's classes come with the extra train")
    file = File(outputs=[Output(classes=2, name="old", files=[("old.txt", LABELS, "")])], packed={"old.txt": "a\nb\n"})
    path = file.write(tmp_path / "old.tflite")
    before = read_tflite(path)
    view = golden(shared_data, "daredevil_sound_recognizer_320ms")
    files = {"labelmap.txt": b"speech\nlaughter\n", "score_calibration.txt": b"1,2,3\n1,2,3,0.5\n"}
    path.write_bytes(with_metadata(path.read_bytes(), view, files))
    made = read_tflite(path)
    assert made.metadata is not None
    assert (made.metadata.name, made.metadata.sample_rate_hz, made.metadata.channels) == ("AudioClassifier", 2, 1)
    (note,) = made.metadata.outputs
    assert (note.name, note.transformation, note.default_score) == ("probability", "LOG", pytest.approx(0.2))
    assert [(each.name, each.kind) for each in note.files] == [
        ("labelmap.txt", "labels"),
        ("score_calibration.txt", "calibration"),
    ]
    assert made.files == files
    assert (made.inputs, made.outputs) == (before.inputs, before.outputs)
    # Weights lie where a runtime may map them.
    data = path.read_bytes()
    for weights in (file.weights(0), file.biases(0)):
        assert data.index(weights.tobytes()) % 16 == 0
    assert with_metadata(data, view, files) == data
