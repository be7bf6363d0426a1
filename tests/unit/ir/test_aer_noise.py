# SPDX-License-Identifier: Apache-2.0
"""Noise models of Aer: the same distribution as Aer's own simulation of the same compiled circuit."""

from __future__ import annotations

import copy
import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import Kraus, SuperOp
from qiskit_aer import AerSimulator
from qiskit_aer import noise as aer

from qonduit.v1.noise_pb2 import NoiseModel
from qonduit_server.errors import ProgramError
from qonduit_server.ir.aer_noise import basis_gates, compile_to_basis
from qonduit_server.ir.circuit import Circuit, ClassicalRegister
from qonduit_server.ir.noise import Channel
from qonduit_server.ir.noise_pass import with_noise
from tests.unit.ir.noise_circuits import close, distribution


def quantum_errors() -> aer.NoiseModel:
    """A model whose errors differ by gate, qubit and order of qubits."""
    model = aer.NoiseModel()
    model.add_quantum_error(aer.depolarizing_error(0.1, 2), ["cx"], [0, 1])
    damping = aer.amplitude_damping_error(0.3).tensor(aer.pauli_error([("X", 0.2), ("I", 0.8)]))
    model.add_quantum_error(damping, ["cx"], [1, 2])
    model.add_all_qubit_quantum_error(aer.phase_amplitude_damping_error(0.1, 0.2).expand(aer.reset_error(0.1)), "cx")
    model.add_quantum_error(aer.thermal_relaxation_error(50, 30, 20, 0.2), ["sx"], [0])
    model.add_quantum_error(aer.thermal_relaxation_error(50, 70, 20), ["sx"], [1])
    model.add_all_qubit_quantum_error(aer.reset_error(0.1, 0.05), ["x"])
    model.add_quantum_error(aer.coherent_unitary_error([[0.6, -0.8], [0.8, 0.6]]), ["x"], [2])
    return model


def text(model: aer.NoiseModel) -> str:
    return json.dumps(model.to_dict(serializable=True))


def noisy(quantum: QuantumCircuit, model: str, level: int = 1) -> Circuit:
    register = ClassicalRegister("c", tuple(range(quantum.num_clbits)))
    return with_noise(Circuit(quantum, (register,)), NoiseModel(aer_json=model), level)


def sample(turn: int) -> QuantumCircuit:
    quantum = QuantumCircuit(3, 3)
    for qubit in range(3):
        quantum.ry(0.4 + turn + qubit, qubit)
    for a, b in ((0, 1), (1, 0), (1, 2), (2, 0)):
        quantum.cx(a, b)
        quantum.u(0.3 * turn, 1.1, 0.2, b)
    quantum.swap(0, 2)
    quantum.x(turn % 3)
    return quantum


@pytest.mark.parametrize("level", [0, 1, 3])
@pytest.mark.parametrize("turn", range(3))
def test_a_circuit_has_the_probabilities_that_aer_gives_it(turn: int, level: int) -> None:
    model = quantum_errors()
    measured = sample(turn)
    measured.measure(range(3), range(3))
    found = distribution(noisy(measured, text(model), level).quantum)
    compiled = compile_to_basis(measured, basis_gates(text(model)), level)
    places = {compiled.find_bit(each.clbits[0]).index: each for each in compiled.data if each.name == "measure"}
    order = [compiled.find_bit(places[bit].qubits[0]).index for bit in range(3)]
    compiled.data = [each for each in compiled.data if each.name != "measure"]
    compiled.save_probabilities_dict(order)
    simulator = AerSimulator(method="density_matrix", noise_model=model)
    assert close(found, simulator.run(compiled).result().data()["probabilities"])


