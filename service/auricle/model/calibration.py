"""Score calibration: a logistic curve per class, as TensorFlow Lite's score calibration defines it."""

from __future__ import annotations

import csv
import io
import math
from typing import Annotated, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from auricle.errors import BundleError

__all__ = ["Calibration", "CalibrationSpec", "Transformation", "parse_calibration_csv"]

Transformation = Literal["IDENTITY", "LOG", "INVERSE_LOGISTIC"]

# Below this the logarithm goes on as a mirrored curve instead of falling to minus infinity.
LOG_FLOOR = 1e-16

Row = tuple[Annotated[float, msgspec.Meta(ge=0)], float, float, float | None]


class CalibrationSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Calibration as the bundle's JSON holds it.

    ``parameters`` has one entry a class: ``[scale, slope, offset, min_score or null]``, or null for
    a class that always gets ``default_score``.
    """

    parameters: tuple[Row | None, ...]
    transformation: Transformation = "IDENTITY"
    default_score: float = 0.0


def _clamped_log(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """ln x, continued below 1e-16 as 2 ln(1e-16) - ln(2e-16 - x)."""
    low = x < LOG_FLOOR
    safe = np.where(low, 2 * LOG_FLOOR - x, x)
    logs = np.log(safe)
    return np.where(low, 2 * math.log(LOG_FLOOR) - logs, logs)


class Calibration:
    """Applies a CalibrationSpec to scores f32 (classes,)."""

    def __init__(self, spec: CalibrationSpec) -> None:
        rows = [row if row is not None else (0.0, 0.0, 0.0, None) for row in spec.parameters]
        table = np.array([row[:3] for row in rows], np.float64).reshape(-1, 3)
        self._scale, self._slope, self._offset = table.T
        self._floor = np.array([-np.inf if row[3] is None else row[3] for row in rows], np.float64)
        self._known = np.array([row is not None for row in spec.parameters], bool)
        self._transformation = spec.transformation
        self._default = spec.default_score

    def apply(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """scale / (1 + e^-(slope g(x) + offset)) where a class has parameters and x >= min_score, else the default."""
        x = scores.astype(np.float64)
        z = self._slope * self._transform(x) + self._offset
        # Two forms of one function, so that the exponential never overflows.
        small = np.exp(-np.abs(z))
        logistic = np.where(z >= 0, 1.0, small) / (1.0 + small)
        calibrated = np.where(self._known & (x >= self._floor), self._scale * logistic, self._default)
        return calibrated.astype(np.float32)

    def _transform(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        if self._transformation == "LOG":
            return _clamped_log(x)
        if self._transformation == "INVERSE_LOGISTIC":
            return _clamped_log(x) - _clamped_log(1.0 - x)
        return x


def parse_calibration_csv(text: str, *, source: str = "calibration") -> tuple[Row | None, ...]:
    """Reads one line a class: ``scale,slope,offset[,min_score]``, or an empty line for the default score.

    Raises BundleError with the line's number: not 3 or 4 fields, a field that is no number, a negative scale.
    """
    rows: list[Row | None] = []
    lines = text.removesuffix("\n").split("\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            rows.append(None)
            continue
        fields = next(csv.reader(io.StringIO(line)))
        if len(fields) not in (3, 4):
            raise BundleError(
                f"{source}, line {number}: expected scale,slope,offset[,min_score], got {len(fields)} fields: {line!r}"
            )
        try:
            values = [float(value) for value in fields]
        except ValueError as error:
            raise BundleError(f"{source}, line {number}: {error}; write plain numbers") from error
        if not all(map(math.isfinite, values)):
            raise BundleError(f"{source}, line {number}: every field must be finite, but the line is {line!r}")
        if values[0] < 0:
            raise BundleError(f"{source}, line {number}: scale must be 0 or more, but is {fields[0].strip()}")
        rows.append((values[0], values[1], values[2], values[3] if len(values) == 4 else None))
    return tuple(rows)
