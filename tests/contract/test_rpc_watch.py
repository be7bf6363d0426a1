# SPDX-License-Identifier: Apache-2.0
"""Events: each once and in order, across any disconnect; a first message at once, and OK after the last event."""

from __future__ import annotations

import random
import resource
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from qonduit.v1 import job_service_pb2 as job_service
from qonduit.v1.event_pb2 import JobEvent
from qonduit.v1.job_pb2 import Job, JobState
from qonduit.v1.system_service_pb2 import GetServerInfoRequest
from qonduit.v1.system_service_pb2_grpc import SystemServiceStub
from qonduit_server import errors
from qonduit_server.rpc import job_watches
from qonduit_server.rpc.watch import framed
from qonduit_server.store import event_log as events_store
from qonduit_server.store.notification_bus import Notification
from tests.contract.rpc_fixture import BELL, WAIT, RpcFixture, bell, details_of, programs, rpc_fixture, sequences, until


@pytest.fixture(scope="module")
def rpc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RpcFixture]:
    with rpc_fixture(tmp_path_factory.mktemp("rpc")) as it:
        yield it


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[RpcFixture]:
    """A server with a shorter send timeout."""
    with rpc_fixture(tmp_path, stream_send_timeout_seconds=1.0) as it:
        yield it


def started(rpc: RpcFixture, remarks: int = 0) -> Job:
    """Create a running job with some events."""
    request = job_service.CreateJobRequest(job=Job(shots=10), device="IBM/aer_simulator", deployment=programs(BELL))
    job = rpc.jobs.CreateJob(request).job
    rpc.claim()
    for number in range(remarks):
        rpc.log(job.id, f"remark {number}")
    return job


def watching(job_id: int, after: int = 0, heartbeat: float = 20.0) -> job_service.WatchJobRequest:
    """Open a watch of a job's events."""
    request = job_service.WatchJobRequest(job_id=job_id, after_sequence=after)
    request.heartbeat_interval.FromMilliseconds(int(heartbeat * 1000))
    return request


def broken(stream: Any) -> tuple[str, dict[str, Any]]:
    """Read a stream that must break."""
    with pytest.raises(grpc.RpcError) as raised:
        list(stream)
    return details_of(raised.value)


def test_all_events_in_order_and_the_end_with_ok(rpc: RpcFixture) -> None:
    stream = rpc.jobs.RunJob(bell(), timeout=WAIT)
    first = next(stream).event
    assert (first.sequence, first.WhichOneof("event")) == (1, "created")
    assert stream.is_active()
    rpc.run(first.job_id)
    events = [first, *(response.event for response in stream)]
    assert sequences(events) == list(range(1, len(events) + 1))
    assert stream.code() is grpc.StatusCode.OK
    last = events[-1].state_change
    assert (last.to_state, last.job.state) == (JobState.JOB_STATE_SUCCEEDED, JobState.JOB_STATE_SUCCEEDED)
    assert [event.WhichOneof("event") for event in events].count("result_ready") == 1
    replayed = [response.event for response in rpc.jobs.WatchJob(watching(first.job_id), timeout=WAIT)]
    assert replayed == events
    listed = rpc.jobs.ListJobEvents(job_service.ListJobEventsRequest(job_id=first.job_id)).events
    assert list(listed) == events


def test_the_stored_bytes_are_sent_unchanged(rpc: RpcFixture) -> None:
    job = started(rpc, remarks=1)
    rpc.finish(job.id)
    raw = rpc.channel.unary_stream("/qonduit.v1.JobService/WatchJob")
    sent = list(raw(watching(job.id).SerializeToString(), timeout=WAIT))
    stored = events_store.read_after(rpc.db, job.id, 0, 100)
    assert sent == [framed(event.payload) for event in stored]
    assert [job_service.WatchJobResponse.FromString(one).event.sequence for one in sent] == [
        event.sequence for event in stored
    ]


def test_a_watch_from_the_last_event_ends_with_ok(rpc: RpcFixture) -> None:
    job = started(rpc)
    rpc.finish(job.id)
    last = rpc.jobs.GetJob(job_service.GetJobRequest(id=job.id)).job.last_sequence
    responses = list(rpc.jobs.WatchJob(watching(job.id, after=last), timeout=WAIT))
    assert [response.event.WhichOneof("event") for response in responses] == ["heartbeat"]
    assert responses[0].event.heartbeat.last_sequence == last
    code, details = broken(rpc.jobs.WatchJob(watching(job.id, after=last + 1), timeout=WAIT))
    assert code == "INVALID_ARGUMENT"
    assert details["BadRequest"].field_violations[0].field == "after_sequence"


