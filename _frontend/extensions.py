"""The list of compiled modules, read by setup.py."""

from __future__ import annotations

from setuptools import Extension
from setuptools.command.build_ext import build_ext

__all__ = ["build_ext", "frontend_extensions"]


def frontend_extensions() -> list[Extension]:
    """Every extension of ``auricle._frontend``."""
    return []
