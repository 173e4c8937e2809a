"""A bare ONNX model as a bundle: what its file does not say comes from the user or from a recipe."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from auricle import frontend
from auricle.config import SessionSettings
from auricle.engine.graph import Graph
from auricle.engine.session import Session
from auricle.errors import BundleError, OptionError
from auricle.frontend import FeatureSpec
from auricle.importing import files
from auricle.importing.recipes import Recipe, recipe, recognise
from auricle.importing.settings import ImportReport, ImportSettings
from auricle.importing.takeover import take_over
from auricle.model.bundle import METADATA_KEY, TensorInfo, parse_bundle
from auricle.model.place import read_description

__all__ = ["import_onnx"]

# What is said of a file that is no bundle yet.
OF_BARE_FILES = (
    *("sample_rate_hz", "features", "layout", "segment_length_s", "hop_s", "outputs"),
    *("labels", "calibration", "transformation", "default_score", "activation"),
)
# By rank; which of frames and bands comes first shows in the size of the axes.
WAVEFORM_LAYOUTS = {1: "samples", 2: "batch,samples", 3: "batch,1,samples"}


def import_onnx(path: Path, models_dir: Path, settings: ImportSettings, *, family: str | None = None) -> ImportReport:
    """Writes the bundle ``NAME.onnx`` into ``models_dir``: the graph as it is, with metadata.

    A file that is a bundle already, by itself or by a sidecar, is taken over with what ``settings`` say of its name,
    version, author and the like. ``family`` names a recipe; what ``settings`` say wins over it. Where neither it nor
    the features are given, a recipe is known by its tensors' names.

    Raises:
        BundleError: no ONNX model, or one that does not fit what is said of it.
        OptionError: something that nobody says, a name that is taken, or an option that would have no effect.
    """
    settings.refuse("precision", "force", why="it is for .tflite files")
    session = Session(path, SessionSettings(threads=1))
    own, source = read_description(path, session.metadata.get(METADATA_KEY))
    called = path.stem if own is None else _checked(own, source, settings, family)
    name = settings.name or files.slug(called, otherwise="model")
    place = files.place_of(models_dir, name, replace=settings.replace, source=path)
    notes: tuple[str, ...] = ()
    if family is None and settings.features is None and own is None:
        family = recognise([each.name for each in session.inputs], [each.name for each in session.outputs])
        notes = (f"its tensors are those of recipe {family}, which was applied",) if family else ()
    known = recipe(family) if family else None
    with files.workspace(models_dir) as scratch:
        made = scratch / place.path.name
        if own is not None:
            said = {"name": name, **settings.texts(), **({"task": settings.task} if settings.task else {})}
            notes += take_over(path, made, json.loads(own), said=said, sidecar=source != path)
        else:
            made.write_bytes(_bundle_of(path, session, name, settings, known))
        graph = Graph(made, SessionSettings(threads=1))
        if graph.layout.has_batch and not graph.batches:
            notes += ("segments run one by one (batch 1): the graph fixes its batch, or its answers depend on it",)
        place.install(made)
    return ImportReport(
        path=place.path,
        name=name,
        version=graph.bundle.version,
        precision="",
        features=graph.bundle.preset or None,
        batches=graph.batches,
        size_bytes=graph.size_bytes,
        heads=tuple((head.spec.name, head.spec.kind, head.dimension) for head in graph.heads),
        notes=notes,
    )


def _checked(own: str | bytes, source: Path, settings: ImportSettings, family: str | None) -> str:
    """The name in a bundle's own description; what would contradict the rest of it is refused."""
    why = f"{source.name} says this itself, as a bundle does"
    if family is not None:
        raise OptionError(f"--recipe: {why}; leave it out", field="recipe")
    settings.refuse(*OF_BARE_FILES, why=why)
    try:
        bundle = parse_bundle(own, where=source.name)[0]
    except BundleError as error:
        hint = "" if source.suffix != ".json" else "; if it is about something else, move it from beside the model"
        raise BundleError(error.message + hint) from error
    settings.check_task([head.kind for head in bundle.heads])
    return bundle.name


