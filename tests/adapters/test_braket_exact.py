# SPDX-License-Identifier: Apache-2.0
"""Exact results of the Braket adapter that a real server's estimator computes, and adjoint gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from braket.circuits import Circuit, FreeParameter, Observable
from braket.circuits.observables import H, Hermitian, X, Y, Z
from braket.devices import LocalSimulator
from braket.ir.openqasm import Program

from qonduit.v1.job_pb2 import JobType
from qonduit_client import Client
from qonduit_client.braket import QonduitDevice
from qonduit_client.braket.exact_values import FEWEST_QUBITS

LOCAL = LocalSimulator()
MIXED = LocalSimulator("braket_dm")
TURN, TWIST = FreeParameter("turn"), FreeParameter("twist")
POINT = {"turn": 0.7, "twist": -0.4}
STEP = 1e-5
MATRIX = np.array([[1, 2 - 1j], [2 + 1j, -0.5]])
PAIR = np.array([[1, 0, 0, 1j], [0, 2, 0.5, 0], [0, 0.5, -1, 0], [-1j, 0, 0, 0.3]])
OBSERVABLE = (
    2 * Z(0) @ X(3) - Y(3) - 0.5 * Hermitian(MATRIX, targets=[0]) + 1e-1 * H(3) + Hermitian(PAIR, targets=[3, 0])
)


@pytest.fixture(scope="module")
def device(client: Client) -> QonduitDevice:
    return QonduitDevice("AWS/local_simulator", client)


def wide(qubits: int = FEWEST_QUBITS) -> Circuit:
    """A circuit whose results a server's estimator computes; its qubits have gaps in their numbers."""
    circuit = Circuit().gphase(0.3)
    for qubit in range(qubits):
        circuit.ry(2 * qubit, 0.1 * qubit + 0.2)
    for qubit in range(qubits - 1):
        circuit.cnot(2 * qubit, 2 * qubit + 2).rx(2 * qubit, 0.3)
    return circuit


def turned() -> Circuit:
    """A circuit with two inputs."""
    circuit = Circuit().h(0).rx(0, 2 * TURN + 0.5).ry(3, TURN / 3 + 1).cnot(0, 3).xx(0, 3, TWIST * TURN)
    return circuit.gpi(0, TURN).phaseshift(3, TURN**2).ry(0, TWIST, control=3, power=2).gphase(0.2)


def value_of(circuit: Circuit, inputs: dict[str, float]) -> float:
    """Return the expectation of OBSERVABLE by the local simulator, term by term."""
    whole = circuit.copy()
    for term in OBSERVABLE.summands:
        whole.expectation(1 / term.coefficient * term)
    values = MIXED.run(whole, shots=0, inputs=inputs).result().values
    return float(sum(term.coefficient * value for term, value in zip(OBSERVABLE.summands, values, strict=True)))


def derivatives_of(circuit: Circuit, inputs: dict[str, float]) -> dict[str, float]:
    """Return the derivatives of the same by finite differences."""
    return {
        name: (
            value_of(circuit, {**inputs, name: value + STEP}) - value_of(circuit, {**inputs, name: value - STEP})
        ) / (2 * STEP)
        for name, value in inputs.items()
    }  # fmt: skip


def job_types(task: Any) -> list[JobType]:
    return [handle.job().type for handle in task.jobs]


@pytest.fixture(scope="module")
def exact() -> tuple[Circuit, Any]:
    """A circuit with many kinds of results, and the values of the local simulator: it takes seconds and a gigabyte."""
    circuit = wide().expectation(Observable.X()).variance(Hermitian(MATRIX), 2).variance(Observable.Y())
    circuit.expectation(Observable.Y() @ Hermitian(MATRIX) @ Observable.H() @ Observable.I(), [6, 0, 4, 8])
    circuit.variance(Hermitian(PAIR) @ Observable.Z() @ Hermitian(MATRIX), [8, 2, 6, 4])
    circuit.probability([6, 2, 4]).density_matrix([4, 0]).expectation(Observable.H(), 0)
    return circuit, LOCAL.run(circuit, shots=0).result()


