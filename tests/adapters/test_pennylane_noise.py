# SPDX-License-Identifier: Apache-2.0
"""Noise through the PennyLane device "qonduit", compared with "default.mixed"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pennylane as qml
import pytest
from pennylane.exceptions import DeviceError

from qonduit_client import Client

SHOTS = 20_000
#: Not symmetric in its wires: damps the first if the second is 1.
CONTROLLED = [
    np.diag([1, 1, 1, np.sqrt(0.3)]),
    np.array([[0, 0, 0, 0], [0, 0, 0, np.sqrt(0.7)], [0, 0, 0, 0], [0, 0, 0, 0]]),
]
#: Has coherences, and is not symmetric in its wires.
PREPARED = np.diag([0.4, 0.3, 0.2, 0.1]) + 0.05 * (np.eye(4, k=1) * 1j - np.eye(4, k=-1) * 1j)
WIRES = ["a", 3, "z"]


@pytest.fixture
def device(client: Client) -> Callable[..., Any]:
    """Makes devices."""

    def make(target: str = "IBM/aer_simulator", **options: Any) -> Any:
        return qml.device("qonduit", device=target, client=client, **{"wires": WIRES, "seed": 7, **options})

    return make


def mixed() -> Any:
    return qml.device("default.mixed", wires=WIRES)


def turned() -> None:
    for number, wire in enumerate(WIRES):
        qml.RY(0.5 + 0.6 * number, wire)
    qml.CNOT(["a", "z"])
    qml.CRX(0.8, ["z", 3])


CHANNELS: dict[str, Callable[[], Any]] = {
    "bit flip": lambda: qml.BitFlip(0.2, 3),
    "phase flip": lambda: qml.PhaseFlip(0.2, "a"),
    "depolarizing": lambda: qml.DepolarizingChannel(0.3, "z"),
    "amplitude damping": lambda: qml.AmplitudeDamping(0.3, "z"),
    "generalized amplitude damping": lambda: qml.GeneralizedAmplitudeDamping(0.3, 0.2, "z"),
    "phase damping": lambda: qml.PhaseDamping(0.3, 3),
    "Pauli error": lambda: qml.PauliError("Y", 0.2, 3),
    "Pauli errors of three wires": lambda: qml.PauliError("XYZ", 0.2, ["z", "a", 3]),
    "reset": lambda: qml.ResetError(0.1, 0.3, "a"),
    "thermal relaxation": lambda: qml.ThermalRelaxationError(0.2, 1.2, 1.3, 0.6, 3),
    "thermal relaxation that dephases slowly": lambda: qml.ThermalRelaxationError(0.2, 1.0, 1.7, 0.6, 3),
    "Kraus operators": lambda: qml.QubitChannel(CONTROLLED, ["z", "a"]),
    "a density matrix": lambda: qml.QubitDensityMatrix(PREPARED, ["z", 3]),
    "Kraus operators in the other order of wires": lambda: qml.QubitChannel(CONTROLLED, ["a", "z"]),
}


def noisy(apply: Callable[[], Any], measured: Callable[[], Any]) -> Callable[[], Any]:
    """A circuit in which a channel acts, and changes what the gates behind it make visible."""

    def circuit() -> Any:
        turned()
        apply()
        qml.CRY(0.7, [3, "a"])
        qml.Hadamard("z")
        qml.RX(0.4, 3)
        return measured()

    return circuit


@pytest.mark.parametrize("name", CHANNELS)
def test_exact_results_are_those_of_default_mixed(name: str, device: Any) -> None:
    def measured() -> Any:
        return qml.density_matrix(WIRES), qml.expval(qml.Z("a") @ qml.X(3)), qml.vn_entropy("z")

    ours, theirs = (qml.QNode(noisy(CHANNELS[name], measured), each)() for each in (device(), mixed()))
    clean = qml.QNode(noisy(lambda: None, measured), mixed())()
    assert not np.allclose(clean[0], theirs[0], atol=0.01)
    for one, other in zip(ours, theirs, strict=True):
        assert np.shape(one) == np.shape(other)
        assert np.allclose(one, other, rtol=0, atol=1e-7)


@pytest.mark.parametrize("probability", [0.0, 0.2, 1.0])
def test_the_state_of_a_circuit_with_channels_is_a_density_matrix(probability: float, device: Any) -> None:
    circuit = noisy(lambda: qml.BitFlip(probability, 3), qml.state)
    ours, theirs = (qml.QNode(circuit, each)() for each in (device(), mixed()))
    assert ours.shape == theirs.shape == (8, 8)
    assert np.allclose(ours, theirs, rtol=0, atol=1e-7)


def test_samples_have_the_distribution_of_default_mixed_with_every_channel(device: Any) -> None:
    def apply() -> None:
        for channel in CHANNELS.values():
            channel()
            turned()

    circuit = noisy(apply, lambda: qml.probs(wires=WIRES))
    exact = qml.QNode(circuit, mixed())()
    clean = qml.QNode(noisy(lambda: [turned() for _ in CHANNELS], lambda: qml.probs(wires=WIRES)), mixed())()
    assert np.abs(clean - exact).sum() / 2 > 0.1
    for target in ("IBM/aer_simulator", "AWS/braket_dm", "GOOGLE/cirq_density_matrix"):
        found = qml.set_shots(qml.QNode(circuit, device(target)), SHOTS)()
        assert np.abs(found - exact).sum() / 2 < 0.03, target


def test_pauli_channels_run_on_a_stabilizer_simulator(device: Any) -> None:
    def circuit() -> Any:
        qml.Hadamard("a")
        qml.CNOT(["a", "z"])
        qml.BitFlip(1.0, "a")
        qml.PauliError("Z", 1.0, "z")
        qml.PauliError("XX", 1.0, [3, "a"])
        qml.CNOT(["a", "z"])
        qml.Hadamard("a")
        return qml.counts()

    assert qml.set_shots(qml.QNode(circuit, device("STIM/stim")), 10)() == {"110": 10}


def test_noise_models_and_gradients_of_pennylane_work(device: Any) -> None:
    model = qml.NoiseModel({qml.noise.op_eq(qml.RY): qml.noise.partial_wires(qml.AmplitudeDamping, 0.3)})

    def cost(angle: Any) -> Any:
        qml.RY(angle, "a")
        qml.CNOT(["a", "z"])
        return qml.expval(qml.Z("z"))

    angle = qml.numpy.array(0.9, requires_grad=True)
    ours, theirs = (
        qml.add_noise(qml.QNode(cost, each, diff_method="parameter-shift"), model) for each in (device(), mixed())
    )
    assert ours(angle) == pytest.approx(theirs(angle), abs=1e-7)
    assert qml.grad(ours)(angle) == pytest.approx(qml.grad(theirs)(angle), abs=1e-7)


def test_a_channel_acts_beside_measurements_and_conditions(device: Any) -> None:
    def circuit() -> Any:
        qml.X("a")
        qml.AmplitudeDamping(0.3, "a")
        measured = qml.measure("a")
        qml.cond(measured, qml.X)(3)
        qml.BitFlip(1.0, "z")
        return qml.expval(qml.Z(3)), qml.expval(qml.Z("z")), qml.expval(measured)

    assert np.allclose(qml.QNode(circuit, device(wires=None))(), [-0.4, -1, 0.7], rtol=0, atol=1e-7)
    found = qml.set_shots(qml.QNode(circuit, device()), SHOTS)()
    assert np.allclose(found, [-0.4, -1, 0.7], rtol=0, atol=0.05)


def read() -> Any:
    qml.RY(0.7, "a")
    qml.CNOT(["a", "z"])
    return (
        qml.expval(qml.Z("a")),
        qml.expval(2 * qml.X("a") @ qml.X("z") + 0.5 * qml.Z(3)),
        qml.var(qml.Z("a")),
        qml.probs(wires=["z", 3]),
    )


def test_readout_errors_flip_what_is_measured(device: Any) -> None:
    """Computed by hand: the argument of the same name fails in default.mixed of PennyLane 0.45."""
    kept, one = 1 - 2 * 0.1, np.sin(0.35) ** 2
    mean = kept * np.cos(0.7)
    flipped = np.kron([0.9 - 0.8 * one, 0.1 + 0.8 * one], [0.9, 0.1])
    expected = mean, 2 * kept**2 * np.sin(0.7) + 0.5 * kept, 1 - mean**2, flipped
    exact = qml.QNode(read, device(readout_prob=0.1))()
    sampled = qml.set_shots(qml.QNode(read, device(readout_prob=0.1)), SHOTS)()
    for value, estimate, right in zip(exact, sampled, expected, strict=True):
        assert np.allclose(value, right, rtol=0, atol=1e-7)
        assert np.allclose(estimate, right, rtol=0, atol=0.08)
    always = qml.set_shots(qml.QNode(lambda: qml.counts(), device(readout_prob=1)), 10)()
    assert always == {"111": 10}


def test_a_method_is_chosen_by_simulation(device: Any) -> None:
    with pytest.raises(DeviceError, match="abacus"):
        qml.set_shots(qml.QNode(lambda: qml.counts(), device(simulation={"method": "abacus"})), 10)()
    method = {"method": "matrix_product_state"}
    assert qml.set_shots(qml.QNode(lambda: qml.counts(), device(simulation=method)), 10)() == {"000": 10}


def test_what_does_not_work_is_refused_with_a_reason(device: Any) -> None:
    circuit = noisy(CHANNELS["bit flip"], lambda: qml.expval(qml.Z("a")))
    with pytest.raises(DeviceError, match="IBM/aer_simulator"):  # a device that has noise
        qml.set_shots(qml.QNode(circuit, device("AWS/local_simulator")), 10)()
    with pytest.raises(DeviceError, match=r"does not support statevectors; compatible devices: .*: use shots"):
        qml.QNode(circuit, device("AWS/braket_dm"))()

    def often() -> Any:
        for _ in range(60):
            qml.DepolarizingChannel(0.1, "a")
        return qml.expval(qml.Z("a"))

    with pytest.raises(DeviceError, match=r"channels take qubits of the exact state \(here 120\): use shots"):
        qml.QNode(often, device())()

    def conditional() -> Any:
        qml.cond(qml.measure("a"), qml.BitFlip)(0.1, 3)
        return qml.expval(qml.Z(3))

    with pytest.raises(DeviceError, match="does not support BitFlip under a condition"):
        qml.set_shots(qml.QNode(conditional, device()), 10)()
    with pytest.raises(ValueError, match="readout_prob must be a number from 0 to 1, got 2"):
        device(readout_prob=2)
    with pytest.raises(DeviceError, match="not supported with readout_prob"):
        qml.set_shots(qml.QNode(read, device(readout_prob=0.1), mcm_method="one-shot"), 10)()
    sparse = qml.SparseHamiltonian(qml.Z("a").sparse_matrix(), wires=["a"])
    with pytest.raises(DeviceError, match="readout_prob needs an observable"):
        qml.QNode(lambda: qml.expval(sparse), device(readout_prob=0.1))()
