# SPDX-License-Identifier: Apache-2.0
"""Noise on Aer: every method gives the distribution of the channels, whichever qubits and bits they act on."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import DensityMatrix, Kraus

from qonduit_server.errors import DeviceError
from qonduit_server.ir import noise
from qonduit_server.providers.aer import aer_methods as methods
from qonduit_server.providers.simulation.readout import final_readout, with_errors
from tests.unit.providers.aer_samples import compiled, exact, ghz, measured, noisy, run


def reference(circuit: QuantumCircuit) -> dict[int, float]:
    """The distribution of a circuit whose qubit k is measured last to bit k, by Qiskit's density matrices."""
    state = DensityMatrix.from_label("0" * circuit.num_qubits)
    errors: list[tuple[int, float, float]] = []
    for instruction in circuit.data:
        operation = instruction.operation
        places = [circuit.find_bit(qubit).index for qubit in instruction.qubits]
        if isinstance(operation, noise.Channel):
            state = state.evolve(Kraus([np.asarray(each) for each in operation.kraus]), places)
        elif isinstance(operation, noise.ReadoutError):
            bit = circuit.find_bit(instruction.clbits[0]).index
            errors.append((bit, operation.prob_1_given_0, operation.prob_0_given_1))
        elif operation.name == "reset":
            state = state.reset(places)
        elif operation.name != "measure":
            state = state.evolve(operation, places)
    found = state.probabilities()
    for bit, up, down in errors:
        changed = np.zeros_like(found)
        for outcome, probability in enumerate(found):
            wrong = down if outcome >> bit & 1 else up
            changed[outcome] += (1 - wrong) * probability
            changed[outcome ^ 1 << bit] += wrong * probability
        found = changed
    return {outcome: p for outcome, p in enumerate(found) if p > 1e-12}


def asymmetric() -> QuantumCircuit:
    """Channels that no two qubits, and no two directions of a readout error, share."""
    circuit = QuantumCircuit(3, 3)
    circuit.ry(0.7, 0)
    circuit.append(noise.amplitude_damping(0.2), [0])
    circuit.x(1)
    circuit.append(noise.generalized_amplitude_damping(0.3, 0.2), [1])
    circuit.cx(0, 2)
    circuit.append(noise.pauli({"XI": 0.1, "ZY": 0.15, "IX": 0.05}), [2, 0])
    circuit.h(2)
    circuit.append(noise.phase_damping(0.4), [2])
    circuit.append(noise.depolarizing(0.1, 2), [1, 2])
    circuit.h(2)
    circuit.append(noise.kraus(np.kron(b, a) for b in one(0.3) for a in one(0.6)), [0, 1])  # type: ignore[arg-type]
    circuit.reset(1)
    circuit.rx(0.4, 1)
    measured(circuit)
    circuit.append(noise.ReadoutError(0.02, 0.11), [], [0])
    circuit.append(noise.ReadoutError(0.07, 0.01), [], [2])
    circuit.append(noise.ReadoutError(0.3, 0.2), [], [2])
    return circuit


def one(lost: float) -> list[np.ndarray]:  # type: ignore[type-arg]
    return [np.array([[1, 0], [0, math.sqrt(1 - lost)]]), np.array([[0, math.sqrt(lost)], [0, 0]])]


def close(counts: Mapping[int, int], expected: Mapping[int, float]) -> bool:
    shots = sum(counts.values())
    return set(counts) <= set(expected) and all(
        abs(counts.get(key, 0) - shots * p) <= 5.5 * math.sqrt(shots * p * (1 - p)) + 1 for key, p in expected.items()
    )


@pytest.mark.parametrize("circuit", [asymmetric(), noisy(ghz(4)), noisy(ghz(3), pauli=True)])
def test_probabilities_are_exact(circuit: QuantumCircuit) -> None:
    circuit.data = [each for each in circuit.data if each.operation.name != "barrier"]
    expected = reference(circuit)
    assert exact(circuit) == pytest.approx(expected, abs=1e-9)
    assert exact(circuit, method=methods.TRAJECTORIES) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("method", [methods.DENSITY_MATRIX, methods.TRAJECTORIES, methods.STABILIZER])
def test_counts_follow_the_distribution(method: str) -> None:
    circuit = noisy(ghz(3), pauli=True) if method == methods.STABILIZER else asymmetric()
    outcome = run(circuit, 8000, method=method)
    assert outcome.meta_data["method"] == method
    assert close(outcome.counts, reference(circuit))


@pytest.mark.parametrize("method", [methods.DENSITY_MATRIX, methods.TRAJECTORIES, methods.STABILIZER])
def test_readout_errors_reach_conditions(method: str) -> None:
    circuit = QuantumCircuit(2, 3)
    circuit.x(0)
    circuit.measure(0, 0)
    circuit.append(noise.ReadoutError(0.0, 0.3), [], [0])
    with circuit.if_test((circuit.clbits[0], 0)):
        circuit.x(1)
    circuit.measure(1, 1)
    # The qubit itself is as it was found.
    circuit.measure(0, 2)
    assert close(run(circuit, 4000, method=method).counts, {0b101: 0.7, 0b110: 0.3})
    assert exact(circuit, method=method) is None


def test_a_stabilizer_with_noise_in_a_loop_is_refused() -> None:
    circuit = QuantumCircuit(1, 1)
    with circuit.while_loop((circuit.clbits[0], 1)):
        circuit.append(noise.bit_flip(0.5), [0])
        circuit.measure(0, 0)
    with pytest.raises(DeviceError, match="noise of a circuit with a loop"):
        compiled(circuit, method=methods.STABILIZER)


