# SPDX-License-Identifier: Apache-2.0
"""Circuit objects of every SDK, through a real server: the same circuit gives the same keys on every provider."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cirq
import numpy as np
import pennylane as qml
import pytest
from braket.circuits import Circuit as BraketCircuit
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from quil.program import Program as QuilProgram

from qonduit_client import Client
from tests.server_process import Server

DEVICES = ["IBM/aer_simulator", "AWS/local_simulator", "GOOGLE/cirq_simulator"]
WAIT = 100.0
#: Bit 0 is always set, bit 1 with sin²(0.5): no two outcomes and no two bits are alike.
TURN = np.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]], dtype=complex)
SHARE = np.sin(0.5) ** 2
SHOTS = 2000
A, B = cirq.LineQubit.range(2)


def turned() -> dict[str, Any]:
    """X on the first qubit and a matrix on the second one, measured, in each SDK."""
    qiskit = QuantumCircuit(QuantumRegister(2, "q"), ClassicalRegister(2, "c"))
    qiskit.x(0)
    qiskit.unitary(TURN, [1])
    qiskit.measure([0, 1], [0, 1])
    rows = "\n".join("    " + ", ".join(str(float(each.real)) for each in row) for row in TURN)
    return {
        "qiskit": qiskit,
        "cirq": cirq.Circuit(cirq.X(A), cirq.MatrixGate(TURN)(B), cirq.measure(A, B, key="c")),
        "braket": BraketCircuit().x(0).unitary(matrix=TURN, targets=[1]),
        "pennylane": qml.tape.QuantumScript([qml.X(0), qml.QubitUnitary(TURN, 1)], [qml.sample(wires=[0, 1])]),
        "quil": QuilProgram.parse(
            f"DEFGATE TURN:\n{rows}\n\nDECLARE ro BIT[2]\nX 0\nTURN 1\nMEASURE 0 ro[0]\nMEASURE 1 ro[1]\n"
        ),
    }


def two_registers() -> dict[str, Any]:
    """Return one bit `a` that is 0 and two bits `b` that are 0 and 1, in each SDK."""
    qiskit = QuantumCircuit(QuantumRegister(3), ClassicalRegister(1, "a"), ClassicalRegister(2, "b"))
    qiskit.x(2)
    qiskit.measure([0, 1, 2], [0, 1, 2])
    q = cirq.LineQubit.range(3)
    return {
        "qiskit": qiskit,
        "cirq": cirq.Circuit(cirq.X(q[2]), cirq.measure(q[0], key="a"), cirq.measure(q[1], q[2], key="b")),
        "quil": QuilProgram.parse(
            "DECLARE a BIT[1]\nDECLARE b BIT[2]\nX 2\nMEASURE 0 a[0]\nMEASURE 1 b[0]\nMEASURE 2 b[1]\n"
        ),
    }


def unmeasured() -> dict[str, Any]:
    """Return circuits without classical bits, in SDKs where this means that nothing is measured."""
    qiskit = QuantumCircuit(1)
    qiskit.x(0)
    return {"qiskit": qiskit, "cirq": cirq.Circuit(cirq.X(A)), "quil": QuilProgram.parse("X 0\n")}


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    """A client of the session's server."""
    with Client(server.target) as connected:
        yield connected


@pytest.mark.parametrize("device", DEVICES)
def test_the_same_circuit_of_every_sdk_gives_the_same_result(client: Client, device: str) -> None:
    alike, apart, silent = turned(), two_registers(), unmeasured()
    circuits = [*alike.values(), *apart.values(), *silent.values()]
    results = client.run(circuits, device, SHOTS, seed=7).results(WAIT)
    assert len(results) == len(circuits)
    for name, result in zip(alike, results, strict=False):
        assert set(result.counts) == {"0x1", "0x3"}, name
        # Six standard deviations of a binomial distribution.
        assert abs(result.counts["0x3"] - SHOTS * SHARE) < 6 * (SHOTS * SHARE * (1 - SHARE)) ** 0.5, name
        assert [register.size for register in result.registers] == [2], name
    for name, result in zip(apart, results[len(alike) :], strict=False):
        assert result.counts == {"0x2 0x0": SHOTS}, name
        assert result.registers == [("b", 2), ("a", 1)], name
    for name, result in zip(silent, results[len(alike) + len(apart) :], strict=True):
        assert (result.counts, result.registers) == ({}, []), name


def test_parameters_are_inputs(client: Client) -> None:
    from braket.circuits import FreeParameter
    from qiskit.circuit import Parameter
    from sympy import Symbol

    qiskit = QuantumCircuit(1, 1)
    qiskit.rx(Parameter("theta"), 0)
    qiskit.measure(0, 0)
    circuits = [
        qiskit,
        cirq.Circuit(cirq.rx(Symbol("theta"))(A), cirq.measure(A, key="c")),
        BraketCircuit().rx(0, FreeParameter("theta")),
    ]
    for result in client.run(circuits, shots=50, inputs={"theta": np.pi}).results(WAIT):
        assert result.counts == {"0x1": 50}


def test_circuits_are_translated_and_deployed(client: Client) -> None:
    circuits = turned()
    for name, circuit in circuits.items():
        translation = client.translate(circuit, to="QASM3")
        assert str(translation.source).startswith("OPENQASM 3"), name
        assert [register.size for register in translation.registers] == [2], name
    made = client.deploy(list(circuits.values()), name="circuits")
    assert len(made.programs) == len(circuits)
    results = client.run(deployment_id=made.id, device=DEVICES[0], shots=100).results(WAIT)
    assert [set(result.counts) <= {"0x1", "0x3"} for result in results] == [True] * len(circuits)


def test_a_device_of_the_catalogue_can_run_programs(client: Client) -> None:
    device = next(each for each in client.devices() if each.name == "cirq_simulator")
    job = client.run(unmeasured()["cirq"], device, 10)
    assert job.wait(WAIT).executed_on_id == device.id
