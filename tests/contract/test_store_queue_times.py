# SPDX-License-Identifier: Apache-2.0
"""The contract of the store, on every database: priorities, start times and expiry of queued jobs."""

from __future__ import annotations

import math
from datetime import timedelta

from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import text

from qonduit.v1.job_pb2 import QueueReason
from qonduit_server.lifecycle import CANCELLED, FAILED, QUEUED
from qonduit_server.store.database import Database, utc_now
from qonduit_server.store.jobs import job_rows, queue_positions, queue_times
from tests.store_fixture import CALLER, claim, history, submit, succeed


def after(seconds: float) -> Timestamp:
    """Return the time that is `seconds` from now."""
    time = Timestamp()
    time.FromDatetime(utc_now() + timedelta(seconds=seconds))
    return time


def turn_back(db: Database, column: str, job_id: int) -> None:
    """Make a time of a queued job a time in the past."""
    with db._engine.connect() as connection:
        connection.execute(text(f"UPDATE jobs SET {column} = 1 WHERE id = :id"), {"id": job_id})


def test_jobs_of_a_caller_are_claimed_by_priority_and_then_by_age(db: Database) -> None:
    made = [submit(db, priority=priority).id for priority in (0, -10, 10, 0, 10)]
    places = queue_positions.of_jobs(db, made)
    assert [places[job_id].position for job_id in made] == [2, 4, 0, 3, 1]
    assert [task.job_id for task in claim(db)] == [made[place] for place in (2, 4, 0, 3, 1)]


def test_a_priority_does_not_pass_the_jobs_of_others(db: Database) -> None:
    first = submit(db, caller="a")
    submit(db, caller="b", priority=10)
    submit(db, caller="b", priority=10)
    assert [task.job_id for task in claim(db, capacity=1)] == [first.id]


def test_a_job_is_not_claimed_before_its_time(db: Database) -> None:
    assert queue_times.apply_due(db) == math.inf
    later, now = submit(db, not_before=after(3600)), submit(db, not_before=after(-5))
    assert job_rows.get(db, CALLER, later.id).not_before == later.not_before
    assert [task.job_id for task in claim(db)] == [now.id]
    assert 3500 < queue_times.apply_due(db) <= 3600
    place = queue_positions.of_job(db, later.id)
    assert place is not None
    assert place.reason == QueueReason.QUEUE_REASON_SCHEDULED
    assert claim(db) == []
    turn_back(db, "not_before", later.id)
    assert queue_times.apply_due(db) < 1
    assert queue_times.apply_due(db) == math.inf
    (task,) = claim(db)
    assert task.job_id == later.id
    assert not succeed(db, [task])


def test_a_job_that_expires_in_the_queue_fails(db: Database) -> None:
    job, running, scheduled, kept = (
        submit(db, expires_at=after(60), priority=-1, programs=2),
        submit(db, expires_at=after(30)),
        submit(db, expires_at=after(40), not_before=after(50)),
        submit(db, priority=-2),
    )
    (task,) = claim(db, capacity=1)
    assert task.job_id == running.id
    assert 30 < queue_times.apply_due(db) <= 40  # a running job does not expire
    for each in (job, scheduled, running):
        turn_back(db, "expires_at", each.id)
    queue_times.apply_due(db)
    for each in (job, scheduled):
        ended = job_rows.get(db, CALLER, each.id)
        assert (ended.state, ended.failure.reason) == (FAILED, "EXPIRED")
        assert {run.state for run in ended.program_runs} == {FAILED}
        assert history(db, each.id)[-1].state_change.job == ended
    assert queue_times.apply_due(db) == math.inf
    assert not succeed(db, [task])
    assert job_rows.get(db, CALLER, kept.id).state == QUEUED
    # It expires only once, and a rerun has no times.
    again = job_rows.rerun(db, CALLER, job.id).job
    assert not again.HasField("expires_at")
    assert again.priority == -1


def test_a_job_that_expired_before_it_was_created_and_one_that_is_cancelled(db: Database) -> None:
    late, cancelled = submit(db, expires_at=after(-1)), submit(db, not_before=after(60), expires_at=after(90))
    job_rows.cancel(db, CALLER, cancelled.id)
    queue_times.apply_due(db)
    assert job_rows.get(db, CALLER, late.id).failure.reason == "EXPIRED"
    assert job_rows.get(db, CALLER, cancelled.id).state == CANCELLED
    assert queue_times.apply_due(db) == math.inf
