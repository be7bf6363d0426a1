# SPDX-License-Identifier: Apache-2.0
"""Messages as JSON for programs that read the command line's output.

Names are those of the contract (snake_case). Unlike in the protobuf JSON mapping, 64-bit numbers are JSON numbers, not
strings, so that `jq` can calculate with them. Protobuf JSON parsers accept both.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

if TYPE_CHECKING:
    from qonduit_client.result import Result

_LONG = (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64)


def as_dict(message: Message) -> dict[str, Any]:
    """Return the message as plain values, including fields that are zero."""
    found: dict[str, Any] = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return _numbers(message.DESCRIPTOR, found)


def result_as_dict(result: Result) -> dict[str, Any]:
    """Return a result as plain values. Values read from a buffer fill the fields that would otherwise hold them."""
    found = as_dict(result.message)
    if result.buffer is not None:
        if result.message.HasField("statevector"):
            state = [complex(each) for each in result.amplitudes] if result.amplitudes is not None else []
            found["statevector"]["real"] = [each.real for each in state]
            found["statevector"]["imaginary"] = [each.imag for each in state]
        else:
            found["counts_and_probabilities"] = {"counts": result.counts, "probabilities": result.probabilities}
    return found


def as_line(value: Message | dict[str, Any]) -> str:
    """Return the value as one line of JSON."""
    return json.dumps(as_dict(value) if isinstance(value, Message) else value, ensure_ascii=False)


def _numbers(descriptor: Any, found: dict[str, Any]) -> dict[str, Any]:
    for field in descriptor.fields:
        if field.name not in found:
            continue
        value = found[field.name]
        kind = field.message_type
        if kind is not None and kind.GetOptions().map_entry:
            entry = kind.fields_by_name["value"]
            found[field.name] = {key: _one(entry, each) for key, each in value.items()}
        elif isinstance(value, list):
            found[field.name] = [_one(field, each) for each in value]
        else:
            found[field.name] = _one(field, value)
    return found


def _one(field: FieldDescriptor, value: Any) -> Any:
    if field.cpp_type in _LONG and isinstance(value, str):
        return int(value)
    if (
        field.message_type is not None
        and field.message_type.full_name.startswith("qonduit.")
        and isinstance(value, dict)
    ):
        return _numbers(field.message_type, value)
    return value
