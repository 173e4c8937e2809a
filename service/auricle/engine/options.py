"""What a request may ask of a model, without the wire's types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from auricle.model.heads import HeadKind, Pooling

__all__ = ["Options", "VectorType"]

VectorType = Literal["float32", "int8", "float16"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Options of all four calls; None and empty mean that the bundle decides.

    Attributes:
        kind: the heads that answer.
        heads: names of heads of that kind; empty means all of them.
        pooling: how segments become one answer; in a stream None is ``none``.
        hop_ns, segment_length_ns: times in nanoseconds, rounded to whole feature hops, at least one.
        include_embeddings: a classification also returns the embedding heads' vectors.
    """

    kind: HeadKind
    heads: tuple[str, ...] = ()
    pooling: Pooling | None = None
    hop_ns: int | None = None
    segment_length_ns: int | None = None
    l2_normalize: bool | None = None
    vector_type: VectorType = "float32"
    max_results: int | None = None
    score_threshold: float | None = None
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    locale: str = ""
    include_embeddings: bool = False
