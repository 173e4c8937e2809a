"""When a call is tried again, and after how long."""

from __future__ import annotations

import random
from dataclasses import dataclass

from auricle.errors import AuricleError, BusyError, UnavailableError

__all__ = ["RetryPolicy"]


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

    def delay_s(
        self, error: AuricleError, attempt: int, remaining_s: float | None, chance: float | None = None
    ) -> float | None:
        """Gives the pause in seconds before the next try, or None where there should be none.

        Args:
            error: what the attempt ended with.
            attempt: how many have been made, from 1.
            remaining_s: time left for the whole call; a pause that does not fit ends the call now.
            chance: 0 to 1, the draw for the jitter; drawn where None.
        """
        if attempt >= self.attempts:
            return None
        if isinstance(error, BusyError):
            if error.retry_after_s is None:
                return None
        elif not isinstance(error, UnavailableError):
            return None
        backoff_s = min(self.first_delay_s * self.factor ** (attempt - 1), self.longest_delay_s)
        draw = random.random() if chance is None else chance
        delay_s = max(backoff_s, error.retry_after_s or 0.0) * (1.0 + self.jitter * draw)
        return delay_s if remaining_s is None or delay_s < remaining_s else None