def _bundle_of(path: Path, session: Session, name: str, settings: ImportSettings, known: Recipe | None) -> bytes:
    import onnx

    where = path.name
    spec_name, spec = _features(where, settings, known)
    rate_hz = settings.sample_rate_hz or (spec.sample_rate_hz if spec else known.sample_rate_hz if known else None)
    if rate_hz is None:
        raise OptionError(
            f"{where}: a waveform model's sample rate is not in the file; give --sample-rate", field="sample_rate"
        )
    source = _source(where, session, known)
    layout = settings.layout or _layout(where, source, spec)
    axes = [axis.strip() for axis in layout.split(",")]
    if len(axes) != len(source.shape):
        raise OptionError(
            f"{where}: layout {layout!r} has {len(axes)} axes, but input {source.name!r} has {len(source.shape)}",
            field="layout",
        )
    heads = _heads(where, _chosen(where, session, settings, known), settings)
    settings.check_task([head["kind"] for head in heads])
    classifies = any(head["kind"] == "classification" for head in heads)
    metadata = {
        "format": 1,
        "name": name,
        "version": settings.version or "1",
        "task": settings.task or (known.task if known else "audio-classification" if classifies else "audio-embedding"),
        "description": settings.description,
        "author": settings.author,
        "license": settings.license or settings.fallback_license,
        "audio": {"sample_rate_hz": rate_hz, "channels": 1},
        "features": {"preset": spec_name} if spec else None,
        "segment": _segment(where, source, axes, spec, rate_hz, settings, known),
        "input": {"tensor": source.name, "layout": layout},
        "heads": heads,
    }
    return files.with_metadata(onnx.load(str(path)), metadata)


def _features(where: str, settings: ImportSettings, known: Recipe | None) -> tuple[str | None, FeatureSpec | None]:
    name = settings.features or (known.features or "none" if known else None)
    if name is None:
        raise OptionError(
            f"{where}: the file does not say what the model takes; give --features with a preset "
            f"({', '.join(frontend.presets())}) or none for the waveform, or a --recipe",
            field="features",
        )
    return (None, None) if name == "none" else (name, frontend.preset(name))


def _source(where: str, session: Session, known: Recipe | None) -> TensorInfo:
    names = [tensor.name for tensor in session.inputs]
    if len(names) != 1:
        raise BundleError(f"{where}: a bundle has exactly one input, the graph takes {names}")
    if known and known.source and names != [known.source]:
        raise BundleError(f"{where}: a model of this recipe takes {known.source!r}, the graph {names[0]!r}")
    return session.inputs[0]


def _layout(where: str, source: TensorInfo, spec: FeatureSpec | None) -> str:
    """The axes by rank: [batch, 1, samples] and the like, or frames and bands told apart by their sizes."""
    shape = source.shape
    text = "x".join("?" if size is None else str(size) for size in shape)
    if spec is None:
        if len(shape) in WAVEFORM_LAYOUTS:
            return "batch,samples,1" if len(shape) == 3 and shape[2] == 1 else WAVEFORM_LAYOUTS[len(shape)]
        raise BundleError(
            f"{where}: input {source.name!r} has {len(shape)} axes ({text}); a waveform has 1 to 3; "
            "if the model takes features, give --features"
        )
    if len(shape) not in (2, 3, 4):
        raise BundleError(f"{where}: input {source.name!r} has {len(shape)} axes ({text}); features have 2 to 4")
    if spec.bands in shape[-2:]:
        bands_last = shape[-1] == spec.bands
    elif shape[-1] is None:
        bands_last = True
    else:
        raise BundleError(
            f"{where}: input {source.name!r} is {text}; the features have {spec.bands} bands; choose others"
        )
    order = ["frames", "bands"] if bands_last else ["bands", "frames"]
    return ",".join([*["batch", "1"][: len(shape) - 2], *order])


