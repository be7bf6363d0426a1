# SPDX-License-Identifier: Apache-2.0
"""Assignments of OpenQASM 3, also of what is measured: to variables, bits of registers, elements of arrays."""

from __future__ import annotations

from openqasm3 import ast

from qonduit_server.errors import ProgramError
from qonduit_server.languages.evaluation import measurement, operands
from qonduit_server.languages.evaluation.arithmetic import binary
from qonduit_server.languages.evaluation.expressions import evaluate, integer, viewed
from qonduit_server.languages.evaluation.names import Held, Variable
from qonduit_server.languages.evaluation.reading import Reading
from qonduit_server.languages.evaluation.values import Value, as_bits, coerce, truth_bit, unsupported, wrong


def assign(reading: Reading, node: ast.ClassicalAssignment) -> None:
    """`=`, or an operator with it."""
    _store(reading, node.lvalue, node.op.name.removesuffix("="), evaluate(reading, node.rvalue))


def measure(reading: Reading, node: ast.QuantumMeasurementStatement) -> None:
    """`c = measure q`, or a measurement that nobody looks at."""
    if node.target is None:
        measured = measurement.measure(reading, operands.qubits(reading, node.measure.qubit).places).formulas
        if not reading.hub_loops:  # whose rounds are read more than once
            reading.unnamed += measured
        return
    places = operands.measured(reading, node.measure.qubit)
    entry = reading.scopes.lookup(operands.target_name(node.target))
    if isinstance(entry, Variable) and entry.type.kind != "bit":
        _store(reading, node.target, "", measurement.measure(reading, places))
    else:
        measurement.measure_into(reading, places, operands.bits(reading, node.target))


def _store(reading: Reading, target: ast.Identifier | ast.IndexedIdentifier, operator: str, value: Value) -> None:
    entry = reading.scopes.lookup(operands.target_name(target))
    if isinstance(entry, Variable) and isinstance(entry.value, tuple):
        _store_element(reading, entry, target, operator, value)
    elif isinstance(entry, Variable) and isinstance(target, ast.Identifier) and entry.type.kind != "bit":
        old = entry.value
        assert not isinstance(old, tuple)
        reading.conditions.write(
            entry, coerce(entry.type, binary(operator, old, value, reading.division_rounds_down) if operator else value)
        )
    else:
        view = operands.bits(reading, target)
        if operator:
            value = binary(operator, viewed(view), value)
        width = len(view.places)
        if width == 1:
            value = truth_bit(value)
        reading.conditions.write_bits(view, as_bits(value, width).formulas)


def _store_element(
    reading: Reading, entry: Variable, target: ast.Identifier | ast.IndexedIdentifier, operator: str, value: Value
) -> None:
    path = []
    for index in target.indices if isinstance(target, ast.IndexedIdentifier) else ():
        for each in () if isinstance(index, ast.DiscreteSet) else index:
            if isinstance(each, ast.RangeDefinition):
                raise _whole(entry)
            path.append(integer(reading, each, "an index"))
        if isinstance(index, ast.DiscreteSet):
            raise _whole(entry)

    def put(array: Held, rest: list[int]) -> Held:
        if not rest:
            if isinstance(array, tuple):
                raise _whole(entry)
            return coerce(
                entry.type, binary(operator, array, value, reading.division_rounds_down) if operator else value
            )
        if not isinstance(array, tuple) or not -len(array) <= rest[0] < len(array):
            raise wrong(f"an index of {entry.name!r} is out of range")
        place = rest[0] % len(array)
        inner: Held = array[place]  # type: ignore[assignment]
        return (*array[:place], put(inner, rest[1:]), *array[place + 1 :])

    reading.conditions.write(entry, put(entry.value, path))


def _whole(entry: Variable) -> ProgramError:
    return unsupported(f"the array {entry.name!r} can be written one element at a time only")