def test_readout_errors_are_those_of_the_qubit_or_of_all() -> None:
    model = aer.NoiseModel()
    model.add_all_qubit_readout_error([[0.9, 0.1], [0.3, 0.7]])
    model.add_readout_error([[0.8, 0.2], [0.05, 0.95]], [1])
    quantum = QuantumCircuit(2, 2)
    quantum.x(0)
    quantum.measure([0, 1], [0, 1])
    assert close(
        distribution(noisy(quantum, text(model)).quantum),
        {0b00: 0.3 * 0.8, 0b01: 0.7 * 0.8, 0b10: 0.3 * 0.2, 0b11: 0.7 * 0.2},
    )


def test_errors_of_measurements_act_before_them_and_bodies_have_errors_as_well() -> None:
    model = aer.NoiseModel()
    model.add_all_qubit_quantum_error(aer.pauli_error([("X", 0.25), ("I", 0.75)]), "measure")
    model.add_all_qubit_quantum_error(aer.pauli_error([("X", 1.0)]), "x")
    quantum = QuantumCircuit(2, 2)
    quantum.measure(0, 0)
    with quantum.if_test((quantum.clbits[0], 1)):
        quantum.x(1)
    quantum.measure(1, 1)
    found = distribution(noisy(quantum, text(model)).quantum)
    assert close(found, {0b00: 0.75**2, 0b01: 0.75 * 0.25, 0b10: 0.75 * 0.25, 0b11: 0.25**2})
    counts = AerSimulator(noise_model=model, seed_simulator=1).run(quantum, shots=4000).result().get_counts()
    assert all(abs(counts[format(key, "02b")] / 4000 - wanted) < 0.05 for key, wanted in found.items())


def test_loops_and_assignments_are_compiled_with_the_rest() -> None:
    model = aer.NoiseModel()
    model.add_all_qubit_quantum_error(aer.amplitude_damping_error(0.5), "x")
    quantum = QuantumCircuit(1, 2)
    quantum.x(0)
    quantum.measure(0, 0)
    with quantum.while_loop((quantum.clbits[0], 1)):
        quantum.store(quantum.clbits[1], True)
        quantum.reset(0)
        quantum.x(0)
        quantum.measure(0, 0)
    assert close(distribution(noisy(quantum, text(model)).quantum), {0b00: 0.5, 0b10: 0.5})


def test_pauli_errors_stay_pauli_errors() -> None:
    model = aer.NoiseModel()
    model.add_quantum_error(aer.depolarizing_error(0.1, 2), ["cx"], [0, 1])
    quantum = QuantumCircuit(2)
    quantum.cx(0, 1)
    (channel,) = [each.operation for each in noisy(quantum, text(model)).quantum.data if each.name == "channel"]
    assert channel.paulis is not None
    assert channel.paulis["IX"] == pytest.approx(0.1 / 16)


def test_readout_errors_of_two_qubits_together_are_ignored_with_a_warning() -> None:
    model = aer.NoiseModel()
    model.add_readout_error([[0.7, 0.1, 0.1, 0.1], *[[0.1, 0.7, 0.1, 0.1]] * 3], [0, 1])
    (warning,) = noisy(QuantumCircuit(2), text(model)).warnings
    assert warning.startswith("noise_model.aer_json.errors[0]: readout errors of several qubits")


def test_models_without_entangling_gates_compile_to_cx() -> None:
    assert basis_gates(json.dumps({"errors": []})) == ["cx", "id", "rz", "sx"]
    model = aer.NoiseModel()
    model.add_all_qubit_quantum_error(aer.depolarizing_error(0.1, 2), "ecr")
    assert basis_gates(text(model)) == ["ecr", "id", "rz", "sx"]


GOOD: dict[str, Any] = {
    "type": "qerror",
    "operations": ["x"],
    "instructions": [[{"name": "id", "qubits": [0]}], [{"name": "x", "qubits": [0]}]],
    "probabilities": [0.5, 0.5],
}

