"""What can be asked of a call, and its form on the wire."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Literal, TypedDict, TypeVar

from google.protobuf.duration_pb2 import Duration

from auricle.errors import OptionError
from auricle.v1 import auricle_pb2 as pb

__all__ = [
    "ENCODINGS",
    "POOLINGS",
    "ClassifyOptions",
    "EmbedOptions",
    "Encoding",
    "Pooling",
    "VectorType",
    "choice",
    "classify_options",
    "duration",
    "embed_options",
    "selector",
    "wire_format",
]

T = TypeVar("T")
N = TypeVar("N", int, float)

Encoding = Literal["s16le", "f32le", "mulaw", "alaw"]
Pooling = Literal["none", "mean", "max"]
VectorType = Literal["float32", "int8", "float16"]

ENCODINGS: Mapping[str, pb.Encoding] = {
    "s16le": pb.ENCODING_PCM_S16LE,
    "f32le": pb.ENCODING_PCM_F32LE,
    "mulaw": pb.ENCODING_MULAW,
    "alaw": pb.ENCODING_ALAW,
}
POOLINGS: Mapping[str, pb.Pooling] = {
    "none": pb.POOLING_NONE,
    "mean": pb.POOLING_MEAN,
    "max": pb.POOLING_MAX,
}
_VECTOR_TYPES: Mapping[str, pb.VectorType] = {
    "float32": pb.VECTOR_TYPE_FLOAT32,
    "int8": pb.VECTOR_TYPE_INT8,
    "float16": pb.VECTOR_TYPE_FLOAT16,
}
# What the fields of the messages hold; a Duration ten thousand years.
_MOST_INT32 = (1 << 31) - 1
_MOST_UINT32 = (1 << 32) - 1
_LONGEST_S = 315_576_000_000.0


class _CommonOptions(TypedDict, total=False):
    pooling: Pooling | None
    hop_s: float | None
    segment_length_s: float | None
    heads: Sequence[str]


class EmbedOptions(_CommonOptions, total=False):
    """Keywords of ``embed`` and ``stream_embed``; what is left out is as the model's bundle says.

    * ``l2_normalize``: scale each vector to length 1, after pooling and before quantising.
    * ``vector_type``: "float32" (default), "int8" (round(v·128), clamped) or "float16".
    * ``pooling``: how segments become one answer: "mean", "max", or "none" for one answer a segment. In a
      stream unset means "none"; "mean" and "max" give the value so far with every segment.
    * ``hop_s``: seconds between segment starts, > 0; rounded to the nearest whole feature hop.
    * ``segment_length_s``: seconds that a segment spans; for models of variable length only.
    * ``heads``: names of the heads that shall answer; empty: all of the call's kind.
    """

    l2_normalize: bool | None
    vector_type: VectorType


class ClassifyOptions(_CommonOptions, total=False):
    """Keywords of ``classify`` and ``stream_classify``: those of EmbedOptions that are not of vectors, and

    * ``max_results``: the best k after filtering; -1 or None: all.
    * ``score_threshold``: keep scores of at least this; None: the head's own, else 0.
    * ``category_allowlist``, ``category_denylist``: names to keep or to drop; one of the two at most.
    * ``display_names_locale``: locale of ``Category.display_name``; empty: "en".
    * ``include_embeddings``: also return the vectors of the embedding heads, of the same inference.
    """

    max_results: int | None
    score_threshold: float | None
    category_allowlist: Sequence[str]
    category_denylist: Sequence[str]
    display_names_locale: str
    include_embeddings: bool


def selector(model: str | None, version: str | None) -> pb.ModelSelector:
    """Names a model; None leaves the choice to the server."""
    return pb.ModelSelector(name=model or "", version=version or "")


def embed_options(
    *,
    l2_normalize: bool | None = None,
    vector_type: str = "float32",
    pooling: str | None = None,
    hop_s: float | None = None,
    segment_length_s: float | None = None,
    heads: Sequence[str] = (),
) -> pb.EmbedOptions:
    """Builds the message; see `EmbedOptions`. Raises OptionError for a name or a number that is no choice."""
    return pb.EmbedOptions(
        l2_normalize=l2_normalize,
        vector_type=choice("vector_type", vector_type, _VECTOR_TYPES),
        pooling=None if pooling is None else choice("pooling", pooling, POOLINGS),
        hop=duration("hop_s", hop_s),
        heads=_names("heads", heads),
        segment_length=duration("segment_length_s", segment_length_s),
    )


def classify_options(
    *,
    max_results: int | None = None,
    score_threshold: float | None = None,
    category_allowlist: Sequence[str] = (),
    category_denylist: Sequence[str] = (),
    display_names_locale: str = "",
    pooling: str | None = None,
    hop_s: float | None = None,
    segment_length_s: float | None = None,
    heads: Sequence[str] = (),
    include_embeddings: bool = False,
) -> pb.ClassifyOptions:
    """Builds the message; see `ClassifyOptions`. Raises OptionError for a name or a number that is no choice."""
    return pb.ClassifyOptions(
        max_results=_number("max_results", max_results, -1, _MOST_INT32),
        score_threshold=_number("score_threshold", score_threshold, -math.inf, math.inf),
        category_allowlist=_names("category_allowlist", category_allowlist),
        category_denylist=_names("category_denylist", category_denylist),
        display_names_locale=display_names_locale,
        pooling=None if pooling is None else choice("pooling", pooling, POOLINGS),
        hop=duration("hop_s", hop_s),
        heads=_names("heads", heads),
        segment_length=duration("segment_length_s", segment_length_s),
        include_embeddings=include_embeddings,
    )


def choice(option: str, value: str, choices: Mapping[str, T]) -> T:
    """Gives the choice of that name, or an OptionError that lists them all."""
    try:
        return choices[value]
    except (KeyError, TypeError):
        raise OptionError(
            f"{option} is {value!r}; it must be one of {', '.join(map(repr, choices))}",
            field=f"options.{option}",
        ) from None


def duration(option: str, seconds: float | None) -> Duration | None:
    """Gives a Duration of that many seconds, to the nanosecond; None stays None. OptionError for what is none."""
    seconds = _number(option, seconds, 1e-9, _LONGEST_S)
    if seconds is None:
        return None
    message = Duration()
    message.FromNanoseconds(round(seconds * 1e9))
    return message


def wire_format(sample_rate_hz: int, channels: int | None, encoding: str | None) -> pb.PcmFormat:
    """Builds the message; None: one channel, s16le. Raises OptionError for what it cannot hold."""
    return pb.PcmFormat(
        encoding=choice("encoding", encoding or "s16le", ENCODINGS),
        sample_rate_hz=_number("sample_rate_hz", sample_rate_hz, 1, _MOST_UINT32),
        channels=_number("channels", 1 if channels is None else channels, 1, _MOST_UINT32),
    )


def _number(option: str, value: N | None, low: N, high: N) -> N | None:
    """Gives the number, a whole one where the bounds are, or an OptionError with its range; None stays None."""
    whole = isinstance(low, int)
    # Booleans are numbers too, and NaN is in no range.
    if value is not None and (
        isinstance(value, bool) or not isinstance(value, Integral if whole else Real) or not low <= value <= high
    ):
        kind = "a whole number from " if whole else ""
        raise OptionError(
            f"{option} must be {kind}{low:.12g} to {high:.12g}, but is {value}", field=f"options.{option}"
        )
    return value


def _names(option: str, names: Sequence[str]) -> Sequence[str]:
    # A bare string is a sequence too, of its letters.
    if isinstance(names, str):
        raise OptionError(f"{option} is the string {names!r}; give a list of names, as [{names!r}]")
    return names
