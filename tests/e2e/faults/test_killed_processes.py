# SPDX-License-Identifier: Apache-2.0
"""Processes are killed during jobs: no acknowledged job is lost or unfinished, no event missed or doubled."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2

from qonduit.v1 import job_service_pb2 as calls
from qonduit.v1.job_service_pb2_grpc import JobServiceStub
from tests.e2e.faults.checking import assert_ended_well, family, wait_until_gone
from tests.e2e.faults.submitting import CANCELLED, FAILED, RUNNING, a_job, long_job, submit, wait_for, watch, working
from tests.e2e.faults.trap import MIDDLE, RecordingTrap
from tests.e2e.load import health
from tests.server_process import serving

SETTINGS = {"providers": "IBM", "preload": "IBM"}
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def some_programs() -> calls.CreateJobRequest:
    """Return a short job: tests stop its worker in the middle of it."""
    return a_job(programs=6, qubits=3, depth=2)


@pytest.mark.timeout(240)
def test_a_killed_worker_costs_its_own_job_one_attempt_and_no_other_job_any(
    tmp_path: Path, trap: RecordingTrap
) -> None:
    url = f"sqlite:///{tmp_path / 'q.sqlite3'}"
    with serving(url, environment=trap.environment, workers="2", **SETTINGS) as server:
        job_id, worker = trap.submit_and_stop(server.target, some_programs())
        bystander = submit(server.target, long_job())
        wait_for(server.target, bystander, working)
        os.kill(worker, signal.SIGKILL)
        assert assert_ended_well(server.target, bystander, 40).attempt == 1
        assert assert_ended_well(server.target, job_id, 6).attempt == 2


@pytest.mark.timeout(240)
def test_a_job_whose_workers_keep_dying_fails_with_a_clear_reason(tmp_path: Path, trap: RecordingTrap) -> None:
    url = f"sqlite:///{tmp_path / 'q.sqlite3'}"
    with serving(url, environment=trap.environment, max_attempts="1", **SETTINGS) as server:
        job_id, worker = trap.submit_and_stop(server.target, some_programs())
        os.kill(worker, signal.SIGKILL)
        final = list(watch(server.target, job_id))[-1].state_change.job
        assert final.state == FAILED
        assert final.failure.reason == "WORKER_DIED"
        assert final.failure.retryable
        assert "SIGKILL" in final.failure.message or "signal 9" in final.failure.message
        # The next job runs normally.
        assert_ended_well(server.target, submit(server.target, a_job(1, 0, 0)), 1)


@pytest.mark.timeout(240)
def test_a_running_job_is_cancelled_and_the_next_one_runs(tmp_path: Path) -> None:
    with serving(f"sqlite:///{tmp_path / 'q.sqlite3'}", **SETTINGS) as server:
        job_id = submit(server.target, a_job(1, 23, 60))
        wait_for(server.target, job_id, lambda event: event.state_change.to_state == RUNNING)
        with grpc.insecure_channel(server.target) as channel:
            JobServiceStub(channel).CancelJob(calls.CancelJobRequest(id=job_id), timeout=100)
        events = list(watch(server.target, job_id))
        assert events[-1].state_change.to_state == CANCELLED
        assert_ended_well(server.target, submit(server.target, a_job(1, 0, 0)), 1)


@pytest.mark.timeout(240)
def test_a_killed_server_leaves_no_process_running_and_no_job_unfinished(
    database_url: str, trap: RecordingTrap
) -> None:
    settings = {"lease_seconds": "1", **SETTINGS}
    with serving(database_url, environment=trap.environment, **settings) as first:
        running, _ = trap.submit_and_stop(first.target, some_programs())
        seen = wait_for(first.target, running, working)
        queued = [submit(first.target, a_job(1, 0, 0)) for _ in range(20)]
        others = family(first)
        first.process.kill()
        first.process.wait()
        for pid in others:
            wait_until_gone(pid)
        with serving(database_url, **settings) as second:
            assert_ended_well(second.target, running, 6)
            for job_id in queued:
                assert_ended_well(second.target, job_id, 1)
            # A watcher that resumes where it was cut off misses no event and gets none twice.
            resumed = list(watch(second.target, running, after=seen[-1].sequence))
            assert resumed[0].sequence == seen[-1].sequence + 1
            assert seen == list(watch(second.target, running))[: len(seen)]


@pytest.mark.timeout(240)
def test_a_job_that_kills_every_server_fails_after_max_attempts_and_others_run(
    database_url: str, trap: RecordingTrap
) -> None:
    settings = {"lease_seconds": "1", "max_attempts": "2", **SETTINGS}
    job_id = 0
    for attempt in (1, 2):
        trap.arm(MIDDLE.name, action="S")
        with serving(database_url, environment=trap.environment, **settings) as server:
            job_id = job_id or submit(server.target, some_programs())
            trap.wait(MIDDLE.name)
            wait_for(server.target, job_id, lambda event, attempt=attempt: event.state_change.job.attempt == attempt)  # type: ignore[misc]
            server.process.kill()
            server.process.wait()
    with serving(database_url, **settings) as server:
        final = list(watch(server.target, job_id))[-1].state_change.job
        assert (final.state, final.attempt, final.failure.reason) == (FAILED, 2, "SERVER_LOST")
        assert final.failure.retryable
        assert_ended_well(server.target, submit(server.target, a_job(1, 0, 0)), 1)


@pytest.mark.timeout(240)
def test_a_stopped_server_hands_running_jobs_to_the_next_one(database_url: str, trap: RecordingTrap) -> None:
    with serving(database_url, environment=trap.environment, drain_seconds="0", **SETTINGS) as first:
        running, _ = trap.submit_and_stop(first.target, some_programs())
        wait_for(first.target, running, working)
        first.process.send_signal(signal.SIGTERM)
        assert first.process.wait(timeout=100) == 0
    with serving(database_url, **SETTINGS) as second:
        assert_ended_well(second.target, running, 6)


@pytest.mark.timeout(240)
def test_draining_lets_a_running_job_end(tmp_path: Path, trap: RecordingTrap) -> None:
    url = f"sqlite:///{tmp_path / 'q.sqlite3'}"
    with serving(url, environment=trap.environment, drain_seconds="60", **SETTINGS) as first:
        running, worker = trap.submit_and_stop(first.target, some_programs())
        first.process.send_signal(signal.SIGTERM)
        assert health(first.target, "qonduit.v1.JobService", wait_for=NOT_SERVING) == NOT_SERVING
        os.kill(worker, signal.SIGCONT)
        assert first.process.wait(timeout=100) == 0
    with serving(url, **SETTINGS) as second:
        assert assert_ended_well(second.target, running, 6).attempt == 1
