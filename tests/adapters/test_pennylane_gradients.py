# SPDX-License-Identifier: Apache-2.0
"""Gradients that a server computes for the PennyLane device "qonduit", beside those of "default.qubit"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pennylane as qml
import pytest
from pennylane import numpy as pnp
from pennylane.exceptions import DeviceError, QuantumFunctionError

from qonduit_client import Client


@pytest.fixture
def device(client: Client) -> Callable[..., Any]:
    """Makes devices."""

    def make(wires: Any = None, **options: Any) -> Any:
        return qml.device("qonduit", wires=wires, client=client, **{"seed": 7, **options})

    return make


def point(number: int) -> Any:
    return pnp.array(np.random.default_rng(5).uniform(-2, 2, number), requires_grad=True)


def layers(angles: Any) -> None:
    for place, angle in enumerate(angles):
        qml.RY(angle, place % 4)
        qml.CNOT([place % 4, (place + 1) % 4])


def energy(angles: Any) -> Any:
    layers(angles)
    return qml.expval(0.5 * qml.Z(0) @ qml.Z(2) - 1.5 * qml.X(1) + 0.25 * qml.Y(3) @ qml.X(0))


@pytest.mark.parametrize("method", ["adjoint", "device", "best"])
@pytest.mark.parametrize("target", ["IBM/aer_simulator", "GOOGLE/cirq_simulator", "AWS/local_simulator"])
def test_a_gradient_is_one_job(device: Any, client: Client, method: str, target: str) -> None:
    own = device(4, device=target)
    before = next(iter(client.jobs(limit=1)), None)
    found = qml.grad(qml.QNode(energy, own, diff_method=method))(point(12))
    wanted = qml.grad(qml.QNode(energy, qml.device("default.qubit"), diff_method="backprop"))(point(12))
    assert np.allclose(found, wanted, rtol=0, atol=1e-9)
    assert len([job for job in client.jobs(limit=5) if before is None or job.id > before.id]) == 1


def every_gate(x: Any) -> Any:
    for wire in range(4):
        qml.Hadamard(wire)
        qml.RZ(0.3 * wire + 0.1, wire)
    qml.RX(x[0], 0)
    qml.RY(x[1] * 2 + x[0], 1)
    qml.RZ(x[2], 2)
    qml.PhaseShift(x[3], 3)
    qml.U1(x[4], 0)
    qml.U3(x[5], x[6], x[7], 1)
    qml.Rot(x[8], x[9], x[10], 2)
    qml.CRX(x[11], [0, 1])
    qml.CRY(x[12], [1, 2])
    qml.CRZ(x[13], [2, 3])
    qml.ControlledPhaseShift(x[14], [3, 0])
    qml.IsingXX(x[15], [0, 2])
    qml.IsingYY(x[16], [1, 3])
    qml.IsingZZ(x[17], [0, 3])
    qml.ctrl(qml.RX(x[18], 0), [1, 2], control_values=[0, 1])
    qml.ctrl(qml.GlobalPhase(x[19]), 2)
    qml.GlobalPhase(x[20])
    qml.PauliRot(x[21], "XYZ", [0, 1, 3])
    qml.SingleExcitation(x[22], [1, 2])
    qml.MultiRZ(x[23], [0, 1, 2])
    return qml.expval(qml.X(0) @ qml.Y(1)), qml.expval(qml.Z(2) + 0.3 * qml.X(3)), qml.expval(qml.Y(0))


def test_every_gate_is_differentiated(device: Any) -> None:
    def stacked(qnode: Any) -> Any:
        return lambda x: pnp.stack(qnode(x))

    found = qml.jacobian(stacked(qml.QNode(every_gate, device(4), diff_method="adjoint")))(point(24))
    wanted = qml.jacobian(stacked(qml.QNode(every_gate, qml.device("default.qubit"))))(point(24))
    assert found.shape == wanted.shape == (3, 24)
    assert np.allclose(found, wanted, rtol=0, atol=1e-9)


def test_results_of_one_parameter_and_of_batches_have_pennylanes_shapes(device: Any) -> None:
    def cost(x: Any, y: Any) -> Any:
        qml.RX(x, 0)
        qml.RY(y, 1)
        qml.CNOT([0, 1])
        return qml.expval(qml.Z(1))

    x, y = pnp.array(0.4, requires_grad=True), pnp.array([0.1, 0.9, 2.0], requires_grad=True)
    ours, theirs = (
        qml.QNode(cost, own, diff_method=method)
        for own, method in ((device(2), "adjoint"), (qml.device("default.qubit"), "backprop"))
    )
    assert np.allclose(qml.grad(ours, argnums=0)(x, 0.3), qml.grad(theirs, argnums=0)(x, 0.3), atol=1e-9)
    for found, wanted in zip(qml.jacobian(ours)(x, y), qml.jacobian(theirs)(x, y), strict=True):
        assert found.shape == wanted.shape
        assert np.allclose(found, wanted, rtol=0, atol=1e-9)


def test_second_derivatives_are_by_parameter_shift(device: Any) -> None:
    ours = qml.QNode(energy, device(4), diff_method="best", max_diff=2)
    theirs = qml.QNode(energy, qml.device("default.qubit"), diff_method="parameter-shift", max_diff=2)
    found, wanted = (qml.jacobian(qml.grad(each))(point(3)) for each in (ours, theirs))
    assert np.allclose(found, wanted, rtol=0, atol=1e-9)


def test_gradients_that_the_server_lacks_are_refused_or_pennylanes(device: Any) -> None:
    def probabilities(x: Any) -> Any:
        layers(x)
        return qml.probs(wires=[0])

    with pytest.raises(QuantumFunctionError, match="does not support adjoint"):
        qml.QNode(probabilities, device(4), diff_method="adjoint")(point(2))
    with pytest.raises(QuantumFunctionError, match="does not support adjoint"):
        qml.set_shots(qml.QNode(energy, device(4), diff_method="adjoint"), 100)(point(2))
    with pytest.raises(QuantumFunctionError, match="does not support adjoint"):
        qml.QNode(energy, device(4, device="STIM/stim"), diff_method="adjoint")(point(2))
    own = qml.jacobian(qml.QNode(probabilities, device(4), diff_method="best"))(point(2))
    assert np.allclose(own, qml.jacobian(qml.QNode(probabilities, qml.device("default.qubit")))(point(2)), atol=1e-9)
    matrix = qml.tape.QuantumScript([qml.QubitUnitary(np.eye(4), [0, 1])], [qml.expval(qml.Z(0))], trainable_params=[0])
    with pytest.raises(DeviceError, match=r"QubitUnitary.*parameter-shift"):
        device(2).compute_derivatives(matrix)


def test_points_of_one_circuit_are_one_program(device: Any, client: Client) -> None:
    tapes = [
        qml.tape.QuantumScript([qml.RX(x, 0), qml.RY(0.3, 1)], [qml.probs(wires=[0, 1])], shots=4000)
        for x in np.linspace(0, 3, 7)
    ]
    found = device(2).execute(tapes)
    (job,) = client.jobs(limit=1)
    assert [run.points for run in job.program_runs] == [7]
    for own, wanted in zip(
        found, qml.device("default.qubit").execute([each.copy(shots=None) for each in tapes]), strict=True
    ):
        assert np.abs(own - wanted).max() < 6 * 0.5 / np.sqrt(4000)
