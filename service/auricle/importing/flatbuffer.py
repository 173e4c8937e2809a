"""A flatbuffer's tables, read by field number and checked against the buffer's end."""

from __future__ import annotations

import struct
from typing import Any

__all__ = ["DamagedError", "Table", "root"]


class DamagedError(ValueError):
    """An offset or a length that points outside the buffer."""


class Table:
    """One table of a flatbuffer. Fields are numbered as in its schema, from 0; a union takes two numbers.

    An absent field gives the default. Layout: https://flatbuffers.dev/internals/

    Raises DamagedError wherever the bytes do not hold what they announce.
    """

    def __init__(self, data: bytes, position: int) -> None:
        self._data = data
        self._position = position
        self._fields = position - self._read("<i", position)
        size = self._read("<H", self._fields)
        if size < 4 or size % 2:
            raise DamagedError(f"a table of fields at byte {self._fields} has the size {size}")
        self._field_count = (size - 4) // 2

    def integer(self, field: int, form: str = "i", default: int = 0) -> int:
        """A scalar of struct's ``form``: b, B, h, i, I, q."""
        at = self._place(field)
        return default if at is None else int(self._read("<" + form, at))

    def number(self, field: int, default: float = 0.0) -> float:
        """A float32."""
        at = self._place(field)
        return default if at is None else float(self._read("<f", at))

    def text(self, field: int) -> str:
        """A string; empty where it is absent."""
        at = self._place(field)
        return "" if at is None else self._text(self._follow(at))

    def texts(self, field: int) -> tuple[str, ...]:
        """A vector of strings."""
        start, count = self._vector(field, 4)
        return tuple(self._text(self._follow(start + 4 * index)) for index in range(count))

    def raw(self, field: int) -> bytes:
        """A vector of bytes, or a string's; empty where it is absent."""
        start, count = self._vector(field, 1)
        return self._data[start : start + count]

    def integers(self, field: int, form: str = "i") -> tuple[int, ...]:
        """A vector of scalars of struct's ``form``."""
        return tuple(int(value) for value in self._scalars(field, form))

    def numbers(self, field: int) -> tuple[float, ...]:
        """A vector of float32."""
        return self._scalars(field, "f")

    def table(self, field: int) -> Table | None:
        """A table, or None where it is absent."""
        at = self._place(field)
        return None if at is None else Table(self._data, self._follow(at))

    def tables(self, field: int) -> tuple[Table, ...]:
        """A vector of tables."""
        start, count = self._vector(field, 4)
        return tuple(Table(self._data, self._follow(start + 4 * index)) for index in range(count))

    def _text(self, start: int) -> str:
        start, count = self._items(start, 1)
        raw = self._data[start : start + count]
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DamagedError(f"a string is not UTF-8: {raw[:40]!r}") from error

    def _scalars(self, field: int, form: str) -> tuple[float, ...]:
        start, count = self._vector(field, struct.calcsize("<" + form))
        return struct.unpack_from(f"<{count}{form}", self._data, start)

    def _place(self, field: int) -> int | None:
        if field >= self._field_count:
            return None
        offset = self._read("<H", self._fields + 4 + 2 * field)
        return self._position + offset if offset else None

    def _follow(self, at: int) -> int:
        return at + int(self._read("<I", at))

    def _vector(self, field: int, item_bytes: int) -> tuple[int, int]:
        at = self._place(field)
        return (0, 0) if at is None else self._items(self._follow(at), item_bytes)

    def _items(self, start: int, item_bytes: int) -> tuple[int, int]:
        """Where a vector's items begin, and how many there are."""
        count = int(self._read("<I", start))
        if start + 4 + count * item_bytes > len(self._data):
            raise DamagedError(
                f"{count * item_bytes} bytes are announced at byte {start}, the end is at {len(self._data)}"
            )
        return start + 4, count

    def _read(self, form: str, at: int) -> Any:
        if not 0 <= at <= len(self._data) - struct.calcsize(form):
            raise DamagedError(f"an offset points at byte {at}, the end is at {len(self._data)}")
        return struct.unpack_from(form, self._data, at)[0]


def root(data: bytes) -> Table:
    """The root table of a buffer. DamagedError: it is too short to have one."""
    if len(data) < 8:
        raise DamagedError(f"{len(data)} bytes are too few for a flatbuffer")
    return Table(data, int(struct.unpack_from("<I", data)[0]))
