# SPDX-License-Identifier: Apache-2.0
"""Building IR circuits: the operands of conditions and loops, and their bounds."""

from __future__ import annotations

import pytest
from qiskit.circuit import Measure
from qiskit.circuit.library import CXGate, XGate

from qonduit_server.errors import ProgramError
from qonduit_server.ir import builder
from qonduit_server.ir.builder import Block, Builder, Loop, Step, Write
from qonduit_server.ir.formula import TRUE, bit, conjunction


def built() -> Builder:
    builder = Builder()
    builder.add_qubits(10)
    builder.add_clbits(10)
    builder.append(TRUE, Measure(), (0,), (3,))
    return builder


def test_a_condition_has_the_operands_that_occur_in_it() -> None:
    program = built()
    guard = conjunction((bit(3), bit(5)))
    program.append(guard, CXGate(), (7, 2))
    program.append(guard, Write(8, bit(1)))
    circuit = program.finish()
    _, condition = circuit.data
    assert [circuit.find_bit(each).index for each in condition.qubits] == [2, 7]
    assert [circuit.find_bit(each).index for each in condition.clbits] == [1, 3, 5, 8]
    gate = condition.operation.blocks[0].data[0]
    assert [circuit.find_bit(each).index for each in gate.qubits] == [7, 2]


def test_a_loop_has_the_operands_of_its_nested_blocks() -> None:
    program = built()
    body = Block([Step(bit(3), XGate(), (1,)), Step(bit(4), Write(6, bit(5))), Step(TRUE, Measure(), (0,), (3,))])
    program.append(TRUE, Loop(bit(8), body))
    circuit = program.finish()
    _, loop = circuit.data
    assert [circuit.find_bit(each).index for each in loop.qubits] == [0, 1]
    assert [circuit.find_bit(each).index for each in loop.clbits] == [3, 4, 5, 6, 8]
    inner = loop.operation.blocks[0].data[0]
    assert [circuit.find_bit(each).index for each in (*inner.qubits, *inner.clbits)] == [1, 3]


def test_the_operands_of_bodies_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "MAX_PLACES", 20)
    program = built()
    for place in range(10):
        program.append(bit(place), XGate(), (0,))
    program.finish()
    program.append(bit(0), XGate(), (1,))
    with pytest.raises(ProgramError, match="too many") as raised:
        program.finish()
    assert raised.value.reason == "TOO_LARGE"
