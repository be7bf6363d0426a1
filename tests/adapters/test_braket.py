# SPDX-License-Identifier: Apache-2.0
"""The Braket adapter gives what Braket's LocalSimulator gives, from a real server."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import numpy as np
import pytest
from braket.ahs import AnalogHamiltonianSimulation
from braket.circuits import Circuit, FreeParameter, Observable
from braket.circuits.observables import Sum
from braket.circuits.result_types import Expectation
from braket.circuits.serialization import SerializableProgram
from braket.devices import Device, LocalSimulator
from braket.ir.openqasm import Program
from braket.program_sets import CircuitBinding, ProgramSet
from braket.tasks import GateModelQuantumTaskResult, QuantumTask

from qonduit_client import Client
from qonduit_client.braket import QonduitDevice
from tests.adapters.agreement import agree

LOCAL = LocalSimulator()
SHOTS = 1000
A = FreeParameter("a")
HERMITIAN = Observable.Hermitian(np.array([[1, 2 - 1j], [2 + 1j, -0.5]]))
ROOT = np.array([[1 + 1j, 1 - 1j], [1 - 1j, 1 + 1j]]) / 2


@pytest.fixture(scope="module")
def device(client: Client) -> QonduitDevice:
    return QonduitDevice("AWS/local_simulator", client)


def rich() -> Circuit:
    """Gates of many kinds on qubits that are not numbered without gaps."""
    return (
        Circuit()
        .h(3)
        .rx(1, A)
        .cnot(3, 7)
        .ry(7, 0.4, control=[1], control_state=[0], power=-1)
        .unitary(matrix=ROOT, targets=[1])
        .gpi(3, 0.3)
        .add_verbatim_box(Circuit().rz(3, 0.7).cz(3, 1))
    )


class Serializable(SerializableProgram):  # type: ignore[misc]
    def to_ir(self, ir_type: Any = None) -> str:
        return "OPENQASM 3.0; input float a; qubit[2] q; rx(a) q[1];"


COUNTED: dict[str, tuple[Any, dict[str, float] | None]] = {
    "all qubits": (rich(), {"a": 0.9}),
    "some qubits in another order": (rich().measure([7, 1]), {"a": 0.9}),
    "no measurement": (Program(source="OPENQASM 3.0; qubit[6] q; h q[4]; cnot q[4], q[1];"), None),
    "inputs of the program": (
        Program(source="OPENQASM 3.0; input float a; qubit q; bit c; rx(2 * a) q; c = measure q;", inputs={"a": 0.3}),
        None,
    ),
    "inputs beside the program's": (
        Program(source="OPENQASM 3.0; input float a; qubit[2] q; rx(a) q[0]; h q[1];", inputs={"a": 0.3}),
        {"a": 2.0},
    ),
    "physical qubits": ("OPENQASM 3.0; bit[2] b; h $2; cnot $2, $0; b[1] = measure $2; b[0] = measure $0;", None),
    "definitions and loops": (
        "OPENQASM 3.0; gate turn(t) p { rx(t) p; rz(t) p; } qubit[3] q; bit[3] b;"
        "for int i in [0:2] { turn(0.3 * i + 0.1) q[i]; } b = measure q;",
        None,
    ),
    "roots": ("OPENQASM 3.0; qubit[2] q; h q[0]; ctrl @ pow(0.5) @ x q[0], q[1]; pow(1/3) @ gpi(0.2) q[1];", None),
    "a measurement that decides": (
        "OPENQASM 3.0; qubit[2] q; bit[2] b; h q[0]; b[0] = measure q[0]; if (b[0] == 1) { x q[1]; }"
        "b[1] = measure q[1];",
        None,
    ),
    "a qubit that goes on": (
        "OPENQASM 3.0; qubit[2] q; bit[2] b; h q[0]; b[1] = measure q[0]; h q[0]; b[0] = measure q[0];",
        None,
    ),
    "serializable": (Serializable(), {"a": 1.1}),
}


@pytest.mark.parametrize("name", COUNTED)
def test_counts_are_those_of_the_local_simulator(device: QonduitDevice, name: str) -> None:
    program, inputs = COUNTED[name]
    ours = device.run(program, SHOTS, inputs, seed=7).result()
    if isinstance(program, str):
        program = Program(source=program)
    theirs = LOCAL.run(program, SHOTS, inputs).result()
    assert isinstance(ours, GateModelQuantumTaskResult)
    assert ours.measured_qubits == theirs.measured_qubits
    assert ours.measurements.shape == theirs.measurements.shape
    assert ours.measurements.dtype == theirs.measurements.dtype
    assert agree(ours.measurement_counts, theirs.measurement_counts)
    assert ours.measurement_counts == GateModelQuantumTaskResult.measurement_counts_from_measurements(ours.measurements)
    assert sum(ours.measurement_probabilities.values()) == pytest.approx(1)
    assert ours.additional_metadata.action == theirs.additional_metadata.action
    assert (ours.task_metadata.shots, ours.task_metadata.deviceId) == (SHOTS, "AWS/local_simulator")
    assert ours.task_metadata.createdAt <= ours.task_metadata.endedAt


def test_what_is_measured_before_more_gates_is_what_is_shown(device: QonduitDevice) -> None:
    result = device.run("OPENQASM 3.0; qubit[2] q; x q[0]; measure q[0]; x q[0]; x q[1];", 10).result()
    assert (result.measured_qubits, result.measurement_counts) == ([0], {"1": 10})


@pytest.mark.parametrize("name", ["AWS/local_simulator", "IBM/aer_simulator", "GOOGLE/cirq_simulator"])
def test_exact_results_are_those_of_the_local_simulator(client: Client, name: str) -> None:
    circuit = rich().make_bound_circuit({"a": 0.9}).gphase(0.6)
    circuit.state_vector().amplitude(["010", "111"]).density_matrix().density_matrix([7, 1])
    circuit.probability().probability([7, 1]).expectation(Observable.X()).variance(HERMITIAN, 3)
    circuit.expectation(Observable.Y() @ HERMITIAN @ Observable.H(), [7, 1, 3]).expectation(Observable.Z(), 1)
    ours = QonduitDevice(name, client).run(circuit, shots=0).result()
    theirs = LOCAL.run(circuit, shots=0).result()
    assert ours.measurements is None
    assert ours.measured_qubits is None
    for one, other in zip(ours.values, theirs.values, strict=True):
        assert type(one) is type(other)
        assert one == pytest.approx(other)
    for asked, value in zip(circuit.result_types, ours.values, strict=True):  # by the numbers that the circuit has
        assert ours.get_value_by_result_type(asked) is value


def test_sampled_results_are_computed_from_the_measurements(device: QonduitDevice) -> None:
    circuit = Circuit().ry(3, 0.7).cnot(3, 7).rx(1, 0.4).ry(0, 0.5)
    circuit.expectation(Observable.X() @ HERMITIAN, [7, 3]).variance(HERMITIAN, 3).sample(Observable.Y(), 1)
    circuit.probability([0])
    ours = device.run(circuit, shots=4000, seed=3).result()
    exact = Circuit().ry(3, 0.7).cnot(3, 7).rx(1, 0.4).ry(0, 0.5)
    exact.expectation(Observable.X() @ HERMITIAN, [7, 3]).variance(HERMITIAN, 3).expectation(Observable.Y(), 1)
    expectation, variance, mean = LOCAL.run(exact, shots=0).result().values
    assert ours.values[0] == pytest.approx(expectation, abs=0.2)
    assert ours.values[1] == pytest.approx(variance, rel=0.1)
    assert set(ours.values[2]) == {1, -1}
    assert np.mean(ours.values[2]) == pytest.approx(mean, abs=0.1)
    assert ours.values[3] == pytest.approx([math.cos(0.25) ** 2, math.sin(0.25) ** 2], abs=0.05)
    assert ours.get_value_by_result_type(circuit.result_types[0]) == ours.values[0]
    assert ours.measured_qubits == LOCAL.run(circuit, shots=10).result().measured_qubits


def test_results_that_a_program_asks_for(device: QonduitDevice) -> None:
    source = "OPENQASM 3.0; qubit[2] q; h q[0]; cnot q[0], q[1];\n#pragma braket result expectation z(q[0]) @ z(q[1])\n"
    for shots in (0, 100):
        result = device.run(Program(source=source), shots=shots).result()
        assert result.values == [pytest.approx(1)]
        assert result.get_value_by_result_type(Expectation(Observable.Z() @ Observable.Z(), [0, 1])) == pytest.approx(1)


WRONG: dict[str, tuple[Any, Any, Any]] = {
    "a value is missing": (Circuit().rx(0, A), 10, None),
    "nothing to compute": (Circuit().h(0), 0, None),
    "nothing to compute in a program": (Program(source="OPENQASM 3.0; qubit q; h q;"), None, None),
    "no gates": (Circuit(), 10, None),
    "only a phase": (Circuit().gphase(0.1), 10, None),
    "shots are negative": (Circuit().h(0), -1, None),
    "shots are no whole number": (Circuit().h(0), 2.5, None),
    "a state with shots": (Circuit().h(0).state_vector(), 10, None),
    "a density matrix with shots": (Circuit().h(0).density_matrix(), 10, None),
    "results that exclude each other": (
        Circuit().h(0).expectation(Observable.X(), 0).expectation(Observable.Y(), 0), 10, None
    ),
    "samples without shots": (Circuit().h(0).sample(Observable.X(), 0), 0, None),
    "an amplitude of other qubits": (Circuit().h(0).amplitude(["01"]), 0, None),
    "several registers": (
        Program(source="OPENQASM 3.0; qubit[2] q; bit b; bit c; b = measure q[0]; c = measure q[1];"), 10, None
    ),
    "a syntax error": (Program(source="OPENQASM 3.0; qubit[2 q;"), 10, None),
    "an unknown gate": (Program(source="OPENQASM 3.0; qubit q; nope q;"), 10, None),
    "a qubit that is not there": (Program(source="OPENQASM 3.0; qubit[2] q; h q[2];"), 10, None),
    "an analog program": (AnalogHamiltonianSimulation(None, None), 10, None),
    "no program": (7, 10, None),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_mistakes_are_refused_as_the_local_simulator_does(device: QonduitDevice, name: str) -> None:
    program, shots, inputs = WRONG[name]
    with pytest.raises(Exception) as theirs:  # noqa: PT011  # what it raises is what is compared
        LOCAL.run(program, shots, inputs)
    with pytest.raises(ValueError if issubclass(theirs.type, ValueError) else theirs.type):
        device.run(program, shots, inputs)


def test_what_goes_on_after_measuring_has_no_exact_results(device: QonduitDevice) -> None:
    program = "OPENQASM 3.0; qubit q; bit b; h q; b = measure q; h q;\n#pragma braket result state_vector\n"
    with pytest.raises(ValueError, match="run it with shots"):
        device.run(program, shots=0)


def test_a_batch_is_one_job_with_results_in_order(device: QonduitDevice) -> None:
    bell = Circuit().h(0).cnot(0, 1)
    batch = device.run_batch([Circuit().x(0), bell, bell, Circuit().i(0)], shots=500, max_parallel=3, seed=5)
    results = batch.results()
    assert len({handle.id for task in batch.tasks for handle in task.jobs}) == 1
    assert [result.measurement_counts["1"] for result in (results[0], results[3])] == [500, 0]
    assert results == [task.result() for task in batch.tasks]
    assert len({task.id for task in batch.tasks}) == batch.size == 4
    one, other = (result.measurements[:, 0] for result in results[1:3])
    assert 150 < np.sum(one == other) < 350  # equal circuits, and a seed, yet each has randomness of its own
    again = device.run_batch([Circuit().x(0), bell, bell, Circuit().i(0)], shots=500, seed=5).results()
    assert all((a.measurements == b.measurements).all() for a, b in zip(results, again, strict=True))
    assert batch.unfinished == batch.unsuccessful == set()


def test_batches_with_inputs_and_shots_of_their_own(device: QonduitDevice) -> None:
    turned = Circuit().rx(0, A)
    results = device.run_batch(turned, 100, inputs=[{"a": 0}, {"a": math.pi}]).results()
    assert [result.measurement_counts for result in results] == [{"0": 100}, {"1": 100}]
    # A program that goes on after measuring takes its inputs along, and results may be exact beside sampled ones.
    going_on = "OPENQASM 3.0; input float a; qubit[2] q; bit b; rx(a) q[0]; b = measure q[0]; x q[0];"
    both = [Program(source=going_on), turned.copy().expectation(Observable.Z(), 0), Circuit().x(0)]
    first, second, third = device.run_batch(both, [10, 0, 20], inputs={"a": math.pi}).results()
    assert (first.measurement_counts, second.values) == ({"1": 10}, [pytest.approx(-1)])
    assert third.measurement_counts == {"1": 20}
    assert device.run_batch([], shots=10).results() == []
    with pytest.raises(ValueError, match="equal in number"):
        device.run_batch([turned, turned], 10, inputs=[{"a": 1}])
    with pytest.raises(ValueError, match="unbound parameters"):
        device.run_batch([turned], 10)


def test_a_set_of_programs(device: QonduitDevice) -> None:
    circuit = Circuit().rx(0, A).cnot(0, 1)
    terms = Sum([2 * Observable.Z(0), Observable.X(0) @ Observable.X(1)])
    programs = ProgramSet([CircuitBinding(circuit, {"a": [0.0, math.pi]}, terms), Circuit().x(4)], 200)
    ours, theirs = device.run(programs, seed=2).result(), LOCAL.run(programs).result()
    assert ours.num_executables == theirs.num_executables == 5
    assert [len(entry) for entry in ours] == [len(entry) for entry in theirs]
    for one, other in zip(ours, theirs, strict=True):
        for mine, its in zip(one, other, strict=True):
            assert mine.measured_qubits == its.measured_qubits
            assert agree(mine.counts, its.counts)
    assert [ours[0].expectation(place) for place in (0, 1)] == [pytest.approx(2, abs=0.4), pytest.approx(-2, abs=0.4)]
    for shots in (0, 7):
        with pytest.raises(ValueError, match=r"[Ss]hots"):
            device.run(programs, shots=shots)


def test_a_task_runs_in_the_background(device: QonduitDevice) -> None:
    wide = Circuit()
    for qubit in range(23):
        wide.h(qubit)
    for qubit in range(200):
        wide.rx(qubit % 23, 0.1)
    task = device.run(wide, shots=10)
    assert isinstance(task, QuantumTask)
    assert task.state() in ("QUEUED", "RUNNING")
    with pytest.raises(TimeoutError):
        task.result(timeout=0)
    task.cancel()
    with pytest.raises(RuntimeError, match="cancelled"):
        task.result(timeout=60)
    assert task.state() == task.metadata(use_cached_value=True)["status"] == "CANCELLED"


def test_a_program_that_fails_leaves_its_batch_alone(device: QonduitDevice) -> None:
    # A number with a fraction in a loop that ends by a measurement.
    counter = "float n = 0.0; while (b == 0) { x q[0]; b = measure q[0]; n = n + 0.5; }"
    counting = f"OPENQASM 3.0; qubit[1] q; bit b = 0; {counter} b = measure q[0];"
    good, bad = device.run_batch([Circuit().x(0), counting], shots=10).tasks
    assert good.result(timeout=60).measurement_counts == {"1": 10}
    with pytest.raises(RuntimeError, match="changes 'n'"):
        bad.result(timeout=60)
    assert (good.state(), bad.state()) == ("COMPLETED", "FAILED")
    assert "changes 'n'" in bad.metadata()["failureReason"]


async def _awaited(device: QonduitDevice) -> Any:
    return await device.run(Circuit().x(0), shots=5).async_result()


def test_results_can_be_awaited(device: QonduitDevice) -> None:
    assert asyncio.run(_awaited(device)).measurement_counts == {"1": 5}
    waiting = device.run(Circuit().x(0), shots=5).async_result()  # as in a script that has no loop of its own
    loop = waiting.get_loop()
    assert loop.run_until_complete(waiting).measurement_counts == {"1": 5}
    loop.close()


def test_what_a_device_says_of_itself(device: QonduitDevice, client: Client) -> None:
    assert isinstance(device, Device)
    assert (device.name, device.status, device.is_available) == ("AWS/local_simulator", "AVAILABLE", True)
    ours, theirs = device.properties, LOCAL.properties
    assert type(ours) is type(theirs)
    described = next(each for each in client.devices() if each.name == "local_simulator")
    assert ours.paradigm.qubitCount == described.num_qubits
    assert ours.service.shotsRange == (0, described.max_shots)
    openqasm = ours.action["braket.ir.openqasm.program"]
    assert openqasm.supportedOperations == theirs.action["braket.ir.openqasm.program"].supportedOperations
    assert {each.name for each in openqasm.supportedResultTypes} >= {"StateVector", "Sample", "Expectation"}


def test_what_the_server_refuses_is_told_with_its_reason(device: QonduitDevice, client: Client) -> None:
    with pytest.raises(ValueError, match=r"available: .*AWS/local_simulator"):
        QonduitDevice("AWS/nope", client)
    with pytest.raises(RuntimeError, match=r"127\.0\.0\.1:1"):
        QonduitDevice("AWS/local_simulator", Client("127.0.0.1:1", connect_timeout=0.2))
    wide = Circuit()
    for qubit in range(device.properties.paradigm.qubitCount + 1):
        wide.h(qubit)
    with pytest.raises(ValueError, match="qubits") as refused:
        device.run(wide, shots=10)
    assert refused.value.__cause__.reason
    with pytest.raises(ValueError, match="shots"):
        device.run(Circuit().h(0), shots=10**12)
    with pytest.raises(TypeError, match="nonsense"):
        device.run(Circuit().h(0), shots=1, nonsense=1)
