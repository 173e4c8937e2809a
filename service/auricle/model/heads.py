"""What one output of a model becomes: dequantise, activate, calibrate, pool."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from auricle.model.calibration import Calibration, CalibrationSpec
from auricle.model.labels import LabelList

__all__ = ["Activation", "Dequantize", "Head", "HeadKind", "HeadSpec", "MaxPool", "MeanPool", "Pool", "Pooling"]

HeadKind = Literal["embedding", "classification"]
Activation = Literal["none", "sigmoid", "softmax"]
Pooling = Literal["none", "mean", "max"]
Floats = NDArray[np.float32]


class Dequantize(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Affine quantisation of an integer output: value = scale (q - zero_point)."""

    scale: Annotated[float, msgspec.Meta(gt=0)]
    zero_point: int = 0


class HeadSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One head as the bundle's JSON holds it; see docs/bundle.md."""

    name: Annotated[str, msgspec.Meta(min_length=1)]
    tensor: str
    kind: HeadKind
    activation: Activation = "none"
    pool: Pooling = "mean"
    l2_normalize: bool = False
    labels: tuple[LabelList, ...] = ()
    score_threshold: float | None = None
    calibration: CalibrationSpec | None = None
    dequantize: Dequantize | None = None

    @property
    def category_names(self) -> tuple[str, ...]:
        """Names by class index from the first label list; empty without labels."""
        return self.labels[0].names if self.labels else ()


class Head:
    """A head of a loaded model: its spec, its place in the bundle and the length of its vector."""

    def __init__(self, spec: HeadSpec, *, index: int, dimension: int) -> None:
        self.spec = spec
        self.index = index
        self.dimension = dimension
        self._calibration = Calibration(spec.calibration) if spec.calibration else None
        self._as_given = spec.dequantize is None and spec.activation == "none" and spec.calibration is None

    def values(self, raw: NDArray[np.generic]) -> Floats:
        """One segment's output of any shape with ``dimension`` elements -> f32 (dimension,), before pooling."""
        flat = raw.reshape(-1)
        if self._as_given:
            return flat.astype(np.float32, copy=False)
        quantised = self.spec.dequantize
        if quantised is not None:
            flat = np.float32(quantised.scale) * (flat.astype(np.int32) - quantised.zero_point)
        values: Floats = flat.astype(np.float32, copy=False)
        if self.spec.activation == "sigmoid":
            small = np.exp(-np.abs(values))
            values = np.where(values >= 0, np.float32(1), small) / (1 + small)
        elif self.spec.activation == "softmax":
            powers = np.exp(values - values.max())
            values = powers / powers.sum()
        if self._calibration is not None:
            values = self._calibration.apply(values)
        return values


class Pool(Protocol):
    """A running summary of segments' vectors, taken in segment order."""

    def add(self, values: Floats) -> None:
        """Takes the next segment's f32 (n,)."""

    def value(self) -> Floats:
        """The summary so far, f32 (n,)."""


class MeanPool(Pool):
    """Arithmetic mean, summed in order in double precision; a vector alone is its own."""

    def __init__(self) -> None:
        self._sum: NDArray[np.floating[Any]] | None = None
        self._count = 0

    def add(self, values: Floats) -> None:
        self._sum = values if self._sum is None else np.add(self._sum, values, dtype=np.float64)
        self._count += 1

    def value(self) -> Floats:
        assert self._sum is not None, "nothing was added"
        mean = self._sum if self._count == 1 else self._sum / self._count
        return mean.astype(np.float32, copy=False)


class MaxPool(Pool):
    """Maximum of each element."""

    def __init__(self) -> None:
        self._best: Floats | None = None

    def add(self, values: Floats) -> None:
        self._best = values if self._best is None else np.maximum(self._best, values)

    def value(self) -> Floats:
        assert self._best is not None, "nothing was added"
        return self._best
