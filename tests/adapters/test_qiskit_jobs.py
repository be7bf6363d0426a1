# SPDX-License-Identifier: Apache-2.0
"""Qiskit's jobs that are found again on a real server, and their own descriptions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
from qiskit.circuit import ParameterVector
from qiskit.exceptions import QiskitError

from qonduit_client import Client
from qonduit_client.qiskit import EstimatorV2, QonduitBackend, QonduitJob, QonduitProvider, SamplerV2
from tests.server_process import serving


@pytest.fixture
def provider(client: Client) -> QonduitProvider:
    return QonduitProvider(client)


@pytest.fixture
def backend(provider: QonduitProvider) -> QonduitBackend:
    return provider.get_backend()


def free() -> QuantumCircuit:
    bits = ClassicalRegister(1, "first"), ClassicalRegister(1, "second")
    circuit = QuantumCircuit(QuantumRegister(2, "q"), *bits, name="free", metadata={"a": 1})
    for qubit, angle in enumerate(ParameterVector("a", 2)):
        circuit.ry(angle, qubit)
    circuit.measure([0, 1], [0, 1])
    return circuit


def test_a_job_of_a_backend_is_found_again(provider: QonduitProvider, backend: QonduitBackend) -> None:
    circuit = free()
    binds = dict(zip(circuit.parameters, [[0, np.pi, 1], [np.pi, 0, 2]], strict=True))
    job = backend.run(circuit, binds, shots=20, memory=True, seed_simulator=3, job_name="mine", job_tags=["x", "y"])
    wanted = job.result()
    again = QonduitProvider(provider.client.target).job(job.job_id())
    assert isinstance(again, QonduitJob)
    found = again.result()
    assert found.to_dict() == wanted.to_dict()
    assert found.get_counts(0) == {"1 0": 20}
    assert [each.header["name"] for each in found.results] == ["free"] * 3
    assert (again.name(), again.tags(), again.backend().name) == ("mine", ["x", "y"], "IBM/aer_simulator")


def test_jobs_of_primitives_are_found_again(provider: QonduitProvider, backend: QonduitBackend) -> None:
    values = np.random.default_rng(1).uniform(0, 3, (2, 3, 2))
    sampler = SamplerV2(backend, seed=4).run([(free(), values, 30), (free().assign_parameters([1, 2]), None, 10)])
    found = provider.job(sampler.job_id()).result()
    for own, wanted in zip(found, sampler.result(), strict=True):
        assert own.metadata == wanted.metadata
        for name in ("first", "second"):
            assert (own.data[name].array == wanted.data[name].array).all()
    estimator = EstimatorV2(backend, exact=True).run([(free(), ["ZI", "IZ"], [[0, 0], [1, 1]])])
    (found,) = provider.job(estimator.job_id()).result()
    (wanted,) = estimator.result()
    assert (found.data.evs == wanted.data.evs).all()
    assert found.metadata == wanted.metadata


def test_jobs_are_listed_by_their_properties(provider: QonduitProvider, backend: QonduitBackend) -> None:
    coin = QuantumCircuit(1, 1)
    coin.h(0)
    coin.measure(0, 0)
    made = [backend.run(coin, shots=5, job_tags=["series", f"run {k}"]) for k in range(3)]
    for job in made:
        job.result()
    provider.client.run("OPENQASM 2.0; qreg q[1]; creg c[1]; measure q -> c;", shots=1, labels={"series": ""}).wait()
    assert [job.job_id() for job in provider.jobs(job_tags=["series"])] == [job.job_id() for job in reversed(made)]
    assert [job.job_id() for job in provider.jobs(2, job_tags=["series"])] == [made[2].job_id(), made[1].job_id()]
    assert [job.job_id() for job in provider.jobs(job_tags=["run 1"], status="SUCCEEDED")] == [made[1].job_id()]
    assert provider.jobs(job_tags=["series"], backend_name="STIM/stim") == []
    assert provider.jobs(job_tags=["series"], status="FAILED") == []


def test_jobs_of_others_are_refused_with_a_way_to_read_them(provider: QonduitProvider) -> None:
    job = provider.client.run("OPENQASM 2.0; qreg q[1]; creg c[1]; measure q -> c;", shots=1)
    with pytest.raises(QiskitError, match=f"Client.*job.{job.id}"):
        provider.job(job.id)
    with pytest.raises(QiskitError, match="not exist"):
        provider.job("999999999")
    with pytest.raises(QiskitError, match="'seven'"):
        provider.job("seven")


@pytest.mark.parametrize("tags", ["alone", [7], ["x" * 64], ["qonduit.kind"], [str(k) for k in range(40)]])
def test_wrong_tags_are_refused(backend: QonduitBackend, tags: Any) -> None:
    with pytest.raises((QiskitError, ValueError), match="tag"):
        backend.run(QuantumCircuit(1, 1), job_tags=tags)


def test_a_job_tells_its_place_and_its_times(backend: QonduitBackend) -> None:
    job = backend.run(QuantumCircuit(1, 1), shots=5)
    job.result()
    assert job.queue_position() is None
    metrics = job.metrics()
    times = metrics["timestamps"]
    assert times["created"] <= times["running"] <= times["finished"]
    assert metrics["usage"]["seconds"] == job.usage() > 0
    places = ("position_in_queue", "queue", "estimated_start_time", "estimated_completion_time")
    assert {metrics[name] for name in places} == {None}
    slow = QuantumCircuit(23)
    for _ in range(30):
        slow.ry(0.3, range(23))
        slow.cx(range(22), range(1, 23))
    slow.measure_all()
    running = [backend.run(slow, shots=1) for _ in range(8)]
    try:
        assert max(each.queue_position() or 0 for each in running) >= 1
        waiting = running[-1].metrics()
        assert waiting["position_in_queue"] >= 1
        assert "before this one" in waiting["queue"]
    finally:
        for each in running:
            each.cancel()


def test_many_pubs_are_one_job_of_qiskit(provider: QonduitProvider, backend: QonduitBackend) -> None:
    count = provider.client.server_limits().max_programs + 1
    circuits = [QuantumCircuit(1, 1, name=str(k)) for k in range(count)]
    job = backend.run(circuits, shots=1, job_tags=["many"])
    assert len(job.ids) == 2
    (again,) = provider.jobs(job_tags=["many"])
    assert again.job_id() == job.job_id()
    assert [each.header["name"] for each in again.result().results] == [str(k) for k in range(count)]


def test_jobs_come_back_in_another_process_after_a_restart(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/qonduit.db"
    with serving(database) as server, QonduitProvider(server.target) as provider:
        job = EstimatorV2(provider.get_backend(), exact=True).run([(free(), ["ZI", "IZ"], [0.3, 1.2])])
        wanted = job.result()[0].data.evs.tolist()
    script = (
        "import sys\nfrom qonduit_client.qiskit import QonduitProvider\n"
        "provider = QonduitProvider(sys.argv[1])\n"
        "print(provider.job(sys.argv[2]).result()[0].data.evs.tolist(), [job.job_id() for job in provider.jobs()])"
    )
    with serving(database) as server:
        done = subprocess.run(
            [sys.executable, "-c", script, server.target, job.job_id()], capture_output=True, text=True, timeout=60
        )
    assert done.stdout.strip() == f"{wanted} ['{job.job_id()}']", done.stderr
