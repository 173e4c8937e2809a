"""A bundle: one ONNX file that says what sound it takes and what its outputs mean."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec

from auricle.errors import BundleError, OptionError
from auricle.frontend import FeatureSpec
from auricle.model.heads import HeadSpec

__all__ = ["METADATA_KEY", "AudioSpec", "Bundle", "InputSpec", "Layout", "SegmentSpec", "TensorInfo", "parse_bundle"]

METADATA_KEY = "auricle.bundle"

# 17 minutes of 16 kHz samples; a slip of the pen beyond that would ask for more memory than there is.
MOST_ROWS = 1 << 24

Count = Annotated[int, msgspec.Meta(gt=0, le=MOST_ROWS)]
Name = Annotated[str, msgspec.Meta(min_length=1)]


class AudioSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The sound that the model was made for."""

    sample_rate_hz: Annotated[int, msgspec.Meta(ge=4000, le=192_000)]
    channels: Annotated[int, msgspec.Meta(ge=1, le=1)] = 1


class SegmentSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How sound is cut. ``length``, ``hop`` and ``stream_length`` count frames, or samples of a waveform model.

    A ``length`` of null takes the whole clip at once. ``raise_to_dbfs`` lifts quieter segments to that level.
    """

    length: Count | None = None
    hop: Count | None = None
    unit: Literal["frames", "samples"] = "frames"
    min_coverage: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    raise_to_dbfs: Annotated[float, msgspec.Meta(le=0)] | None = None
    stream_length: Count | None = None


class InputSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The model's input tensor; ``layout`` names its axes from batch, frames, bands, samples and 1."""

    tensor: Name
    layout: str = "batch,frames,bands"


