# SPDX-License-Identifier: Apache-2.0
"""Subroutines of OpenQASM 3: a call executes the body in place, with its arguments bound to their names."""

from __future__ import annotations

from openqasm3 import ast

from qonduit_server.errors import ProgramError
from qonduit_server.ir.classical.values import Value, coerce, unsupported, wrong
from qonduit_server.ir.classical.variables import Entry, Qubits, Subroutine, Variable
from qonduit_server.languages.openqasm3 import operands
from qonduit_server.languages.openqasm3.context import Reading
from qonduit_server.languages.openqasm3.expression_evaluation import array_slice, declared_type, evaluate, integer
from qonduit_server.languages.openqasm3.measurement import measure


class _Return(Exception):
    def __init__(self, value: Value | None) -> None:
        self.value = value


def call(reading: Reading, node: ast.FunctionCall, subroutine: Subroutine) -> Value | None:
    """Execute a subroutine's body; returns what it returns."""
    definition = subroutine.node
    if len(node.arguments) != len(definition.arguments):
        raise wrong(f"{node.name.name!r} takes {len(definition.arguments)} arguments")
    names = {
        argument.name.name: _bound(reading, node.name.name, argument, given)
        for argument, given in zip(definition.arguments, node.arguments, strict=True)
    }
    rounds, reading.rounds = reading.rounds, []
    decided, reading.decided = reading.decided, {}  # a call within itself has other values
    reading.call_guards.append(reading.conditions.guard)
    result: Value | None = None
    try:
        with reading.scopes.apart():
            reading.block(definition.body, names)
    except _Return as returned:
        result = returned.value
    finally:
        reading.rounds, reading.decided = rounds, decided
        reading.call_guards.pop()
    if result is not None and definition.return_type is not None:
        result = coerce(declared_type(reading, definition.return_type), result)
    return result


def _bound(
    reading: Reading, name: str, argument: ast.QuantumArgument | ast.ClassicalArgument, given: ast.Expression
) -> Entry:
    """What an argument of the subroutine `name` stands for in its body."""
    own = argument.name.name
    if isinstance(argument, ast.QuantumArgument):
        qubits = operands.qubits(reading, given)
        size = 1 if argument.size is None else integer(reading, argument.size, "a size")
        if size != len(qubits.places):
            raise wrong(f"{name!r} takes {size} qubits as {own!r}")
        return Qubits(qubits.places, scalar=argument.size is None)
    if isinstance(argument.type, ast.ArrayReferenceType | ast.ArrayType):
        array = array_slice(reading, given, own, constant=argument.access is ast.AccessControl.readonly)
        if array is None:
            raise wrong(f"{name!r} takes an array as {own!r}")
        return array
    declared = declared_type(reading, argument.type)
    return Variable(own, declared, coerce(declared, evaluate(reading, given)))


def call_alone(reading: Reading, node: ast.ExpressionStatement) -> None:
    """A call whose value nobody uses; any other expression is checked, and leaves nothing."""
    if isinstance(node.expression, ast.FunctionCall):
        name = node.expression.name.name
        entry = reading.scopes.lookup(name)
        if isinstance(entry, Subroutine):
            call(reading, node.expression, entry)
            return
        if entry is None:
            raise ProgramError("UNKNOWN_GATE", f"there is no gate or subroutine {name!r}")
    evaluate(reading, node.expression)


def leave(reading: Reading, node: ast.ReturnStatement) -> None:
    """`return`."""
    if not reading.call_guards:
        raise wrong("return needs a subroutine around it")
    if reading.conditions.guard != reading.call_guards[-1]:
        raise unsupported("return that depends on a measurement")
    if isinstance(node.expression, ast.QuantumMeasurement):
        raise _Return(measure(reading, operands.measured(reading, node.expression.qubit)))
    raise _Return(None if node.expression is None else evaluate(reading, node.expression))
