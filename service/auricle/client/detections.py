"""Detections: what a stream's overlapping segments say many times over, told once."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass

from auricle.client.results import Category, Classification, StreamEvent
from auricle.errors import OptionError

__all__ = ["Detection", "Detector"]


@dataclass(frozen=True, kw_only=True)
class Detection:
    """A label that was heard, its mean score, and the segment that gave it away, in seconds from the stream's start."""

    label: str
    score: float
    start_s: float
    end_s: float


class Detector:
    """Turns a stream's classifications into detections, each word once.

    With a hop below the segment's length a word is in several segments, and the first of them may hold only its
    beginning and be wrong. So scores are means over the segments that ended in the last ``average_s``. A word is told
    as soon as it is the best label with a mean of at least ``threshold`` and of ``odds`` times what the ignored labels
    have together; then nothing is told for ``suppression_s``, and the same label not again before a moment in which it
    was not heard. Averaging is what TensorFlow's example for speech commands does, threshold and suppression are those
    of tfjs's. A threshold alone asks as much of two words that sound alike as of a word and none: with odds it may be
    low, so that words are missed less often, and yet less is told that nobody said.

        detector = Detector()
        for event in client.stream_classify(sound, model="digits", hop_s=0.25):
            if detection := detector.take(event):
                print(detection.label)

    Args:
        threshold: least mean score, 0 to 1.
        odds: least mean score over that of the ignored labels, 0 or more; 0 leaves it to the threshold.
        suppression_s: seconds of sound after a detection in which there is no other, 0 or more.
        average_s: seconds over whose segments scores are averaged, 0 or more; 0 takes each segment by itself. Otherwise
            a stream's first segment, which has none to be averaged with, tells nothing alone. A label that an answer
            leaves out, as ``max_results`` makes it, counts as 0 there.
        ignored: labels (category or display names) that are never told, and are no word.
        head: the head that is listened to; None: the first classification of each segment.

    Raises:
        OptionError: a value out of its range.
    """

    def __init__(
        self,
        *,
        threshold: float = 0.4,
        odds: float = 8.0,
        suppression_s: float = 1.0,
        average_s: float = 0.55,
        ignored: Collection[str] = ("background", "_background_noise_", "_unknown_"),
        head: str | None = None,
    ) -> None:
        if not 0 <= threshold <= 1:
            raise OptionError(f"threshold must be 0 to 1, but is {threshold}", field="threshold")
        for name, value in (("odds", odds), ("suppression_s", suppression_s), ("average_s", average_s)):
            if not value >= 0:
                raise OptionError(f"{name} must be 0 or more, but is {value}", field=name)
        self._threshold = threshold
        self._odds = odds
        self._suppression_s = suppression_s
        self._average_s = average_s
        self._ignored = frozenset(ignored)
        self._head = head
        self._recent: deque[Classification] = deque()
        self._last: Detection | None = None
        self._sounding = ""

    def take(self, event: StreamEvent) -> Detection | None:
        """Takes the next event of a stream; gives the detection that it completes, if any."""
        for answer in getattr(event, "classifications", ()):
            if self._head is None or answer.head == self._head:
                return self._judge(answer)
        return None

    def _judge(self, answer: Classification) -> Detection | None:
        best, score, none = self._best(answer)
        if best is None or score < max(self._threshold, self._odds * none):
            self._sounding = ""
            return None
        label = best.category_name or best.label
        if label == self._sounding:
            return None
        self._sounding = ""  # another is heard in its place, told or not
        if self._last is not None and answer.end_s - self._last.end_s < self._suppression_s:
            return None
        self._sounding = label
        self._last = Detection(label=label, score=score, start_s=answer.start_s, end_s=answer.end_s)
        return self._last

    def _best(self, answer: Classification) -> tuple[Category | None, float, float]:
        """The label with the greatest mean score over this answer and those shortly before it, if that is none of the
        ignored ones, its mean, and the sum of theirs."""
        began = not self._recent
        self._recent.append(answer)
        while answer.end_s - self._recent[0].end_s > self._average_s:
            self._recent.popleft()
        sums: dict[int, float] = {}
        labels: dict[int, Category] = {}
        for category in (each for recent in self._recent for each in recent.categories):
            sums[category.index] = sums.get(category.index, 0.0) + category.score
            labels[category.index] = category
        if not sums or (began and self._average_s > 0):
            return None, 0.0, 0.0
        ignored = {
            index for index, label in labels.items() if self._ignored & {label.category_name, label.display_name}
        }
        index = max(sums, key=sums.__getitem__)
        none = sum(sums[each] for each in ignored) / len(self._recent)
        return (None if index in ignored else labels[index]), sums[index] / len(self._recent), none
