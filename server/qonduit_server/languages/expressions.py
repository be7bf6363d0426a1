# SPDX-License-Identifier: Apache-2.0
"""Expressions of OpenQASM 3, and the names they are about, evaluated while a program is read."""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from openqasm3 import ast

from qonduit_server.circuit import FALSE, Formula, conjunction, disjunction, negation, parity
from qonduit_server.errors import ProgramError
from qonduit_server.languages.values import (
    MAX_INTEGER_BITS,
    Bits,
    Number,
    Table,
    Type,
    Value,
    apply,
    as_bits,
    coerce,
    equal,
    number,
    of_formula,
    padded,
    too_large,
    truth,
    unsupported,
    wrong,
)


@dataclass(frozen=True)
class Qubits:
    """Qubits of the hub under a name of the program; a scalar one cannot be indexed."""

    places: tuple[int, ...]
    scalar: bool = False


@dataclass(eq=False)
class Variable:
    """A classical variable. `homes` are the hub's bits set aside for a register, until each is written once."""

    name: str
    type: Type
    value: Value | tuple[object, ...]
    constant: bool = False
    homes: dict[int, int] = field(default_factory=dict)


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

_CONSTANTS: Final[dict[str, float]] = {
    "pi": math.pi,
    "π": math.pi,
    "tau": math.tau,
    "τ": math.tau,
    "euler": math.e,
    "ℇ": math.e,
}


def _round_function(function: Callable[[float], int]) -> Callable[[float], float]:
    return lambda value: function(value)


_FUNCTIONS: Final[dict[str, Callable[..., Number]]] = {
    "arccos": math.acos,
    "arcsin": math.asin,
    "arctan": math.atan,
    "ceiling": _round_function(math.ceil),
    "floor": _round_function(math.floor),
    "cos": math.cos,
    "sin": math.sin,
    "tan": math.tan,
    "exp": lambda value: cmath.exp(value) if isinstance(value, complex) else math.exp(value),
    "log": math.log,
    "ln": math.log,
    "sqrt": lambda value: cmath.sqrt(value) if isinstance(value, complex) else math.sqrt(value),
    "mod": lambda a, b: a % b,
    "pow": lambda a, b: _power(a, b),
    "real": lambda value: complex(value).real,
    "imag": lambda value: complex(value).imag,
}


def _power(base: Number, exponent: Number) -> Number:
    if isinstance(base, int) and isinstance(exponent, int):
        if exponent < 0:
            return float(base) ** exponent
        if abs(base) > 1 and base.bit_length() * exponent > 2 * MAX_INTEGER_BITS:
            raise too_large(f"an integer has more than {MAX_INTEGER_BITS} bits")
    return base**exponent


def _divided(left: Number, right: Number) -> Number:
    # Exact where both are whole and it divides; a fraction otherwise, which an integer variable cuts off.
    if isinstance(left, int) and isinstance(right, int) and left % right == 0:
        return left // right
    return left / right


def _shifted(left: Number, right: Number) -> Number:
    if not isinstance(left, int) or not isinstance(right, int) or right < 0:
        raise wrong("<< needs whole numbers")
    if right > MAX_INTEGER_BITS:
        raise too_large(f"an integer has more than {MAX_INTEGER_BITS} bits")
    return left << right


def _whole(function: Callable[[int, int], int]) -> Callable[[Number, Number], Number]:
    def checked(left: Number, right: Number) -> Number:
        if not isinstance(left, int) or not isinstance(right, int):
            raise wrong("a bitwise operation needs whole numbers or bits")
        return function(left, right)

    return checked


_ARITHMETIC: Final[dict[str, Callable[..., Number]]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": _divided,
    "%": lambda a, b: a % b,
    "**": _power,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
    "&": _whole(lambda a, b: a & b),
    "|": _whole(lambda a, b: a | b),
    "^": _whole(lambda a, b: a ^ b),
    "<<": _shifted,
    ">>": _whole(lambda a, b: a >> min(b, MAX_INTEGER_BITS) if b >= 0 else 0),
}
_JOINS: Final[dict[str, Callable[[Sequence[Formula]], Formula]]] = {
    "&": conjunction,
    "|": disjunction,
    "^": parity,
}


def binary(operator: str, left: Value, right: Value) -> Value:
    """Apply a binary operator; on bits it stays logic on bits wherever it can."""
    if operator in ("&&", "||"):
        join = conjunction if operator == "&&" else disjunction
        return of_formula(join((truth(left), truth(right))))
    if operator in ("==", "!="):
        same = equal(left, right)
        return same if operator == "==" else of_formula(negation(truth(same)))
    if isinstance(left, Bits) or isinstance(right, Bits):
        if operator in _JOINS and not isinstance(left, Table) and not isinstance(right, Table):
            width = max(len(each.formulas) for each in (left, right) if isinstance(each, Bits))
            rows = [
                padded(each, width) if isinstance(each, Bits) else as_bits(each, width).formulas
                for each in (left, right)
            ]
            return Bits(
                tuple(_JOINS[operator](pair) for pair in zip(*rows, strict=True)),
                scalar=all(not isinstance(each, Bits) or each.scalar for each in (left, right)),
            )
        if operator in ("<<", ">>") and isinstance(left, Bits) and isinstance(right, int) and not left.scalar:
            width = len(left.formulas)
            by = min(max(right, 0), width)
            if operator == "<<":
                return Bits((FALSE,) * by + left.formulas[: width - by])
            return Bits(left.formulas[by:] + (FALSE,) * by)
    return apply(_ARITHMETIC[operator], left, right)


