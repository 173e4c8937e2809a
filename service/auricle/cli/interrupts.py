"""Ctrl-C as the end of a sound that is being recorded."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["ctrl_c_stops"]


@contextmanager
def ctrl_c_stops(stop: Callable[[], None]) -> Iterator[None]:
    """Inside the block the first Ctrl-C calls ``stop``, so that what waits is still answered; the next ends all."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)

    def once(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        stop()

    signal.signal(signal.SIGINT, once)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
