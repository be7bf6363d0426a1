# SPDX-License-Identifier: Apache-2.0
"""Assignments of OpenQASM 3 to variables, bits of registers and elements of arrays."""

from __future__ import annotations

from openqasm3 import ast

from qonduit_server.languages.evaluation import operands
from qonduit_server.languages.evaluation.arithmetic import binary
from qonduit_server.languages.evaluation.expressions import evaluate, integer, viewed
from qonduit_server.languages.evaluation.measurement import measure_into
from qonduit_server.languages.evaluation.names import Held, Variable
from qonduit_server.languages.evaluation.reading import Reading
from qonduit_server.languages.evaluation.values import Value, as_bits, coerce, truth_bit, wrong


def assign(reading: Reading, node: ast.ClassicalAssignment) -> None:
    """`=`, or an operator with it."""
    if isinstance(node.rvalue, ast.QuantumMeasurement):
        places = operands.qubits(reading, node.rvalue.qubit).places
        measure_into(reading, places, operands.bits(reading, node.lvalue))
        return
    entry = reading.scopes.lookup(operands.target_name(node.lvalue))
    operator = node.op.name.removesuffix("=")
    value = evaluate(reading, node.rvalue)
    if isinstance(entry, Variable) and isinstance(entry.value, tuple):
        _assign_element(reading, entry, node, operator, value)
    elif isinstance(entry, Variable) and isinstance(node.lvalue, ast.Identifier) and entry.type.kind != "bit":
        old = entry.value
        assert not isinstance(old, tuple)
        reading.conditions.write(entry, coerce(entry.type, binary(operator, old, value) if operator else value))
    else:
        view = operands.bits(reading, node.lvalue)
        if operator:
            value = binary(operator, viewed(view), value)
        width = len(view.places)
        if width == 1:
            value = truth_bit(value)
        reading.conditions.write_bits(view, as_bits(value, width).formulas)


def _assign_element(
    reading: Reading, entry: Variable, node: ast.ClassicalAssignment, operator: str, value: Value
) -> None:
    assert isinstance(node.lvalue, ast.IndexedIdentifier)
    path = [
        integer(reading, each, "an index")
        for index in node.lvalue.indices
        if not isinstance(index, ast.DiscreteSet)
        for each in index
        if not isinstance(each, ast.RangeDefinition)
    ]

    def put(array: object, rest: list[int]) -> Held:
        if not rest:
            assert not isinstance(array, tuple)
            return coerce(entry.type, binary(operator, array, value) if operator else value)  # type: ignore[arg-type]
        if not isinstance(array, tuple) or not -len(array) <= rest[0] < len(array):
            raise wrong(f"an index of {entry.name!r} is out of range")
        place = rest[0] % len(array)
        return (*array[:place], put(array[place], rest[1:]), *array[place + 1 :])

    reading.conditions.write(entry, put(entry.value, path))
