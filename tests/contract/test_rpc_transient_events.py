# SPDX-License-Identifier: Apache-2.0
"""Events that are not stored: places in the queue and partial results, for streams that asked for them alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qonduit.execution.v1.task_pb2 import TaskEvent, TaskFinished
from qonduit.v1 import job_service_pb2 as calls
from qonduit.v1.event_pb2 import JobEvent, PartialResult
from qonduit.v1.failure_pb2 import Failure
from qonduit.v1.job_pb2 import QueuePlace, QueueReason
from qonduit.v1.result_pb2 import Result
from qonduit.v1.result_service_pb2 import ListResultsRequest
from qonduit_server.rpc import queue_places
from qonduit_server.rpc import watch as watch_state
from qonduit_server.store.jobs import outcome_recording, queue, queue_positions
from qonduit_server.store.results import result_rows
from qonduit_server.store.wait_history import LEAST_WAITS
from tests.contract.rpc_fixture import OWNER, WAIT, RpcFixture, bell, rpc_fixture


@pytest.fixture
def rpc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RpcFixture]:
    monkeypatch.setattr(queue_places, "INTERVAL", 0.01)
    with rpc_fixture(tmp_path) as it:
        yield it


def run(rpc: RpcFixture, **fields: Any) -> tuple[Any, int]:
    """Open a stream of a new job; return it with the job's id."""
    stream = rpc.jobs.RunJob(bell(**fields), timeout=WAIT)
    return stream, next(stream).event.job_id


def watch(rpc: RpcFixture, job_id: int, after: int = 0, **fields: Any) -> Any:
    return rpc.jobs.WatchJob(calls.WatchJobRequest(job_id=job_id, after_sequence=after, **fields), timeout=WAIT)


def kinds(stream: Any) -> list[str]:
    return [response.event.WhichOneof("event") for response in stream]


def partial(rpc: RpcFixture, job_id: int, shots: int) -> None:
    """Deliver a partial result as the dispatcher does."""
    message = PartialResult(index=0, results=[Result(shots=shots)])
    event = JobEvent(job_id=job_id, partial_result=message)
    rpc.db.publish_partial_result(job_id, event.SerializeToString())


def next_place(stream: Any, last: int) -> int:
    event = next(stream).event
    assert event.WhichOneof("event") == "queue_change", event
    assert event.sequence == 0
    assert event.HasField("event_time")
    assert event.queue_change.last_sequence == last
    return event.queue_change.queue.position


def test_places_in_the_queue(rpc: RpcFixture) -> None:
    ids = [run(rpc)[1] for _ in range(3)]
    for place, job_id in enumerate(ids):
        found = rpc.jobs.GetJob(calls.GetJobRequest(id=job_id), timeout=WAIT).job
        assert found.queue.HasField("position")
        assert found.queue.position == place
        assert found.queue.reason == (
            QueueReason.QUEUE_REASON_EARLIER_JOBS if place else QueueReason.QUEUE_REASON_NO_WORKER
        )
    assert not rpc.jobs.ListJobs(calls.ListJobsRequest(), timeout=WAIT).jobs[0].HasField("queue")
    # Another provider's queue is another one.
    rpc.claim()
    assert not rpc.jobs.GetJob(calls.GetJobRequest(id=ids[0]), timeout=WAIT).job.HasField("queue")


