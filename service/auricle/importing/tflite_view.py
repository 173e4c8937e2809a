"""A TensorFlow Lite model's metadata, a flatbuffer, as the JSON view of the same schema."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from auricle.importing.flatbuffer import DamagedError, Table, root
from auricle.metadata.schema import ENUMS, MARK, TABLES, UNIONS, numbers
from auricle.metadata.view import ModelMetadata, parse_view

__all__ = ["read_view"]

PLAIN: dict[str, Callable[[Table, int], Any]] = {
    "string": Table.text,
    "[string]": Table.texts,
    "int": lambda table, field: table.integer(field, "i"),
    "uint": lambda table, field: table.integer(field, "I"),
    "float": Table.number,
    "[float]": Table.numbers,
    "[uint]": lambda table, field: table.integers(field, "I"),
    "[ubyte]": lambda table, field: table.integers(field, "B"),
}


def read_view(data: bytes) -> ModelMetadata:
    """The view of a metadata buffer. DamagedError: no such buffer, or one that does not hold what it announces."""
    if data[4:8] != MARK:
        raise DamagedError(f"its metadata is marked {data[4:8]!r}, known is {MARK!r}")
    return parse_view(_object(root(data), "ModelMetadata") or {})


def _object(table: Table, kind: str) -> dict[str, Any] | None:
    """A table's fields by name, without those that are absent or have their default.

    None for one that is about a union and has no member that is known: a newer schema may have more of them.
    """
    found: dict[str, Any] = {}
    places = numbers(kind)
    for name, field_kind in TABLES[kind].items():
        number = places[name]
        if field_kind in UNIONS:
            member, content = table.integer(number, "B"), table.table(number + 1)
            if content is None or not 1 <= member <= len(UNIONS[field_kind]):
                return None
            chosen = UNIONS[field_kind][member - 1]
            found |= {f"{name}_type": chosen, name: _object(content, chosen)}
            continue
        value = _value(table, number, field_kind)
        # A table says something by being there, even if nothing is in it.
        if value or isinstance(value, dict):
            found[name] = value
    return found


def _value(table: Table, number: int, kind: str) -> Any:
    if kind in PLAIN:
        return PLAIN[kind](table, number)
    if kind in ENUMS:
        index = table.integer(number, "b")
        if not 0 <= index < len(ENUMS[kind]):
            raise DamagedError(f"its metadata has a {kind} that is not known ({index})")
        return ENUMS[kind][index] if index else None
    if kind.startswith("["):
        objects = [_object(each, kind[1:-1]) for each in table.tables(number)]
        return [each for each in objects if each is not None]
    content = table.table(number)
    return None if content is None else _object(content, kind)
