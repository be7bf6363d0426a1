# SPDX-License-Identifier: Apache-2.0
"""The sampler of Cirq beside `cirq.Simulator`: the same keys, shapes, types, errors, and the same distributions."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import Any

import cirq
import duet
import numpy as np
import pandas as pd
import pytest
import sympy

from qonduit.v1.job_pb2 import Job, JobState
from qonduit_client import Client, JobFailed, NotFound, TimedOut
from qonduit_client.cirq import QonduitSampler
from tests.adapters.agreement import agree
from tests.server_process import Server

A, B, C = cirq.LineQubit.range(3)
T = sympy.Symbol("t")
SHOTS = 2000
#: Of `cirq.Simulator`, which runs circuits that go on after a measurement once a shot.
FEWER = 100


class Flip(cirq.Gate):
    """A gate of a user's own: a matrix, and nothing else."""

    def _num_qubits_(self) -> int:
        return 1

    def _unitary_(self) -> np.ndarray[Any, Any]:
        return np.array([[0, 1], [1, 0]])


class FlipAll(cirq.Gate):
    """Known only by what it is made of, and it measures."""

    def _num_qubits_(self) -> int:
        return 5

    def _decompose_(self, qubits: Any) -> Any:
        yield from (Flip()(each) for each in qubits)
        yield cirq.measure(*qubits, key="inner")


