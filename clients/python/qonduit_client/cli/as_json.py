# SPDX-License-Identifier: Apache-2.0
"""Messages as JSON for programs that read the command line's output.

Names are those of the contract (snake_case). Unlike in the protobuf JSON mapping, 64-bit numbers are JSON numbers, not
strings, so that `jq` can calculate with them. Protobuf JSON parsers accept both.
"""

from __future__ import annotations

import json
import struct
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
    """Return a result as plain values. Values read from a buffer fill the fields that would otherwise hold them.

    The outcomes of shots are a list of keys.
    """
    found = as_dict(result.message)
    kind = result.message.WhichOneof("result_dict")
    if kind == "quasi_distribution":
        found[kind] |= _distribution(result)
    elif result.buffer is not None:
        match kind:
            case "statevector":
                state = [complex(each) for each in result.amplitudes] if result.amplitudes is not None else []
                found[kind]["real"] = [each.real for each in state]
                found[kind]["imaginary"] = [each.imag for each in state]
            case "expectation_values":
                found[kind] |= _estimates(result)
            case "term_values":
                found[kind]["values"] = [value for (value,) in struct.iter_unpack(">d", result.known_rows())]
            case _:
                found["counts_and_probabilities"] = {"counts": result.counts, "probabilities": result.probabilities}
    return found


def _distribution(result: Result) -> dict[str, Any]:
    from qonduit_client.samples import Sample

    sample = Sample(result)
    return {
        "quasi_probabilities": sample.quasi_probabilities,
        "by_register": [
            {"register": name, "quasi_probabilities": shares} for name, shares in sample.by_register.items()
        ],
        "outcomes": [" ".join(map(hex, numbers)) for numbers in sample.rows()],
    }


def _estimates(result: Result) -> dict[str, Any]:
    from qonduit_client.estimates import rows_of

    rows = list(rows_of(result))
    return {
        "values": [row.value for row in rows],
        "standard_errors": [row.standard_error for row in rows],
        "variances": [row.variance for row in rows],
        "gradients": [value for row in rows for value in row.gradient],
        "shots": [row.shots for row in rows],
        "confidence_intervals": [end for row in rows for end in (row.lower, row.upper)],
        "bounded": [row.bounded for row in rows],
    }


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
