# SPDX-License-Identifier: Apache-2.0
"""GOOGLE/qsim_simulator: the same counts as Cirq's simulator, narrow and wide, in single precision."""

from __future__ import annotations

import math

import pytest
from qiskit.circuit import QuantumCircuit

from qonduit_server.ir.circuit import Circuit, Outcome
from qonduit_server.providers import registry

GOOGLE = registry.get("GOOGLE")
DEVICE = "qsim_simulator"


def run(quantum: QuantumCircuit, shots: int, seed: int | None = 3) -> list[Outcome]:
    """Run a circuit twice in one call."""
    compiled = GOOGLE.compile(Circuit(quantum, ()), DEVICE)
    return [each for each in GOOGLE.run(DEVICE, [compiled] * 2, shots, seed) if isinstance(each, Outcome)]


def circuit(qubits: int) -> QuantumCircuit:
    """Return a circuit with asymmetric outcomes, on the first and the last qubit of which the others depend."""
    quantum = QuantumCircuit(qubits, 3)
    quantum.h(range(1, qubits - 1))
    quantum.ry(0.8, 0)
    quantum.cu(0.3, 0.2, 0.1, 0.4, 1, 2)
    quantum.cx(0, qubits - 1)
    quantum.x(0)
    quantum.measure([qubits - 1, 0], [0, 2])
    return quantum


@pytest.mark.parametrize(("qubits", "shots"), [(5, 2000), (18, 2000), (18, 100_000)])
def test_counts(qubits: int, shots: int) -> None:
    one = math.sin(0.4) ** 2
    first, second = run(circuit(qubits), shots)
    for outcome in (first, second):
        assert sum(outcome.counts.values()) == shots
        assert set(outcome.counts) == {0b001, 0b100}
        assert abs(outcome.counts[0b001] - shots * one) <= 5 * math.sqrt(shots * one * (1 - one))
        assert outcome.meta_data["floating_point"] == "single"
        assert outcome.meta_data["sdk"] == "qsimcirq"
    again = run(circuit(qubits), shots)
    assert [each.counts for each in again] == [first.counts, second.counts]
    assert first.counts != second.counts


def test_exact_values_agree_with_cirq() -> None:
    compiled = GOOGLE.compile(Circuit(circuit(6), ()), DEVICE)
    one = math.sin(0.4) ** 2
    assert GOOGLE.probabilities(DEVICE, compiled) == pytest.approx({0b001: one, 0b100: 1 - one}, abs=1e-9)


def test_described_as_single_precision() -> None:
    devices = {device.name: device for device in GOOGLE.describe().devices}
    capabilities = devices[DEVICE].capabilities
    assert list(capabilities.floating_point) == ["single"]
    assert [method.name for method in capabilities.methods] == ["statevector"]
    assert devices[DEVICE].status_message.startswith("qsimcirq ")
