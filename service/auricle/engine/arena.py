"""The arena: the memory that a session keeps from run to run, and when it gives some back."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Arena"]

# A large run up to doubles in time where its memory was given back before it, one page fault after another. After a
# pause of so many times its length, that is little of the whole.
PAUSE = 10
LEAST_PAUSE_S = 1.0
# A run that is so many times smaller than the largest would hold memory for nothing.
SMALLER = 4


class Arena:
    """Tells which runs give back what larger ones took: a usual one, or one far smaller, some time after the largest.

    Usual are those that are no larger than any up to the first that was asked to give memory back, as the end of a
    load is. One run at a time; ``clock`` gives seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._usual_bytes = 0
        self._settled = False
        self._largest_bytes = 0
        self._due_s = math.inf

    @contextmanager
    def run(self, size_bytes: int, *, shrink: bool = False) -> Iterator[bool]:
        """Goes around a run with so much input; gives whether it is to give memory back, as where ``shrink`` asks."""
        begun_s = self._clock()
        small = size_bytes <= max(self._usual_bytes, self._largest_bytes // SMALLER)
        shrink = shrink or (small and begun_s >= self._due_s)
        try:
            yield shrink
        finally:
            if not self._settled:
                self._usual_bytes, self._settled = max(self._usual_bytes, size_bytes), shrink
            elif shrink:
                self._largest_bytes, self._due_s = 0, math.inf
            elif size_bytes > max(self._usual_bytes, self._largest_bytes):
                ended_s = self._clock()
                self._largest_bytes = size_bytes
                self._due_s = ended_s + max(LEAST_PAUSE_S, PAUSE * (ended_s - begun_s))
