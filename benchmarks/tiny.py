"""Models that the benchmarks build: so small that the server's own work is all there is, or as heavy as asked."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from auricle.model.bundle import METADATA_KEY

__all__ = ["TINY", "write_tiny", "write_waveform_classifier"]

TINY = "tiny"
RATE_HZ = 16000
BANDS = 80
FRAMES = 100
DIMENSION = 64
CLASSES = 521
WAVE_SAMPLES = 15600


def write_tiny(models_dir: Path) -> Path:
    """``tiny``: kaldi-80 features, a segment of 100 frames every second, the mean frame through one matrix."""
    matrix = np.random.default_rng(0).normal(0, 0.1, (BANDS, DIMENSION)).astype(np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["frames"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["mean", "matrix"], ["embedding"]),
    ]
    bundle = {
        "format": 1,
        "name": TINY,
        "version": "1",
        "task": "audio-embedding",
        "description": "built by the benchmark",
        "audio": {"sample_rate_hz": RATE_HZ},
        "features": {"preset": "kaldi-80"},
        "segment": {"length": FRAMES, "hop": FRAMES},
        "input": {"tensor": "frames", "layout": "batch,frames,bands"},
        "heads": [{"name": "embedding", "tensor": "embedding", "kind": "embedding"}],
    }
    return _write(
        models_dir / f"{TINY}.onnx",
        nodes=nodes,
        inputs={"frames": ["batch", FRAMES, BANDS]},
        outputs={"embedding": ["batch", DIMENSION]},
        constants={"matrix": matrix},
        bundle=bundle,
    )


def write_waveform_classifier(models_dir: Path, name: str = "wave") -> Path:
    """YAMNet's place without YAMNet: 0.975 s of waveform in, 1024 values and 521 scores out, about its cost.

    The graph cuts the window into 96 x 160 samples and runs a stack of convolutions over them.
    """
    generator = np.random.default_rng(1)
    constants: dict[str, Any] = {"shape": np.array([-1, 1, 96, 160], np.int64)}
    nodes = [
        helper.make_node("Slice", ["waveform", "from", "to", "axis"], ["cut"]),
        helper.make_node("Reshape", ["cut", "shape"], ["image0"]),
    ]
    constants |= {"from": np.array([0], np.int64), "to": np.array([15360], np.int64), "axis": np.array([1], np.int64)}
    channels = (1, 32, 64, 96, 128, 192, 256)
    for layer, (taken, given) in enumerate(pairwise(channels)):
        scale = (2.0 / (9 * taken)) ** 0.5
        constants[f"kernel{layer}"] = generator.normal(0, scale, (given, taken, 3, 3)).astype(np.float32)
        nodes += [
            helper.make_node(
                "Conv", [f"image{layer}", f"kernel{layer}"], [f"conv{layer}"], strides=[2, 2], pads=[1, 1, 1, 1]
            ),
            helper.make_node("Relu", [f"conv{layer}"], [f"image{layer + 1}"]),
        ]
    constants["wide"] = generator.normal(0, 0.06, (channels[-1], 1024)).astype(np.float32)
    constants["classes"] = generator.normal(0, 0.03, (1024, CLASSES)).astype(np.float32)
    nodes += [
        helper.make_node("ReduceMean", [f"image{len(channels) - 1}"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["mean", "wide"], ["embedding"]),
        helper.make_node("MatMul", ["embedding", "classes"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["scores"]),
    ]
    labels = [{"locale": "en", "names": [f"class {index}" for index in range(CLASSES)]}]
    bundle = {
        "format": 1,
        "name": name,
        "version": "1",
        "task": "audio-classification",
        "description": "built by the benchmark",
        "audio": {"sample_rate_hz": RATE_HZ},
        "features": None,
        "segment": {"length": WAVE_SAMPLES, "hop": WAVE_SAMPLES // 2, "unit": "samples"},
        "input": {"tensor": "waveform", "layout": "batch,samples"},
        "heads": [
            {"name": "embedding", "tensor": "embedding", "kind": "embedding"},
            {"name": "scores", "tensor": "scores", "kind": "classification", "labels": labels},
        ],
    }
    return _write(
        models_dir / f"{name}.onnx",
        nodes=nodes,
        inputs={"waveform": ["batch", WAVE_SAMPLES]},
        outputs={"embedding": ["batch", 1024], "scores": ["batch", CLASSES]},
        constants=constants,
        bundle=bundle,
    )


def _write(
    path: Path,
    *,
    nodes: list[Any],
    inputs: dict[str, list[Any]],
    outputs: dict[str, list[Any]],
    constants: dict[str, Any],
    bundle: dict[str, Any],
) -> Path:
    def values(shapes: dict[str, list[Any]]) -> list[Any]:
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]

    fixed = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "benchmark", values(inputs), values(outputs), fixed)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {METADATA_KEY: json.dumps(bundle)})
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path
