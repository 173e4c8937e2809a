"""A TensorFlow Lite file as the writers see it: the view put in as a flatbuffer, the files packed at the end."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np

from auricle.metadata.schema import ENUMS, MARK, TABLES, UNIONS, numbers
from auricle.metadata.view import ModelMetadata
from auricle.model.formats import TFLITE_MARK

__all__ = ["MIN_PARSER_VERSION", "metadata_buffer", "with_metadata"]

METADATA_NAME = "TFLITE_METADATA"
# Of the schema that first had AudioProperties.
MIN_PARSER_VERSION = "1.3.0"
# Vectors of numbers.
NUMBERS = {"[float]": np.float32, "[uint]": np.uint32}
# What a runtime may ask of weights that it maps into memory.
ALIGNMENT_BYTES = 16


def metadata_buffer(view: ModelMetadata) -> bytes:
    """The view as the flatbuffer that a TensorFlow Lite file holds, with the parser's version that it needs.

    Raises ValueError: a field of the schema that has no place here, or a value that it does not know.
    """
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    fields = {**msgspec.to_builtins(view), "min_parser_version": view.min_parser_version or MIN_PARSER_VERSION}
    builder.Finish(_table(builder, "ModelMetadata", fields), MARK)
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
    builder.Finish(parsed.Pack(builder), TFLITE_MARK)
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
    kinds, places, slots = TABLES[name], numbers(name), dict[int, Any]()
    for key, value in values.items():
        if kinds.get(key.removesuffix("_type")) in UNIONS and key.endswith("_type"):
            continue
        if key not in kinds:
            raise ValueError(f"{name}.{key} cannot be written into a TensorFlow Lite file")
        kind, place = kinds[key], places[key]
        if kind in UNIONS:
            member = values[f"{key}_type"]
            slots[place] = (builder.PrependUint8, _index(UNIONS[kind], member, f"{key}_type") + 1)
            slots[place + 1] = _table(builder, member, value)
        else:
            slots[place] = _value(builder, kind, value)
    return _object(builder, slots)


def _index(names: tuple[str, ...], name: str, what: str) -> int:
    if name not in names:
        raise ValueError(f"{what} is {name!r}, not one of {', '.join(names)}")
    return names.index(name)


def _value(builder: Any, kind: str, value: Any) -> Any:
    """An offset, or for a scalar the pair that ``_object`` takes."""
    scalars: dict[str, Callable[[Any], None]] = {
        "uint": builder.PrependUint32,
        "int": builder.PrependInt32,
        "float": builder.PrependFloat32,
    }
    if kind in scalars:
        return scalars[kind], value
    if kind in ENUMS:
        return builder.PrependInt8, _index(ENUMS[kind], value, kind)
    if kind == "string":
        return builder.CreateString(value)
    if kind == "[ubyte]":
        return _bytes(builder, bytes(value))
    if kind in NUMBERS:
        return builder.CreateNumpyVector(np.array(value, NUMBERS[kind]))
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
