"""A TensorFlow Lite model as an ONNX graph, through tf2onnx in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from auricle.errors import BundleError, UnavailableError
from auricle.importing.tflite import TfliteModel

__all__ = ["Precision", "convert", "need"]

Precision = Literal["float", "int8"]

OPSET = 17
TIME_LIMIT_S = 600
INSTALL = "pip install 'auricle[tflite]'"


def need(*modules: str) -> None:
    """Raises UnavailableError with the line that installs what is missing."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise UnavailableError(
            f"importing a .tflite file needs {', '.join(missing)}, not installed here: {INSTALL}",
            reason="EXTRA_MISSING",
        )


def convert(model: TfliteModel, precision: Precision, scratch: Path, *, mend: bool = True) -> Any:
    """The graph as an onnx.ModelProto: ``float`` widens 8-bit weights, ``int8`` keeps them.

    TensorFlow is loaded in another process: what it prints, and what makes it abort, stays there.

    Args:
        mend: put the biases back that tf2onnx loses (up to 1.17 at least: where a dense layer flattens its input
            itself, the bias is dropped without a word; YAMNet's last layer is one).

    Raises:
        BundleError: tf2onnx cannot convert it, or a bias that it lost has no place to go.
        UnavailableError: tensorflow or tf2onnx is not installed.
    """
    import onnx

    need("tensorflow", "tf2onnx")
    target = scratch / f"{precision}.onnx"
    command = [sys.executable, "-m", "tf2onnx.convert", "--tflite", str(model.path), "--output", str(target)]
    command += ["--opset", str(OPSET)]
    if precision == "float":
        command.append("--dequantize")
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIME_LIMIT_S, env=environment, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise BundleError(f"{model.path.name}: tf2onnx took more than {TIME_LIMIT_S} s and was stopped") from error
    if done.returncode != 0 or not target.is_file():
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise BundleError(f"{model.path.name}: tf2onnx cannot convert it ({precision}); it ended with: {said}")
    graph = onnx.load(str(target))
    if mend:
        _restore_biases(graph, model.flattening_biases, where=model.path.name)
    return graph


def _restore_biases(model: Any, biases: Mapping[str, NDArray[np.float32]], *, where: str) -> None:
    from onnx import helper, numpy_helper

    graph = model.graph
    for number, (tensor, bias) in enumerate(biases.items()):
        # tf2onnx keeps a tensor's name, or gives it a suffix where it quantises it afterwards.
        names = (tensor, f"{tensor}_prequant")
        places = [
            index for index, node in enumerate(graph.node) if node.op_type == "MatMul" and node.output[0] in names
        ]
        if not places:
            if any(name in node.output for node in graph.node for name in names):
                continue  # made by an Add or a Gemm: nothing was lost
            raise BundleError(f"{where}: after the conversion there is no dense layer {tensor!r} to give its bias to")
        node = graph.node[places[0]]
        result, bare, constant = node.output[0], f"{node.output[0]}_bare", f"auricle_bias_{number}"
        followers = [each for each in graph.node if result in each.input]
        if any(each.op_type == "Add" for each in followers):
            continue
        if (scale := _accumulator_scale(graph, node)) is not None:
            _become_gemm(graph, node, bias, scale, constant)
            continue
        node.output[0] = bare
        graph.node.insert(places[0] + 1, helper.make_node("Add", [bare, constant], [result]))
        graph.initializer.append(numpy_helper.from_array(bias, constant))


def _accumulator_scale(graph: Any, node: Any) -> np.float32 | None:
    """Scale of an 8-bit product of ``node``'s inputs; None where they are floats, or quantised by channel."""
    from onnx import numpy_helper

    makers = {each.output[0]: each for each in graph.node if each.op_type == "DequantizeLinear"}
    constants = {each.name: each for each in graph.initializer}
    product = np.float32(1)
    for name in node.input:
        maker = makers.get(name)
        if maker is None or maker.input[1] not in constants:
            return None
        scale = numpy_helper.to_array(constants[maker.input[1]])
        if scale.size != 1:
            return None
        product *= np.float32(scale.reshape(()))
    return product


def _become_gemm(graph: Any, node: Any, bias: NDArray[np.float32], scale: np.float32, constant: str) -> None:
    """Makes a product of 8-bit values one that adds its bias in integers, which the runtime then fuses to one step."""
    from onnx import helper, numpy_helper

    stored = np.rint(bias.astype(np.float64) / scale).astype(np.int32)
    graph.initializer.append(numpy_helper.from_array(stored, f"{constant}_stored"))
    graph.initializer.append(numpy_helper.from_array(np.array(scale), f"{constant}_scale"))
    place = list(graph.node).index(node)
    widen = helper.make_node("DequantizeLinear", [f"{constant}_stored", f"{constant}_scale"], [constant])
    graph.node.insert(place, widen)
    node.op_type = "Gemm"
    del node.attribute[:]
    node.input.append(constant)