class Place(cirq.Qid):
    """A qubit of a user's own."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def dimension(self) -> int:
        return 2

    def _comparison_key(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"Place({self.name!r})"


def _round(path: bool) -> cirq.CircuitOperation:
    body = cirq.FrozenCircuit(
        cirq.H(A), cirq.measure(A, key="m"), cirq.X(B).with_classical_controls("m"), cirq.measure(B, C, key="n")
    )
    return cirq.CircuitOperation(body, repetitions=3, use_repetition_ids=path)


def _uneven() -> np.ndarray[Any, Any]:
    return np.array([[0.9, 0.1, 0, 0], [0, 0.5, 0.5, 0], [0.25, 0.25, 0.25, 0.25], [0, 0, 0, 1]])


CIRCUITS = {
    "one key": cirq.Circuit(cirq.H(A), cirq.CNOT(A, B), cirq.measure(A, B, key="m")),
    "the first qubit comes first": cirq.Circuit(cirq.X(A), cirq.H(C), cirq.measure(A, B, C)),
    "qubits in another order": cirq.Circuit(cirq.X(A), cirq.measure(C, A, B, key="0,1"), cirq.measure(B, key="z(0)")),
    "invert_mask": cirq.Circuit(cirq.H(A), cirq.measure(A, B, C, key="m", invert_mask=(True, False, True))),
    "a key of 160 letters, and none": cirq.Circuit(
        cirq.H(A), cirq.measure(A, B, key="k" * 160), cirq.measure(C, key="")
    ),
    "a key longer than servers take": cirq.Circuit(cirq.H(A), cirq.measure(A, key="k" * 1200), cirq.measure(B)),
    "confusion": cirq.Circuit(
        cirq.H(A), cirq.CNOT(A, B), cirq.X(C), cirq.measure(B, C, A, key="m", confusion_map={(2, 1): _uneven()})
    ),
    "confusion and invert_mask, sampled": cirq.Circuit(
        cirq.ry(0.8)(A), cirq.X(C),
        cirq.measure(B, C, A, key="m", invert_mask=(False, True, True), confusion_map={(2, 1): _uneven()}),
        cirq.measure(A, key="n", invert_mask=(True,), confusion_map={(0,): np.array([[0.5, 0.5], [0, 1]])}),
    ),
    "confusion and invert_mask, shot by shot": cirq.Circuit(
        cirq.ry(0.8)(A), cirq.X(C),
        cirq.measure(B, C, A, key="m", invert_mask=(False, True, True), confusion_map={(2, 1): _uneven()}), cirq.X(A),
    ),
    "confusion maps that overlap, sampled": cirq.Circuit(
        cirq.ry(0.8)(A), cirq.X(C), cirq.measure(A, B, C, key="m", confusion_map={(0, 1): _uneven(), (1, 2): _uneven()})
    ),
    "confusion maps that overlap, shot by shot": cirq.Circuit(
        cirq.ry(0.8)(A), cirq.X(C),
        cirq.measure(A, B, C, key="m", confusion_map={(0, 1): _uneven(), (1, 2): _uneven()}), cirq.X(A),
    ),
    "a sub-circuit that measures at the end": cirq.Circuit(
        cirq.CircuitOperation(
            cirq.FrozenCircuit(
                cirq.X(A),
                cirq.measure(A, key="m", invert_mask=(True,), confusion_map={(0,): np.array([[0.5, 0.5], [0, 1]])}),
            )
        ),
    ),
    "measured again": cirq.Circuit(
        cirq.H(A), cirq.measure(A, B, key="m"), cirq.CNOT(A, B), cirq.measure(A, B, key="m"), cirq.measure(A, key="m#2")
    ),
    "a condition on the last of a key": cirq.Circuit(
        cirq.H(A), cirq.measure(A, key="m"), cirq.H(A), cirq.measure(A, key="m"),
        cirq.X(B).with_classical_controls("m"), cirq.measure(B),
    ),
    "a condition on the first of a key": cirq.Circuit(
        cirq.H(A), cirq.measure(A, key="m"), cirq.H(A), cirq.measure(A, key="m"),
        cirq.X(B).with_classical_controls(cirq.KeyCondition(cirq.MeasurementKey("m"), 0)), cirq.measure(B),
    ),
    "a mask of bits": cirq.Circuit(
        cirq.H.on_each(A, B), cirq.measure(A, B, key="m"), cirq.X.on_each(A), cirq.measure(A, B, key="m"),
        cirq.X(C).with_classical_controls(cirq.BitMaskKeyCondition("m", 0, 2, True, 2)), cirq.measure(C),
    ),
    "a formula": cirq.Circuit(
        cirq.H.on_each(A, B), cirq.measure(A, B, key="m"), cirq.X(A), cirq.measure(A, key="n"),
        cirq.measure(A, B, key="m"),
        cirq.X(C).with_classical_controls(sympy.Symbol("m") > 2 * sympy.Symbol("n")),
        cirq.X(C).with_classical_controls(sympy.Eq(sympy.IndexedBase("m")[1], 1)), cirq.measure(C),
    ),
    "rounds with one key": cirq.Circuit(cirq.measure(C, key="m"), _round(False), cirq.measure(B, key="after")),
    "rounds with paths": cirq.Circuit(_round(True), cirq.measure(B, key="after")),
    "rounds of rounds": cirq.Circuit(
        cirq.CircuitOperation(cirq.FrozenCircuit(_round(True)), repetitions=2, repetition_ids=["x", "y"])
    ),
    "rounds of gates": cirq.Circuit(
        cirq.CircuitOperation(cirq.FrozenCircuit(cirq.X(A) ** 0.25, cirq.CNOT(A, B)), repetitions=5), cirq.measure(A, B)
    ),
    "gates of a user's own": cirq.Circuit(
        cirq.H(A), Flip()(B).controlled_by(A).with_tags(object()), FlipAll()(*cirq.LineQubit.range(5)),
        Flip()(C).with_classical_controls("inner"), cirq.measure(A, B, C),
    ),
    "matrices": cirq.Circuit(
        cirq.MatrixGate(cirq.testing.random_unitary(8, random_state=1))(C, A, B),
        cirq.MatrixGate(np.round(cirq.unitary(cirq.H), 6))(A), cirq.measure(A, B, C),
    ),
    "qubits of a user's own": cirq.Circuit(
        cirq.H(Place("b")), cirq.CNOT(Place("b"), Place("a")), cirq.measure(Place("b"), Place("a"))
    ),
    "Paulis": cirq.Circuit(
        cirq.PauliMeasurementGate(cirq.DensePauliString("XY"), key="p")(A, B),
        cirq.PauliString({A: cirq.X, B: cirq.Z}) ** 0.5, cirq.PauliString({C: cirq.X}), cirq.measure(A, B, C),
    ),
    "reset and prepared": cirq.Circuit(
        cirq.H(A), cirq.CNOT(A, B), cirq.reset(A), cirq.StatePreparationChannel(np.array([0.6, 0.8]))(C),
        cirq.measure(A, B, C),
    ),
    "nothing after it but phases": cirq.Circuit(cirq.H(A), cirq.measure(A), cirq.Z(B), cirq.global_phase_operation(1j)),
}  # fmt: skip


@pytest.fixture
def sampler(client: Client) -> QonduitSampler:
    """A sampler with a seed."""
    return QonduitSampler(client, seed=7)


def outcomes(result: cirq.Result) -> Mapping[Any, int]:
    """How often each shot was what it was, all keys together."""
    rows = np.concatenate([each.reshape(result.repetitions, -1) for each in result.records.values()], axis=1)
    return Counter(map(tuple, rows.tolist()))


@cache
def simulated(name: str) -> cirq.Result:
    """What `cirq.Simulator` gives."""
    return cirq.Simulator(seed=5).run(CIRCUITS[name], repetitions=FEWER)


@pytest.mark.parametrize("name", CIRCUITS)
def test_a_result_is_what_the_simulator_gives(name: str, sampler: QonduitSampler) -> None:
    ours = sampler.run(CIRCUITS[name], repetitions=SHOTS)
    theirs = simulated(name)
    assert isinstance(ours, cirq.ResultDict)
    assert list(ours.records) == list(theirs.records)
    for key, record in theirs.records.items():
        assert ours.records[key].shape == (SHOTS, *record.shape[1:])
        assert ours.records[key].dtype == record.dtype
    assert agree(outcomes(ours), outcomes(theirs))


@pytest.mark.parametrize("one", [0, 1])
@pytest.mark.parametrize("inverted", [(), (True,)])
def test_inversion_and_confusion_are_in_the_order_of_the_simulator(
    one: int, inverted: tuple[bool, ...], sampler: QonduitSampler
) -> None:
    stuck = np.array([[0, 1], [0, 1]])  # always read as 1
    last = cirq.Circuit(cirq.X(A) ** one, cirq.measure(A, key="m", invert_mask=inverted, confusion_map={(0,): stuck}))
    for circuit, read in ((last, 1), (last + cirq.X(A), 0 if inverted else 1)):
        for each in (cirq.Simulator(), sampler):
            assert each.run(circuit, repetitions=9).measurements["m"].tolist() == [[read]] * 9


def test_all_points_of_a_sweep_are_one_job(sampler: QonduitSampler, client: Client) -> None:
    before = next(client.jobs(limit=1)).id if list(client.jobs(limit=1)) else 0
    circuit = cirq.Circuit(cirq.X(A) ** T, cirq.ry(sympy.pi * T / 2 + 0.1)(B), cirq.measure(A, B, key="m"))
    sweep = cirq.Linspace("t", 0, 1, 30)
    ours = sampler.run_sweep(circuit, sweep, SHOTS)
    theirs = cirq.Simulator(seed=5).run_sweep(circuit, sweep, SHOTS)
    assert next(client.jobs(limit=1)).id == before + 1
    assert [each.params for each in ours] == [each.params for each in theirs]
    assert all(each.measurements["m"].dtype == np.int8 for each in ours)
    assert all(agree(outcomes(one), outcomes(other)) for one, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize(
    ("exponent", "params"),
    [
        (sympy.sin(T) ** 2, {"t": 1.2}),  # no function that travels
        (T * sympy.Symbol("u"), cirq.ParamResolver({"t": sympy.Symbol("u"), "u": 0.5})),  # a value that is a symbol
        (T, {"t": np.float32(0.5), "unused": 3}),
        (sympy.re(T), {"t": 0.5 + 1j}),
    ],
)
def test_symbols_of_any_kind_get_their_values(exponent: Any, params: Any, sampler: QonduitSampler) -> None:
    circuit = cirq.Circuit(cirq.X(A) ** exponent, cirq.measure(A))
    ours = sampler.run(circuit, params, SHOTS)
    theirs = cirq.Simulator(seed=5).run(circuit, params, SHOTS)
    assert agree(outcomes(ours), outcomes(theirs))
    assert ours.params == theirs.params


def test_symbols_within_circuits_get_their_values(sampler: QonduitSampler) -> None:
    body = cirq.FrozenCircuit(cirq.X(A) ** T, cirq.measure(A, key="m"))
    inner = cirq.CircuitOperation(body, repetitions=sympy.Symbol("n"), param_resolver={"t": sympy.Symbol("u")})
    circuit = cirq.Circuit(inner, Flip()(B).controlled_by(A), cirq.measure(B))
    params = {"u": 1, "n": 3}
    ours, theirs = (each.run(circuit, params, 5) for each in (sampler, cirq.Simulator()))
    assert ours == theirs


@pytest.mark.parametrize(
    ("circuit", "params"),
    [
        (cirq.Circuit(cirq.X(A)), None),
        (cirq.Circuit(cirq.X(A) ** T, cirq.measure(A)), None),
        (cirq.Circuit(cirq.X(A) ** T, cirq.measure(A)), cirq.ParamResolver({"t": sympy.Symbol("u")})),
        (cirq.Circuit(cirq.X(A).with_classical_controls("m"), cirq.measure(A)), None),
    ],
)
def test_mistakes_are_told_as_the_simulator_tells_them(
    circuit: cirq.Circuit, params: Any, sampler: QonduitSampler
) -> None:
    with pytest.raises(ValueError, match=r"\w") as theirs:
        cirq.Simulator().run(circuit, params)
    with pytest.raises(ValueError, match=r"\w") as ours:
        sampler.run(circuit, params)
    assert str(ours.value) == str(theirs.value)


@pytest.mark.parametrize(
    ("circuit", "kind", "says"),
    [
        (cirq.Circuit(cirq.measure(cirq.LineQid(0, 3))), ValueError, "qudits"),
        (
            cirq.Circuit(
                cirq.measure(A, key="m", confusion_map={(0,): np.eye(2)}), cirq.X(B).with_classical_controls("m"),
                cirq.measure(B),
            ),
            ValueError,
            "confusion_map",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_is_refused(
    circuit: cirq.Circuit, kind: type[Exception], says: str, sampler: QonduitSampler
) -> None:
    with pytest.raises(kind, match=says):
        sampler.run(circuit)


def test_no_repetitions_are_no_shots(sampler: QonduitSampler) -> None:
    circuit = cirq.Circuit(cirq.measure(A, key="m"), cirq.measure(B))
    ours, theirs = (each.run(circuit, repetitions=0) for each in (sampler, cirq.Simulator()))
    assert ours == theirs
    assert ours.repetitions == 0
    assert {key: each.shape for key, each in ours.records.items()} == {"m": (0, 1, 1), "q(1)": (0, 1, 1)}
    with pytest.raises(ValueError, match="at least 0"):
        sampler.run(circuit, repetitions=-1)
    with pytest.raises(TypeError, match="integer"):
        sampler.run(circuit, repetitions=1.5)


def test_a_batch_has_sweeps_and_repetitions_of_its_own(sampler: QonduitSampler) -> None:
    turn = cirq.Circuit(cirq.X(A) ** T, cirq.measure(A, key="k"))
    still = cirq.Circuit(cirq.measure(B))
    found = sampler.run_batch([turn, still, turn], [cirq.Points("t", [0, 1]), None, {"t": 1}], [2, 3, 2])
    assert [[each.repetitions for each in results] for results in found] == [[2, 2], [3], [2]]
    assert [int(each.measurements["k"][0, 0]) for each in (*found[0], *found[2])] == [0, 1, 1]
    assert sampler.run_batch([]) == []
    with pytest.raises(ValueError, match="must match"):
        sampler.run_batch([turn], [None, None])


def test_samples_are_the_simulators_table(sampler: QonduitSampler, client: Client) -> None:
    circuit = cirq.Circuit(cirq.X(A) ** T, cirq.measure(A, B, key="m"))
    before = next(client.jobs(limit=1)).id
    ours = sampler.sample(circuit, repetitions=2, params=[{"t": 0}, {"t": 1}])
    assert next(client.jobs(limit=1)).id == before + 1
    pd.testing.assert_frame_equal(ours, cirq.Simulator().sample(circuit, repetitions=2, params=[{"t": 0}, {"t": 1}]))
    with pytest.raises(ValueError, match="Inconsistent sweep parameters"):
        sampler.sample(cirq.Circuit(cirq.measure(A)), params=[{"t": 0}, {"u": 1}])


def test_expectation_values_come_from_samples(sampler: QonduitSampler) -> None:
    circuit = cirq.Circuit(cirq.ry(T)(A), cirq.CNOT(A, B))
    found = sampler.sample_expectation_values(
        circuit, [cirq.Z(A) * cirq.Z(B), cirq.X(A) * cirq.X(B) + 2 * cirq.Z(A)], num_samples=1000, params={"t": 0.0}
    )
    assert found[0][0] == 1
    assert abs(found[0][1] - 2) < 0.2


def test_a_seed_fixes_all_calls_and_no_two_are_alike(client: Client) -> None:
    circuit = cirq.Circuit(cirq.H.on_each(A, B, C), cirq.measure(A, B, C, key="m"))

    def drawn(seed: Any) -> list[str]:
        sampler = QonduitSampler(client, seed=seed)
        results = [sampler.run(circuit, repetitions=40), *sampler.run_sweep(circuit, cirq.Points("t", [1, 1]), 40)]
        return [str(each) for each in results]

    once = drawn(11)
    assert once == drawn(np.random.RandomState(11))
    assert len(set(once)) == 3
    assert once != drawn(12)


def test_coroutines_leave_the_loop_free(sampler: QonduitSampler) -> None:
    circuit = cirq.Circuit(cirq.X(A), cirq.measure(A, key="m"))

    async def together() -> tuple[list[cirq.Result], bool, cirq.Result]:
        free = asyncio.Event()
        asyncio.get_running_loop().call_soon(free.set)
        runs = asyncio.gather(*[sampler.run_async(circuit, repetitions=3) for _ in range(4)])
        await free.wait()
        early = not runs.done()
        within = duet.run(sampler.run_async, circuit)  # what Cirq's own collectors do in a notebook
        return await runs, early, within

    results, early, within = asyncio.run(together())
    assert early
    assert [each.measurements["m"].tolist() for each in results] == [[[1]] * 3] * 4
    assert within.measurements["m"].tolist() == [[1]]
    batch = duet.run(sampler.run_batch_async, [circuit, circuit], None, [1, 2])
    assert [each[0].repetitions for each in batch] == [1, 2]


def _long(qubits: int) -> cirq.Circuit:
    circuit = cirq.testing.random_circuit(cirq.LineQubit.range(qubits), 60, 1.0, random_state=3)
    return cirq.Circuit(circuit, cirq.measure(*cirq.LineQubit.range(qubits), key="m"))


def test_a_coroutine_that_is_cancelled_cancels_its_job(client: Client) -> None:
    sampler = QonduitSampler(client)
    shots = 7919  # no other test's job on this server has so many

    def own() -> list[Job]:
        return [job for job in client.jobs(limit=50) if job.shots == shots]

    async def cancelled() -> None:
        task = asyncio.create_task(sampler.run_async(_long(22), repetitions=shots))
        while not own():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    (job,) = own()
    assert client.job(job.id).wait(60).state == JobState.JOB_STATE_CANCELLED


def test_what_takes_too_long_is_cancelled(client: Client) -> None:
    with pytest.raises(TimedOut):
        # Long enough to submit on a slow machine, and too short for the run.
        QonduitSampler(client, timeout=2).run(_long(24), repetitions=7907)
    (last,) = [job for job in client.jobs(limit=50) if job.shots == 7907]
    assert client.job(last.id).wait(60).state == JobState.JOB_STATE_CANCELLED


def test_failures_are_chained_from_the_clients(client: Client, server: Server) -> None:
    circuit = cirq.Circuit(cirq.measure(A))
    with pytest.raises(ValueError, match="does not exist") as unknown:
        QonduitSampler(client, "GOOGLE/none").run(circuit)
    assert isinstance(unknown.value.__cause__, NotFound)
    with pytest.raises((ValueError, RuntimeError), match="qubits") as large:
        QonduitSampler(server.target).run(cirq.Circuit(cirq.H.on_each(*cirq.LineQubit.range(60)), cirq.measure(A)))
    assert isinstance(large.value.__cause__, JobFailed)
    with pytest.raises(ValueError, match="device='IBM/aer_simulator'"):
        QonduitSampler("IBM/aer_simulator")


@pytest.mark.parametrize("device", ["IBM/aer_simulator", "AWS/local_simulator"])
def test_other_providers_give_the_same(device: str, client: Client) -> None:
    sampler = QonduitSampler(client, device, seed=3)
    for name in ("measured again", "rounds with paths", "a formula"):
        ours = sampler.run(CIRCUITS[name], repetitions=SHOTS)
        assert agree(outcomes(ours), outcomes(simulated(name)))
