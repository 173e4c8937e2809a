"""The bundle's metadata: what is read, and that every wrong field is named with its value and a mend."""

from __future__ import annotations

import json
from typing import Any

import pytest

from auricle.errors import BundleError
from auricle.model.bundle import parse_bundle
from models import GERMAN, LABELS, bundle, classifier_bundle, embedder_bundle, waveform_bundle


def refused(metadata: Any) -> str:
    """The message that metadata is refused with; it always names the file."""
    raw = metadata if isinstance(metadata, str | bytes) else json.dumps(metadata)
    with pytest.raises(BundleError) as caught:
        parse_bundle(raw, where="m.onnx")
    assert caught.value.message.startswith("m.onnx: ")
    return caught.value.message


def scene(**fields: Any) -> dict[str, Any]:
    """The classifier's metadata with other fields in ``heads[1]``, which has four labels."""
    return classifier_bundle(heads=[{}, fields, {}])


def row(*values: float | None) -> dict[str, Any]:
    return {"parameters": [list(values)] * 4}


def test_the_example_of_the_design_is_read() -> None:
    parsed, features, layout = parse_bundle(json.dumps(embedder_bundle()), where="m.onnx")
    assert (parsed.name, parsed.version, parsed.preset) == ("embedder", "1", "yamnet-64")
    assert (parsed.segment.length, parsed.segment.hop, parsed.segment.unit) == (96, 48, "frames")
    assert parsed.segment.min_coverage == 0
    assert features is not None
    assert features.bands == 64
    assert layout.axes == ("batch", "frames", "bands")


def test_a_bundle_overrides_a_field_of_its_preset() -> None:
    _, features, _ = parse_bundle(json.dumps(embedder_bundle(features={"offset": 0.5})), where="m.onnx")
    assert features is not None
    assert (features.offset, features.frame_length) == (0.5, 400)


def test_features_null_is_a_waveform_model_without_a_preset() -> None:
    parsed, features, layout = parse_bundle(json.dumps(waveform_bundle()), where="m.onnx")
    assert features is None
    assert parsed.preset == ""
    assert layout.segment_axes == ("samples",)


def test_labels_keep_their_order_and_locales() -> None:
    parsed, _, _ = parse_bundle(json.dumps(classifier_bundle()), where="m.onnx")
    assert [(labels.locale, labels.names) for labels in parsed.heads[1].labels] == [("en", LABELS), ("de", GERMAN)]


@pytest.mark.parametrize("layout", ["batch,frames,bands", "batch, 1, bands, frames", "frames,bands,1", "bands,frames"])
def test_layouts_of_features(layout: str) -> None:
    _, _, parsed = parse_bundle(json.dumps(embedder_bundle(input={"layout": layout})), where="m.onnx")
    assert parsed.has_batch == layout.startswith("batch")


@pytest.mark.parametrize("raw", ["", "{", "[]", "null", b"\xff\xfe", b'{"name": "\xff"}', '{"name": "\ud800"}'])
def test_what_is_no_json_object_is_refused(raw: str | bytes) -> None:
    assert "auricle.bundle" in refused(raw)


@pytest.mark.parametrize("field", ["format", "name", "version", "task", "audio", "segment", "input", "heads"])
def test_a_missing_field_is_named(field: str) -> None:
    metadata = embedder_bundle()
    del metadata[field]
    assert f"missing required field `{field}`" in refused(metadata)


@pytest.mark.parametrize(
    ("field", "found", "overrides"),
    [
        ("format", "2", {"format": 2}),
        ("name", '""', {"name": ""}),
        ("version", "1", {"version": 1}),
        ("version", '"1111', {"version": "1" * 5000}),
        ("task", "'singing'", {"task": "singing"}),
        ("audio.sample_rate_hz", "3999", {"audio": {"sample_rate_hz": 3999}}),
        ("audio.channels", "2", {"audio": {"channels": 2}}),
        ("segment.length", "0", {"segment": {"length": 0}}),
        ("segment.length", "1.5", {"segment": {"length": 1.5}}),
        ("segment.length", "10000000000", {"segment": {"length": 10**10}}),
        ("segment.hop", "-1", {"segment": {"hop": -1}}),
        ("segment.unit", "'hops'", {"segment": {"unit": "hops"}}),
        ("segment.min_coverage", "1.5", {"segment": {"min_coverage": 1.5}}),
        ("segment.raise_to_dbfs", "3", {"segment": {"raise_to_dbfs": 3}}),
        ("segment", "lenght", {"segment": {"lenght": 3}}),
        ("input.tensor", '""', {"input": {"tensor": ""}}),
        ("heads[0].name", '""', {"heads": [{"name": ""}]}),
        ("heads[0].kind", "'embeding'", {"heads": [{"kind": "embeding"}]}),
        ("heads[0].pool", "'sum'", {"heads": [{"pool": "sum"}]}),
        ("heads[0].activation", "'relu'", {"heads": [{"activation": "relu"}]}),
        ("heads[0].dequantize.scale", "0", {"heads": [{"dequantize": {"scale": 0}}]}),
        ("heads[0].score_threshold", '"x"', {"heads": [{"score_threshold": "x"}]}),
    ],
)
def test_a_wrong_value_is_named_with_its_field(field: str, found: str, overrides: dict[str, Any]) -> None:
    message = refused(embedder_bundle(**overrides))
    assert f"`$.{field}`" in message
    assert found in message
    assert "docs/bundle.md" in message


