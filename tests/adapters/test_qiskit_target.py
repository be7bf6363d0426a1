# SPDX-License-Identifier: Apache-2.0
"""Targets of shaped devices for Qiskit's transpiler, compared with IBM's own, and circuits compiled for them."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import pytest
from qiskit import QuantumCircuit, transpile
from qiskit.exceptions import QiskitError
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import Target, generate_preset_pass_manager
from qiskit_ibm_runtime import fake_provider

from qonduit.v1.calibration_pb2 import CoupledQubits, DeviceCalibration, GateCalibration, QubitCalibration
from qonduit.v1.device_pb2 import Device
from qonduit_client import Client
from qonduit_client.qiskit import EstimatorV2, QonduitBackend, SamplerV2
from qonduit_client.qiskit.target import target_of

#: A small and a large device with cx, and one with cz.
SHAPED = {
    "IBM/fake_manila": fake_provider.FakeManilaV2,
    "IBM/fake_washington": fake_provider.FakeWashingtonV2,
    "IBM/fake_torino": fake_provider.FakeTorino,
}
CONTROL_FLOW = {
    "if_else", "switch_case", "for_loop", "while_loop", "break_loop", "continue_loop", "box", "store",
}  # fmt: skip


def properties(target: Target) -> dict[tuple[str, Any], tuple[float | None, float | None]]:
    """Error and duration by instruction and qubits, without control flow."""
    return {
        (name, on): (getattr(each, "error", None), getattr(each, "duration", None))
        for name in target.operation_names
        if name not in CONTROL_FLOW
        for on, each in target[name].items()
    }


@pytest.mark.parametrize("name", SHAPED)
def test_the_target_is_that_of_ibms_own_backend(client: Client, name: str) -> None:
    backend, vendor = QonduitBackend(name, client), SHAPED[name]()
    ours, theirs = properties(backend.target), properties(vendor.target)
    assert ours.keys() == theirs.keys()
    for place, expected in theirs.items():
        assert ours[place] == tuple(each if each is None else pytest.approx(each, rel=1e-9) for each in expected)
    assert set(backend.coupling_map.get_edges()) == set(vendor.coupling_map.get_edges())
    assert set(backend.operation_names) >= set(vendor.operation_names)
    assert (backend.dt, backend.num_qubits) == (vendor.dt, vendor.num_qubits)
    for qubit in range(vendor.num_qubits):
        mine, its = backend.qubit_properties(qubit), vendor.qubit_properties(qubit)
        assert (mine.t1, mine.t2) == (pytest.approx(its.t1, rel=1e-9), pytest.approx(its.t2, rel=1e-9))


def test_a_simulator_has_all_gates_on_all_qubits(client: Client) -> None:
    backend = QonduitBackend(client=client)
    assert (backend.coupling_map, backend.dt) == (None, None)
    assert backend.target.instruction_supported("ccx", (0, 7, 3))


def ghz() -> QuantumCircuit:
    circuit = QuantumCircuit(3)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.cx(0, 2)
    circuit.measure_all()
    return circuit


def success(circuit: QuantumCircuit, target: Target) -> float:
    """The product of 1 - error of a circuit's operations on their qubits."""
    places = [
        (each.operation.name, tuple(circuit.find_bit(qubit).index for qubit in each.qubits)) for each in circuit.data
    ]
    return prod(1 - (target[name][on].error or 0) for name, on in places if name != "barrier")


@pytest.mark.parametrize("layout", [[0, 1, 2], [4, 3, 2]])
def test_a_transpiled_circuit_runs_unchanged_on_the_chosen_qubits(client: Client, layout: list[int]) -> None:
    backend, vendor = QonduitBackend("IBM/fake_manila", client), fake_provider.FakeManilaV2()
    by_hand = transpile(ghz(), backend, initial_layout=layout, optimization_level=1, seed_transpiler=3)
    manager = generate_preset_pass_manager(2, backend, initial_layout=layout, seed_transpiler=3)
    for native in (by_hand, manager.run(ghz())):
        result = backend.run(native, shots=1000, seed_simulator=1, optimization_level=3).result()
        meta_data = result.results[0].metadata
        assert meta_data["layout"] == list(range(5))  # qubit k of the circuit is qubit k of the device
        assert meta_data["two_qubit_gates"] == native.num_nonlocal_gates()
        assert meta_data["estimated_success_probability"] == pytest.approx(success(native, vendor.target))
        counts = result.get_counts()
        assert 500 < counts["000"] + counts["111"] < 1000


