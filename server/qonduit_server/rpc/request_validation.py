# SPDX-License-Identifier: Apache-2.0
"""Parse requests and check them against the rules of the protos."""

from __future__ import annotations

import re
from typing import TypeVar

from google.protobuf.message import DecodeError, Message
from protovalidate import Validator
from protovalidate import Violation as RuleViolation

from qonduit_server.errors import InvalidArgument, ResourceExhausted, Violation

_Request = TypeVar("_Request", bound=Message)

_validator = Validator()
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
    violations = _validator.collect_violations(request)
    if violations:
        raise InvalidArgument([_violation(violation) for violation in violations])
    return request


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
