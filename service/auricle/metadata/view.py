"""The JSON view: a model's metadata in the schema of TensorFlow Lite, field for field and in its order."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

__all__ = [
    "AUDIO_PROPERTIES",
    "CALIBRATION_FILE",
    "CALIBRATION_UNIT",
    "FEATURE_PROPERTIES",
    "LABEL_FILE",
    "THRESHOLD_UNIT",
    "UNKNOWN_FILE",
    "AssociatedFile",
    "Content",
    "ModelMetadata",
    "ProcessUnit",
    "Stats",
    "SubgraphMetadata",
    "TensorMetadata",
    "dump_view",
    "pack_view",
    "parse_view",
]

# Names of unions and enumerations as the schema has them.
AUDIO_PROPERTIES = "AudioProperties"
FEATURE_PROPERTIES = "FeatureProperties"
LABEL_FILE = "TENSOR_AXIS_LABELS"
CALIBRATION_FILE = "TENSOR_AXIS_SCORE_CALIBRATION"
CALIBRATION_UNIT = "ScoreCalibrationOptions"
THRESHOLD_UNIT = "ScoreThresholdingOptions"
UNKNOWN_FILE = "UNKNOWN"


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A table of the schema: as in a flatbuffer, a field that has its default is left out."""


class AssociatedFile(_Table, frozen=True):
    """A file beside the model, by its base name."""

    name: str = ""
    description: str = ""
    type: str = UNKNOWN_FILE
    locale: str = ""
    version: str = ""


class Content(_Table, frozen=True):
    """What a tensor holds."""

    content_properties_type: str
    content_properties: dict[str, Any]
    range: dict[str, Any] | None = None


class ProcessUnit(_Table, frozen=True):
    """A step before or after the model."""

    options_type: str
    options: dict[str, Any]


class Stats(_Table, frozen=True):
    """The range of a tensor's values."""

    max: tuple[float, ...] = ()
    min: tuple[float, ...] = ()


class TensorMetadata(_Table, frozen=True):
    """One input or output."""

    name: str = ""
    description: str = ""
    dimension_names: tuple[str, ...] = ()
    content: Content | None = None
    process_units: tuple[ProcessUnit, ...] = ()
    stats: Stats | None = None
    associated_files: tuple[AssociatedFile, ...] = ()

    def unit(self, options_type: str) -> ProcessUnit | None:
        """The first step of that type."""
        return next((unit for unit in self.process_units if unit.options_type == options_type), None)

    def files(self, file_type: str) -> list[AssociatedFile]:
        """The files of that type."""
        return [file for file in self.associated_files if file.type == file_type]


class SubgraphMetadata(_Table, frozen=True):
    """The inputs and outputs of a graph, in the graph's order."""

    name: str = ""
    description: str = ""
    input_tensor_metadata: tuple[TensorMetadata, ...] = ()
    output_tensor_metadata: tuple[TensorMetadata, ...] = ()
    associated_files: tuple[AssociatedFile, ...] = ()
    input_process_units: tuple[ProcessUnit, ...] = ()
    output_process_units: tuple[ProcessUnit, ...] = ()
    input_tensor_groups: tuple[dict[str, Any], ...] = ()
    output_tensor_groups: tuple[dict[str, Any], ...] = ()
    custom_metadata: tuple[dict[str, Any], ...] = ()


class ModelMetadata(_Table, frozen=True):
    """The whole view."""

    name: str = ""
    description: str = ""
    version: str = ""
    subgraph_metadata: tuple[SubgraphMetadata, ...] = ()
    author: str = ""
    license: str = ""
    associated_files: tuple[AssociatedFile, ...] = ()
    min_parser_version: str = ""

    @property
    def inputs(self) -> tuple[TensorMetadata, ...]:
        """Of the first graph."""
        return self.subgraph_metadata[0].input_tensor_metadata if self.subgraph_metadata else ()

    @property
    def outputs(self) -> tuple[TensorMetadata, ...]:
        """Of the first graph."""
        return self.subgraph_metadata[0].output_tensor_metadata if self.subgraph_metadata else ()


def parse_view(source: str | bytes | bytearray | Mapping[str, Any]) -> ModelMetadata:
    """A view from its JSON, or from the dict that it is. ValueError that names the field at fault."""
    try:
        if isinstance(source, Mapping):
            return msgspec.convert(dict(source), ModelMetadata)
        return msgspec.json.decode(source, type=ModelMetadata)
    except msgspec.MsgspecError as error:
        raise ValueError(f"the metadata does not follow the TensorFlow Lite metadata schema: {error}") from error


def dump_view(view: ModelMetadata) -> str:
    """The view as JSON text in the layout of the flatbuffers library, so that files can be compared as text."""
    return _text(msgspec.to_builtins(view), "") + "\n"


def pack_view(view: ModelMetadata) -> str:
    """The view as the one line of JSON that is kept in a file."""
    return json.dumps(json.loads(dump_view(view)), ensure_ascii=False)


def _text(value: Any, indent: str) -> str:
    inner = indent + "  "
    if isinstance(value, dict):
        items = [f"{inner}{json.dumps(key)}: {_text(each, inner)}" for key, each in value.items()]
        return _block("{", items, "}", indent)
    if isinstance(value, list | tuple):
        return _block("[", [inner + _text(each, inner) for each in value], "]", indent)
    if isinstance(value, float):
        # The schema's numbers are single precision; this is the shortest text that reads back the same.
        return str(np.float32(value))
    return json.dumps(value, ensure_ascii=False)


def _block(opening: str, items: list[str], closing: str, indent: str) -> str:
    lines = [opening]
    if items:
        lines.append(",\n".join(items))
    return "\n".join([*lines, indent + closing])
