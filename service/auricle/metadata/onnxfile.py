"""An ONNX file as the writers see it: its tensors, and the two texts that they keep in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
from onnx import helper

from auricle.model.bundle import METADATA_KEY, TensorInfo

__all__ = ["VIEW_KEY", "OnnxFile", "data_files"]

# What the TensorFlow Lite schema says and a bundle does not: descriptions of tensors, names of files, ranges.
VIEW_KEY = "auricle.tflite_metadata"


class OnnxFile:
    """A model in memory. ValueError where the bytes are no ONNX model with an input and an output."""

    def __init__(self, content: bytes | bytearray) -> None:
        try:
            self._model = onnx.load_model_from_string(bytes(content))
        except Exception as error:  # protobuf's decoders share no narrower base
            raise ValueError(f"the model buffer of {len(content)} bytes is no ONNX model: {error}") from error
        graph = self._model.graph
        constants = {each.name for each in graph.initializer}
        self.inputs = tuple(_tensor(each) for each in graph.input if each.name not in constants)
        self.outputs = tuple(_tensor(each) for each in graph.output)
        if not self.inputs or not self.outputs:
            raise ValueError(
                f"the model buffer of {len(content)} bytes is no ONNX model: it has no inputs or no outputs"
            )

    def property(self, key: str) -> str | None:
        """A text of the file's ``metadata_props``."""
        return next((entry.value for entry in self._model.metadata_props if entry.key == key), None)

    def with_metadata(self, bundle: str, view: str) -> bytes:
        """The file with these texts in place of those that it had; other properties stay."""
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        kept = {entry.key: entry.value for entry in model.metadata_props if entry.key not in (METADATA_KEY, VIEW_KEY)}
        helper.set_model_props(model, {**kept, METADATA_KEY: bundle, VIEW_KEY: view})
        content: bytes = model.SerializeToString(deterministic=True)
        return content


def _tensor(info: Any) -> TensorInfo:
    kind = info.type.tensor_type
    try:
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type).name
    except (KeyError, ValueError):
        dtype = "unknown"
    shape = tuple(
        int(axis.dim_value) if axis.HasField("dim_value") and axis.dim_value > 0 else None for axis in kind.shape.dim
    )
    return TensorInfo(name=info.name, dtype=dtype, shape=shape)


def data_files(path: Path) -> tuple[str, ...]:
    """Files beside an ONNX file, or in folders there, that hold weights of it; none where it is no ONNX file."""
    try:
        graph = onnx.load(str(path), load_external_data=False).graph
    except Exception:  # protobuf's decoders share no narrower base, and whoever loads it tells better
        return ()
    entries = (entry for tensor in _tensors(graph) for entry in tensor.external_data if entry.key == "location")
    names = dict.fromkeys(entry.value for entry in entries)
    # No runtime follows a name that leads out of the file's folder.
    return tuple(name for name in names if not Path(name).is_absolute() and ".." not in Path(name).parts)


def _tensors(graph: Any) -> Iterator[Any]:
    """The constants of a graph and of those inside its nodes."""
    yield from graph.initializer
    for attribute in (each for node in graph.node for each in node.attribute):
        yield from [attribute.t, *attribute.tensors]
        for inner in [attribute.g, *attribute.graphs]:
            yield from _tensors(inner)
