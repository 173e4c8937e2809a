"""Who runs first where threads share a core: the event loop, which answers, before those that compute."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress

__all__ = ["give_way"]

# Next to a thread of the process's own niceness one that is so much nicer gets a third of a shared core's time.
NICER = 3


def give_way() -> None:
    """Makes the calling thread nicer than its process, where the system knows a thread's own niceness (Linux).

    A loop that waits behind a model for its core cannot even refuse: its calls then wait for milliseconds each.
    """
    if sys.platform != "linux":
        return
    with suppress(OSError):  # a sandbox may forbid it, and nothing depends on it
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, 0) + NICER)
