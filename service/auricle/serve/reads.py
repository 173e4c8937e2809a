"""Reads: whose message is taken next, so that many large ones at once do not all fill the memory."""

from __future__ import annotations

import asyncio
import itertools
from types import TracebackType

__all__ = ["Reads", "Share"]

BUDGET_BYTES = 4 * 1024 * 1024
# Until sizes are known; a crowd that comes first is taken so many at a time.
FIRST_BYTES = 1024 * 1024
# Of the running mean of the sizes: about so many messages.
MEAN_MESSAGES = 16
# A message from near by is there sooner. One from far away, or of a slow sender, counts no longer until it comes: else
# their pace would be everybody's.
ARRIVAL_S = 0.02
# However many messages are there and not used, nobody waits longer.
PATIENCE_S = 1.0


class Reads:
    """Holds the messages that were read, and not used yet, within a budget. Used on one event loop.

    Whoever finds it spent waits, in order; what HTTP/2's windows do not take stays with the sender meanwhile. How large
    a message is shows once it is there: until then it counts as the mean of late. While those are small nobody waits.

    Args:
        budget_bytes: of all messages; one is taken whatever its size.
        arrival_s: seconds that a message counts which does not come.
        patience_s: seconds that one waits at most.
    """

    def __init__(
        self, *, budget_bytes: int = BUDGET_BYTES, arrival_s: float = ARRIVAL_S, patience_s: float = PATIENCE_S
    ) -> None:
        self._budget = budget_bytes
        self._arrival_s = arrival_s
        self._patience_s = patience_s
        self._loop = asyncio.get_running_loop()
        self._held = 0
        self._mean = float(FIRST_BYTES)
        self._waiting: dict[Share, asyncio.Future[None]] = {}
        # Shares whose messages are yet to come, and since when: the oldest first.
        self._coming: dict[Share, float] = {}
        self._alarm: asyncio.TimerHandle | None = None

    @property
    def held_bytes(self) -> int:
        """What all shares count."""
        return self._held

    @property
    def waiting(self) -> int:
        """Shares that wait for room."""
        return len(self._waiting)

    async def turn(self) -> Share:
        """A share of the budget for one message, as a context manager."""
        share = Share(self)
        if not self._waiting and self._has_room():
            self._admit(share)
            return share
        turn = self._waiting[share] = self._loop.create_future()
        self._set_alarm()
        try:
            async with asyncio.timeout(self._patience_s):
                await turn
        except TimeoutError:
            if share not in self._coming:
                self._admit(share)
        except asyncio.CancelledError:
            self.count(share, 0)
            raise
        finally:
            self._waiting.pop(share, None)
        return share

    def learn(self, size: int) -> None:
        """Takes the size of a message into the mean."""
        self._mean += (size - self._mean) / MEAN_MESSAGES

    def count(self, share: Share, size: int) -> None:
        """Has a share count so many bytes, whose message is there or gone, and lets in those who have room now."""
        self._coming.pop(share, None)
        self._held += size - share.size
        share.size = size
        self._let_in()

    def _let_in(self) -> None:
        for share, turn in self._waiting.items():
            if not turn.done():
                if not self._has_room():
                    break
                self._admit(share)
                turn.set_result(None)

    def _admit(self, share: Share) -> None:
        share.size = round(self._mean)
        self._held += share.size
        self._coming[share] = self._loop.time()

    def _set_alarm(self) -> None:
        """While somebody waits: looks again when the oldest message that is yet to come counts no longer."""
        if self._alarm is None and self._waiting and self._coming:
            oldest = next(iter(self._coming.values()))
            self._alarm = self._loop.call_at(oldest + self._arrival_s, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self._let_in()
        self._set_alarm()

    def _has_room(self) -> bool:
        if not self._fits():
            late = self._loop.time() - self._arrival_s
            for share in list(itertools.takewhile(lambda share: self._coming[share] <= late, self._coming)):
                del self._coming[share]
                self._held -= share.size
                share.size = 0
        return self._fits()

    def _fits(self) -> bool:
        return not self._held or self._held + self._mean <= self._budget


class Share:
    """One message's part of the budget, given back at the end of the block or before."""

    __slots__ = ("_reads", "size")

    def __init__(self, reads: Reads) -> None:
        self._reads = reads
        self.size = 0

    def came(self, size: int) -> None:
        """The message is there."""
        self._reads.learn(size)
        self._reads.count(self, size)

    def release(self) -> None:
        """The message is used."""
        self._reads.count(self, 0)

    def __enter__(self) -> Share:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
