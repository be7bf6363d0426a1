# SPDX-License-Identifier: Apache-2.0
"""Clifford gates are found whatever they are called, and nothing else is taken for one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from qiskit.circuit import Gate, Instruction, QuantumCircuit
from qiskit.circuit import library as qk
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.quantum_info import Operator

from qonduit_server.ir import noise
from qonduit_server.ir.clifford import CliffordContent, clifford_content, clifford_gates, is_clifford

NAMES = {"h", "s", "sdg", "x", "y", "z", "sx", "sxdg", "cx", "cy", "cz", "swap"}


def rebuilt(operation: Instruction) -> Operator:
    steps = clifford_gates(operation)
    assert steps is not None
    circuit = QuantumCircuit(operation.num_qubits)
    for name, places in steps:
        assert name in NAMES
        getattr(circuit, name)(*places)
    return Operator(circuit)


@pytest.mark.parametrize(
    "gate",
    [
        *(gate for name, gate in get_standard_gate_name_mapping().items() if name in NAMES),
        qk.IGate(),
        qk.iSwapGate(),
        qk.DCXGate(),
        qk.ECRGate(),
        qk.CXGate(ctrl_state=0),
        qk.CZGate(ctrl_state=0),
        qk.RXGate(math.pi / 2),
        qk.RYGate(-math.pi / 2),
        qk.RZGate(3 * math.pi / 2),
        qk.PhaseGate(-math.pi / 2),
        qk.UGate(math.pi / 2, math.pi, -math.pi / 2),
        qk.RGate(math.pi, math.pi / 4),
        qk.CPhaseGate(math.pi),
        qk.CRXGate(2 * math.pi),
        qk.RZZGate(math.pi / 2),
        qk.RXXGate(math.pi / 2),
        qk.RZXGate(-math.pi / 2),
        qk.XXPlusYYGate(math.pi, 0.0),
        qk.UnitaryGate(np.array([[0, 1j], [1j, 0]])),
    ],
    ids=lambda gate: f"{gate.name}{[round(each, 2) for each in gate.params if isinstance(each, float)]}",
)
def test_clifford_gates(gate: Gate) -> None:
    assert rebuilt(gate).equiv(Operator(gate))


@pytest.mark.parametrize(
    "gate",
    [
        qk.TGate(),
        qk.RZGate(0.1),
        qk.RXGate(math.pi / 2 + 1e-8),
        qk.PhaseGate(math.pi / 4),
        qk.CSGate(),
        qk.CHGate(),
        qk.CPhaseGate(math.pi / 2),
        qk.CCXGate(),
        qk.CSwapGate(),
        qk.XGate().control(5),
        qk.QFTGate(2),
        qk.UnitaryGate(np.diag([1, np.exp(0.25j * math.pi)])),
    ],
    ids=lambda gate: gate.name,
)
def test_other_gates(gate: Gate) -> None:
    assert clifford_gates(gate) is None


def test_a_gate_is_known_by_what_it_does_and_not_by_its_name() -> None:
    body = QuantumCircuit(2, name="h")
    body.sx(1)
    body.cx(1, 0)
    own = body.to_gate()
    assert clifford_gates(own) == (("sx", (1,)), ("cx", (1, 0)))
    outer = QuantumCircuit(3, name="x")
    outer.append(own, [2, 0])
    assert clifford_gates(outer.to_gate()) == (("sx", (0,)), ("cx", (0, 2)))
    outer.t(1)
    assert clifford_gates(outer.to_gate()) is None
    assert clifford_gates(Gate("h", 1, [])) is None


def test_a_circuit_says_what_is_not_clifford() -> None:
    circuit = QuantumCircuit(3, 2)
    circuit.h(0)
    circuit.measure(0, 0)
    circuit.reset(1)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.rz(math.pi, 2)
    assert clifford_content(circuit) == CliffordContent("", False)
    circuit.append(noise.ReadoutError(0.1, 0.2), [], [0])
    circuit.append(noise.depolarizing(0.1, 2), [0, 2])
    assert clifford_content(circuit) == CliffordContent("", True)
    assert is_clifford(circuit)
    with circuit.while_loop((circuit.clbits[0], 1)):
        circuit.x(0)
        circuit.t(2)
    assert clifford_content(circuit) == CliffordContent("gate t at qubit 2", True)
    assert not is_clifford(circuit)


def test_channels_that_are_no_mixtures_of_paulis_are_not_clifford() -> None:
    circuit = QuantumCircuit(2)
    circuit.append(noise.amplitude_damping(0.1), [1])
    assert clifford_content(circuit).obstacle == "channel amplitude_damping at qubit 1"
