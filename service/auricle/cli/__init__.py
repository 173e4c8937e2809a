"""The command line: ``auricle serve``, ``embed``, ``classify``, ``compare``, ``verify``, ``stream``, ``models``."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command and exits with its code; see ``auricle --help`` for what the codes mean."""
    _ready_streams()
    from auricle.cli.exits import guarded
    from auricle.cli.group import auricle

    sys.exit(guarded(lambda: auricle.main(arguments, prog_name="auricle", standalone_mode=False)))


def _ready_streams() -> None:
    # Lowest first: what a caller closed is opened again under its own number, before a socket gets that.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115 - for the life of the process
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A file's name may be no text; so written it is an escape that JSON and people can read.
            stream.reconfigure(errors="backslashreplace")
