# SPDX-License-Identifier: Apache-2.0
"""Control flow of OpenQASM 3: branches, and loops that are unrolled while the program is read."""

from __future__ import annotations

from collections.abc import Sequence

from openqasm3 import ast

from qonduit_server.hub.formula import FALSE, TRUE
from qonduit_server.hub.limits import too_large
from qonduit_server.languages.evaluation import hub_loops
from qonduit_server.languages.evaluation.arithmetic import binary
from qonduit_server.languages.evaluation.expressions import declared_type, evaluate, selected, whole_array
from qonduit_server.languages.evaluation.names import Variable
from qonduit_server.languages.evaluation.reading import MAX_STEPS, Reading
from qonduit_server.languages.evaluation.values import Bits, Value, coerce, equal, truth, unsupported, wrong


class End(Exception):
    """The program ends here."""


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


def branch(reading: Reading, node: ast.BranchingStatement) -> None:
    """`if`."""
    reading.conditions.branch(
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
            reading.conditions.branch(condition, lambda: reading.block(block.statements), lambda: choose(place + 1))
        elif node.default is not None:
            reading.block(node.default.statements)

    choose(0)


def for_loop(reading: Reading, node: ast.ForInLoop) -> None:
    declared = declared_type(reading, node.type)
    values = _values(reading, node.set_declaration)
    try:
        count = len(values)
    except OverflowError:
        count = MAX_STEPS + 1
    if count > MAX_STEPS - reading.steps:
        raise too_large(f"a loop of {count} rounds takes more than the {MAX_STEPS} steps a program may take")
    reading.loop_guards.append(reading.conditions.guard)
    try:
        for value in values:
            reading.steps += 1
            variable = Variable(node.identifier.name, declared, coerce(declared, value))
            try:
                reading.block(node.block, {variable.name: variable})
            except _Continue:
                continue
            except _Break:
                break
    finally:
        reading.loop_guards.pop()


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
        return [Bits((formula,), scalar=True) for formula in value.formulas]
    raise wrong("a loop needs a range, a set, an array or bits")


def while_loop(reading: Reading, node: ast.WhileLoop) -> None:
    """`while`: unrolled as long as its condition is known, a loop of the hub from where it is not."""
    reading.loop_guards.append(reading.conditions.guard)
    try:
        while True:
            condition = truth(evaluate(reading, node.while_condition))
            if condition == FALSE:
                return
            if condition != TRUE:
                break
            reading.steps += 1
            if reading.steps > MAX_STEPS:
                raise too_large(f"a while loop takes more than the {MAX_STEPS} steps a program may take")
            try:
                reading.block(node.block)
            except _Continue:
                continue
            except _Break:
                return
    finally:
        reading.loop_guards.pop()
    hub_loops.loop(reading, node)


def leave(reading: Reading, node: ast.BreakStatement | ast.ContinueStatement) -> None:
    """`break` and `continue`."""
    if not reading.loop_guards:
        raise wrong("break and continue need a loop around them")
    if reading.conditions.guard != reading.loop_guards[-1]:
        raise unsupported("break or continue that depends on a measurement")
    raise _Break if isinstance(node, ast.BreakStatement) else _Continue


def end(reading: Reading) -> None:
    """`end`."""
    if reading.gate_body is not None:
        raise wrong("a gate's body cannot end the program")
    if reading.conditions.guard != TRUE or reading.hub_loops:
        raise unsupported("end that depends on a measurement")
    raise End
