# SPDX-License-Identifier: Apache-2.0
"""Braket's classical feedback: `measure_ff` stores an outcome under a key, `cc_prx` rotates a qubit if it was 1.

Both use gate syntax and are experimental capabilities of IQM's devices (amazon-braket-sdk 1.127). As in Amazon's
LocalSimulator, a feedback key is not part of the result, and `measure_ff` of a register measures its qubits in order
and stores the last outcome.
"""

from __future__ import annotations

from collections.abc import Callable

from openqasm3 import ast

from qonduit_server.ir.classical.values import Bits, Type, truth, wrong
from qonduit_server.ir.classical.variables import Variable
from qonduit_server.ir.formula import FALSE
from qonduit_server.languages.openqasm3 import gate_calls, measurement, operands
from qonduit_server.languages.openqasm3.context import EvaluationContext
from qonduit_server.languages.openqasm3.expression_evaluation import integer

Operation = Callable[[EvaluationContext, ast.QuantumGate], None]


def operations() -> dict[str, Operation]:
    """Return the instructions with gate syntax, by name, for one program."""
    keys: dict[int, Variable] = {}

    def measure_ff(context: EvaluationContext, node: ast.QuantumGate) -> None:
        (key,) = _arguments(node, 1)
        (operand,) = _qubit(node)
        number = integer(context, key, "a feedback key")
        if number not in keys:
            keys[number] = Variable(f"feedback key {number}", Type("bit"), Bits((FALSE,), scalar=True))
        places = operands.qubits(context, operand).places
        if not places:
            raise wrong("measure_ff measures at least one qubit, got none")
        measured = measurement.measure(context, places)
        # The qubits are measured in order; the key stores the last outcome.
        context.conditions.write(keys[number], Bits(measured.formulas[-1:], scalar=True))
        context.measurements -= len(places)  # not part of the program's result

    def cc_prx(context: EvaluationContext, node: ast.QuantumGate) -> None:
        *angles, key = _arguments(node, 3)
        number = integer(context, key, "a feedback key")
        variable = keys.get(number)
        if variable is None:
            raise wrong(
                f"cc_prx has the feedback key {number}, for which nothing was measured: put measure_ff before it"
            )
        assert isinstance(variable.value, Bits)
        turn = ast.QuantumGate([], ast.Identifier("prx"), angles, _qubit(node))
        context.branch(truth(variable.value), lambda: gate_calls.gate(context, turn))

    return {"measure_ff": measure_ff, "cc_prx": cc_prx}


def _arguments(node: ast.QuantumGate, number: int) -> list[ast.Expression]:
    name = node.name.name
    if node.modifiers:
        raise wrong(f"{name!r} is not a gate: it takes no modifiers")
    if len(node.arguments) != number:
        raise wrong(f"{name!r} takes {number} parameters, not {len(node.arguments)}")
    return list(node.arguments)


def _qubit(node: ast.QuantumGate) -> list[ast.IndexedIdentifier | ast.Identifier]:
    if len(node.qubits) != 1:
        raise wrong(f"{node.name.name!r} acts on 1 qubit, not {len(node.qubits)}")
    return list(node.qubits)
