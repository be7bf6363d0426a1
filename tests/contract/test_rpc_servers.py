# SPDX-License-Identifier: Apache-2.0
"""Two servers on one PostgreSQL: a job is submitted at one, runs at the other, and can be watched at both."""

from __future__ import annotations

import queue
import random
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import pytest

from qonduit.v1 import job_service_pb2 as job_service
from qonduit.v1.job_pb2 import Job, JobState
from qonduit_server.rpc import job_watches
from qonduit_server.store import event_log
from qonduit_server.store.notification_bus import Notification
from tests.contract.rpc_fixture import BELL, WAIT, House, bell, house, programs, sequences
from tests.postgresql import PostgresqlServer


@pytest.fixture(scope="module")
def doors(postgresql: PostgresqlServer, postgresql_template: str) -> Iterator[tuple[House, House]]:
    name = postgresql.new_database(postgresql_template)
    with house(postgresql.url(name)) as first, house(postgresql.url(name)) as second:
        yield first, second
    postgresql.drop_database(name)


def watching(door: House, job_id: int, after: int) -> Any:
    """Open a stream at a server. Its heartbeats are far apart: only a wake can bring an event in time."""
    request = job_service.WatchJobRequest(job_id=job_id, after_sequence=after)
    request.heartbeat_interval.FromSeconds(3600)
    return door.jobs.WatchJob(request, timeout=WAIT)


def test_an_event_at_one_server_reaches_a_watcher_at_the_other(doors: tuple[House, House]) -> None:
    here, there = doors
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


def test_a_stream_broken_at_one_server_goes_on_at_the_other(doors: tuple[House, House]) -> None:
    chance = random.Random("two servers")
    request = bell(request_id=str(uuid.uuid4()))
    stream = doors[0].jobs.RunJob(request, timeout=WAIT)
    job_id = next(stream).event.job_id
    doors[1].claim()
    mine = [1]
    for _ in range(60):
        doors[1].say(job_id, "a remark")
        if chance.random() < 0.5:
            stream.cancel()
            door = chance.choice(doors)
            if chance.random() < 0.5:
                stream = watching(door, job_id, len(mine))
            else:
                request.after_sequence = len(mine)
                stream = door.jobs.RunJob(request, timeout=WAIT)
        told = mine[-1]
        while mine[-1] == told:
            mine += sequences([next(stream).event])
    doors[1].finish(job_id)
    mine += sequences([response.event for response in stream])
    assert mine == list(range(1, mine[-1] + 1))
    assert stream.code() is grpc.StatusCode.OK


def test_an_own_event_that_is_late_does_not_hide_what_the_other_server_did(
    doors: tuple[House, House], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other server has run the job, and told so, before this one's writer delivers the event of its own commit."""
    here, there = doors
    request = job_service.CreateJobRequest(job=Job(shots=10), device="IBM/aer_simulator", deployment=programs(BELL))
    deliver = here.db._writer._deliver
    heard: queue.SimpleQueue[frozenset[int]] = queue.SimpleQueue()
    late = threading.Event()

    def deliver_late(wake: Notification) -> None:
        (job,) = wake.jobs
        there.run(job)
        # Notifications come in the order of the commits: with this one, the listener has taken all of the job's.
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
    """Created and watched at one server while the other runs them; no recheck comes to help."""
    monkeypatch.setattr(job_watches, "RECHECK", 3600.0)
    name = postgresql.new_database(postgresql_template)
    with (
        house(postgresql.url(name)) as here,
        house(postgresql.url(name)) as there,
        running_at_once(there),
        ThreadPoolExecutor(4) as customers,
    ):
        seen = list(customers.map(lambda number: watch_one(here, number), range(jobs)))
    postgresql.drop_database(name)
    assert seen == [[1, 2, 3, 4, 5, 6]] * len(seen)


@contextmanager
def running_at_once(door: House) -> Iterator[None]:
    """Have a server claim and finish every job as soon as it hears of it."""
    news, stopping = threading.Event(), threading.Event()
    unsubscribe = door.db.notifications.subscribe(lambda wake: news.set() if wake.queue else None)

    def run() -> None:
        while not stopping.is_set():
            news.wait()
            news.clear()
            for task in door.claim():
                door.finish(task.job_id)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        unsubscribe()
        stopping.set()
        news.set()
        thread.join()


def watch_one(door: House, number: int) -> list[int]:
    """Submit a job and watch it until it ends, in one call or in two; return the sequences of its events."""
    if number % 2:
        stream = door.jobs.RunJob(bell(), timeout=60)
    else:
        request = job_service.CreateJobRequest(job=Job(shots=10), device="IBM/aer_simulator", deployment=programs(BELL))
        job = door.jobs.CreateJob(request, timeout=60).job
        stream = watching(door, job.id, 0)
    return sequences([response.event for response in stream])