@pytest.mark.parametrize("method", ["WatchJob", "RunJob"])
def test_each_event_arrives_once_and_in_order_across_any_disconnect(rpc: RpcFixture, method: str) -> None:
    """Several watchers of one job disconnect at random points, hundreds of times, and all receive 1..n."""
    chance = random.Random(f"breaks of {method}")
    request = bell(request_id=str(uuid.uuid4()))
    begun = rpc.jobs.RunJob(request, timeout=WAIT)
    job_id = next(begun).event.job_id
    begun.cancel()
    rpc.claim()
    breaks = 0

    def open_stream(after: int) -> Any:
        if method == "WatchJob":
            return rpc.jobs.WatchJob(watching(job_id, after), timeout=WAIT)
        again = job_service.RunJobRequest()
        again.CopyFrom(request)
        again.after_sequence = after
        return rpc.jobs.RunJob(again, timeout=WAIT)

    seen: list[list[int]] = [[], [], []]
    streams = [open_stream(0) for _ in seen]
    expected = 2
    while breaks < 300:
        for _ in range(chance.randrange(4)):
            rpc.log(job_id, "a remark")
            expected += 1
        for number, mine in enumerate(seen):
            for _ in range(chance.randrange(6)):
                if len(mine) == expected:
                    break
                event = next(streams[number]).event
                if event.sequence:
                    mine.append(event.sequence)
            if chance.random() < 0.4:
                streams[number].cancel()
                streams[number] = open_stream(len(mine))
                breaks += 1
    rpc.finish(job_id)
    for number, mine in enumerate(seen):
        mine += sequences([response.event for response in streams[number]])
        assert streams[number].code() is grpc.StatusCode.OK
        assert mine == list(range(1, mine[-1] + 1))
    assert len({mine[-1] for mine in seen}) == 1
    until(lambda: rpc.server.streams == 0)


def test_watchers_that_race_with_the_writer_miss_nothing(rpc: RpcFixture) -> None:
    """The store writes events at full speed while watchers read, disconnect and return."""
    job_ids = [started(rpc).id for _ in range(4)]

    def write() -> None:
        for _ in range(60):
            for job_id in job_ids:
                rpc.log(job_id, "a remark")
        for job_id in job_ids:
            rpc.finish(job_id)

    def read(job_id: int, chance: random.Random, mine: list[int]) -> None:
        while True:
            stream = rpc.jobs.WatchJob(watching(job_id, len(mine)), timeout=WAIT)
            stop_at = len(mine) + chance.randrange(1, 40)
            for response in stream:
                mine += sequences([response.event])
                if len(mine) >= stop_at and response.event.WhichOneof("event") != "state_change":
                    stream.cancel()
                    break
            else:
                return

    seen: list[list[int]] = [[] for _ in range(12)]
    threads = [
        threading.Thread(target=read, args=(job_ids[number % 4], random.Random(number), mine))
        for number, mine in enumerate(seen)
    ]
    threads.append(threading.Thread(target=write))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    for number, mine in enumerate(seen):
        job = rpc.jobs.GetJob(job_service.GetJobRequest(id=job_ids[number % 4])).job
        assert mine == list(range(1, job.last_sequence + 1))
    until(lambda: rpc.server.streams == 0)


def test_many_events_are_read_in_batches(rpc: RpcFixture) -> None:
    job = started(rpc, remarks=2 * job_watches.EVENTS + 10)
    early = rpc.jobs.WatchJob(watching(job.id), timeout=WAIT)
    late = rpc.jobs.WatchJob(watching(job.id, after=job_watches.EVENTS + 5), timeout=WAIT)
    rpc.finish(job.id)
    last = rpc.jobs.GetJob(job_service.GetJobRequest(id=job.id)).job.last_sequence
    assert sequences([response.event for response in early]) == list(range(1, last + 1))
    assert sequences([response.event for response in late]) == list(range(job_watches.EVENTS + 6, last + 1))


def test_heartbeats_are_sent_while_a_job_is_silent(rpc: RpcFixture) -> None:
    job = started(rpc)
    stream = rpc.jobs.WatchJob(watching(job.id, after=2, heartbeat=0.05), timeout=WAIT)
    beats = [next(stream).event for _ in range(4)]
    assert [beat.heartbeat.last_sequence for beat in beats] == [2, 2, 2, 2]
    assert all(beat.job_id == job.id and not beat.sequence for beat in beats)
    rpc.log(job.id, "a remark")
    events: list[JobEvent] = []
    while not sequences(events):
        events.append(next(stream).event)
    assert sequences(events) == [3]
    assert next(stream).event.heartbeat.last_sequence == 3
    rpc.finish(job.id)
    assert list(stream)[-1].event.state_change.to_state == JobState.JOB_STATE_SUCCEEDED


