"""The error tree: every failure that a user can meet, with its gRPC code and a stable reason.

    AuricleError
    ├── InvalidArgumentError    INVALID_ARGUMENT     what was sent cannot be served as it is
    │   ├── AudioError                               undecodable, empty or non-finite audio
    │   ├── OptionError                              an option that is out of range or unknown
    │   ├── LimitError                               content, duration, channels or rate over a limit
    │   └── ProtocolError                            messages of a stream in the wrong order
    ├── NotFoundError           NOT_FOUND            no such model or version
    ├── HeadKindError           FAILED_PRECONDITION  a head of the wrong kind for the call
    ├── BundleError             FAILED_PRECONDITION  a model file that cannot be served
    ├── BusyError               RESOURCE_EXHAUSTED   queue full, too many streams; says when to retry
    ├── DeadlineError           DEADLINE_EXCEEDED    the caller's deadline passed
    │   └── IdleError                                a stream was silent for too long
    ├── CancelledError          CANCELLED            the caller went away
    ├── UnavailableError        UNAVAILABLE          draining, or no server at the address
    └── InternalError           INTERNAL             our own fault; the log has the trace under the id

The module imports nothing of the project and no gRPC, so that clients and the lowest layers share it.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "AudioError",
    "AuricleError",
    "BundleError",
    "BusyError",
    "CancelledError",
    "DeadlineError",
    "HeadKindError",
    "IdleError",
    "InternalError",
    "InvalidArgumentError",
    "LimitError",
    "NotFoundError",
    "OptionError",
    "ProtocolError",
    "UnavailableError",
]


class AuricleError(Exception):
    """The root. ``code`` is the gRPC status name; ``reason`` is stable and made for programs.

    Args:
        message: what happened, the value, and what to do.
        field: path of the request field at fault, e.g. ``options.heads[0]``.
        retry_after_s: seconds after which the same call may succeed.
        resource: type and name of the thing at fault, e.g. ``("auricle.model", "yamnet")``.
        reason: overrides the class's own reason where one class covers several.
    """

    code: ClassVar[str] = "INTERNAL"
    default_reason: ClassVar[str] = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        retry_after_s: float | None = None,
        resource: tuple[str, str] | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.retry_after_s = retry_after_s
        self.resource = resource
        self.reason = reason or self.default_reason


class InvalidArgumentError(AuricleError):
    """The request cannot be served as it is; sending it again will not help."""

    code = "INVALID_ARGUMENT"
    default_reason = "INVALID_ARGUMENT"


class AudioError(InvalidArgumentError):
    """Audio that is undecodable, truncated, empty, non-finite or ends in a split sample."""

    default_reason = "AUDIO_INVALID"


class OptionError(InvalidArgumentError):
    """An option that is out of range, unknown, or does not go with another."""

    default_reason = "OPTION_INVALID"


class LimitError(InvalidArgumentError):
    """Content, duration, channels or rate over a limit; the message names the limit and its value."""

    default_reason = "LIMIT_EXCEEDED"


class ProtocolError(InvalidArgumentError):
    """A stream's messages in the wrong order: audio before config, a second config, an empty message."""

    default_reason = "STREAM_PROTOCOL"


class NotFoundError(AuricleError):
    """No model, or no version of it, by that name."""

    code = "NOT_FOUND"
    default_reason = "MODEL_NOT_FOUND"


class HeadKindError(AuricleError):
    """A head of the wrong kind for the call: an embedding asked of a classification head, or the reverse."""

    code = "FAILED_PRECONDITION"
    default_reason = "HEAD_KIND"


class BundleError(AuricleError):
    """A model file that cannot be served: which file, which field, and how to mend it."""

    code = "FAILED_PRECONDITION"
    default_reason = "BUNDLE_INVALID"


class BusyError(AuricleError):
    """The server has no room now; ``retry_after_s`` says when to come back."""

    code = "RESOURCE_EXHAUSTED"
    default_reason = "QUEUE_FULL"


class DeadlineError(AuricleError):
    """The caller's deadline passed before the answer was ready."""

    code = "DEADLINE_EXCEEDED"
    default_reason = "DEADLINE"


class IdleError(DeadlineError):
    """A stream sent nothing for the idle time-out."""

    default_reason = "STREAM_IDLE"


class CancelledError(AuricleError):
    """The caller went away."""

    code = "CANCELLED"
    default_reason = "CANCELLED"


class UnavailableError(AuricleError):
    """The server is draining, the model is unloading, or nobody answers at the address."""

    code = "UNAVAILABLE"
    default_reason = "UNAVAILABLE"


class InternalError(AuricleError):
    """Our own fault. The message carries an id; the log has the trace under it."""

    code = "INTERNAL"
    default_reason = "INTERNAL"
