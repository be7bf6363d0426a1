# SPDX-License-Identifier: Apache-2.0
"""Values that jobs and programs give for the inputs of programs: how large they may be, and what they may hold."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from google.protobuf.struct_pb2 import Struct, Value

from qonduit_server.errors import Violation

#: A job's events carry its inputs, too.
MAX_BYTES: Final = 65_536


def broken(inputs: Struct, path: str) -> Iterator[Violation]:
    """What is wrong with the values in a field of this path."""
    if inputs.ByteSize() > MAX_BYTES:
        yield Violation(path, "inputs.max_bytes", f"{path}: {inputs.ByteSize()} bytes; at most {MAX_BYTES}")
        return
    for name, value in inputs.fields.items():
        if not all(math.isfinite(number) for number in _numbers(value)):
            shown = name if len(name) < 64 else name[:64] + "..."
            what = f"{path}: {shown!r} is given a number that is not finite"
            yield Violation(f"{path}.{shown}", "inputs.finite", what)


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