@pytest.mark.parametrize("heartbeat", [0.1, 3600.0])
def test_a_lost_notification_delays_an_event_and_does_not_hang_a_watch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heartbeat: float
) -> None:
    """Only the recheck can find these events, because the cache did not receive them either."""
    monkeypatch.setattr(job_watches, "RECHECK", 0.1)
    with rpc_fixture(tmp_path) as rpc:
        job, other, ended = started(rpc), started(rpc), started(rpc)
        jobs = job, job, other
        streams = [rpc.jobs.WatchJob(watching(each.id, heartbeat=heartbeat), timeout=WAIT) for each in jobs]
        for stream in streams:
            assert [next(stream).event.sequence for _ in range(2)] == [1, 2]
        gone = rpc.jobs.WatchJob(watching(ended.id, after=2, heartbeat=heartbeat), timeout=WAIT)
        assert next(gone).event.WhichOneof("event") == "heartbeat"
        monkeypatch.setattr(rpc.db._writer, "_deliver", lambda wake: None)
        for message in ("no watcher hears this", "nor this"):
            rpc.log(job.id, message)
            for stream in streams[:2]:
                assert next(each for each in stream if each.event.sequence).event.log.message == message
        for each in (job, other):
            rpc.finish(each.id)
        for stream in streams:
            assert list(stream)[-1].event.state_change.to_state == JobState.JOB_STATE_SUCCEEDED
        # A job is deleted without a notification to its watchers.
        with rpc.db._engine.begin() as connection:
            connection.execute(events_store.jobs.delete().where(events_store.jobs.c.id == ended.id))
        assert broken(gone)[0] == "NOT_FOUND"