def test_a_stream_that_asks_gets_each_change_of_its_place(rpc: RpcFixture) -> None:
    first, last = run(rpc)[1], run(rpc)[1]
    stream, job_id = run(rpc, queue_updates=True)
    assert next_place(stream, last=1) == 2
    rpc.jobs.CancelJob(calls.CancelJobRequest(id=last), timeout=WAIT)
    assert next_place(stream, last=1) == 1
    # A second stream of the job gets the place at once, and the first one does not get it twice.
    other = watch(rpc, job_id, queue_updates=True)
    assert next(other).event.WhichOneof("event") == "created"
    assert next_place(other, last=1) == 1
    rpc.jobs.CancelJob(calls.CancelJobRequest(id=first), timeout=WAIT)
    assert next_place(stream, last=1) == 0
    assert next_place(other, last=1) == 0
    rpc.run(job_id)
    for each in (stream, other):
        assert set(kinds(each)).isdisjoint({"queue_change", "partial_result"})
    # A job that waits again has a place again.
    stream, job_id = run(rpc, queue_updates=True)
    assert next_place(stream, last=1) == 0
    (task,) = rpc.claim()
    queue.release(rpc.db, OWNER, {(job_id, task.attempt): None}, "lost", counts=True)
    rpc.run(job_id)
    assert kinds(stream)[-1] == "state_change"


def test_estimates_are_sent_once_they_are_known(rpc: RpcFixture) -> None:
    run(rpc)
    stream, job_id = run(rpc, queue_updates=True)
    assert next_place(stream, last=1) == 1
    with rpc.db.read() as connection:
        (place,) = queue_positions.places_of(rpc.db, connection, [job_id], rpc.db.now()).values()
    assert place.start is not None
    assert place.end is not None
    for seconds in range(LEAST_WAITS):
        rpc.db.waits.starts.add(place.start, 10.0 + seconds)
        rpc.db.waits.ends.add(place.end, 20.0 + seconds)
    queue = next(stream).event.queue_change.queue
    while not queue.HasField("estimated_start_seconds_p50"):  # some waits were added
        queue = next(stream).event.queue_change.queue
    found = rpc.jobs.GetJob(calls.GetJobRequest(id=job_id), timeout=WAIT).job.queue
    assert (found.estimated_start_seconds_p50, found.estimated_start_seconds_p90) == (14.0, 19.0)
    assert (found.estimated_end_seconds_p50, found.estimated_end_seconds_p90) == (24.0, 29.0)
    assert found.position == 1


def test_a_place_differs_by_more_than_the_last_digit_of_an_estimate() -> None:
    before = QueuePlace(position=1, estimated_start_seconds_p50=10.0, estimated_start_seconds_p90=20.0)
    for fields, changed in (
        ({}, False),
        ({"estimated_start_seconds_p50": 9.5}, False),
        ({"estimated_start_seconds_p90": 30.0}, True),
        ({"position": 2}, True),
        ({"reason": QueueReason.QUEUE_REASON_SHARE}, True),
        ({"message": "the server is paused"}, True),
    ):
        place = QueuePlace()
        place.CopyFrom(before)
        place.MergeFrom(QueuePlace(**fields))  # type: ignore[arg-type]
        assert watch_state.differs(place, before) is changed
    assert watch_state.differs(QueuePlace(position=1), before)
    assert watch_state.differs(before, None)


def test_transient_events_are_neither_stored_nor_sent_to_others(rpc: RpcFixture) -> None:
    stream, job_id = run(rpc, queue_updates=True, partial_results=True)
    plain = watch(rpc, job_id)
    assert next(plain).event.sequence == 1
    assert next_place(stream, last=1) == 0
    rpc.claim()
    rpc.log(job_id, "working")
    found = [next(stream).event for _ in range(2)]
    assert [event.sequence for event in found] == [2, 3]
    partial(rpc, job_id, shots=5)
    event = next(stream).event
    assert (event.sequence, event.partial_result.last_sequence) == (0, 3)
    assert event.partial_result.results[0].shots == 5
    rpc.finish(job_id)
    rest = [response.event for response in stream]
    sequences = [event.sequence for event in rest if event.sequence]
    assert sequences == list(range(4, 4 + len(sequences)))
    others = [response.event for response in plain]
    assert [event.sequence for event in others] == list(range(2, 4 + len(sequences)))
    stored = rpc.jobs.ListJobEvents(calls.ListJobEventsRequest(job_id=job_id), timeout=WAIT).events
    assert [event.sequence for event in stored] == list(range(1, 4 + len(sequences)))
    assert {"partial_result", "queue_change"}.isdisjoint(event.WhichOneof("event") for event in stored)
    # A stream resumes by the sequence that a transient event carried.
    resumed = watch(rpc, job_id, after=3, partial_results=True, queue_updates=True)
    assert [response.event.sequence for response in resumed] == sequences


