"""Small real ONNX models with bundle metadata, whose answers can be worked out by hand.

Every ``write_*`` function writes one file and returns its path. Keyword arguments override fields of the bundle:
dicts are merged into the default's, ``heads`` is a list of dicts merged head by head, anything else replaces.
``metadata=None`` writes the graph alone; ``bundle`` and ``embed_metadata`` build other cases.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from auricle.model.bundle import METADATA_KEY

RATE_HZ = 16000
LENGTH = 1600  # samples of a waveform model's segment
HOP = 800
LABELS = ("dog", "cat", "bird", "rain")
GERMAN = ("Hund", "Katze", "Vogel", "Regen")
MOODS = ("calm", "loud")
Node = tuple[Any, ...]


# A provider that computes nothing itself, so that all of it falls to the CPU, the way there is that of another device.
ANOTHER_DEVICE = "azure"
needs_another_device = pytest.mark.skipif(
    "AzureExecutionProvider" not in onnxruntime.get_available_providers(),
    reason="this build of onnxruntime has the CPU alone",
)


def bundle(base: Mapping[str, Any], **overrides: Any) -> dict[str, Any]:
    """``base`` with overrides, as the JSON object of the metadata."""
    merged: dict[str, Any] = dict(base)
    for key, value in overrides.items():
        old = merged.get(key)
        if key == "heads":
            merged[key] = [{**head, **new} for head, new in zip(base["heads"], value, strict=True)]
        elif isinstance(old, dict) and isinstance(value, dict):
            merged[key] = {**old, **value}
        else:
            merged[key] = value
    return merged


def embed_metadata(model: onnx.ModelProto, metadata: Mapping[str, Any] | str | None) -> None:
    """Puts bundle metadata into a model; text goes in as it is."""
    if metadata is not None:
        text = metadata if isinstance(metadata, str) else json.dumps(metadata)
        helper.set_model_props(model, {METADATA_KEY: text})


def write(
    path: Path,
    *,
    nodes: Sequence[Node],
    inputs: Mapping[str, Sequence[int | str]],
    outputs: Mapping[str, Sequence[int | str]],
    constants: Mapping[str, np.ndarray] | None = None,
    metadata: Mapping[str, Any] | str | None,
    output_type: int = TensorProto.FLOAT,
) -> Path:
    """Writes a graph. A node is (operator, inputs, output) with an optional dict of attributes."""
    graph = helper.make_graph(
        [helper.make_node(node[0], list(node[1]), [node[2]], **(node[3] if len(node) > 3 else {})) for node in nodes],
        "test",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, output_type, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    embed_metadata(model, metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    # In place of the old file at once, as a model should be deployed.
    part = path.with_suffix(".part")
    onnx.save(model, part)
    part.replace(path)
    return path


def embedder_bundle(**overrides: Any) -> dict[str, Any]:
    """Log-mel features of 96 frames every 48, one embedding of 5."""
    base = {
        "format": 1,
        "name": "embedder",
        "version": "1",
        "task": "audio-embedding",
        "description": "mean log-mel times a matrix",
        "audio": {"sample_rate_hz": RATE_HZ},
        "features": {"preset": "yamnet-64"},
        "segment": {"length": 96, "hop": 48},
        "input": {"tensor": "patches", "layout": "batch,frames,bands"},
        "heads": [{"name": "embedding", "tensor": "embedding", "kind": "embedding"}],
    }
    return bundle(base, **overrides)


def matrix(bands: int = 64, dimension: int = 5) -> np.ndarray:
    """The embedder's matrix, f32 (bands, dimension)."""
    return np.random.default_rng(7).normal(0, 0.2, (bands, dimension)).astype(np.float32)


