"""Cuts in an ONNX graph: the frontend off its front, the batch freed, the pooled embedding brought out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auricle import frontend
from auricle.config import SessionSettings
from auricle.engine.session import Session
from auricle.frontend import FeatureSpec
from auricle.importing.signals import probes

__all__ = ["Frontend", "add_embedding", "cut_frontend", "find_frontend", "free_batch", "rename_tensor", "widen_output"]

# Two float32 ways to the same log-mel differ by 4e-4 at worst; another filter bank differs by 4e-3 and more.
MATCH_TOLERANCE = 1e-3
PATCHES = "patches"
BATCH = "batch"


@dataclass(frozen=True, kw_only=True)
class Frontend:
    """A frontend found inside a graph: ``tensor`` holds the ``frames`` frames of the preset."""

    preset: str
    tensor: str
    frames: int
    spec: FeatureSpec


def find_frontend(model: Any, *, sample_rate_hz: int, scratch: Path) -> Frontend | None:
    """Looks for a preset's features among the tensors that the graph computes from its waveform.

    It is found by what it computes, not by what its nodes are called: every tensor of the right shape is
    compared with the preset's features of several sounds. None where no preset agrees.
    """
    waveform = model.graph.input[0]
    samples = int(np.prod(_shape(waveform), dtype=np.int64))
    candidates = [(name, spec, frames) for name, spec, frames in _presets(sample_rate_hz, samples)]
    if not candidates:
        return None
    shapes = _inferred_shapes(model)
    sizes = {(frames, spec.bands) for _, spec, frames in candidates}
    wanted = [name for name in _computed(model) if tuple(n for n in shapes.get(name, ()) if n != 1) in sizes]
    sounds = [sound for _, sound in probes(sample_rate_hz, samples)]
    computed = [_run_for(model, wanted, sound.reshape(_shape(waveform)), scratch) for sound in sounds] if wanted else []
    for tensor in wanted:
        for name, spec, frames in candidates:
            pairs = zip(computed, sounds, strict=True)
            if all(_agree(values[tensor], frontend.features(sound, spec)) for values, sound in pairs):
                return Frontend(preset=name, tensor=tensor, frames=frames, spec=spec)
    return None


def _presets(sample_rate_hz: int, samples: int) -> Iterator[tuple[str, FeatureSpec, int]]:
    for name in frontend.presets():
        spec = frontend.preset(name)
        frames = spec.frames(samples)
        if spec.sample_rate_hz == sample_rate_hz and frames > 0 and spec.segment_samples(frames) == samples:
            yield name, spec, frames


def _agree(values: NDArray[Any], features: NDArray[np.float32]) -> bool:
    if values.size != features.size:
        return False
    return bool(np.abs(values.reshape(features.shape) - features).max() <= MATCH_TOLERANCE)


def cut_frontend(model: Any, found: Frontend) -> Any | None:
    """A copy of the graph that starts at ``patches`` f32 [1, frames, bands] in place of the waveform.

    None where the waveform is needed behind the features, too.
    """
    from onnx import ModelProto, TensorProto, helper

    tower = ModelProto()
    tower.CopyFrom(model)
    graph = tower.graph
    shape = _inferred_shapes(model)[found.tensor]
    for node in graph.node:
        node.input[:] = [f"{PATCHES}_shaped" if name == found.tensor else name for name in node.input]
    # The old shape, with the batch in front if there was an axis for it.
    target = [-1, *shape[1:]] if len(shape) > 2 and shape[0] == 1 else list(shape)
    constant = helper.make_tensor(f"{PATCHES}_shape", TensorProto.INT64, [len(target)], target)
    graph.initializer.append(constant)
    graph.node.insert(0, helper.make_node("Reshape", [PATCHES, constant.name], [f"{PATCHES}_shaped"]))
    del graph.input[:]
    patches = helper.make_tensor_value_info(PATCHES, TensorProto.FLOAT, [1, found.frames, found.spec.bands])
    graph.input.append(patches)
    _prune(graph)
    known = {"", PATCHES, *(each.name for each in graph.initializer), *_computed(tower)}
    if any(name not in known for node in graph.node for name in node.input):
        return None
    return tower


def free_batch(model: Any) -> Any:
    """A copy of the graph whose first axis is free, as far as its shapes are constants; the caller tries it.

    Reshapes to one row become reshapes to as many as there are, reshapes of reshapes one, and a Split into
    one part nothing.
    """
    from onnx import ModelProto, numpy_helper

    freed = ModelProto()
    freed.CopyFrom(model)
    graph = freed.graph
    constants = {each.name: each for each in graph.initializer}
    for node in list(graph.node):
        if node.op_type == "Split" and len(node.output) == 1:
            _replace_tensor(graph, node.output[0], node.input[0])
            graph.node.remove(node)
    makers = {name: node for node in graph.node for name in node.output}
    for node in [each for each in graph.node if each.op_type == "Reshape" and each.input[0] == PATCHES]:
        # What follows takes [batch, frames, bands] as it is, or reshapes it in turn.
        _replace_tensor(graph, node.output[0], PATCHES)
    for number, node in enumerate(each for each in graph.node if each.op_type == "Reshape"):
        before = makers.get(node.input[0])
        if before is not None and before.op_type == "Reshape":
            node.input[0] = before.input[0]
        constant = constants.get(node.input[1])
        if constant is None:
            continue
        target = numpy_helper.to_array(constant).copy()
        if target.size > 1 and target[0] == 1 and -1 not in target:
            target[0] = -1
            name = f"auricle_shape_{number}"
            graph.initializer.append(numpy_helper.from_array(target, name))
            node.input[1] = name
    _quantize_last(graph)
    for value in [*graph.input, *graph.output]:
        value.type.tensor_type.shape.dim[0].dim_param = BATCH
    # What shape inference wrote down for one row.
    del graph.value_info[:]
    _prune(graph)
    return freed


def add_embedding(model: Any, scores: str, name: str = "embedding") -> int | None:
    """Makes the input of the last dense layer before ``scores`` an output called ``name``.

    Returns its length; None, with the graph as it was, where the scores do not come from a dense layer.
    """
    from onnx import TensorProto, helper

    graph = model.graph
    makers = {output: node for node in graph.node for output in node.output}
    constants = {each.name for each in graph.initializer}

    def constant(tensor: str) -> bool:
        maker = makers.get(tensor)
        return tensor in constants or (maker is not None and all(constant(each) for each in maker.input if each))

    tensor = scores
    while (node := makers.get(tensor)) is not None:
        if node.op_type in ("MatMul", "Gemm") and constant(node.input[1]):
            break
        passes = node.op_type in ("Sigmoid", "Softmax", "QuantizeLinear", "DequantizeLinear", "Reshape", "Identity")
        if not passes and not (node.op_type == "Add" and constant(node.input[1])):
            return None
        tensor = node.input[0]
    shapes = _inferred_shapes(model)
    size = shapes.get(node.input[0], ()) if node is not None else ()
    if node is None or len(size) != 2 or not isinstance(size[1], int) or size[1] < 2:
        return None
    # Before it is rounded to 8 bits, where it is: more exact, and an output in between would keep the runtime
    # from fusing the layer.
    graph.initializer.append(helper.make_tensor(f"{name}_shape", TensorProto.INT64, [2], [-1, size[1]]))
    graph.node.append(helper.make_node("Reshape", [_unrounded(makers, node.input[0]), f"{name}_shape"], [name]))
    value = helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size[1]])
    rows = graph.output[0].type.tensor_type.shape.dim[0]
    value.type.tensor_type.shape.dim[0].CopyFrom(rows)
    graph.output.insert(0, value)
    return int(size[1])


def _unrounded(makers: Mapping[str, Any], tensor: str) -> str:
    """The tensor that a quantised and widened one was before, through reshapes; else itself."""
    at, found = tensor, tensor
    while (node := makers.get(at)) is not None and node.op_type in ("DequantizeLinear", "Reshape", "QuantizeLinear"):
        at = node.input[0]
        if node.op_type == "QuantizeLinear":
            found = at
            break
    return found


def widen_output(model: Any, tensor: str, *, scale: float, zero_point: int) -> None:
    """Turns an 8-bit output into floats, scale (q - zero_point); leaves a float one as it is."""
    from onnx import TensorProto, helper

    graph = model.graph
    value = next(each for each in graph.output if each.name == tensor)
    kind = value.type.tensor_type.elem_type
    if kind not in (TensorProto.INT8, TensorProto.UINT8):
        return
    stored, names = f"{tensor}_stored", (f"{tensor}_scale", f"{tensor}_zero_point")
    rename_tensor(model, tensor, stored)
    graph.initializer.append(helper.make_tensor(names[0], TensorProto.FLOAT, [], [scale]))
    graph.initializer.append(helper.make_tensor(names[1], kind, [], [zero_point]))
    graph.node.append(helper.make_node("DequantizeLinear", [stored, *names], [tensor]))
    value.name = tensor
    value.type.tensor_type.elem_type = TensorProto.FLOAT


def rename_tensor(model: Any, old: str, new: str) -> None:
    """Calls a tensor something else wherever it occurs."""
    graph = model.graph
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]
    for value in [*graph.input, *graph.output, *graph.value_info]:
        if value.name == old:
            value.name = new


def _replace_tensor(graph: Any, old: str, new: str) -> None:
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]


def _quantize_last(graph: Any) -> None:
    """Reshapes before it quantises: a Reshape between the two halves keeps the runtime from fusing what follows."""
    _prune(graph)
    for quantize in [each for each in graph.node if each.op_type == "QuantizeLinear"]:
        followers = [each for each in graph.node if quantize.output[0] in each.input]
        scales = [each for each in graph.initializer if each.name == quantize.input[1] and not each.dims]
        if len(followers) != 1 or followers[0].op_type != "Reshape" or not scales:
            continue
        reshape, source = followers[0], quantize.input[0]
        reshape.input[0], quantize.input[0] = source, f"{source}_reshaped"
        quantize.output[0], reshape.output[0] = reshape.output[0], quantize.input[0]
        places = [list(graph.node).index(each) for each in (quantize, reshape)]
        first, second = (type(quantize)() for _ in places)
        first.CopyFrom(reshape)
        second.CopyFrom(quantize)
        graph.node[places[0]].CopyFrom(first)
        graph.node[places[1]].CopyFrom(second)


def _prune(graph: Any) -> None:
    """Drops the nodes and constants that no output needs."""
    needed = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    constants = [each for each in graph.initializer if each.name in needed]
    del graph.node[:]
    graph.node.extend(reversed(kept))
    del graph.initializer[:]
    graph.initializer.extend(constants)


def _computed(model: Any) -> list[str]:
    return [name for node in model.graph.node for name in node.output]


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)


def _inferred_shapes(model: Any) -> dict[str, tuple[int, ...]]:
    from onnx import shape_inference

    graph = shape_inference.infer_shapes(model).graph
    return {value.name: _shape(value) for value in [*graph.input, *graph.value_info, *graph.output]}


def _run_for(model: Any, tensors: Sequence[str], sound: NDArray[np.float32], scratch: Path) -> dict[str, NDArray[Any]]:
    """Runs the graph for tensors inside it."""
    from onnx import ModelProto, helper, save

    probe = ModelProto()
    probe.CopyFrom(model)
    outputs = {value.name for value in probe.graph.output}
    probe.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in tensors if name not in outputs)
    path = scratch / "probe.onnx"
    save(probe, str(path))
    session = Session(path, SessionSettings(threads=1))
    return session.run(tensors, {session.inputs[0].name: sound})
