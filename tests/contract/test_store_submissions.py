# SPDX-License-Identifier: Apache-2.0
"""The contract of the store, on every database: the submission ledger."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from qonduit.execution.v1.task_pb2 import TaskEvent, TaskFinished
from qonduit.execution.v1.vendor_pb2 import (
    IDEMPOTENCY_CLIENT_TOKEN,
    NativeCircuit,
    Submission,
    VendorJob,
    VendorOutcome,
    VendorOutcomes,
)
from qonduit.v1.failure_pb2 import FAILURE_CATEGORY_PROVIDER, Failure
from qonduit.v1.job_pb2 import JobState, VendorCancellation
from qonduit_server.errors import FailedPrecondition
from qonduit_server.store.database import Database, open_database
from qonduit_server.store.jobs import job_rows, queue, submission_settlement, submissions
from qonduit_server.store.jobs.submission_entries import Change, Entry, Holder, State
from qonduit_server.store.writer import Operation
from tests.contract.rpc_fixture import until
from tests.postgresql import PostgresqlServer
from tests.store_fixture import CALLER, Clock, claim, history, submit

SCOPE = frozenset({CALLER})
SECOND = 1_000_000


def wanted(key: str = "k", part: int = 0) -> Submission:
    return Submission(key=key, part=part, device="d", circuits=[NativeCircuit(text="h 0")], shots=10)


def running(db: Database, owner: str = "me") -> Holder:
    """Submit and claim a job."""
    submit(db)
    (task,) = claim(db, owner)
    return Holder(task.job_id, task.attempt, owner.partition("/")[0])


def planned(db: Database, *keys: str) -> Holder:
    holder = running(db)
    assert submissions.plan(db, holder, [wanted(key) for key in keys or ("k",)], IDEMPOTENCY_CLIENT_TOKEN)
    return holder


def entries(db: Database, holder: Holder) -> list[Entry]:
    return submissions.read(db, [holder.job_id]).get(holder.job_id, [])


def test_a_submission_goes_through_its_states_with_events_and_payloads(db: Database) -> None:
    holder = planned(db)
    (entry,) = entries(db, holder)
    assert (entry.stage, entry.part, entry.state, entry.calls) == (0, 0, State.PLANNED, 0)
    assert entry.token
    assert submissions.request(db, holder.job_id, 0, 0) == wanted()
    begins = Change(holder=holder, stage=0, part=0, state=State.SUBMITTING, begins=timedelta(seconds=7))
    assert submissions.change(db, begins)
    (entry,) = entries(db, holder)
    assert entry.deadline - entry.begun_at == 7 * SECOND
    sent = VendorJob(vendor_id="v-1", word="in line", queue_position=3, cost=1.5, cost_unit="EUR")
    assert submissions.change(db, Change(holder=holder, stage=0, part=0, state=State.SUBMITTED, job=sent, shown=True))
    job = job_rows.get(db, SCOPE, holder.job_id)
    assert job.provider_specific_id == "v-1"
    assert (job.provider_status.state, job.provider_status.queue_position) == ("in line", 3)
    assert job.provider_status.cost.amount == 1.5
    last = history(db, holder.job_id)[-1]
    assert last.provider_status == job.provider_status
    found = VendorOutcomes(key="k", outcomes=[VendorOutcome(keys=[b"\1"], counts=[10])])
    done = Change(holder=holder, stage=0, part=0, state=State.DONE, outcomes=found, raw=b"what the vendor sent")
    assert submissions.change(db, done)
    assert submissions.outcomes(db, holder.job_id) == [found]
    assert submissions.raw(db, holder.job_id, 0, 0) == b"what the vendor sent"
    assert entries(db, holder)[0].vendor_id == "v-1"


def test_planning_again_keeps_the_token_and_numbers_new_calls(db: Database) -> None:
    holder = planned(db, "a", "b")
    before = entries(db, holder)
    assert submissions.plan(db, holder, [wanted("b"), wanted("c"), wanted("a", 1)], IDEMPOTENCY_CLIENT_TOKEN)
    after = entries(db, holder)
    assert [(entry.stage, entry.part, entry.key) for entry in after] == [
        (0, 0, "a"),
        (0, 1, "a"),
        (1, 0, "b"),
        (2, 0, "c"),
    ]
    tokens = {(entry.key, entry.part): entry.token for entry in after}
    assert {(entry.key, entry.part): entry.token for entry in before}.items() <= tokens.items()
    assert len(set(tokens.values())) == 4


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_first_known_id_at_the_vendor_is_that_of_the_job(db: Database, order: tuple[int, ...]) -> None:
    holder = planned(db, "a", "b")
    for stage in order:
        sent = VendorJob(vendor_id=f"v-{stage}")
        assert submissions.change(db, Change(holder=holder, stage=stage, part=0, job=sent, shown=True))
        assert job_rows.get(db, SCOPE, holder.job_id).provider_specific_id == f"v-{order[0]}"


@pytest.mark.parametrize("other", [{"attempt": 2}, {"server": "you"}, {"job_id": 10**6}])
def test_only_the_holder_of_the_lease_changes_the_ledger(db: Database, other: dict[str, int]) -> None:
    holder = planned(db)
    stranger = holder._replace(**other)
    assert not submissions.plan(db, stranger, [wanted("z")], IDEMPOTENCY_CLIENT_TOKEN)
    begins = Change(holder=stranger, stage=0, part=0, state=State.SUBMITTING, begins=timedelta(seconds=7))
    assert not submissions.change(db, begins)
    assert submissions.task(db, stranger) is None
    assert [entry.state for entry in entries(db, holder)] == [State.PLANNED]


def test_a_server_that_lost_its_lease_submits_nothing(database_url: str) -> None:
    clock = Clock(datetime(2026, 1, 1, tzinfo=UTC))
    db = open_database(database_url, clock=clock)
    try:
        holder = planned(db)
        clock.now += timedelta(seconds=31)
        assert queue.expire(db, max_attempts=1) == 1
        # Its next attempt only polls: it does not count against max_attempts.
        assert job_rows.get(db, SCOPE, holder.job_id).state == JobState.JOB_STATE_QUEUED
        begins = Change(holder=holder, stage=0, part=0, state=State.SUBMITTING, begins=timedelta(seconds=7))
        assert not submissions.change(db, begins)
        (task,) = claim(db, "you/3")
        assert task.attempt == 2
        assert submissions.change(db, Change(**{**vars(begins), "holder": Holder(holder.job_id, 2, "you")}))
    finally:
        db.close()


def test_a_job_that_ends_as_cancelled_names_what_the_vendor_may_still_run(db: Database) -> None:
    holder = planned(db)
    sent = Change(holder=holder, stage=0, part=0, state=State.SUBMITTED, job=VendorJob(vendor_id="v-9", word="x"))
    assert submissions.change(db, sent)
    job_rows.cancel(db, SCOPE, holder.job_id)
    refused = VendorCancellation.VENDOR_CANCELLATION_REFUSED
    assert submissions.change(db, Change(holder=holder, stage=0, part=0, cancellation=refused, message="too busy"))
    status = job_rows.get(db, SCOPE, holder.job_id).provider_status
    assert (status.cancellation, status.message) == (refused, "too busy")
    queue.release(db, "me", {(holder.job_id, holder.attempt): None}, "the server stops")
    assert job_rows.get(db, SCOPE, holder.job_id).state == JobState.JOB_STATE_CANCELLED
    assert any("v-9: it may run, and may be charged" in event.log.message for event in history(db, holder.job_id))


def test_the_task_of_a_job_is_read_again(db: Database) -> None:
    holder = planned(db)
    task = submissions.task(db, holder)
    assert task is not None
    assert (task.job_id, task.attempt, task.provider, len(task.programs)) == (holder.job_id, 1, "IBM", 1)


def test_deleting_a_job_deletes_its_submissions(db: Database) -> None:
    holder = planned(db)
    job_rows.cancel(db, SCOPE, holder.job_id)
    queue.release(db, "me", {(holder.job_id, holder.attempt): None}, "the server stops")
    job_rows.delete(db, SCOPE, holder.job_id)
    with db.read() as connection:
        for table in ("submissions", "submission_payloads"):
            assert connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() == 0


def test_a_change_of_another_state_than_expected_changes_nothing(db: Database) -> None:
    holder = planned(db)
    begins = Change(
        holder=holder, stage=0, part=0, expects=(State.PLANNED,), state=State.SUBMITTING, begins=timedelta(seconds=7)
    )
    assert submissions.change(db, begins)
    with pytest.raises(submissions.Superseded):
        submissions.change(db, begins)
    assert [entry.calls for entry in entries(db, holder)] == [1]


def test_a_repeated_call_has_a_later_deadline_and_the_first_beginning(db: Database) -> None:
    holder = planned(db)
    begins = Change(holder=holder, stage=0, part=0, state=State.SUBMITTING, begins=timedelta(seconds=7))
    assert submissions.change(db, begins)
    (first,) = entries(db, holder)
    until(lambda: submissions.now(db) > first.begun_at)
    assert submissions.change(db, begins)
    (second,) = entries(db, holder)
    assert second.begun_at == first.begun_at
    assert second.deadline > first.deadline
    assert second.calls == 2


def unknown(db: Database, *keys: str) -> Holder:
    """Return a failed job whose first submission is unknown."""
    holder = planned(db, *keys)
    assert submissions.change(db, Change(holder=holder, stage=0, part=0, state=State.UNKNOWN))
    failure = Failure(category=FAILURE_CATEGORY_PROVIDER, reason="SUBMISSION_UNKNOWN", message="m")
    end = TaskEvent(job_id=holder.job_id, attempt=1, finished=TaskFinished(failure=failure))
    assert not queue.record(db, "me", [end])
    return holder


def test_a_job_adopts_the_submissions_of_another_one_once(db: Database) -> None:
    holder = unknown(db, "a", "b")
    before = entries(db, holder)
    with pytest.raises(FailedPrecondition, match="could be charged twice"):
        job_rows.rerun(db, CALLER, holder.job_id)
    made = job_rows.rerun(db, CALLER, holder.job_id, vendor_id="v-7").job
    assert made.resolved_from == holder.job_id
    found = submissions.read(db, [made.id])[made.id]
    assert [(entry.state, entry.vendor_id) for entry in found] == [(State.SUBMITTED, "v-7"), (State.PLANNED, "")]
    assert [entry.token for entry in found] == [entry.token for entry in before]
    assert submissions.request(db, made.id, 1, 0) == wanted("b")
    assert job_rows.get(db, SCOPE, made.id).provider_specific_id == "v-7"
    assert entries(db, holder)[0].state == State.ADOPTED
    with pytest.raises(FailedPrecondition, match="no unknown submission"):
        job_rows.rerun(db, CALLER, holder.job_id, vendor_id="v-7")


def test_a_submission_that_did_not_happen_permits_a_rerun(db: Database) -> None:
    holder = unknown(db)
    job_rows.resolve_as_not_submitted(db, SCOPE, holder.job_id)
    again = job_rows.rerun(db, CALLER, holder.job_id).job
    assert submissions.read(db, [again.id]) == {}
    with pytest.raises(FailedPrecondition, match="no unknown submission"):
        job_rows.resolve_as_not_submitted(db, SCOPE, holder.job_id)


def test_a_restored_job_adopts_what_its_vendor_had(db: Database) -> None:
    holder = planned(db, "a", "b")
    sent = Change(holder=holder, stage=0, part=0, state=State.SUBMITTED, job=VendorJob(vendor_id="v-1", word="x"))
    assert submissions.change(db, sent)
    db.write(Operation(lambda transaction, _: [submission_settlement.lose(transaction, [holder.job_id])]), None)
    assert [entry.state for entry in entries(db, holder)] == [State.UNKNOWN, State.UNKNOWN]
    with pytest.raises(FailedPrecondition, match="v-1 is part 0 of call 0 of job"):
        job_rows.rerun(db, CALLER, holder.job_id, vendor_id="v-1")
    made = job_rows.rerun(db, CALLER, holder.job_id, vendor_id="v-2").job
    found = submissions.read(db, [made.id])[made.id]
    assert [(entry.state, entry.vendor_id) for entry in found] == [(State.SUBMITTED, "v-1"), (State.SUBMITTED, "v-2")]


def test_one_job_adopts_all_unknown_submissions_of_another(db: Database) -> None:
    holder = unknown(db, "a", "b")
    db.write(Operation(lambda transaction, _: [submission_settlement.lose(transaction, [holder.job_id])]), None)
    made = job_rows.rerun(db, CALLER, holder.job_id, vendor_id="v-1").job
    found = submissions.read(db, [made.id])[made.id]
    assert [(entry.state, entry.vendor_id) for entry in found] == [(State.SUBMITTED, "v-1"), (State.UNKNOWN, "")]
    # Else a statement about the old job would permit to run again what the new one has adopted.
    assert {entry.state for entry in entries(db, holder)} == {State.ADOPTED}
    with pytest.raises(FailedPrecondition, match="no unknown submission"):
        job_rows.resolve_as_not_submitted(db, SCOPE, holder.job_id)


def test_a_deadline_is_that_of_the_databases_clock(postgresql: PostgresqlServer, postgresql_template: str) -> None:
    """The clock of a server is two minutes ahead."""
    name = postgresql.new_database(postgresql_template)
    ahead = open_database(postgresql.url(name), clock=lambda: datetime.now(UTC) + timedelta(minutes=2))
    other = open_database(postgresql.url(name))
    try:
        holder = planned(ahead)
        before = submissions.now(other)
        begins = Change(holder=holder, stage=0, part=0, state=State.SUBMITTING, begins=timedelta(seconds=60))
        assert submissions.change(ahead, begins)
        after = submissions.now(ahead)
        (entry,) = entries(other, holder)
        assert before <= entry.begun_at <= after
        assert before + 60 * SECOND <= entry.deadline <= after + 60 * SECOND
    finally:
        ahead.close()
        other.close()
        postgresql.drop_database(name)