@pytest.mark.parametrize("name", ["AWS/local_simulator", "IBM/aer_simulator", "GOOGLE/cirq_simulator"])
def test_results_of_an_estimator_are_those_of_the_local_simulator(
    client: Client, name: str, exact: tuple[Circuit, Any]
) -> None:
    circuit, theirs = exact
    task = QonduitDevice(name, client).run(circuit, shots=0)
    assert job_types(task) == [JobType.JOB_TYPE_ESTIMATOR]
    ours = task.result()
    for asked, one, other in zip(circuit.result_types, ours.values, theirs.values, strict=True):
        assert np.shape(one) == np.shape(other)
        assert type(one) is type(other)
        assert np.allclose(one, other, rtol=0, atol=1e-9)
        assert ours.get_value_by_result_type(asked) is one


def test_noisy_results_of_an_estimator_are_those_of_the_local_simulator(client: Client) -> None:
    circuit = wide(6)
    for qubit in range(0, 8, 2):
        circuit.depolarizing(qubit, 0.2)
    circuit.expectation(Observable.X() @ Hermitian(MATRIX), [4, 0]).probability([2, 6]).density_matrix([8])
    task = QonduitDevice("IBM/aer_simulator", client).run(circuit, shots=0)
    assert job_types(task) == [JobType.JOB_TYPE_ESTIMATOR]
    for one, other in zip(task.result().values, MIXED.run(circuit, shots=0).result().values, strict=True):
        assert np.allclose(one, other, rtol=0, atol=1e-7)


def test_exact_results_with_a_noise_model_are_found_again(client: Client) -> None:
    device = QonduitDevice("IBM/aer_simulator", client)
    model = {"readout_errors": [{"prob_1_given_0": 0.1, "prob_0_given_1": 0.3}]}
    task = device.run(Circuit().ry(0, 0.4).expectation(Z(0)).probability([0]), shots=0, noise_model=model)
    ones = 0.1 * np.cos(0.2) ** 2 + 0.7 * np.sin(0.2) ** 2
    for found in (task, device.task(task.id)):
        expectation, probability = found.result().values
        assert expectation == pytest.approx(1 - 2 * ones)
        assert probability == pytest.approx([1 - ones, ones])


