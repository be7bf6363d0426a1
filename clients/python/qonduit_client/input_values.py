# SPDX-License-Identifier: Apache-2.0
"""Values for the inputs of programs (their free parameters), from Python to the message that carries them."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, Final, TypeAlias

from google.protobuf.struct_pb2 import Struct

#: Numbers, Booleans, texts of 0s and 1s (for registers, highest bit first), and lists of them, by the input's name.
Inputs: TypeAlias = Mapping[str, object]

#: Numbers travel as doubles; larger whole ones would not arrive as they were sent.
_EXACT: Final = 2**53


def struct_of(inputs: Inputs) -> Struct:
    """Return the message of these values.

    Raises:
        ValueError: a value is none that an input can have.
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
        raise ValueError(f"input {name!r}: {value} is too large to be sent exactly; give it as a text of 0s and 1s")
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, list | tuple):
        return [_plain(name, each) for each in value]
    raise ValueError(f"input {name!r}: {value!r} is neither a number, a Boolean, a text nor a list of them")
