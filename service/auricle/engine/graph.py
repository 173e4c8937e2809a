"""A bundle joined to its graph: checked against each other, and tried, before anyone may ask it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from auricle import frontend
from auricle.config import SessionSettings
from auricle.engine.session import Session
from auricle.errors import BundleError
from auricle.model.bundle import METADATA_KEY, TensorInfo, parse_bundle
from auricle.model.heads import Head, HeadSpec
from auricle.model.place import read_description

__all__ = ["Graph"]

# Batch sizes that the trial compares; rows that agree at these agree at every size seen so far.
TRIAL_SIZES = (1, 2, 3, 4, 5, 8)
# A model that needs more company than this to give steady answers runs alone instead.
MOST_PADDED_ROWS = 4
INPUT_DTYPES = ("float32", "float16")
# A model with a least length takes that and any more.
LONGER = (1, 2, 3)


class Graph:
    """A model that can run: its bundle, its feature spec, its heads and its session.

    Attributes:
        bundle, features, layout: the metadata, as parsed; its name and version are those of ``rename``.
        heads: in the bundle's order, with the lengths of their vectors.
        batches: whether segments may share a run.
        least_rows: rows that a run is padded to, so that a segment's answer does not depend on its company.
        least_length: frames or samples of the shortest segment that the model answers; 1 where their number is fixed.
        size_bytes: of the model file.

    Raises BundleError that names the file, the field and the mend.
    """

    def __init__(self, path: Path, settings: SessionSettings) -> None:
        where = path.name
        self._session = Session(path, settings)
        raw = _metadata(path, self._session)
        self.bundle, self.features, self.layout = parse_bundle(raw, where=where)
        self.size_bytes = self._session.size_bytes
        self.device = self._session.device
        self._dtype = self._check_input(where)
        self._as_given = self.layout.segment_axes in (("frames", "bands"), ("samples",))
        self._tensors = {tensor.name: tensor for tensor in self._session.outputs}
        for index, spec in enumerate(self.bundle.heads):
            self._check_output(spec, f"{where}: heads[{index}]")
        self.batches = self.layout.has_batch and self._input.shape[0] is None
        self.least_rows = 1
        sizes = self._try(where)
        self.least_length = self._find_least_length(where)
        self.heads = tuple(
            Head(spec, index=index, dimension=self._dimension(spec, sizes[spec.tensor], f"{where}: heads[{index}]"))
            for index, spec in enumerate(self.bundle.heads)
        )

    def rename(self, name: str, version: str) -> None:
        """Takes the name and the version that the model is served under, where the file's path gives others."""
        self.bundle = msgspec.structs.replace(self.bundle, name=name, version=version)

    def run(self, outputs: Sequence[str], segments: Sequence[NDArray[np.float32]]) -> dict[str, NDArray[Any]]:
        """Runs segments (rows, ...) of one shape; gives (n, ...) by output name."""
        if not self.batches:
            alone = [self._infer(outputs, self._arrange(segment)) for segment in segments]
            return {name: np.stack([answer[name].reshape(-1) for answer in alone]) for name in outputs}
        count = len(segments)
        rows = max(count, self.least_rows)
        batch = np.empty((rows, *self._arrange(segments[0]).shape), self._dtype)
        for row in range(rows):
            batch[row] = self._arrange(segments[min(row, count - 1)])
        answers = self._infer(outputs, batch)
        for name, array in answers.items():
            if array.shape[:1] != (rows,):
                raise ValueError(
                    f"tensor {name!r} gives {list(array.shape)} for {rows} segments; its first axis must be the batch"
                )
        return {name: array[:count].reshape(count, -1) for name, array in answers.items()}

    def feed(self, segment: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """One segment alone as the graph itself takes it, by the input's name: for tools that run the graph."""
        tensor = self._arrange(segment)
        if self.layout.has_batch:
            tensor = tensor[np.newaxis]
        return {self._input.name: np.ascontiguousarray(tensor, self._dtype)}

    def _infer(self, outputs: Sequence[str], tensor: NDArray[Any]) -> dict[str, NDArray[Any]]:
        if not self.batches and self.layout.has_batch:
            tensor = tensor[np.newaxis]
        arrays = self._session.run(outputs, {self._input.name: np.ascontiguousarray(tensor, self._dtype)})
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and an error like any such value
            return {
                name: array.astype(np.float32) if array.dtype == np.float64 else array for name, array in arrays.items()
            }

    def _arrange(self, segment: NDArray[np.float32]) -> NDArray[np.float32]:
        """A segment (frames, bands) or (samples,) in the axes that the model's input has."""
        if self._as_given:
            return segment
        axes = self.layout.segment_axes
        if [axis for axis in axes if axis != "1"] == ["bands", "frames"]:
            segment = segment.T
        for place, axis in enumerate(axes):
            if axis == "1":
                segment = np.expand_dims(segment, place)
        return segment

    def _check_input(self, where: str) -> str:
        names = [tensor.name for tensor in self._session.inputs]
        wanted = self.bundle.input.tensor
        if names != [wanted]:
            raise BundleError(
                f"{where}: input.tensor is {wanted!r}, but the graph takes {names}; a bundle has exactly one input"
            )
        self._input, axes = self._session.inputs[0], self.layout.axes
        tensor = self._input
        if len(tensor.shape) != len(axes):
            raise BundleError(
                f"{where}: input.layout {','.join(axes)!r} has {len(axes)} axes, but tensor {wanted!r} has "
                f"{len(tensor.shape)}: {_shape(tensor)}"
            )
        if tensor.dtype not in INPUT_DTYPES:
            raise BundleError(f"{where}: tensor {wanted!r} takes {tensor.dtype}; served are {', '.join(INPUT_DTYPES)}")
        expected = {
            "batch": (None, 1),
            "1": (None, 1),
            "bands": (None, self.features.bands if self.features else None),
            "frames": (None, self.bundle.segment.length),
            "samples": (None, self.bundle.segment.length),
        }
        for axis, size in zip(axes, tensor.shape, strict=True):
            if size not in expected[axis]:
                hint = "export it with a free one" if axis == "batch" else "make the metadata and the graph agree"
                raise BundleError(
                    f"{where}: axis {axis!r} of tensor {wanted!r} is fixed at {size}, but the bundle gives it "
                    f"{expected[axis][1] or 'a free length'}; {hint}"
                )
        return tensor.dtype

    def _check_output(self, spec: HeadSpec, at: str) -> None:
        if spec.tensor not in self._tensors:
            raise BundleError(f"{at}.tensor: the graph gives {list(self._tensors)}, not {spec.tensor!r}")
        tensor = self._tensors[spec.tensor]
        quantised = tensor.dtype in ("int8", "uint8")
        if quantised and spec.dequantize is None:
            raise BundleError(f"{at}: tensor {spec.tensor!r} is {tensor.dtype}; give dequantize: scale and zero_point")
        if not quantised and spec.dequantize is not None:
            raise BundleError(f"{at}: dequantize is for integers, tensor {spec.tensor!r} is {tensor.dtype}; drop it")
        if not quantised and tensor.dtype not in ("float32", "float16", "float64"):
            raise BundleError(f"{at}: tensor {spec.tensor!r} is {tensor.dtype}; a head is float, int8 or uint8")

    def _dimension(self, spec: HeadSpec, shape: tuple[int, ...], at: str) -> int:
        if sum(size != 1 for size in shape) > 1:
            raise BundleError(
                f"{at}: tensor {spec.tensor!r} gives {list(shape)} a segment; a head is one vector: N, or 1 x 1 x N"
            )
        dimension = int(np.prod(shape))
        for labels in spec.labels:
            if len(labels.names) != dimension:
                raise BundleError(f"{at}.labels: {len(labels.names)} names for an output of {dimension} classes")
        if spec.calibration and len(spec.calibration.parameters) != dimension:
            raise BundleError(
                f"{at}.calibration: {len(spec.calibration.parameters)} rows for an output of {dimension} classes"
            )
        return dimension

    def _try(self, where: str) -> dict[str, tuple[int, ...]]:
        """Runs noise alone and in company: warms the session up, learns shapes and finds what may be batched.

        A segment's answer must not depend, in any bit, on what runs beside it. Where a kernel for one row
        differs from the one for many, runs are padded to the fewest rows that agree; where none agree the
        model is served at batch 1.
        """
        outputs = tuple(dict.fromkeys(spec.tensor for spec in self.bundle.heads))
        try:
            segments = [self.noise(seed) for seed in range(max(TRIAL_SIZES))]
            first = self._arrange(segments[0])
            alone = self._infer(outputs, first[np.newaxis] if self.batches else first)
            runs = {size: self.run(outputs, segments[:size]) for size in TRIAL_SIZES if self.batches}
        except Exception as error:  # whatever the graph raises on its own declared shape
            raise BundleError(f"{where}: the graph fails on one segment of noise: {error}") from error
        if self.batches:
            self.least_rows = _least_rows(runs, outputs)
            self.batches = self.least_rows <= MOST_PADDED_ROWS
        shapes = {name: array.shape[1:] if runs else array.shape for name, array in alone.items()}
        return {name: tuple(int(size) for size in shape) for name, shape in shapes.items()}

    def _find_least_length(self, where: str) -> int:
        """Halves its way to the shortest noise that gives finite answers of the usual sizes, in a few short runs.

        A convolution without padding needs as many samples as it is wide, a deviation over time two. A model that does
        not take any longer clip too, as one that folds its input into rows, has no least length: calls will tell.
        """
        if self.bundle.segment.length is not None:
            return 1
        outputs = tuple(dict.fromkeys(spec.tensor for spec in self.bundle.heads))
        noise = self.noise(0)
        usual = self.run(outputs, [noise])
        if not all(np.isfinite(array).all() for array in usual.values()):  # nothing to go by
            return 1

        def answers(length: int) -> bool:
            try:
                found = self.run(outputs, [np.resize(noise, (length, *noise.shape[1:]))])
            except Exception:  # onnxruntime's exceptions share no narrower base
                return False
            return all(found[name].shape == usual[name].shape and np.isfinite(found[name]).all() for name in outputs)

        least = bisect_left(range(1, len(noise)), True, key=answers) + 1
        if not all(answers(least + more) for more in LONGER):
            least = 1
        stream_length = self.bundle.segment.stream_length
        if stream_length is not None and not answers(stream_length):
            needs = f", it needs {least} at least" if stream_length < least else ""
            raise BundleError(
                f"{where}: the graph fails on segment.stream_length, {stream_length} {self.bundle.segment.unit}{needs}"
                "; make it a length that the graph takes"
            )
        return least

    def shrink(self) -> None:
        """Gives back the memory that larger runs took, by a run of one segment; on a CPU alone."""
        outputs = [self.bundle.heads[0].tensor]
        self._session.run(outputs, self.feed(self.noise(0)), shrink=True)

    def noise(self, seed: int) -> NDArray[np.float32]:
        """A segment of noise as the model takes it in: (frames, bands) or (samples,)."""
        rate = self.bundle.audio.sample_rate_hz
        length = self.bundle.segment.length
        generator = np.random.default_rng(seed)
        if self.features is None:
            return generator.normal(0, 0.1, length or rate).astype(np.float32)
        length = length or max(1, self.features.frames(rate))
        samples = self.features.segment_samples(length) + self.features.frame_length + self.features.fft_size
        wave = generator.normal(0, 0.1, samples).astype(np.float32)
        frames = frontend.features(wave, self.features, normalize=False)[:length]
        return frontend.normalize(frames, self.features)


def _least_rows(runs: Mapping[int, Mapping[str, NDArray[Any]]], outputs: Sequence[str]) -> int:
    """The smallest trial size from which on every size gives the same rows, bit for bit."""
    least = largest = max(runs)
    for size in sorted(runs, reverse=True):
        if not all(np.array_equal(runs[size][name], runs[largest][name][:size], equal_nan=True) for name in outputs):
            break
        least = size
    return least


def _metadata(path: Path, session: Session) -> str | bytes:
    """The bundle's JSON: the sidecar where there is one, else from the ONNX file."""
    found, _ = read_description(path, session.metadata.get(METADATA_KEY))
    if found is None:
        raise BundleError(
            f"{path.name}: no metadata: neither {METADATA_KEY!r} in the ONNX file nor {path.stem}.json beside it; "
            "docs/bundle.md shows how to write either"
        )
    return found


def _shape(tensor: TensorInfo) -> str:
    return "x".join("?" if size is None else str(size) for size in tensor.shape)
