# SPDX-License-Identifier: Apache-2.0
"""Control flow of OpenQASM 3: branches, and loops that are unrolled while the program is read."""

from __future__ import annotations

from collections.abc import Sequence

from openqasm3 import ast

from qonduit_server.ir.classical import runtime_loops
from qonduit_server.ir.classical.arithmetic import binary
from qonduit_server.ir.classical.values import Bits, Value, coerce, equal, truth, unsupported, wrong
from qonduit_server.ir.classical.variables import Variable
from qonduit_server.ir.formula import TRUE
from qonduit_server.languages.openqasm3.context import Reading
from qonduit_server.languages.openqasm3.expression_evaluation import declared_type, evaluate, selected, whole_array


class End(Exception):
    """The program ends here."""


def branch(reading: Reading, node: ast.BranchingStatement) -> None:
    """`if`."""
    reading.branch(
        truth(evaluate(reading, node.condition)),
        lambda: reading.block(node.if_block),
        lambda: reading.block(node.else_block),
    )


def switch(reading: Reading, node: ast.SwitchStatement) -> None:
    """`switch`: branches within each other's else."""
    target = evaluate(reading, node.target)

    def one_of(expressions: Sequence[ast.Expression]) -> Value:
        result: Value = False
        for each in expressions:
            result = binary("||", result, equal(target, evaluate(reading, each)))
        return result

    cases = [(truth(one_of(expressions)), block) for expressions, block in node.cases]

    def choose(place: int) -> None:
        if place < len(cases):
            condition, block = cases[place]
            reading.branch(condition, lambda: reading.block(block.statements), lambda: choose(place + 1))
        elif node.default is not None:
            reading.block(node.default.statements)

    choose(0)


def for_loop(reading: Reading, node: ast.ForInLoop) -> None:
    """`for`, which is unrolled."""
    declared = declared_type(reading, node.type)
    values = _values(reading, node.set_declaration)

    def body(k: int) -> None:
        variable = Variable(node.identifier.name, declared, coerce(declared, values[k]))
        reading.block(node.block, {variable.name: variable})

    reading.over(values, body)


def _values(reading: Reading, node: object) -> Sequence[Value]:
    """What a for loop goes over."""
    if isinstance(node, ast.RangeDefinition):
        return selected(reading, node)
    if isinstance(node, ast.DiscreteSet):
        return [evaluate(reading, each) for each in node.values]
    array = whole_array(reading, node)
    if array is not None:
        return array  # type: ignore[return-value]
    value = evaluate(reading, node)
    if isinstance(value, Bits):
        each = [Bits((formula,), scalar=True) for formula in value.formulas]
        return each[::-1] if reading.first_bit_is_highest else each
    raise wrong("a loop needs a range, a set, an array or bits")


def while_loop(reading: Reading, node: ast.WhileLoop) -> None:
    """`while`."""
    runtime_loops.repeat(
        reading, lambda: truth(evaluate(reading, node.while_condition)), lambda: reading.block(node.block)
    )


def leave(reading: Reading, node: ast.BreakStatement | ast.ContinueStatement) -> None:
    """`break` and `continue`."""
    reading.leave(isinstance(node, ast.BreakStatement))


def end(reading: Reading) -> None:
    """`end`."""
    if reading.gate_body is not None:
        raise wrong("a gate's body cannot end the program")
    if reading.conditions.guard != TRUE or reading.hub_loops:
        raise unsupported("end that depends on a measurement")
    raise End
