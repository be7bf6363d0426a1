# SPDX-License-Identifier: Apache-2.0
"""A real server with little memory for jobs: jobs that do not fit together wait, and all others pass them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import grpc
import pytest

from qonduit.v1 import job_service_pb2 as calls
from qonduit.v1.event_pb2 import JobEvent, LogLevel
from qonduit.v1.job_pb2 import Job, JobState
from qonduit.v1.job_service_pb2_grpc import JobServiceStub
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit.v1.system_service_pb2 import GetServerInfoRequest
from qonduit.v1.system_service_pb2_grpc import SystemServiceStub
from qonduit_client import Client, PreconditionFailed
from tests.benchmarks.programs import BELL, layered
from tests.server_process import serving
from tests.warm_workers import REAL_WORKERS

MIB = 1024**2
#: Twenty qubits use 16 MiB: one such job fits, two do not. Twenty-one use 32 MiB, and never fit.
LARGE, BUDGET = 20, 30 * MIB
WAITS = "the job needs 16.0 MiB of memory and waits until they are free"


class LoadClient:
    """Submits jobs and watches them."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.jobs = JobServiceStub(channel)
        self.system = SystemServiceStub(channel)

    def submit(self, programs: int, qubits: int = 0) -> int:
        """Queue a job of this many programs of this many qubits, or of Bell circuits."""
        request = calls.CreateJobRequest(job=Job(shots=10), device="IBM/aer_simulator")
        for k in range(programs):
            request.deployment.programs.add(
                quantum_circuit=layered(qubits, 1, seed=k) if qubits else BELL,
                assembler_language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2,
            )
        return int(self.jobs.CreateJob(request, timeout=100).job.id)

    def watch(self, job_id: int, until: Callable[[JobEvent], bool] = lambda event: False) -> list[JobEvent]:
        """Return the job's events until one of this kind, or its last."""
        events: list[JobEvent] = []
        stream = self.jobs.WatchJob(calls.WatchJobRequest(job_id=job_id), timeout=100)
        for reply in stream:
            if reply.event.WhichOneof("event") != "heartbeat":
                events.append(reply.event)
                if until(reply.event):
                    break
        stream.cancel()
        return events

    def state(self, job_id: int) -> JobState:
        return self.jobs.GetJob(calls.GetJobRequest(id=job_id), timeout=100).job.state

    def cancel(self, job_id: int) -> None:
        self.jobs.CancelJob(calls.CancelJobRequest(id=job_id), timeout=100)


@pytest.fixture(scope="module")
def load_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoadClient]:
    url = f"sqlite:///{tmp_path_factory.mktemp('memory') / 'q.sqlite3'}"
    settings = {"providers": "IBM", "workers": "2", "max_memory_bytes": str(BUDGET)}
    with serving(url, environment=REAL_WORKERS, **settings) as server, grpc.insecure_channel(server.target) as channel:
        yield LoadClient(channel)


def waits(event: JobEvent) -> bool:
    return event.log.message == WAITS


def outcomes(events: list[JobEvent]) -> list[int]:
    """Return the time when each of a job's programs succeeded, in nanoseconds."""
    succeeded = JobState.JOB_STATE_SUCCEEDED
    return [e.event_time.ToNanoseconds() for e in events if e.program_run.state == succeeded]


def test_the_effective_limits_are_reported(load_client: LoadClient) -> None:
    limits = load_client.system.GetServerInfo(GetServerInfoRequest(), timeout=100).limits
    assert limits.max_memory_bytes == BUDGET
    # One task was allowed half of the machine's memory, and may have no more than all tasks together.
    assert limits.max_task_memory_bytes == BUDGET


def test_a_job_that_never_fits_is_refused_with_the_number_that_fits(load_client: LoadClient) -> None:
    change = load_client.watch(load_client.submit(1, LARGE + 1))[-1].state_change
    assert change.to_state == JobState.JOB_STATE_FAILED
    assert change.job.failure.reason == "MEMORY_LIMIT"
    assert "use at most 20 qubits" in change.job.failure.message


