# SPDX-License-Identifier: Apache-2.0
"""Processes are killed in the middle of jobs: no acknowledged job is lost or unfinished, no event missed or doubled."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from qonduit.v1 import job_service_pb2 as calls
from qonduit.v1.event_pb2 import JobEvent
from qonduit.v1.job_pb2 import Job, JobState
from qonduit.v1.job_service_pb2_grpc import JobServiceStub
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit.v1.result_service_pb2 import ListResultsRequest
from qonduit.v1.result_service_pb2_grpc import ResultServiceStub
from tests.benchmarks.programs import BELL, layered
from tests.serving import Server, serving

SUCCEEDED = JobState.JOB_STATE_SUCCEEDED
CANCELLED = JobState.JOB_STATE_CANCELLED
FAILED = JobState.JOB_STATE_FAILED


def a_job(programs: int, qubits: int, depth: int, device: str = "IBM/aer_simulator") -> calls.CreateJobRequest:
    """A job long enough to be killed in the middle: several programs, each its own circuit."""
    request = calls.CreateJobRequest(job=Job(shots=100), device=device)
    for k in range(programs):
        request.deployment.programs.add(
            quantum_circuit=layered(qubits, depth, seed=k) if qubits else BELL,
            assembler_language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2,
        )
    return request


def long_job() -> calls.CreateJobRequest:
    """About two seconds of work in forty programs."""
    return a_job(programs=40, qubits=15, depth=8)


def watch(target: str, job_id: int, after: int = 0) -> Iterator[JobEvent]:
    """The job's events without heartbeats, until the stream ends."""
    with grpc.insecure_channel(target) as channel:
        stream = JobServiceStub(channel).WatchJob(
            calls.WatchJobRequest(job_id=job_id, after_sequence=after), timeout=100, wait_for_ready=True
        )
        for reply in stream:
            if reply.event.WhichOneof("event") != "heartbeat":
                yield reply.event


def wait_for(target: str, job_id: int, happened: Callable[[JobEvent], bool]) -> list[JobEvent]:
    """Watch from the start until something happened; returns the events so far."""
    events: list[JobEvent] = []
    for event in watch(target, job_id):
        events.append(event)
        if happened(event):
            return events
    raise AssertionError(f"never happened: {[e.WhichOneof('event') for e in events]}")


def working(event: JobEvent) -> bool:
    """Whether the event shows that the worker is in the middle of the job."""
    return event.WhichOneof("event") == "program_run"


def submit(target: str, request: calls.CreateJobRequest) -> int:
    """Queue the job, return its id."""
    with grpc.insecure_channel(target) as channel:
        return JobServiceStub(channel).CreateJob(request, timeout=20, wait_for_ready=True).job.id


def assert_ended_well(target: str, job_id: int, programs: int) -> Job:
    """The job succeeded, its log is 1..n without gap or double, and each program has one result of all its shots."""
    events = list(watch(target, job_id))
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    final = events[-1].state_change.job
    assert final.state == SUCCEEDED, final
    with grpc.insecure_channel(target) as channel:
        results = ResultServiceStub(channel).ListResults(ListResultsRequest(job_id=job_id, page_size=1000)).results
    assert len({result.program_id for result in results}) == len(results) == programs
    assert all(sum(r.counts_and_probabilities.counts.values()) == r.shots for r in results)
    return final


def busiest_worker(server: Server) -> int:
    """The process of the server's family that has used most CPU, leaving the server and its nurseries out."""
    nurseries = set(children(server.process.pid))
    workers = [pid for nursery in nurseries for pid in children(nursery)]
    return max(workers, key=cpu_of)


def children(pid: int) -> list[int]:
    """The process's children."""
    return [int(x) for task in Path(f"/proc/{pid}/task").iterdir() for x in (task / "children").read_text().split()]


def cpu_of(pid: int) -> int:
    """Clock ticks a process has used."""
    return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))


