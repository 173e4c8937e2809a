"""Options of what comes out of a task, and the results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

__all__ = [
    "Category",
    "ClassificationOptions",
    "ClassificationResult",
    "Classifications",
    "Embedding",
    "EmbeddingOptions",
    "EmbeddingResult",
    "FeatureVector",
]


@dataclass
class EmbeddingOptions:
    """What is done to a vector, in this order.

    Attributes:
        l2_normalize: scale it to length 1. None: as the bundle says of the head, which for an imported model
            is no.
        quantize: then make it int8, round(v * 128) clamped to -128 ... 127. None: no.
    """

    l2_normalize: bool | None = None
    quantize: bool | None = None


@dataclass
class ClassificationOptions:
    """Which categories a result has, of every head alike.

    Attributes:
        display_names_locale: locale of ``Category.display_name``; None: "en".
        max_results: the best k of what the other options leave; -1 or None: all. 0 is an error.
        score_threshold: keep scores of at least this; None: as the bundle says, else 0.
        category_name_allowlist: keep these only. Unknown names and duplicates do not matter, but one must be known.
        category_name_denylist: drop these. Not together with an allowlist.
    """

    display_names_locale: str | None = None
    max_results: int | None = None
    score_threshold: float | None = None
    category_name_allowlist: Sequence[str] | None = None
    category_name_denylist: Sequence[str] | None = None


# eq=False where arrays are held: == on them is no truth value.
@dataclass(eq=False)
class FeatureVector:
    """A vector (dimension,): float32, or int8 where it was quantised."""

    value: NDArray[Any]


@dataclass(eq=False)
class Embedding:
    """One head's vector; ``output_index`` is the head's place in the result."""

    feature_vector: FeatureVector
    output_index: int


@dataclass(eq=False)
class EmbeddingResult:
    """One embedding a head."""

    embeddings: list[Embedding]


@dataclass(slots=True)
class Category:
    """One class: its index in the head's output, its score, and its names, empty where there are none."""

    index: int
    score: float
    display_name: str = ""
    category_name: str = ""


@dataclass
class Classifications:
    """One head's categories, highest score first; ``head_index`` is the head's place in the result."""

    categories: list[Category] = field(default_factory=list)
    head_index: int = 0
    head_name: str = ""


@dataclass
class ClassificationResult:
    """One list of categories a head."""

    classifications: list[Classifications] = field(default_factory=list)
