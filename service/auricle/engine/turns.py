"""Turns: when those who were refused may come back, one after another rather than all together."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["LEAST_RETRY_S", "LONGEST_RETRY_S", "REFUSAL_EVERY_S", "Turns"]

# The first who was refused may come back after so long; a place is free by then where calls are short.
LEAST_RETRY_S = 0.05
LONGEST_RETRY_S = 30.0
# A refusal costs about as much as an empty call, 0.25 to 0.5 ms: at most so often, on average, they take a twentieth of
# a core at worst. In a crowd that calls again at once there is a refusal for nearly every turn.
REFUSAL_EVERY_S = 0.01


class Turns:
    """Hands out delays. ``clock`` gives seconds, monotonic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next_s = 0.0

    def take(self, every_s: float, *, least_s: float = LEAST_RETRY_S) -> float:
        """Seconds until the next turn that nobody has been given yet; the one after it comes ``every_s`` later."""
        now = self._clock()
        turn = min(max(self._next_s, now + max(least_s, LEAST_RETRY_S)), now + LONGEST_RETRY_S)
        self._next_s = turn + max(every_s, REFUSAL_EVERY_S)
        # Whole hundredths: few different answers, which the door can keep.
        return round(turn - now, 2)
