# SPDX-License-Identifier: Apache-2.0
"""Parse requests and check them against the rules of the protos."""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final, TypeVar

from google.protobuf.message import DecodeError, Message
from protovalidate import Validator
from protovalidate import Violation as RuleViolation

from qonduit.v1.job_service_pb2 import CreateJobRequest, RunJobRequest
from qonduit_server.errors import InvalidArgument, ResourceExhausted, Violation

_Request = TypeVar("_Request", bound=Message)

_validator = Validator()
#: The shapes of valid submissions. A variational loop repeats a request with other values, and checking the rules takes
#: longer than to read the request: their code and data are rarely in the processor's cache.
_valid_shapes: set[bytes] = set()
_MOST_SHAPES: Final = 1024
#: Larger requests are always checked.
_MOST_SHAPED_BYTES: Final = 64 * 1024
_is_uuid = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII).fullmatch
#: Rules on a whole message cannot name a field; the texts of our rules begin with it.
_field_of_text = re.compile(r"([a-z_][a-z0-9_.\[\]]*): ").match


def parse(request_type: type[_Request], data: bytes, max_bytes: int) -> _Request:
    """Parse and check a request.

    Raises:
        InvalidArgument: not a message of this type, or a rule is violated.
        ResourceExhausted: larger than `max_bytes`.
    """
    if len(data) > max_bytes:
        raise ResourceExhausted(
            f"the request has {len(data)} bytes, the limit is {max_bytes} (max_request_bytes)",
            subject="max_request_bytes",
            retry_after=None,
        )
    try:
        request = request_type.FromString(data)
    except DecodeError as error:
        raise InvalidArgument.of(
            "request", "request.encoding", f"the request is not a valid {request_type.DESCRIPTOR.full_name}"
        ) from error
    # Unknown fields of newer clients are not checked, so the server must not store or forward them.
    request.DiscardUnknownFields()
    shape = _shape(request, len(data))
    if shape is None or shape not in _valid_shapes:
        violations = _validator.collect_violations(request)
        if violations:
            raise InvalidArgument([_violation(violation) for violation in violations])
        if shape is not None:
            if len(_valid_shapes) >= _MOST_SHAPES:
                _valid_shapes.clear()
            _valid_shapes.add(shape)
    return request


def _shape(request: Message, size: int) -> bytes | None:
    """Return a hash of all that rules depend on; None for requests that are always checked.

    That is a submission without the values of its parameters, whose number counts, and without a valid request id.
    """
    if not isinstance(request, CreateJobRequest | RunJobRequest) or size > _MOST_SHAPED_BYTES or request.credential:
        return None
    shape: Any = type(request)()
    shape.CopyFrom(request)
    if _is_uuid(shape.request_id):
        shape.request_id = ""
    count = len(shape.job.parameter_sets.values)
    if count:
        shape.job.parameter_sets.ClearField("values")
    known = b"%s %d " % (shape.DESCRIPTOR.name.encode(), count)
    data: bytes = shape.SerializeToString(deterministic=True)
    return hashlib.sha256(known + data).digest()


def _violation(violation: RuleViolation) -> Violation:
    proto = violation.proto
    field = ""
    if proto.field is not None:
        for element in proto.field.elements:
            field += f".{element.field_name}" if field else element.field_name
            if element.subscript is not None:
                field += f"[{element.subscript.value}]"
    description = proto.message
    if not field:
        named = _field_of_text(description)
        field = named[1] if named else proto.rule_id.rpartition(".")[0]
    elif not description.startswith(field):
        description = f"{field}: {description}"
    return Violation(field, proto.rule_id, description)
