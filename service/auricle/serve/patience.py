"""Patience with a client: how long a task waits for it, without a timer for each wait."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType
from typing import Any

__all__ = ["Patience"]


class Patience:
    """Cancels a task that waits for too long in one go. A context manager; the waits are between ``begin`` and ``end``.

    It has one timer, which looks when it rings at how long the wait of the moment has lasted: a timer for each would
    cost more than what is waited for. Time between waits does not count.

    Args:
        longest_s: seconds that a wait may last; None is for ever.

    Attributes:
        task: the one that waits, at first the one that enters. Whoever hands the waiting on to another says so here:
            to ask for the current task each time costs a twentieth of a stream's message.
    """

    def __init__(self, longest_s: float | None) -> None:
        self._longest_s = longest_s
        self.task: asyncio.Task[Any] | None = None
        self._waits = False
        self._since_s = 0.0
        self._over = False
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Patience:
        self.task = asyncio.current_task()
        if self._longest_s is not None:
            self._arm(self._longest_s)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def begin(self) -> None:
        """The task waits from now on."""
        self._since_s = time.monotonic()
        self._waits = True

    def end(self) -> None:
        """It does not any more."""
        self._waits = False

    def ran_out(self) -> bool:
        """Whether a cancellation of the task is this one's alone, which is then taken back."""
        return self._over and self.task is not None and not self.task.uncancel()

    def _arm(self, delay_s: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._look)

    def _look(self) -> None:
        assert self._longest_s is not None
        if not self._waits or self.task is None:
            self._arm(self._longest_s)
            return
        left_s = self._since_s + self._longest_s - time.monotonic()
        if left_s > 0:
            # The loop's clock may be a millisecond behind.
            self._arm(max(left_s, 0.001))
            return
        self._over = True
        self.task.cancel()
