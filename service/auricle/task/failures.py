"""The errors of the task API: ValueError for what the caller can mend, RuntimeError for the rest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from auricle.errors import AuricleError, BundleError, HeadKindError, InvalidArgumentError, NotFoundError

__all__ = ["plain_errors"]

MENDABLE = (InvalidArgumentError, NotFoundError, HeadKindError, BundleError)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turns errors of the tree into ValueError or RuntimeError with the same message; the cause stays attached."""
    try:
        yield
    except MENDABLE as error:
        raise ValueError(error.message) from error
    except AuricleError as error:
        raise RuntimeError(error.message) from error