@pytest.mark.parametrize("kind", ["state", "few qubits", "many factors", "many qubits"])
def test_other_results_come_from_the_state(device: QonduitDevice, kind: str) -> None:
    circuit = wide(3 if kind == "few qubits" else FEWEST_QUBITS).expectation(Observable.Z(), 0)
    if kind == "state":
        circuit.amplitude(["01" * (FEWEST_QUBITS // 2)])
    if kind == "many factors":
        products = Hermitian(PAIR) @ Hermitian(PAIR) @ Hermitian(MATRIX)
        circuit.expectation(products, [0, 2, 4, 6, 8])
    if kind == "many qubits":
        circuit.probability()
    task = device.run(circuit, shots=0)
    assert job_types(task) == [JobType.JOB_TYPE_RUNNER]
    for one, other in zip(task.result().values, LOCAL.run(circuit, shots=0).result().values, strict=True):
        assert one == pytest.approx(other)


@pytest.mark.parametrize("name", ["AWS/local_simulator", "IBM/aer_simulator", "GOOGLE/cirq_simulator"])
def test_gradients_are_the_derivatives_of_the_expectation(client: Client, name: str) -> None:
    circuit = turned().adjoint_gradient(OBSERVABLE, parameters=[TURN, TWIST]).expectation(Observable.Z(), 3)
    result = QonduitDevice(name, client).run(circuit, shots=0, inputs=POINT).result()
    found, other = result.values
    assert found["expectation"] == pytest.approx(value_of(turned(), POINT))
    assert found["gradient"] == pytest.approx(derivatives_of(turned(), POINT), abs=1e-7)
    plain = LOCAL.run(turned().expectation(Observable.Z(), 3), shots=0, inputs=POINT).result()
    assert other == pytest.approx(plain.values[0])
    asked = result.result_types[0].type
    assert (asked.type, asked.parameters) == ("adjoint_gradient", ["turn", "twist"])
    assert asked.targets == [[0, 3], [3], [0], [3], [3, 0]]


def test_gradients_of_noisy_programs(client: Client) -> None:
    noisy = turned().depolarizing(0, 0.1).amplitude_damping(3, 0.3).rx(3, TURN)
    result = (
        QonduitDevice("IBM/aer_simulator", client).run(noisy.copy().adjoint_gradient(OBSERVABLE), 0, POINT).result()
    )
    assert result.values[0]["expectation"] == pytest.approx(value_of(noisy, POINT))
    assert result.values[0]["gradient"] == pytest.approx(derivatives_of(noisy, POINT), abs=1e-6)


def test_gradients_by_some_inputs(device: QonduitDevice) -> None:
    circuit = turned().adjoint_gradient(OBSERVABLE, parameters=[TWIST]).adjoint_gradient(Z(0) @ X(3), parameters=[TURN])
    one, other = device.run(circuit, 0, POINT).result().values
    assert one["gradient"] == pytest.approx({"twist": derivatives_of(turned(), POINT)["twist"]}, abs=1e-7)
    assert list(other["gradient"]) == ["turn"]
    source = (
        "OPENQASM 3.0; input float a; input float unused; qubit q; ry(a) q;\n#pragma braket result adjoint_gradient "
    )
    text = Program(source=source + "expectation(-x(q) +.5*z(q)-  2e-1 * h(q) + -1*i(q)) all", inputs={"unused": 1.0})
    (value,) = device.run(text, inputs={"a": 0.4}).result().values
    x, z, h = np.sin(0.4), np.cos(0.4), np.sqrt(0.5) * (np.sin(0.4) + np.cos(0.4))
    assert value["expectation"] == pytest.approx(-x + 0.5 * z - 0.2 * h - 1)
    wanted = -z - 0.5 * x - 0.2 * np.sqrt(0.5) * (np.cos(0.4) - np.sin(0.4))
    assert value["gradient"] == pytest.approx({"a": wanted, "unused": 0.0})
    bound = Circuit().ry(0, 0.4).adjoint_gradient(Observable.X())
    (value,) = device.run(bound).result().values
    assert value == {"expectation": pytest.approx(x), "gradient": {}}


def test_gradients_at_several_points_are_one_job_that_is_found_again(client: Client, device: QonduitDevice) -> None:
    circuit = turned().adjoint_gradient(OBSERVABLE)
    points = [{"turn": each, "twist": np.float64(1 - each)} for each in (0.1, 0.2, 0.3)]
    batch = device.run_batch(circuit, shots=0, inputs=points)
    assert len({handle.id for task in batch.tasks for handle in task.jobs}) == 1
    again = QonduitDevice("AWS/local_simulator", client.target)
    for task, point in zip(batch.tasks, points, strict=True):
        (value,) = task.result().values
        assert value["gradient"] == pytest.approx(derivatives_of(turned(), point), abs=1e-7)
        found = again.task(task.id).result()
        assert found.values == task.result().values
        assert found.additional_metadata == task.result().additional_metadata
        assert [each.type for each in found.result_types] == [each.type for each in task.result().result_types]


def openqasm(gradient: str) -> Program:
    source = "OPENQASM 3.0; input float a; qubit[2] q; h q[1]; rx(a) q[0];\n#pragma braket result adjoint_gradient "
    return Program(source=source + gradient, inputs={"a": 0.1})


WRONG: dict[str, tuple[Any, int, type[Exception], str]] = {
    "shots": (openqasm("expectation(z(q[0])) all"), 10, TypeError, "use shots=0"),
    "an unknown input": (openqasm("expectation(z(q[0])) b"), 0, ValueError, "'b' is no input float"),
    "no value": (turned().adjoint_gradient(OBSERVABLE), 0, NameError, "Missing input"),
    "no observable": (openqasm("z(q[0]) all"), 0, ValueError, "expected adjoint_gradient expectation"),
    "all qubits": (openqasm("expectation(z all) all"), 0, ValueError, "requires an observable with targets"),
    "a state beside it": (
        openqasm("expectation(z(q[0])) all\n#pragma braket result state_vector"), 0, TypeError, "statevector is not"
    ),
    "a root": (
        Program(
            source="OPENQASM 3.0; input float a; qubit q; pow(0.5) @ rx(a) q;\n"
            "#pragma braket result adjoint_gradient expectation(z(q)) all",
            inputs={"a": 0.1},
        ), 0, ValueError, "a root of rx"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_gradients_are_refused(device: QonduitDevice, name: str) -> None:
    program, shots, kind, message = WRONG[name]
    with pytest.raises(kind, match=message):
        device.run(program, shots)


def test_devices_list_gradients_if_they_have_them(client: Client) -> None:
    for name, exact in (("IBM/aer_simulator", True), ("AWS/braket_dm", False)):
        action = QonduitDevice(name, client).properties.action["braket.ir.openqasm.program"]
        assert ("AdjointGradient" in {each.name for each in action.supportedResultTypes}) is exact
        assert ("braket_result_type_adjoint_gradient" in action.supportedPragmas) is exact
