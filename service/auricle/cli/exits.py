"""Exit codes, and how a failure is told: one line on stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import click

from auricle.errors import AuricleError

__all__ = ["PipeClosedError", "code_of", "describe", "guarded", "report", "show_traces", "tell"]


class PipeClosedError(Exception):
    """Whoever read stdout has gone. No OSError, of which click would make exit code 1."""


DIFFERENT = 1
BAD_INPUT = 3
NOT_FOUND = 4
UNAVAILABLE = 5
INTERNAL = 70
INTERRUPTED = 130
PIPE_CLOSED = 141

_BY_STATUS = {
    "INVALID_ARGUMENT": BAD_INPUT,
    "FAILED_PRECONDITION": BAD_INPUT,
    "NOT_FOUND": NOT_FOUND,
    "UNAVAILABLE": UNAVAILABLE,
    "RESOURCE_EXHAUSTED": UNAVAILABLE,
    "DEADLINE_EXCEEDED": UNAVAILABLE,
    "CANCELLED": UNAVAILABLE,
}


def code_of(error: BaseException) -> int:
    """Gives the exit code of a failure."""
    if isinstance(error, AuricleError):
        # The root class stands for codes without one of their own, such as UNIMPLEMENTED from a foreign server.
        return UNAVAILABLE if type(error) is AuricleError else _BY_STATUS.get(error.code, INTERNAL)
    return BAD_INPUT if isinstance(error, OSError) else INTERNAL


def describe(error: BaseException) -> str:
    """Gives a failure in one line."""
    if isinstance(error, AuricleError):
        text = error.message
    elif isinstance(error, OSError):
        text = f"{error.filename}: {error.strerror}" if error.filename is not None else str(error)
    else:
        text = f"{type(error).__name__}: {error} (a fault in auricle; `auricle --debug COMMAND` shows where)"
    return " ".join(text.split())


def show_traces() -> bool:
    """Says whether the user asked for traces."""
    context = click.get_current_context(silent=True)
    return bool(context and context.find_root().params.get("debug"))


def report(error: BaseException, *, about: str | None = None) -> int:
    """Tells of a failure on stderr and gives its exit code."""
    if show_traces():
        import traceback

        traceback.print_exception(error)
    text = describe(error)
    prefix = f"{about}: " if about is not None and not text.startswith(f"{about}:") else ""
    tell(prefix + text)
    return code_of(error)


def tell(text: str) -> None:
    """Says something in a line on stderr, above a progress bar that is being drawn there."""
    # click.echo would write past what rich puts in the place of stderr meanwhile.
    print(f"auricle: {text}", file=sys.stderr)


def guarded(command: Callable[[], object]) -> int:
    """Runs a command and gives the exit code, whatever it ends with."""
    try:
        outcome = command()
        sys.stdout.flush()
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except PipeClosedError:
        # The interpreter flushes once more at exit, and would tell of the same pipe again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except Exception as error:
        return report(error)
    return outcome if isinstance(outcome, int) else 0
