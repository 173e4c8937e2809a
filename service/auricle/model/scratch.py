"""A hidden directory to prepare files in, beside the place that they are then renamed into.

It is locked while its owner lives. A killed process leaves its directory without the lock, which is how the
next owner knows that it is stale, also from another container and whatever became of process ids.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["scratch_directory"]

_PREFIX = ".scratch-"
_ATTEMPTS = 100


@contextlib.contextmanager
def scratch_directory(parent: Path) -> Iterator[Path]:
    """A new hidden directory in ``parent`` for the length of the block; stale ones are removed first.

    ``parent`` and what is missing above it are made, and go again where nothing was put into them.

    Raises:
        OSError: ``parent`` cannot be made or written, or its file system has no locks.
    """
    made: list[Path] = []
    try:
        path, lock = _claim_new(parent, made)
        try:
            _sweep(parent)
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
            os.close(lock)
    finally:
        for folder in reversed(made):
            with contextlib.suppress(OSError):  # not empty: the usual case
                folder.rmdir()


def _claim_new(parent: Path, made: list[Path]) -> tuple[Path, int]:
    # Between two of these steps another process may sweep the new directory or remove the empty parent. What goes
    # wrong every time is not its doing: nothing can be made in /proc, say, or in a directory that was removed.
    for left in reversed(range(_ATTEMPTS)):
        try:
            _make(parent, made)
            path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            if not left:
                raise
            continue
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            return path, lock
        os.close(lock)
    raise FileNotFoundError(errno.ENOENT, "what is made there is removed at once", str(parent))


def _make(folder: Path, made: list[Path]) -> None:
    """Makes a folder and those above it, and notes what was not there; another's empty folder is not ours to remove."""
    try:
        _make_one(folder, made)
    except FileNotFoundError:
        _make(folder.parent, made)
        _make_one(folder, made)


def _make_one(folder: Path, made: list[Path]) -> None:
    try:
        folder.mkdir()
    except FileExistsError:
        if not folder.is_dir():
            raise
    else:
        made.append(folder)


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
