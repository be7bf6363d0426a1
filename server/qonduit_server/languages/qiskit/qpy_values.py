# SPDX-License-Identifier: Apache-2.0
"""Walks numbers, texts, arrays and expressions of QPY files without creating objects."""

from __future__ import annotations

import ast
import json
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from qonduit_server.errors import ProgramError
from qonduit_server.ir.classical.values import MAX_INTEGER_BITS
from qonduit_server.ir.limits import MAX_DEPTH, MAX_OPERATIONS, too_large
from qonduit_server.languages.gate_modifiers import MAX_CONTROLS

WHOLE: Final = struct.Struct("!Q")
COUNT: Final = struct.Struct("!I")
SHORT: Final = struct.Struct("!H")
BYTE: Final = struct.Struct("!B")
GENERIC: Final = struct.Struct("!cQ")
LAYOUT_ITEM: Final = struct.Struct("!ii")
_PARAMETER: Final = struct.Struct("!H16s")
_VECTOR: Final = struct.Struct("!HQ16s")
_PLACE: Final = struct.Struct("!HQ")
_ELEMENT: Final = struct.Struct("!HQ16sQ")
_TABLE: Final = struct.Struct("!QQ")
_SYMBOL: Final = struct.Struct("!ccQ")
_STEP: Final = struct.Struct("!Bc16sc16s")
_MODIFIER: Final = struct.Struct("!cIId")
_ITEM: Final = struct.Struct("!HcH")

#: Maximum number of bits of all circuits of a file: each body has its own.
_MAX_BITS: Final = 1_000_000
#: Maximum number of steps of a parameter expression, without and with substitutions, which multiply them.
_MAX_STEPS: Final = 1000
_MAX_SUBSTITUTED: Final = 200
_MAX_SUBSTITUTIONS: Final = 2
_SUBSTITUTE: Final = 15
_MAX_VECTOR: Final = 65_536


def broken(why: str) -> ProgramError:
    """Return the error for an inconsistent file."""
    return ProgramError("SYNTAX_ERROR", f"the QPY file is damaged: {why}")


@dataclass
class Budget:
    """The limits of all circuits of a file together."""

    bits: int = 0
    operations: int = 0
    vectors: set[tuple[str, int]] = field(default_factory=set)

    def spend(self, bits: int = 0, operations: int = 0) -> None:
        """Count bits and operations, and reject too many."""
        self.bits += bits
        self.operations += operations
        if self.bits > _MAX_BITS:
            raise too_large(f"the circuits of the file have more than {_MAX_BITS} bits and parameters together")
        if self.operations > MAX_OPERATIONS:
            raise too_large(f"the file has more than {MAX_OPERATIONS} operations")


@dataclass
class Cursor:
    """A position in a part of the file."""

    data: bytes
    at: int = 0
    end: int = -1
    version: int = 0
    budget: Budget = field(default_factory=Budget)
    #: Base gates of custom gates, checked when all custom gates are known.
    bases: list[Cursor] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.end < 0:
            self.end = len(self.data)

    def take(self, record: struct.Struct) -> tuple[Any, ...]:
        """Read a record."""
        start = self.at
        self.skip(record.size)
        return record.unpack_from(self.data, start)

    def skip(self, size: int) -> None:
        """Skip bytes."""
        self.at += size
        if self.at > self.end:
            raise broken("it ends too early, or a declared length is too large")

    def text(self, size: int) -> str:
        """Read a text of `size` bytes."""
        start = self.at
        self.skip(size)
        try:
            return self.data[start : self.at].decode()
        except UnicodeDecodeError:
            raise broken("a name in it is not UTF-8") from None

    def part(self, size: int) -> Cursor:
        """Return a cursor over the next bytes."""
        start = self.at
        self.skip(size)
        return Cursor(self.data, start, self.at, self.version, self.budget)

    def numbers(self, code: str, number: int) -> tuple[int, ...]:
        """Read numbers of one type."""
        start = self.at
        self.skip(struct.calcsize(code) * number)
        return struct.unpack_from(f"!{number}{code}", self.data, start)

    def end_at(self, walk: Callable[[Cursor], None]) -> None:
        """Walk a part and require its end."""
        walk(self)
        self.finish()

    def finish(self) -> None:
        """Reject remaining bytes."""
        if self.at != self.end:
            raise broken(f"{self.end - self.at} bytes are left over after the end of a part")

    def rest(self) -> bytes:
        """Return the remaining bytes."""
        return self.data[self.at : self.end]


def check(kind: bytes, part: Cursor) -> None:
    """Check a value without a circuit."""
    match kind:
        case b"n":
            check_array(part)
        case b"p":
            (size, _) = part.take(_PARAMETER)
            part.text(size)
            part.finish()
        case b"v":
            _vector_element(part)
            part.finish()
        case b"e":
            _expression_of_parameters(part, [0, 0], 0)
        case b"x":
            _expression(part, 0)
            part.finish()
        case b"m":
            _, controls, _, _ = part.take(_MODIFIER)
            if controls > MAX_CONTROLS:  # Qiskit computes 2 to this power
                raise too_large(f"a gate has more than {MAX_CONTROLS} controls")
            part.finish()
        case b"b" | b"i" | b"f" | b"c" | b"d" | b"R" | b"r" | b"s" | b"z":
            pass
        case _:
            raise broken("a value is of an unknown kind")


