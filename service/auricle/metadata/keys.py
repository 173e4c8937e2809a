"""The keys of a bundle's fields: one that is misspelt says nothing, and would be dropped without a word."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import inspect

from auricle.model.bundle import Bundle

__all__ = ["check_keys"]


def check_keys(given: Mapping[str, Any]) -> None:
    """Raises ValueError that names a key which a bundle, or a part of it, does not have, and those which it has.

    Fields may be missing, and values are not looked at. ``features`` are checked where they are used.
    """
    for place, known in _strangers(given, inspect.type_info(Bundle), ""):
        raise ValueError(f"bundle: there is no field {place!r}; those there are: {', '.join(known)}")


def _strangers(value: object, kind: inspect.Type, place: str) -> Iterator[tuple[str, list[str]]]:
    if isinstance(kind, inspect.UnionType):
        for each in kind.types:
            yield from _strangers(value, each, place)
    elif isinstance(kind, inspect.VarTupleType) and isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _strangers(item, kind.item_type, f"{place}[{index}]")
    elif isinstance(kind, inspect.StructType) and isinstance(value, Mapping):
        known = {field.encode_name: field.type for field in kind.fields}
        for key, inner in value.items():
            at = f"{place}.{key}" if place else str(key)
            if key not in known:
                yield at, list(known)
            else:
                yield from _strangers(inner, known[key], at)
