"""Feature cache: arrays computed from sound files, kept on disk by all that they depend on."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auricle import __version__, frontend

__all__ = ["FeatureCache", "digest"]

Arrays = dict[str, NDArray[Any]]


def digest(path: Path) -> str:
    """Names a file's content, wherever the file lies and whenever it was written."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class FeatureCache:
    """Keeps what ``compute`` gives in ``folder``; without a folder it computes each time.

    An entry's name is a digest of the file's content, of ``what`` was done with it, and of this package's version and
    kernels. A changed file, spec or backbone has entries of its own therefore, and old ones are never wrong, only
    left over: the folder may be emptied at any time. Several processes may share it.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        # The kernels of two instruction sets agree to rounding only.
        self._base = (__version__, frontend.simd)

    @property
    def keeps(self) -> bool:
        """Whether there is a folder; without one nobody reads what an entry's ``what`` would say."""
        return self._folder is not None

    def arrays(self, path: Path, what: tuple[Any, ...], compute: Callable[[], Arrays]) -> Arrays:
        """The arrays by name, from the folder or from ``compute``.

        Args:
            what: strings, numbers, and frozen settings whose ``repr`` tells all of them.
        """
        if self._folder is None:
            return compute()
        key = hashlib.sha256(repr((self._base, digest(path), what)).encode()).hexdigest()
        entry = self._folder / key[:2] / f"{key}.npz"
        # A damaged entry, of a full disk say, is computed again.
        with contextlib.suppress(OSError, ValueError, EOFError, zipfile.BadZipFile), entry.open("rb") as file:
            return dict(np.load(file))
        found = compute()
        self._keep(entry, found)
        return found

    def _keep(self, entry: Path, arrays: Arrays) -> None:
        entry.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(prefix=".", suffix=".part", dir=entry.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(file, allow_pickle=False, **arrays)
            # Another process sees a whole entry or none.
            Path(scratch).replace(entry)
        except BaseException:
            Path(scratch).unlink(missing_ok=True)
            raise
