# SPDX-License-Identifier: Apache-2.0
"""Invariants of jobs, events and results after any kill, and of leftover processes."""

from __future__ import annotations

import os
import select
from collections.abc import Sequence
from pathlib import Path

import grpc

from qonduit.v1.event_pb2 import JobEvent
from qonduit.v1.job_pb2 import Job, JobState
from qonduit.v1.result_pb2 import Result
from qonduit.v1.result_service_pb2 import ListResultsRequest
from qonduit.v1.result_service_pb2_grpc import ResultServiceStub
from qonduit.v1.system_service_pb2 import ListWorkersRequest
from qonduit.v1.system_service_pb2_grpc import SystemServiceStub
from tests.e2e.faults.submitting import CANCELLED, FAILED, RUNNING, SUCCEEDED, watch
from tests.server_process import Server

_ENDS = (SUCCEEDED, FAILED, CANCELLED)


def sound(events: Sequence[JobEvent]) -> Job:
    """Check that a job's history is complete and consistent; return the job as it ended."""
    assert [event.sequence for event in events] == list(range(1, len(events) + 1)), [e.sequence for e in events]
    assert events[0].HasField("created")
    state, attempt, progress = JobState.JOB_STATE_QUEUED, 0, 0.0
    outcomes: list[int] = []
    given: list[int] = []
    for event in events[1:]:
        assert state not in _ENDS, f"event {event.sequence} arrived after the end"
        kind = event.WhichOneof("event")
        if kind == "state_change":
            assert event.state_change.from_state == state, event
            state = event.state_change.to_state
            if state == RUNNING:
                attempt += 1
                assert event.state_change.job.attempt == attempt
            elif state == JobState.JOB_STATE_QUEUED:
                # A server that was stopped, rather than lost, does not count its attempt.
                assert attempt - 1 <= event.state_change.job.attempt <= attempt
                attempt = event.state_change.job.attempt
        elif kind == "program_run" and event.program_run.state in _ENDS:
            outcomes.append(event.program_run.index)
        elif kind == "result_ready":
            given.append(event.result_ready.result_id)
        elif kind == "progress":
            assert event.progress.progress > progress, "progress went back"
            progress = event.progress.progress
    assert state in _ENDS, JobState.Name(state)
    assert len(set(outcomes)) == len(outcomes), f"programs that ended twice: {outcomes}"
    assert len(set(given)) == len(given), f"results emitted twice: {given}"
    final = events[-1].state_change.job
    assert final.last_sequence == len(events)
    assert sorted(result for run in final.program_runs for result in run.result_ids) == sorted(given)
    return final


def results_of(target: str, job_id: int) -> list[Result]:
    """Return all results of a job."""
    with grpc.insecure_channel(target) as channel:
        answer = ResultServiceStub(channel).ListResults(
            ListResultsRequest(job_id=job_id, page_size=1000), timeout=100, wait_for_ready=True
        )
    assert not answer.next_page_token
    return list(answer.results)


def assert_results(results: Sequence[Result], final: Job) -> None:
    """Check that each program that ran has one result with all its shots, and no other program has one."""
    ran = [run.program_id for run in final.program_runs if run.state == SUCCEEDED]
    assert sorted(result.program_id for result in results) == sorted(ran)
    for result in results:
        assert sum(result.counts_and_probabilities.counts.values()) == result.shots == final.shots
    assert sorted(result.id for result in results) == sorted(r for run in final.program_runs for r in run.result_ids)


def assert_ended_well(target: str, job_id: int, programs: int) -> Job:
    """Check that the job succeeded with a valid history, and that each program has one result with all its shots."""
    final = sound(list(watch(target, job_id)))
    assert final.state == SUCCEEDED, final
    assert len(final.program_runs) == programs
    results = results_of(target, job_id)
    assert_results(results, final)
    assert len(results) == programs
    return final


def family(server: Server) -> list[int]:
    """Return the server's fork servers and their workers."""
    return [pid for child in children(server.process.pid) for pid in (child, *children(child))]


def worker_of(server: Server, job_id: int) -> int:
    """Return the process that runs a job."""
    with grpc.insecure_channel(server.target) as channel:
        workers = SystemServiceStub(channel).ListWorkers(ListWorkersRequest(), timeout=100).workers
    return int(next(worker.pid for worker in workers if worker.job_id == job_id))


def children(pid: int) -> list[int]:
    """Return the process's children."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += map(int, (task / "children").read_text().split())
    return found


def _is_gone(pid: int) -> bool:
    """Return whether the process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def wait_until_gone(pid: int) -> None:
    """Wait until a process that is no child of this one has ended: its pidfd becomes readable then."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        ready, _, _ = select.select([handle], [], [], 10)
        assert ready or _is_gone(pid), f"process {pid} is still running"
    finally:
        os.close(handle)
