"""The segment grid: which cuts of a sound the model sees, as a function of counts alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from auricle.frontend import FeatureSpec
from auricle.model.bundle import Bundle

__all__ = ["Intake", "SegmentGrid"]


class Intake(Protocol):
    """What cutting needs to know of a model: a loaded graph has it, and so has a model that is yet to be trained."""

    @property
    def bundle(self) -> Bundle: ...

    @property
    def features(self) -> FeatureSpec | None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentGrid:
    """Segments start at 0, hop, 2 hop, ... while they fit whole; at most one more is partial.

    A row is what the model's input counts: one frame, or one sample of a waveform model.

    Attributes:
        length: rows of one segment; None takes the whole clip as one.
        hop: rows between segment starts.
        row_samples: samples at the model's rate between rows (the feature hop, or 1).
        samples: samples that one segment spans; None where ``length`` is.
        min_coverage: least part of a partial segment that must be sound, 0 to 1.
        min_samples: least sound that gives the rows which the model needs; less cannot be served as a whole clip.
    """

    length: int | None
    hop: int
    row_samples: int
    samples: int | None
    min_coverage: float = 0.0
    min_samples: int = 1

    @property
    def hop_samples(self) -> int:
        """Samples between segment starts."""
        return self.hop * self.row_samples

    def start(self, index: int) -> int:
        """First sample of segment ``index``."""
        return index * self.hop_samples

    def whole(self, samples: int) -> int:
        """How many segments fit whole into so many samples."""
        if self.samples is None or samples < self.samples:
            return 0
        return (samples - self.samples) // self.hop_samples + 1

    def keeps_partial(self, samples: int, *, force: bool = False) -> bool:
        """Whether one more, partial segment follows the whole ones in a sound of so many samples.

        It exists only if sound is left past the end of the last whole segment and inside the partial
        one; it is kept when enough of it is sound, when it is the only segment, or when forced (a flush).
        """
        if samples <= 0:
            return False
        count = self.whole(samples)
        if self.samples is None or count == 0:
            return True
        left = samples - self.start(count)
        if left <= 0 or samples <= self.start(count - 1) + self.samples:
            return False
        return force or left / self.samples >= self.min_coverage
