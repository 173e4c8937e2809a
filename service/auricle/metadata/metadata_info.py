"""What a user says of a model: its name, its input, its outputs and the files that belong to them.

Positions and names of arguments are those of TensorFlow Lite's metadata writers, so that code can move here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from auricle.metadata.associated_md import (
    AssociatedFileMd,
    FileMd,
    LabelFileMd,
    ScoreCalibrationMd,
    ScoreThresholdingMd,
    ScoreTransformationType,
)
from auricle.metadata.view import (
    AUDIO_PROPERTIES,
    FEATURE_PROPERTIES,
    Content,
    Stats,
    TensorMetadata,
)

__all__ = [
    "AssociatedFileMd",
    "ClassificationTensorMd",
    "EmbeddingTensorMd",
    "FileMd",
    "GeneralMd",
    "InputAudioTensorMd",
    "LabelFileMd",
    "OutputMd",
    "ScoreCalibrationMd",
    "ScoreThresholdingMd",
    "ScoreTransformationType",
    "TensorMd",
    "TensorType",
]


class TensorType(StrEnum):
    """Element types of an output, which give its range of values."""

    FLOAT32 = "float32"
    UINT8 = "uint8"
    INT8 = "int8"


_RANGES = {TensorType.FLOAT32: (0.0, 1.0), TensorType.UINT8: (0.0, 255.0), TensorType.INT8: (-128.0, 127.0)}


@dataclass(frozen=True)
class GeneralMd:
    """The model as a whole."""

    name: str | None = None
    version: str | None = None
    description: str | None = None
    author: str | None = None
    licenses: str | None = None


class OutputMd(Protocol):
    """An output of the model: its entry in the view and the files that this names."""

    @property
    def tensor_name(self) -> str | None: ...

    @property
    def head_kind(self) -> str | None:
        """``embedding``, ``classification``, or None where nothing tells."""

    def create_metadata(self) -> TensorMetadata: ...

    def file_mds(self) -> list[FileMd]: ...


@dataclass(frozen=True)
class InputAudioTensorMd:
    """The input: the sound's rate in Hz and its channels."""

    name: str | None = None
    description: str | None = None
    sample_rate: int | None = None
    channels: int | None = None

    def create_metadata(self) -> TensorMetadata:
        """Its entry in the view."""
        given = {"sample_rate": self.sample_rate, "channels": self.channels}
        properties = {key: value for key, value in given.items() if value}
        return TensorMetadata(
            name=self.name or "",
            description=self.description or "",
            content=Content(content_properties_type=AUDIO_PROPERTIES, content_properties=properties),
            stats=Stats(),
        )


@dataclass(frozen=True)
class TensorMd:
    """An output of which no more is known."""

    name: str | None = None
    description: str | None = None
    min_values: Sequence[float] | None = None
    max_values: Sequence[float] | None = None
    content_type: str = FEATURE_PROPERTIES
    associated_files: Sequence[FileMd] | None = None
    tensor_name: str | None = None

    @property
    def head_kind(self) -> str | None:
        return None

    def file_mds(self) -> list[FileMd]:
        """The files that its entry names."""
        return list(self.associated_files or ())

    def create_metadata(self) -> TensorMetadata:
        """Its entry in the view."""
        return TensorMetadata(
            name=self.name or "",
            description=self.description or "",
            content=Content(content_properties_type=self.content_type, content_properties={}),
            stats=Stats(max=_floats(self.max_values), min=_floats(self.min_values)),
            associated_files=tuple(file.associated_file() for file in self.file_mds()),
        )


@dataclass(frozen=True)
class EmbeddingTensorMd:
    """An output that is a vector."""

    name: str | None = None
    description: str | None = None
    tensor_name: str | None = None

    @property
    def head_kind(self) -> str | None:
        return "embedding"

    def file_mds(self) -> list[FileMd]:
        """None."""
        return []

    def create_metadata(self) -> TensorMetadata:
        """Its entry in the view."""
        return TensorMd(self.name, self.description).create_metadata()


@dataclass(frozen=True)
class ClassificationTensorMd:
    """An output of scores, one a label.

    Args:
        label_files: the first gives category names, those with a locale display names.
        tensor_type: gives the range of the values; None leaves it out.
        tensor_name: the output's name in the graph, for a model with several.
    """

    name: str | None = None
    description: str | None = None
    label_files: Sequence[LabelFileMd] | None = None
    tensor_type: TensorType | str | None = None
    score_calibration_md: ScoreCalibrationMd | None = None
    tensor_name: str | None = None
    score_thresholding_md: ScoreThresholdingMd | None = None

    @property
    def head_kind(self) -> str | None:
        return "classification"

    def file_mds(self) -> list[FileMd]:
        """The files that its entry names."""
        files: list[FileMd] = list(self.label_files or ())
        return files if self.score_calibration_md is None else [*files, self.score_calibration_md]

    def create_metadata(self) -> TensorMetadata:
        """Its entry in the view."""
        steps = [step for step in (self.score_calibration_md, self.score_thresholding_md) if step is not None]
        return TensorMetadata(
            name=self.name or "",
            description=self.description or "",
            content=Content(content_properties_type=FEATURE_PROPERTIES, content_properties={}),
            process_units=tuple(step.process_unit() for step in steps),
            stats=self._stats(),
            associated_files=tuple(file.associated_file() for file in self.file_mds()),
        )

    def _stats(self) -> Stats:
        if self.tensor_type is None:
            return Stats()
        try:
            low, high = _RANGES[TensorType(self.tensor_type)]
        except ValueError:
            known = ", ".join(TensorType)
            raise ValueError(f"tensor_type should be one of {known}, but got {self.tensor_type!r}.") from None
        return Stats(max=(high,), min=(low,))


def _floats(values: Sequence[float] | None) -> tuple[float, ...]:
    return tuple(float(value) for value in values or ())
