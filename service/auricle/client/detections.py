"""Detections: what a stream's overlapping segments say many times over, told once."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from auricle.client.results import Category, StreamEvent
from auricle.errors import OptionError

__all__ = ["Detection", "Detector"]


@dataclass(frozen=True, kw_only=True)
class Detection:
    """A label that was heard, its score, and the segment that gave it away, in seconds from the stream's start."""

    label: str
    score: float
    start_s: float
    end_s: float


class Detector:
    """Turns a stream's classifications into detections, each word once.

    With a hop below the segment's length a word is in several segments. It is told in the first where it is the best
    label with at least ``threshold``; then nothing is told for ``suppression_s``, and the same label not again before
    a segment in which it was not heard. tfjs's speech commands do the first two.

        detector = Detector()
        for event in client.stream_classify(sound, model="digits", hop_s=0.25):
            if detection := detector.take(event):
                print(detection.label)

    Args:
        threshold: least score, 0 to 1.
        suppression_s: seconds of sound after a detection in which there is no other, 0 or more.
        ignored: labels (category or display names) that are never told.
        head: the head that is listened to; None: the first classification of each segment.

    Raises:
        OptionError: a value out of its range.
    """

    def __init__(
        self,
        *,
        threshold: float = 0.7,
        suppression_s: float = 1.0,
        ignored: Collection[str] = ("background", "_background_noise_", "_unknown_"),
        head: str | None = None,
    ) -> None:
        if not 0 <= threshold <= 1:
            raise OptionError(f"threshold must be 0 to 1, but is {threshold}", field="threshold")
        if not suppression_s >= 0:
            raise OptionError(f"suppression_s must be 0 or more, but is {suppression_s}", field="suppression_s")
        self._threshold = threshold
        self._suppression_s = suppression_s
        self._ignored = frozenset(ignored)
        self._head = head
        self._last: Detection | None = None
        self._sounding = ""

    def take(self, event: StreamEvent) -> Detection | None:
        """Takes the next event of a stream; gives the detection that it completes, if any."""
        for answer in getattr(event, "classifications", ()):
            if self._head is None or answer.head == self._head:
                best = answer.categories[0] if answer.categories else None
                return self._judge(best, answer.start_s, answer.end_s)
        return None

    def _judge(self, best: Category | None, start_s: float, end_s: float) -> Detection | None:
        if best is None or best.score < self._threshold or self._ignored & {best.category_name, best.display_name}:
            self._sounding = ""
            return None
        label = best.category_name or best.label
        if label == self._sounding:
            return None
        if self._last is not None and end_s - self._last.end_s < self._suppression_s:
            return None
        self._sounding = label
        self._last = Detection(label=label, score=best.score, start_s=start_s, end_s=end_s)
        return self._last
