"""The command line: ``auricle serve``, ``embed``, ``classify``, ``compare``, ``verify``, ``stream``, ``models``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command and exits with its code; see ``auricle --help`` for what the codes mean."""
    from auricle.cli.exits import guarded
    from auricle.cli.group import auricle

    sys.exit(guarded(lambda: auricle.main(arguments, prog_name="auricle", standalone_mode=False)))
