"""A TensorFlow Lite file as the writers see it: the view put in as a flatbuffer, the files packed at the end.

Field numbers are those of tensorflow_lite_support/metadata/metadata_schema.fbs, Apache-2.0.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec
import numpy as np

from auricle.metadata.view import ModelMetadata

__all__ = ["MIN_PARSER_VERSION", "metadata_buffer", "with_metadata"]

METADATA_NAME = "TFLITE_METADATA"
FILE_MARK, METADATA_MARK = b"TFL3", b"M001"
# Of the schema that first had AudioProperties.
MIN_PARSER_VERSION = "1.3.0"
# What a runtime may ask of weights that it maps into memory.
ALIGNMENT_BYTES = 16


class _Field(NamedTuple):
    """A field: its number, and what it holds: text, uint, float, floats, a name of ``_ENUMS``, a table or [table].

    A union's number is its type's; its table has the next one.
    """

    number: int
    kind: str


_ENUMS = {
    "AssociatedFileType": {"UNKNOWN": 0, "DESCRIPTIONS": 1, "TENSOR_AXIS_LABELS": 2, "TENSOR_VALUE_LABELS": 3}
    | {"TENSOR_AXIS_SCORE_CALIBRATION": 4, "VOCABULARY": 5},
    "ScoreTransformationType": {"IDENTITY": 0, "LOG": 1, "INVERSE_LOGISTIC": 2},
}
_UNIONS = {
    "content_properties": {"FeatureProperties": 1, "AudioProperties": 4},
    "options": {"NormalizationOptions": 1, "ScoreCalibrationOptions": 2, "ScoreThresholdingOptions": 3},
}
_TABLES = {
    "ModelMetadata": {
        "name": _Field(0, "text"),
        "description": _Field(1, "text"),
        "version": _Field(2, "text"),
        "subgraph_metadata": _Field(3, "[SubGraphMetadata]"),
        "author": _Field(4, "text"),
        "license": _Field(5, "text"),
        "associated_files": _Field(6, "[AssociatedFile]"),
        "min_parser_version": _Field(7, "text"),
    },
    "SubGraphMetadata": {
        "name": _Field(0, "text"),
        "description": _Field(1, "text"),
        "input_tensor_metadata": _Field(2, "[TensorMetadata]"),
        "output_tensor_metadata": _Field(3, "[TensorMetadata]"),
        "associated_files": _Field(4, "[AssociatedFile]"),
        "input_process_units": _Field(5, "[ProcessUnit]"),
        "output_process_units": _Field(6, "[ProcessUnit]"),
    },
    "TensorMetadata": {
        "name": _Field(0, "text"),
        "description": _Field(1, "text"),
        "dimension_names": _Field(2, "[text]"),
        "content": _Field(3, "Content"),
        "process_units": _Field(4, "[ProcessUnit]"),
        "stats": _Field(5, "Stats"),
        "associated_files": _Field(6, "[AssociatedFile]"),
    },
    "Content": {"content_properties": _Field(0, "union"), "range": _Field(2, "ValueRange")},
    "ValueRange": {"min": _Field(0, "int"), "max": _Field(1, "int")},
    "ProcessUnit": {"options": _Field(0, "union")},
    "Stats": {"max": _Field(0, "floats"), "min": _Field(1, "floats")},
    "AssociatedFile": {
        "name": _Field(0, "text"),
        "description": _Field(1, "text"),
        "type": _Field(2, "AssociatedFileType"),
        "locale": _Field(3, "text"),
        "version": _Field(4, "text"),
    },
    "FeatureProperties": {},
    "AudioProperties": {"sample_rate": _Field(0, "uint"), "channels": _Field(1, "uint")},
    "NormalizationOptions": {"mean": _Field(0, "floats"), "std": _Field(1, "floats")},
    "ScoreCalibrationOptions": {
        "score_transformation": _Field(0, "ScoreTransformationType"),
        "default_score": _Field(1, "float"),
    },
    "ScoreThresholdingOptions": {"global_score_threshold": _Field(0, "float")},
}


def metadata_buffer(view: ModelMetadata) -> bytes:
    """The view as the flatbuffer that a TensorFlow Lite file holds, with the parser's version that it needs.

    Raises ValueError: a field of the schema that has no place here, or a value that it does not know.
    """
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    fields = {**msgspec.to_builtins(view), "min_parser_version": view.min_parser_version or MIN_PARSER_VERSION}
    builder.Finish(_table(builder, "ModelMetadata", fields), METADATA_MARK)
    return bytes(builder.Output())


def with_metadata(model: bytes, view: ModelMetadata, files: Mapping[str, bytes]) -> bytes:
    """A .tflite file with the view in place of its metadata, and ``files``, by name, packed behind it.

    Needs TensorFlow, whose classes for the schema write the model again.
    """
    import flatbuffers
    from tensorflow.lite.python.schema_py_generated import BufferT, MetadataT
    from tensorflow.lite.tools.flatbuffer_utils import convert_bytearray_to_object

    # What was packed before lies behind the flatbuffer, which says nothing of it.
    parsed: Any = convert_bytearray_to_object(bytearray(model))
    entries = parsed.metadata or []
    entry = next((each for each in entries if bytes(each.name) == METADATA_NAME.encode()), None)
    if entry is None:
        entry = MetadataT()
        entry.name, entry.buffer = METADATA_NAME, len(parsed.buffers)
        parsed.metadata, parsed.buffers = [*entries, entry], [*parsed.buffers, BufferT()]
    parsed.buffers = [_Aligned(each.data) for each in parsed.buffers]
    parsed.buffers[entry.buffer] = _Aligned(metadata_buffer(view))
    builder = flatbuffers.Builder(len(model) + 4096)
    builder.Finish(parsed.Pack(builder), FILE_MARK)
    packed = io.BytesIO(bytes(builder.Output()))
    if files:
        with zipfile.ZipFile(packed, "a") as archive:
            for name, data in files.items():
                # A date of its own would make other bytes of the same model.
                archive.writestr(zipfile.ZipInfo(name), data)
    return packed.getvalue()


class _Aligned:
    """A buffer of the model. The generated ``BufferT`` leaves it anywhere, against the schema's ``force_align``."""

    def __init__(self, data: Any) -> None:
        self._data = b"" if data is None else bytes(bytearray(data))

    def Pack(self, builder: Any) -> int:  # noqa: N802 - the generated classes' name
        vector = _bytes(builder, self._data) if self._data else None
        return _object(builder, {0: vector} if vector is not None else {})


