# SPDX-License-Identifier: Apache-2.0
"""Noise models and methods of simulation through Qiskit's backend and primitives, compared with Aer's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit, transpile
from qiskit.exceptions import QiskitError
from qiskit.quantum_info import Kraus, SparsePauliOp
from qiskit_aer import AerSimulator
from qiskit_aer.noise import (
    NoiseModel,
    ReadoutError,
    amplitude_damping_error,
    depolarizing_error,
    thermal_relaxation_error,
)

from qonduit.v1 import noise_pb2
from qonduit_client import Client
from qonduit_client.qiskit import EstimatorV2, QonduitBackend, SamplerV2

SHOTS = 20_000
FLIPS = {"gate_errors": [{"gates": ["x"], "channel": {"bit_flip": 1.0}}]}


def noisy() -> NoiseModel:
    """Errors of one gate on all qubits and of another on some, of readout, and of decay."""
    model = NoiseModel()
    model.add_all_qubit_quantum_error(depolarizing_error(0.1, 2), "cx")
    model.add_quantum_error(thermal_relaxation_error(50.0, 70.0, 10.0), "sx", [1])
    model.add_all_qubit_readout_error(ReadoutError([[0.97, 0.03], [0.08, 0.92]]))
    model.add_readout_error(ReadoutError([[0.8, 0.2], [0.3, 0.7]]), [2])
    return model


def correlated() -> QuantumCircuit:
    circuit = QuantumCircuit(3)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.cx(1, 2)
    circuit.sx(1)
    circuit.measure_all()
    return circuit


def flipped() -> QuantumCircuit:
    circuit = QuantumCircuit(1)
    circuit.x(0)
    circuit.measure_all()
    return circuit


def distance(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """The total variation distance of two distributions of as many shots."""
    return sum(abs(one.get(key, 0) - other.get(key, 0)) for key in {*one, *other}) / 2 / SHOTS


def test_a_noise_model_of_aer_has_the_distribution_of_aer(client: Client) -> None:
    model, circuit = noisy(), correlated()
    compiled = transpile(circuit, basis_gates=["id", "rz", "sx", "cx"], optimization_level=1, seed_transpiler=0)
    local = AerSimulator(noise_model=model).run(compiled, shots=SHOTS, seed_simulator=5).result().get_counts()
    ideal = AerSimulator().run(circuit, shots=SHOTS, seed_simulator=5).result().get_counts()
    backend = QonduitBackend(client=client)
    found = backend.run(circuit, noise_model=model, shots=SHOTS, seed_simulator=6).result().get_counts()
    assert distance(found, local) < 0.03 < 0.1 < distance(found, ideal)
    option = QonduitBackend(client=client, noise_model=model)
    assert option.run(circuit, shots=SHOTS, seed_simulator=6).result().get_counts() == found
    sampled = SamplerV2(option, default_shots=SHOTS, seed=6).run([circuit]).result()[0].data.meas.get_counts()
    assert distance(sampled, local) < 0.03


def test_channels_of_a_circuit_have_the_distribution_of_aer(client: Client) -> None:
    """With a channel that damps its first qubit if its second is 1, on qubits in both orders."""
    damped = np.zeros((4, 4))
    damped[2, 3] = np.sqrt(0.7)
    controlled = Kraus([np.diag([1, 1, 1, np.sqrt(0.3)]), damped])
    circuit = QuantumCircuit(3)
    for qubit in range(3):
        circuit.ry(0.8 + 0.5 * qubit, qubit)
    circuit.append(controlled, [2, 0])
    circuit.append(controlled, [0, 1])
    circuit.append(depolarizing_error(0.2, 2), [1, 2])
    circuit.append(amplitude_damping_error(0.3).to_instruction(), [1])
    measured = circuit.measure_all(inplace=False)
    circuit.save_probabilities()
    exact = AerSimulator(method="density_matrix").run(circuit).result().data()["probabilities"]
    for device in ("IBM/aer_simulator", "GOOGLE/cirq_density_matrix"):
        counts = QonduitBackend(device, client).run(measured, shots=SHOTS, seed_simulator=5).result().get_counts()
        assert distance(counts, {f"{value:03b}": SHOTS * exact[value] for value in range(8)}) < 0.03


def test_a_noise_model_of_the_contract_is_a_message_or_a_dict(client: Client) -> None:
    message = noise_pb2.NoiseModel(
        gate_errors=[noise_pb2.GateError(gates=["x"], channel=noise_pb2.NoiseChannel(bit_flip=1.0))]
    )
    backend = QonduitBackend(client=client)
    for model in (FLIPS, message):
        assert backend.run(flipped(), shots=10, noise_model=model).result().get_counts() == {"0": 10}


def test_primitives_take_noise(client: Client) -> None:
    backend = QonduitBackend(client=client)
    sampler = SamplerV2(backend, options={"run_options": {"noise_model": FLIPS}})
    assert sampler.run([flipped()], shots=10).result()[0].data.meas.get_counts() == {"0": 10}
    circuit = flipped().remove_final_measurements(inplace=False)
    assert circuit is not None
    estimator = EstimatorV2(QonduitBackend(client=client, noise_model=FLIPS), default_precision=0.1)
    assert estimator.run([(circuit, SparsePauliOp("Z"))]).result()[0].data.evs == pytest.approx(1.0)


def test_a_noise_model_keeps_the_numbers_of_qubits(client: Client) -> None:
    """Idle qubits of a circuit that is too wide are removed only where no error names qubits by number."""
    model = {"gate_errors": [{"gates": ["x"], "qubits": [1], "channel": {"bit_flip": 1.0}}]}
    backend = QonduitBackend("AWS/local_simulator", client)
    wide = QuantumCircuit(backend.num_qubits + 1, 1)
    wide.x(1)
    wide.measure(1, 0)
    assert backend.run(wide, shots=10).result().get_counts() == {"1": 10}
    with pytest.raises(QiskitError):
        backend.run(wide, shots=10, noise_model=model).result()


def test_methods_are_those_of_aer(client: Client) -> None:
    backend = QonduitBackend(client=client)
    wide = QuantumCircuit(60)
    wide.h(0)
    for qubit in range(59):
        wide.cx(qubit, qubit + 1)
    wide.measure_all()
    for options in ({"method": "stabilizer"}, {"method": "matrix_product_state", "max_bond_dimension": 4}):
        counts = backend.run(wide, shots=20, seed_simulator=1, **options).result().get_counts()
        assert set(counts) <= {"0" * 60, "1" * 60}
    single = backend.run(correlated(), shots=20, method="statevector", precision="single").result()
    assert backend.run(flipped(), shots=10, method="statevector", noise_model=FLIPS).result().get_counts() == {"0": 10}
    automatic = backend.run(correlated(), shots=20, method="automatic").result()
    assert single.success
    assert automatic.success


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise_model": object()}, "noise_model must be a NoiseModel of Qiskit Aer"),
        ({"noise_model": {"errors": []}}, "noise_model: .*errors"),
        ({"method": 7}, "wrong type.*method=7"),
        ({"max_bond_dimension": 0}, "max_bond_dimension"),
        ({"precision": "half"}, "floating_point"),
        ({"method": "abacus"}, "abacus"),
    ],
)
def test_wrong_options_are_refused(client: Client, options: dict[str, Any], message: str) -> None:
    with pytest.raises(QiskitError, match=message):
        QonduitBackend(client=client).run(flipped(), **options).result()
