# SPDX-License-Identifier: Apache-2.0
"""The IR circuit as plain steps: nothing is lost, and gates are decomposed into the requested ones."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from qiskit.circuit import ClassicalRegister, Gate, IfElseOp, Measure, QuantumCircuit, Reset
from qiskit.circuit import library as qk

from qonduit_server.errors import ProgramError
from qonduit_server.ir.builder import Block, Builder, Loop, Step, Write
from qonduit_server.ir.circuit import Circuit
from qonduit_server.ir.formula import TRUE, Formula, bit, conjunction, negation
from qonduit_server.ir.visitor import (
    BarrierStep,
    BranchStep,
    DelayStep,
    GateStep,
    LoopStep,
    MeasureStep,
    Plain,
    ResetStep,
    bits_read,
    bits_written,
    qubits_used,
    standard_name,
    walk,
)
from tests.unit.ir.reference_simulator import close, distribution
from tests.unit.ir.sample_circuits import circuits, own_gate


def rebuilt(circuit: Circuit, steps: tuple[Plain, ...]) -> Circuit:
    """Rebuild a circuit from steps."""
    builder = Builder()
    builder.add_qubits(circuit.quantum.num_qubits)
    builder.add_clbits(circuit.quantum.num_clbits)
    # A separate guard for each branch: bits that the body changes must not affect the rest.
    append(builder, steps, TRUE)
    return Circuit(builder.finish(), circuit.registers)


def append(builder: Builder, steps: tuple[Plain, ...], guard: Formula) -> None:
    for step in steps:
        match step:
            case GateStep():
                builder.append(guard, step.operation, step.qubits)
            case MeasureStep():
                builder.append(guard, Measure(), (step.qubit,), (step.clbit,))
            case ResetStep():
                builder.append(guard, Reset(), (step.qubit,))
            case Write():
                builder.append(guard, step)
            case BranchStep():
                (kept,) = builder.add_clbits(1)
                builder.append(guard, Write(kept, step.condition))
                append(builder, step.then, conjunction((guard, bit(kept))))
                append(builder, step.otherwise, conjunction((guard, negation(bit(kept)))))
            case LoopStep():
                outer, builder.block = builder.block, Block()
                append(builder, step.body, TRUE)
                body, builder.block = builder.block, outer
                builder.append(guard, Loop(step.condition, body))


@settings(
    max_examples=25, deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(circuits())
def test_steps_mean_what_the_circuit_means(circuit: Circuit) -> None:
    wanted = distribution(circuit)
    assert close(distribution(rebuilt(circuit, walk(circuit.quantum, "TEST", None))), wanted)
    lowered = walk(circuit.quantum, "TEST", {"u", "cx", "id"})
    assert {step.name for step in lowered if isinstance(step, GateStep)} <= {"u", "cx", "id"}
    assert close(distribution(rebuilt(circuit, lowered)), wanted)


def test_each_kind_of_step() -> None:
    circuit = QuantumCircuit(2, 2)
    circuit.rx(0.5, 1)
    circuit.barrier()
    circuit.delay(100, 0, unit="ns")
    circuit.reset(1)
    circuit.measure(1, 0)
    body = QuantumCircuit([circuit.qubits[0]], [circuit.clbits[1], circuit.clbits[0]])
    body.measure(0, 0)
    circuit.append(IfElseOp((circuit.clbits[0], 0), body, body), [1], [1, 0])
    steps = walk(circuit, "TEST", {"rx"})
    gate = steps[0]
    assert isinstance(gate, GateStep)
    assert (gate.name, gate.qubits, gate.numbers) == ("rx", (1,), (0.5,))
    inside = (MeasureStep(1, 1),)
    assert steps[1:] == (
        BarrierStep((0, 1)),
        DelayStep(0, 100.0, "ns"),
        ResetStep(1),
        MeasureStep(1, 0),
        BranchStep(negation(bit(0)), inside, inside),
    )  # fmt: skip
    assert bits_read(steps) == {0}
    assert bits_written(steps) == {0, 1}
    assert qubits_used(steps) == {0, 1}


def test_conditions_on_registers_are_conditions_on_their_bits() -> None:
    register = ClassicalRegister(2, "c")
    circuit = QuantumCircuit(1)
    circuit.add_register(register)
    body = QuantumCircuit(1)
    body.x(0)
    circuit.append(IfElseOp((register, 2), body), [0], [])
    (step,) = walk(circuit, "TEST", None)
    assert isinstance(step, BranchStep)
    assert step.condition == conjunction((negation(bit(0)), bit(1)))


def test_standard_gates_are_distinguished_from_others_of_their_names() -> None:
    assert standard_name(qk.CXGate()) == "cx"
    assert standard_name(qk.CXGate(ctrl_state=0)) == ""
    assert standard_name(qk.C3XGate()) == "c3x"
    assert standard_name(own_gate("cx", 0.1)) == ""
    assert standard_name(qk.UnitaryGate([[1, 0], [0, 1]])) == "unitary"


def test_operations_without_a_definition_are_refused() -> None:
    circuit = QuantumCircuit(1)
    circuit.append(Gate("mystery", 1, []), [0])
    with pytest.raises(ProgramError, match="TEST has no operation 'mystery'") as caught:
        walk(circuit, "TEST", {"x"})
    assert caught.value.reason == "UNSUPPORTED_CONSTRUCT"


def test_loops_keep_their_bodies() -> None:
    builder = Builder()
    builder.add_qubits(1)
    builder.add_clbits(1)
    builder.append(TRUE, Loop(bit(0), Block([Step(TRUE, Measure(), (0,), (0,))])))
    assert walk(builder.finish(), "TEST", None) == (LoopStep(bit(0), (MeasureStep(0, 0),)),)
