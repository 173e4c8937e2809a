"""A crowd of live streams in a process of its own: each sends a chunk on time and notes when its results come."""

from __future__ import annotations

import heapq
import os
import resource
import selectors
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait

from wire import Connection, framed

__all__ = ["Crowd", "Gathering", "ask", "stand"]

PATH = "/auricle.v1.AudioService/StreamEmbed"
# First byte of StreamEmbedResponse on the wire, by the member of its oneof.
READY, RESULT, SUMMARY = 0x0A, 0x12, 0x1A
TICK_S = 0.004
OPENING_S = 60.0
CLOSING_S = 20.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Crowd:
    """What to do: ``streams`` of the same sound, each with its own phase, for ``seconds`` of it.

    A stream keeps its phase for ever: those that began together have their segments together.

    Attributes:
        config: the first message, in wire form.
        chunks: messages with audio, in wire form; they are sent round and round, one each ``chunk_s``.
        due: the chunk, from 0, that completes segment 0, and how many more complete each further one; they may be
            fractions.
        spread_s: they begin one after another over so long: a hop of the model where they know nothing of each other.
        connections: TCP connections that the streams share.
        silent: streams of them, on connections of their own, that never read a reply.
        leave_out_s: results of the first seconds are not counted.
    """

    config: bytes
    chunks: Sequence[bytes]
    chunk_s: float
    due: tuple[float, float]
    streams: int
    seconds: float
    spread_s: float
    connections: int
    silent: int = 0
    leave_out_s: float = 2.0


@dataclass(kw_only=True, slots=True)
class Gathering:
    """What came of a crowd.

    ``delays_s``: from the time at which the last chunk of a segment was due to be sent, to its result.
    ``late_s``: how far the generator itself was behind its schedule. ``kept``: all replies of the first stream.
    """

    delays_s: list[float] = field(default_factory=list)
    missing: int = 0
    ended: int = 0
    failed: int = 0
    backlog_bytes: int = 0
    silent_backlog_bytes: int = 0
    late_s: list[float] = field(default_factory=list)
    cpu_s: float = 0.0
    wall_s: float = 0.0
    messages: int = 0
    kept: list[bytes] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class _Member:
    """One stream of the crowd."""

    connection: Connection
    stream: int = 0
    begun_s: float = 0.0
    sent: int = 0
    results: int = 0
    ready: bool = False
    summary: bool = False
    over: bool = False


def stand(pipe: Pipe, address: str, cores: Collection[int]) -> None:
    """The process's main: a Gathering for each Crowd that comes through the pipe, until None.

    It says ``"ready"`` when all streams of a crowd have been answered, and begins when told to.
    """
    os.sched_setaffinity(0, cores)
    host, _, port = address.rpartition(":")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    while (crowd := pipe.recv()) is not None:
        pipe.send(_Run((host, int(port)), crowd).go(pipe))


