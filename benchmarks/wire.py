"""A call's client end in bare HTTP/2: thousands of them fit one core, which no gRPC library in Python allows.

It knows what a well-behaved gRPC server sends and nothing more: no Huffman code, no header tables (statuses are not
read: a stream that ended well has said its summary).
"""

from __future__ import annotations

import socket
import struct
from collections import deque
from collections.abc import Callable

__all__ = ["Connection", "framed"]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
ACK = END_STREAM = 0x1
END_HEADERS = 0x4
INITIAL_WINDOW = 4
WINDOW = 65_535
# What we let the server send unasked: all that it has.
OPEN_WINDOW = 1 << 30
FRAME_BYTES = 16_384

Told = Callable[[int, bytes], None]


def framed(message: bytes) -> bytes:
    """A gRPC message with its prefix: not compressed, and its length."""
    return b"\x00" + struct.pack(">I", len(message)) + message


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _text(value: str) -> bytes:
    return bytes([len(value)]) + value.encode()


def _headers(path: str, authority: str) -> bytes:
    """RFC 7541 by hand: indexed where the static table has the pair, else literal and never indexed."""
    pairs = b"\x83\x86\x04" + _text(path) + b"\x01" + _text(authority)
    return pairs + b"\x0f\x10" + _text("application/grpc") + b"\x00" + _text("te") + _text("trailers")


class Connection:
    """One connection to a gRPC server, with streams on it. ``socket`` does not block.

    Args:
        on_message: told (stream, message) of every message that comes.
        on_end: told (stream, why) when the server ends a stream.
    """

    def __init__(self, address: tuple[str, int], *, on_message: Told, on_end: Told) -> None:
        self._on_message = on_message
        self._on_end = on_end
        self._authority = f"{address[0]}:{address[1]}"
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        settings = struct.pack(">HI", INITIAL_WINDOW, OPEN_WINDOW)
        grow = _frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", OPEN_WINDOW))
        self.socket.sendall(PREFACE + _frame(SETTINGS, 0, 0, settings) + grow)
        self.socket.setblocking(False)
        self._window = WINDOW
        self._first_window = WINDOW
        self._windows: dict[int, int] = {}
        self._waiting: dict[int, deque[bytes]] = {}
        self._out = bytearray()
        self._in = bytearray()
        self._messages: dict[int, bytearray] = {}
        self._ending: set[int] = set()
        self._next = 1

    @property
    def backlog_bytes(self) -> int:
        """What the server's flow control, or the socket, has not let through yet."""
        return len(self._out) + sum(len(piece) for pieces in self._waiting.values() for piece in pieces)

    @property
    def blocked(self) -> bool:
        """Whether the socket has not taken yet all that it was given."""
        return bool(self._out)

    def open(self, path: str) -> int:
        """Begins a call; gives its number."""
        stream = self._next
        self._next += 2
        self._windows[stream] = self._first_window
        self._messages[stream] = bytearray()
        self._out += _frame(HEADERS, END_HEADERS, stream, _headers(path, self._authority))
        return stream

    def send(self, stream: int, data: bytes, *, last: bool = False) -> None:
        """Sends framed messages, as soon as the windows allow; the last ones half-close the stream."""
        if last:
            self._ending.add(stream)
        waiting = self._waiting.get(stream)
        if waiting is None and len(data) <= min(self._window, self._windows.get(stream, 0), FRAME_BYTES):
            self._put(stream, data)
        else:
            pieces = [data[at : at + FRAME_BYTES] for at in range(0, len(data), FRAME_BYTES)]
            self._waiting.setdefault(stream, deque()).extend(pieces)
            self._release()
        self.flush()

    def close_sending(self, stream: int) -> None:
        """Half-closes a stream on which nothing waits."""
        self._out += _frame(DATA, END_STREAM, stream, b"")
        self.flush()

    def flush(self) -> None:
        """Gives the socket what it takes."""
        if self._out:
            try:
                sent = self.socket.send(self._out)
            except BlockingIOError:
                return
            del self._out[:sent]

    def receive(self) -> None:
        """Takes what has come. ConnectionError where the server has closed."""
        try:
            data = self.socket.recv(1 << 18)
        except BlockingIOError:
            return
        if not data:
            raise ConnectionError("the server closed the connection")
        self._in += data
        at, taken = 0, 0
        while len(self._in) - at >= 9:
            length = int.from_bytes(self._in[at : at + 3])
            if len(self._in) - at < 9 + length:
                break
            kind, flags, stream = struct.unpack_from(">BBI", self._in, at + 3)
            self._take(kind, flags, stream & 0x7FFFFFFF, bytes(self._in[at + 9 : at + 9 + length]))
            at += 9 + length
            taken += length
        del self._in[:at]
        self.flush()

    def _put(self, stream: int, data: bytes) -> None:
        self._window -= len(data)
        self._windows[stream] -= len(data)
        ends = stream in self._ending and not self._waiting.get(stream)
        self._out += _frame(DATA, END_STREAM if ends else 0, stream, data)

    def _release(self) -> None:
        for stream in list(self._waiting):
            pieces = self._waiting[stream]
            while pieces and len(pieces[0]) <= min(self._window, self._windows.get(stream, 0)):
                self._put(stream, pieces.popleft())
            if not pieces:
                del self._waiting[stream]

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == DATA:
            self._gather(stream, payload)
        elif kind == WINDOW_UPDATE:
            grown = int.from_bytes(payload) & 0x7FFFFFFF
            if stream == 0:
                self._window += grown
            elif stream in self._windows:
                self._windows[stream] += grown
            self._release()
        elif kind == SETTINGS and not flags & ACK:
            self._settings(payload)
        elif kind == PING and not flags & ACK:
            self._out += _frame(PING, ACK, 0, payload)
        elif kind == GOAWAY:
            raise ConnectionError(f"the server said goodbye: {payload[8:].decode(errors='replace')}")
        if stream in self._messages and (kind == RST_STREAM or (kind in (DATA, HEADERS) and flags & END_STREAM)):
            self._windows.pop(stream, None)
            self._waiting.pop(stream, None)
            self._ending.discard(stream)
            del self._messages[stream]
            self._on_end(stream, b"reset" if kind == RST_STREAM else b"")

    def _settings(self, payload: bytes) -> None:
        for key, value in struct.iter_unpack(">HI", payload):
            if key == INITIAL_WINDOW:
                for stream in self._windows:
                    self._windows[stream] += value - self._first_window
                self._first_window = value
        self._out += _frame(SETTINGS, ACK, 0, b"")
        self._release()

    def _gather(self, stream: int, payload: bytes) -> None:
        gathered = self._messages.get(stream)
        if gathered is None:
            return
        gathered += payload
        while len(gathered) >= 5:
            length = int.from_bytes(gathered[1:5])
            if len(gathered) < 5 + length:
                break
            message = bytes(gathered[5 : 5 + length])
            del gathered[: 5 + length]
            self._on_message(stream, message)
