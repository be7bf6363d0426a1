# SPDX-License-Identifier: Apache-2.0
"""Convert values of program inputs (free parameters) from Python to protobuf."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, Final, TypeAlias

from google.protobuf.struct_pb2 import Struct

#: Numbers, Booleans, strings of 0s and 1s (for registers, highest bit first), and lists of them, by the input's name.
Inputs: TypeAlias = Mapping[str, object]

#: Numbers are sent as doubles, which represent integers exactly up to this bound.
_EXACT: Final = 2**53


def struct_of(inputs: Inputs) -> Struct:
    """Return the message of these values.

    Raises:
        ValueError: an input has an unsupported value.
    """
    struct = Struct()
    for name, value in inputs.items():
        struct.update({name: _plain(name, value)})
    return struct


def _plain(name: str, value: object) -> Any:
    value = getattr(value, "tolist", lambda: value)()  # of numpy
    if isinstance(value, bool | str):
        return value
    if isinstance(value, Integral) and abs(int(value)) > _EXACT:
        raise ValueError(f"input {name!r}: {value} is too large to be sent exactly; pass it as a string of 0s and 1s")
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, list | tuple):
        return [_plain(name, each) for each in value]
    raise ValueError(f"input {name!r}: expected a number, a Boolean, a string or a list of them, got {value!r}")
