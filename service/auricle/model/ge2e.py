"""The GE2E speaker encoder as a bundle: a 3-layer LSTM over mel frames, written out as ONNX.

The network is that of Wan et al., "Generalized End-to-End Loss for Speaker Verification" (2018), in the shape
in which Resemblyzer 0.1.4 (Corentin Jemine, Apache-2.0) trained it: a segment of mel power → three LSTM
layers → the last one's final hidden state → linear → ReLU → L2.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auricle.errors import BundleError
from auricle.model.torchfile import read_tensors

__all__ = [
    "BANDS",
    "EMBEDDING_SIZE",
    "HIDDEN_SIZE",
    "LAYERS",
    "SEGMENT_FRAMES",
    "bundle_from_checkpoint",
    "bundle_from_tensors",
    "metadata",
]

SEGMENT_FRAMES = 160
BANDS = 40
HIDDEN_SIZE = 256
LAYERS = 3
EMBEDDING_SIZE = 256

# The oldest that say all that is needed here, so that any supported onnxruntime reads the file.
_IR_VERSION = 8
_OPSET = 17


def bundle_from_checkpoint(data: bytes) -> bytes:
    """The bundle from Resemblyzer's ``pretrained.pt``.

    Raises:
        BundleError: the file is not read (see ``torchfile.read_tensors``), or holds another network.
    """
    return bundle_from_tensors(read_tensors(data, section="model_state"))


def bundle_from_tensors(tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """The bundle from the network's weights, named and laid out as torch's LSTM and Linear do.

    Input ``mels`` is float32 [batch, 160, 40]; output ``embedding`` is float32 [batch, 256], of length 1, or
    zeros where the ReLU leaves none of it. A row's value does not depend on the rows beside it. The same
    weights give the same bytes.

    Args:
        tensors: ``lstm.weight_ih_l0`` [1024, 40] … ``linear.bias`` [256]; others are not looked at.

    Raises:
        BundleError: a tensor is missing, has another shape, or is not finite.
    """
    from onnx import TensorProto, helper, numpy_helper

    initializers = [numpy_helper.from_array(np.array([1], np.int64), "direction_axis")]
    nodes = [helper.make_node("Transpose", ["mels"], ["layer_input_0"], perm=[1, 0, 2])]
    for layer in range(LAYERS):
        for name, array in _lstm_weights(tensors, layer).items():
            initializers.append(numpy_helper.from_array(array, name))
        last = layer == LAYERS - 1
        weights = [f"W_{layer}", f"R_{layer}", f"B_{layer}"]
        # Only the sequence feeds the next layer, and only the last layer's final state feeds the head.
        outputs = ["", "hidden"] if last else [f"sequence_{layer}"]
        nodes.append(helper.make_node("LSTM", [f"layer_input_{layer}", *weights], outputs, hidden_size=HIDDEN_SIZE))
        if not last:
            squeezed = [f"layer_input_{layer + 1}"]
            nodes.append(helper.make_node("Squeeze", [f"sequence_{layer}", "direction_axis"], squeezed))
    initializers.append(numpy_helper.from_array(np.array([0], np.int64), "hidden_axis"))
    linear_shape = (EMBEDDING_SIZE, HIDDEN_SIZE)
    initializers.append(numpy_helper.from_array(_weight(tensors, "linear.weight", linear_shape), "linear_weight"))
    initializers.append(numpy_helper.from_array(_weight(tensors, "linear.bias", (EMBEDDING_SIZE,)), "linear_bias"))
    nodes += [
        helper.make_node("Squeeze", ["hidden", "hidden_axis"], ["final"]),
        helper.make_node("Gemm", ["final", "linear_weight", "linear_bias"], ["projected"], transB=1),
        helper.make_node("Relu", ["projected"], ["rectified"]),
        # Unlike a division by the norm, this leaves a row of zeros as it is instead of making it NaN.
        helper.make_node("LpNormalization", ["rectified"], ["embedding"], axis=1, p=2),
    ]
    mels = helper.make_tensor_value_info("mels", TensorProto.FLOAT, ["batch", SEGMENT_FRAMES, BANDS])
    embedding = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", EMBEDDING_SIZE])
    model = helper.make_model(
        helper.make_graph(nodes, "ge2e", [mels], [embedding], initializers),
        ir_version=_IR_VERSION,
        opset_imports=[helper.make_opsetid("", _OPSET)],
        producer_name="auricle",
    )
    helper.set_model_props(model, {"auricle.bundle": json.dumps(metadata())})
    serialized: bytes = model.SerializeToString(deterministic=True)
    return serialized


def metadata() -> dict[str, Any]:
    """What the bundle says of itself; the levels and cuts are those that the network was trained on."""
    return {
        "format": 1,
        "name": "voice",
        "version": "1",
        "task": "speaker-embedding",
        "description": "Speaker embedding of 256 values: takes of one voice lie close together (GE2E).",
        "author": "Corentin Jemine (weights of Resemblyzer 0.1.4)",
        "license": "Apache-2.0",
        "audio": {"sample_rate_hz": 16000, "channels": 1},
        "features": {"preset": "ge2e-40"},
        "segment": {
            "length": SEGMENT_FRAMES,
            "hop": 80,
            "unit": "frames",
            "min_coverage": 0.75,
            "raise_to_dbfs": -30.0,
            "stream_length": None,
        },
        "input": {"tensor": "mels", "layout": "batch,frames,bands"},
        "heads": [
            {
                "name": "embedding",
                "tensor": "embedding",
                "kind": "embedding",
                "pool": "mean",
                "l2_normalize": True,
            }
        ],
    }


def _lstm_weights(tensors: Mapping[str, NDArray[Any]], layer: int) -> dict[str, NDArray[np.float32]]:
    """ONNX's W [1, 4·hidden, input], R [1, 4·hidden, hidden] and B [1, 8·hidden] of one layer."""
    gates = 4 * HIDDEN_SIZE
    inputs = BANDS if layer == 0 else HIDDEN_SIZE
    w = _reorder_gates(_weight(tensors, f"lstm.weight_ih_l{layer}", (gates, inputs)))
    r = _reorder_gates(_weight(tensors, f"lstm.weight_hh_l{layer}", (gates, HIDDEN_SIZE)))
    w_bias = _reorder_gates(_weight(tensors, f"lstm.bias_ih_l{layer}", (gates,)))
    r_bias = _reorder_gates(_weight(tensors, f"lstm.bias_hh_l{layer}", (gates,)))
    return {
        f"W_{layer}": w[np.newaxis],
        f"R_{layer}": r[np.newaxis],
        f"B_{layer}": np.concatenate([w_bias, r_bias])[np.newaxis],
    }


def _reorder_gates(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """From torch's input, forget, cell, output to ONNX's input, output, forget, cell, along axis 0."""
    i, f, g, o = np.split(array, 4)
    return np.concatenate([i, o, f, g])


def _weight(tensors: Mapping[str, NDArray[Any]], name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    if name not in tensors:
        found = ", ".join(sorted(tensors)) or "none"
        raise BundleError(f"the weights lack {name!r}, so they are not the GE2E encoder's; found: {found}")
    array = tensors[name]
    if array.shape != shape or array.dtype != np.float32:
        raise BundleError(
            f"the weights' {name!r} is {array.dtype}{list(array.shape)} where the GE2E encoder has float32{list(shape)}"
        )
    if not np.isfinite(array).all():
        raise BundleError(f"the weights' {name!r} has values that are not finite; the file is damaged")
    return array
