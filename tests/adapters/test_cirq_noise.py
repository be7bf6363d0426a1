# SPDX-License-Identifier: Apache-2.0
"""Noise through the Cirq sampler, compared with the exact distributions of Cirq's density-matrix simulator."""

from __future__ import annotations

from itertools import pairwise

import cirq
import numpy as np
import pytest

from qonduit_client import Client
from qonduit_client.cirq import QonduitSampler

SHOTS = 20_000
A, B = cirq.LineQubit.range(2)
PLUS = np.array([[1, 1], [1, -1]]) / np.sqrt(2)


class Halved(cirq.Gate):  # type: ignore[misc]
    """A channel of the caller's own: damps the second qubit if the first is 1."""

    def _num_qubits_(self) -> int:
        return 2

    def _kraus_(self) -> list[np.ndarray]:
        damped = np.zeros((4, 4))
        damped[2, 3] = np.sqrt(0.6)
        return [np.diag([1, 1, 1, np.sqrt(0.4)]), damped]


def channels() -> cirq.Circuit:
    """Every channel of Cirq, and one of the caller's own."""
    return cirq.Circuit(
        cirq.ry(0.9)(A), cirq.CNOT(A, B), cirq.bit_flip(0.1)(A), cirq.depolarize(0.2)(B),
        cirq.depolarize(0.1, n_qubits=2)(A, B), cirq.asymmetric_depolarize(0.1, 0.05, 0.2)(A), cirq.H(B),
        cirq.phase_flip(0.2)(B), cirq.phase_damp(0.3)(B), cirq.H(B), cirq.X(A), cirq.amplitude_damp(0.3)(A),
        cirq.generalized_amplitude_damp(0.7, 0.2)(B),
        cirq.KrausChannel([np.diag([1, 0.8]), np.array([[0, 0.6], [0, 0]])])(B),
        cirq.MixedUnitaryChannel([(0.8, np.eye(2)), (0.2, PLUS)])(A),
        cirq.X(B), Halved()(A, B), cirq.bit_flip(0.1)(A).with_tags("tagged"),
    )  # fmt: skip


def exact(circuit: cirq.Circuit) -> np.ndarray:
    state = cirq.DensityMatrixSimulator().simulate(circuit, qubit_order=[A, B])
    return np.real(np.diag(state.final_density_matrix))


def distance(result: cirq.Result, expected: np.ndarray) -> float:
    histogram = result.histogram(key="m")
    return float(np.abs([histogram[value] / SHOTS - expected[value] for value in range(4)]).sum() / 2)


@pytest.mark.parametrize("device", ["GOOGLE/cirq_density_matrix", "IBM/aer_simulator"])
def test_channels_of_a_circuit_have_the_distribution_of_cirq(client: Client, device: str) -> None:
    measured = channels() + cirq.measure(A, B, key="m")
    result = QonduitSampler(client, device, seed=5).run(measured, repetitions=SHOTS)
    assert distance(result, exact(channels())) < 0.03


def test_a_noise_model_is_added_to_all_circuits(client: Client) -> None:
    circuit = cirq.Circuit(cirq.X(A), cirq.CNOT(A, B))
    measured = circuit + cirq.measure(A, B, key="m")
    noise = cirq.ConstantQubitNoiseModel(cirq.bit_flip(0.1))
    # Without the measurement and the noise after it, which changes nothing, as in cirq.Simulator.
    expected = exact(cirq.Circuit(measured.with_noise(noise).moments[:-2]))
    assert expected[3] < 0.7
    sampler = QonduitSampler(client, "GOOGLE/cirq_density_matrix", seed=5, noise=noise)
    assert distance(sampler.run(measured, repetitions=SHOTS), expected) < 0.03
    (frozen,), _ = sampler.run_batch([measured.freeze(), measured], repetitions=SHOTS)
    assert distance(frozen, expected) < 0.03


def test_a_device_without_noise_refuses_it_and_lists_those_with_noise(client: Client) -> None:
    circuit = cirq.Circuit(cirq.bit_flip(0.1)(A), cirq.measure(A, key="m"))
    with pytest.raises(ValueError, match="GOOGLE/cirq_density_matrix"):
        QonduitSampler(client, "AWS/local_simulator").run(circuit, repetitions=10)


def test_a_wide_circuit_runs_by_the_method_that_is_named(client: Client) -> None:
    qubits = cirq.LineQubit.range(50)
    chain = [cirq.H(qubits[0]), *(cirq.CNOT(*pair) for pair in pairwise(qubits))]
    wide = cirq.Circuit(chain, cirq.ry(0.3)(qubits[0]), cirq.measure(*qubits[1:], key="m"))
    sampler = QonduitSampler(client, "IBM/aer_simulator", simulation={"method": "matrix_product_state"})
    assert set(sampler.run(wide, repetitions=50).histogram(key="m")) == {0, 2**49 - 1}
    with pytest.raises(ValueError, match=r"simulation.*methods"):
        QonduitSampler(client, simulation={"methods": 1}).run(wide, repetitions=50)
