"""Structured logs on stderr: for people on a terminal, JSON lines otherwise."""

from __future__ import annotations

import sys

__all__ = ["FORMATS", "LEVELS", "configure_logs"]

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("auto", "human", "json")


def configure_logs(*, level: str = "info", form: str = "auto") -> None:
    """Sets structlog up for this process.

    Args:
        level: one of LEVELS, or "critical", which nothing is; what is below is dropped.
        form: one of FORMATS; "auto" is "human" where stderr is a terminal.
    """
    import structlog

    human = form == "human" or (form == "auto" and sys.stderr.isatty())
    renderers: list[structlog.typing.Processor]
    if human:
        renderers = [
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ]
    else:
        renderers = [
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(default=str),
        ]
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, structlog.processors.add_log_level, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