@pytest.mark.parametrize(
    ("parts", "metadata"),
    [
        (("features", "'yamnet-65'", "yamnet-64"), embedder_bundle(features={"preset": "yamnet-65"})),
        (("features", "'bandz'", "bands"), embedder_bundle(features={"bandz": 3})),
        (("features", "bands = 0"), embedder_bundle(features={"bands": 0})),
        (("audio.sample_rate_hz is 8000", "16000"), embedder_bundle(audio={"sample_rate_hz": 8000})),
        (("segment.unit is 'samples'", "frames"), embedder_bundle(segment={"unit": "samples"})),
        (("segment.unit is 'frames'", "samples"), waveform_bundle(segment={"unit": "frames"})),
        (("segment.hop is 48", "length is null", "drop the hop"), embedder_bundle(segment={"length": None})),
        (("segment.raise_to_dbfs", "without compression", "'ln'"), embedder_bundle(segment={"raise_to_dbfs": -30})),
        (("input.layout 'batch,frames'", "bands"), embedder_bundle(input={"layout": "batch,frames"})),
        (("input.layout 'frames,batch,bands'",), embedder_bundle(input={"layout": "frames,batch,bands"})),
        (("input.layout 'batch,samples'",), embedder_bundle(input={"layout": "batch,samples"})),
        (("input.layout 'batch,samples,samples'",), waveform_bundle(input={"layout": "batch,samples,samples"})),
        (("heads[0]", "labels", "classification"), embedder_bundle(heads=[{"labels": [{"names": ["a"]}]}])),
        (("heads[0]", "score_threshold", "classification"), embedder_bundle(heads=[{"score_threshold": 0.5}])),
        (("heads[1].l2_normalize", "embedding heads"), scene(l2_normalize=True)),
        (("heads[1].name", "'embedding' is taken"), scene(name="embedding")),
        (("heads[1].labels", "[1, 2]"), scene(labels=[{"names": ["a"]}, {"names": ["a", "b"]}])),
        (("heads[1].labels", "[0]"), scene(labels=[{"names": []}])),
        (("heads[1].labels", "'en', 'en'"), scene(labels=[{"locale": "en", "names": LABELS}] * 2)),
        (("heads[1].calibration", "3 rows", "4 labels"), scene(calibration={"parameters": [None] * 3})),
        (("`$.heads[1].calibration.parameters[0]`", "[1,1,1]"), scene(calibration=row(1, 1, 1))),
        (("`$.heads[1].calibration.parameters[0][0]`", "-1"), scene(calibration=row(-1, 1, 1, None))),
        (
            ("`$.heads[1].calibration.transformation`", "'SQRT'"),
            scene(calibration={"parameters": [], "transformation": "SQRT"}),
        ),
        (("`$.heads`", "[]"), {**embedder_bundle(), "heads": []}),
    ],
)
def test_what_does_not_go_together_is_named(parts: tuple[str, ...], metadata: dict[str, Any]) -> None:
    message = refused(metadata)
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    "fields",
    [
        {"drop_last_frame": True},
        {"padding": "front-zeros", "front_zeros": 239},  # a frame of 400 every 160 needs 240 zeros in front
    ],
)
def test_features_that_leave_a_segment_short_of_frames_are_refused(fields: dict[str, Any]) -> None:
    message = refused(embedder_bundle(features=fields))
    assert "only 95 frames" in message
    assert "pad more" in message


def test_features_that_just_fill_a_segment_are_taken() -> None:
    fields = {"padding": "front-zeros", "front_zeros": 240}
    _, features, _ = parse_bundle(json.dumps(embedder_bundle(features=fields)), where="m.onnx")
    assert features is not None
    assert features.frames(features.segment_samples(96)) == 96


def test_a_linear_spec_may_be_raised_and_a_waveform_too() -> None:
    linear = embedder_bundle(features={"preset": "ge2e-40"}, segment={"raise_to_dbfs": -30})
    waveform = bundle(waveform_bundle(), segment={"raise_to_dbfs": -30})
    for metadata in (linear, waveform):
        parsed, _, _ = parse_bundle(json.dumps(metadata), where="m.onnx")
        assert parsed.segment.raise_to_dbfs == -30