def test_a_device_without_a_gate_of_qiskit_keeps_the_chosen_qubits(client: Client) -> None:
    """The server decomposes cz to the native gates of the same pair."""
    backend = QonduitBackend("GOOGLE/rainbow", client)
    assert backend.target.operation_names >= {"rz", "u", "cz"}
    edge = min(backend.coupling_map.get_edges())
    bell = QuantumCircuit(2)
    bell.h(0)
    bell.cx(0, 1)
    bell.measure_all()
    native = transpile(bell, backend, initial_layout=edge, seed_transpiler=3)
    result = backend.run(native, shots=1000, seed_simulator=1).result()
    assert result.results[0].metadata["layout"] == list(range(backend.num_qubits))
    assert result.results[0].metadata["qubits"] == 2
    assert 850 < sum(result.get_counts()[key] for key in ("00", "11")) < 1000


def test_primitives_measure_a_transpiled_circuit_on_the_chosen_qubits(client: Client) -> None:
    """The estimator's rotations to the bases of observables are native gates too."""
    backend = QonduitBackend("IBM/fake_manila", client)
    circuit = ghz().remove_final_measurements(inplace=False)
    assert circuit is not None
    native = transpile(circuit, backend, initial_layout=[4, 3, 2], seed_transpiler=3)
    observables = [SparsePauliOp(label).apply_layout(native.layout) for label in ("XXX", "YYX", "ZZI")]
    (estimated,) = EstimatorV2(backend, default_precision=0.03, seed=1).run([(native, observables)]).result()
    assert np.allclose(estimated.data.evs, [1, -1, 1], atol=0.35)
    measured = native.copy()
    measured.measure_all()
    (sampled,) = SamplerV2(backend, default_shots=1000, seed=1).run([measured]).result()
    assert sampled.data.meas.num_bits == 5
    for job in client.jobs(limit=2):
        for result in client.job(job.id).results(timeout=60):
            assert result.meta_data["layout"] == list(range(5))
            assert result.meta_data["two_qubit_gates"] == native.num_nonlocal_gates()


def test_a_native_circuit_is_not_optimized_and_another_one_is(client: Client) -> None:
    backend = QonduitBackend("IBM/fake_manila", client)
    for gate, kept in (("x", 2), ("h", 0)):
        circuit = QuantumCircuit(1)
        for _ in range(2):
            getattr(circuit, gate)(0)
        circuit.measure_all()
        meta_data = backend.run(circuit, shots=10, optimization_level=3).result().results[0].metadata
        assert meta_data["depth"] == kept + 1


def test_gates_that_are_not_measured_have_no_errors_and_a_pair_without_known_gates_has_cz() -> None:
    calibration = DeviceCalibration(
        qubits=[QubitCalibration(qubit=0, t1=1e-4), QubitCalibration(qubit=1)],
        gates=[
            GateCalibration(gate="u", qubits=[0]),
            GateCalibration(gate="u", qubits=[1], error=0.01),
            GateCalibration(gate="sycamore", qubits=[0, 1]),
        ],
        coupling_map=[CoupledQubits(first=0, second=1)],
    )
    device = Device(name="rainbow", num_qubits=2, basis_gates=["rz", "u", "sycamore"])
    target = target_of(device, calibration)
    assert properties(target) == {
        ("rz", (0,)): (None, None),
        ("rz", (1,)): (None, None),
        ("u", (0,)): (None, None),
        ("u", (1,)): (0.01, None),
        ("cz", (0, 1)): (None, None),
        ("measure", (0,)): (None, None),
        ("measure", (1,)): (None, None),
        ("delay", (0,)): (None, None),
        ("delay", (1,)): (None, None),
    }
    assert target.qubit_properties[0].t1 == 1e-4
    bell = QuantumCircuit(2)
    bell.h(1)
    bell.cx(1, 0)
    native = transpile(bell, target=target, initial_layout=[0, 1])
    assert native.count_ops().keys() <= {"rz", "u", "cz"}


def test_a_shaped_device_refuses_a_noise_model(client: Client) -> None:
    model = {"gate_errors": [{"gates": ["x"], "channel": {"bit_flip": 1.0}}]}
    with pytest.raises(QiskitError, match="noise"):
        QonduitBackend("IBM/fake_manila", client).run(ghz(), noise_model=model).result()
