"""A TensorFlow Lite model's own description: tensors, metadata, and the files packed at its end.

Field numbers are those of tensorflow/compiler/mlir/lite/schema/schema.fbs (Apache-2.0).
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from auricle.errors import BundleError
from auricle.importing.flatbuffer import DamagedError, Table, root
from auricle.importing.tflite_view import read_view
from auricle.metadata.view import (
    AUDIO_PROPERTIES,
    CALIBRATION_FILE,
    CALIBRATION_UNIT,
    LABEL_FILE,
    THRESHOLD_UNIT,
    ModelMetadata,
    TensorMetadata,
    dump_view,
)
from auricle.model.formats import TFLITE_MARK, is_tflite

__all__ = [
    "AssociatedFile",
    "OutputNote",
    "TfliteMetadata",
    "TfliteModel",
    "TfliteTensor",
    "read_tflite",
    "tflite_json",
]

METADATA_NAME = "TFLITE_METADATA"
DTYPES = {0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 9: "int8"}
STORED = {0: "<f4", 2: "<i4", 4: "<i8"}
FILE_KINDS = {LABEL_FILE: "labels", CALIBRATION_FILE: "calibration"}
FULLY_CONNECTED = 9


@dataclass(frozen=True, kw_only=True)
class TfliteTensor:
    """An input or output. Where ``scale`` is not 0 its values are scale (q - zero_point)."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    scale: float = 0.0
    zero_point: int = 0


@dataclass(frozen=True, kw_only=True)
class AssociatedFile:
    """A packed file that belongs to an output; ``kind`` is labels, calibration or other."""

    name: str
    kind: str
    locale: str


@dataclass(frozen=True, kw_only=True)
class OutputNote:
    """What the metadata says of one output; None where it says nothing."""

    name: str
    files: tuple[AssociatedFile, ...] = ()
    transformation: str | None = None
    default_score: float = 0.0
    score_threshold: float | None = None


@dataclass(frozen=True, kw_only=True)
class TfliteMetadata:
    """The model's metadata; the rate is None where no input is declared as audio.

    ``view`` is all of it, what an import has no use for included.
    """

    name: str
    description: str
    version: str
    author: str
    license: str
    sample_rate_hz: int | None
    channels: int
    outputs: tuple[OutputNote, ...]
    view: ModelMetadata


@dataclass(frozen=True, kw_only=True)
class TfliteModel:
    """A model as its file describes it.

    Attributes:
        metadata: None where the file has none.
        files: contents of the packed files by name.
        quantized: whether some weights are 8-bit.
        flattening_biases: by output tensor, f32 (n,) biases of those dense layers that flatten an input of
            more than two axes themselves.
    """

    path: Path
    inputs: tuple[TfliteTensor, ...]
    outputs: tuple[TfliteTensor, ...]
    metadata: TfliteMetadata | None
    files: Mapping[str, bytes]
    quantized: bool
    flattening_biases: Mapping[str, NDArray[np.float32]]


def read_tflite(path: Path) -> TfliteModel:
    """Reads the description. Runs nothing and needs no TensorFlow.

    Raises BundleError: no TensorFlow Lite file, or one that is cut off or damaged.
    """
    data = path.read_bytes()
    if not is_tflite(data):
        raise BundleError(
            f"{path.name}: not a TensorFlow Lite model: bytes 4 to 8 are {data[4:8]!r} instead of {TFLITE_MARK!r}"
        )
    try:
        return _model(path, root(data), data)
    except DamagedError as error:
        raise BundleError(f"{path.name}: cut off or damaged: {error}; fetch the file again") from error


def tflite_json(path: Path) -> str:
    """The model's metadata as JSON text in its schema. BundleError: it has none, or as for `read_tflite`."""
    metadata = read_tflite(path).metadata
    if metadata is None:
        raise BundleError(f"{path.name}: it has no metadata")
    return dump_view(metadata.view)


def _model(path: Path, model: Table, data: bytes) -> TfliteModel:
    graphs, buffers = model.tables(2), model.tables(4)
    if not graphs:
        raise DamagedError("the model has no graph")
    # Each buffer is looked at, so that a file cut off in its weights is found before anything runs it.
    sizes = [len(buffer.raw(0)) for buffer in buffers]
    graph = graphs[0]
    tensors = graph.tables(0)

    def pick(indices: tuple[int, ...]) -> tuple[TfliteTensor, ...]:
        return tuple(_tensor(_at(tensors, index, "tensor")) for index in indices)

    quantized = any(
        tensor.integer(1, "b") in (3, 9) and sizes[tensor.integer(2, "I")] > 0
        for tensor in tensors
        if tensor.integer(2, "I") < len(sizes)
    )
    metadata = _metadata(model, buffers)
    return TfliteModel(
        path=path,
        inputs=pick(graph.integers(1)),
        outputs=pick(graph.integers(2)),
        metadata=metadata,
        files=_packed_files(path, data, metadata),
        quantized=quantized,
        flattening_biases=_flattening_biases(model, graph, tensors, buffers),
    )