def is_gone(pid: int) -> bool:
    """Whether the process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


@pytest.mark.timeout(240)
def test_a_killed_worker_costs_its_own_job_one_attempt_and_others_nothing(tmp_path: Path) -> None:
    with serving(f"sqlite:///{tmp_path / 'q.sqlite3'}", preload="IBM") as server:
        job_id = submit(server.target, long_job())
        wait_for(server.target, job_id, working)
        bystander = submit(server.target, a_job(1, 0, 0))
        os.kill(busiest_worker(server), signal.SIGKILL)
        assert assert_ended_well(server.target, bystander, 1).attempt >= 1
        assert assert_ended_well(server.target, job_id, 40).attempt == 2


@pytest.mark.timeout(240)
def test_a_job_whose_workers_keep_dying_fails_with_a_reason_that_says_so(tmp_path: Path) -> None:
    with serving(f"sqlite:///{tmp_path / 'q.sqlite3'}", preload="IBM", max_attempts="1") as server:
        job_id = submit(server.target, long_job())
        wait_for(server.target, job_id, working)
        os.kill(busiest_worker(server), signal.SIGKILL)
        final = list(watch(server.target, job_id))[-1].state_change.job
        assert final.state == FAILED
        assert final.failure.reason == "WORKER_DIED"
        assert final.failure.retryable
        assert "SIGKILL" in final.failure.message or "signal 9" in final.failure.message
        # The next job runs as if nothing had happened.
        assert_ended_well(server.target, submit(server.target, a_job(1, 0, 0)), 1)


@pytest.mark.timeout(240)
def test_a_running_job_is_cancelled_and_the_next_one_runs(tmp_path: Path) -> None:
    with serving(f"sqlite:///{tmp_path / 'q.sqlite3'}", preload="IBM") as server:
        job_id = submit(server.target, a_job(1, 23, 60))
        wait_for(server.target, job_id, lambda event: event.state_change.to_state == JobState.JOB_STATE_RUNNING)
        with grpc.insecure_channel(server.target) as channel:
            JobServiceStub(channel).CancelJob(calls.CancelJobRequest(id=job_id), timeout=5)
        events = list(watch(server.target, job_id))
        assert events[-1].state_change.to_state == CANCELLED
        assert_ended_well(server.target, submit(server.target, a_job(1, 0, 0)), 1)


@pytest.mark.timeout(240)
def test_a_killed_server_leaves_nothing_running_and_nothing_unfinished(database_url: str) -> None:
    with serving(database_url, preload="IBM", lease_seconds="3") as first:
        running = submit(first.target, long_job())
        queued = [submit(first.target, a_job(1, 0, 0)) for _ in range(20)]
        seen = wait_for(first.target, running, working)
        family = [pid for child in children(first.process.pid) for pid in (child, *children(child))]
        first.process.kill()
        first.process.wait()
        for pid in family:
            wait_until_gone(pid)
        with serving(database_url, preload="IBM", lease_seconds="3") as second:
            assert_ended_well(second.target, running, 40)
            for job_id in queued:
                assert_ended_well(second.target, job_id, 1)
            # A watcher that resumes where it was cut off misses nothing and gets nothing twice.
            resumed = list(watch(second.target, running, after=seen[-1].sequence))
            assert resumed[0].sequence == seen[-1].sequence + 1
            assert seen == list(watch(second.target, running))[: len(seen)]


def wait_until_gone(pid: int) -> None:
    """Wait until a process that is nobody's child here has ended: its pidfd becomes readable then."""
    import select

    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        ready, _, _ = select.select([handle], [], [], 10)
        assert ready or is_gone(pid), f"process {pid} outlived its server"
    finally:
        os.close(handle)


@pytest.mark.timeout(240)
def test_a_stopped_server_hands_running_jobs_to_the_next_one(database_url: str) -> None:
    with serving(database_url, preload="IBM", drain_seconds="0") as first:
        running = submit(first.target, long_job())
        wait_for(first.target, running, working)
        first.process.send_signal(signal.SIGTERM)
        assert first.process.wait(timeout=30) == 0
    with serving(database_url, preload="IBM") as second:
        assert_ended_well(second.target, running, 40)


@pytest.mark.timeout(240)
def test_draining_lets_a_running_job_end(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'q.sqlite3'}"
    with serving(url, preload="IBM", drain_seconds="60") as first:
        running = submit(first.target, long_job())
        wait_for(first.target, running, working)
        first.process.send_signal(signal.SIGTERM)
        assert first.process.wait(timeout=100) == 0
    with serving(url, preload="IBM") as second:
        assert assert_ended_well(second.target, running, 40).attempt == 1
