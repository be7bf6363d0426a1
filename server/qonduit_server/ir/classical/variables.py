# SPDX-License-Identifier: Apache-2.0
"""What the names of an OpenQASM 3 program stand for, and the scopes they are looked up in."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

from openqasm3 import ast

from qonduit_server.ir.classical.values import Type, Value, wrong

#: What a variable holds: a value, or an array as a tuple of such.
Held: TypeAlias = Value | tuple[object, ...]


@dataclass(frozen=True)
class Qubits:
    """Qubits of the IR under a name of the program; a scalar one cannot be indexed."""

    places: tuple[int, ...]
    scalar: bool = False


@dataclass(eq=False)
class Variable:
    """A classical variable. `homes` are the IR's bits set aside for a register, until each is written once."""

    name: str
    type: Type
    value: Held
    constant: bool = False
    homes: dict[int, int] = field(default_factory=dict)
    #: Grows from each variable to the next.
    born: int = field(default_factory=itertools.count().__next__)


#: What is selected in the first dimensions of an array: one place or several, for each of them.
Path: TypeAlias = tuple[int | range, ...]


class Slice(Variable):
    """An array, or a part of one, under another name: what is written into it is written into that array."""

    def __init__(self, name: str, whole: Variable, path: Path, constant: bool) -> None:
        self.whole = whole
        self.path = path
        super().__init__(name, whole.type, (), constant)

    @property
    def value(self) -> Held:
        """What the array holds there at present."""
        return picked(self.whole.value, self.path)

    @value.setter
    def value(self, value: Held) -> None:
        """Leave the array as it is: `Conditions.write` writes into it."""

    def placed(self, value: Held) -> Held:
        """Return the whole array, in which the part is another."""
        return replaced(self.whole.value, self.path, value)


def picked(held: Held, path: Path) -> Held:
    """Return the part of an array that a path selects."""
    if not path:
        return held
    assert isinstance(held, tuple)
    first, *rest = path
    if isinstance(first, int):
        return picked(held[first], tuple(rest))  # type: ignore[arg-type]
    return tuple(picked(held[place], tuple(rest)) for place in first)  # type: ignore[arg-type]


def replaced(held: Held, path: Path, part: Held) -> Held:
    """Return an array in which the part that a path selects is another, of the same shape."""
    if not path:
        return part
    assert isinstance(held, tuple)
    first, *rest = path
    new = list(held)
    if isinstance(first, int):
        new[first] = replaced(held[first], tuple(rest), part)  # type: ignore[arg-type]
    else:
        assert isinstance(part, tuple)
        for place, each in zip(first, part, strict=True):
            new[place] = replaced(held[place], tuple(rest), each)  # type: ignore[arg-type]
    return tuple(new)


@dataclass(frozen=True)
class View:
    """Bits of a variable under another name (let, or part of a register)."""

    variable: Variable
    places: tuple[int, ...]


@dataclass(frozen=True)
class GateDefinition:
    """A gate the program defines."""

    node: ast.QuantumGateDefinition


@dataclass(frozen=True)
class Subroutine:
    """A subroutine the program defines."""

    node: ast.SubroutineDefinition


Entry: TypeAlias = Qubits | Variable | View | GateDefinition | Subroutine


class Scopes:
    """The scopes around the statement that is being read."""

    def __init__(self) -> None:
        #: The innermost comes last.
        self._stack: list[dict[str, Entry]] = [{}]
        self._constants_only = False

    @property
    def outermost(self) -> dict[str, Entry]:
        """The program's own scope."""
        return self._stack[0]

    def lookup(self, name: str) -> Entry | None:
        """Return what a name stands for here; None for an undeclared one."""
        for scope in reversed(self._stack):
            entry = scope.get(name)
            if entry is not None:
                if self._constants_only and scope is self._stack[0] and _may_change(entry):
                    raise wrong(f"a gate's body cannot use {name!r}: it knows its own arguments and constants only")
                return entry
        return None

    def declare(self, name: str, entry: Entry) -> None:
        """Give a name a meaning in the innermost scope."""
        if name in self._stack[-1]:
            raise wrong(f"{name!r} is declared twice")
        self._stack[-1][name] = entry

    @contextmanager
    def inner(self, names: dict[str, Entry]) -> Iterator[None]:
        """Yield a further scope, in which those names are known from the start."""
        self._stack.append(names)
        try:
            yield
        finally:
            self._stack.pop()

    @contextmanager
    def apart(self, constants_only: bool = False) -> Iterator[None]:
        """Only the program's own scope: what the bodies of subroutines see, and those of gates its constants."""
        kept, self._stack = self._stack, self._stack[:1]
        outer, self._constants_only = self._constants_only, constants_only or self._constants_only
        try:
            yield
        finally:
            self._stack, self._constants_only = kept, outer


def _may_change(entry: Entry) -> bool:
    return isinstance(entry, Qubits | View) or (isinstance(entry, Variable) and not entry.constant)