def test_a_partial_result_before_the_end_is_not_lost(rpc: RpcFixture) -> None:
    stream, job_id = run(rpc, partial_results=True)
    (task,) = rpc.claim()
    assert next(stream).event.sequence == 2
    partial(rpc, job_id, shots=7)
    end = TaskEvent(job_id=job_id, attempt=task.attempt, finished=TaskFinished(failure=Failure(reason="BROKEN")))
    queue.record(rpc.db, OWNER, [end])
    found = [response.event for response in stream]
    assert found[0].partial_result.results[0].shots == 7
    assert found[-1].sequence


def test_a_stream_that_asks_gets_the_results_before_the_end(rpc: RpcFixture) -> None:
    stream, job_id = run(rpc, final_results=True)
    plain = watch(rpc, job_id)
    rpc.run(job_id)
    found = [response.event for response in stream]
    assert [event.WhichOneof("event") for event in found[-2:]] == ["final_results", "state_change"]
    results, end = found[-2], found[-1]
    listed = rpc.results.ListResults(ListResultsRequest(job_id=job_id), timeout=WAIT).results
    assert list(results.final_results.results) == list(listed)
    assert (results.sequence, results.job_id, results.final_results.last_sequence) == (0, job_id, end.sequence - 1)
    assert results.HasField("event_time")
    assert "final_results" not in kinds(plain)
    # A stream that breaks between the two receives both again; one that has the end receives neither.
    assert kinds(watch(rpc, job_id, after=end.sequence - 1, final_results=True)) == ["final_results", "state_change"]
    assert kinds(watch(rpc, job_id, after=end.sequence, final_results=True)) == ["heartbeat"]


@pytest.mark.parametrize("programs", [8, 9])
def test_many_results_are_left_to_lists(rpc: RpcFixture, programs: int) -> None:
    request = bell(final_results=True)
    request.deployment.programs.extend([request.deployment.programs[0]] * (programs - 1))
    stream = rpc.jobs.RunJob(request, timeout=WAIT)
    rpc.run(next(stream).event.job_id)
    assert ("final_results" in kinds(stream)) == (programs == 8)


def test_large_results_are_left_to_lists(rpc: RpcFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    stream, job_id = run(rpc, final_results=True)
    monkeypatch.setattr(result_rows, "_MAX_FEW_BYTES", 20)
    monkeypatch.setattr(outcome_recording, "_KEPT_BYTES", 20)
    rpc.run(job_id)
    assert "final_results" not in kinds(watch(rpc, job_id, final_results=True))
    stream.cancel()


def test_a_failed_job_has_no_results_to_send(rpc: RpcFixture) -> None:
    stream, job_id = run(rpc, final_results=True)
    (task,) = rpc.claim()
    end = TaskEvent(job_id=job_id, attempt=task.attempt, finished=TaskFinished(failure=Failure(reason="BROKEN")))
    queue.record(rpc.db, OWNER, [end])
    found = kinds(stream)
    assert "final_results" not in found
    assert found[-1] == "state_change"


def test_a_stream_may_omit_the_events_between_the_first_and_the_last(rpc: RpcFixture) -> None:
    stream, job_id = run(rpc, omit_intermediate=True, final_results=True)
    rpc.claim()
    rpc.log(job_id, "working")
    rpc.finish(job_id)
    found = [response.event for response in stream]
    assert [event.WhichOneof("event") for event in found] == ["final_results", "state_change"]
    last = found[-1].sequence
    assert [r.event.sequence for r in watch(rpc, job_id, omit_intermediate=True)] == [1, last]
    assert [r.event.sequence for r in watch(rpc, job_id, after=2, omit_intermediate=True)] == [last]
