"""The view of a model file, for whoever wants to look."""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path

from auricle.errors import BundleError
from auricle.metadata.bundling import view_of
from auricle.metadata.onnxfile import VIEW_KEY, OnnxFile
from auricle.metadata.view import dump_view, parse_view
from auricle.model.bundle import METADATA_KEY, parse_bundle
from auricle.model.place import read_description

__all__ = ["tflite_json"]


def tflite_json(path: str | PathLike[str]) -> str:
    """A bundle's metadata as JSON in the TensorFlow Lite metadata schema: as it was written, else from the bundle.

    Raises BundleError that names the file: no ONNX model, no metadata, or wrong metadata. OSError: not there.
    """
    file = Path(path)
    try:
        model = OnnxFile(file.read_bytes())
        stored = model.property(VIEW_KEY)
        if stored is not None:
            return dump_view(parse_view(stored))
    except ValueError as error:
        raise BundleError(f"{file.name}: {error}") from error
    text, source = read_description(file, model.property(METADATA_KEY))
    if text is None:
        raise BundleError(
            f"{file.name}: no metadata: neither {METADATA_KEY!r} in the file nor {file.stem}.json beside it"
        )
    parse_bundle(text, where=source.name)
    return dump_view(view_of(json.loads(text), model.outputs))
