"""A hidden directory to prepare files in, beside the place that they are then renamed into.

It is locked while its owner lives. A killed process leaves its directory without the lock, which is how the
next owner knows that it is stale, also from another container and whatever became of process ids.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["scratch_directory"]

_PREFIX = ".scratch-"


@contextlib.contextmanager
def scratch_directory(parent: Path) -> Iterator[Path]:
    """A new hidden directory in ``parent`` for the length of the block; stale ones are removed first.

    ``parent`` is made where it is missing, and goes again with the directory where nothing was put into it.

    Raises:
        OSError: ``parent`` cannot be written, or its file system has no locks.
    """
    try:
        path, lock = _claim_new(parent)
        try:
            _sweep(parent)
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
            os.close(lock)
    finally:
        with contextlib.suppress(OSError):  # not empty: the usual case
            parent.rmdir()


def _claim_new(parent: Path) -> tuple[Path, int]:
    # Between two of these steps another process may sweep the new directory or remove the empty parent.
    while True:
        parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if path.exists():
                return path, lock
            os.close(lock)


def _sweep(parent: Path) -> None:
    for path in parent.glob(f"{_PREFIX}*"):
        try:
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:  # gone meanwhile
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        except BlockingIOError:  # its owner lives
            pass
        finally:
            os.close(lock)
