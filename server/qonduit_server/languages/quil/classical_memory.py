# SPDX-License-Identifier: Apache-2.0
"""The classical memory of Quil: what is declared, what it holds on a path through the program, and what changes it."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final, TypeAlias

from quil.instructions import (
    Arithmetic,
    ArithmeticOperand,
    ArithmeticOperator,
    BinaryLogic,
    BinaryOperand,
    BinaryOperator,
    Comparison,
    ComparisonOperand,
    ComparisonOperator,
    Convert,
    Declaration,
    Exchange,
    Load,
    MemoryReference,
    Move,
    ScalarType,
    Store,
    UnaryLogic,
    UnaryOperator,
)

from qonduit_server.errors import ProgramError
from qonduit_server.hub.formula import FALSE, TRUE, Formula, conjunction, constant, disjunction, negation, parity
from qonduit_server.hub.limits import MAX_CLBITS, MAX_REGISTERS, too_large
from qonduit_server.languages.edges import Inputs
from qonduit_server.languages.evaluation.values import checked
from qonduit_server.languages.inputs import mismatch, missing, number

#: A number may depend on measurements in this many ways.
MAX_CASES: Final = 64
_LARGEST: Final = (1 << 63) - 1

#: A number, by what was measured: exactly one of the formulas is 1.
Cases: TypeAlias = tuple[tuple[int | float, Formula], ...]
#: Names that stand for qubits or memory within a circuit.
Names: TypeAlias = Mapping[str, int | MemoryReference]
NO_NAMES: Final[Names] = {}
#: What an element of memory holds: a bit, a number, or None where a loop has made it unknown.
Held: TypeAlias = Formula | Cases | None
ClassicalInstruction: TypeAlias = (
    Move | Exchange | Convert | Load | Store | UnaryLogic | BinaryLogic | Arithmetic | Comparison
)
CLASSICAL: Final = (Move, Exchange, Convert, Load, Store, UnaryLogic, BinaryLogic, Arithmetic, Comparison)


class Lost(Exception):
    """A number is read that a loop of the hub may have changed."""


@dataclass(frozen=True)
class Region:
    """Declared memory: its elements are `first`, `first` + 1, ..."""

    name: str
    kind: ScalarType
    first: int
    length: int


class Memory:
    """The declared memory of a program.

    Args:
        declarations: in the order of the program.
        inputs: values that were given, by name.
    """

    def __init__(self, declarations: Sequence[Declaration], inputs: Inputs) -> None:
        self.regions: dict[str, Region] = {}
        self.kinds: list[ScalarType] = []
        self._names: list[str] = []
        #: What elements hold before the program begins, as far as it was given.
        self.given: dict[int, Held] = {}
        if len(declarations) > MAX_REGISTERS:
            raise too_large(f"the program declares memory more than {MAX_REGISTERS} times")
        known = {each.name: each for each in declarations}
        for each in declarations:
            chain = [each]
            while (sharing := chain[-1].sharing) is not None and sharing.name not in self.regions:
                if sharing.name not in known or len(chain) > len(known):
                    raise ProgramError("SYNTAX_ERROR", f"{chain[-1].name!r} shares memory that is not declared")
                chain.append(known[sharing.name])
            for one in reversed(chain):
                if one.name not in self.regions:
                    self._declare(one)
        self.regions = {each.name: self.regions[each.name] for each in declarations}
        for name, value in inputs.items():
            if name in self.regions:
                self._give(self.regions[name], value)

    def registers(self) -> list[Region]:
        """The declared bits."""
        return [each for each in self.regions.values() if each.kind == ScalarType.BIT]

    def element(self, reference: MemoryReference, names: Names = NO_NAMES) -> int:
        """The number of an element; `names` are those that stand for others where it is written."""
        other = names.get(reference.name)
        if isinstance(other, MemoryReference) and reference.index == 0:
            reference = other
        region = self._region(reference.name)
        if reference.index >= region.length:
            raise ProgramError("SYNTAX_ERROR", f"{reference.name}[{reference.index}] is beyond the declared memory")
        return region.first + reference.index

    def read(self, state: Mapping[int, Held], cell: int) -> Formula | Cases:
        """What an element holds.

        Raises:
            Lost: a loop may have changed it.
        """
        if cell in state or cell in self.given:
            held = state[cell] if cell in state else self.given[cell]
            if held is None:
                raise Lost
            return held
        if self.kinds[cell] == ScalarType.BIT:
            return FALSE
        raise missing(self._names[cell])

    def cases(self, state: Mapping[int, Held], cell: int) -> Cases:
        """What an element holds, as a number."""
        held = self.read(state, cell)
        return _numbers(held) if isinstance(held, Formula) else held

    def bit(self, state: Mapping[int, Held], cell: int) -> Formula:
        """What an element holds that must be a bit."""
        held = self.read(state, cell)
        if not isinstance(held, Formula):
            raise _mistyped(f"{self._names[cell]!r} is not declared as BIT")
        return held

    def measured(self, cell: int, clbit: Formula) -> Held:
        """What a measurement writes."""
        if self.kinds[cell] == ScalarType.REAL:
            raise _mistyped("a qubit is measured into BIT or INTEGER, not REAL")
        return clbit if self.kinds[cell] == ScalarType.BIT else _numbers(clbit)

    def changes(
        self, instruction: ClassicalInstruction, names: Names, state: Mapping[int, Held]
    ) -> Iterator[tuple[int, Held]]:
        """What a classical instruction writes."""

        def element(reference: MemoryReference) -> int:
            return self.element(reference, names)

        def operand(written: ArithmeticOperand | BinaryOperand | ComparisonOperand) -> Formula | Cases:
            match written:
                case (
                    ArithmeticOperand.MemoryReference(reference)
                    | BinaryOperand.MemoryReference(reference)
                    | ComparisonOperand.MemoryReference(reference)
                ):
                    return self.read(state, element(reference))
                case (
                    ArithmeticOperand.LiteralInteger(known)
                    | ArithmeticOperand.LiteralReal(known)
                    | BinaryOperand.LiteralInteger(known)
                    | ComparisonOperand.LiteralInteger(known)
                    | ComparisonOperand.LiteralReal(known)
                ):
                    return ((known, TRUE),)
            raise _mistyped("an operand is of a kind that is not read")

        match instruction:
            case Move():
                cell = element(instruction.destination)
                yield cell, self._stored(cell, operand(instruction.source))
            case Exchange():
                left, right = element(instruction.left), element(instruction.right)
                one, other = self.read(state, left), self.read(state, right)
                yield left, self._stored(left, other)
                yield right, self._stored(right, one)
            case Convert():
                cell = element(instruction.destination)
                yield cell, self._converted(cell, self.cases(state, element(instruction.source)))
            case Load():
                cell = element(instruction.destination)
                source = self._indexed(
                    _renamed(instruction.source, names), self.cases(state, element(instruction.offset))
                )
                yield cell, self._stored(cell, self.read(state, source))
            case Store():
                index = self._indexed(
                    _renamed(instruction.destination, names), self.cases(state, element(instruction.offset))
                )
                yield index, self._stored(index, operand(instruction.source))
            case UnaryLogic():
                cell = element(instruction.operand)
                yield cell, self._unary(instruction.operator, cell, self.read(state, cell))
            case BinaryLogic():
                cell = element(instruction.destination)
                value = operand(instruction.source)
                yield cell, self._logic(instruction.operator, cell, self.read(state, cell), value)
            case Arithmetic():
                cell = element(instruction.destination)
                old = self.read(state, cell)
                if isinstance(old, Formula):
                    raise _mistyped("arithmetic is for INTEGER and REAL; bits have AND, IOR, XOR and NOT")
                yield cell, self._arithmetic(instruction.operator, cell, old, operand(instruction.source))
            case Comparison():
                cell = element(instruction.destination)
                if self.kinds[cell] != ScalarType.BIT:
                    raise _mistyped("a comparison is written into BIT")
                compared = self.read(state, element(instruction.lhs))
                yield cell, _compared(instruction.operator, compared, operand(instruction.rhs))

    def _region(self, name: str) -> Region:
        if name not in self.regions:
            raise ProgramError("SYNTAX_ERROR", f"{name!r} is not declared: begin with DECLARE {name[:40]} ...")
        return self.regions[name]

    def _declare(self, declaration: Declaration) -> None:
        name, size, sharing = declaration.name, declaration.size, declaration.sharing
        if name.lower() in ("i", "pi"):
            raise ProgramError("SYNTAX_ERROR", f"{name!r} is a number of Quil: give the memory another name")
        if size.length < 1:
            raise ProgramError("SYNTAX_ERROR", f"{name!r} is declared with no elements")
        first = len(self.kinds)
        if sharing is not None:
            shared = self.regions[sharing.name]
            kinds = {shared.kind, size.data_type, *(each.data_type for each in sharing.offsets)}
            if len(kinds) > 1:
                message = f"{name!r} shares memory of another type; only memory of the same type is shared here"
                raise ProgramError("UNSUPPORTED_CONSTRUCT", message)
            offset = sum(each.offset for each in sharing.offsets)
            if offset + size.length > shared.length:
                raise ProgramError("SYNTAX_ERROR", f"{name!r} goes beyond the memory of {sharing.name!r} it shares")
            first = shared.first + offset
        else:
            if first + size.length > MAX_CLBITS:
                raise too_large(f"the program declares more than {MAX_CLBITS} elements of memory")
            self.kinds.extend([size.data_type] * size.length)
            self._names.extend([name] * size.length)
        self.regions[name] = Region(name, size.data_type, first, size.length)

    def _give(self, region: Region, given: object) -> None:
        """Take an input: a number, a list, or a text of 0s and 1s whose last is the first bit."""
        values = list(given) if isinstance(given, (list, tuple)) else [given]
        if region.kind == ScalarType.BIT and isinstance(given, str) and set(given) <= {"0", "1"}:
            values = [int(each) for each in reversed(given)]
        if len(values) != region.length:
            expected = f"a list of {region.length} numbers" if region.length > 1 else "a number"
            raise mismatch(region.name, expected, given)
        for cell, each in enumerate(values, region.first):
            value = each if isinstance(each, bool) else number(region.name, each)
            try:
                self.given[cell] = self._stored(cell, ((value, TRUE),))
            except ProgramError:
                raise mismatch(region.name, f"of type {region.kind.to_quil()}", given) from None

    def _indexed(self, name: str, index: Cases) -> int:
        region = self._region(name)
        if len(index) > 1:
            raise ProgramError("UNSUPPORTED_CONSTRUCT", f"which element of {name!r} is meant depends on a measurement")
        place = index[0][0]
        if place != int(place) or not 0 <= place < region.length:
            raise ProgramError("SYNTAX_ERROR", f"{name}[{place}] is beyond the declared memory")
        return region.first + int(place)

    def _stored(self, cell: int, value: Formula | Cases) -> Held:
        """A value as an element of its type holds it."""
        kind = self.kinds[cell]
        if isinstance(value, Formula):
            if kind != ScalarType.BIT:
                raise _mistyped("a bit is moved into a number: use CONVERT")
            return value
        if kind == ScalarType.BIT:
            if any(number not in (0, 1) for number, _ in value):
                raise _mistyped("a bit is 0 or 1")
            return disjunction(formula for number, formula in value if number == 1)
        return tuple((self._fitting(kind, number), formula) for number, formula in value)

    def _fitting(self, kind: ScalarType, number: int | float) -> int | float:
        if kind == ScalarType.REAL:
            real = float(number)
            if not math.isfinite(real):
                raise _mistyped("a REAL is not a finite number")
            return real
        if number != int(number):
            raise _mistyped(f"{number} is not a whole number")
        if not (0 <= number <= 255 if kind == ScalarType.OCTET else abs(number) <= _LARGEST):
            raise _mistyped(f"{number} is too large for its memory")
        return int(number)

    def _converted(self, cell: int, value: Cases) -> Held:
        kind = self.kinds[cell]
        if kind == ScalarType.BIT:
            return checked(disjunction(formula for number, formula in value if number))
        if kind != ScalarType.REAL:
            value = _combined(lambda number: round(number), value)
        return self._stored(cell, value)

    def _unary(self, sign: UnaryOperator, cell: int, value: Formula | Cases) -> Held:
        if isinstance(value, Formula):
            if sign != UnaryOperator.NOT:
                raise _mistyped("NEG is for INTEGER and REAL")
            return negation(value)
        if sign == UnaryOperator.NEG:
            return self._stored(cell, _combined(operator.neg, value))
        if self.kinds[cell] == ScalarType.REAL:
            raise _mistyped("NOT is not for REAL")
        ones = 255 if self.kinds[cell] == ScalarType.OCTET else -1
        return self._stored(cell, _combined(lambda number: int(number) ^ ones, value))

    def _logic(self, sign: BinaryOperator, cell: int, old: Formula | Cases, value: Formula | Cases) -> Held:
        if isinstance(old, Formula):
            other = self._stored(cell, value)
            assert isinstance(other, Formula)
            join = {BinaryOperator.AND: conjunction, BinaryOperator.IOR: disjunction, BinaryOperator.XOR: parity}
            if sign not in join:
                raise _mistyped("bits are not shifted")
            return checked(join[sign]((old, other)))
        if self.kinds[cell] == ScalarType.REAL or isinstance(value, Formula):
            raise _mistyped("logic is for two bits or two whole numbers")
        return self._stored(cell, _combined(lambda a, b: _whole_logic(sign, a, b), old, value))

    def _arithmetic(self, sign: ArithmeticOperator, cell: int, old: Cases, value: Formula | Cases) -> Held:
        if isinstance(value, Formula):
            raise _mistyped("arithmetic with a bit: use CONVERT first")
        whole = self.kinds[cell] != ScalarType.REAL
        return self._stored(cell, _combined(lambda a, b: _computed(sign, a, b, whole), old, value))


def _renamed(name: str, names: Names) -> str:
    other = names.get(name)
    return other.name if isinstance(other, MemoryReference) and other.index == 0 else name


def _numbers(bit: Formula) -> Cases:
    """A bit as a number."""
    return tuple((number, formula) for number, formula in ((0, negation(bit)), (1, bit)) if formula != FALSE)


def _combined(function: Callable[..., int | float], *values: Cases) -> Cases:
    """Compute in each case."""
    found: dict[int | float, Formula] = {}
    for combination in product(*values):
        formula = conjunction(each for _, each in combination)
        if formula == FALSE:
            continue
        try:
            number = function(*(each for each, _ in combination))
        except (ArithmeticError, ValueError):
            raise _mistyped("a number cannot be computed: division by zero, or too large") from None
        found[number] = checked(disjunction((found[number], formula))) if number in found else formula
        if len(found) > MAX_CASES:
            raise too_large(f"a number depends on measurements in more than {MAX_CASES} ways")
    return tuple(found.items())


def _compared(sign: ComparisonOperator, left: Formula | Cases, right: Formula | Cases) -> Formula:
    if isinstance(left, Formula) and isinstance(right, Formula) and sign == ComparisonOperator.EQUAL:
        return checked(negation(parity((left, right))))
    compare = {
        ComparisonOperator.EQUAL: operator.eq,
        ComparisonOperator.GREATER_THAN: operator.gt,
        ComparisonOperator.GREATER_THAN_OR_EQUAL: operator.ge,
        ComparisonOperator.LESS_THAN: operator.lt,
        ComparisonOperator.LESS_THAN_OR_EQUAL: operator.le,
    }[sign]
    first, second = (_numbers(each) if isinstance(each, Formula) else each for each in (left, right))
    found = _combined(lambda a, b: int(compare(a, b)), first, second)
    if len(found) == 1:
        return constant(found[0][0])
    return next(formula for number, formula in found if number == 1)


def _whole_logic(sign: BinaryOperator, a: int | float, b: int | float) -> int:
    if b != int(b):
        raise ValueError
    left, right = int(a), int(b)
    if sign in (BinaryOperator.AND, BinaryOperator.IOR, BinaryOperator.XOR):
        join = {BinaryOperator.AND: operator.and_, BinaryOperator.IOR: operator.or_, BinaryOperator.XOR: operator.xor}
        return int(join[sign](left, right))
    if not 0 <= right < 64 or (sign == BinaryOperator.SHR and left < 0):
        raise ValueError
    return left << right if sign == BinaryOperator.SHL else left >> right


def _computed(sign: ArithmeticOperator, a: int | float, b: int | float, whole: bool) -> int | float:
    if sign == ArithmeticOperator.ADD:
        return a + b
    if sign == ArithmeticOperator.SUBTRACT:
        return a - b
    if sign == ArithmeticOperator.MULTIPLY:
        return a * b
    if not whole:
        return a / b
    if a % b:
        raise ProgramError("UNSUPPORTED_CONSTRUCT", f"DIV of whole numbers leaves a rest: {a} / {b}")
    return a // b


def _mistyped(message: str) -> ProgramError:
    return ProgramError("SYNTAX_ERROR", message)
