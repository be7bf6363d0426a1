# SPDX-License-Identifier: Apache-2.0
"""Estimators, samplers and parameter values of both clients with a real server."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import cirq
import numpy as np
import pennylane as qml
import pytest
from braket.circuits import Circuit
from braket.circuits import observables as braket_observables
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.quantum_info import SparsePauliOp

from qonduit_client import Client, InvalidRequest, JobFailed, PreconditionFailed, QonduitError
from qonduit_client.estimates import rows_of
from tests.both_clients import BOTH_CLIENTS
from tests.server_process import Server

WAIT = 100.0
TURN = (
    'OPENQASM 3;\ninclude "stdgates.inc";\ninput float theta;\nqubit[2] q;\nbit[2] c;\n'
    "ry(theta) q[0];\nc = measure q;\n"
)
ARRAY = 'OPENQASM 3;\ninclude "stdgates.inc";\ninput array[float, 2] t;\nqubit[2] q;\nry(t[0]) q[0];\nry(t[1]) q[1];\n'
#: Two registers; b is declared last.
TWO = (
    'OPENQASM 3;\ninclude "stdgates.inc";\nqubit[11] q;\nbit[1] a;\nbit[10] b;\nx q[1];\nx q[10];\nh q[0];\n'
    "cx q[0], q[2];\na[0] = measure q[0];\nb = measure q[1:10];\n"
)
WIDE = (
    'OPENQASM 3;\ninclude "stdgates.inc";\nqubit[14] q;\nbit[3] a;\nbit[11] b;\nh q;\n'
    "a = measure q[0:2];\nb = measure q[3:13];\n"
)
ANGLES = np.linspace(0, 3, 7)


@pytest.fixture(params=BOTH_CLIENTS)
def client(server: Server, request: pytest.FixtureRequest) -> Iterator[Client]:
    """A client of the session's server: the waiting one, and the one for asyncio."""
    with BOTH_CLIENTS[request.param](server.target) as connected:
        yield connected


@pytest.fixture
def waiting(server: Server) -> Iterator[Client]:
    """The blocking client."""
    with Client(server.target) as connected:
        yield connected


def test_exact_values_have_no_error_and_no_axis_of_points(client: Client) -> None:
    found = client.estimate(TURN, ["Z0", "X0*Z1 - 0.5"], inputs={"theta": 0.7}, exact=True, timeout=WAIT)
    np.testing.assert_allclose(found.values, [np.cos(0.7), np.sin(0.7) - 0.5], atol=1e-12)
    assert found.exact
    assert found.values.shape == found.shots.shape == found.bounded.shape == (2,)
    np.testing.assert_array_equal(found.standard_errors, [0, 0])
    np.testing.assert_array_equal(found.shots, [0, 0])
    np.testing.assert_allclose(found.variances, [np.sin(0.7) ** 2, np.cos(0.7) ** 2], atol=1e-12)
    assert found.gradients is None
    assert found.term_values is None


def test_points_gradients_and_terms_have_their_axes(client: Client) -> None:
    job = client.submit_estimate(
        *(TURN, ["Z0", "2*X0 + 3*Z0*Z1", "Z1"]),
        parameter_values={"theta": ANGLES},
        exact=True,
        gradient=True,
        per_term=True,
    )
    found = job.estimate(WAIT)
    assert found.values.shape == (7, 3)
    assert found.confidence_intervals.shape == (7, 3, 2)
    np.testing.assert_allclose(found.values[:, 1], 2 * np.sin(ANGLES) + 3 * np.cos(ANGLES), atol=1e-12)
    assert found.gradients is not None
    assert found.gradients.shape == (7, 3, 1)
    assert found.parameters == ("theta",)
    np.testing.assert_allclose(found.gradients[:, 0, 0], -np.sin(ANGLES), atol=1e-9)
    assert found.term_values is not None
    assert [each.shape for each in found.term_values] == [(7, 1), (7, 2), (7, 1)]
    np.testing.assert_allclose(found.term_values[1], np.stack([np.sin(ANGLES), np.cos(ANGLES)], axis=1), atol=1e-12)
    # Another process has only the id.
    again = client.job(job.id).estimate(WAIT)
    np.testing.assert_array_equal(again.values, found.values)
    assert again.job_id == job.id
    assert job.parameter_sets().names == ["theta"]
    np.testing.assert_array_equal(job.parameter_sets().values, ANGLES)


