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
from qonduit_server.languages.openqasm3.context import EvaluationContext
from qonduit_server.languages.openqasm3.expression_evaluation import declared_type, evaluate, selected, whole_array


class End(Exception):
    """Ends the program."""


def branch(context: EvaluationContext, node: ast.BranchingStatement) -> None:
    """Execute `if`."""
    context.branch(
        truth(evaluate(context, node.condition)),
        lambda: context.block(node.if_block),
        lambda: context.block(node.else_block),
    )


def switch(context: EvaluationContext, node: ast.SwitchStatement) -> None:
    """Execute `switch` as nested branches."""
    target = evaluate(context, node.target)

    def one_of(expressions: Sequence[ast.Expression]) -> Value:
        result: Value = False
        for each in expressions:
            result = binary("||", result, equal(target, evaluate(context, each)))
        return result

    cases = [(truth(one_of(expressions)), block) for expressions, block in node.cases]

    def choose(place: int) -> None:
        if place < len(cases):
            condition, block = cases[place]
            context.branch(condition, lambda: context.block(block.statements), lambda: choose(place + 1))
        elif node.default is not None:
            context.block(node.default.statements)

    choose(0)


def for_loop(context: EvaluationContext, node: ast.ForInLoop) -> None:
    """Execute `for` by unrolling."""
    declared = declared_type(context, node.type)
    values = _values(context, node.set_declaration)

    def body(k: int) -> None:
        variable = Variable(node.identifier.name, declared, coerce(declared, values[k]))
        context.block(node.block, {variable.name: variable})

    context.over(values, body)


def _values(context: EvaluationContext, node: object) -> Sequence[Value]:
    """Return the values of a for loop."""
    if isinstance(node, ast.RangeDefinition):
        return selected(context, node)
    if isinstance(node, ast.DiscreteSet):
        return [evaluate(context, each) for each in node.values]
    array = whole_array(context, node)
    if array is not None:
        return array  # type: ignore[return-value]
    value = evaluate(context, node)
    if isinstance(value, Bits):
        each = [Bits((formula,), scalar=True) for formula in value.formulas]
        return each[::-1] if context.first_bit_is_highest else each
    raise wrong("a loop needs a range, a set, an array or bits")


def while_loop(context: EvaluationContext, node: ast.WhileLoop) -> None:
    """Execute `while`."""
    runtime_loops.repeat(
        context, lambda: truth(evaluate(context, node.while_condition)), lambda: context.block(node.block)
    )


def leave(context: EvaluationContext, node: ast.BreakStatement | ast.ContinueStatement) -> None:
    """Execute `break` or `continue`."""
    context.leave(isinstance(node, ast.BreakStatement))


def end(context: EvaluationContext) -> None:
    """Execute `end`."""
    if context.gate_body is not None:
        raise wrong("a gate's body cannot end the program")
    if context.conditions.guard != TRUE or context.runtime_loops:
        raise unsupported("end that depends on a measurement")
    raise End
