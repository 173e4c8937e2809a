"""The allocator and the collector, set for a process that answers all the time and gets large messages."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable

__all__ = ["give_memory_back", "keep_memory", "pass_over_imports"]

# mallopt's parameters and the largest mapping threshold it takes: https://man7.org/linux/man-pages/man3/mallopt.3.html
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
M_ARENA_MAX = -8
MMAP_BYTES = 32 * 1024 * 1024
KEPT_BYTES = 64 * 1024 * 1024
ARENAS = 2


def keep_memory() -> bool:
    """Keeps up to 64 MiB of freed memory in the process, and large blocks in the heap; True where the C library can.

    Otherwise each message of a megabyte is mapped, its pages are cleared one fault after another and unmapped again,
    which costs more than all else that its transport does. Two heaps for all threads keep the rest small.
    """
    mallopt = _c_function("mallopt")
    if mallopt is None:
        return False
    wanted = {M_MMAP_THRESHOLD: MMAP_BYTES, M_TRIM_THRESHOLD: KEPT_BYTES, M_ARENA_MAX: ARENAS}
    taken = [mallopt(parameter, value) for parameter, value in wanted.items()]
    return all(taken)


def give_memory_back() -> bool:
    """Gives the system what is free in the process; True where the C library can and there was some.

    To load a model and try its batches takes several times what it keeps, and ``keep_memory`` would keep all of it.
    """
    malloc_trim = _c_function("malloc_trim")
    return malloc_trim is not None and bool(malloc_trim(0))


def pass_over_imports() -> None:
    """Has the garbage collector look no more at what exists by now: modules, classes and functions, none of it garbage.

    A look at all of it takes 10 to 40 ms, several times a minute under load, and nobody is answered meanwhile. To be
    called before models are loaded: what is passed over is never freed where it refers to itself.
    """
    gc.collect()
    gc.freeze()


def _c_function(name: str) -> Callable[..., int] | None:
    """A function of glibc; None on another system, and where another C library has none (musl)."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
