# SPDX-License-Identifier: Apache-2.0
"""The PennyLane device "qonduit" beside "default.qubit": the same values, shapes, types and errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pennylane as qml
import pytest
from numpy.typing import NDArray
from pennylane import numpy as pnp
from pennylane.exceptions import DeviceError, WireError
from pennylane.tape import QuantumScript
from scipy.sparse import csr_matrix
from scipy.stats import unitary_group

from qonduit_client import Client, JobFailed, NotFound, QonduitError
from tests.adapters.agreement import agree

IBM, AWS, GOOGLE = "IBM/aer_simulator", "AWS/local_simulator", "GOOGLE/cirq_simulator"
SHOTS = 2000
HERMITIAN = np.array([[1, 1j], [-1j, 0.3]])
SPARSE = csr_matrix([[0, 1.0], [1, 0]])
MATRICES: dict[int, NDArray[np.complex128]] = {n: unitary_group.rvs(2**n, random_state=n) for n in (1, 2, 3, 4)}


@pytest.fixture
def device(client: Client) -> Callable[..., Any]:
    """Makes devices."""

    def make(wires: Any = None, target: str = IBM, **options: Any) -> Any:
        return qml.device("qonduit", wires=wires, device=target, client=client, **{"seed": 7, **options})

    return make


def run(circuit: Callable[[], Any], device: Any, shots: Any = None, **options: Any) -> Any:
    """What a circuit gives on a device."""
    return qml.set_shots(qml.QNode(circuit, device, **options), shots)()


def same(ours: Any, theirs: Any, tolerance: float = 1e-9) -> None:
    """Of one structure, with arrays of the same shapes, types and values."""
    mine, structure = qml.pytrees.flatten(ours)
    others, expected = qml.pytrees.flatten(theirs)
    assert structure == expected
    for one, other in zip(mine, others, strict=True):
        one, other = np.asarray(one), np.asarray(other)
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        assert np.allclose(one, other, rtol=0, atol=tolerance, equal_nan=True)


def gates() -> Any:
    for wire in range(5):
        qml.RY(0.3 + wire, wire)
    for name in (qml.X, qml.Y, qml.Z, qml.H, qml.S, qml.T, qml.SX):
        name(0)
        qml.adjoint(name(1))
    for name in (qml.RX, qml.RZ, qml.PhaseShift, qml.U1):
        name(0.37, 2)
    qml.U2(0.1, 0.2, 1)
    qml.U3(0.1, 0.2, 0.3, 2)
    qml.Rot(0.1, 0.2, 0.3, 0)
    for name in (qml.CNOT, qml.CY, qml.CZ, qml.CH, qml.SWAP, qml.ISWAP, qml.ECR):
        name([0, 2])
    for name in (
        qml.CRX,
        qml.CRY,
        qml.CRZ,
        qml.ControlledPhaseShift,
        qml.IsingXX,
        qml.IsingYY,
        qml.IsingZZ,
        qml.IsingXY,
    ):
        name(0.37, wires=[1, 3])
    qml.Toffoli([0, 1, 2])
    qml.CSWAP([0, 1, 2])
    qml.MultiControlledX([0, 1, 2, 3, 4], control_values=[0, 1, 1, 0])
    qml.ctrl(qml.RX(0.3, 0), [1, 2], control_values=[0, 1])
    qml.ctrl(qml.GlobalPhase(0.3), [1, 2])
    qml.ctrl(qml.GlobalPhase(0.3), 1, control_values=[0])
    qml.GlobalPhase(0.7)
    qml.pow(qml.X(0), 0.3)
    qml.PauliRot(0.2, "XYZ", [0, 1, 2])
    return qml.state()


def matrices() -> Any:
    for wire in range(5):
        qml.RY(0.3 + wire, wire)
    for number, matrix in MATRICES.items():
        qml.QubitUnitary(matrix, wires=[3, 1, 0, 4, 2][:number])
    qml.ctrl(qml.QubitUnitary(MATRICES[1], 0), 1)
    qml.ctrl(qml.QubitUnitary(MATRICES[2], [0, 2]), [1, 3], control_values=[0, 1])
    qml.adjoint(qml.QubitUnitary(MATRICES[2], [0, 2]))
    qml.DiagonalQubitUnitary(np.exp(1j * np.arange(8)), [0, 1, 2])
    qml.BlockEncode([[0.1, 0.2], [0.3, 0.4]], [0, 1])
    return qml.state()


def templates() -> Any:
    qml.StatePrep(np.arange(1, 9) / np.linalg.norm(np.arange(1, 9)), wires=["a", "b", 3])
    qml.QFT(["a", 3, "b"])
    qml.GroverOperator(["a", "b", 3, "z"])
    qml.StronglyEntanglingLayers(np.arange(12).reshape(1, 4, 3) * 0.1, wires=["a", "b", 3, "z"])
    return qml.state()


def observables() -> Any:
    qml.RX(0.3, 0)
    qml.CRY(0.4, [0, 1])
    return (
        qml.expval(qml.X(0) @ qml.X(1) + 0.5 * qml.Z(0) - 1.5),
        qml.var(qml.Y(0)),
        qml.expval(qml.Hermitian(HERMITIAN, 0)),
        qml.var(qml.Hermitian(HERMITIAN, 0) @ qml.X(1)),
        qml.expval(qml.SparseHamiltonian(SPARSE, wires=[0])),
        qml.expval(qml.Projector([1], 0)),
        qml.probs(wires=[1, 0]),
        qml.probs(op=qml.X(1)),
        qml.vn_entropy(0),
        qml.mutual_info(0, 1),
        qml.purity(1),
        qml.density_matrix([1]),
    )


def nothing() -> Any:
    qml.Identity(0)
    qml.Barrier()
    qml.Snapshot()
    return qml.expval(qml.Identity(0)), qml.expval(qml.Z(3)), qml.probs(wires=1)


def phase() -> Any:
    qml.GlobalPhase(0.5)
    return qml.state()


def prepared() -> Any:
    qml.BasisState([1, 0, 1], wires=[2, 0, 1])
    return qml.probs()


def measured_midway() -> Any:
    qml.RX(0.7, 0)
    first = qml.measure(0)
    qml.cond(first, qml.RY)(0.7, 1)
    second = qml.measure(1, reset=True)
    qml.RX(0.3, 1)
    qml.cond(first + second == 1, qml.RX, qml.RY)(0.9, 2)
    return qml.probs(wires=[0, 1]), qml.expval(first), qml.probs(op=[first, second]), qml.expval(qml.X(1))


def postselected() -> Any:
    qml.RX(0.7, 0)
    qml.CNOT([0, 1])
    chosen = qml.measure(0, postselect=1, reset=True)
    qml.RX(0.3, 0)
    qml.cond(chosen, qml.RY)(0.7, 1)
    return qml.probs(wires=[0, 1]), qml.expval(qml.X(0))


@pytest.mark.parametrize("target", [IBM, AWS, GOOGLE])
@pytest.mark.parametrize("circuit", [gates, matrices, measured_midway])
def test_exact_states_with_their_phases(circuit: Any, target: str, device: Any) -> None:
    same(run(circuit, device(target=target)), run(circuit, qml.device("default.qubit")))


@pytest.mark.parametrize(
    ("circuit", "wires"),
    [
        (templates, None),
        (templates, ["z", 3, "a", "b", "idle"]),
        (observables, 3),
        (nothing, 5),
        (phase, None),
        (phase, 2),
        (prepared, None),
        (postselected, None),
    ],
)
def test_exact_results(circuit: Any, wires: Any, device: Any) -> None:
    same(run(circuit, device(wires)), run(circuit, qml.device("default.qubit", wires=wires)))


def sampled() -> Any:
    qml.RX(0.9, 0)
    qml.CRY(0.7, [0, "b"])
    qml.H(2)
    return (
        qml.expval(qml.X(0)),
        qml.expval(qml.Y(0)),
        qml.expval(qml.X(0) @ qml.Y("b") + 0.5 * qml.Z(2) - 1.5),
        qml.var(qml.X(0) + 2 * qml.Y(0)),
        qml.expval(qml.Hermitian(HERMITIAN, 0)),
        qml.expval(qml.X(0) @ qml.X(0) @ qml.Z(2)),
        qml.expval(qml.Identity(0)),
        qml.probs(wires=["b", 0]),
        qml.probs(wires=[0]),
        qml.shadow_expval(qml.Z(0), seed=5),
    )


def conditional() -> Any:
    qml.X(0)
    one, zero = qml.measure(0), qml.measure(1)
    qml.cond(one, qml.X)(2)
    qml.cond(zero, qml.X)(3)
    qml.cond(~one, qml.X, qml.Y)(4)
    qml.cond(one & ~zero, qml.X)(5)
    qml.cond(2 * one + zero == 1, qml.X)(6)
    return qml.counts(wires=[2, 3, 4, 5, 6])


def test_conditions_hold_where_they_should(device: Any) -> None:
    counts = run(conditional, device(target=IBM), 50)
    assert counts == run(conditional, qml.device("default.qubit"), 50) == {"10110": 50}


@pytest.mark.parametrize("circuit", [sampled, measured_midway])
@pytest.mark.parametrize(("target", "shots"), [(IBM, SHOTS), (AWS, [SHOTS, SHOTS]), (GOOGLE, SHOTS)])
def test_estimates(circuit: Any, target: str, shots: Any, device: Any) -> None:
    # The method that is exact in default.qubit samples the quickest there.
    reference = run(circuit, qml.device("default.qubit", seed=3), shots, mcm_method="deferred")
    same(run(circuit, device(target=target), shots), reference, tolerance=0.25)


def test_samples_and_counts_have_the_types_of_default_qubit(device: Any) -> None:
    def circuit() -> Any:
        qml.RX(0.9, 0)
        qml.CNOT([0, 1])
        return (
            qml.sample(),
            qml.sample(wires=1),
            qml.sample(qml.X(0)),
            qml.counts(),
            qml.counts(qml.Z(1)),
            qml.counts(wires=0, all_outcomes=True),
            qml.classical_shadow(wires=[0, 1], seed=3),
        )

    ours, theirs = run(circuit, device(2), SHOTS), run(circuit, qml.device("default.qubit", wires=2, seed=3), SHOTS)
    assert [np.asarray(each).dtype for each in ours] == [np.asarray(each).dtype for each in theirs]
    assert [np.shape(each) for each in ours] == [np.shape(each) for each in theirs]
    for place in (3, 4, 5):
        assert [(type(key), key) for key in ours[place]] == [(type(key), key) for key in theirs[place]]
        assert agree(ours[place], theirs[place])
    assert np.array_equal(ours[6][1], theirs[6][1])  # the bases are PennyLane's


def test_postselection_leaves_shots_out(device: Any) -> None:
    def circuit() -> Any:
        qml.H(0)
        qml.CNOT([0, 1])
        qml.measure(0, postselect=1)
        return qml.sample(wires=1), qml.counts(wires=[0, 1])

    for method in ("one-shot", "deferred"):
        samples, counts = run(circuit, device(), SHOTS, mcm_method=method)
        assert set(samples.ravel().tolist()) == {1}
        assert counts == {"11": len(samples)}
        assert 900 < len(samples) < 1100

    def never() -> Any:
        qml.measure(0, postselect=1)
        return qml.expval(qml.Z(0))

    assert np.isnan(run(never, device(), 10))


def test_seeds_fix_all_executions_and_make_none_like_another(device: Any) -> None:
    def circuit() -> Any:
        qml.H(0)
        return qml.sample(wires=0)

    def three(seed: int) -> list[list[int]]:
        qnode = qml.set_shots(qml.QNode(circuit, device(seed=seed)), 100)
        return [each.ravel().tolist() for each in (qnode(), *qml.set_shots(qnode, [100, 100])())]

    found = three(11)
    assert found == three(11) != three(12)
    assert len({tuple(each) for each in found}) == 3


def test_gradients_are_those_of_parameter_shift_as_one_job(device: Any, client: Client) -> None:
    def cost(parameters: Any) -> Any:
        for place, each in enumerate(parameters):
            qml.RX(each, place % 4)
            qml.CNOT([place % 4, (place + 1) % 4])
        return qml.expval(qml.Z(0) @ qml.Z(2))

    point = pnp.array(np.linspace(0.1, 2.5, 20), requires_grad=True)
    own = device(4)
    before = next(iter(client.jobs(limit=1)), None)
    with qml.Tracker(own) as tracker:
        found = qml.grad(qml.QNode(cost, own, diff_method="parameter-shift"))(point)
    assert np.allclose(found, qml.grad(qml.QNode(cost, qml.device("default.qubit")))(point), atol=1e-9)
    assert (tracker.totals["batches"], tracker.totals["simulations"]) == (2, 41)
    made = [job.id for job in client.jobs(limit=10) if before is None or job.id > before.id]
    assert len(made) == 2


def test_shots_travel_in_few_jobs_and_are_tracked(device: Any, client: Client) -> None:
    tapes = [
        QuantumScript([qml.RX([0.1, 0.2], 0)], [qml.expval(qml.X(0)), qml.expval(qml.Z(0))], shots=shots)
        for shots in (10, 20, 10, None)
    ]
    own = device()
    before = next(iter(client.jobs(limit=1))).id
    with qml.Tracker(own) as tracker:
        found = own.execute(tapes)
    assert [np.shape(each) for each in found] == [(2, 2)] * 4
    assert (tracker.totals["batches"], tracker.totals["simulations"], tracker.totals["shots"]) == (1, 4, 160)
    assert sorted(job.shots for job in client.jobs(limit=10) if job.id > before) == [
        0,
        10,
    ]  # exact ones, and those with shots
    assert own.execute([]) == ()


def test_what_cannot_be_run_is_refused_as_pennylane_does(device: Any, client: Client) -> None:
    with pytest.raises(WireError, match="not found on the device"):
        run(templates, device(2))
    with pytest.raises(DeviceError, match="not accepted for analytic"):
        run(lambda: qml.sample(wires=0), device())
    with pytest.raises(DeviceError, match="not accepted with finite shots"):
        run(lambda: qml.state(), device(1), 10)
    with pytest.raises(DeviceError, match="'tree-traversal' is not supported"):
        run(measured_midway, device(), 10, mcm_method="tree-traversal")
    with pytest.raises(DeviceError, match="'fill-shots' is not supported"):
        run(postselected, device(), 10, postselect_mode="fill-shots")
    with pytest.raises(DeviceError, match="RX is nan"):
        run(lambda: qml.expval(qml.RX(float("nan"), 0) and qml.Z(0)), device())
    with pytest.raises(DeviceError, match="IBM/none does not exist") as caught:
        run(prepared, device(target="IBM/none"))
    assert isinstance(caught.value.__cause__, NotFound)
    with pytest.raises(ValueError, match="Shots must be"):
        qml.device("qonduit", wires=1, shots=-1)

    def wide() -> Any:
        for wire in range(60):
            qml.RX(0.3, wire)
        return qml.expval(qml.Z(59))

    for shots in (None, 10):
        with pytest.raises(DeviceError, match=r"memory|qubits") as caught:
            run(wide, device(60), shots)
        assert isinstance(caught.value.__cause__, JobFailed | QonduitError)


def test_a_job_that_takes_too_long_is_cancelled(device: Any, client: Client) -> None:
    def long() -> Any:
        for _ in range(100):
            for wire in range(22):
                qml.RX(0.1, wire)
                qml.CNOT([wire, (wire + 1) % 22])
        return qml.counts()

    with pytest.raises(DeviceError, match="has not ended") as caught:
        run(long, device(timeout=0.2), 10)
    assert isinstance(caught.value.__cause__, TimeoutError)
    newest = next(iter(client.jobs(limit=1)))
    with pytest.raises(QonduitError, match="cancelled"):
        client.job(newest.id).results(timeout=60)


def test_devices_are_made_as_others_are(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QONDUIT_SERVER", client.target)
    own = qml.device("qonduit", wires=["a", "b"])
    assert (own.name, own.target, own.wires.tolist(), own.client.target) == ("qonduit", IBM, ["a", "b"], client.target)
    with pytest.warns(qml.exceptions.PennyLaneDeprecationWarning, match="shots"):
        assert qml.device("qonduit", wires=1, shots=10, client=client.target).shots.total_shots == 10
    assert np.allclose(run(lambda: qml.probs(wires="b"), own), [1, 0])