NOT_UNITARY = [[[2, 0], [0, 0]], [[0, 0], [1, 0]]]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"type": "z"}, ".errors[0].type: must be"),
        ({"extra": 1}, ".errors[0].extra: unknown"),
        ({"probabilities": [0.5, 0.6]}, ".errors[0].probabilities: must add up to 1, got 1.1"),
        ({"probabilities": [0.5, "x"]}, ".errors[0].probabilities: must be numbers"),
        ({"probabilities": [float("nan"), 0.5]}, ".errors[0].probabilities: must be numbers"),
        ({"probabilities": [1.0]}, ".errors[0]: 2 instructions, but 1 probabilities"),
        ({"instructions": [[{"name": "foo", "qubits": [0]}], []]}, ".errors[0].instructions[0][0].name: unknown"),
        ({"instructions": [[{"name": "x", "qubits": [0, 1]}], []]}, ".errors[0].instructions[0][0]: x does not fit"),
        ({"instructions": [[{"name": "x", "qubits": [-1]}], []]}, ".errors[0].instructions[0][0].qubits: must be"),
        ({"instructions": [[{"name": "x", "qubits": [0], "if": 1}], []]}, ".errors[0].instructions[0][0].if: unknown"),
        ({"instructions": [[{"name": "rx", "qubits": [0]}], []]}, ".errors[0].instructions[0][0].params: rx has 1"),
        (
            {"instructions": [[{"name": "unitary", "qubits": [0], "params": [NOT_UNITARY]}], []]},
            ".errors[0].instructions[0][0]: the sum of K^dagger K",
        ),
        ({"instructions": [[{"name": "kraus", "qubits": [0], "params": [[1]]}], []]}, "[0][0].params[0]: must be a"),
        ({"instructions": [[{"name": "pauli", "qubits": [0], "params": ["Q"]}], []]}, "[0][0].params[0]: must be a"),
        ({"gate_qubits": [[0, 0]]}, ".errors[0].gate_qubits[0]: must be different qubits"),
        ({"operations": [3]}, ".errors[0].operations[0]: must be the name"),
        ({"type": "roerror"}, ".errors[0].instructions: unknown"),
    ],
)  # fmt: skip
def test_a_broken_model_is_refused_by_path(change: dict[str, Any], path: str) -> None:
    error = {**copy.deepcopy(GOOD), **change}
    with pytest.raises(ProgramError) as caught:
        noisy(QuantumCircuit(1), json.dumps({"errors": [error]}))
    assert caught.value.reason == "INVALID_NOISE"
    assert caught.value.message.startswith("noise_model.aer_json")
    assert path in caught.value.message


def channels(model: Any) -> list[Channel]:
    quantum = QuantumCircuit(2, 2)
    quantum.cx(0, 1)
    data = noisy(quantum, text(model)).quantum.data
    return [each.operation for each in data if isinstance(each.operation, Channel)]


def several(*errors: Any) -> Any:
    """A model with several errors of a gate, which its JSON keeps apart."""
    model = aer.NoiseModel()
    model.add_quantum_error(errors[0], ["cx"], [0, 1])
    fields = model.to_dict(serializable=True)
    for each in errors[1:]:
        other = aer.NoiseModel()
        other.add_quantum_error(each, ["cx"], [0, 1])
        fields["errors"] += other.to_dict(serializable=True)["errors"]
    return SimpleNamespace(to_dict=lambda serializable: fields)


def test_several_errors_of_a_gate_are_joined_to_one_channel() -> None:
    damping = aer.amplitude_damping_error(0.3).expand(aer.amplitude_damping_error(0.1))
    flips = aer.pauli_error([("XZ", 0.2), ("II", 0.8)])
    (joined,) = channels(several(damping, flips))
    wanted = SuperOp(damping).compose(SuperOp(flips))
    assert np.abs(SuperOp(Kraus(list(joined.kraus))).data - wanted.data).max() < 1e-12
    first, second = channels(several(flips, flips))
    assert first.paulis == second.paulis == {"II": 0.8, "XZ": 0.2}
