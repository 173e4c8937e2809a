"""What a user says of the files and steps that belong to an output: labels, score calibration, threshold."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

from auricle.metadata.files import read_calibration, read_labels
from auricle.metadata.view import (
    CALIBRATION_FILE,
    CALIBRATION_UNIT,
    LABEL_FILE,
    THRESHOLD_UNIT,
    UNKNOWN_FILE,
    AssociatedFile,
    ProcessUnit,
)

__all__ = [
    "AssociatedFileMd",
    "FileMd",
    "LabelFileMd",
    "ScoreCalibrationMd",
    "ScoreThresholdingMd",
    "ScoreTransformationType",
]

FilePath = str | PathLike[str]

LABELS_DESCRIPTION = "Labels for categories that the model can recognize."
CALIBRATION_DESCRIPTION = (
    "Contains sigmoid-based score calibration parameters. The main purposes of score calibration is to make scores "
    "across classes comparable, so that a common threshold can be used for all output classes."
)


class ScoreTransformationType(IntEnum):
    """What is done to a score before its logistic curve; numbers as in the schema."""

    IDENTITY = 0
    LOG = 1
    INVERSE_LOGISTIC = 2


class FileMd(Protocol):
    """A file that belongs to a tensor: where it is, and its entry in the view."""

    @property
    def file_path(self) -> FilePath: ...

    def associated_file(self) -> AssociatedFile: ...


@dataclass(frozen=True)
class AssociatedFileMd:
    """Any file; the types that matter to a bundle are labels and score calibrations."""

    file_path: FilePath
    description: str | None = None
    file_type: str = UNKNOWN_FILE
    locale: str | None = None

    def associated_file(self) -> AssociatedFile:
        """Its entry in the view, by its base name."""
        return AssociatedFile(
            name=Path(self.file_path).name,
            description=self.description or "",
            type=self.file_type,
            locale=self.locale or "",
        )


@dataclass(frozen=True)
class LabelFileMd:
    """A file of labels, one a line, by class index. ValueError: it is empty; OSError: it is not there."""

    file_path: FilePath
    locale: str | None = None

    def __post_init__(self) -> None:
        read_labels(self.file_path)

    def associated_file(self) -> AssociatedFile:
        """Its entry in the view."""
        return AssociatedFileMd(self.file_path, LABELS_DESCRIPTION, LABEL_FILE, self.locale).associated_file()


@dataclass(frozen=True)
class ScoreCalibrationMd:
    """A logistic curve a class, from a CSV file: ``scale,slope,offset[,min_score]`` a line, in the order of the labels.

    Args:
        score_transformation_type: a `ScoreTransformationType`, its number or its name.
        default_score: what a class without a line, or below its ``min_score``, gets.
        file_path: the CSV file.

    Raises ValueError for an unknown type or a bad line, with its number; OSError where the file is not there.
    """

    score_transformation_type: ScoreTransformationType | int | str
    default_score: float
    file_path: FilePath

    def __post_init__(self) -> None:
        _ = self.transformation
        read_calibration(self.file_path)

    @property
    def transformation(self) -> ScoreTransformationType:
        """The type as an enumeration."""
        given = self.score_transformation_type
        try:
            return ScoreTransformationType[given] if isinstance(given, str) else ScoreTransformationType(given)
        except (KeyError, ValueError):
            known = ", ".join(each.name for each in ScoreTransformationType)
            raise ValueError(f"score_transformation_type should be one of {known}, but got {given!r}.") from None

    def associated_file(self) -> AssociatedFile:
        """Its entry in the view."""
        return AssociatedFileMd(self.file_path, CALIBRATION_DESCRIPTION, CALIBRATION_FILE).associated_file()

    def process_unit(self) -> ProcessUnit:
        """The step that it is."""
        options: dict[str, Any] = {}
        if self.transformation is not ScoreTransformationType.IDENTITY:
            options["score_transformation"] = self.transformation.name
        if self.default_score:
            options["default_score"] = float(self.default_score)
        return ProcessUnit(options_type=CALIBRATION_UNIT, options=options)


@dataclass(frozen=True)
class ScoreThresholdingMd:
    """Scores below this are left out where a request does not say."""

    global_score_threshold: float

    def process_unit(self) -> ProcessUnit:
        """The step that it is."""
        return ProcessUnit(
            options_type=THRESHOLD_UNIT, options={"global_score_threshold": float(self.global_score_threshold)}
        )
