"""The one table from errors to gRPC statuses with google.rpc details."""

from __future__ import annotations

import string
import uuid
from collections.abc import Iterable, Iterator
from urllib.parse import quote

import grpc
import structlog
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from auricle.errors import AuricleError, InternalError

__all__ = ["DOMAIN", "to_status"]

DOMAIN = "auricle.dev"
NS = 1_000_000_000
# Of each text on its way. gRPC drops a status whose header fields are over 8 KiB together, and the message is in three.
LONGEST_BYTES = 1024
GAP = " [...] "
# What a header has as it is: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
AS_IT_IS = string.punctuation.replace("%", "") + " "


def to_status(error: BaseException) -> status_pb2.Status:
    """A failure as ``google.rpc.Status``. What is not of our tree, or our own fault, is logged under an id.

    Of long texts, as callers' own names make them, the middle is left out.
    """
    if not isinstance(error, AuricleError) or isinstance(error, InternalError):
        error = _our_fault(error)
    code: int = getattr(grpc.StatusCode, error.code).value[0]
    status = status_pb2.Status(code=code, message=_bounded(error.message))
    status.details.extend(_packed(detail) for detail in _details(error))
    return status


def _our_fault(error: BaseException) -> InternalError:
    number = uuid.uuid4().hex[:12]
    structlog.get_logger().error("internal error", id=number, exc_info=error)
    said = error.message if isinstance(error, InternalError) else "internal error"
    return InternalError(f"{said}; id {number}: the server's log has the rest under it")


def _details(error: AuricleError) -> list[Message]:
    details: list[Message] = [error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN)]
    if error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=_bounded(error.field), description=_bounded(error.message), reason=error.reason
        )
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if error.retry_after_s is not None:
        seconds, nanos = divmod(round(error.retry_after_s * NS), NS)
        delay = duration_pb2.Duration(seconds=seconds, nanos=nanos)
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    if error.resource:
        kind, name = error.resource
        details.append(error_details_pb2.ResourceInfo(resource_type=kind, resource_name=_bounded(name)))
    return details


def _packed(detail: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed


def _bounded(text: str) -> str:
    """A text that takes ``LONGEST_BYTES`` at most, written as in a header: %XX for a byte that is not for it."""
    if len(text) <= LONGEST_BYTES and len(quote(text, safe=AS_IT_IS)) <= LONGEST_BYTES:
        return text
    half = (LONGEST_BYTES - len(GAP)) // 2
    head, tail = "".join(_fitting(text, half)), "".join(_fitting(reversed(text), half))
    return f"{head}{GAP}{tail[::-1]}"


def _fitting(characters: Iterable[str], most: int) -> Iterator[str]:
    for character in characters:
        most -= len(quote(character, safe=AS_IT_IS))
        if most < 0:
            return
        yield character
