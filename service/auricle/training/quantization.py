"""Quantisation of a trained bundle: weights as halves, or weights and activations as 8-bit integers."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from auricle.config import SessionSettings
from auricle.engine.graph import Graph
from auricle.errors import BundleError, OptionError
from auricle.training.splits import spread

__all__ = ["HALF", "MOST_SEGMENTS", "Precision", "QuantizationConfig", "check_float", "quantize"]

Floats = NDArray[np.float32]
Precision = Literal["float16", "int8"]

# Of a stored weight's name; the graph goes on with the name that the weight had.
HALF = ".half"
# Smaller constants, such as biases, are not worth their rounding.
LEAST_WEIGHTS = 256
INT8_OPERATORS = ("Conv", "Gemm", "MatMul")
LEAST_INT8_WEIGHTS = 8192
MOST_SEGMENTS = 256


@dataclass(frozen=True, slots=True)
class QuantizationConfig:
    """How a trained model's numbers are stored, by TensorFlow Lite Model Maker's name for it.

    There is no dynamic int8: it takes the scale of the activations from the whole batch, so that one caller's scores
    would depend on another's sound.

    Attributes:
        representative: sounds like those that the model will hear, f32 waveforms of one segment, at the model's rate;
            int8 takes the ranges of its activations from up to 256.
    """

    precision: Precision
    representative: tuple[Floats, ...] = ()

    @classmethod
    def for_float16(cls) -> Self:
        """Weights as halves, widened before they are used: half the size, next to no difference."""
        return cls("float16")

    @classmethod
    def for_int8(cls, representative_data: Sequence[Floats]) -> Self:
        """Weights and activations as 8-bit integers with fixed scales. OptionError: no representative sounds."""
        if not len(representative_data):
            raise OptionError("int8 needs representative_data: a few sounds of each class", field="quantization_config")
        return cls("int8", tuple(representative_data))


def check_float(path: Path) -> None:
    """Raises BundleError: a file with quantised layers, or with halves."""
    import onnx

    model: Any = onnx.load(path, load_external_data=False)
    stored = any(each.name.endswith(HALF) for each in model.graph.initializer)
    if stored or any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in model.graph.node):
        raise BundleError(f"{path.name}: it is quantised already; start from the float model")


def quantize(path: Path, precision: Precision, segments: Sequence[Floats]) -> bytes:
    """The bundle of ``path`` quantised, its metadata kept.

    Args:
        segments: what int8 takes the activations' ranges from, as the model takes them in.

    Raises:
        BundleError: nothing in it can be quantised, or it is quantised already.
    """
    check_float(path)
    if precision == "float16":
        return _float16_weights(path)
    return _int8_static(path, segments)


def _float16_weights(path: Path) -> bytes:
    """The bundle with its float32 weights as halves and a Cast behind each.

    The runtime folds the Casts when it loads the file: sizes on disk and over the network are halved, speed and
    memory are those of floats on any processor.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model: Any = onnx.load(path)
    graph, casts = model.graph, []
    for weight in graph.initializer:
        if weight.data_type != TensorProto.FLOAT or np.prod(weight.dims) < LEAST_WEIGHTS:
            continue
        values = numpy_helper.to_array(weight)
        if not np.abs(values).max() <= np.finfo(np.float16).max:
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}{HALF}"))
        casts.append(helper.make_node("Cast", [weight.name], [name], to=TensorProto.FLOAT))
    if not casts:
        raise BundleError(f"{path.name}: it has no float32 weights that could become float16")
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    serialized: bytes = model.SerializeToString(deterministic=True)
    return serialized


def _int8_static(path: Path, segments: Sequence[Floats]) -> bytes:
    """The bundle with its large layers between quantisers whose scales are constants (QDQ).

    Small layers, mostly the first and the last, stay in float: they hold few of the bytes and most of the loss.
    Weights have seven of the eight bits, so that processors without VNNI do not saturate.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    graph = Graph(path, SessionSettings(threads=1))

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._feeds = (graph.feed(segment) for segment in spread(segments, MOST_SEGMENTS))

        def get_next(self) -> Mapping[str, NDArray[Any]] | None:
            return next(self._feeds, None)

    with tempfile.TemporaryDirectory() as folder:
        prepared, made = Path(folder, "prepared.onnx"), Path(folder, "int8.onnx")
        quant_pre_process(path, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            made,
            Reader(),
            quant_format=QuantFormat.QDQ,
            nodes_to_quantize=_name_large_layers(prepared, where=path.name),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        quantized: Any = onnx.load(made)
    # What the tools note of their own doing goes, and the bundle's metadata comes back.
    del quantized.metadata_props[:]
    quantized.metadata_props.extend(onnx.load(path).metadata_props)
    serialized: bytes = quantized.SerializeToString(deterministic=True)
    return serialized


def _name_large_layers(path: Path, *, where: str) -> list[str]:
    """Names of the layers to quantise, which get one in the file where they have none. BundleError: there are none."""
    import onnx

    model: Any = onnx.load(path)
    weights = {each.name: int(np.prod(each.dims)) for each in model.graph.initializer}
    layers = []
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{number}"
        if node.op_type in INT8_OPERATORS and max(weights.get(name, 0) for name in node.input) >= LEAST_INT8_WEIGHTS:
            layers.append(node.name)
    if not layers:
        raise BundleError(
            f"{where}: it has no layer ({', '.join(INT8_OPERATORS)}) of {LEAST_INT8_WEIGHTS} weights or more; "
            "leave it in float32, or use float16"
        )
    onnx.save(model, path)
    return layers
