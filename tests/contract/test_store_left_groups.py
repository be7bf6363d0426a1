# SPDX-License-Identifier: Apache-2.0
"""The contract of the store, on every database: batches and sessions at vendors that are left open."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from qonduit.execution.v1.vendor_pb2 import IDEMPOTENCY_TAG, NativeCircuit, Submission, VendorJob, VendorJobState
from qonduit.v1.job_pb2 import Job, JobState, VendorCost, VendorMode
from qonduit_server.lifecycle import CANCELLED
from qonduit_server.store.database import Database, open_database
from qonduit_server.store.jobs import job_rows, left_groups, queue, submissions
from qonduit_server.store.jobs.submission_entries import GROUP_STAGE, Change, Holder, State
from tests.contract.rpc_fixture import until
from tests.store_fixture import CALLER, Clock, claim, submit

SCOPE = frozenset({CALLER})
SECONDS = 600
AGAIN = timedelta(seconds=30)


def left(db: Database) -> int:
    """Let a job end while its session is open, because its server was lost; return the job."""
    submit(db)
    (task,) = claim(db, "lost")
    holder = Holder(task.job_id, task.attempt, "lost")
    price = VendorCost(amount=SECONDS, unit="seconds")
    opening = Submission(key="session", mode=VendorMode.VENDOR_MODE_SESSION, group_seconds=SECONDS, price=price)
    part = Submission(key="k", circuits=[NativeCircuit(text="h 0")], price=VendorCost(unit="seconds"))
    assert submissions.plan(db, holder, [opening, part], IDEMPOTENCY_TAG)
    opened = VendorJob(vendor_id="session-1", word="open")
    for state, job in ((State.SUBMITTING, None), (State.SUBMITTED, opened)):
        change = Change(holder=holder, stage=GROUP_STAGE, part=0, state=state, job=job, shown=True)
        assert submissions.change(db, change)
    job_rows.cancel(db, SCOPE, task.job_id)
    queue.expire(db, all_owners=True)
    return task.job_id


def job_of(db: Database, job_id: int) -> Job:
    return job_rows.get(db, SCOPE, job_id)


def rows(db: Database) -> int:
    with db.read() as connection:
        return int(connection.execute(text("SELECT count(*) FROM left_groups")).scalar_one())


def take(db: Database, *providers: str) -> list[left_groups.LeftGroup]:
    return left_groups.take_due(db, providers or ("IBM",))


@pytest.fixture
def timed(database_url: str) -> Iterator[tuple[Database, Clock]]:
    clock = Clock(datetime(2026, 1, 1, tzinfo=UTC))
    db = open_database(database_url, clock=clock)
    yield db, clock
    db.close()


def test_a_job_that_ends_with_an_open_session_leaves_it_to_one_server(timed: tuple[Database, Clock]) -> None:
    db, clock = timed
    job_id = left(db)
    job = job_of(db, job_id)
    assert (job.state, job.provider_status.reserved.amount) == (CANCELLED, SECONDS)
    assert take(db, "AWS") == []  # which another server has
    clock.now += timedelta(seconds=10)
    (group,) = take(db)
    assert (group.job_id, group.vendor_id, group.request.group_seconds) == (job_id, "session-1", SECONDS)
    assert group.device.startswith("IBM/")
    assert take(db) == []
    left_groups.report(db, job_id, None, AGAIN)
    clock.now += AGAIN
    assert len(take(db)) == 1
    closed = VendorJob(vendor_id="session-1", word="closed", cost=7.5, cost_unit="seconds")
    closed.state = VendorJobState.VENDOR_JOB_STATE_DONE
    left_groups.report(db, job_id, closed, None)
    status = job_of(db, job_id).provider_status
    assert (status.group.state, status.cost.amount, status.HasField("reserved")) == ("closed", 7.5, False)
    assert rows(db) == 0
    left_groups.report(db, job_id, closed, None)  # of another server
    assert job_of(db, job_id).provider_status == status


def test_what_the_vendor_has_ended_by_itself_is_settled_by_its_price(timed: tuple[Database, Clock]) -> None:
    db, clock = timed
    job_id = left(db)
    clock.now += timedelta(seconds=SECONDS)
    assert take(db, "AWS") == []
    status = job_of(db, job_id).provider_status
    assert (status.computed_cost.amount, status.HasField("reserved"), rows(db)) == (SECONDS, False, 0)


@pytest.mark.parametrize("state", [State.PLANNED, State.DONE])
def test_a_job_whose_session_is_not_open_leaves_nothing(db: Database, state: State) -> None:
    submit(db)
    (task,) = claim(db, "lost")
    holder = Holder(task.job_id, task.attempt, "lost")
    opening = Submission(key="session", mode=VendorMode.VENDOR_MODE_SESSION, group_seconds=SECONDS)
    assert submissions.plan(db, holder, [opening], IDEMPOTENCY_TAG)
    job = VendorJob(vendor_id="session-1") if state == State.DONE else None
    assert submissions.change(db, Change(holder=holder, stage=GROUP_STAGE, part=0, state=state, job=job, shown=True))
    job_rows.cancel(db, SCOPE, task.job_id)
    queue.expire(db, all_owners=True)
    assert job_of(db, task.job_id).state == JobState.JOB_STATE_CANCELLED
    assert rows(db) == 0


def test_the_deletion_of_a_job_deletes_what_it_left(db: Database) -> None:
    job_id = left(db)
    job_rows.delete(db, SCOPE, job_id)
    until(lambda: rows(db) == 0)
    assert take(db) == []