def _segment(
    where: str,
    source: TensorInfo,
    axes: Sequence[str],
    spec: FeatureSpec | None,
    rate_hz: int,
    settings: ImportSettings,
    known: Recipe | None,
) -> dict[str, Any]:
    unit = "frames" if spec else "samples"
    rows_per_s = rate_hz / (spec.hop if spec else 1)

    def rows(seconds: float | None) -> int | None:
        return None if seconds is None else max(1, round(seconds * rows_per_s))

    if unit not in axes:
        raise OptionError(f"{where}: layout {','.join(axes)!r} has no axis {unit!r}", field="layout")
    fixed = source.shape[axes.index(unit)]
    if fixed is not None and settings.segment_length_s is not None:
        raise OptionError(
            f"{where}: the graph takes {fixed} {unit} and no other length; leave the segment's length out",
            field="segment_length_s",
        )
    length = fixed or rows(settings.segment_length_s)
    if length is None:
        if settings.hop_s is not None:
            raise OptionError(f"{where}: a hop needs a segment length; give both", field="hop_s")
        return {"length": None, "unit": unit, "stream_length": rows(known.stream_length_s if known else None)}
    return {"length": length, "hop": rows(settings.hop_s) or max(1, length // 2), "unit": unit}


def _chosen(where: str, session: Session, settings: ImportSettings, known: Recipe | None) -> list[TensorInfo]:
    by_name = {tensor.name: tensor for tensor in session.outputs}
    wanted = settings.outputs or (known.outputs if known else ()) or tuple(by_name)
    for name in wanted:
        if name not in by_name:
            raise BundleError(f"{where}: the graph has no output {name!r}; it gives {', '.join(by_name)}")
    return [by_name[name] for name in wanted]


def _heads(where: str, tensors: Sequence[TensorInfo], settings: ImportSettings) -> list[dict[str, Any]]:
    labels = files.labels_of([(locale, *files.read(path)) for locale, path in settings.labels], classes=None)
    if settings.calibration and not labels and settings.task != "audio-classification":
        raise OptionError(
            f"{where}: a calibration belongs to a classification; give its labels, too", field="calibration"
        )
    scores = _scores(where, tensors, labels, [path.name for _, path in settings.labels], settings)
    if scores is None:
        settings.refuse("activation", why="no output is a classification (--labels, --task)")
    heads: list[dict[str, Any]] = []
    for tensor in tensors:
        name = files.slug(tensor.name, otherwise="output")
        head: dict[str, Any] = {"name": name, "tensor": tensor.name, "pool": "mean"}
        if tensor is scores:
            head |= {"kind": "classification", "activation": settings.activation, "labels": labels}
            head["calibration"] = _calibration(tensor, settings)
        else:
            head["kind"] = "embedding"
        heads.append(head)
    return heads


def _scores(
    where: str, tensors: Sequence[TensorInfo], labels: Sequence[Any], sources: Sequence[str], settings: ImportSettings
) -> TensorInfo | None:
    """The output that the labels are for: the one of their number, or the only one."""
    if not labels:
        if settings.task != "audio-classification":
            return None
        if len(tensors) == 1:
            return tensors[0]
        raise OptionError(
            f"{where}: which of its outputs are the scores? give --output, or --labels of their number", field="outputs"
        )
    count = len(labels[0]["names"])
    fitting = [tensor for tensor in tensors if tensor.shape and tensor.shape[-1] == count]
    if not fitting and len(tensors) == 1 and tensors[0].shape and tensors[0].shape[-1] is None:
        return tensors[0]
    if not fitting:
        sizes = ", ".join(f"{tensor.name}: {_size(tensor)}" for tensor in tensors)
        raise BundleError(f"{where}: {sources[0]} has {count} labels, but no output is of that size ({sizes})")
    return fitting[0]


def _size(tensor: TensorInfo) -> str:
    return "?" if not tensor.shape or tensor.shape[-1] is None else str(tensor.shape[-1])


def _calibration(tensor: TensorInfo, settings: ImportSettings) -> dict[str, Any] | None:
    if settings.calibration is None:
        return None
    source, text = files.read(settings.calibration)
    return files.calibration(
        text,
        transformation=settings.transformation,
        default_score=settings.default_score,
        classes=tensor.shape[-1] if tensor.shape else None,
        source=source,
    )