def test_sampled_values_reach_their_precision(waiting: Client) -> None:
    found = waiting.estimate(
        *(TURN, {"X0": 2, "Z0": 1}), parameter_values={"theta": 0.4}, precision=0.05, seed=3, timeout=WAIT
    )
    assert found.values.shape == (1, 1)
    assert not found.exact
    assert 0 < found.standard_errors[0, 0] <= 0.051
    assert found.shots[0, 0] > 0
    low, high = found.confidence_intervals[0, 0]
    assert low < found.values[0, 0] < high
    assert abs(found.values[0, 0] - 2 * np.sin(0.4) - np.cos(0.4)) < 6 * found.standard_errors[0, 0]
    assert found.confidence_level == 0.95


def test_shots_are_a_thousand_by_default(waiting: Client) -> None:
    found = waiting.estimate(TURN, "Z0", inputs={"theta": 0.4}, seed=1, timeout=WAIT)
    assert found.shots.tolist() == [1000]


def test_several_programs_have_an_estimate_each(client: Client) -> None:
    job = client.submit_estimate([TURN, TURN], "Z0", parameter_values={"theta": [0.0, np.pi]}, exact=True)
    first, second = job.estimates(WAIT)
    np.testing.assert_allclose(first.values, [[1], [-1]], atol=1e-12)
    np.testing.assert_array_equal(first.values, second.values)
    assert first.program_id != second.program_id
    with pytest.raises(ValueError, match="2 results"):
        job.estimate()


def test_arrays_take_a_row_for_each_point(waiting: Client) -> None:
    values = np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]])
    found = waiting.estimate(ARRAY, ["Z0", "Z1"], parameter_values={"t": values}, exact=True, timeout=WAIT)
    np.testing.assert_allclose(found.values, np.cos(values), atol=1e-12)


def test_observables_of_sdks_act_on_the_qubits_of_their_circuits(waiting: Client) -> None:
    theta, phi = Parameter("theta"), 0.3
    circuit = QuantumCircuit(3)
    circuit.ry(theta, 0)
    circuit.rx(phi, 2)
    own = waiting.estimate(
        *(circuit, SparsePauliOp(["IIX", "YII", "IZI"], [1, 2, 4])), parameter_values={theta: [0.5]}, exact=True
    )
    expected = np.sin(0.5) - 2 * np.sin(phi) + 4
    np.testing.assert_allclose(own.values, [[expected]], atol=1e-12)

    a, b = cirq.NamedQubit("a"), cirq.NamedQubit("b")
    program = cirq.Circuit(cirq.ry(0.5)(b), cirq.rx(phi)(a))
    observable = cirq.X(b) + 2 * cirq.Y(a)
    np.testing.assert_allclose(
        waiting.estimate(program, observable, exact=True).values, [np.sin(0.5) - 2 * np.sin(phi)], atol=1e-6
    )

    braket = Circuit().ry(1, 0.5).rx(3, phi)
    sums = braket_observables.X(1) @ braket_observables.Z(3) + 2 * braket_observables.Y(3)
    np.testing.assert_allclose(
        waiting.estimate(braket, sums, exact=True).values, [np.sin(0.5) * np.cos(phi) - 2 * np.sin(phi)], atol=1e-12
    )

    operator = qml.X("b") + 2 * qml.Y("a")
    tape = qml.tape.QuantumScript([qml.RY(0.5, "b"), qml.RX(phi, "a")], [qml.expval(operator)])
    np.testing.assert_allclose(
        waiting.estimate(tape, operator, exact=True).values, [np.sin(0.5) - 2 * np.sin(phi)], atol=1e-12
    )


