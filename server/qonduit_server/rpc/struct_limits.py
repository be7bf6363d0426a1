# SPDX-License-Identifier: Apache-2.0
"""Values that come as a Struct, such as inputs of programs: how large and deep they may be, and what they may hold."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from google.protobuf.struct_pb2 import Struct, Value

from qonduit_server.errors import Violation

#: Of all values together.
MAX_BYTES: Final = 65_536
#: Lists and structs within each other. Readers of protobuf take messages 100 deep; each of these is two or three of
#: them, and events wrap what a request brought once more.
MAX_DEPTH: Final = 25


def broken(inputs: Struct, path: str) -> Iterator[Violation]:
    """Yield what is wrong with the values in a field of this path."""
    if inputs.ByteSize() > MAX_BYTES:
        yield Violation(
            path, "inputs.max_bytes", f"{path}: must have at most {MAX_BYTES} bytes, got {inputs.ByteSize()}"
        )
        return
    for name, value in inputs.fields.items():
        shown = name if len(name) < 64 else name[:64] + "..."
        if _is_deeper(value, MAX_DEPTH):
            what = f"{path}: {shown!r} must be nested at most {MAX_DEPTH} levels deep"
            yield Violation(f"{path}.{shown}", "inputs.max_depth", what)
        elif not all(math.isfinite(number) for number in _numbers(value)):
            what = f"{path}: {shown!r} must contain finite numbers only"
            yield Violation(f"{path}.{shown}", "inputs.finite", what)


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
