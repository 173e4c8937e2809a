"""The command line: ``auricle serve``, ``embed``, ``classify``, ``compare``, ``verify``, ``stream``, ``models``."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command and exits with its code; see ``auricle --help`` for what the codes mean."""
    from auricle.cli.exits import guarded
    from auricle.cli.group import auricle

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A file's name may be no text; so written it is an escape that JSON and people can read.
            stream.reconfigure(errors="backslashreplace")
    sys.exit(guarded(lambda: auricle.main(arguments, prog_name="auricle", standalone_mode=False)))
