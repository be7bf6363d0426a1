# SPDX-License-Identifier: Apache-2.0
"""Results of the points of a sweep: stored once, listed by range, continued by the next attempt."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qonduit.execution.v1.task_pb2 import (
    FurtherResult,
    PointsDone,
    ProgramPartial,
    ProgramSucceeded,
    TaskEvent,
    TaskFinished,
)
from qonduit.v1 import job_service_pb2 as calls
from qonduit.v1.failure_pb2 import Failure
from qonduit.v1.job_pb2 import JobState
from qonduit.v1.result_pb2 import BufferReference, CountsAndProbabilities, Result, ResultType
from qonduit.v1.result_service_pb2 import ListResultsRequest
from qonduit.v1.sweep_pb2 import ParameterSets
from qonduit_server.store.jobs import queue
from qonduit_server.store.results import large_results
from tests.contract.job_requests import create, read, with_every_type
from tests.contract.rpc_fixture import OWNER, WAIT, RpcFixture, refused, rpc_fixture


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[RpcFixture]:
    with rpc_fixture(tmp_path) as it:
        yield with_every_type(it)


def counts(point: int, shots: int = 10) -> Result:
    return Result(
        result_type=ResultType.RESULT_TYPE_COUNTS_AND_PROBABILITIES,
        counts_and_probabilities=CountsAndProbabilities(counts={hex(point): shots}, probabilities={hex(point): 1.0}),
        shots=shots,
        point=point,
    )


def points_done(index: int, first: int, number: int) -> PointsDone:
    results = [FurtherResult(result=counts(point)) for point in range(first, first + number)]
    return PointsDone(index=index, first_point=first, results=results)


def swept(rpc: RpcFixture, points: int, number: int = 1) -> int:
    """Create and claim a job with points; return its id."""
    values = [float(point) for point in range(points)]
    job = create(rpc, number=number, parameter_sets=ParameterSets(names=["a"], values=values))
    rpc.claim()
    return job.id


def listed(rpc: RpcFixture, job_id: int, **fields: Any) -> list[Result]:
    found, token = [], ""
    while True:
        page = rpc.results.ListResults(ListResultsRequest(job_id=job_id, page_token=token, **fields), timeout=WAIT)
        found += page.results
        token = page.next_page_token
        if not token:
            return found


def test_results_of_points_are_listed_in_order_and_by_range(empty: RpcFixture) -> None:
    job_id = swept(empty, 250, number=2)
    # Programs that take turns: the order of the list is not that of the ids.
    for first in (0, 100, 200):
        for index in (1, 0):
            empty.record(job_id, points_done=points_done(index, first, min(100, 250 - first)))
    for index in (0, 1):
        empty.record(job_id, program_succeeded=ProgramSucceeded(index=index))
    empty.record(job_id, finished=TaskFinished())
    job = empty.jobs.GetJob(calls.GetJobRequest(id=job_id), timeout=WAIT).job
    assert job.state == JobState.JOB_STATE_SUCCEEDED
    assert [(run.points, run.points_done, len(run.result_ids)) for run in job.program_runs] == [(250, 250, 100)] * 2
    first, second = (run.program_id for run in job.program_runs)
    everything = listed(empty, job_id, page_size=70)
    wanted = [(program, point) for program in (first, second) for point in range(250)]
    assert [(each.program_id, each.point) for each in everything] == wanted
    for fields, points in (
        ({"program_index": 1}, range(250)),
        ({"program_index": 1, "first_point": 240}, range(240, 250)),
        ({"program_index": 0, "first_point": 10, "end_point": 33}, range(10, 33)),
        ({"program_index": 0, "end_point": 3}, range(3)),
        ({"program_index": 2}, range(0)),
        ({"program_index": 0, "first_point": 250}, range(0)),
    ):
        found = listed(empty, job_id, page_size=7, **fields)
        assert [each.point for each in found] == list(points), fields
        assert {each.program_id for each in found} <= {second if fields["program_index"] else first}
    both = listed(empty, job_id, first_point=5, end_point=7)
    assert [(each.program_id, each.point) for each in both] == [(first, 5), (first, 6), (second, 5), (second, 6)]
    token = empty.results.ListResults(ListResultsRequest(job_id=job_id, page_size=1), timeout=WAIT).next_page_token
    mixed = ListResultsRequest(job_id=job_id, page_size=1, page_token=token, program_index=1)
    assert refused(lambda: empty.results.ListResults(mixed, timeout=WAIT))[0] == "INVALID_ARGUMENT"


def test_groups_of_points_are_announced_once_and_continued(empty: RpcFixture) -> None:
    job_id = swept(empty, 6)
    empty.record(job_id, points_done=points_done(0, 0, 2))
    # Another attempt starts earlier or leaves a gap: neither is recorded.
    empty.record(job_id, points_done=points_done(0, 0, 2))
    empty.record(job_id, points_done=points_done(0, 3, 2))
    empty.record(job_id, points_done=points_done(0, 2, 4))
    empty.record(job_id, program_succeeded=ProgramSucceeded(index=0))
    empty.record(job_id, finished=TaskFinished())
    results = listed(empty, job_id)
    assert [each.point for each in results] == list(range(6))
    events = empty.jobs.ListJobEvents(calls.ListJobEventsRequest(job_id=job_id), timeout=WAIT).events
    ready = [event.result_ready for event in events if event.HasField("result_ready")]
    assert [(each.first_point, each.points, each.result_id) for each in ready] == [
        (0, 2, results[0].id), (2, 4, results[2].id),
    ]  # fmt: skip


def test_points_with_buffers_are_read(empty: RpcFixture) -> None:
    job_id = swept(empty, 2)
    results = []
    for point in range(2):
        rows = bytes([point]) * 300_000
        result = counts(point)
        result.buffer.CopyFrom(
            BufferReference(size_bytes=len(rows), sha256=hashlib.sha256(rows).hexdigest(), rows=300_000)
        )
        results.append(FurtherResult(result=result, buffer=rows))
    done = TaskEvent(job_id=job_id, attempt=1, points_done=PointsDone(results=results))
    assert large_results.is_large(done)
    large_results.write_ahead(empty.db, done)
    empty.record(job_id, points_done=done.points_done)
    for point, result in enumerate(listed(empty, job_id)):
        assert read(empty, result.buffer.name) == bytes([point]) * 300_000


def test_a_claimed_job_continues_after_the_points_that_are_stored(empty: RpcFixture) -> None:
    job_id = swept(empty, 10)
    empty.record(job_id, points_done=points_done(0, 0, 4))
    queue.release(empty.db, OWNER, {(job_id, 1): None}, "the worker died", counts=True)
    (task,) = empty.claim()
    assert (task.attempt, task.programs[0].points_done) == (2, 4)


def test_a_cancelled_job_keeps_its_partial_results(empty: RpcFixture) -> None:
    job_id = swept(empty, 10, number=2)
    empty.record(job_id, points_done=points_done(0, 0, 4))
    empty.jobs.CancelJob(calls.CancelJobRequest(id=job_id), timeout=WAIT)
    part = counts(0, 7)
    part.ClearField("point")
    partial = ProgramPartial(index=1, results=[FurtherResult(result=part)])
    empty.record(job_id, finished=TaskFinished(failure=Failure(reason="CANCELLED"), partial=[partial]))
    job = empty.jobs.GetJob(calls.GetJobRequest(id=job_id), timeout=WAIT).job
    assert job.state == JobState.JOB_STATE_CANCELLED
    assert [run.state for run in job.program_runs] == [JobState.JOB_STATE_CANCELLED] * 2
    results = listed(empty, job_id)
    assert [(each.point, each.partial, each.shots) for each in results] == [
        (0, False, 10), (1, False, 10), (2, False, 10), (3, False, 10), (0, True, 7),
    ]  # fmt: skip
    assert results[-1].id in job.program_runs[1].result_ids
