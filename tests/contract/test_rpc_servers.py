# SPDX-License-Identifier: Apache-2.0
"""Two servers on one PostgreSQL: a job is submitted at one, runs at the other, and can be watched at both."""

from __future__ import annotations

import queue
import random
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import pytest

from qonduit.v1 import job_service_pb2 as job_service
from qonduit.v1.event_pb2 import JobEvent, PartialResult
from qonduit.v1.job_pb2 import Job, JobState
from qonduit.v1.quota_pb2 import QuotaValues
from qonduit.v1.result_pb2 import CountsAndProbabilities, Result
from qonduit.v1.result_service_pb2 import ReadBufferRequest
from qonduit_server.rpc import job_watches
from qonduit_server.store import event_log, shared_partials
from qonduit_server.store.jobs import queue as job_queue
from qonduit_server.store.notification_bus import Notification
from qonduit_server.store.users import quota_rows
from tests.contract.rpc_fixture import (
    BELL,
    OWNER,
    WAIT,
    RpcFixture,
    bell,
    programs,
    refused,
    rpc_fixture,
    sequences,
    until,
)
from tests.postgresql import PostgresqlServer
from tests.store_fixture import finished, result, succeeded

CALLER = "anonymous"


@pytest.fixture(scope="module")
def rpcs(postgresql: PostgresqlServer, postgresql_template: str) -> Iterator[tuple[RpcFixture, RpcFixture]]:
    name = postgresql.new_database(postgresql_template)
    with rpc_fixture(postgresql.url(name)) as first, rpc_fixture(postgresql.url(name)) as second:
        yield first, second
    postgresql.drop_database(name)


def watching(rpc: RpcFixture, job_id: int, after: int) -> Any:
    """Open a stream at a server. Its heartbeat interval is long: only a notification brings an event in time."""
    request = job_service.WatchJobRequest(job_id=job_id, after_sequence=after)
    request.heartbeat_interval.FromSeconds(3600)
    return rpc.jobs.WatchJob(request, timeout=WAIT)


def test_an_event_at_one_server_reaches_a_watcher_at_the_other(rpcs: tuple[RpcFixture, RpcFixture]) -> None:
    here, there = rpcs
    stream = here.jobs.RunJob(bell(), timeout=WAIT)
    job_id = next(stream).event.job_id
    other = watching(here, job_id, 1)
    assert next(other).event.WhichOneof("event") == "heartbeat"
    there.claim()
    assert next(stream).event.state_change.to_state == JobState.JOB_STATE_RUNNING
    assert next(other).event.sequence == 2
    there.finish(job_id)
    assert [response.event for response in stream] == [response.event for response in other]
    assert stream.code() is other.code() is grpc.StatusCode.OK


def test_the_place_in_the_queue_reaches_a_watcher_at_the_other(rpcs: tuple[RpcFixture, RpcFixture]) -> None:
    here, there = rpcs
    first = next(there.jobs.RunJob(bell(), timeout=WAIT)).event.job_id
    stream = here.jobs.RunJob(bell(queue_updates=True), timeout=WAIT)
    job_id = next(stream).event.job_id
    assert next(stream).event.queue_change.queue.position == 1
    there.jobs.CancelJob(job_service.CancelJobRequest(id=first), timeout=WAIT)
    assert next(stream).event.queue_change.queue.position == 0
    there.run(job_id)


@pytest.mark.parametrize("outcomes", [1, 12_000])
def test_partial_results_reach_watchers_at_the_other_server(rpcs: tuple[RpcFixture, RpcFixture], outcomes: int) -> None:
    """The smaller event takes one payload of NOTIFY, the larger one more than 40."""
    here, there = rpcs
    stream, job_id, number = partial_stream(here, there)
    plain = watching(here, job_id, number)
    assert next(plain).event.WhichOneof("event") == "heartbeat"
    large = partial(job_id, shots=8, outcomes=outcomes)
    there.db.publish_partial_result(job_id, large)
    event = next(stream).event
    assert (event.sequence, event.partial_result.last_sequence) == (0, number)
    assert event.partial_result.results == JobEvent.FromString(large).partial_result.results
    there.finish(job_id)
    assert "partial_result" not in [response.event.WhichOneof("event") for response in plain]
    assert "state_change" in [response.event.WhichOneof("event") for response in stream]


