# SPDX-License-Identifier: Apache-2.0
"""Noise models on programs: where channels and readout errors go, and that distributions are those of the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from google.protobuf.json_format import ParseDict
from qiskit.circuit import Gate, QuantumCircuit
from qiskit.circuit import library as qk

from qonduit.v1.noise_pb2 import NoiseModel
from qonduit_server.errors import ProgramError
from qonduit_server.ir.circuit import Circuit, ClassicalRegister
from qonduit_server.ir.clifford import is_clifford
from qonduit_server.ir.noise import has_noise
from qonduit_server.ir.noise_pass import gate_names, with_noise
from qonduit_server.ir.requirements import requirements_of
from qonduit_server.ir.serialization import dump
from tests.unit.ir import noise_reference as reference
from tests.unit.ir.noise_circuits import close, distribution

FLIP = {"bitFlip": 1.0}
Names = list[tuple[Any, ...]]


def error(gates: list[str], channel: dict[str, Any], qubits: list[int] | None = None) -> dict[str, Any]:
    return {"gates": gates, "channel": channel, "qubits": qubits or []}


def model(*errors: dict[str, Any], readout: list[dict[str, Any]] | None = None) -> NoiseModel:
    return ParseDict({"gateErrors": list(errors), "readoutErrors": readout or []}, NoiseModel())


def noisy(quantum: QuantumCircuit, noise: NoiseModel) -> Circuit:
    register = ClassicalRegister("c", tuple(range(quantum.num_clbits)))
    return with_noise(Circuit(quantum, (register,)), noise)


def placed(quantum: QuantumCircuit) -> Names:
    """The names of operations with their qubits."""
    return [(each.operation.name, *(quantum.find_bit(qubit).index for qubit in each.qubits)) for each in quantum.data]


def own_gate(name: str = "mine") -> Gate:
    body = QuantumCircuit(2, name=name)
    body.h(1)
    body.cx(1, 0)
    gate = body.to_gate()
    gate.name = name
    return gate


def bell() -> QuantumCircuit:
    quantum = QuantumCircuit(2, 2)
    quantum.h(0)
    quantum.cx(0, 1)
    quantum.measure([0, 1], [0, 1])
    return quantum


def test_an_error_follows_the_gates_of_its_names_on_its_qubits() -> None:
    quantum = QuantumCircuit(3)
    for qubits in ((0, 1), (1, 0), (1, 2)):
        quantum.cx(*qubits)
    quantum.x(1)
    found = noisy(quantum, model(error(["CX", "y"], {"depolarizing": 0.1}, [0, 1])))
    assert placed(found.quantum) == [
        ("cx", 0, 1), ("channel", 0, 1), ("cx", 1, 0), ("channel", 1, 0), ("cx", 1, 2), ("x", 1)
    ]  # fmt: skip
    assert found.warnings == ()


@pytest.mark.parametrize("name", ["cx", "CX", "cnot"])
def test_a_gate_has_several_names(name: str) -> None:
    assert ("channel", 0, 1) in placed(noisy(bell(), model(error([name], {"depolarizing": 0.1}))).quantum)
    assert gate_names(model(error([name], FLIP))) == {"cx"}


def test_errors_of_one_gate_act_in_the_models_order() -> None:
    quantum = QuantumCircuit(1, 1)
    quantum.x(0)
    quantum.measure(0, 0)
    decay, flip = error(["x"], {"amplitudeDamping": 1.0}), error(["x"], FLIP)
    assert distribution(noisy(quantum, model(decay, flip)).quantum) == pytest.approx({1: 1.0})
    assert distribution(noisy(quantum, model(flip, decay)).quantum) == pytest.approx({0: 1.0})


def test_a_channel_for_one_qubit_acts_on_each_qubit_of_a_gate() -> None:
    found = noisy(bell(), model(error(["cx"], FLIP)))
    assert placed(found.quantum)[1:4] == [("cx", 0, 1), ("channel", 0), ("channel", 1)]


def test_kraus_operators_of_two_qubits_are_in_the_gates_order() -> None:
    flips_target = np.kron(reference.X, reference.I)
    entries = [part for entry in flips_target.flatten() for part in (entry.real, entry.imag)]
    quantum = QuantumCircuit(2, 2)
    quantum.cx(1, 0)
    quantum.measure([0, 1], [0, 1])
    found = noisy(quantum, model(error(["cx"], {"kraus": {"operators": [{"entries": entries}]}})))
    assert distribution(found.quantum) == {0b01: 1.0}


def test_a_gate_that_the_program_defines_matches_by_its_own_name_first() -> None:
    quantum = QuantumCircuit(3)
    quantum.append(own_gate(), [2, 0])
    by_name = noisy(quantum, model(error(["mine"], {"depolarizing": 0.1}), error(["cx"], FLIP)))
    assert placed(by_name.quantum) == [("mine", 2, 0), ("channel", 2, 0)]
    assert by_name.warnings == ("noise_model.gate_errors[1]: no gate of the program matches cx",)
    by_body = noisy(quantum, model(error(["cx"], {"depolarizing": 0.1})))
    assert placed(by_body.quantum) == [("h", 0), ("cx", 0, 2), ("channel", 0, 2)]
    unmatched = noisy(quantum, model(error(["ccx"], FLIP)))
    assert placed(unmatched.quantum) == [("mine", 2, 0)]


def test_a_gate_of_a_program_with_a_standard_name_matches_by_that_name() -> None:
    quantum = QuantumCircuit(2)
    quantum.append(own_gate("swap"), [0, 1])
    assert placed(noisy(quantum, model(error(["swap"], {"depolarizing": 0.1}))).quantum) == [
        ("swap", 0, 1), ("channel", 0, 1)
    ]  # fmt: skip


def test_readout_errors_act_before_conditions_and_inside_of_bodies() -> None:
    quantum = QuantumCircuit(2, 2)
    quantum.x(0)
    quantum.measure(0, 0)
    with quantum.if_test((quantum.clbits[0], 1)):
        quantum.x(1)
        quantum.measure(1, 1)
    body = quantum.data[-1].operation.blocks[0]
    assert set(body.clbits) == set(quantum.clbits)
    found = noisy(
        quantum, model(error(["x"], {"amplitudeDamping": 0.25}, [1]), readout=[{"qubits": [0], "prob0Given1": 0.1}])
    )
    assert close(distribution(found.quantum), {0b00: 0.1, 0b01: 0.9 * 0.25, 0b11: 0.9 * 0.75})
    both = noisy(quantum, model(readout=[{"prob0Given1": 0.1}, {"prob1Given0": 0.2}]))
    # 1 is read with 0.9 + 0.1 * 0.2, one error after the other.
    assert close(distribution(both.quantum), {0b00: 0.08, 0b01: 0.92 * 0.08, 0b11: 0.92 * 0.92})


def test_bodies_of_loops_have_errors_each_round() -> None:
    quantum = QuantumCircuit(1, 1)
    quantum.x(0)
    quantum.measure(0, 0)
    with quantum.while_loop((quantum.clbits[0], 1)):
        quantum.id(0)
        quantum.measure(0, 0)
    found = noisy(quantum, model(error(["id"], {"amplitudeDamping": 0.5})))
    assert distribution(found.quantum) == pytest.approx({0: 1.0})
    body = found.quantum.data[-1].operation.blocks[0]
    assert [each.operation.name for each in body.data] == ["id", "channel", "measure"]


def test_the_programs_own_circuit_is_left_as_it_is() -> None:
    quantum = bell()
    before = placed(quantum)
    noisy(quantum, model(error(["cx"], FLIP), readout=[{"prob0Given1": 0.1}]))
    assert placed(quantum) == before


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        (model(error(["cx"], FLIP, [2])), "noise_model.gate_errors[0].qubits: the program has no qubit 2"),
        (model(readout=[{}, {"qubits": [9]}]), "noise_model.readout_errors[1].qubits: the program has no qubit 9"),
        (
            model(error(["h"], {"pauli": {"probabilities": {"XX": 0.1}}})),
            "noise_model.gate_errors[0].channel: the channel acts on 2 qubits, the gate on 1",
        ),
        (model(error(["h"], {"bitFlip": 2.0})), "noise_model.gate_errors[0].channel: the probability of bit flip"),
        (model(error(["h"], {"depolarizing": 1.3}), error(["cx"], {"depolarizing": 1.3})), "gate_errors[1].channel"),
    ],
)
def test_a_model_that_does_not_fit_is_refused_by_path(noise: NoiseModel, message: str) -> None:
    with pytest.raises(ProgramError) as caught:
        noisy(bell(), noise)
    assert caught.value.reason == "INVALID_NOISE"
    assert message in caught.value.message


@pytest.mark.parametrize("seed", range(6))
def test_random_circuits_with_noise_have_the_distribution_of_the_reference(seed: int) -> None:
    """The operations are written twice: as a circuit with a model, and for the reference with each error in place."""
    draw = np.random.default_rng(seed)
    damp, flip = draw.uniform(0.1, 0.5, 2)
    damping = [np.diag([1, (1 - damp) ** 0.5]), np.array([[0, damp**0.5], [0, 0]])]
    pair = [np.kron(b, a) for a in damping for b in ((1 - flip) ** 0.5 * reference.I, flip**0.5 * reference.X)]
    listed = [{"entries": [part for z in each.flatten() for part in (z.real, z.imag)]} for each in pair]
    low, high = draw.uniform(0.05, 0.3, 2)
    noise = model(
        error(["cx"], {"kraus": {"operators": listed}}),
        readout=[{"qubits": [1], "prob1Given0": low, "prob0Given1": high}],
    )
    quantum, wanted = QuantumCircuit(3, 3), list[Any]()
    for step in range(14):
        a, b = (int(each) for each in draw.permutation(3)[:2])
        angle = float(draw.uniform(0, 3))
        if step % 5 == 4:
            quantum.measure(a, b)
            wanted += [reference.Measure(a, b), *([reference.Readout(b, low, high)] if a == 1 else [])]
        elif step % 2:
            quantum.cx(a, b)
            wanted += [reference.gate(reference.CX, a, b), reference.Kraus(pair, (a, b))]
        else:
            quantum.append(qk.RYGate(angle), [a])
            wanted.append(reference.gate(reference.ry(angle), a))
    found = distribution(noisy(quantum, noise).quantum)
    assert close(found, reference.distribution(3, wanted), 1e-12)


@pytest.mark.parametrize("name", ["channel", "readout_error"])
def test_a_gate_of_a_program_may_have_the_name_of_an_operation_of_the_ir(name: str) -> None:
    body = QuantumCircuit(1, name=name)
    body.t(0)
    quantum = QuantumCircuit(1, 1)
    quantum.append(body.to_gate(), [0])
    quantum.measure(0, 0)
    assert not has_noise(quantum)
    assert not requirements_of(quantum).noise
    assert not is_clifford(quantum)
    assert dump(Circuit(quantum, ())) is not None
    found = noisy(quantum, model(error(["t"], {"bit_flip": 0.5}))).quantum
    assert [each.operation.name for each in found.data] == ["t", "channel", "measure"]
    assert has_noise(found)


@pytest.mark.parametrize("name", ["channel", "readout_error"])
def test_a_gate_after_a_measurement_is_one_whatever_its_name(name: str) -> None:
    body = QuantumCircuit(1, name=name)
    body.x(0)
    quantum = QuantumCircuit(1, 1)
    quantum.measure(0, 0)
    quantum.append(body.to_gate(), [0])
    assert requirements_of(quantum).mid_circuit_measurement
