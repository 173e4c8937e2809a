"""What kind of file a model is, by its first bytes."""

from __future__ import annotations

from pathlib import Path

from auricle.errors import BundleError

__all__ = ["TFLITE_MARK", "is_tflite", "refuse_tflite"]

# Bytes 4 to 8 of a TensorFlow Lite file, its flatbuffer's identifier.
TFLITE_MARK = b"TFL3"
HEAD_BYTES = 8


def is_tflite(source: Path | bytes | bytearray) -> bool:
    """Whether a file, or its content, is TensorFlow Lite's. A path that cannot be read, or is a pipe, is not."""
    if isinstance(source, Path):
        try:
            if not source.is_file():  # what is read of a pipe is gone
                return False
            with source.open("rb") as file:
                source = file.read(HEAD_BYTES)
        except OSError:
            return False
    return source[4:HEAD_BYTES] == TFLITE_MARK


def refuse_tflite(source: Path | bytes | bytearray) -> None:
    """Raises BundleError with the command that makes a bundle of it, where `is_tflite`."""
    if is_tflite(source):
        name, file = (source.name, source) if isinstance(source, Path) else ("the model's content", "FILE")
        raise BundleError(f"{name}: a TensorFlow Lite file; import it first: auricle models import {file}")
