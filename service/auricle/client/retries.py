"""When a call is tried again, after how long, and until when."""

from __future__ import annotations

import math
import random
import time
from dataclasses import dataclass

from auricle.errors import AuricleError, BusyError, DeadlineError, OptionError, UnavailableError

__all__ = ["RetryPolicy", "TimeLimit", "finite_s"]

# Thirty years: gRPC's clock overflows at a few centuries, and the call would fail at once.
_ENDLESS_S = 1e9


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """Bounds on trying a unary call again; a stream that has begun is never repeated.

    Repeated are UNAVAILABLE, and RESOURCE_EXHAUSTED where the server says when to come back. All unary calls
    of this service only read, so that an attempt whose answer was lost does no harm.

    Args:
        attempts: tries in all, >= 1.
        first_delay_s: pause after the first failure.
        factor: growth of the pause from one failure to the next.
        longest_delay_s: bound on the pause that the policy chooses; a server's own wish may be longer.
        jitter: the pause is stretched by up to this share of itself, so that clients do not return together.
    """

    attempts: int = 4
    first_delay_s: float = 0.1
    factor: float = 3.0
    longest_delay_s: float = 5.0
    jitter: float = 0.25

    def delay_s(self, error: AuricleError, attempt: int, chance: float | None = None) -> float | None:
        """Gives the pause in seconds before the next try, or None where there should be none.

        Args:
            error: what the attempt ended with.
            attempt: how many have been made, from 1.
            chance: 0 to 1, the draw for the jitter; drawn where None.
        """
        if attempt >= self.attempts:
            return None
        if isinstance(error, BusyError):
            if error.retry_after_s is None:
                return None
        elif not isinstance(error, UnavailableError):
            return None
        try:
            grown_s = self.first_delay_s * self.factor ** (attempt - 1)
        except OverflowError:  # a float ends some hundreds of attempts on
            grown_s = math.inf if self.first_delay_s else 0.0
        backoff_s = min(grown_s, self.longest_delay_s)
        draw = random.random() if chance is None else chance
        return max(backoff_s, error.retry_after_s or 0.0) * (1.0 + self.jitter * draw)


def finite_s(timeout_s: float | None) -> float | None:
    """Gives a time limit as gRPC takes it: None for one that never comes. Raises OptionError for NaN."""
    if timeout_s is None or timeout_s >= _ENDLESS_S:
        return None
    if math.isnan(timeout_s):
        raise OptionError("timeout_s must be a number of seconds, but is NaN; None: no limit", field="timeout_s")
    return timeout_s


class TimeLimit:
    """The time that one call has, from now, with everything that belongs to it.

    Args:
        limit_s: seconds; None or infinity: no end.
        streams: whether it holds for a stream too that the call turns into.
    """

    def __init__(self, limit_s: float | None, *, streams: bool) -> None:
        self.limit_s = finite_s(limit_s)
        self._ends_s = math.inf if self.limit_s is None else time.monotonic() + self.limit_s
        self._streams = streams

    @property
    def left_s(self) -> float | None:
        """Seconds until the end, None where there is no end. Raises DeadlineError where it has passed."""
        if self.limit_s is None:
            return None
        left_s = self._ends_s - time.monotonic()
        if left_s <= 0:
            raise DeadlineError(f"the time limit of {self.limit_s:g} s has passed; raise timeout_s")
        return left_s

    def allows(self, delay_s: float) -> bool:
        """Says whether there is time for a pause of so many seconds and something after it."""
        return delay_s < self._ends_s - time.monotonic()

    @property
    def stream_left_s(self) -> float | None:
        """As ``left_s``; None where a stream is not bound."""
        return self.left_s if self._streams else None
