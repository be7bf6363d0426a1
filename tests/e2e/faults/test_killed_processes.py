# SPDX-License-Identifier: Apache-2.0
"""Processes are killed during jobs: no acknowledged job is lost or unfinished, no event missed or doubled."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import grpc
import pytest

from qonduit.v1 import job_service_pb2 as calls
from qonduit.v1.job_service_pb2_grpc import JobServiceStub
from tests.e2e.faults.checking import assert_ended_well, busiest_worker, family, wait_until_gone
from tests.e2e.faults.submitting import CANCELLED, FAILED, RUNNING, a_job, long_job, submit, wait_for, watch, working
from tests.server_process import serving


@pytest.mark.timeout(240)
def test_a_killed_worker_costs_its_own_job_one_attempt_and_no_other_job_any(tmp_path: Path) -> None:
    with serving(f"sqlite:///{tmp_path / 'q.sqlite3'}", preload="IBM") as server:
        job_id = submit(server.target, long_job())
        wait_for(server.target, job_id, working)
        bystander = submit(server.target, a_job(1, 0, 0))
        os.kill(busiest_worker(server), signal.SIGKILL)
        assert assert_ended_well(server.target, bystander, 1).attempt >= 1
        assert assert_ended_well(server.target, job_id, 40).attempt == 2


@pytest.mark.timeout(240)
def test_a_job_whose_workers_keep_dying_fails_with_a_clear_reason(tmp_path: Path) -> None:
    with serving(f"sqlite:///{tmp_path / 'q.sqlite3'}", preload="IBM", max_attempts="1") as server:
        job_id = submit(server.target, long_job())
        wait_for(server.target, job_id, working)
        os.kill(busiest_worker(server), signal.SIGKILL)
        final = list(watch(server.target, job_id))[-1].state_change.job
        assert final.state == FAILED
        assert final.failure.reason == "WORKER_DIED"
        assert final.failure.retryable
        assert "SIGKILL" in final.failure.message or "signal 9" in final.failure.message
        # The next job runs normally.
        assert_ended_well(server.target, submit(server.target, a_job(1, 0, 0)), 1)


@pytest.mark.timeout(240)
def test_a_running_job_is_cancelled_and_the_next_one_runs(tmp_path: Path) -> None:
    with serving(f"sqlite:///{tmp_path / 'q.sqlite3'}", preload="IBM") as server:
        job_id = submit(server.target, a_job(1, 23, 60))
        wait_for(server.target, job_id, lambda event: event.state_change.to_state == RUNNING)
        with grpc.insecure_channel(server.target) as channel:
            JobServiceStub(channel).CancelJob(calls.CancelJobRequest(id=job_id), timeout=100)
        events = list(watch(server.target, job_id))
        assert events[-1].state_change.to_state == CANCELLED
        assert_ended_well(server.target, submit(server.target, a_job(1, 0, 0)), 1)


@pytest.mark.timeout(240)
def test_a_killed_server_leaves_no_process_running_and_no_job_unfinished(database_url: str) -> None:
    with serving(database_url, preload="IBM", lease_seconds="3") as first:
        running = submit(first.target, long_job())
        queued = [submit(first.target, a_job(1, 0, 0)) for _ in range(20)]
        seen = wait_for(first.target, running, working)
        others = family(first)
        first.process.kill()
        first.process.wait()
        for pid in others:
            wait_until_gone(pid)
        with serving(database_url, preload="IBM", lease_seconds="3") as second:
            assert_ended_well(second.target, running, 40)
            for job_id in queued:
                assert_ended_well(second.target, job_id, 1)
            # A watcher that resumes where it was cut off misses no event and gets none twice.
            resumed = list(watch(second.target, running, after=seen[-1].sequence))
            assert resumed[0].sequence == seen[-1].sequence + 1
            assert seen == list(watch(second.target, running))[: len(seen)]


@pytest.mark.timeout(240)
def test_a_job_that_kills_every_server_fails_after_max_attempts_and_others_run(database_url: str) -> None:
    settings = {"preload": "IBM", "lease_seconds": "1", "max_attempts": "2"}
    job_id = 0
    for attempt in (1, 2):
        with serving(database_url, **settings) as server:
            job_id = job_id or submit(server.target, long_job())
            wait_for(server.target, job_id, lambda event, attempt=attempt: event.state_change.job.attempt == attempt)  # type: ignore[misc]
            server.process.kill()
            server.process.wait()
    with serving(database_url, **settings) as server:
        final = list(watch(server.target, job_id))[-1].state_change.job
        assert (final.state, final.attempt, final.failure.reason) == (FAILED, 2, "SERVER_LOST")
        assert final.failure.retryable
        assert_ended_well(server.target, submit(server.target, a_job(1, 0, 0)), 1)


@pytest.mark.timeout(240)
def test_a_stopped_server_hands_running_jobs_to_the_next_one(database_url: str) -> None:
    with serving(database_url, preload="IBM", drain_seconds="0") as first:
        running = submit(first.target, long_job())
        wait_for(first.target, running, working)
        first.process.send_signal(signal.SIGTERM)
        assert first.process.wait(timeout=100) == 0
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