@pytest.mark.parametrize("method", [methods.DENSITY_MATRIX, methods.TRAJECTORIES])
def test_errors_within_branches_and_loops(method: str) -> None:
    circuit = QuantumCircuit(2, 2)
    circuit.x(0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.append(noise.bit_flip(0.25), [1])
        circuit.measure(1, 1)
        circuit.append(noise.ReadoutError(0.2, 0.9), [], [1])
    with circuit.while_loop((circuit.clbits[0], 1)):
        circuit.reset(0)
        circuit.append(noise.bit_flip(0.5), [0])
        circuit.measure(0, 0)
    one = 0.75 * 0.2 + 0.25 * 0.1
    assert close(run(circuit, 4000, method=method).counts, {0b00: 1 - one, 0b10: one})


@pytest.mark.parametrize(("up", "down"), [(0.1, 0.3), (0.9, 0.6), (1.0, 1.0), (0.0, 1.0), (0.0, 0.0)])
def test_every_readout_error_can_be_applied_within_a_circuit(up: float, down: float) -> None:
    for prepared in (0, 1):
        circuit = QuantumCircuit(1, 2)
        if prepared:
            circuit.x(0)
        circuit.measure(0, 0)
        circuit.append(noise.ReadoutError(up, down), [], [0])
        with circuit.if_test((circuit.clbits[0], 1)):
            circuit.x(0)
        circuit.measure(0, 1)
        recorded = 1 - down if prepared else up
        expected = {prepared << 1: 1 - recorded, 1 | (1 - prepared) << 1: recorded}
        assert close(run(circuit, 2000).counts, {key: p for key, p in expected.items() if p})


def test_a_gate_and_the_channel_on_its_qubits_are_one_operation() -> None:
    rng = np.random.default_rng(5)
    isometry = np.linalg.qr(rng.normal(size=(12, 4)) + 1j * rng.normal(size=(12, 4)))[0]
    channel = noise.kraus(list(isometry.reshape(3, 4, 4)))  # with no symmetry between the qubits
    circuit = QuantumCircuit(3, 3)
    circuit.ry(0.4, 0)
    circuit.append(noise.amplitude_damping(0.2), [0])
    circuit.crx(0.7, 0, 1)  # which density matrices have as several gates
    circuit.append(channel, [0, 1])
    circuit.cp(0.9, 2, 1)
    circuit.append(channel, [2, 1])
    circuit.append(channel, [1, 2])  # behind a channel
    circuit.unitary(np.linalg.qr(rng.normal(size=(4, 4)))[0], [1, 0])
    circuit.append(channel, [0, 1])  # on the qubits in another order
    native = compiled(measured(circuit), method=methods.DENSITY_MATRIX).native.circuit  # type: ignore[attr-defined]
    names = [each.operation.name for each in native.data]
    assert names[0] == "kraus"
    assert names[-7:] == ["sdg", "kraus", "kraus", "kraus", "unitary", "kraus", "save_probabilities"]
    assert exact(circuit, method=methods.DENSITY_MATRIX) == pytest.approx(reference(circuit), abs=1e-9)


def test_bits_that_are_not_measured_have_readout_errors_too() -> None:
    circuit = QuantumCircuit(2, 70)
    circuit.x(0)
    circuit.measure(0, 69)
    circuit.measure(0, 3)
    circuit.append(noise.ReadoutError(0.0, 0.5), [], [69])
    circuit.append(noise.ReadoutError(0.25, 0.0), [], [40])
    expected = {1 << 3 | high << 69 | idle << 40: 0.5 * (0.25 if idle else 0.75) for high in (0, 1) for idle in (0, 1)}
    assert exact(circuit) == pytest.approx(expected, abs=1e-12)
    assert close(run(circuit, 4000).counts, expected)
    assert close(run(circuit, 4000, method=methods.TRAJECTORIES).counts, expected)


def test_readout_errors_alone_keep_wide_clifford_circuits_running() -> None:
    outcome = run(noisy(ghz(40), pauli=True), 50)
    assert outcome.meta_data["method"] == methods.STABILIZER
    assert len(outcome.counts) > 40


def test_many_bits_are_changed_shot_by_shot() -> None:
    errors = {k: [noise.ReadoutError(0.0 if k % 2 else 0.5, 0.25)] for k in range(20)}
    counts = with_errors({0: 1000, (1 << 20) - 1: 1000}, errors, 20, np.random.default_rng(5))
    assert sum(counts.values()) == 2000
    for k in range(20):
        ones = sum(number for outcome, number in counts.items() if outcome >> k & 1)
        expected = 750 if k % 2 else 1250
        assert abs(ones - expected) < 130


def test_a_measurement_that_something_follows_is_not_final() -> None:
    circuit = QuantumCircuit(2, 2)
    circuit.h(0)
    circuit.measure(0, 0)
    circuit.append(noise.bit_flip(0.1), [1])
    assert final_readout(circuit) is not None
    circuit.append(noise.bit_flip(0.1), [0])
    assert final_readout(circuit) is None


def test_noise_needs_memory_for_the_qubit_that_has_readout_errors() -> None:
    circuit = noisy(ghz(16))
    with_condition = circuit.copy()
    with with_condition.if_test((with_condition.clbits[0], 1)):
        with_condition.x(1)
    with_condition.measure(1, 1)
    assert compiled(with_condition).qubits == 17
    assert compiled(with_condition).memory_bytes > compiled(circuit).memory_bytes
