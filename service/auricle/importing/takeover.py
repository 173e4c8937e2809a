"""A file that is a bundle already, on its way into the model directory: whole, and all of it in one file."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import structs

from auricle.errors import BundleError
from auricle.importing import files
from auricle.importing.settings import TEXTS
from auricle.metadata.onnxfile import VIEW_KEY, data_files
from auricle.metadata.view import ModelMetadata, parse_view

__all__ = ["take_over"]

# What protobuf, and so an ONNX file, can hold.
MOST_BYTES = (1 << 31) - 1


def take_over(
    path: Path, target: Path, metadata: Mapping[str, Any], *, said: Mapping[str, str], sidecar: bool
) -> tuple[str, ...]:
    """Writes the bundle ``path`` to ``target``, byte for byte where nothing is to be changed; gives notes.

    Args:
        metadata: its description.
        said: fields of it that are to be others.
        sidecar: whether the description lies beside the file. It is put inside, as weights beside the file are.

    Raises BundleError: it is larger with its weights than one file can be.
    """
    import onnx

    new = {key: value for key, value in said.items() if metadata.get(key, "") != value}
    beside = data_files(path)
    if not (new or beside or sidecar):
        shutil.copyfile(path, target)
        return ("it is a bundle already and was taken over as it is",)
    size_bytes = sum((path.parent / name).stat().st_size for name in (path.name, *beside))
    if size_bytes > MOST_BYTES:
        raise BundleError(
            f"{path.name}: with its weights it has {size_bytes / 1e9:.1f} GB, more than one ONNX file can hold; "
            "put the file and those beside it into the model directory as they are"
        )
    model: Any = onnx.load(str(path))
    target.write_bytes(files.with_metadata(model, {**metadata, **new}, view=_view(model, new)))
    notes = ["it is a bundle already" + (f", with another {' and '.join(new)} now" if new else "")]
    if sidecar:
        notes.append(f"the description in {path.with_suffix('.json').name} was put into the file")
    if beside:
        notes.append(f"the weights in {', '.join(beside)} were put into the file")
    return tuple(notes)


def _view(model: Any, new: Mapping[str, str]) -> ModelMetadata | None:
    """What the file's original said of it, with the new texts."""
    stored = next((each.value for each in model.metadata_props if each.key == VIEW_KEY), None)
    if stored is None:
        return None
    return structs.replace(parse_view(stored), **{key: new[key] for key in TEXTS if key in new})
