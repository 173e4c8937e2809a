"""From a gRPC status, with its google.rpc details, back to the error tree."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from auricle import errors
from auricle.errors import AuricleError

__all__ = ["from_rpc_error"]

_DETAILS_KEY = "grpc-status-details-bin"

_CLASSES: tuple[type[AuricleError], ...] = tuple(
    value for name in errors.__all__ if isinstance(value := getattr(errors, name), type) and value is not AuricleError
)
_BY_REASON = {(each.code, each.default_reason): each for each in _CLASSES}

# A finer reason shares the first word with its class's own: AUDIO_NOT_FINITE is AUDIO_INVALID's class.
_BY_FIRST_WORD = {(code, reason.split("_")[0]): each for (code, reason), each in _BY_REASON.items()}
# Of the contract's reasons the one that does not.
_BY_FIRST_WORD["INVALID_ARGUMENT", "HEAD"] = errors.OptionError

_BY_CODE: dict[str, type[AuricleError]] = {
    "INVALID_ARGUMENT": errors.InvalidArgumentError,
    "OUT_OF_RANGE": errors.InvalidArgumentError,
    "NOT_FOUND": errors.NotFoundError,
    "FAILED_PRECONDITION": errors.HeadKindError,
    "RESOURCE_EXHAUSTED": errors.BusyError,
    "DEADLINE_EXCEEDED": errors.DeadlineError,
    "CANCELLED": errors.CancelledError,
    "UNAVAILABLE": errors.UnavailableError,
    "INTERNAL": errors.InternalError,
    "UNKNOWN": errors.InternalError,
    "DATA_LOSS": errors.InternalError,
}

# What gRPC says where no connection came about -> what to look at. The first that fits counts.
_HINTS = (
    (("CERTIFICATE_VERIFY_FAILED",), "is the CA that signed its certificate the one trusted here (ca_file)?"),
    (("Hostname Verification",), "if its certificate bears another name, give that as server_name"),
    (("WRONG_VERSION_NUMBER",), "something answers there, but not in TLS: is it served without?"),
    (("handshake",), "do both sides use TLS?"),
    (("failed to connect", "Socket closed"), "something there hung up: does it ask for TLS, or for a certificate?"),
)
_HINT = "is `auricle serve` running there?"


def from_rpc_error(error: grpc.RpcError, *, target: str, timeout_s: float | None = None) -> AuricleError:
    """Gives the error that the server raised, as far as its status tells.

    The class follows from code and reason; a reason that is not known gives the nearest class of the code,
    and a code without a class gives ``AuricleError`` itself with the code as the reason.

    Args:
        error: of a grpc or grpc.aio call; anything without a status counts as UNKNOWN.
        target: address that was called, for messages.
        timeout_s: the call's time limit, for messages.
    """
    code = error.code().name if hasattr(error, "code") else "UNKNOWN"
    # The health service gives the code and no word.
    wordless = f"{target} knows no service or model of that name" if code == "NOT_FOUND" else str(error)
    text = (error.details() if hasattr(error, "details") else None) or wordless
    info, keywords = _details(error)
    if info is None:
        return _without_details(code, text, target, timeout_s)
    known = (
        _BY_REASON.get((code, info.reason))
        or _BY_FIRST_WORD.get((code, info.reason.split("_")[0]))
        or _BY_CODE.get(code, AuricleError)
    )
    return known(text, reason=info.reason or code, **keywords)


def _without_details(code: str, text: str, target: str, timeout_s: float | None) -> AuricleError:
    """Statuses that gRPC or a proxy made: their words speak of transport, so say what they mean here."""
    if code == "UNAVAILABLE":
        hint = next((hint for words, hint in _HINTS if all(word in text for word in words)), _HINT)
        return errors.UnavailableError(f"no answer from {target}: {text}; {hint}")
    if code == "DEADLINE_EXCEEDED":
        limit = f" of {timeout_s:g} s" if timeout_s is not None else ""
        return errors.DeadlineError(f"no answer from {target} within the time limit{limit}; raise timeout_s")
    if code == "RESOURCE_EXHAUSTED" and "larger than max" in text:
        return errors.LimitError(
            f"{target} takes no message of this size: {text}; stream the audio instead", reason="MESSAGE_SIZE"
        )
    if code == "UNIMPLEMENTED":
        return AuricleError(f"{target} has no such service: {text}; is it an auricle server?", reason=code)
    known = _BY_CODE.get(code)
    return known(text) if known is not None else AuricleError(f"{code}: {text}", reason=code)


def _details(error: Any) -> tuple[error_details_pb2.ErrorInfo | None, dict[str, Any]]:
    """Unpacks what the status carries: the ErrorInfo, and the rest as keywords of an AuricleError."""
    metadata = error.trailing_metadata() if hasattr(error, "trailing_metadata") else None
    status = status_pb2.Status()
    for key, value in metadata or ():
        if key == _DETAILS_KEY:
            try:
                status.ParseFromString(value)
            except DecodeError:
                # Whoever garbled it, code and message still stand.
                return None, {}
    info: error_details_pb2.ErrorInfo | None = None
    keywords: dict[str, Any] = {}
    for detail in status.details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo()
            detail.Unpack(info)
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            request = error_details_pb2.BadRequest()
            detail.Unpack(request)
            if request.field_violations:
                keywords["field"] = request.field_violations[0].field
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo()
            detail.Unpack(retry)
            keywords["retry_after_s"] = retry.retry_delay.ToNanoseconds() / 1e9
        elif detail.Is(error_details_pb2.ResourceInfo.DESCRIPTOR):
            resource = error_details_pb2.ResourceInfo()
            detail.Unpack(resource)
            keywords["resource"] = (resource.resource_type, resource.resource_name)
    if info is None and keywords:
        info = error_details_pb2.ErrorInfo()
    return info, keywords