def test_small_jobs_pass_one_that_waits_and_it_runs_when_there_is_room(load_client: LoadClient) -> None:
    running = load_client.submit(300, LARGE)
    load_client.watch(running, until=lambda event: event.program_run.state == JobState.JOB_STATE_SUCCEEDED)
    waiting, unwanted = load_client.submit(2, LARGE), load_client.submit(2, LARGE)
    for job_id in (waiting, unwanted):
        (log,) = [event.log for event in load_client.watch(job_id, until=waits) if event.HasField("log")]
        assert log.level == LogLevel.LOG_LEVEL_INFO
    for _ in range(5):
        assert load_client.watch(load_client.submit(1))[-1].state_change.to_state == JobState.JOB_STATE_SUCCEEDED
    load_client.cancel(unwanted)
    cancelled = load_client.watch(unwanted)
    assert cancelled[-1].state_change.to_state == JobState.JOB_STATE_CANCELLED
    assert not outcomes(cancelled)
    # Throughout, the first one ran, and the second one waited.
    assert load_client.state(running) == JobState.JOB_STATE_RUNNING
    load_client.cancel(running)
    first, second = load_client.watch(running), load_client.watch(waiting)
    assert first[-1].state_change.to_state == JobState.JOB_STATE_CANCELLED
    assert second[-1].state_change.to_state == JobState.JOB_STATE_SUCCEEDED
    assert len(outcomes(second)) == 2
    assert max(outcomes(first)) < min(outcomes(second))
    assert sum(map(waits, second)) == 1
    started = [e.program_run.index for e in second if e.program_run.state == JobState.JOB_STATE_RUNNING]
    assert started == [0, 1]  # no event is repeated
    progress = [event.progress.progress for event in second if event.HasField("progress")]
    assert progress == sorted(set(progress))


def test_large_jobs_never_run_at_the_same_time(load_client: LoadClient) -> None:
    large = [load_client.submit(2, LARGE) for _ in range(4)]
    small = [load_client.submit(1) for _ in range(20)]
    for job_id in small:
        assert load_client.watch(job_id)[-1].state_change.to_state == JobState.JOB_STATE_SUCCEEDED
    ran = []
    for job_id in large:
        times = outcomes(load_client.watch(job_id))
        assert len(times) == 2
        ran.append((times[0], times[1]))
    # If two ran at once, each would have an outcome before either had its second.
    ran.sort()
    assert all(before[1] <= after[0] for before, after in pairwise(ran)), ran


@pytest.mark.timeout(200)
def test_devices_publish_the_qubits_that_they_accept(tmp_path: Path) -> None:
    settings = {"max_task_memory_bytes": str(64 * MIB)}
    url = f"sqlite:///{tmp_path / 'q.sqlite3'}"
    with serving(url, environment=REAL_WORKERS, **settings) as server, Client(server.target) as client:
        published = {name: device.num_qubits for name, device in client.named_devices().items()}
        qubits = {"IBM/aer_simulator": 22, "AWS/local_simulator": 19, "GOOGLE/cirq_simulator": 20}
        assert published.items() >= qubits.items()
        for name, most in qubits.items():
            assert client.run(chain(most), name, 10).result(timeout=100).shots == 10
            if name == "IBM/aer_simulator":  # a wider Clifford circuit is no statevector there
                assert client.run(chain(most + 1), name, 10).result(timeout=100).shots == 10
                continue
            with pytest.raises(PreconditionFailed, match=f"declares {most + 1} qubits, {name} has {most}"):
                client.run(chain(most + 1), name, 10)


def chain(qubits: int) -> str:
    """Return a program that entangles this many qubits."""
    gates = "h q[0];" + "".join(f"cx q[{k}],q[{k + 1}];" for k in range(qubits - 1))
    return f'OPENQASM 2.0; include "qelib1.inc"; qreg q[{qubits}]; creg c[1]; {gates} measure q[0] -> c[0];'