def write_embedder(
    path: Path, *, bands: int = 64, frames: int | str = "frames", batch: int | str = "batch", **overrides: Any
) -> Path:
    """Embedding = mean over frames of the features, times ``matrix``. Takes any number of frames."""
    return write(
        path,
        nodes=[
            ("ReduceMean", ["patches"], "mean", {"axes": [1], "keepdims": 0}),
            ("MatMul", ["mean", "matrix"], "embedding"),
        ],
        inputs={"patches": [batch, frames, bands]},
        outputs={"embedding": [batch, 5]},
        constants={"matrix": matrix(bands)},
        metadata=_metadata(embedder_bundle, overrides),
    )


def waveform_bundle(**overrides: Any) -> dict[str, Any]:
    """The waveform at 16 kHz, 1600 samples every 800, one embedding of 3."""
    base = {
        "format": 1,
        "name": "waveform",
        "version": "1",
        "task": "audio-embedding",
        "audio": {"sample_rate_hz": RATE_HZ},
        "features": None,
        "segment": {"length": LENGTH, "hop": HOP, "unit": "samples"},
        "input": {"tensor": "wave", "layout": "batch,samples"},
        "heads": [{"name": "embedding", "tensor": "embedding", "kind": "embedding"}],
    }
    return bundle(base, **overrides)


STATISTICS: tuple[Node, ...] = (
    ("ReduceMax", ["wave"], "highest", {"axes": [1]}),
    ("ReduceMin", ["wave"], "lowest", {"axes": [1]}),
    ("ReduceMean", ["wave"], "mean", {"axes": [1]}),
    ("Concat", ["highest", "lowest", "mean"], "statistics", {"axis": 1}),
)


def _write_waveform(
    path: Path, tail: Sequence[Node], overrides: dict[str, Any], *, batch: int | str = "batch", **more: Any
) -> Path:
    return write(
        path,
        nodes=[*STATISTICS, *tail],
        inputs={"wave": [batch, "samples"]},
        outputs={"embedding": more.pop("output", [batch, 3])},
        metadata=_metadata(waveform_bundle, overrides),
        **more,
    )


def write_waveform(path: Path, *, batch: int | str = "batch", **overrides: Any) -> Path:
    """Embedding = highest, lowest and mean sample. ``batch=1`` fixes the batch axis."""
    return _write_waveform(path, [("Identity", ["statistics"], "embedding")], overrides, batch=batch)


def write_whole_clip(path: Path, **overrides: Any) -> Path:
    """``write_waveform`` over the whole clip; in a stream 0.5 s at a time."""
    return write_waveform(path, **{"segment": {"length": None, "hop": None, "stream_length": 8000}, **overrides})


def write_convolution(path: Path, *, width: int = 400, stride: int = 160, **overrides: Any) -> Path:
    """Embedding = mean over time of 3 convolutions, which need ``width`` samples; over the whole clip."""
    segment = {"length": None, "hop": None, "stream_length": 8000}
    return write(
        path,
        nodes=[
            ("Unsqueeze", ["wave", "axis"], "channel"),
            ("Conv", ["channel", "kernel"], "steps", {"strides": [stride]}),
            ("ReduceMean", ["steps"], "embedding", {"axes": [2], "keepdims": 0}),
        ],
        inputs={"wave": ["batch", "samples"]},
        outputs={"embedding": ["batch", 3]},
        constants={
            "axis": np.array([1], np.int64),
            "kernel": np.random.default_rng(0).normal(0, 0.1, (3, 1, width)).astype(np.float32),
        },
        metadata=_metadata(waveform_bundle, {"segment": segment, **overrides}),
    )


def write_quantised(path: Path, **overrides: Any) -> Path:
    """``write_waveform`` with an uint8 output: value = (q - 128) / 64."""
    heads = [{"dequantize": {"scale": 1 / 64, "zero_point": 128}}]
    return _write_waveform(
        path,
        [("QuantizeLinear", ["statistics", "scale", "zero"], "embedding")],
        {"heads": heads, **overrides},
        constants={"scale": np.float32(1 / 64), "zero": np.uint8(128)},
        output_type=TensorProto.UINT8,
    )


