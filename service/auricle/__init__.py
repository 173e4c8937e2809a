"""auricle: audio in, vectors or labels out. ``Client`` and ``AsyncClient`` talk to a server.

Names are loaded on first use, so that ``from auricle import frontend`` loads no gRPC and a client no engine.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from auricle.client import AsyncClient, Client

__all__ = ["AsyncClient", "Client", "__version__"]

_HOMES = {"AsyncClient": "auricle.client", "Client": "auricle.client"}


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("auricle")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'auricle' has no attribute {name!r}")
