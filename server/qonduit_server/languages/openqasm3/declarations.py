# SPDX-License-Identifier: Apache-2.0
"""Declarations of OpenQASM 3: qubits, classical variables and constants, arrays, inputs and outputs."""

from __future__ import annotations

from openqasm3 import ast

from qonduit_server.ir.classical.values import Bits, coerce, wrong
from qonduit_server.ir.classical.variables import Held, Qubits, Variable, View
from qonduit_server.ir.formula import FALSE
from qonduit_server.languages.openqasm3 import input_declarations, operands
from qonduit_server.languages.openqasm3.context import EvaluationContext
from qonduit_server.languages.openqasm3.expression_evaluation import (
    array_type,
    declared_type,
    evaluate,
    integer,
    whole_array,
)
from qonduit_server.languages.openqasm3.measurement import measure, measure_into


def declare_qubits(context: EvaluationContext, node: ast.QubitDeclaration) -> None:
    """Declare a qubit or a register of qubits."""
    size = 1 if node.size is None else integer(context, node.size, "a size")
    if size < 1:
        raise wrong("a register needs at least one qubit")
    context.scopes.declare(node.qubit.name, Qubits(context.builder.add_qubits(size), scalar=node.size is None))


def declare(context: EvaluationContext, node: ast.ClassicalDeclaration | ast.ConstantDeclaration) -> None:
    """Declare a classical variable or constant, or an array."""
    constant = isinstance(node, ast.ConstantDeclaration)
    _declare(context, node.identifier.name, node.type, node.init_expression, constant)


def declare_io(context: EvaluationContext, node: ast.IODeclaration) -> None:
    """Declare an input, with the job's value, or an output."""
    name = node.identifier.name
    if node.io_identifier.name == "input":
        input_declarations.declare(context, node)
        return
    variable = _declare(context, name, node.type, None, constant=False)
    if variable.type.kind == "bit":
        context.outputs.append(variable)
    else:
        context.warn(f"the output {name!r} is not shown: results hold bits")


def _declare(context: EvaluationContext, name: str, kind: ast.ClassicalType, init: object, constant: bool) -> Variable:
    if isinstance(kind, ast.ArrayType):
        return _declare_array(context, name, kind, init, constant)
    declared = declared_type(context, kind)
    variable = Variable(name, declared, 0, constant)
    if declared.kind == "bit":
        size = declared.width or 1
        homes = context.builder.add_clbits(size) if not context.runtime_loops else ()
        variable.homes = dict(enumerate(reversed(homes) if context.first_bit_is_highest else homes))
        variable.value = Bits((FALSE,) * size, scalar=not declared.width)
    if isinstance(init, ast.QuantumMeasurement):
        places = operands.measured(context, init.qubit)
        if declared.kind == "bit":
            context.scopes.declare(name, variable)
            measure_into(context, places, View(variable, tuple(range(declared.width or 1))))
            return variable
        variable.value = coerce(declared, measure(context, places))
    elif init is not None:
        variable.value = coerce(declared, evaluate(context, init))
    elif declared.kind != "bit":
        variable.value = coerce(declared, 0)
    context.scopes.declare(name, variable)
    return variable


def _declare_array(
    context: EvaluationContext, name: str, kind: ast.ArrayType, init: object, constant: bool
) -> Variable:
    base, sizes = array_type(context, kind)

    def copied(given: object, level: int) -> Held:
        if level == len(sizes) and not isinstance(given, tuple):
            return coerce(base, given)  # type: ignore[arg-type]
        if level == len(sizes) or not isinstance(given, tuple) or len(given) != sizes[level]:
            raise wrong(f"the array {name!r} is initialized with an array of another shape")
        return tuple(copied(each, level + 1) for each in given)

    def fill(node: object, level: int) -> Held:
        if level == len(sizes):
            return coerce(base, 0 if node is None else evaluate(context, node))
        array = whole_array(context, node) if isinstance(node, ast.Expression) else None
        if array is not None:
            return copied(array, level)
        if node is not None and (not isinstance(node, ast.ArrayLiteral) or len(node.values) != sizes[level]):
            raise wrong(f"the array {name!r} is initialized with a wrong number of values")
        values = node.values if isinstance(node, ast.ArrayLiteral) else [None] * sizes[level]
        return tuple(fill(each, level + 1) for each in values)

    variable = Variable(name, base, fill(init, 0), constant)
    context.scopes.declare(name, variable)
    return variable