def write_batch_dependent(path: Path, **overrides: Any) -> Path:
    """``write_waveform`` minus the mean over the batch: no company leaves its answers alone."""
    return _write_waveform(
        path,
        [
            ("ReduceMean", ["statistics"], "company", {"axes": [0]}),
            ("Sub", ["statistics", "company"], "embedding"),
        ],
        overrides,
    )


def write_steady_from(path: Path, rows: int, **overrides: Any) -> Path:
    """``write_waveform`` plus 1 where fewer than ``rows`` run together, as a kernel for few rows may differ."""
    return _write_waveform(
        path,
        [
            ("Shape", ["wave"], "size", {"end": 1}),
            ("Less", ["size", "rows"], "few"),
            ("Cast", ["few"], "one", {"to": TensorProto.FLOAT}),
            ("Add", ["statistics", "one"], "embedding"),
        ],
        overrides,
        constants={"rows": np.array([rows], np.int64)},
    )


def write_nan(path: Path, **overrides: Any) -> Path:
    """``write_waveform`` that gives NaN for a segment with a sample above 0.95."""
    return _write_waveform(
        path,
        [
            ("Sub", ["limit", "highest"], "room"),
            ("Sqrt", ["room"], "root"),
            ("Mul", ["root", "zero"], "nothing"),
            ("Add", ["statistics", "nothing"], "embedding"),
        ],
        overrides,
        constants={"limit": np.float32(0.95), "zero": np.float32(0)},
    )


def write_failing(path: Path, **overrides: Any) -> Path:
    """``write_waveform`` that raises in onnxruntime for a batch with a sample above 0.95."""
    return _write_waveform(
        path,
        [
            ("Div", ["highest", "limit"], "share"),
            ("Relu", ["share"], "positive"),
            ("Cast", ["positive"], "index", {"to": TensorProto.INT64}),
            ("Gather", ["table", "index"], "nothing"),
            ("Add", ["statistics", "nothing"], "embedding"),
        ],
        overrides,
        constants={"limit": np.float32(0.95), "table": np.zeros(1, np.float32)},
    )


def classifier_bundle(**overrides: Any) -> dict[str, Any]:
    """A waveform model with an embedding head of 3 and two classifications, of 4 and of 2 classes."""
    base = {
        **waveform_bundle(name="classifier", task="audio-classification"),
        "heads": [
            {"name": "embedding", "tensor": "embedding", "kind": "embedding"},
            {
                "name": "scene",
                "tensor": "scene",
                "kind": "classification",
                "labels": [{"locale": "en", "names": LABELS}, {"locale": "de", "names": GERMAN}],
            },
            {"name": "mood", "tensor": "mood", "kind": "classification", "labels": [{"names": MOODS}]},
        ],
    }
    return bundle(base, **overrides)


def write_classifier(path: Path, **overrides: Any) -> Path:
    """Answers are samples of the segment: ``scene`` 0 to 3, ``mood`` 4 and 5, ``embedding`` 6 to 8."""
    cuts = {"scene": (0, 4), "mood": (4, 6), "embedding": (6, 9)}
    places = {f"at{place}": np.array([place], np.int64) for cut in cuts.values() for place in cut}
    return write(
        path,
        nodes=[("Slice", ["wave", f"at{a}", f"at{b}", "axis"], name) for name, (a, b) in cuts.items()],
        inputs={"wave": ["batch", "samples"]},
        outputs={name: ["batch", b - a] for name, (a, b) in cuts.items()},
        constants={**places, "axis": np.array([1], np.int64)},
        metadata=_metadata(classifier_bundle, overrides),
    )


def _metadata(make: Any, overrides: dict[str, Any]) -> dict[str, Any] | str | None:
    if "metadata" in overrides:
        return overrides["metadata"]
    return make(**overrides)
