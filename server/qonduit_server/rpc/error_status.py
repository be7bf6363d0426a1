# SPDX-License-Identifier: Apache-2.0
"""Convert errors to gRPC statuses: code, message and google.rpc details, at most 3 KiB in total."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, ParamSpec, TypeVar

import grpc
import structlog
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2 as details  # type: ignore[import-untyped]
from google.rpc import status_pb2

from qonduit_server.errors import (
    CallError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)

DOMAIN: Final = "qonduit"
#: gRPC sends the message and the details, and loses a status of more than about 4 KiB: both together get 3 KiB.
MAX_MESSAGE_BYTES: Final = 512
MAX_STATUS_BYTES: Final = 2400
MAX_TEXT_BYTES: Final = 300

_log = structlog.get_logger("qonduit.rpc")
_Arguments = ParamSpec("_Arguments")
_Value = TypeVar("_Value")


class Internal(CallError):
    """A fault of the server. The log contains its cause with the request id; the client gets only that id."""

    status = "INTERNAL"
    reason = "INTERNAL"


class Unimplemented(CallError):
    """The method does not exist on this server."""

    status = "UNIMPLEMENTED"
    reason = "UNIMPLEMENTED"


def outcome(
    request_id: str, function: Callable[_Arguments, _Value], *args: _Arguments.args, **kwargs: _Arguments.kwargs
) -> tuple[_Value, None] | tuple[None, CallError]:
    """Call a function and return its value or its error.

    The only place in the gRPC server that catches every exception: a fault becomes a status and a log line, and does
    not end a thread that serves other calls.
    """
    try:
        return function(*args, **kwargs), None
    except CallError as error:
        # Its frames refer to the request, and the caller's frame refers to the error: a reference cycle, which would
        # keep the request in memory until the garbage collector runs.
        error.__traceback__ = error.__cause__ = error.__context__ = None
        return None, error
    except Exception as error:  # noqa: BLE001 - see above
        _log.error("fault", request_id=request_id, exc_info=error)
        return None, Internal(f"internal error; request id {request_id}")


def status_of(error: CallError, request_id: str) -> tuple[grpc.StatusCode, str, bytes]:
    """Return the status of an error.

    Returns:
        The code, the message, and a serialized google.rpc.Status for the trailer "grpc-status-details-bin".
    """
    code: grpc.StatusCode = grpc.StatusCode[error.status]
    message = _cut(error.message, MAX_MESSAGE_BYTES)
    status = status_pb2.Status(code=code.value[0], message=message)
    _add(status, details.ErrorInfo(reason=error.reason, domain=DOMAIN))
    _add(status, details.RequestInfo(request_id=request_id))
    for detail in _details(error):
        _add(status, detail)
    return code, message, status.SerializeToString()


def _details(error: CallError) -> Iterable[Message]:
    match error:
        case InvalidArgument():
            yield _bad_request(error)
        case NotFound():
            yield details.ResourceInfo(
                resource_type=error.kind,
                resource_name=_cut(error.name, MAX_TEXT_BYTES),
                description=_cut(error.message, MAX_TEXT_BYTES),
            )
        case FailedPrecondition():
            failure = details.PreconditionFailure()
            failure.violations.add(
                type=error.kind,
                subject=_cut(error.subject, MAX_TEXT_BYTES),
                description=_cut(error.message, MAX_TEXT_BYTES),
            )
            yield failure
        case ResourceExhausted():
            quota = details.QuotaFailure()
            quota.violations.add(subject=error.subject, description=_cut(error.message, MAX_TEXT_BYTES))
            yield quota
            if error.retry_after is not None:
                yield _retry(error.retry_after)
        case Unavailable():
            yield _retry(error.retry_after)


def _bad_request(error: InvalidArgument) -> details.BadRequest:
    bad = details.BadRequest()
    room = MAX_STATUS_BYTES - 2 * MAX_MESSAGE_BYTES
    for number, violation in enumerate(error.violations):
        one = details.BadRequest.FieldViolation(
            field=_cut(violation.field, MAX_TEXT_BYTES),
            reason=_cut(violation.rule_id, 100),
            description=_cut(violation.description, MAX_TEXT_BYTES),
        )
        room -= one.ByteSize() + 4
        if room < 0:
            bad.field_violations[-1].description += f" (and {len(error.violations) - number} more)"
            break
        bad.field_violations.append(one)
    return bad


def _retry(seconds: float) -> details.RetryInfo:
    delay = Duration()
    delay.FromNanoseconds(int(seconds * 1e9))
    return details.RetryInfo(retry_delay=delay)


def _add(status: status_pb2.Status, detail: Message) -> None:
    packed = Any()
    packed.Pack(detail)
    if status.ByteSize() + packed.ByteSize() + 4 <= MAX_STATUS_BYTES:
        status.details.append(packed)


def _cut(text: str, size: int) -> str:
    data = text.encode("utf-8", "replace")
    return text if len(data) <= size else data[: size - 3].decode("utf-8", "ignore") + "..."
