"""Standard input as a source of chunks: raw samples as they come, until it ends or Ctrl-C."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from auricle.cli.interrupts import ctrl_c_stops

__all__ = ["standard_input"]

_CHUNK_BYTES = 64 * 1024


@contextmanager
def standard_input() -> Iterator[Iterator[bytes]]:
    """Gives the bytes of standard input as they come. They end with it, with the block, and with Ctrl-C."""
    # Whoever sends the chunks waits for them in a thread of its own, which an exception here would not reach.
    ended = os.eventfd(0)

    def end() -> None:
        os.eventfd_write(ended, 1)

    try:
        with ctrl_c_stops(end):
            yield _chunks(sys.stdin.fileno(), ended)
    finally:
        # Never closed: that thread may still look at it.
        end()


def _chunks(source: int, ended: int) -> Iterator[bytes]:
    while ended not in select.select([source, ended], [], [])[0]:
        chunk = os.read(source, _CHUNK_BYTES)
        if not chunk:
            return
        yield chunk
