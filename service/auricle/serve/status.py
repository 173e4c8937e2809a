"""The one table from errors to gRPC statuses with google.rpc details."""

from __future__ import annotations

import uuid

import grpc
import structlog
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from auricle.errors import AuricleError, InternalError

__all__ = ["DOMAIN", "to_status"]

DOMAIN = "auricle.dev"
NS = 1_000_000_000


def to_status(error: BaseException) -> status_pb2.Status:
    """A failure as ``google.rpc.Status``. What is not of our tree, or our own fault, is logged under an id."""
    if not isinstance(error, AuricleError) or isinstance(error, InternalError):
        error = _our_fault(error)
    code: int = getattr(grpc.StatusCode, error.code).value[0]
    status = status_pb2.Status(code=code, message=error.message)
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
            field=error.field, description=error.message, reason=error.reason
        )
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if error.retry_after_s is not None:
        seconds, nanos = divmod(round(error.retry_after_s * NS), NS)
        delay = duration_pb2.Duration(seconds=seconds, nanos=nanos)
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    if error.resource:
        kind, name = error.resource
        details.append(error_details_pb2.ResourceInfo(resource_type=kind, resource_name=name))
    return details


def _packed(detail: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(detail)
    return packed
