# SPDX-License-Identifier: Apache-2.0
"""The classical memory of Quil: declarations, inputs, and the instructions that change memory."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from quil import instructions as quil
from quil.instructions import Declaration, MemoryReference, ScalarType

from qonduit_server.errors import ProgramError
from qonduit_server.ir.classical.arithmetic import binary
from qonduit_server.ir.classical.guards import GuardedVariables
from qonduit_server.ir.classical.values import Bits, Number, Table, Type, Value, Word, apply, truth, unsupported, wrong
from qonduit_server.ir.classical.values import number as as_number
from qonduit_server.ir.classical.variables import Variable
from qonduit_server.ir.formula import FALSE, Formula
from qonduit_server.ir.limits import MAX_CLBITS, MAX_REGISTERS, too_large
from qonduit_server.ir.symbolic import is_symbolic
from qonduit_server.languages.program_inputs import mismatch, missing, number
from qonduit_server.languages.signatures import Inputs

_LARGEST: Final = (1 << 63) - 1
_ELEMENT: Final = re.compile(r"(.*)\[(0|[1-9][0-9]{0,8})\]", re.DOTALL)
#: Marks numbers that were not set: no number of Quil's memory is complex.
_UNSET: Final = 1j

#: The bindings of a circuit's names to qubits or memory.
Names: TypeAlias = Mapping[str, int | MemoryReference]
NO_NAMES: Final[Names] = {}
ClassicalInstruction: TypeAlias = (
    quil.Move
    | quil.Exchange
    | quil.Convert
    | quil.Load
    | quil.Store
    | quil.UnaryLogic
    | quil.BinaryLogic
    | quil.Arithmetic
    | quil.Comparison
)
_Operand: TypeAlias = quil.ArithmeticOperand | quil.BinaryOperand | quil.ComparisonOperand
#: Quil's operators and OpenQASM 3's.
_SIGNS: Final = {
    "ADD": "+", "SUB": "-", "MUL": "*", "DIV": "/", "NEG": "-", "AND": "&", "IOR": "|", "XOR": "^", "NOT": "^",
    "SHL": "<<", "SHR": ">>", "EQ": "==", "GT": ">", "GE": ">=", "LT": "<", "LE": "<=",
}  # fmt: skip


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
        inputs: the job's values, by name.
    """

    def __init__(self, declarations: Sequence[Declaration], inputs: Inputs) -> None:
        self.regions: dict[str, Region] = {}
        #: The elements of all regions: a bit is a scalar `Bits`, anything else a number.
        self.cells: list[Variable] = []
        self.kinds: list[ScalarType] = []
        if len(declarations) > MAX_REGISTERS:
            raise too_large(f"the program declares memory more than {MAX_REGISTERS} times")
        known = {each.name: each for each in declarations}
        for each in declarations:
            chain = [each]
            while (sharing := chain[-1].sharing) is not None and sharing.name not in self.regions:
                if sharing.name not in known or len(chain) > len(known):
                    raise wrong(f"{chain[-1].name!r} shares memory that is not declared")
                chain.append(known[sharing.name])
            for one in reversed(chain):
                if one.name not in self.regions:
                    self._declare(one)
        self.regions = {each.name: self.regions[each.name] for each in declarations}
        #: Names of memory, and of its elements that are given one by one.
        self.names: set[str] = set(self.regions)
        for name, value in inputs.items():
            if name in self.regions:
                self._give(self.regions[name], value)
            elif (element := _ELEMENT.fullmatch(name)) is not None and element[1] in self.regions:
                region = self.regions[element[1]]
                if int(element[2]) < region.length:
                    self.names.add(name)
                    self._give(Region(name, region.kind, region.first + int(element[2]), 1), value)

    def registers(self) -> list[Region]:
        """Return the declared bits."""
        return [each for each in self.regions.values() if each.kind == ScalarType.BIT]

    def shown(self, region: Region) -> tuple[int | Formula, ...]:
        """Return the bits of a region for the result: IR bits, or formulas over them."""
        return tuple(_shown(each) for each in self.cells[region.first : region.first + region.length])

    def element(self, reference: MemoryReference, names: Names = NO_NAMES) -> int:
        """Return the number of an element; `names` are the bindings at the reference."""
        other = names.get(reference.name)
        if isinstance(other, MemoryReference) and reference.index == 0:
            reference = other
        region = self._region(reference.name)
        if reference.index >= region.length:
            raise wrong(f"{reference.name}[{reference.index}] is beyond the declared memory")
        return region.first + reference.index

    def is_bit(self, cell: int) -> bool:
        """Return whether an element is declared as BIT."""
        return self.kinds[cell] == ScalarType.BIT

    def writes_number(self, instruction: ClassicalInstruction, names: Names) -> bool:
        """Return whether a classical instruction changes a number, not a bit."""
        match instruction:
            case quil.Store():
                return self._region(_renamed(instruction.destination, names)).kind != ScalarType.BIT
            case quil.Exchange():
                target = instruction.left
            case quil.UnaryLogic():
                target = instruction.operand
            case _:
                target = instruction.destination
        return not self.is_bit(self.element(target, names))

    def read(self, cell: int) -> Value:
        """Return the value of an element.

        Raises:
            ProgramError: the element is a number that was not set.
        """
        value = self.cells[cell].value
        if isinstance(value, complex) and value == _UNSET:
            raise missing(self.cells[cell].name)
        if isinstance(value, Table) and _UNSET in value.values:
            raise unsupported(f"{self.cells[cell].name!r} is read, but not set on every path to it: set it first")
        assert not isinstance(value, tuple)
        return value

    def holds(self, cell: int) -> Formula:
        """Return the condition that an element is not 0."""
        return truth(self.read(cell))

    def write(self, cell: int, value: Value, conditions: GuardedVariables) -> None:
        """Set an element to a value under the current conditions."""
        conditions.write(self.cells[cell], self._stored(cell, value))

    def execute(self, instruction: ClassicalInstruction, names: Names, conditions: GuardedVariables) -> None:
        """Execute a classical instruction under the current conditions."""

        def element(reference: MemoryReference) -> int:
            return self.element(reference, names)

        def operand(written: _Operand) -> Value:
            known: int | float | MemoryReference = written._0  # type: ignore[union-attr]
            return self.read(element(known)) if isinstance(known, MemoryReference) else known

        match instruction:
            case quil.Move():
                cell, value = element(instruction.destination), operand(instruction.source)
            case quil.Exchange():
                cell, other = element(instruction.left), element(instruction.right)
                left, value = self.read(cell), self.read(other)
                self.write(other, left, conditions)
            case quil.Convert():
                cell = element(instruction.destination)
                value = self._converted(cell, self.read(element(instruction.source)))
            case quil.Load():
                cell, offset = element(instruction.destination), self.read(element(instruction.offset))
                value = self.read(self._indexed(_renamed(instruction.source, names), offset))
            case quil.Store():
                offset, value = self.read(element(instruction.offset)), operand(instruction.source)
                cell = self._indexed(_renamed(instruction.destination, names), offset)
            case quil.UnaryLogic():
                cell = element(instruction.operand)
                ones = 1 if self.is_bit(cell) else 255 if self.kinds[cell] == ScalarType.OCTET else -1
                first = ones if instruction.operator == quil.UnaryOperator.NOT else 0
                value = self._joined(instruction.operator.to_quil(), cell, first, self.read(cell))
            case quil.BinaryLogic() | quil.Arithmetic():
                cell = element(instruction.destination)
                value = self._joined(instruction.operator.to_quil(), cell, self.read(cell), operand(instruction.source))
            case quil.Comparison():
                cell = element(instruction.destination)
                if not self.is_bit(cell):
                    raise wrong("a comparison is written into BIT")
                sign = _SIGNS[instruction.operator.to_quil()]
                value = binary(sign, self.read(element(instruction.lhs)), operand(instruction.rhs))
        self.write(cell, value, conditions)

    def _region(self, name: str) -> Region:
        if name not in self.regions:
            raise wrong(f"{name!r} is not declared: begin with DECLARE {name[:40]} ...")
        return self.regions[name]

    def _declare(self, declaration: Declaration) -> None:
        name, size, sharing = declaration.name, declaration.size, declaration.sharing
        if name.lower() in ("i", "pi"):
            raise wrong(f"{name!r} is a number of Quil: give the memory another name")
        if size.length < 1:
            raise wrong(f"{name!r} is declared with no elements")
        first = len(self.cells)
        if sharing is not None:
            shared = self.regions[sharing.name]
            kinds = {shared.kind, size.data_type, *(each.data_type for each in sharing.offsets)}
            if len(kinds) > 1:
                raise unsupported(f"{name!r} shares memory of another type; here it is shared within a type")
            offset = sum(each.offset for each in sharing.offsets)
            if offset + size.length > shared.length:
                raise wrong(f"{name!r} goes beyond the memory of {sharing.name!r} it shares")
            first = shared.first + offset
        else:
            if first + size.length > MAX_CLBITS:
                raise too_large(f"the program declares more than {MAX_CLBITS} elements of memory")
            start = _bit(FALSE) if size.data_type == ScalarType.BIT else _UNSET
            kind = Type("bit" if size.data_type == ScalarType.BIT else "number")
            self.cells.extend(Variable(name, kind, start) for _ in range(size.length))
            self.kinds.extend([size.data_type] * size.length)
        self.regions[name] = Region(name, size.data_type, first, size.length)

    def _give(self, region: Region, given: object) -> None:
        """Set an input: a number, a list, or a text of 0s and 1s with the first bit last."""
        values = list(given) if isinstance(given, (list, tuple)) else [given]
        if region.kind == ScalarType.BIT and isinstance(given, str) and set(given) <= {"0", "1"}:
            values = [int(each) for each in reversed(given)]
        if len(values) != region.length:
            expected = f"a list of {region.length} numbers" if region.length > 1 else "a number"
            raise mismatch(region.name, expected, given)
        for cell, each in enumerate(values, region.first):
            value = each if isinstance(each, bool) else number(region.name, each)
            try:
                self.cells[cell].value = self._stored(cell, value)
            except ProgramError:
                raise mismatch(region.name, f"of type {region.kind.to_quil()}", given) from None

    def _indexed(self, name: str, index: Value) -> int:
        region = self._region(name)
        place = as_number(index)
        if isinstance(place, Table | Word):
            raise unsupported(f"an index of {name!r} depends on a measurement")
        assert not isinstance(place, Bits | complex)
        if place != int(place) or not 0 <= place < region.length:
            raise wrong(f"{name}[{place}] is beyond the declared memory")
        return region.first + int(place)

    def _stored(self, cell: int, value: Value) -> Value:
        """Return a value converted to an element's type."""
        kind = self.kinds[cell]
        if isinstance(value, Bits):
            if kind != ScalarType.BIT:
                raise wrong("a bit is moved into a number: use CONVERT")
            return value
        fitting = apply(lambda number: _fitting(kind, number), value)
        return _bit(truth(fitting)) if kind == ScalarType.BIT else fitting

    def _converted(self, cell: int, value: Value) -> Value:
        if self.is_bit(cell):
            return _bit(truth(value))
        return as_number(value) if self.kinds[cell] == ScalarType.REAL else apply(round, value)

    def _joined(self, operator: str, cell: int, left: Value, right: Value) -> Value:
        """Apply an operator, for the element that stores the result."""
        sign = _SIGNS[operator]
        if self.is_bit(cell):
            if sign not in "&|^":
                raise wrong(f"{operator} is for INTEGER and REAL; bits have AND, IOR, XOR and NOT")
            return binary(sign, self._stored(cell, left), self._stored(cell, right))
        if isinstance(right, Bits):
            raise wrong(f"{operator} of a number and a bit: use CONVERT first")
        if sign == "/" and self.kinds[cell] != ScalarType.REAL and truth(binary("%", left, right)) != FALSE:
            raise unsupported("DIV of integers has a remainder")
        if sign in ("<<", ">>") and any(truth(binary("<", each, 0)) != FALSE for each in (left, right)):
            raise wrong("shifts need numbers that are not negative")
        return binary(sign, left, right)


def _renamed(name: str, names: Names) -> str:
    other = names.get(name)
    return other.name if isinstance(other, MemoryReference) and other.index == 0 else name


def _bit(formula: Formula) -> Bits:
    return Bits((formula,), scalar=True)


def _shown(cell: Variable) -> int | Formula:
    assert isinstance(cell.value, Bits)
    (formula,) = cell.value.formulas
    if formula.kind == "bit":
        return formula.number
    return cell.homes.get(0, formula) if formula == FALSE else formula


def _fitting(kind: ScalarType, number: Number) -> Number:
    """Return a number converted to a memory type."""
    assert not isinstance(number, complex)
    if kind == ScalarType.REAL:
        if is_symbolic(number):
            return number
        real = float(number)
        if not math.isfinite(real):
            raise wrong("a REAL is not a finite number")
        return real
    if kind == ScalarType.BIT and number not in (0, 1):
        raise wrong("a bit is 0 or 1")
    if number != int(number):
        raise wrong(f"{number} is not a whole number")
    if not (0 <= number <= 255 if kind == ScalarType.OCTET else abs(number) <= _LARGEST):
        raise wrong(f"{number} is too large for its memory")
    return int(number)