def _table(builder: Any, name: str, values: Mapping[str, Any]) -> int:
    known, slots = _TABLES.get(name), dict[int, Any]()
    for key, value in values.items():
        if key.endswith("_type") and key.removesuffix("_type") in _UNIONS:
            continue
        if known is None or key not in known:
            raise ValueError(f"{name}.{key} cannot be written into a TensorFlow Lite file")
        field = known[key]
        if field.kind == "union":
            kind = values[f"{key}_type"]
            if kind not in _UNIONS[key]:
                raise ValueError(f"{key}_type is {kind!r}, not one of {', '.join(_UNIONS[key])}")
            slots[field.number] = (builder.PrependUint8, _UNIONS[key][kind])
            slots[field.number + 1] = _table(builder, kind, value)
        else:
            slots[field.number] = _value(builder, field.kind, value)
    return _object(builder, slots)


def _value(builder: Any, kind: str, value: Any) -> Any:
    """An offset, or for a scalar the pair that ``_object`` takes."""
    scalars: dict[str, Callable[[Any], None]] = {
        "uint": builder.PrependUint32,
        "int": builder.PrependInt32,
        "float": builder.PrependFloat32,
    }
    if kind in scalars:
        return scalars[kind], value
    if kind in _ENUMS:
        if value not in _ENUMS[kind]:
            raise ValueError(f"{value!r} is none of {kind}: {', '.join(_ENUMS[kind])}")
        return builder.PrependInt8, _ENUMS[kind][value]
    if kind == "text":
        return builder.CreateString(value)
    if kind == "floats":
        return builder.CreateNumpyVector(np.array(value, np.float32))
    if kind.startswith("["):
        inner = kind.strip("[]")
        offsets = [_value(builder, inner, each) for each in value]
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return builder.EndVector()
    return _table(builder, kind, value)


def _object(builder: Any, slots: Mapping[int, Any]) -> int:
    """A table of slots: an offset, or (what puts the scalar, the scalar)."""
    builder.StartObject(max(slots, default=-1) + 1)
    for number, value in slots.items():
        if isinstance(value, tuple):
            value[0](value[1])
        else:
            builder.PrependUOffsetTRelative(value)
        builder.Slot(number)
    return int(builder.EndObject())


def _bytes(builder: Any, data: bytes) -> int:
    builder.StartVector(1, len(data), ALIGNMENT_BYTES)
    # One move in place of a call for each byte.
    builder.head -= len(data)
    builder.Bytes[builder.head : builder.head + len(data)] = data
    return int(builder.EndVector())
