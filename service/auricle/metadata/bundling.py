"""Between the JSON view and the bundle: which field of the one is which of the other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from auricle.metadata.files import parse_calibration, parse_labels
from auricle.metadata.view import (
    AUDIO_PROPERTIES,
    CALIBRATION_FILE,
    CALIBRATION_UNIT,
    FEATURE_PROPERTIES,
    LABEL_FILE,
    THRESHOLD_UNIT,
    AssociatedFile,
    Content,
    ModelMetadata,
    ProcessUnit,
    Stats,
    SubgraphMetadata,
    TensorMetadata,
)
from auricle.model.bundle import TensorInfo

__all__ = ["bundle_of", "heads_of", "view_of"]

JsonObject = dict[str, Any]
FIRST_VERSION = "1"


def heads_of(
    view: ModelMetadata,
    files: Mapping[str, bytes],
    *,
    outputs: Sequence[TensorInfo],
    kinds: Mapping[str, str],
    default_kind: str,
    base: Mapping[str, Any],
) -> list[JsonObject]:
    """The bundle's heads.

    Args:
        view: outputs in the graph's order.
        files: content of label and calibration files by base name.
        outputs: the graph's tensors.
        kinds: of heads, by tensor name, where they are known.
        default_kind: of a head that neither ``kinds``, ``base`` nor its files tell of.
        base: the bundle that there was, whose heads keep what the view says nothing of.

    Raises ValueError that names the tensor, the file and both counts where they do not go together.
    """
    heads = [
        _head(metadata, tensor, files, kinds.get(tensor.name), default_kind, _base_head(base, tensor.name))
        for metadata, tensor in zip(view.outputs, outputs, strict=True)
        # An output that the bundle left out, and of which the view gives no more than the name, stays out.
        if metadata.content or metadata.associated_files or not base.get("heads") or _base_head(base, tensor.name)
    ]
    _name_apart(heads)
    return heads


def bundle_of(
    view: ModelMetadata, heads: list[JsonObject], *, tensor: TensorInfo, base: Mapping[str, Any]
) -> JsonObject:
    """The bundle's JSON object.

    Args:
        view: what it says of the model and of its sound.
        heads: see `heads_of`.
        tensor: the graph's input.
        base: bundle fields that the view has no place for, and what to keep where the view says nothing.

    Raises ValueError where the input is no waveform, and ``base`` does not say how it takes sound.
    """
    classifies = any(head["kind"] == "classification" for head in heads)
    bundle: JsonObject = {
        "format": 1,
        "name": view.name or base.get("name") or "model",
        "version": view.version or base.get("version") or FIRST_VERSION,
        "task": base.get("task") or ("audio-classification" if classifies else "audio-embedding"),
        "description": view.description or base.get("description", ""),
        "author": view.author or base.get("author", ""),
        "license": view.license or base.get("license", ""),
        "audio": {**base.get("audio", {}), **_audio(view)},
        "features": base.get("features"),
    }
    layout, segment = base.get("input"), base.get("segment")
    if layout is None or segment is None:
        if bundle["features"] is not None:
            raise ValueError(
                f"a model that takes features needs to say how: bundle={{'input': ..., 'segment': ...}} for tensor "
                f"{tensor.name!r} of shape {_shape(tensor)}"
            )
        guessed_layout, samples = _waveform(tensor)
        layout = layout or {"tensor": tensor.name, "layout": guessed_layout}
        segment = segment or {"length": samples, "hop": samples, "unit": "samples"}
    return {**bundle, "segment": segment, "input": layout, "heads": heads}


def view_of(bundle: Mapping[str, Any], outputs: Sequence[TensorInfo]) -> ModelMetadata:
    """The view of a bundle that was written without one; the names of its files are made up."""
    heads = {head["tensor"]: head for head in bundle["heads"]}
    entries = [
        _entry(heads[tensor.name]) if tensor.name in heads else TensorMetadata(name=tensor.name) for tensor in outputs
    ]
    audio = bundle["audio"]
    properties = {"sample_rate": audio["sample_rate_hz"], "channels": audio.get("channels", 1)}
    sound = TensorMetadata(
        name=bundle["input"]["tensor"],
        content=Content(content_properties_type=AUDIO_PROPERTIES, content_properties=properties),
        stats=Stats(),
    )
    graph = SubgraphMetadata(input_tensor_metadata=(sound,), output_tensor_metadata=tuple(entries))
    return ModelMetadata(
        name=bundle["name"],
        description=bundle.get("description", ""),
        version=bundle["version"],
        subgraph_metadata=(graph,),
        author=bundle.get("author", ""),
        license=bundle.get("license", ""),
    )


def _audio(view: ModelMetadata) -> JsonObject:
    content = view.inputs[0].content if view.inputs else None
    properties = content.content_properties if content else {}
    audio = {"sample_rate_hz": properties.get("sample_rate"), "channels": properties.get("channels")}
    return {key: value for key, value in audio.items() if value}


def _head(
    metadata: TensorMetadata,
    tensor: TensorInfo,
    files: Mapping[str, bytes],
    kind: str | None,
    default_kind: str,
    base: Mapping[str, Any],
) -> JsonObject:
    signs = metadata.files(LABEL_FILE) or metadata.unit(CALIBRATION_UNIT) or metadata.unit(THRESHOLD_UNIT)
    kind = kind or base.get("kind") or ("classification" if signs else default_kind)
    head = {**base, "name": metadata.name or tensor.name, "tensor": tensor.name, "kind": kind}
    if kind != "classification":
        return head
    labels = _labels(metadata, files, base)
    calibration = _calibration(metadata, files, base)
    threshold = metadata.unit(THRESHOLD_UNIT)
    if labels:
        head["labels"] = labels
    if calibration:
        head["calibration"] = calibration
    if threshold is not None:
        head["score_threshold"] = threshold.options.get("global_score_threshold", 0.0)
    _check_counts(head, tensor, _classes(tensor, labels), metadata)
    return head


def _base_head(base: Mapping[str, Any], tensor: str) -> Mapping[str, Any]:
    return next((head for head in base.get("heads", ()) if head["tensor"] == tensor), {})


def _labels(metadata: TensorMetadata, files: Mapping[str, bytes], base: Mapping[str, Any]) -> list[JsonObject]:
    named = metadata.files(LABEL_FILE)
    if not any(file.name in files for file in named) and base.get("labels"):
        return list(base["labels"])
    return [
        {"locale": file.locale, "names": list(parse_labels(_content(file, files), source=file.name))} for file in named
    ]


def _calibration(metadata: TensorMetadata, files: Mapping[str, bytes], base: Mapping[str, Any]) -> JsonObject | None:
    unit = metadata.unit(CALIBRATION_UNIT)
    named = metadata.files(CALIBRATION_FILE)
    if unit is None and not named:
        return base.get("calibration")
    if unit is None or not named:
        raise ValueError(
            f"output {metadata.name!r}: a score calibration needs both its step ({CALIBRATION_UNIT}) and its file "
            f"({CALIBRATION_FILE})"
        )
    if named[0].name not in files and base.get("calibration"):
        return dict(base["calibration"])
    return {
        "transformation": unit.options.get("score_transformation", "IDENTITY"),
        "default_score": unit.options.get("default_score", 0.0),
        "parameters": list(parse_calibration(_content(named[0], files), source=named[0].name)),
    }


def _content(file: AssociatedFile, files: Mapping[str, bytes]) -> bytes:
    if file.name not in files:
        raise ValueError(f"the metadata names the file {file.name!r}, but it was not given (associated_files)")
    return files[file.name]


def _classes(tensor: TensorInfo, labels: list[JsonObject]) -> int | None:
    """How many the output has: by its shape, else by its labels; None where neither says."""
    sizes = tensor.shape[1:] or tensor.shape
    if None not in sizes:
        return math.prod(size or 1 for size in sizes)
    return len(labels[0]["names"]) if labels else None


def _check_counts(head: JsonObject, tensor: TensorInfo, classes: int | None, metadata: TensorMetadata) -> None:
    def source(kind: str, index: int, otherwise: str) -> str:
        files = metadata.files(kind)
        return files[index].name if index < len(files) else otherwise

    counts = [
        (source(LABEL_FILE, index, "the label list"), len(labels["names"]), "labels")
        for index, labels in enumerate(head.get("labels", ()))
    ]
    if rows := head.get("calibration"):
        counts.append((source(CALIBRATION_FILE, 0, "the score calibration"), len(rows["parameters"]), "lines"))
    for file, count, what in counts:
        if classes is not None and count != classes:
            raise ValueError(f"{file} has {count} {what}, but output {tensor.name!r} needs {classes}")


def _name_apart(heads: list[JsonObject]) -> None:
    """A bundle's heads have names of their own; the view's may be alike."""
    names = [head["name"] for head in heads]
    for head in heads:
        if names.count(head["name"]) > 1:
            head["name"] = head["tensor"]


def _waveform(tensor: TensorInfo) -> tuple[str, int | None]:
    """The layout of an input that takes samples, and how many; None is any number."""
    shape = tensor.shape
    if len(shape) == 1:
        return "samples", shape[0]
    if len(shape) == 2:
        return "batch,samples", shape[1]
    if len(shape) == 3 and shape[2] == 1:
        return "batch,samples,1", shape[1]
    if len(shape) == 3 and shape[1] == 1:
        return "batch,1,samples", shape[2]
    raise ValueError(
        f"input {tensor.name!r} of shape {_shape(tensor)} is no waveform; say how it takes sound with "
        "bundle={'features': ..., 'segment': ..., 'input': ...}, fields as in docs/bundle.md"
    )


def _entry(head: Mapping[str, Any]) -> TensorMetadata:
    files: list[AssociatedFile] = []
    for labels in head.get("labels") or ():
        locale = labels.get("locale", "")
        name = "_".join(part for part in (head["name"], "labels", locale) if part) + ".txt"
        files.append(AssociatedFile(name=name, type=LABEL_FILE, locale=locale))
    steps = []
    calibration = head.get("calibration")
    if calibration:
        given = (
            ("score_transformation", calibration.get("transformation", "IDENTITY"), "IDENTITY"),
            ("default_score", calibration.get("default_score", 0.0), 0.0),
        )
        options = {key: value for key, value, default in given if value != default}
        steps.append(ProcessUnit(options_type=CALIBRATION_UNIT, options=options))
        files.append(AssociatedFile(name=f"{head['name']}_score_calibration.txt", type=CALIBRATION_FILE))
    if head.get("score_threshold") is not None:
        options = {"global_score_threshold": head["score_threshold"]}
        steps.append(ProcessUnit(options_type=THRESHOLD_UNIT, options=options))
    return TensorMetadata(
        name=head["name"],
        content=Content(content_properties_type=FEATURE_PROPERTIES, content_properties={}),
        process_units=tuple(steps),
        stats=Stats(),
        associated_files=tuple(files),
    )


def _shape(tensor: TensorInfo) -> str:
    return "x".join("?" if size is None else str(size) for size in tensor.shape)