def test_large_estimates_are_read_from_their_buffer(client: Client) -> None:
    points = np.linspace(0, 1, 2000)
    job = client.submit_estimate(
        *(TURN, ["Z0", "X0", "Z1"]),
        parameter_values=(["theta"], points[:, None]),
        exact=True,
        gradient=True,
        per_term=True,
    )
    found = job.estimate(WAIT)
    (result,) = job.results()
    assert result.buffer is not None
    np.testing.assert_allclose(
        found.values, np.stack([np.cos(points), np.sin(points), np.ones(2000)], axis=1), atol=1e-12
    )
    assert found.gradients is not None
    np.testing.assert_allclose(found.gradients[:, 1, 0], np.cos(points), atol=1e-9)
    assert found.values.dtype == np.float64
    assert found.values.dtype.isnative
    assert found.term_values is not None
    np.testing.assert_allclose(found.term_values[0][:, 0], found.values[:, 0], atol=1e-12)
    rows = list(rows_of(pickle.loads(pickle.dumps(result))))  # noqa: S301 - its own data
    assert [row.value for row in rows] == found.values.reshape(-1).tolist()
    assert (rows[-1].point, rows[-1].observable, rows[-1].gradient) == (1999, 2, (0.0,))
    assert len(job.parameter_sets().values) == 2000


def test_rows_without_a_buffer_have_the_same_form(waiting: Client) -> None:
    job = waiting.submit_estimate(TURN, ["Z0", "X0"], parameter_values={"theta": [0, 1]}, exact=True, gradient=True)
    (result,) = job.results(WAIT)
    assert result.buffer is None
    rows = list(rows_of(result))
    assert [(row.point, row.observable) for row in rows] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    np.testing.assert_allclose([row.gradient[0] for row in rows], [0, 1, -np.sin(1), np.cos(1)], atol=1e-9)
    assert repr(result) == f"<Result {result.id} of job {job.id}: estimates of 2 observables at 2 points>"


def test_a_sample_has_probabilities_by_register(client: Client) -> None:
    found = client.sample(TWO, exact=True, timeout=WAIT)
    assert found.exact
    assert found.shots == 0
    assert found.registers == [("b", 10), ("a", 1)]
    assert found.quasi_probabilities == pytest.approx({"0x201 0x0": 0.5, "0x203 0x1": 0.5})
    assert found.by_register == {
        "b": pytest.approx({"0x201": 0.5, "0x203": 0.5}),
        "a": pytest.approx({"0x0": 0.5, "0x1": 0.5}),
    }
    assert found.outcomes is None
    assert found.bits is None
    with pytest.raises(QonduitError, match="no estimates"):
        client.job(found.job_id).estimate()


def test_shots_come_in_their_order(client: Client) -> None:
    found = client.sample(TWO, shots=300, per_shot=True, seed=2, timeout=WAIT)
    outcomes = found.outcomes
    assert outcomes is not None
    assert outcomes.dtype == np.uint16
    assert outcomes.shape == (300, 2)
    assert set(map(tuple, outcomes.tolist())) == {(0x201, 0), (0x203, 1)}
    assert list(found.rows()) == list(map(tuple, outcomes.tolist()))
    assert not np.array_equal(outcomes, np.sort(outcomes, axis=0))
    bits = found.bits
    assert bits is not None
    assert {name: each.shape for name, each in bits.items()} == {"b": (300, 10), "a": (300, 1)}
    np.testing.assert_array_equal(bits["b"] @ (1 << np.arange(10)), outcomes[:, 0])
    assert found.quasi_probabilities["0x203 0x1"] == pytest.approx(np.mean(outcomes[:, 1]))
    again = client.sample(TWO, shots=300, per_shot=True, seed=2, timeout=WAIT)
    np.testing.assert_array_equal(again.outcomes, outcomes)


def test_a_sample_of_many_points_is_a_list(client: Client) -> None:
    found = client.sample(TURN, parameter_values={"theta": [0, np.pi]}, shots=50, timeout=WAIT)
    assert [each.quasi_probabilities for each in found] == [{"0x0": 1.0}, {"0x1": 1.0}]
    assert [each.point for each in found] == [0, 1]


