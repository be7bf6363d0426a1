# SPDX-License-Identifier: Apache-2.0
"""The named entities of an OpenQASM 3 program, and the scopes that resolve names."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

from openqasm3 import ast

from qonduit_server.ir.classical.values import Type, Value, wrong

#: The value of a variable; an array is a nested tuple of values.
Held: TypeAlias = Value | tuple[object, ...]


@dataclass(frozen=True)
class Qubits:
    """Qubits of the IR under a name of the program; a scalar one cannot be indexed."""

    places: tuple[int, ...]
    scalar: bool = False


@dataclass(eq=False)
class Variable:
    """A classical variable. `homes` are the IR bits reserved for a register until each is written once."""

    name: str
    type: Type
    value: Held
    constant: bool = False
    homes: dict[int, int] = field(default_factory=dict)
    #: Increases from each variable to the next.
    born: int = field(default_factory=itertools.count().__next__)


#: A selection in the first dimensions of an array: an index or a range for each.
Path: TypeAlias = tuple[int | range, ...]


class Slice(Variable):
    """An alias of an array or a part of one: writes go to that array."""

    def __init__(self, name: str, whole: Variable, path: Path, constant: bool) -> None:
        self.whole = whole
        self.path = path
        super().__init__(name, whole.type, (), constant)

    @property
    def value(self) -> Held:
        """The current value of that part."""
        return picked(self.whole.value, self.path)

    @value.setter
    def value(self, value: Held) -> None:
        """Leave the array unchanged: `GuardedVariables.write` writes it."""

    def placed(self, value: Held) -> Held:
        """Return the whole array with this part replaced."""
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
    """Return an array with the part that a path selects replaced by one of the same shape."""
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
    """An alias of bits of a variable (let, or part of a register)."""

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
    """The scopes around the current statement."""

    def __init__(self) -> None:
        #: The innermost comes last.
        self._stack: list[dict[str, Entry]] = [{}]
        self._constants_only = False

    @property
    def outermost(self) -> dict[str, Entry]:
        """The program's own scope."""
        return self._stack[0]

    def lookup(self, name: str) -> Entry | None:
        """Return the entity that a name refers to; None if it is undeclared."""
        for scope in reversed(self._stack):
            entry = scope.get(name)
            if entry is not None:
                if self._constants_only and scope is self._stack[0] and _may_change(entry):
                    raise wrong(f"a gate's body cannot use {name!r}: it knows its own arguments and constants only")
                return entry
        return None

    def declare(self, name: str, entry: Entry) -> None:
        """Declare a name in the innermost scope."""
        if name in self._stack[-1]:
            raise wrong(f"{name!r} is declared twice")
        self._stack[-1][name] = entry

    @contextmanager
    def inner(self, names: dict[str, Entry]) -> Iterator[None]:
        """Enter an inner scope that starts with these names."""
        self._stack.append(names)
        try:
            yield
        finally:
            self._stack.pop()

    @contextmanager
    def apart(self, constants_only: bool = False) -> Iterator[None]:
        """Hide all scopes but the outermost, as in bodies of subroutines; bodies of gates see only its constants."""
        kept, self._stack = self._stack, self._stack[:1]
        outer, self._constants_only = self._constants_only, constants_only or self._constants_only
        try:
            yield
        finally:
            self._stack, self._constants_only = kept, outer


def _may_change(entry: Entry) -> bool:
    return isinstance(entry, Qubits | View) or (isinstance(entry, Variable) and not entry.constant)