def _at(items: tuple[Table, ...], index: int, what: str) -> Table:
    if not 0 <= index < len(items):
        raise DamagedError(f"{what} {index} is asked for, there are {len(items)}")
    return items[index]


def _tensor(table: Table) -> TfliteTensor:
    kind = table.integer(1, "b")
    quantization = table.table(4)
    scales = quantization.numbers(2) if quantization else ()
    zero_points = quantization.integers(3, "q") if quantization else ()
    return TfliteTensor(
        name=table.text(3),
        dtype=DTYPES.get(kind, f"type {kind}"),
        shape=table.integers(0),
        scale=scales[0] if len(scales) == 1 else 0.0,
        zero_point=zero_points[0] if len(scales) == 1 and len(zero_points) == 1 else 0,
    )


def _metadata(model: Table, buffers: tuple[Table, ...]) -> TfliteMetadata | None:
    entry = next((each for each in model.tables(6) if each.text(0) == METADATA_NAME), None)
    if entry is None:
        return None
    view = read_view(_at(buffers, entry.integer(1, "I"), "buffer").raw(0))
    rate, channels = _audio(view)
    return TfliteMetadata(
        name=view.name,
        description=view.description,
        version=view.version,
        author=view.author,
        license=view.license,
        sample_rate_hz=rate,
        channels=channels,
        outputs=tuple(_output_note(each) for each in view.outputs),
        view=view,
    )


def _audio(view: ModelMetadata) -> tuple[int | None, int]:
    for tensor in view.inputs:
        if tensor.content is not None and tensor.content.content_properties_type == AUDIO_PROPERTIES:
            properties = tensor.content.content_properties
            return properties.get("sample_rate", 0), properties.get("channels", 0)
    return None, 1


def _output_note(tensor: TensorMetadata) -> OutputNote:
    calibration, threshold = tensor.unit(CALIBRATION_UNIT), tensor.unit(THRESHOLD_UNIT)
    return OutputNote(
        name=tensor.name,
        files=tuple(
            AssociatedFile(name=each.name, kind=FILE_KINDS.get(each.type, "other"), locale=each.locale)
            for each in tensor.associated_files
        ),
        transformation=calibration.options.get("score_transformation", "IDENTITY") if calibration else None,
        default_score=calibration.options.get("default_score", 0.0) if calibration else 0.0,
        score_threshold=threshold.options.get("global_score_threshold", 0.0) if threshold else None,
    )


def _packed_files(path: Path, data: bytes, metadata: TfliteMetadata | None) -> dict[str, bytes]:
    wanted = [file.name for note in metadata.outputs for file in note.files] if metadata else []
    if not wanted:
        return {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {name: archive.read(name) for name in wanted}
    except (zipfile.BadZipFile, KeyError, OSError, NotImplementedError) as error:
        raise BundleError(
            f"{path.name}: its metadata names the files {', '.join(wanted)}, which should be packed at its end: "
            f"{error}; the file is cut off or was packed without them"
        ) from error


def _flattening_biases(
    model: Table, graph: Table, tensors: tuple[Table, ...], buffers: tuple[Table, ...]
) -> dict[str, NDArray[np.float32]]:
    codes = [max(code.integer(0, "b"), code.integer(3)) for code in model.tables(1)]
    biases: dict[str, NDArray[np.float32]] = {}
    for operator in graph.tables(3):
        index, inputs, outputs = operator.integer(0, "I"), operator.integers(1), operator.integers(2)
        options = operator.table(4)
        keeps_axes = options is not None and options.integer(2, "B") != 0
        if index >= len(codes) or codes[index] != FULLY_CONNECTED or len(inputs) < 3 or inputs[2] < 0 or keeps_axes:
            continue
        source = _at(tensors, inputs[0], "tensor")
        if len(source.integers(0)) == 2:
            continue
        bias = _at(tensors, inputs[2], "tensor")
        raw = _at(buffers, bias.integer(2, "I"), "buffer").raw(0)
        form = STORED.get(bias.integer(1, "b"), "")
        if not form or len(raw) % np.dtype(form).itemsize:
            raise DamagedError(f"the bias {bias.text(3)!r} is stored in an unknown way")
        values = np.frombuffer(raw, np.dtype(form)).astype(np.float64)
        quantization = bias.table(4)
        scales = np.array(quantization.numbers(2) if quantization else (), np.float64)
        if scales.size not in (0, 1, values.size):
            raise DamagedError(f"the bias {bias.text(3)!r} has {values.size} values and {scales.size} scales")
        if scales.size:
            values = values * scales
        biases[_at(tensors, outputs[0], "tensor").text(3)] = values.astype(np.float32)
    return biases
