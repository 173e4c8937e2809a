"""What calls give back: frozen records with NumPy vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from numpy.typing import NDArray

from auricle.errors import OptionError

__all__ = [
    "Category",
    "Classification",
    "ClassifyResult",
    "EmbedResult",
    "Embedding",
    "Flushed",
    "HeadInfo",
    "ModelInfo",
    "Ready",
    "SegmentResult",
    "StreamEvent",
    "Summary",
    "Timing",
    "Usage",
]

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a call consumed: samples at the model's rate, padding not counted; their seconds; segments run."""

    samples: int
    duration_s: float
    segments: int


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Where the server's time went, in seconds. Stages may overlap: they need not add up to the total."""

    queue_s: float
    decode_s: float
    features_s: float
    inference_s: float
    total_s: float


# eq=False where arrays are held: == on them is no truth value, so records compare by identity.
@dataclass(frozen=True, kw_only=True, eq=False)
class Embedding:
    """One head's vector of one segment, or of the whole clip where it was pooled.

    ``vector`` is (dimension,) of float32, int8 or float16, as asked for. Samples count at the model's rate
    from the start of the audio, the end exclusive.
    """

    head: str
    head_index: int
    start_s: float
    end_s: float
    start_sample: int
    end_sample: int
    vector: NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Category:
    """One label and its score, after calibration and pooling. Names are empty where the model has none."""

    index: int
    score: float
    category_name: str
    display_name: str

    @property
    def label(self) -> str:
        """The best name there is: of the locale asked for, else the category's, else the index."""
        return self.display_name or self.category_name or str(self.index)


@dataclass(frozen=True, kw_only=True)
class Classification:
    """One head's categories of one segment or clip, highest score first. Offsets as in `Embedding`."""

    head: str
    head_index: int
    start_s: float
    end_s: float
    start_sample: int
    end_sample: int
    categories: tuple[Category, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class EmbedResult:
    """The vectors of one clip, by segment, then by head index; model and version are those that answered."""

    model: str
    version: str
    embeddings: tuple[Embedding, ...]
    usage: Usage
    timing: Timing

    @property
    def vector(self) -> NDArray[Any]:
        """The one vector, (dimension,). Raises OptionError where there are several."""
        return _only(self.embeddings, "vector").vector


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassifyResult:
    """The categories of one clip, by segment, then by head index; vectors where they were asked for too."""

    model: str
    version: str
    classifications: tuple[Classification, ...]
    usage: Usage
    timing: Timing
    embeddings: tuple[Embedding, ...] = ()

    @property
    def categories(self) -> tuple[Category, ...]:
        """The one answer's categories. Raises OptionError where there are several answers."""
        return _only(self.classifications, "answer").categories


@dataclass(frozen=True, kw_only=True)
class HeadInfo:
    """One output of a model. ``kind``: "embedding" or "classification"; ``pooling``: of unary, unasked."""

    name: str
    index: int
    kind: str
    dimension: int
    labels: int
    pooling: str | None
    label_lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """A model that is served. ``segment_samples`` and ``hop_samples`` are None where it takes whole clips."""

    name: str
    version: str
    description: str
    author: str
    license: str
    task: str
    sample_rate_hz: int
    channels: int
    segment_samples: int | None
    hop_samples: int | None
    features: str
    heads: tuple[HeadInfo, ...]
    newest: bool
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A stream's first event: everything resolved. Samples count at ``sample_rate_hz``, the model's rate."""

    model: str
    version: str
    sample_rate_hz: int
    segment_samples: int
    hop_samples: int
    heads: tuple[HeadInfo, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class SegmentResult:
    """All heads of one segment, by head index: vectors, categories, or both."""

    embeddings: tuple[Embedding, ...] = ()
    classifications: tuple[Classification, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Flushed:
    """The answer to FLUSH, after its results: samples at the model's rate so far."""

    end_sample: int


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A stream's last event."""

    usage: Usage
    timing: Timing


StreamEvent: TypeAlias = Ready | SegmentResult | Flushed | Summary


def _only(answers: tuple[T, ...], noun: str) -> T:
    if len(answers) != 1:
        raise OptionError(f"the result holds {len(answers)} {noun}s, not one; ask for pooling and a single head")
    return answers[0]
