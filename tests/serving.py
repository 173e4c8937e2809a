"""A real server in a thread with its own event loop, for tests that use the blocking client."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from auricle.config import ServerSettings
from auricle.serve.lifecycle import Server

__all__ = ["serving"]


@contextmanager
def serving(settings: ServerSettings) -> Iterator[str]:
    """Serves inside the block and drains at its end; gives HOST:PORT."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="test-server", daemon=True)
    thread.start()

    def run(work: Coroutine[Any, Any, Any]) -> None:
        asyncio.run_coroutine_threadsafe(work, loop).result()

    server = Server(settings)
    try:
        run(server.__aenter__())
        try:
            yield server.address
        finally:
            run(server.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
