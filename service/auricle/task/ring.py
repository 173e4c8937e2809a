"""A ring of the newest samples, written by one thread and read by others."""

from __future__ import annotations

import threading
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["News", "Ring"]

Floats = NDArray[np.float32]


class News(NamedTuple):
    """Samples (n, channels) that are new to a reader, the total to ask from next, and how many it has missed."""

    samples: Floats
    total: int
    lost: int


class Ring:
    """Keeps the newest ``size`` samples of ``channels``; a write costs what it writes, whatever the size.

    All methods take the lock, so that a reader never sees half of a write.
    """

    def __init__(self, size: int, channels: int) -> None:
        self._data: Floats = np.zeros((size, channels), np.float32)
        self._count = 0
        self._ended = False
        self._changed = threading.Condition()

    @property
    def size(self) -> int:
        """Samples that it holds."""
        return len(self._data)

    @property
    def count(self) -> int:
        """Samples written since ``clear``."""
        with self._changed:
            return self._count

    @property
    def ended(self) -> bool:
        """Whether ``end`` was called since ``clear``."""
        with self._changed:
            return self._ended

    def clear(self) -> None:
        """All zeros, nothing written, not ended."""
        with self._changed:
            self._data.fill(0.0)
            self._count = 0
            self._ended = False

    def end(self) -> None:
        """No more will be written: wakes those who wait."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def write(self, samples: Floats) -> None:
        """Takes samples (n, channels); of more than it holds it keeps the newest."""
        with self._changed:
            newest = samples[-self.size :]
            start = (self._count + len(samples) - len(newest)) % self.size
            first = min(len(newest), self.size - start)
            self._data[start : start + first] = newest[:first]
            self._data[: len(newest) - first] = newest[first:]
            self._count += len(samples)
            self._changed.notify_all()

    def newest(self, size: int) -> Floats:
        """A copy of the newest ``size`` samples, oldest first; zeros stand for those not written yet."""
        with self._changed:
            return self._copy(size)

    def since(self, count: int, timeout_s: float | None = None) -> News | None:
        """Waits for samples beyond the ``count``-th and gives them; None at the end, or after ``timeout_s``."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._count > count or self._ended, timeout_s):
                return None
            fresh = self._count - count
            if fresh <= 0:
                return None
            held = min(fresh, self.size)
            return News(self._copy(held), self._count, fresh - held)

    def _copy(self, size: int) -> Floats:
        end = self._count % self.size
        if size <= end:
            return self._data[end - size : end].copy()
        return np.concatenate((self._data[end - size :], self._data[:end]))
