"""Label and calibration files as they come with a model, and the bundle as it goes into the model directory."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from auricle.errors import BundleError, OptionError
from auricle.metadata.onnxfile import VIEW_KEY
from auricle.metadata.view import ModelMetadata, pack_view
from auricle.model.bundle import METADATA_KEY
from auricle.model.calibration import parse_calibration_csv
from auricle.model.labels import parse_label_lines
from auricle.model.place import Place
from auricle.model.scratch import scratch_directory

__all__ = [
    "Texts",
    "calibration",
    "label_names",
    "labels_and_calibration",
    "labels_of",
    "place_of",
    "read",
    "slug",
    "text_of",
    "with_metadata",
    "workspace",
]

Texts = tuple[list[tuple[str, str, str]], tuple[str, str] | None]

# What a file that is only read cannot be the cause of.
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def text_of(raw: bytes, *, source: str) -> str:
    """A packed text file's text. BundleError: it is not UTF-8."""
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise BundleError(f"{source}: not a UTF-8 text: {error}") from error


def label_names(text: str, *, classes: int | None, source: str) -> list[str]:
    """As `parse_label_lines`. BundleError: also as many names as ``classes``, where that is known, are not there."""
    names = list(parse_label_lines(text, source=source))
    if classes is not None and len(names) != classes:
        raise BundleError(f"{source}: {len(names)} labels for an output of {classes} classes; write one name a line")
    return names


def labels_of(given: Iterable[tuple[str, str, str]], *, classes: int | None) -> list[dict[str, Any]]:
    """The bundle's ``labels`` from locale, source and text of each file."""
    return [
        {"locale": locale, "names": label_names(text, classes=classes, source=source)} for locale, source, text in given
    ]


def read(path: Path) -> tuple[str, str]:
    """A file's name and its text. BundleError: it is not UTF-8."""
    return path.name, text_of(path.read_bytes(), source=path.name)


def labels_and_calibration(labels: Iterable[tuple[str, Path]], calibration: Path | None) -> Texts:
    """Locale, source and text of each label file, and source and text of the calibration. BundleError: not UTF-8."""
    return [(locale, *read(path)) for locale, path in labels], None if calibration is None else read(calibration)


def calibration(
    text: str, *, transformation: str, default_score: float, classes: int | None, source: str
) -> dict[str, Any]:
    """The bundle's ``calibration`` from a CSV. BundleError: a bad line, or not a line for each class."""
    rows = parse_calibration_csv(text, source=source)
    if classes is not None and len(rows) != classes:
        raise BundleError(f"{source}: {len(rows)} lines of calibration for an output of {classes} classes")
    return {"transformation": transformation, "default_score": default_score, "parameters": rows}


def slug(text: str, *, otherwise: str) -> str:
    """``text`` as a name of a head or a model: letters, digits, dot, dash and underscore."""
    return re.sub(r"[^\w.-]+", "_", text).strip("_.") or otherwise


def with_metadata(model: Any, metadata: Mapping[str, Any], *, view: ModelMetadata | None = None) -> bytes:
    """The graph's bytes with ``metadata`` as its bundle, and what its original said of it; other properties kept."""
    from onnx import helper

    texts = {METADATA_KEY: json.dumps(metadata, ensure_ascii=False)}
    if view is not None:
        texts[VIEW_KEY] = pack_view(view)
    kept = {each.key: each.value for each in model.metadata_props}
    del model.metadata_props[:]
    helper.set_model_props(model, {**kept, **texts})
    serialized: bytes = model.SerializeToString(deterministic=True)
    return serialized


def place_of(models_dir: Path, name: str, *, replace: bool, source: Path | None = None) -> Place:
    """Where the bundle goes. OptionError: a model of that name is there, and not to be replaced, or is ``source``."""
    place = Place(models_dir=models_dir, name=name)
    if source is not None and place.clears(source):
        raise OptionError(
            f"{source} is a model {name!r} of {models_dir} itself and would be removed for what is made of it; "
            "import it under another name (--name), or move it out of there first",
            field="name",
        )
    if not replace:
        place.check_free(mend="import it under another name (--name), or replace it (--replace)", itself=True)
    return place


@contextmanager
def workspace(models_dir: Path) -> Iterator[Path]:
    """A directory to work in, from which a file is renamed into ``models_dir``.

    Raises OptionError: there is no room for it, or nothing can be written there.
    """
    try:
        with scratch_directory(models_dir) as scratch:
            yield scratch
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        raise OptionError(
            f"cannot write the model into {models_dir} ({error.strerror}); make room or give another directory"
        ) from error
