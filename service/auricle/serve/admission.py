"""Admission: what the server takes on, from everyone together and from each client.

A door asks before it takes a request, so that a refusal costs no more than an empty call. A place is held until
the call ends. A refused call is told when to come back: the times are handed out one after another at the pace at
which calls end, so that those who were refused do not come back together.
"""

from __future__ import annotations

import itertools
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Final
from urllib.parse import unquote

from auricle.config import AdmissionSettings
from auricle.engine.turns import LEAST_RETRY_S, LONGEST_RETRY_S, Turns
from auricle.errors import BusyError, UnavailableError

__all__ = ["Admission", "client_of"]

# Of the running mean of the time a call takes from the server: about so many calls.
PACE_CALLS = 64


def client_of(peer: str) -> str:
    """Who calls, from gRPC's name of the peer: the address without the port, ``unix`` for a local socket.

    Behind a proxy all callers are the proxy. A key from authentication can take the address's place: Admission only
    compares the names.
    """
    kind, _, rest = peer.partition(":")
    if kind == "unix":
        return kind
    return unquote(rest.rpartition(":")[0]).strip("[]") or peer


@dataclass(slots=True)
class _Client:
    """What one client has open, and the calls that its rate leaves it."""

    calls: int = 0
    streams: int = 0
    tokens: float = 0.0
    since_s: float = 0.0


class Admission:
    """Counts calls and streams, and refuses those over a limit with BusyError.

    Used on one event loop. ``call`` and ``stream`` give a place as a context manager, or raise at once.

    Args:
        settings: the limits.
        streams: open streams at once.
        clock: seconds, monotonic.
    """

    def __init__(
        self, settings: AdmissionSettings, *, streams: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._most_streams = streams
        self._clock = clock
        self._tracks = any(
            limit is not None for limit in (settings.client_calls, settings.client_streams, settings.client_rate_hz)
        )
        self._clients: OrderedDict[str, _Client] = OrderedDict()
        self._nobody = _Client()
        self._calls = 0
        self._streams = 0
        self._pace_s = 0.0
        self._ended = 0
        self._since_s = 0.0
        self._turns = Turns(clock)
        self._draining = False

    @property
    def calls(self) -> int:
        """Unary calls in flight."""
        return self._calls

    @property
    def streams(self) -> int:
        """Open streams."""
        return self._streams

    @property
    def clients(self) -> int:
        """Clients that are remembered: with something open, or with a rate that is not full again."""
        return len(self._clients)

    @property
    def backlog_s(self) -> float:
        """Seconds until the calls in flight have ended, by the pace of late."""
        return self._calls * self._pace_s

    @property
    def full(self) -> bool:
        """Whether a unary call would be refused, whoever calls, and by being told when to come back."""
        return self._calls >= self._settings.calls and not self._draining

    def refusal(self) -> BusyError:
        """What a unary call gets that comes while it is full, with the next turn to come back."""
        return BusyError(
            f"{self._calls} calls are in flight, the limit is {self._settings.calls}; come back after the given delay",
            reason="TOO_MANY_CALLS",
            retry_after_s=self._turns.take(self._pace_s),
        )

    def drain(self) -> None:
        """Refuses everything from now on with UnavailableError."""
        self._draining = True

    def call(self, client: str) -> _Place:
        """A place for a unary call. BusyError, with the time to come back, where there is none."""
        self._check_open()
        limits = self._settings
        if self.full:
            raise self.refusal()
        who = self._find(client) if self._tracks else self._nobody
        if limits.client_calls is not None and who.calls >= limits.client_calls:
            raise BusyError(
                f"client {client} has {who.calls} calls in flight, the limit of one is {limits.client_calls}; "
                "wait for one to end",
                reason="CLIENT_CALLS",
                retry_after_s=_bounded(who.calls * self._pace_s),
            )
        self._spend(client, who)
        if not self._calls:
            self._since_s = self._clock()
        self._calls += 1
        who.calls += 1
        return _Place(self._end_call, client, who)

    def stream(self, client: str) -> _Place:
        """A place for a stream. BusyError where there is none: once admitted, a stream is only slowed."""
        self._check_open()
        limits = self._settings
        if self._streams >= self._most_streams:
            raise BusyError(
                f"{self._streams} streams are open, the limit is {self._most_streams}; come back later",
                reason="TOO_MANY_STREAMS",
                retry_after_s=max(1.0, self._turns.take(self._pace_s)),
            )
        who = self._find(client) if self._tracks else self._nobody
        if limits.client_streams is not None and who.streams >= limits.client_streams:
            raise BusyError(
                f"client {client} has {who.streams} streams open, the limit of one is {limits.client_streams}; "
                "close one first",
                reason="CLIENT_STREAMS",
                retry_after_s=1.0,
            )
        self._spend(client, who)
        self._streams += 1
        who.streams += 1
        return _Place(self._end_stream, client, who)

    def _check_open(self) -> None:
        if self._draining:
            raise UnavailableError("the server is shutting down; send the call to another", reason="DRAINING")

    def _end_call(self, client: str, who: _Client) -> None:
        now = self._clock()
        # While calls are in flight, the time between two ends is what one takes from the server.
        self._ended += 1
        self._pace_s += (now - self._since_s - self._pace_s) / min(self._ended, PACE_CALLS)
        self._since_s = now
        self._calls -= 1
        who.calls -= 1
        self._forget(client, who)

    def _end_stream(self, client: str, who: _Client) -> None:
        self._streams -= 1
        who.streams -= 1
        self._forget(client, who)

    def _find(self, client: str) -> _Client:
        found = self._clients.get(client)
        if found is None:
            # Two go for each new one, so that callers who never return cannot fill the memory. Who stays is looked at
            # again after all others.
            for name in list(itertools.islice(self._clients, 2)):
                self._clients.move_to_end(name)
                self._forget(name, self._clients[name])
            found = self._clients[client] = _Client(tokens=float(self._settings.client_burst), since_s=self._clock())
        return found

    def _spend(self, client: str, who: _Client) -> None:
        """Takes one of the client's calls a second; BusyError until the next is there."""
        rate_hz = self._settings.client_rate_hz
        if rate_hz is None:
            return
        self._refill(who, rate_hz)
        if who.tokens < 1.0:
            raise BusyError(
                f"client {client} calls more often than {rate_hz:g} times a second; come back after the given delay",
                reason="CLIENT_RATE",
                retry_after_s=_bounded((1.0 - who.tokens) / rate_hz),
            )
        who.tokens -= 1.0

    def _refill(self, who: _Client, rate_hz: float) -> None:
        now = self._clock()
        who.tokens = min(float(self._settings.client_burst), who.tokens + (now - who.since_s) * rate_hz)
        who.since_s = now

    def _forget(self, client: str, who: _Client) -> None:
        """Drops a client of whom nothing needs to be known any more."""
        if not self._tracks or who.calls or who.streams:
            return
        rate_hz = self._settings.client_rate_hz
        if rate_hz is not None:
            self._refill(who, rate_hz)
            if who.tokens < self._settings.client_burst:
                return
        self._clients.pop(client, None)


class _Place:
    """A place that is held; leaving the block gives it back. A class, for it is on every call's way."""

    __slots__ = ("_client", "_end", "_who")

    def __init__(self, end: Callable[[str, _Client], None], client: str, who: _Client) -> None:
        self._end: Final = end
        self._client: Final = client
        self._who: Final = who

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(self._client, self._who)


def _bounded(delay_s: float) -> float:
    return min(max(delay_s, LEAST_RETRY_S), LONGEST_RETRY_S)
