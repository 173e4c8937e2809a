"""Small .tflite files made by hand: one dense layer, any outputs, any metadata, files packed at the end."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest

FLOAT32, UINT8 = 0, 3
LABELS, CALIBRATION = 2, 4
RATE_HZ = 16000
MISSING = [name for name in ("tensorflow", "tf2onnx", "ai_edge_litert") if find_spec(name) is None]
needs_tensorflow = pytest.mark.skipif(bool(MISSING), reason=f"no {', '.join(MISSING)}: pip install -e '.[tflite]'")


@dataclass(frozen=True, kw_only=True)
class Output:
    """An output and what the metadata says of it; ``files`` are (name, type, locale)."""

    classes: int
    name: str = ""
    dtype: int = FLOAT32
    files: Sequence[tuple[str, int, str]] = ()
    calibration: tuple[int, float] | None = None  # transformation, default score
    threshold: float | None = None
    newer_step: bool = False  # a process unit of a type that no schema has yet


@dataclass(frozen=True, kw_only=True)
class File:
    """A model: waveform [1, samples] -> one dense layer an output, with a bias of its index."""

    outputs: Sequence[Output]
    samples: int = 64
    rank: int = 2
    sample_rate_hz: int | None = RATE_HZ
    channels: int = 1
    metadata: bool = True
    packed: Mapping[str, str] = field(default_factory=dict)

    def write(self, path: Path) -> Path:
        """Writes the file; the packed files follow the model as a ZIP archive."""
        archive = io.BytesIO()
        if self.packed:
            with zipfile.ZipFile(archive, "w") as target:
                for name, text in self.packed.items():
                    target.writestr(name, text)
        path.write_bytes(self._model() + archive.getvalue())
        return path

    def weights(self, index: int) -> np.ndarray:
        """f32 (classes, samples): what output ``index`` weighs the waveform with."""
        generator = np.random.default_rng(index)
        return generator.normal(0, 0.1, (self.outputs[index].classes, self.samples)).astype(np.float32)

    def biases(self, index: int) -> np.ndarray:
        """f32 (classes,)."""
        return np.linspace(-1, 1, self.outputs[index].classes, dtype=np.float32) + index

    def _model(self) -> bytes:
        b = flatbuffers.Builder(0)
        shape = [self.samples] if self.rank == 1 else [1] * (self.rank - 1) + [self.samples]
        buffers, tensors, operators, results = [b""], [], [], []

        def tensor(name: str, sizes: Sequence[int], data: bytes = b"", dtype: int = FLOAT32) -> int:
            buffers.append(data)
            tensors.append((name, list(sizes), dtype, len(buffers) - 1))
            return len(tensors) - 1

        source = tensor("waveform", shape)
        for index, output in enumerate(self.outputs):
            weights = self.weights(index)
            w = tensor(f"w{index}", weights.shape, weights.tobytes())
            bias = tensor(f"b{index}", [output.classes], self.biases(index).tobytes())
            results.append(tensor(f"dense_{index}", [1, output.classes], dtype=output.dtype))
            operators.append(([source, w, bias], [results[-1]]))
        if self.metadata:
            buffers.append(self._metadata())
        buffer_tables = _vector(b, [_table(b, {0: _bytes(b, data)} if data else {}) for data in buffers])
        tensor_tables = _vector(
            b,
            [
                _table(
                    b,
                    {0: _ints(b, sizes), 1: ("b", dtype), 2: ("I", buffer), 3: b.CreateString(name)}
                    | ({4: _quantization(b)} if dtype == UINT8 else {}),
                )
                for name, sizes, dtype, buffer in tensors
            ],
        )
        operator_tables = _vector(
            b,
            [
                _table(b, {1: _ints(b, takes), 2: _ints(b, gives), 3: ("B", 8), 4: _table(b, {0: ("b", 0)})})
                for takes, gives in operators
            ],
        )
        graph = _table(b, {0: tensor_tables, 1: _ints(b, [source]), 2: _ints(b, results), 3: operator_tables})
        codes = _vector(b, [_table(b, {0: ("b", 9), 2: ("i", 1), 3: ("i", 9)})])
        fields: dict[int, Any] = {0: ("I", 3), 1: codes, 2: _vector(b, [graph]), 4: buffer_tables}
        if self.metadata:
            entry = _table(b, {0: b.CreateString("TFLITE_METADATA"), 1: ("I", len(buffers) - 1)})
            fields[6] = _vector(b, [entry])
        b.Finish(_table(b, fields), b"TFL3")
        return bytes(b.Output())

    def _metadata(self) -> bytes:
        b = flatbuffers.Builder(0)
        inputs: dict[int, Any] = {0: b.CreateString("audio_clip")}
        if self.sample_rate_hz is not None:
            audio = _table(b, {0: ("I", self.sample_rate_hz), 1: ("I", self.channels)})
            inputs[3] = _table(b, {0: ("B", 4), 1: audio})
        graph = _table(
            b,
            {
                2: _vector(b, [_table(b, inputs)]),
                3: _vector(b, [self._note(b, output) for output in self.outputs]),
            },
        )
        names = {0: "Small", 1: "A test.", 2: "7", 4: "us", 5: "MIT"}
        fields: dict[int, Any] = {number: b.CreateString(text) for number, text in names.items()}
        b.Finish(_table(b, fields | {3: _vector(b, [graph])}), b"M001")
        return bytes(b.Output())

    @staticmethod
    def _note(b: flatbuffers.Builder, output: Output) -> int:
        units = []
        if output.calibration:
            options = _table(b, {0: ("b", output.calibration[0]), 1: ("f", output.calibration[1])})
            units.append(_table(b, {0: ("B", 2), 1: options}))
        if output.threshold is not None:
            units.append(_table(b, {0: ("B", 3), 1: _table(b, {0: ("f", output.threshold)})}))
        if output.newer_step:
            units.append(_table(b, {0: ("B", 200), 1: _table(b, {})}))
        files = [
            _table(b, {0: b.CreateString(name), 2: ("b", kind)} | ({3: b.CreateString(locale)} if locale else {}))
            for name, kind, locale in output.files
        ]
        return _table(b, {0: b.CreateString(output.name), 4: _vector(b, units), 6: _vector(b, files)})


def _table(b: flatbuffers.Builder, fields: Mapping[int, Any]) -> int:
    """A table: an offset a field, or (struct's letter, value). Absent and zero are told apart."""
    put: dict[str, Callable[[Any], None]] = {
        "b": b.PrependInt8,
        "B": b.PrependUint8,
        "i": b.PrependInt32,
        "I": b.PrependUint32,
        "f": b.PrependFloat32,
    }
    b.StartObject(max(fields, default=-1) + 1)
    for number, value in fields.items():
        if isinstance(value, tuple):
            put[value[0]](value[1])
        else:
            b.PrependUOffsetTRelative(value)
        b.Slot(number)
    return int(b.EndObject())


def _vector(b: flatbuffers.Builder, offsets: Sequence[int]) -> int:
    b.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return int(b.EndVector())


def _ints(b: flatbuffers.Builder, values: Sequence[int]) -> int:
    return int(b.CreateNumpyVector(np.array(values, np.int32)))


def _bytes(b: flatbuffers.Builder, data: bytes) -> int:
    b.StartVector(1, len(data), 16)
    b.head -= len(data)
    b.Bytes[b.head : b.head + len(data)] = data
    return int(b.EndVector())


def _quantization(b: flatbuffers.Builder) -> int:
    """Scale 1/256, zero point 0."""
    scale = b.CreateNumpyVector(np.array([1 / 256], np.float32))
    zero = b.CreateNumpyVector(np.array([0], np.int64))
    return _table(b, {2: scale, 3: zero})
