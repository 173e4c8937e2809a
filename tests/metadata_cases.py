"""Models without metadata, files for the metadata writers, and what became of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx

import models
from auricle.metadata import MetadataWriter
from auricle.model.bundle import METADATA_KEY
from auricle.task.audio import AudioClassifier, AudioClassifierOptions
from auricle.task.core import BaseOptions
from auricle.task.processor import ClassificationOptions

LENGTH = 1600


def model(tmp_path: Path, shape: tuple[int | str, ...] = ("batch", LENGTH), **outputs: int) -> bytes:
    """Outputs are samples of the segment: each takes as many as it is long, one after the other."""
    sizes = outputs or {"scores": 3}
    ends = np.cumsum([0, *sizes.values()])
    flat = [("Reshape", ["wave", "flat"], "row")]
    cuts = [
        ("Slice", ["row", f"at{a}", f"at{b}", "axis"], name) for name, a, b in zip(sizes, ends, ends[1:], strict=False)
    ]
    constants = {f"at{end}": np.array([end], np.int64) for end in ends}
    constants |= {"axis": np.array([1], np.int64), "flat": np.array([-1, LENGTH], np.int64)}
    path = models.write(
        tmp_path / "model.onnx",
        nodes=[*flat, *cuts],
        inputs={"wave": shape},
        outputs={name: ["batch", size] for name, size in sizes.items()},
        constants=constants,
        metadata=None,
    )
    return path.read_bytes()


def text_file(tmp_path: Path, name: str, text: str) -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def bundle_in(content: bytes | bytearray) -> dict[str, Any]:
    entries = {entry.key: entry.value for entry in onnx.load_from_string(bytes(content)).metadata_props}
    bundle: dict[str, Any] = json.loads(entries[METADATA_KEY])
    return bundle


def scores_of(content: bytes | bytearray, *scores: float, **options: object) -> list[tuple[str, float]]:
    """The first head's categories for those scores."""
    classifier = AudioClassifier.create_from_options(
        AudioClassifierOptions(BaseOptions(file_content=bytes(content)), ClassificationOptions(**options))  # type: ignore[arg-type]
    )
    sound = classifier.create_input_tensor_audio()
    sound.buffer[: len(scores), 0] = scores
    result = classifier.classify(sound).classifications[0]
    return [(category.category_name, category.score) for category in result.categories]


def writer(tmp_path: Path, labels: str = "a\nb\nc\n", **more: Any) -> MetadataWriter:
    return MetadataWriter.create_for_inference(
        model(tmp_path), 16000, 1, [text_file(tmp_path, "labels.txt", labels)], **more
    )
