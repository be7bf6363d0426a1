# SPDX-License-Identifier: Apache-2.0
"""Limits of values in a Struct, such as the inputs of programs: size, depth and finite numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from google.protobuf.struct_pb2 import Struct, Value

from qonduit_server.errors import Violation

#: The maximum size of all values together.
MAX_BYTES: Final = 65_536
#: The maximum depth of nested lists and structs. Protobuf parsers accept messages nested 100 deep; a list or struct
#: is two or three of them, and events nest the values of a request once more.
MAX_DEPTH: Final = 25


def violations(inputs: Struct, path: str) -> Iterator[Violation]:
    """Yield the violations of the values in the field `path`."""
    if inputs.ByteSize() > MAX_BYTES:
        yield Violation(
            path, "inputs.max_bytes", f"{path}: must have at most {MAX_BYTES} bytes, got {inputs.ByteSize()}"
        )
        return
    for name, value in inputs.fields.items():
        shown = name if len(name) < 64 else name[:64] + "..."
        if _is_deeper(value, MAX_DEPTH):
            message = f"{path}: {shown!r} must be nested at most {MAX_DEPTH} levels deep"
            yield Violation(f"{path}.{shown}", "inputs.max_depth", message)
        elif not all(math.isfinite(number) for number in _numbers(value)):
            message = f"{path}: {shown!r} must contain finite numbers only"
            yield Violation(f"{path}.{shown}", "inputs.finite", message)


def _is_deeper(value: Value, depth: int) -> bool:
    kind = value.WhichOneof("kind")
    if kind == "list_value":
        return not depth or any(_is_deeper(each, depth - 1) for each in value.list_value.values)
    if kind == "struct_value":
        return not depth or any(_is_deeper(each, depth - 1) for each in value.struct_value.fields.values())
    return False


def _numbers(value: Value) -> Iterator[float]:
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        yield value.number_value
    elif kind == "list_value":
        for each in value.list_value.values:
            yield from _numbers(each)
    elif kind == "struct_value":
        for each in value.struct_value.fields.values():
            yield from _numbers(each)