def test_large_samples_are_read_from_their_buffer(client: Client) -> None:
    exact = client.sample(WIDE, exact=True, timeout=WAIT)
    assert exact.result.buffer is not None
    assert len(exact.quasi_probabilities) == 2**14
    assert sum(exact.quasi_probabilities.values()) == pytest.approx(1)
    assert exact.by_register["a"] == pytest.approx({hex(number): 1 / 8 for number in range(8)})
    assert exact.outcomes is None
    shots = client.sample(WIDE, shots=300_000, per_shot=True, seed=4, timeout=WAIT)
    assert shots.result.buffer is not None
    outcomes = shots.outcomes
    assert outcomes is not None
    assert outcomes.shape == (300_000, 2)
    assert outcomes.max(axis=0).tolist() == [2**11 - 1, 7]
    numbers, counts = np.unique(outcomes[:, 0], return_counts=True)
    assert shots.by_register["b"][hex(numbers[5])] == pytest.approx(counts[5] / 300_000)
    copy = pickle.loads(pickle.dumps(shots.result))  # noqa: S301 - its own data
    assert copy.known_rows() == shots.result.known_rows()


def test_run_gives_one_result_a_point(client: Client) -> None:
    job = client.run([TURN, TURN], shots=20, parameter_values={"theta": [0, np.pi, 0]}, statevector=True)
    found = job.results(WAIT)
    assert [(each.point, each.counts) for each in found] == 2 * [(0, {"0x0": 20}), (1, {"0x1": 20}), (2, {"0x0": 20})]
    state = found[1].statevector
    assert state is not None
    np.testing.assert_allclose(np.abs(state), [0, 1, 0, 0], atol=1e-12)
    part = job.results(points=range(1, 3), program=1)
    assert [(each.id, each.point) for each in part] == [(each.id, each.point) for each in found[4:]]
    with pytest.raises(ValueError, match="consecutive points"):
        job.results(points=range(0, 3, 2))
    assert client.check(TURN, parameter_values={"theta": [0.1]}).compiled[0].num_qubits == 2


def test_labels_and_the_stop_condition_reach_the_job(client: Client) -> None:
    job = client.run(TURN, shots=1_000_000, inputs={"theta": 0.3}, labels={"project": "h2"}, stop_when=0.01)
    stored = job.job()
    assert dict(stored.labels) == {"project": "h2"}
    assert stored.stop_when.standard_error == 0.01
    result = job.result(WAIT)
    assert result.partial
    assert sum(result.counts.values()) == result.shots < 1_000_000
    with pytest.raises(TypeError, match="stop_when must be a standard error"):
        client.run(TURN, stop_when="soon")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"observables": "X0*"}, "job.estimator.observables[0]"),
        ({"observables": "X0", "precision": 0.0}, "job.estimator.precision"),
        ({"observables": "X0", "parameter_values": {"theta": [float("nan")]}}, "job.parameter_sets.values"),
        ({"observables": "X0", "exact": True, "precision": 0.1}, "job.estimator"),
    ],
)
def test_bad_input_is_refused_with_the_field(waiting: Client, options: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        waiting.estimate(TURN, options.pop("observables"), **options)
    assert any(each.field.startswith(field) for each in caught.value.violations), caught.value.violations


def test_checks_run_nothing(client: Client) -> None:
    checked = client.check_estimate(TURN, "Z0", parameter_values={"theta": [1, 2]}, exact=True)
    assert checked.job.id == 0
    assert checked.compiled[0].num_qubits == 2
    assert client.check_sample(TURN, inputs={"theta": 1}).compiled[0].circuits == 1
    with pytest.raises((InvalidRequest, PreconditionFailed), match="qubit"):
        client.check_estimate(TURN, "Z7", inputs={"theta": 1}, exact=True)


def test_a_qubit_that_the_program_lacks_fails_the_job(waiting: Client) -> None:
    with pytest.raises((JobFailed, InvalidRequest), match="qubit"):
        waiting.estimate(TURN, "X7", inputs={"theta": 1}, exact=True, timeout=WAIT)