def test_a_watch_may_begin_with_an_event_whose_notification_is_pending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GetJob reads the committed state; the cache is notified of it a moment later."""
    with rpc_fixture(tmp_path) as rpc:
        request = job_service.CreateJobRequest(job=Job(shots=10), device="IBM/aer_simulator", deployment=programs(BELL))
        job = rpc.jobs.CreateJob(request).job
        deliver = rpc.db._writer._deliver
        committed, watched = threading.Event(), threading.Event()

        def deliver_late(notification: Notification) -> None:
            committed.set()
            watched.wait(WAIT)
            deliver(notification)

        monkeypatch.setattr(rpc.db._writer, "_deliver", deliver_late)
        claiming = threading.Thread(target=rpc.claim)
        claiming.start()
        assert committed.wait(WAIT)
        assert rpc.jobs.GetJob(job_service.GetJobRequest(id=job.id)).job.last_sequence == 2
        stream = rpc.jobs.WatchJob(watching(job.id, after=2), timeout=WAIT)
        assert next(stream).event.WhichOneof("event") == "heartbeat"
        watched.set()
        claiming.join(WAIT)
        monkeypatch.undo()
        rpc.finish(job.id)
        assert sequences(response.event for response in stream)[0] == 3


def test_a_recheck_is_one_query_for_all_watched_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_watches, "RECHECK", 0.05)
    asked: list[set[int]] = []
    stale_jobs = events_store.stale_jobs

    def note(db: Any, cursors: dict[int, int]) -> list[int]:
        asked.append(set(cursors))
        return stale_jobs(db, cursors)

    monkeypatch.setattr(events_store, "stale_jobs", note)
    with rpc_fixture(tmp_path) as rpc:
        waiting = [started(rpc) for _ in range(5)]
        over = started(rpc)
        rpc.finish(over.id)
        streams = [rpc.jobs.WatchJob(watching(job.id, after=2), timeout=WAIT) for job in waiting for _ in range(3)]
        assert list(rpc.jobs.WatchJob(watching(over.id), timeout=WAIT))
        for stream in streams:
            next(stream)
        # A busy server needs a moment to notice that the last stream has ended.
        until(lambda: asked[-2:] == 2 * [{job.id for job in waiting}])


def test_a_deleted_job_ends_its_streams(rpc: RpcFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    job = started(rpc)
    rpc.finish(job.id)
    last = rpc.jobs.GetJob(job_service.GetJobRequest(id=job.id)).job.last_sequence
    rpc.jobs.DeleteJob(job_service.DeleteJobRequest(id=job.id))
    assert broken(rpc.jobs.WatchJob(watching(job.id, after=last), timeout=WAIT))[0] == "NOT_FOUND"
    # Deleted after the stream was opened, before its first read.
    monkeypatch.setattr(events_store, "require_job", lambda *_: None)
    code, details = broken(rpc.jobs.WatchJob(watching(job.id, after=last), timeout=WAIT))
    assert code == "NOT_FOUND"
    assert details["ResourceInfo"].resource_name == str(job.id)


def test_ending_a_stream_cancels_no_job(rpc: RpcFixture) -> None:
    stream = rpc.jobs.RunJob(bell(), timeout=WAIT)
    job_id = next(stream).event.job_id
    stream.cancel()
    until(lambda: rpc.server.streams == 0)
    assert rpc.jobs.GetJob(job_service.GetJobRequest(id=job_id)).job.state == JobState.JOB_STATE_QUEUED
    rpc.run(job_id)


def test_an_unavailable_store_ends_streams_with_unavailable(rpc: RpcFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    job = started(rpc)
    stream = rpc.jobs.WatchJob(watching(job.id), timeout=WAIT)
    assert [next(stream).event.sequence for _ in range(2)] == [1, 2]

    def away(*_: object) -> None:
        raise errors.Unavailable("the database does not answer")

    monkeypatch.setattr(events_store, "read_after_many", away)
    rpc.log(job.id, "a remark")
    code, details = broken(stream)
    assert (code, details["ErrorInfo"].reason) == ("UNAVAILABLE", "STORE_UNAVAILABLE")
    assert details["RetryInfo"].retry_delay.ToNanoseconds() > 0
    monkeypatch.undo()
    resumed = rpc.jobs.WatchJob(watching(job.id, after=2), timeout=WAIT)
    assert next(resumed).event.sequence == 3
    rpc.finish(job.id)
    assert list(resumed)


def test_a_slow_reader_is_cut_off_and_delays_no_other(impatient: RpcFixture) -> None:
    rpc = impatient
    job = started(rpc)
    slow = [rpc.jobs.WatchJob(watching(job.id), timeout=WAIT) for _ in range(20)]
    quick = rpc.jobs.WatchJob(watching(job.id), timeout=WAIT)
    for stream in (*slow, quick):
        next(stream)
    for _ in range(150):
        rpc.log(job.id, "x" * 100_000)
    assert [next(quick).event.sequence for _ in range(151)] == list(range(2, 153))
    until(lambda: rpc.server.streams == 1)
    with pytest.raises(grpc.RpcError) as raised:
        list(slow[0])
    assert raised.value.code() is grpc.StatusCode.CANCELLED
    rpc.log(job.id, "a remark")
    assert next(quick).event.sequence == 153
    resumed = rpc.jobs.WatchJob(watching(job.id, after=1), timeout=WAIT)
    rpc.finish(job.id)
    assert sequences([response.event for response in resumed])[0] == 2
    assert list(quick)


def test_a_thousand_watchers_cost_no_threads_and_delay_no_call(rpc: RpcFixture) -> None:
    jobs = [started(rpc) for _ in range(10)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    streams = [rpc.jobs.WatchJob(watching(jobs[number % 10].id, after=1), timeout=60) for number in range(1000)]
    for stream in streams:
        assert next(stream).event.sequence == 2
    assert rpc.server.streams == 1000
    assert threading.active_count() < 64
    # Both ends of each stream are in this process.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 250 * 1024

    took = []
    # One connection may have a thousand calls open, and has.
    with grpc.insecure_channel(rpc.target) as other:
        system = SystemServiceStub(other)
        for job in jobs:
            rpc.log(job.id, "a remark")
            begun = time.perf_counter()
            system.GetServerInfo(GetServerInfoRequest(), timeout=WAIT)
            took.append(time.perf_counter() - begun)
    assert sorted(took)[5] < 0.5
    for stream in streams:
        assert next(stream).event.sequence == 3
    for job in jobs:
        rpc.finish(job.id)
    for stream in streams:
        assert list(stream)[-1].event.state_change.to_state == JobState.JOB_STATE_SUCCEEDED
    until(lambda: rpc.server.streams == 0)


def test_draining_ends_streams_and_refuses_new_ones(tmp_path_factory: pytest.TempPathFactory) -> None:
    with rpc_fixture(tmp_path_factory.mktemp("rpc")) as rpc:
        job = started(rpc)
        streams = [rpc.jobs.WatchJob(watching(job.id, after=2), timeout=WAIT) for _ in range(3)]
        for stream in streams:
            next(stream)
        rpc.server.drain()
        for stream in (*streams, rpc.jobs.WatchJob(watching(job.id), timeout=WAIT)):
            code, details = broken(stream)
            assert (code, details["ErrorInfo"].reason) == ("UNAVAILABLE", "DRAINING")
            assert details["RetryInfo"].retry_delay.ToNanoseconds() > 0
        assert rpc.jobs.GetJob(job_service.GetJobRequest(id=job.id)).job.state == JobState.JOB_STATE_RUNNING
