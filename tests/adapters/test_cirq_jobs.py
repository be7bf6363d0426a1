# SPDX-License-Identifier: Apache-2.0
"""Cirq's jobs that are found again on a real server."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cirq
import duet
import numpy as np
import pytest
import sympy

from qonduit_client import Client, TimedOut, adapter_data
from qonduit_client.cirq import QonduitJob, QonduitSampler
from tests.server_process import serving

A, B, C = cirq.LineQubit.range(3)
T = sympy.Symbol("t")
UNEVEN = np.array([[0.9, 0.1], [0.25, 0.75]])
COIN = cirq.Circuit(cirq.H(A), cirq.measure(A, key="m"))
#: Repeated keys, a key that looks like a renamed one, an inverted bit, and confusion.
EVERYTHING = cirq.Circuit(
    cirq.ry(T)(A), cirq.X(C), cirq.measure(A, B, key="m", invert_mask=(False, True)), cirq.H(A),
    cirq.measure(A, B, key="m"), cirq.measure(A, key="m#2", confusion_map={(0,): UNEVEN}), cirq.measure(C, key="z(0)"),
)  # fmt: skip


@pytest.fixture
def sampler(client: Client) -> QonduitSampler:
    return QonduitSampler(client, seed=7)


def same(found: list[cirq.Result], wanted: list[cirq.Result]) -> None:
    """Check that results are equal, also in the order of their keys and the types of their numbers."""
    assert found == wanted
    for one, other in zip(found, wanted, strict=True):
        assert list(one.records) == list(other.records)
        assert [each.dtype for each in one.records.values()] == [each.dtype for each in other.records.values()]


@pytest.mark.parametrize("seed", [None, 7])
@pytest.mark.parametrize(
    ("circuit", "params"),
    [
        (EVERYTHING, cirq.Linspace("t", 0, 3, 4)),
        (EVERYTHING, [cirq.Points("t", [0.1]) * cirq.Points("unused", [1, 2]), {"t": 3}]),
        (cirq.Circuit(cirq.X(A) ** sympy.sin(T), cirq.measure(A)), cirq.Points("t", [0.5, 2])),  # a program each
        (cirq.Circuit(cirq.X(A) ** T, cirq.measure(A)), cirq.ParamResolver({"t": sympy.Symbol("u"), "u": 0.5})),
        (cirq.Circuit(cirq.measure(C, key="k" * 1200), cirq.measure(A, B)), None),
    ],
)
def test_a_job_is_found_again(circuit: cirq.Circuit, params: Any, seed: int | None, client: Client) -> None:
    job = QonduitSampler(client, seed=seed).submit(circuit, params, 30, name="mine", labels={"series": "first"})
    again = QonduitSampler(client.target, "STIM/stim").job(job.id())
    same(again.results(), job.results())
    assert [each.params for each in again] == list(cirq.to_resolvers(params))
    assert (again.name(), again.labels(), again.device()) == ("mine", {"series": "first"}, "GOOGLE/cirq_simulator")
    assert (again.status(), again.failure(), again.queue_position()) == ("SUCCEEDED", None, None)
    assert datetime.now(UTC) - again.create_time() < timedelta(minutes=5)
    assert len(again) == len(job.results())
    assert again[0] == job[0]
    assert again[-1:] == job[-1:]


def test_a_job_has_the_results_of_run_and_those_of_the_simulator(client: Client) -> None:
    circuit = cirq.Circuit(cirq.X(A), cirq.measure(A, B, key="m"), cirq.X(A) ** T, cirq.measure(A, B, key="m"))
    sweep = cirq.Points("t", [0, 1])
    ours = [QonduitSampler(client, seed=3).submit(EVERYTHING, {"t": 1}, 50).results() for _ in range(2)]
    assert ours[0] == ours[1] == [QonduitSampler(client, seed=3).run(EVERYTHING, {"t": 1}, 50)]
    same(QonduitSampler(client).submit(circuit, sweep, 5).results(), cirq.Simulator().run_sweep(circuit, sweep, 5))


def test_confusion_of_inverted_bits_is_found_again(sampler: QonduitSampler) -> None:
    stuck = np.array([[0, 1], [0, 1]])  # always read as 1, and then inverted
    circuit = cirq.Circuit(cirq.measure(A, key="m", invert_mask=(True,), confusion_map={(0,): stuck}), cirq.X(A))
    job = sampler.submit(circuit, repetitions=5)
    same(sampler.job(job.id()).results(), cirq.Simulator().run_sweep(circuit, None, 5))


def test_a_batch_is_found_again_circuit_by_circuit(sampler: QonduitSampler) -> None:
    still = cirq.Circuit(cirq.measure(B, key="still"))
    job = sampler.submit_batch([EVERYTHING, still], [cirq.Points("t", [0, 1]), None], [4, 3])
    first, second = sampler.job(job.job_id()).batched_results()
    same(first + second, job.results())
    assert [[each.repetitions for each in results] for results in (first, second)] == [[4, 4], [3]]
    with pytest.raises(ValueError, match="at least 1"):
        sampler.submit_batch([COIN, COIN], repetitions=[0, 1])
    with pytest.raises(ValueError, match="at least one circuit"):
        sampler.submit_batch([])


def test_circuits_of_several_jobs_of_the_server_are_one_job(sampler: QonduitSampler) -> None:
    count = sampler.client.server_limits().max_programs + 1
    circuits = [cirq.Circuit(cirq.X(A) ** (place % 2), cirq.measure(A, key=f"k{place}")) for place in range(count)]
    job = sampler.submit_batch(circuits, labels={"many": ""})
    first, second = job.id().split(",")
    (again,) = sampler.jobs(labels={"many": ""})
    assert again.id() == job.id()
    same(again.results(), job.results())
    assert [int(each.measurements[f"k{place}"][0, 0]) for place, each in enumerate(again)] == [
        place % 2 for place in range(count)
    ]
    with pytest.raises(RuntimeError, match=f"not {count}: jobs of the submission are missing"):
        sampler.job(first).results()
    sampler.client.delete_job(int(second))
    assert [each.id() for each in sampler.jobs(labels={"many": ""})] == [first]


def test_a_long_sweep_is_found_again_with_its_names_and_order(sampler: QonduitSampler) -> None:
    values = np.random.default_rng(1).uniform(0, 3, 1500).tolist()
    circuit = cirq.Circuit(cirq.ry(T)(A), cirq.measure(A, key="m"))
    job = sampler.submit(circuit, cirq.Zip(cirq.Points("t", values), cirq.Points("unused", values[::-1])), 2)
    same(sampler.job(job.id()).results(), job.results())
    assert len(sampler.client.job(int(job.id())).job().labels) == 1


def test_a_sweep_too_long_for_client_data_is_read_from_the_server(
    sampler: QonduitSampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter_data, "MAX_BYTES", 2000)
    values = np.random.default_rng(1).uniform(0, 3, 1500).tolist()
    circuit = cirq.Circuit(cirq.ry(T)(A), cirq.measure(A, key="m"))
    job = sampler.submit(circuit, cirq.Points("t", values), 2)
    same(sampler.job(job.id()).results(), job.results())
    job = sampler.submit(circuit, cirq.Zip(cirq.Points("t", values), cirq.Points("unused", values)), 2)
    with pytest.raises(ValueError, match="too large"):
        sampler.job(job.id())
    assert len(job) == 1500


def test_jobs_are_listed_by_their_properties(sampler: QonduitSampler) -> None:
    made = [sampler.submit(COIN, name=f"coin {k}", labels={"kind": "coin", "run": str(k)}) for k in range(3)]
    for job in made:
        job.results()
    sampler.client.run("OPENQASM 2.0; qreg q[1]; creg c[1]; measure q -> c;", labels={"kind": "coin"}).wait()

    def listed(**properties: Any) -> list[str]:
        return [job.id() for job in sampler.jobs(labels={"kind": "coin"}, **properties)]

    ids = [job.id() for job in made]
    assert listed() == ids[::-1]
    assert listed(limit=2) == [ids[2], ids[1]]
    assert listed(name="coin 1", status="SUCCEEDED", device="GOOGLE/cirq_simulator") == [ids[1]]
    assert listed(status="FAILED") == listed(device="STIM/stim") == []
    assert [job.id() for job in sampler.jobs(labels={"run": "2", "kind": "coin"})] == [ids[2]]
    assert QonduitSampler(sampler.client).run(COIN) in [job[0] for job in sampler.jobs(1)]  # `run` has a job too
    with pytest.raises(ValueError, match=r"QUEUED.*'done'"):
        sampler.jobs(status="done")


def test_jobs_of_others_are_refused_with_a_way_to_read_them(sampler: QonduitSampler) -> None:
    job = sampler.client.run("OPENQASM 2.0; qreg q[1]; creg c[1]; measure q -> c;", shots=1)
    with pytest.raises(ValueError, match=f"Client.*job.{job.id}"):
        sampler.job(job.id)
    with pytest.raises(ValueError, match="not exist"):
        sampler.job("999999999")
    with pytest.raises(ValueError, match="'seven'"):
        sampler.job("seven")


@pytest.mark.parametrize("labels", [{"x" * 64: ""}, {"qonduit.kind": "mine"}, {str(k): "" for k in range(40)}])
def test_wrong_labels_are_refused(sampler: QonduitSampler, labels: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="tag"):
        sampler.submit(COIN, labels=labels)


def test_a_job_waits_is_cancelled_and_fails(sampler: QonduitSampler) -> None:
    qubits = cirq.LineQubit.range(22)
    slow = cirq.Circuit(cirq.testing.random_circuit(qubits, 60, 1.0, random_state=3), cirq.measure(*qubits))
    jobs = [sampler.submit(slow) for _ in range(8)]
    try:
        assert max(sampler.job(job.id()).queue_position() or 0 for job in jobs) >= 1
        with pytest.raises(TimedOut):
            jobs[-1].results(timeout=0)
    finally:
        for job in jobs:
            job.cancel()
    with pytest.raises(RuntimeError, match="cancelled"):
        jobs[-1].results()
    assert (jobs[-1].status(), jobs[-1].failure()) == ("CANCELLED", None)
    noisy = QonduitSampler(sampler.client, "AWS/local_simulator").submit(
        cirq.Circuit(cirq.H.on_each(*cirq.LineQubit.range(60)), cirq.measure(A))
    )
    with pytest.raises((ValueError, RuntimeError), match="qubits"):
        noisy.results()
    reason, message = noisy.failure() or ("", "")
    assert reason
    assert "qubits" in message
    assert sampler.job(noisy.id()).status() == "FAILED"


def test_results_are_awaited_under_asyncio_and_duet(sampler: QonduitSampler) -> None:
    job = sampler.submit(COIN, repetitions=5)

    async def within() -> list[cirq.Result]:
        return await job.results_async()

    assert asyncio.run(within()) == duet.run(job.results_async) == job.results()


def test_jobs_come_back_in_another_process_after_a_restart(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/qonduit.db"
    with serving(database) as server, Client(server.target) as client:
        job: QonduitJob = QonduitSampler(client).submit(EVERYTHING, cirq.Points("t", [1, 2]), 20)
        wanted = [str(each) for each in job.results()]
    script = (
        "import sys\nfrom qonduit_client.cirq import QonduitSampler\n"
        "sampler = QonduitSampler(sys.argv[1])\n"
        "print([str(each) for each in sampler.job(sys.argv[2]).results()], [job.id() for job in sampler.jobs()])"
    )
    with serving(database) as server:
        done = subprocess.run(
            [sys.executable, "-c", script, server.target, job.id()], capture_output=True, text=True, timeout=60
        )
    assert done.stdout.strip() == f"{wanted} ['{job.id()}']", done.stderr
