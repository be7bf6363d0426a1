# SPDX-License-Identifier: Apache-2.0
"""Noise through the Braket adapter, compared with Braket's local density-matrix simulator."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from braket.circuits import Circuit, Noise, Observable
from braket.devices import LocalSimulator

from qonduit_client import Client
from qonduit_client.braket import QonduitDevice

SHOTS = 20_000
DAMPED = [np.array([[1, 0], [0, 0.8]]), np.array([[0, 0.6], [0, 0]])]
#: Not symmetric in its qubits: damps the first if the second is 1.
CONTROLLED = [
    np.diag([1, 1, 1, np.sqrt(0.3)]),
    np.array([[0, 0, 0, 0], [0, 0, 0, np.sqrt(0.7)], [0, 0, 0, 0], [0, 0, 0, 0]]),
]


def noisy() -> Circuit:
    """Every noise of Braket, with probabilities that are large enough to be seen."""
    circuit = Circuit().ry(0, 0.9).cnot(0, 2).ry(5, 2.1)
    circuit.bit_flip(0, 0.1).depolarizing(2, 0.2).pauli_channel(5, 0.1, 0.05, 0.2)
    circuit.amplitude_damping(5, 0.3).generalized_amplitude_damping(0, 0.2, 0.7)
    circuit.h(2).phase_flip(2, 0.2).phase_damping(2, 0.3).h(2)
    circuit.two_qubit_depolarizing(0, 2, 0.1).two_qubit_dephasing(0, 5, 0.2)
    return circuit.kraus([5], DAMPED).x(2).x(5).kraus([2, 5], CONTROLLED)


def test_noise_has_the_distribution_of_the_local_simulator(client: Client) -> None:
    device = QonduitDevice("AWS/braket_dm", client)
    exact = LocalSimulator("braket_dm").run(noisy().probability(), shots=0).result().values[0]
    found = device.run(noisy(), shots=SHOTS, seed=3).result()
    assert found.measured_qubits == [0, 2, 5]
    seen = np.array([found.measurement_counts.get(f"{value:03b}", 0) for value in range(8)]) / SHOTS
    assert np.abs(seen - exact).sum() / 2 < 0.03


@pytest.mark.parametrize("name", ["IBM/aer_simulator", "AWS/local_simulator"])
def test_exact_results_are_those_of_the_local_simulator(client: Client, name: str) -> None:
    circuit = Circuit().ry(0, 0.9).cnot(0, 2).ry(5, 2.1).depolarizing(2, 0.2).generalized_amplitude_damping(0, 0.2, 0.7)
    circuit.two_qubit_dephasing(0, 5, 0.2).h(2).kraus([2, 5], CONTROLLED).kraus([5, 0], CONTROLLED).gphase(0.3)
    circuit.density_matrix().density_matrix([5, 0]).probability([2])
    circuit.expectation(Observable.X() @ Observable.Y(), [5, 2]).variance(Observable.Z(), 0)
    ours = QonduitDevice(name, client).run(circuit, shots=0).result()
    theirs = LocalSimulator("braket_dm").run(circuit, shots=0).result()
    for one, other in zip(ours.values, theirs.values, strict=True):
        assert np.shape(one) == np.shape(other)
        assert np.allclose(one, other, rtol=0, atol=1e-7)


def test_exact_results_that_noise_does_not_have_are_refused(client: Client) -> None:
    device = QonduitDevice("IBM/aer_simulator", client)
    with pytest.raises(TypeError, match="statevector is not supported with noise"):
        device.run(Circuit().h(0).bit_flip(0, 0.1).state_vector(), shots=0)
    often = Circuit().h(0)
    for _ in range(40):
        often.depolarizing(0, 0.1)
    with pytest.raises(ValueError, match=r"takes 80 qubits besides its 1; IBM/aer_simulator has .*: pass a number"):
        device.run(often.probability(), shots=0)
    with pytest.raises(ValueError, match="shots=0 is not supported"):
        QonduitDevice("AWS/braket_dm", client).run(noisy().probability(), shots=0)


def test_noise_that_is_applied_to_gates_runs_and_noise_models_too(client: Client) -> None:
    device = QonduitDevice("AWS/braket_dm", client)
    circuit = Circuit().x(0).x(1)
    circuit.apply_gate_noise(Noise.AmplitudeDamping(1.0), target_qubits=[1])
    assert device.run(circuit, shots=10).result().measurement_counts == {"10": 10}
    model = {"gate_errors": [{"gates": ["x"], "channel": {"bit_flip": 1.0}}]}
    assert device.run(Circuit().x(0), shots=10, noise_model=model).result().measurement_counts == {"0": 10}


def test_properties_contain_noise_where_it_runs(client: Client) -> None:
    names = {"bit_flip", "kraus", "two_qubit_depolarizing"}
    for name, runs in (("AWS/braket_dm", True), ("AWS/local_simulator", False)):
        (action,) = (
            action
            for kind, action in QonduitDevice(name, client).properties.action.items()
            if kind.value == "braket.ir.openqasm.program"
        )
        assert names.isdisjoint(action.supportedOperations) is not runs
        assert ("braket_noise_bit_flip" in action.supportedPragmas) is runs


def test_a_device_without_noise_refuses_it_and_lists_those_with_noise(client: Client) -> None:
    device = QonduitDevice("AWS/local_simulator", client)
    with pytest.raises((ValueError, RuntimeError), match="AWS/braket_dm"):
        device.run(Circuit().h(0).bit_flip(0, 0.1), shots=10).result()


def test_a_circuit_without_noise_runs_without_a_warning(client: Client) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        QonduitDevice("AWS/braket_dm", client).run(Circuit().x(0), shots=10).result()