def test_partial_results_of_jobs_that_no_server_requested_are_not_sent(
    rpcs: tuple[RpcFixture, RpcFixture], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = rpcs
    job_id = next(here.jobs.RunJob(bell(), timeout=WAIT)).event.job_id
    there.claim()
    monkeypatch.setattr(there.db._writer, "submit", None)
    there.db.publish_partial_result(job_id, partial(job_id, shots=1))
    monkeypatch.undo()
    there.finish(job_id)


def test_a_request_for_partial_results_is_repeated_and_expires(
    rpcs: tuple[RpcFixture, RpcFixture], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = rpcs
    stream, job_id, _ = partial_stream(here, there)
    sharing = there.db._partials
    assert sharing is not None
    clock = sharing._clock
    monkeypatch.setattr(sharing, "_clock", lambda: clock() + shared_partials.VALID_SECONDS + 1)
    assert not sharing._servers(job_id)
    requested = threading.Event()
    add = sharing._add_requests

    def heard(server: str, job_ids: list[int]) -> None:
        add(server, job_ids)
        if job_id in job_ids:
            requested.set()

    monkeypatch.setattr(sharing, "_add_requests", heard)
    assert requested.wait(WAIT)
    there.db.publish_partial_result(job_id, partial(job_id, shots=3))
    assert next(stream).event.partial_result.results[0].shots == 3
    there.finish(job_id)


def partial(job_id: int, shots: int, outcomes: int = 1) -> bytes:
    counts = CountsAndProbabilities(counts={f"0x{key:x}": 1 for key in range(outcomes)})
    message = PartialResult(results=[Result(shots=shots, counts_and_probabilities=counts)])
    return JobEvent(job_id=job_id, partial_result=message).SerializeToString()


def partial_stream(here: RpcFixture, there: RpcFixture) -> tuple[Any, int, int]:
    """Open a stream with partial results at a server; return it with its job, which the other server claimed.

    The first partial result has arrived: the other server knows of the stream. Returns the last event's number too.
    """
    stream = here.jobs.RunJob(bell(partial_results=True), timeout=WAIT)
    job_id = next(stream).event.job_id
    there.claim()
    last = next(stream).event.sequence
    sharing = there.db._partials
    assert sharing is not None
    while not sharing._servers(job_id):
        here.db.request_partial_results([job_id])
        # Notifications arrive in commit order: the request has arrived once a later event has.
        there.log(job_id, "working")
        last = next(stream).event.sequence
    return stream, job_id, last


def test_a_stream_broken_at_one_server_resumes_at_the_other(rpcs: tuple[RpcFixture, RpcFixture]) -> None:
    chance = random.Random("two servers")
    request = bell(request_id=str(uuid.uuid4()))
    stream = rpcs[0].jobs.RunJob(request, timeout=WAIT)
    job_id = next(stream).event.job_id
    rpcs[1].claim()
    mine = [1]
    for _ in range(60):
        rpcs[1].log(job_id, "a remark")
        if chance.random() < 0.5:
            stream.cancel()
            rpc = chance.choice(rpcs)
            if chance.random() < 0.5:
                stream = watching(rpc, job_id, len(mine))
            else:
                request.after_sequence = len(mine)
                stream = rpc.jobs.RunJob(request, timeout=WAIT)
        last = mine[-1]
        while mine[-1] == last:
            mine += sequences([next(stream).event])
    rpcs[1].finish(job_id)
    mine += sequences([response.event for response in stream])
    assert mine == list(range(1, mine[-1] + 1))
    assert stream.code() is grpc.StatusCode.OK


def test_a_late_notification_of_one_server_does_not_hide_later_events_of_the_other(
    rpcs: tuple[RpcFixture, RpcFixture], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other server has run the job and sent its notifications before this one delivers that of its own commit."""
    here, there = rpcs
    request = job_service.CreateJobRequest(job=Job(shots=10), device="IBM/aer_simulator", deployment=programs(BELL))
    deliver = here.db._writer._deliver
    heard: queue.SimpleQueue[frozenset[int]] = queue.SimpleQueue()
    late = threading.Event()

    def deliver_late(wake: Notification) -> None:
        (job,) = wake.jobs
        there.run(job)
        # Notifications arrive in commit order: after this one, the listener has received all of the job's.
        last = there.jobs.CreateJob(request, timeout=WAIT).job.id
        while last not in heard.get(timeout=WAIT):
            pass
        late.set()
        deliver(wake)

    unsubscribe = here.db.notifications.subscribe(lambda wake: heard.put(frozenset(wake.jobs)))
    monkeypatch.setattr(here.db._writer, "_deliver", deliver_late)
    job = here.jobs.CreateJob(request, timeout=WAIT).job
    monkeypatch.undo()
    unsubscribe()
    assert late.is_set()
    stored = event_log.read_after(here.db, job.id, 0, 100)
    assert stored[-1].terminal
    assert event_log.read_after_many(here.db, [(job.id, 0)], 100) == {job.id: stored}
    assert event_log.read_after_many(here.db, [(job.id, 1)], 100) == {job.id: stored[1:]}


@pytest.mark.parametrize("jobs", [400, pytest.param(10_000, marks=pytest.mark.long)])
def test_jobs_that_one_server_runs_end_for_all_their_watchers_at_the_other(
    postgresql: PostgresqlServer, postgresql_template: str, monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    """The jobs are created and watched at one server while the other runs them, without any recheck."""
    monkeypatch.setattr(job_watches, "RECHECK", 3600.0)
    name = postgresql.new_database(postgresql_template)
    with (
        rpc_fixture(postgresql.url(name)) as here,
        rpc_fixture(postgresql.url(name)) as there,
        running_at_once(there),
        ThreadPoolExecutor(4) as clients,
    ):
        seen = list(clients.map(lambda number: watch_one(here, number), range(jobs)))
    postgresql.drop_database(name)
    assert seen == [[1, 2, 3, 4, 5]] * len(seen)


@contextmanager
def running_at_once(rpc: RpcFixture) -> Iterator[None]:
    """Make a server claim and finish every job as soon as it is notified."""
    news, stopping = threading.Event(), threading.Event()
    unsubscribe = rpc.db.notifications.subscribe(lambda wake: news.set() if wake.queue else None)

    def run() -> None:
        while not stopping.is_set():
            news.wait()
            news.clear()
            for task in rpc.claim():
                rpc.finish(task.job_id)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        unsubscribe()
        stopping.set()
        news.set()
        thread.join()


def watch_one(rpc: RpcFixture, number: int) -> list[int]:
    """Submit a job and watch it until it ends, in one call or in two; return the sequences of its events."""
    if number % 2:
        stream = rpc.jobs.RunJob(bell(), timeout=60)
    else:
        request = job_service.CreateJobRequest(job=Job(shots=10), device="IBM/aer_simulator", deployment=programs(BELL))
        job = rpc.jobs.CreateJob(request, timeout=60).job
        stream = watching(rpc, job.id, 0)
    return sequences([response.event for response in stream])


@pytest.fixture
def limit(rpcs: tuple[RpcFixture, RpcFixture]) -> Iterator[Callable[..., None]]:
    """Set quotas of the caller of both servers; end them afterwards."""
    here, there = rpcs

    def set_quota(**limits: int) -> None:
        quota_rows.set_quota(here.db, CALLER, QuotaValues(**limits))
        until(lambda: there.db.quotas.of(CALLER) == here.db.quotas.of(CALLER))

    yield set_quota
    set_quota()


def test_open_buffers_at_one_server_count_at_the_other(
    rpcs: tuple[RpcFixture, RpcFixture], limit: Callable[..., None]
) -> None:
    here, there = rpcs
    job_id = next(here.jobs.RunJob(bell(), timeout=WAIT)).event.job_id
    task = next(task for task in there.claim() if task.job_id == job_id)
    large = result()
    large.buffer.size_bytes = 4_000_000  # more than the window of a stream
    event = succeeded(task, 0, large)
    event.program_succeeded.buffer = bytes(large.buffer.size_bytes)
    assert not job_queue.record(there.db, OWNER, [event, finished(task)])
    request = ReadBufferRequest(name=f"results/{event.program_succeeded.result.id}")
    limit(open_buffers=1)
    stream = here.results.ReadBuffer(request, timeout=WAIT)
    next(stream)
    until(lambda: there.server._callers.open_of(CALLER) == (0, 1))
    code, details = refused(lambda: next(there.results.ReadBuffer(request, timeout=WAIT)))
    assert (code, details["QuotaFailure"].violations[0].subject) == ("RESOURCE_EXHAUSTED", "open_buffers")
    stream.cancel()
    until(lambda: there.server._callers.open_of(CALLER) == (0, 0))
    next(there.results.ReadBuffer(request, timeout=WAIT))


def test_bytes_of_requests_to_one_server_count_at_the_other(
    rpcs: tuple[RpcFixture, RpcFixture], limit: Callable[..., None]
) -> None:
    here, there = rpcs
    limit(upload_bytes_per_minute=40_000)
    large = job_service.ListJobsRequest(filter="x" * 60_000)
    assert refused(lambda: here.jobs.ListJobs(large, timeout=WAIT))[0] == "INVALID_ARGUMENT"

    def is_refused() -> bool:
        try:
            there.jobs.ListJobs(job_service.ListJobsRequest(), timeout=WAIT)
        except grpc.RpcError as error:
            return error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # type: ignore[no-any-return]
        return False

    until(is_refused)