class Bundle(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The metadata of one model, as its JSON holds it."""

    format: Literal[1]
    name: Name
    version: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    task: Literal["speaker-embedding", "audio-embedding", "audio-classification"]
    audio: AudioSpec
    segment: SegmentSpec
    input: InputSpec
    heads: Annotated[tuple[HeadSpec, ...], msgspec.Meta(min_length=1)]
    features: dict[str, Any] | None = None
    description: str = ""
    author: str = ""
    license: str = ""

    @property
    def preset(self) -> str:
        """Name of the feature preset; empty where the model takes the waveform or spells its features out."""
        return str((self.features or {}).get("preset", ""))


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorInfo:
    """A tensor of the graph. ``shape`` has None where an axis is free; ``dtype`` is NumPy's name."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Where a segment's axes lie in the input tensor; ``axes`` are batch, frames, bands, samples or 1."""

    axes: tuple[str, ...]

    @property
    def has_batch(self) -> bool:
        return self.axes[0] == "batch"

    @property
    def segment_axes(self) -> tuple[str, ...]:
        """The axes of one segment, without the batch."""
        return self.axes[1:] if self.has_batch else self.axes


def parse_layout(text: str, *, waveform: bool, where: str) -> Layout:
    """Reads ``batch,frames,bands`` and the like. BundleError: an axis that is unknown, missing or named twice."""
    axes = tuple(part.strip() for part in text.split(","))
    needed = {"samples"} if waveform else {"frames", "bands"}
    named = [axis for axis in axes if axis != "1"]
    if set(named) - {"batch"} != needed or len(set(named)) != len(named) or "batch" in axes[1:]:
        takes = "the waveform: [batch,] samples and 1" if waveform else "features: [batch,] frames, bands and 1"
        raise BundleError(f"{where}: input.layout {text!r} does not fit a model that takes {takes}")
    return Layout(axes=axes)


def parse_bundle(raw: str | bytes, *, where: str) -> tuple[Bundle, FeatureSpec | None, Layout]:
    """Reads the JSON and checks all that can be checked without the graph.

    Raises BundleError that names the file, the field, the value and the mend.
    """
    try:
        bundle = msgspec.json.decode(raw, type=Bundle)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise BundleError(
            f"{where}: the metadata ({METADATA_KEY}) is wrong: {error}{_found(raw, str(error))}; "
            "see docs/bundle.md for the fields, and write it again"
        ) from error
    features = _feature_spec(bundle, where)
    _check_segment(bundle, features, where)
    _check_heads(bundle, where)
    return bundle, features, parse_layout(bundle.input.layout, waveform=features is None, where=where)


def _found(raw: str | bytes, message: str) -> str:
    """The value at the place that a message of msgspec names, where the message itself leaves it out."""
    place = re.search(r"^Expected .*`\$([^`]*)`$", message)
    if place is None:
        return ""
    value = msgspec.json.decode(raw)
    for key, index in re.findall(r"\.([^.\[]+)|\[(\d+)\]", place[1]):
        value = value[int(index) if index else key]
    return f", but it is {msgspec.json.encode(value).decode():.60}"


def _feature_spec(bundle: Bundle, where: str) -> FeatureSpec | None:
    if bundle.features is None:
        return None
    try:
        spec = FeatureSpec.from_mapping(bundle.features)
    except OptionError as error:
        raise BundleError(f"{where}: features: {error.message}") from error
    if spec.sample_rate_hz != bundle.audio.sample_rate_hz:
        raise BundleError(
            f"{where}: audio.sample_rate_hz is {bundle.audio.sample_rate_hz}, but features are for "
            f"{spec.sample_rate_hz} Hz; make them equal"
        )
    return spec


def _check_segment(bundle: Bundle, features: FeatureSpec | None, where: str) -> None:
    segment = bundle.segment
    unit = "samples" if features is None else "frames"
    if segment.unit != unit:
        raise BundleError(f"{where}: segment.unit is {segment.unit!r}, but this model's input counts {unit}")
    if segment.length is None and segment.hop is not None and segment.stream_length is None:
        raise BundleError(f"{where}: segment.hop is {segment.hop}, but segment.length is null; drop the hop")
    _check_rows(segment.length or segment.stream_length, features, where)
    if segment.raise_to_dbfs is not None and features is not None and not features.is_linear:
        raise BundleError(
            f"{where}: segment.raise_to_dbfs needs features without compression and normalisation, "
            f"but {bundle.preset or 'features'} has {features.compression!r} and {features.normalization!r}"
        )


def _check_rows(length: int | None, features: FeatureSpec | None, where: str) -> None:
    """Sound as long as a segment must give as many frames as the segment has, or its last one would lack some."""
    if length is None or features is None:
        return
    samples = features.segment_samples(length)
    frames = features.frames(samples)
    if frames < length:
        raise BundleError(
            f"{where}: features: {length} frames stand for {samples} samples, but those give only {frames} frames "
            f"with padding {features.padding!r}, front_zeros {features.front_zeros} and drop_last_frame "
            f"{features.drop_last_frame}; pad more, or keep the last frame"
        )


def _check_heads(bundle: Bundle, where: str) -> None:
    seen: set[str] = set()
    for index, head in enumerate(bundle.heads):
        at = f"{where}: heads[{index}]"
        if head.name in seen:
            raise BundleError(f"{at}.name: {head.name!r} is taken by an earlier head; names are unique")
        seen.add(head.name)
        locales = [labels.locale for labels in head.labels if labels.locale]
        if len(set(locales)) < len(locales):
            raise BundleError(f"{at}.labels: a locale has two lists, of {locales}; keep one of them")
        sizes = {len(labels.names) for labels in head.labels}
        if len(sizes) > 1 or 0 in sizes:
            raise BundleError(
                f"{at}.labels: every list needs the same number of names, at least one, but they have {sorted(sizes)}"
            )
        if head.kind == "embedding" and (head.labels or head.calibration or head.score_threshold is not None):
            raise BundleError(
                f"{at}: labels, calibration and score_threshold belong to classification heads, not embeddings"
            )
        if head.kind == "classification" and head.l2_normalize:
            raise BundleError(f"{at}.l2_normalize: belongs to embedding heads, not classifications")
        if head.calibration and sizes and len(head.calibration.parameters) not in sizes:
            raise BundleError(
                f"{at}.calibration: {len(head.calibration.parameters)} rows for {sizes.pop()} labels; one row a label"
            )