class _Run:
    def __init__(self, address: tuple[str, int], crowd: Crowd) -> None:
        self._address = address
        self._crowd = crowd
        self._chunks = round(crowd.seconds / crowd.chunk_s)
        self._found = Gathering()
        self._selector = selectors.DefaultSelector()
        self._connections: list[Connection] = []
        self._members: list[_Member] = []
        self._by_place: dict[tuple[int, int], _Member] = {}
        self._pieces = [framed(chunk) for chunk in crowd.chunks]

    def go(self, pipe: Pipe) -> Gathering:
        try:
            self._open()
            pipe.send("ready")
            pipe.recv()
            self._send()
            self._close()
        finally:
            self._selector.close()
            for connection in self._connections:
                connection.socket.close()
        return self._found

    def _connect(self) -> Connection:
        place = len(self._connections)

        def message(stream: int, data: bytes) -> None:
            self._message(self._by_place[place, stream], data)

        def end(stream: int, _: bytes) -> None:
            self._by_place[place, stream].over = True

        connection = Connection(self._address, on_message=message, on_end=end)
        self._connections.append(connection)
        self._selector.register(connection.socket, selectors.EVENT_READ, connection)
        return connection

    def _open(self) -> None:
        crowd = self._crowd
        shared: list[Connection] = []
        end = time.monotonic() + OPENING_S
        for number in range(crowd.streams + crowd.silent):
            if number < crowd.connections or number >= crowd.streams:
                shared.append(self._connect())
            connection = shared[number % crowd.connections] if number < crowd.streams else shared[-1]
            member = _Member(connection)
            member.stream = connection.open(PATH)
            self._by_place[self._connections.index(connection), member.stream] = member
            self._members.append(member)
            connection.send(member.stream, framed(crowd.config))
            # A few at a time: what is measured is holding them, not the rush at the door.
            while sum(not each.ready for each in self._members[-64:]) > 32 and time.monotonic() < end:
                self._receive(0.05)
        while not all(member.ready or member.over for member in self._members) and time.monotonic() < end:
            self._receive(0.05)
        self._found.failed = sum(member.over or not member.ready for member in self._members)
        for member in self._members[crowd.streams :]:
            self._selector.unregister(member.connection.socket)

    def _send(self) -> None:
        crowd, found = self._crowd, self._found
        begun, cpu = time.monotonic(), time.process_time()
        for number, member in enumerate(self._members):
            member.begun_s = begun + crowd.spread_s * number / len(self._members)
        # Whoever is next, by the time at which the next chunk is due.
        turns = [(member.begun_s, number) for number, member in enumerate(self._members)]
        taken = 0
        while turns:
            now = time.monotonic()
            while turns and turns[0][0] <= now:
                due, number = turns[0]
                member = self._members[number]
                if not member.over:
                    member.connection.send(member.stream, self._pieces[member.sent % len(self._pieces)])
                    found.messages += 1
                member.sent += 1
                if member.sent < self._chunks:
                    heapq.heapreplace(turns, (member.begun_s + member.sent * crowd.chunk_s, number))
                else:
                    heapq.heappop(turns)
                if taken % 97 == 0:
                    found.late_s.append(time.monotonic() - due)
                taken += 1
            self._receive(TICK_S)
        found.wall_s, found.cpu_s = time.monotonic() - begun, time.process_time() - cpu
        found.backlog_bytes = sum(connection.backlog_bytes for connection in self._connections[: crowd.connections])
        found.silent_backlog_bytes = sum(
            connection.backlog_bytes for connection in self._connections[crowd.connections :]
        )

    def _close(self) -> None:
        crowd = self._crowd
        readers = self._members[: crowd.streams]
        first, each = crowd.due
        wanted = 1 + int((readers[0].sent - 1 - first) / each)
        end = time.monotonic() + CLOSING_S
        open_now = list(readers)
        while open_now and time.monotonic() < end:
            for member in [member for member in open_now if not member.connection.backlog_bytes]:
                if not member.over:
                    member.connection.close_sending(member.stream)
                open_now.remove(member)
            self._receive(0.02)
        while not all(member.over for member in readers) and time.monotonic() < end:
            self._receive(0.02)
        self._found.ended = sum(member.summary for member in readers)
        self._found.missing = sum(max(0, wanted - member.results) for member in readers)

    def _receive(self, timeout_s: float) -> None:
        for key, _ in self._selector.select(timeout_s):
            connection: Connection = key.data
            try:
                connection.receive()
            except ConnectionError:
                self._selector.unregister(connection.socket)
                for member in self._members:
                    member.over = member.over or member.connection is connection

    def _message(self, member: _Member, data: bytes) -> None:
        crowd = self._crowd
        kind = data[0]
        if member is self._members[0]:
            self._found.kept.append(data)
        if kind == RESULT:
            first, each = crowd.due
            # The chunk that brought the segment's end. With the last one it is the stream's end that forces it out, and
            # that is on no schedule.
            chunk = first + member.results * each
            chunk = int(chunk) + (chunk > int(chunk))
            member.results += 1
            due = member.begun_s + chunk * crowd.chunk_s
            if chunk < self._chunks - 1 and chunk * crowd.chunk_s >= crowd.leave_out_s:
                self._found.delays_s.append(time.monotonic() - due)
        elif kind == READY:
            member.ready = True
        elif kind == SUMMARY:
            member.summary = True


def ask(pipe: Pipe, timeout_s: float) -> object:
    """What the process says next; TimeoutError where it says nothing."""
    if not wait([pipe], timeout_s):
        raise TimeoutError(f"the load generator said nothing for {timeout_s:g} s")
    found: object = pipe.recv()
    return found
