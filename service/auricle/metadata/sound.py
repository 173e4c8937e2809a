"""Checks of the sound that a model is said to take."""

from __future__ import annotations

__all__ = ["check_positive"]


def check_positive(**values: int) -> None:
    """ValueError that names the first value that is not above 0."""
    for name, value in values.items():
        if value <= 0:
            raise ValueError(f"{name} should be positive, but got {value}.")