class Expressions:
    """Scopes and expressions; statements are another class's business."""

    def __init__(self) -> None:
        #: The innermost scope comes last.
        self.scopes: list[dict[str, Entry]] = [{}]

    def call(self, node: ast.FunctionCall, subroutine: Subroutine) -> Value:
        """Run a subroutine of the program."""
        raise NotImplementedError

    def lookup(self, name: str) -> Entry | None:
        for scope in reversed(self.scopes):
            entry = scope.get(name)
            if entry is not None:
                return entry
        return None

    def declare(self, name: str, entry: Entry) -> None:
        if name in self.scopes[-1]:
            raise wrong(f"{name!r} is declared twice")
        self.scopes[-1][name] = entry

    # ---- numbers that must be known while reading

    def integer(self, node: ast.Expression, what: str) -> int:
        value = number(self.value(node))
        if isinstance(value, float) and value == int(value):
            value = int(value)
        if isinstance(value, Table):
            raise unsupported(f"{what} depends on a measurement")
        if not isinstance(value, int):
            raise wrong(f"{what} is not a whole number")
        return int(value)

    def type(self, node: ast.ClassicalType) -> Type:
        kind = type(node).__name__.removesuffix("Type").lower()
        size = getattr(node, "size", None)
        width = 0
        if size is not None:
            width = self.integer(size, "a size")
            if width < 1:
                raise wrong("a size is not positive")
            if kind != "bit" and width > MAX_INTEGER_BITS:
                raise too_large(f"a number has more than {MAX_INTEGER_BITS} bits")
        return Type(kind, width)

    # ---- expressions

    def value(self, node: object) -> Value:
        """Evaluate to a number or bits."""
        match node:
            case ast.IntegerLiteral() | ast.FloatLiteral() | ast.BooleanLiteral() | ast.DurationLiteral():
                known: Number = node.value
                return known
            case ast.ImaginaryLiteral():
                return complex(0, node.value)
            case ast.BitstringLiteral():
                return as_bits(node.value, node.width)
            case ast.Identifier():
                return self._named(node.name)
            case ast.UnaryExpression():
                return self._unary(node)
            case ast.BinaryExpression():
                return binary(node.op.name, self.value(node.lhs), self.value(node.rhs))
            case ast.Cast():
                return self._cast(node)
            case ast.IndexExpression():
                return self._index(node)
            case ast.Concatenation():
                left, right = self.value(node.lhs), self.value(node.rhs)
                if isinstance(left, Bits) and isinstance(right, Bits):
                    return Bits(left.formulas + right.formulas)
                raise unsupported("++ is done for qubits and bits only")
            case ast.FunctionCall():
                return self._function(node)
            case ast.SizeOf():
                return self._size(node.target)
            case ast.DurationOf():
                raise unsupported("durationof: this server keeps no times")
        raise unsupported(f"{type(node).__name__} cannot be used as a value")

    def _named(self, name: str) -> Value:
        entry = self.lookup(name)
        if entry is None:
            if name in _CONSTANTS:
                return _CONSTANTS[name]
            raise ProgramError("SYNTAX_ERROR", f"{name!r} is not declared")
        if isinstance(entry, Variable):
            if isinstance(entry.value, tuple):
                raise unsupported(f"the array {name!r} can be used one element at a time only")
            return entry.value
        if isinstance(entry, View):
            return self.view(entry)
        raise wrong(f"{name!r} is not a classical value")

    def view(self, view: View) -> Bits:
        value = view.variable.value
        assert isinstance(value, Bits)
        return Bits(tuple(value.formulas[place] for place in view.places), scalar=False)

    def _unary(self, node: ast.UnaryExpression) -> Value:
        value = self.value(node.expression)
        match node.op.name:
            case "!":
                return of_formula(negation(truth(value)))
            case "~":
                if isinstance(value, Bits):
                    return Bits(tuple(negation(formula) for formula in value.formulas), value.scalar)
                return apply(lambda v: ~v, value)
        return apply(lambda v: -v, value)

    def _cast(self, node: ast.Cast) -> Value:
        kind = self.type(node.type)
        value = self.value(node.argument)
        if kind.kind == "bit" and kind.width and isinstance(value, Bits) and value.scalar:
            value = Bits(value.formulas + (FALSE,) * (kind.width - 1))
        return coerce(kind, value)

    def _function(self, node: ast.FunctionCall) -> Value:
        name = node.name.name
        entry = self.lookup(name)
        if isinstance(entry, Subroutine):
            return self.call(node, entry)
        arguments = [self.value(each) for each in node.arguments]
        if name == "popcount" and len(arguments) == 1:
            return apply(lambda v: bin(int(v)).count("1"), arguments[0])
        if name in ("rotl", "rotr") and len(arguments) == 2 and isinstance(arguments[0], Bits):
            by = number(arguments[1])
            if not isinstance(by, int):
                raise unsupported(f"{name} by a number that depends on a measurement")
            formulas = arguments[0].formulas
            by = (by if name == "rotr" else -by) % len(formulas)
            return Bits(formulas[by:] + formulas[:by])
        function = _FUNCTIONS.get(name)
        if function is None:
            raise ProgramError("SYNTAX_ERROR", f"there is no function {name!r}")
        return apply(function, *arguments)

    def _size(self, target: ast.Expression) -> int:
        if isinstance(target, ast.Identifier):
            entry = self.lookup(target.name)
            if isinstance(entry, Qubits):
                return len(entry.places)
            if isinstance(entry, Variable) and isinstance(entry.value, tuple):
                return len(entry.value)
        value = self.value(target)
        if isinstance(value, Bits):
            return len(value.formulas)
        raise wrong("sizeof needs a register or an array")

    # ---- indices

    def indices(self, index: ast.IndexElement, size: int) -> tuple[tuple[int, ...], bool]:
        """The places an index names, and whether it names a single one."""
        if isinstance(index, ast.DiscreteSet):
            return tuple(self._place(each, size) for each in index.values), False
        if len(index) != 1:
            raise unsupported("an index has more than one dimension")
        element = index[0]
        if isinstance(element, ast.RangeDefinition):
            return tuple(self.range(element, size)), False
        return (self._place(element, size),), True

    def _place(self, node: ast.Expression, size: int) -> int:
        place = self.integer(node, "an index")
        if not -size <= place < size:
            raise wrong(f"index {place} is out of range: the size is {size}")
        return place % size

    def range(self, node: ast.RangeDefinition, size: int | None = None) -> range:
        """A range, whose end belongs to it. With a size it selects from a register: ends may be missing or negative."""
        step = 1 if node.step is None else self.integer(node.step, "a step")
        if step == 0:
            raise wrong("a range has step 0")
        if size is None:
            if node.start is None or node.end is None:
                raise wrong("a range needs a start and an end here")
            start, end = self.integer(node.start, "a range"), self.integer(node.end, "a range")
        else:
            start = self._place(node.start, size) if node.start is not None else (0 if step > 0 else size - 1)
            end = self._place(node.end, size) if node.end is not None else (size - 1 if step > 0 else 0)
        return range(start, end + (1 if step > 0 else -1), step)

    def _index(self, node: ast.IndexExpression) -> Value:
        if isinstance(node.collection, ast.Identifier):
            entry = self.lookup(node.collection.name)
            if isinstance(entry, Variable) and isinstance(entry.value, tuple):
                return self._element(entry.value, node.index)
        if isinstance(node.collection, ast.IndexExpression):
            inner = self._array(node.collection)
            if inner is not None:
                return self._element(inner, node.index)
        value = self.value(node.collection)
        if isinstance(value, Bits):
            if value.scalar:
                raise wrong("a single bit cannot be indexed")
            places, single = self.indices(node.index, len(value.formulas))
            return Bits(tuple(value.formulas[place] for place in places), scalar=single)
        if isinstance(value, int | Table):
            bits = as_bits(value, 64)
            places, single = self.indices(node.index, 64)
            return Bits(tuple(bits.formulas[place] for place in places), scalar=single)
        raise wrong("this value cannot be indexed")

    def _array(self, node: ast.Expression) -> tuple[object, ...] | None:
        if isinstance(node, ast.Identifier):
            entry = self.lookup(node.name)
            return entry.value if isinstance(entry, Variable) and isinstance(entry.value, tuple) else None
        if isinstance(node, ast.IndexExpression):
            outer = self._array(node.collection)
            if outer is not None:
                element = self._pick(outer, node.index)
                return element if isinstance(element, tuple) else None
        return None

    def _element(self, array: tuple[object, ...], index: ast.IndexElement) -> Value:
        element = self._pick(array, index)
        if isinstance(element, tuple):
            raise unsupported("an array can be used one element at a time only")
        return element  # type: ignore[return-value]

    def _pick(self, array: tuple[object, ...], index: ast.IndexElement) -> object:
        if isinstance(index, ast.DiscreteSet):
            raise unsupported("a set as the index of an array")
        element: object = array
        for each in index:
            if isinstance(each, ast.RangeDefinition) or not isinstance(element, tuple):
                raise unsupported("an array can be used one element at a time only")
            element = element[self._place(each, len(element))]
        return element