def check_array(part: Cursor) -> int:
    """Check an array in NumPy's format: its length matches its header and it has no objects; return its length."""
    data = part.rest()
    if data[:6] != b"\x93NUMPY" or len(data) < 12 or data[6] not in (1, 2, 3):
        raise broken("an array is not in NumPy's format")
    start = 10 if data[6] == 1 else 12
    size = int.from_bytes(data[8:start], "little")
    text = data[start : start + size]
    try:
        header = ast.literal_eval(text.decode("ascii").strip() if size < 1000 else "{}")
        described = header["descr"]
        if isinstance(described, list):
            described = [(str(name), str(each)) for name, each in described]
        kind = np.dtype(described)
        shape = [int(each) for each in header["shape"]]
    except (ValueError, TypeError, LookupError, SyntaxError, RecursionError, MemoryError):
        raise broken("the header of an array cannot be read") from None
    if kind.hasobject or min(shape, default=0) < 0 or math.prod(shape) * kind.itemsize != len(data) - start - size:
        raise broken("an array is not as long as it says")
    return shape[0] if shape else 1


def json_object(part: Cursor) -> dict[str, Any]:
    """Return a small JSON object."""
    text = part.rest()
    try:
        found = json.loads(text) if len(text) < 10_000 else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise broken("settings in it are not a JSON object")
    return found


def check_type(cursor: Cursor, kind: bytes) -> None:
    """Check the type of a variable or of an expression, whose first letter is `kind`."""
    if kind == b"u":
        (width,) = cursor.take(COUNT)
        if not 0 < width <= MAX_INTEGER_BITS:
            raise too_large(f"an integer has no bits, or more than {MAX_INTEGER_BITS}")
    elif kind not in (b"b", b"f", b"d"):
        raise broken("a variable or an expression is of an unknown type")


def check_vector(cursor: Cursor) -> None:
    """Check a vector of parameters; Qiskit creates all of its elements."""
    size, length, _ = cursor.take(_VECTOR)
    cursor.text(size)
    if length > _MAX_VECTOR:
        raise too_large(f"a vector of parameters has more than {_MAX_VECTOR} elements")
    cursor.budget.spend(bits=length)


def _vector_element(part: Cursor) -> None:
    if part.version >= 18:
        part.take(_PLACE)
        return
    size, length, _, index = part.take(_ELEMENT)
    name = part.text(size)
    if length > _MAX_VECTOR or index >= length:
        raise too_large(f"a vector of parameters has more than {_MAX_VECTOR} elements, or fewer than are used")
    if (name, length) not in part.budget.vectors:
        part.budget.vectors.add((name, length))
        part.budget.spend(bits=length)


def _expression_of_parameters(part: Cursor, spent: list[int], depth: int) -> None:
    """Check an expression with parameters; `spent` counts its steps and substitutions, with those of its parts."""
    if depth > 8:
        raise too_large("expressions with parameters are nested too deep")
    symbols, size = part.take(_TABLE)
    steps = part.part(size)
    while steps.at < steps.end:
        operation, kind, operand, _, _ = steps.take(_STEP)
        spent[0] += 1
        if operation == _SUBSTITUTE:
            spent[1] += 1
            if kind != b"u":
                raise broken("a substitution lacks its replacement")
            mapping = steps.part(int.from_bytes(operand[:8], "big"))
            (number,) = mapping.take(WHOLE)
            for _ in range(number):
                key, inner, length = mapping.take(_ITEM)
                mapping.skip(key)
                _inner(inner, mapping.part(length), spent, depth)
            mapping.finish()
        if spent[0] > (_MAX_SUBSTITUTED if spent[1] else _MAX_STEPS) or spent[1] > _MAX_SUBSTITUTIONS:
            raise too_large("an expression with parameters is too long, or has too many substitutions: bind some first")
    for _ in range(symbols):
        key, kind, length = part.take(_SYMBOL)
        if key == b"p":
            (name, _) = part.take(_PARAMETER)
            part.text(name)
        elif key == b"v":
            _vector_element(part)
        else:
            raise broken("an expression has a symbol of an unknown kind")
        _inner(kind, part.part(length), spent, depth)
    part.finish()


def _inner(kind: bytes, part: Cursor, spent: list[int], depth: int) -> None:
    if part.at == part.end:
        return
    if kind == b"e":
        _expression_of_parameters(part, spent, depth + 1)
    else:
        check(kind, part)


def _expression(part: Cursor, depth: int) -> None:
    """Check a classical expression: its nodes in pre-order."""
    if depth > MAX_DEPTH:
        raise too_large(f"an expression is nested more than {MAX_DEPTH} deep")
    node = part.data[part.at : part.at + 1]
    part.skip(2)
    check_type(part, part.data[part.at - 1 : part.at])
    below = 0
    match node:
        case b"x":
            part.skip(1)
            where = part.data[part.at - 1 : part.at]
            if where == b"R":
                part.skip(part.take(SHORT)[0])
            else:
                part.skip({b"C": 4, b"U": 2}.get(where, part.end))
        case b"s":
            part.skip(2)
        case b"v":
            _constant(part)
        case b"c" | b"u":
            part.skip(1)
            below = 1
        case b"b":
            part.skip(1)
            below = 2
        case b"i":
            below = 2
        case _:
            raise broken("an expression has a node of an unknown kind")
    for _ in range(below):
        _expression(part, depth + 1)


def _constant(part: Cursor) -> None:
    """Skip a constant of a classical expression."""
    part.skip(1)
    match part.data[part.at - 1 : part.at]:
        case b"b":
            part.skip(1)
        case b"i":
            part.skip(part.take(BYTE)[0])
        case b"f":
            part.skip(8)
        case b"t":
            part.skip(9)
        case _:
            raise broken("an expression has a value of an unknown kind")
