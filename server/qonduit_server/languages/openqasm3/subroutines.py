# SPDX-License-Identifier: Apache-2.0
"""Subroutines of OpenQASM 3, which calls inline with bound arguments."""

from __future__ import annotations

from openqasm3 import ast

from qonduit_server.errors import ProgramError
from qonduit_server.ir.classical.values import Value, coerce, unsupported, wrong
from qonduit_server.ir.classical.variables import Entry, Qubits, Subroutine, Variable
from qonduit_server.languages.openqasm3 import operands
from qonduit_server.languages.openqasm3.context import EvaluationContext
from qonduit_server.languages.openqasm3.expression_evaluation import array_slice, declared_type, evaluate, integer
from qonduit_server.languages.openqasm3.measurement import measure


class _Return(Exception):
    def __init__(self, value: Value | None) -> None:
        self.value = value


def call(context: EvaluationContext, node: ast.FunctionCall, subroutine: Subroutine) -> Value | None:
    """Execute a subroutine's body and return its value."""
    definition = subroutine.node
    if len(node.arguments) != len(definition.arguments):
        raise wrong(f"{node.name.name!r} takes {len(definition.arguments)} arguments")
    names = {
        argument.name.name: _bound(context, node.name.name, argument, given)
        for argument, given in zip(definition.arguments, node.arguments, strict=True)
    }
    rounds, context.rounds = context.rounds, []
    decided, context.decided = context.decided, {}  # a recursive call has other values
    context.call_guards.append(context.conditions.guard)
    result: Value | None = None
    try:
        with context.scopes.apart():
            context.block(definition.body, names)
    except _Return as returned:
        result = returned.value
    finally:
        context.rounds, context.decided = rounds, decided
        context.call_guards.pop()
    if result is not None and definition.return_type is not None:
        result = coerce(declared_type(context, definition.return_type), result)
    return result


def _bound(
    context: EvaluationContext, name: str, argument: ast.QuantumArgument | ast.ClassicalArgument, given: ast.Expression
) -> Entry:
    """Return the scope entry of an argument in the body of the subroutine `name`."""
    own = argument.name.name
    if isinstance(argument, ast.QuantumArgument):
        qubits = operands.qubits(context, given)
        size = 1 if argument.size is None else integer(context, argument.size, "a size")
        if size != len(qubits.places):
            raise wrong(f"{name!r} takes {size} qubits as {own!r}")
        return Qubits(qubits.places, scalar=argument.size is None)
    if isinstance(argument.type, ast.ArrayReferenceType | ast.ArrayType):
        array = array_slice(context, given, own, constant=argument.access is ast.AccessControl.readonly)
        if array is None:
            raise wrong(f"{name!r} takes an array as {own!r}")
        return array
    declared = declared_type(context, argument.type)
    return Variable(own, declared, coerce(declared, evaluate(context, given)))


def call_alone(context: EvaluationContext, node: ast.ExpressionStatement) -> None:
    """Run a call whose value is unused; evaluate any other expression only to check it."""
    if isinstance(node.expression, ast.FunctionCall):
        name = node.expression.name.name
        entry = context.scopes.lookup(name)
        if isinstance(entry, Subroutine):
            call(context, node.expression, entry)
            return
        if entry is None:
            raise ProgramError("UNKNOWN_GATE", f"there is no gate or subroutine {name!r}")
    evaluate(context, node.expression)


def leave(context: EvaluationContext, node: ast.ReturnStatement) -> None:
    """Execute `return`."""
    if not context.call_guards:
        raise wrong("return needs a subroutine around it")
    if context.conditions.guard != context.call_guards[-1]:
        raise unsupported("return that depends on a measurement")
    if isinstance(node.expression, ast.QuantumMeasurement):
        raise _Return(measure(context, operands.measured(context, node.expression.qubit)))
    raise _Return(None if node.expression is None else evaluate(context, node.expression))
