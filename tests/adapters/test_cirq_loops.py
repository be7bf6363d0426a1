# SPDX-License-Identifier: Apache-2.0
"""Loops of Cirq (`repeat_until`) beside `cirq.Simulator`: records of all rounds, which differ in number by shot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import Any

import cirq
import numpy as np
import pytest
import sympy

from qonduit_client import Client
from qonduit_client.cirq import QonduitSampler
from tests.adapters.agreement import agree
from tests.adapters.test_cirq import Flip, FlipAll

A, B, C, D = cirq.LineQubit.range(4)
T = sympy.Symbol("t")
SHOTS = 2000
#: Of `cirq.Simulator`, which runs such circuits shot by shot.
FEWER = 300


def loop(*operations: cirq.OP_TREE, until: Any = "m", **options: Any) -> cirq.CircuitOperation:
    condition = cirq.KeyCondition(cirq.MeasurementKey(until)) if isinstance(until, str) else until
    body = cirq.FrozenCircuit(operations)
    return cirq.CircuitOperation(body, repeat_until=condition, use_repetition_ids=False, **options)


HEADS = loop(cirq.ry(1.9)(A), cirq.measure(A, key="m"), cirq.X(B), cirq.measure(B, A, key="n", invert_mask=(True,)))

CIRCUITS = {
    "one key": cirq.Circuit(loop(cirq.H(A), cirq.measure(A, key="m")), cirq.measure(B, key="b")),
    "two keys of different widths": cirq.Circuit(HEADS, cirq.measure(C, key="c")),
    "a key that is measured before and after": cirq.Circuit(
        cirq.H(C), cirq.measure(C, key="m"), HEADS, cirq.X(D).with_classical_controls("m"), cirq.measure(D, key="m"),
        cirq.measure(D, key="m#2"), cirq.measure(C, key="m#records"),
    ),
    "a condition on the round before": cirq.Circuit(
        cirq.X(D), cirq.measure(D, key="m"),
        loop(cirq.X(C).with_classical_controls("m"), cirq.H(A), cirq.measure(A, key="m"), cirq.measure(C, key="c")),
        cirq.X(B).with_classical_controls("c"), cirq.measure(B, key="b"),
    ),
    "a formula": cirq.Circuit(
        loop(cirq.H.on_each(A, B), cirq.measure(A, B, key="m"), cirq.H(C), cirq.measure(C, key="k"),
             until=cirq.SympyCondition(sympy.Symbol("m") >= 2 * sympy.Symbol("k") + 1)),
        cirq.measure(A, key="a"),
    ),
    "rounds within rounds": cirq.Circuit(
        loop(
            loop(cirq.H(A), cirq.measure(A, key="inner"), until="inner"), cirq.ry(1.8)(B), cirq.measure(B, key="m"),
            cirq.CNOT(A, C), cirq.measure(C, key="c"),
        ),
    ),
    "one key in rounds within rounds": cirq.Circuit(
        loop(cirq.measure(C, key="m"), loop(cirq.H(A), cirq.measure(A, key="m")), cirq.H(B), cirq.measure(B, key="m")),
    ),
    "one loop after another": cirq.Circuit(
        loop(cirq.H(A), cirq.measure(A, key="m")), loop(cirq.H(B), cirq.measure(B, key="m")), cirq.measure(C, key="c")
    ),
    "loops in a repeated circuit with paths": cirq.Circuit(
        cirq.CircuitOperation(
            cirq.FrozenCircuit(cirq.reset(A), loop(cirq.H(A), cirq.measure(A, key="m")),
                               cirq.X(B).with_classical_controls("m"), cirq.measure(B, key="b")),
            repetitions=2, repetition_ids=["x", "y"], measurement_key_map={"b": "d"}, qubit_map={B: C},
        ),
    ),
    "loops in a repeated circuit with one key": cirq.Circuit(
        cirq.CircuitOperation(
            cirq.FrozenCircuit(loop(cirq.H(A), cirq.measure(A, key="m"))), repetitions=2, use_repetition_ids=False
        ),
    ),
    "a loop with maps": cirq.Circuit(
        loop(cirq.ry(T)(A), cirq.measure(A, key="k"), until="k", param_resolver={"t": 1.2}, qubit_map={A: D},
             measurement_key_map={"k": "renamed"}),
        cirq.X(B).with_classical_controls("renamed"), cirq.measure(B, D, key="b"),
    ),
    "gates of a user's own, Paulis and tags": cirq.Circuit(
        loop(
            Flip()(A), FlipAll()(*cirq.LineQubit.range(5)), cirq.H(B).with_tags("tag"),
            cirq.PauliMeasurementGate(cirq.DensePauliString("XZ"), key="m")(B, C), cirq.reset(D),
        ),
        cirq.measure(A, key="a"),
    ),
    "a key longer than servers take": cirq.Circuit(
        loop(cirq.H(A), cirq.measure(A, key="k" * 1200), until="k" * 1200), cirq.measure(B, key="b")
    ),
}  # fmt: skip


@pytest.fixture
def sampler(client: Client) -> QonduitSampler:
    return QonduitSampler(client, seed=7)


def outcomes(result: cirq.Result, rounds: Mapping[str, int]) -> Mapping[Any, int]:
    """Count the records of all keys together, each padded to a number of rounds."""
    padded = [
        np.pad(each, ((0, 0), (0, rounds[key] - each.shape[1]), (0, 0))).reshape(len(each), -1)
        for key, each in result.records.items()
    ]
    return Counter(map(tuple, np.concatenate(padded, axis=1).tolist()))


@cache
def simulated(name: str) -> cirq.Result:
    return cirq.Simulator(seed=5).run(CIRCUITS[name], repetitions=FEWER)


def same_distribution(ours: cirq.Result, theirs: cirq.Result) -> None:
    """Check that two results have the same keys and types, and can come from the same distribution."""
    assert list(ours.records) == list(theirs.records)
    for key, record in theirs.records.items():
        assert (ours.records[key].shape[2], ours.records[key].dtype) == (record.shape[2], record.dtype)
    rounds = {key: max(each.records[key].shape[1] for each in (ours, theirs)) for key in theirs.records}
    assert agree(outcomes(ours, rounds), outcomes(theirs, rounds))


@pytest.mark.parametrize("name", CIRCUITS)
def test_records_of_all_rounds_are_those_of_the_simulator(name: str, sampler: QonduitSampler) -> None:
    same_distribution(sampler.run(CIRCUITS[name], repetitions=SHOTS), simulated(name))


@pytest.mark.parametrize(
    "device", ["IBM/aer_simulator", "AWS/local_simulator", "GOOGLE/cirq_density_matrix", "GOOGLE/qsim_simulator"]
)
def test_all_devices_with_loops_keep_the_records(device: str, client: Client) -> None:
    for name in ("two keys of different widths", "one key in rounds within rounds"):
        result = QonduitSampler(client, device, seed=3).run(CIRCUITS[name], repetitions=SHOTS)
        same_distribution(result, simulated(name))


def test_rounds_are_in_order_and_padded_with_zeros(sampler: QonduitSampler) -> None:
    rounds = loop(
        cirq.X(B).with_classical_controls("a"), cirq.X(A), cirq.measure(A, B, key="a"), cirq.H(C),
        cirq.measure(C, key="m"),
    )  # fmt: skip
    circuit = cirq.Circuit(cirq.measure(A, B, key="a"), rounds, cirq.X(D), cirq.measure(D, B, key="a"))
    ours, theirs = (each.run(circuit, repetitions=60) for each in (sampler, cirq.Simulator(seed=3)))
    for result in (ours, theirs):
        ends, counters = result.records["m"][:, :, 0].tolist(), (result.records["a"] @ [2, 1]).tolist()
        for coins, numbers in zip(ends, counters, strict=True):
            number = coins.index(1) + 1
            expected = [0, *([2, 1] * number)[:number], 2 if number % 2 else 3]
            assert numbers == expected + [0] * (len(numbers) - len(expected))
            assert not any(coins[number:])
    with pytest.raises(ValueError, match="repeated keys") as raised:
        ours.measurements  # noqa: B018
    with pytest.raises(ValueError, match="repeated keys") as wanted:
        theirs.measurements  # noqa: B018
    assert str(raised.value) == str(wanted.value)


def test_a_sweep_of_a_loop_is_one_program(sampler: QonduitSampler, client: Client) -> None:
    circuit = cirq.Circuit(loop(cirq.ry(T)(A), cirq.measure(A, key="m"), cirq.reset(A)), cirq.measure(B, key="b"))
    sweep = cirq.Points("t", [1.0, 2.0, np.pi])
    ours = sampler.run_sweep(circuit, sweep, SHOTS)
    (job,) = client.jobs(limit=1)
    assert [run.points for run in job.program_runs] == [3]
    for found, wanted in zip(ours, cirq.Simulator(seed=5).run_sweep(circuit, sweep, FEWER), strict=True):
        same_distribution(found, wanted)
    assert ours[2].measurements["m"].tolist() == [[1]] * SHOTS  # one round each


def test_more_rounds_than_the_limit_are_refused(client: Client) -> None:
    rare = cirq.Circuit(loop(cirq.ry(0.5)(A), cirq.measure(A, key="m")))
    with pytest.raises(ValueError, match=r"'m'.*max_rounds = 5 times.*larger max_rounds"):
        QonduitSampler(client, max_rounds=5).run(rare, repetitions=200)
    found = QonduitSampler(client, max_rounds=1000).run(rare, repetitions=200).records["m"]
    assert found.shape[1] > 5
    assert (found.sum(axis=(1, 2)) == 1).all()
    for wrong in (0, 4097):
        with pytest.raises(ValueError, match=f"from 1 to 4096, got {wrong}"):
            QonduitSampler(client, max_rounds=wrong)


def test_as_many_rounds_as_the_limit_run(client: Client) -> None:
    pair = loop(cirq.X(A), cirq.measure(A, key="a"), cirq.X(B).with_classical_controls("a"), cirq.measure(B, key="m"))
    twice = cirq.Circuit(cirq.X(A), pair)
    for most in (2, 3, 8):
        result = QonduitSampler(client, max_rounds=most).run(twice, repetitions=3)
        assert result == cirq.Simulator().run(twice, repetitions=3)
        assert result.records["a"].tolist() == [[[0], [1]]] * 3
    with pytest.raises(ValueError, match="max_rounds = 1 times"):
        QonduitSampler(client, max_rounds=1).run(twice)


@pytest.mark.parametrize(
    ("circuit", "message"),
    [
        (
            cirq.Circuit(loop(cirq.H(A), cirq.measure(A, key="m", confusion_map={(0,): np.eye(2)}))),
            "confusion_map.*repeat_until",
        ),
        (
            cirq.Circuit(
                loop(cirq.H(A), cirq.measure(A, key="m")),
                cirq.X(B).with_classical_controls(cirq.KeyCondition(cirq.MeasurementKey("m"), 0)), cirq.measure(B),
            ),
            "measurement 0 of m.*repeat_until",
        ),
        (cirq.Circuit(loop(cirq.X(B).with_classical_controls("m"), cirq.measure(A, key="m"))), "key m missing"),
    ],
)  # fmt: skip
def test_what_loops_do_not_support_is_refused(circuit: cirq.Circuit, message: str, sampler: QonduitSampler) -> None:
    with pytest.raises(ValueError, match=message):
        sampler.run(circuit)


def test_a_device_without_loops_lists_those_with_loops(client: Client) -> None:
    shaped = QonduitSampler(client, "GOOGLE/rainbow")
    with pytest.raises(ValueError, match="GOOGLE/cirq_simulator"):
        shaped.run(CIRCUITS["one key"], repetitions=5)


def test_a_job_with_a_loop_is_found_again(sampler: QonduitSampler) -> None:
    job = sampler.submit(CIRCUITS["two keys of different widths"], repetitions=50)
    assert QonduitSampler(sampler.client.target).job(job.id()).results() == job.results()
