# SPDX-License-Identifier: Apache-2.0
"""Requests, checked: bytes become a message, and the rules that stand in the protos are run on it."""

from __future__ import annotations

import re
from typing import TypeVar

from google.protobuf.message import DecodeError, Message
from protovalidate import Validator
from protovalidate import Violation as BrokenRule

from qonduit_server.errors import InvalidArgument, ResourceExhausted, Violation

_Request = TypeVar("_Request", bound=Message)

_validator = Validator()
#: Rules on a whole message cannot name a field; ours begin their text with it.
_field_of_text = re.compile(r"([a-z_][a-z0-9_.\[\]]*): ").match


def parse(request_type: type[_Request], data: bytes, max_bytes: int) -> _Request:
    """Read and check a request.

    Raises:
        InvalidArgument: not a message of this type, or a rule is broken.
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
    # What a newer client sends is not known here, is not checked, and must not be stored or sent on.
    request.DiscardUnknownFields()
    broken = _validator.collect_violations(request)
    if broken:
        raise InvalidArgument([_violation(rule) for rule in broken])
    return request


def _violation(rule: BrokenRule) -> Violation:
    told = rule.proto
    field = ""
    if told.field is not None:
        for element in told.field.elements:
            field += f".{element.field_name}" if field else element.field_name
            if element.subscript is not None:
                field += f"[{element.subscript.value}]"
    description = told.message
    if not field:
        named = _field_of_text(description)
        field = named[1] if named else told.rule_id.rpartition(".")[0]
    elif not description.startswith(field):
        description = f"{field}: {description}"
    return Violation(field, told.rule_id, description)
