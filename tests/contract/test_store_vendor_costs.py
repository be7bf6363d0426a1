# SPDX-License-Identifier: Apache-2.0
"""The contract of the store, on every database: the costs of submissions, and the bytes that these store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from qonduit.execution.v1.task_pb2 import TaskEvent, TaskFinished
from qonduit.execution.v1.vendor_pb2 import (
    IDEMPOTENCY_CLIENT_TOKEN,
    VENDOR_JOB_STATE_CANCELLED,
    VENDOR_JOB_STATE_DONE,
    VENDOR_JOB_STATE_FAILED,
    NativeCircuit,
    Submission,
    VendorJob,
    VendorOutcome,
    VendorOutcomes,
)
from qonduit.v1.failure_pb2 import FAILURE_CATEGORY_PROVIDER, Failure
from qonduit.v1.job_pb2 import Job, JobState, VendorCost
from qonduit.v1.quota_pb2 import QuotaValues
from qonduit.v1.usage_service_pb2 import UsageGrouping, UsageRow
from qonduit_server.errors import InvalidArgument, QuotaExceeded
from qonduit_server.store import catalogue
from qonduit_server.store.admin import adoption, restoration, user_export
from qonduit_server.store.database import Database, open_database
from qonduit_server.store.job_pools import AtVendor, Pool
from qonduit_server.store.jobs import job_rows, queue, submission_settlement, submissions
from qonduit_server.store.jobs.submission_entries import Change, Holder, State
from qonduit_server.store.users import quota_rows, usage_rows
from qonduit_server.store.users.stored_bytes import DIFFERENCES
from qonduit_server.store.writer import Operation, Transaction
from tests.store_fixture import CALLER, LEASE, Clock, claim, description, submit

SCOPE = frozenset({CALLER})


def wanted(amount: float, unit: str = "EUR", key: str = "k") -> Submission:
    circuits = [NativeCircuit(text="h 0")]
    return Submission(key=key, device="d", circuits=circuits, shots=10, price=VendorCost(amount=amount, unit=unit))


def planned(db: Database, *prices: Submission, owner: str = "me", pool: Pool = "IBM") -> Holder:
    """Submit and claim a job, and plan its submissions."""
    submit(db)
    (task,) = queue.claim(db, owner, {pool: 1}, LEASE)
    holder = Holder(task.job_id, task.attempt, owner)
    assert submissions.plan(db, holder, prices or [wanted(2)], IDEMPOTENCY_CLIENT_TOKEN)
    return holder


def change(db: Database, holder: Holder, state: State, job: VendorJob | None = None, stage: int = 0) -> None:
    outcomes = VendorOutcomes(outcomes=[VendorOutcome()]) if state == State.DONE else None
    changed = Change(holder=holder, stage=stage, part=0, state=state, job=job, outcomes=outcomes, shown=True)
    assert submissions.change(db, changed)


def costs(db: Database) -> dict[str, tuple[float, float]]:
    """Return the spent and the reserved cost of the caller, by unit."""
    rows = usage_rows.list_page(db, CALLER).items
    return {each.unit: (each.spent, each.reserved) for row in rows for each in row.costs}


def end(db: Database, holder: Holder, failure: str = "") -> None:
    finished = TaskFinished()
    if failure:
        finished.failure.CopyFrom(Failure(category=FAILURE_CATEGORY_PROVIDER, reason=failure, message="it failed"))
    event = TaskEvent(job_id=holder.job_id, attempt=holder.attempt, finished=finished)
    assert not queue.record(db, holder.server, [event])


@pytest.mark.parametrize(
    ("reported", "spent"),
    [
        (VendorJob(vendor_id="v", state=VENDOR_JOB_STATE_DONE, cost=0.1, cost_unit="EUR"), {"EUR": (0.1, 0.0)}),
        (VendorJob(vendor_id="v", state=VENDOR_JOB_STATE_DONE, cost=3, cost_unit="s"), {"EUR": (2, 0), "s": (3, 0)}),
        (VendorJob(vendor_id="v", state=VENDOR_JOB_STATE_DONE, computed_cost=0.5), {"EUR": (0.5, 0)}),
        (VendorJob(vendor_id="v", state=VENDOR_JOB_STATE_DONE), {"EUR": (2, 0)}),
        (VendorJob(vendor_id="v", state=VENDOR_JOB_STATE_DONE, cost=float("nan"), cost_unit="EUR"), {"EUR": (2, 0)}),
        (VendorJob(vendor_id="v", state=VENDOR_JOB_STATE_DONE, cost=-1, cost_unit="EUR"), {"EUR": (0, 0)}),
        (VendorJob(vendor_id="v", state=VENDOR_JOB_STATE_FAILED), {"EUR": (0, 0)}),
        (VendorJob(vendor_id="v", state=VENDOR_JOB_STATE_CANCELLED, may_be_charged=True), {"EUR": (2, 0)}),
        (VendorJob(), {"EUR": (0, 0)}),  # it was refused
    ],
)
def test_a_reservation_ends_with_the_outcome(
    db: Database, reported: VendorJob, spent: dict[str, tuple[float, float]]
) -> None:
    holder = planned(db)
    assert costs(db) == {"EUR": (0.0, 2.0)}
    assert job_rows.get(db, SCOPE, holder.job_id).provider_status.reserved == VendorCost(amount=2, unit="EUR")
    change(db, holder, State.SUBMITTING)
    change(db, holder, State.DONE, reported)
    assert costs(db) == spent
    assert not job_rows.get(db, SCOPE, holder.job_id).provider_status.HasField("reserved")
    change(db, holder, State.DONE, reported)  # after a lost answer
    assert costs(db) == spent


def test_submissions_of_one_transaction_stay_within_a_limit(db: Database) -> None:
    quota_rows.set_quota(db, CALLER, QuotaValues(cost_per_day={"EUR": 5}))
    holder = planned(db)
    with pytest.raises(QuotaExceeded) as refused:
        submissions.plan(db, holder, [wanted(2, key="b"), wanted(1.000001, key="c")], IDEMPOTENCY_CLIENT_TOKEN)
    assert "the estimated cost is 3.000001 EUR, 2 EUR of 5 EUR are spent or reserved today" in str(refused.value)
    assert len(submissions.read(db, [holder.job_id])[holder.job_id]) == 1
    assert submissions.plan(db, holder, [wanted(2, key="b"), wanted(1, key="c")], IDEMPOTENCY_CLIENT_TOKEN)
    assert quota_rows.get(db, CALLER).used.cost_per_day == {"EUR": 5.0}
    assert submissions.plan(db, holder, [wanted(2, key="b")], IDEMPOTENCY_CLIENT_TOKEN)  # known, and reserved
    assert costs(db) == {"EUR": (0.0, 5.0)}


def test_a_day_has_its_own_limit(database_url: str) -> None:
    clock = Clock(datetime(2026, 1, 1, 23, 59, tzinfo=UTC))
    db = open_database(database_url, clock=clock)
    quota_rows.set_quota(db, CALLER, QuotaValues(cost_per_day={"EUR": 3}))
    holder = planned(db)
    clock.now += timedelta(minutes=2)
    planned(db)
    # The cost counts on the day of the reservation.
    change(db, holder, State.DONE, VendorJob(vendor_id="v", state=VENDOR_JOB_STATE_DONE, cost=1, cost_unit="EUR"))
    by_day: Sequence[UsageRow] = usage_rows.list_page(db, CALLER, group_by=[UsageGrouping.USAGE_GROUPING_DAY]).items
    found = {row.day: (row.costs[0].spent, row.costs[0].reserved) for row in by_day}
    assert found == {"2026-01-01": (1.0, 0.0), "2026-01-02": (0.0, 2.0)}
    db.close()


def test_pages_of_usage_have_the_costs_of_their_rows(db: Database) -> None:
    planned(db)
    planned(db, wanted(1), wanted(4, "s", "b"))
    rows = usage_rows.list_page(db, None, group_by=[UsageGrouping.USAGE_GROUPING_OWNER], page_size=1).items
    assert [(each.unit, each.reserved) for each in rows[0].costs] == [("EUR", 3.0), ("s", 4.0)]
    assert not usage_rows.list_page(db, None, start_day="2000-01-01", end_day="2000-01-02").items


def test_units_of_a_quota_change_one_by_one(db: Database) -> None:
    quota_rows.set_quota(db, CALLER, QuotaValues(cost_per_day={"EUR": 5, "s": 60}), ["cost_per_day"])
    quota = quota_rows.set_quota(db, CALLER, QuotaValues(cost_per_day={"EUR": -1}), ["cost_per_day"])
    assert quota.effective.cost_per_day == {"EUR": -1, "s": 60}
    many = QuotaValues(cost_per_day=dict.fromkeys(map(str, range(15)), 1.0))
    with pytest.raises(InvalidArgument, match="at most 16 units"):
        quota_rows.set_quota(db, CALLER, many, ["cost_per_day"])
    assert quota_rows.set_quota(db, CALLER, QuotaValues(), ["cost_per_day"]).effective.cost_per_day == {}


def test_the_reservations_of_a_job_end_with_it(db: Database) -> None:
    holder = planned(db, wanted(1, key="a"), wanted(2, key="b"), wanted(4, key="c"))
    change(db, holder, State.DONE, VendorJob(vendor_id="v", cost=0.5, cost_unit="EUR"))
    change(db, holder, State.SUBMITTED, VendorJob(vendor_id="w"), stage=1)
    end(db, holder, "PROVIDER_BROKEN")
    # The vendor may charge for the second one; the third one was not sent.
    assert costs(db) == {"EUR": (2.5, 0.0)}
    assert not job_rows.get(db, SCOPE, holder.job_id).provider_status.HasField("reserved")


def test_all_reservations_of_an_unknown_job_move_to_the_one_that_adopts_it(db: Database) -> None:
    holder = planned(db, wanted(1, key="a"), wanted(2, key="b"))
    change(db, holder, State.UNKNOWN)
    end(db, holder, "SUBMISSION_UNKNOWN")
    assert costs(db) == {"EUR": (0.0, 3.0)}
    adopted = job_rows.rerun(db, CALLER, holder.job_id, vendor_id="v", scope=SCOPE).job
    assert costs(db) == {"EUR": (0.0, 3.0)}
    (task,) = claim(db, "me")
    again = Holder(task.job_id, task.attempt, "me")
    change(db, again, State.DONE, VendorJob(vendor_id="v", cost=1, cost_unit="EUR"))
    change(db, again, State.DONE, VendorJob(vendor_id="w", cost=2.5, cost_unit="EUR"), stage=1)
    end(db, again)
    assert adopted.id == again.job_id
    assert costs(db) == {"EUR": (3.5, 0.0)}


def test_a_submission_that_did_not_happen_is_not_reserved(db: Database) -> None:
    holder = planned(db, wanted(1, key="a"), wanted(2, key="b"))
    change(db, holder, State.UNKNOWN)
    end(db, holder, "SUBMISSION_UNKNOWN")
    submission_settlement.state_not_submitted(db, CALLER, holder.job_id)
    assert costs(db) == {"EUR": (0.0, 0.0)}
    assert not job_rows.get(db, SCOPE, holder.job_id).provider_status.HasField("reserved")


def test_reservations_follow_a_job_to_another_owner(db: Database) -> None:
    holder = planned(db)
    adoption.adopt(db, CALLER, "anna")
    assert costs(db) == {"EUR": (0.0, 0.0)}
    change(db, holder, State.DONE, VendorJob(vendor_id="v", cost=1, cost_unit="EUR"))
    (row,) = usage_rows.list_page(db, "anna").items
    assert [(cost.spent, cost.reserved) for cost in row.costs] == [(1.0, 0.0)]


def test_payloads_count_as_stored_bytes_until_the_job_is_deleted(db: Database) -> None:
    submit(db)
    before = quota_rows.get(db, CALLER).used.stored_bytes
    (task,) = claim(db, "me")
    holder = Holder(task.job_id, task.attempt, "me")
    assert submissions.plan(db, holder, [wanted(2)], IDEMPOTENCY_CLIENT_TOKEN)
    sent = quota_rows.get(db, CALLER).used.stored_bytes
    assert sent == before + wanted(2).ByteSize()
    change(db, holder, State.DONE, VendorJob(vendor_id="v"))
    end(db, holder)
    assert quota_rows.get(db, CALLER).used.stored_bytes > sent
    with db.read() as connection:
        assert not connection.execute(DIFFERENCES).all()
    job_rows.delete(db, SCOPE, holder.job_id)
    assert quota_rows.get(db, CALLER).used.stored_bytes == before


def test_an_export_contains_what_vendors_received_and_sent(db: Database, tmp_path: Path) -> None:
    holder = planned(db)
    done = Change(
        holder=holder, stage=0, part=0, state=State.DONE, outcomes=VendorOutcomes(key="k"), raw=b"the vendor's answer"
    )
    assert submissions.change(db, done)
    user_export.export(db, CALLER, tmp_path / "export", lambda message: type(message).__name__)
    files = {file.name: file.read_bytes() for file in (tmp_path / "export" / "vendors").iterdir()}
    assert files == {
        f"{holder.job_id}-0-0-request": b"Submission",
        f"{holder.job_id}-0-0-outcomes": b"VendorOutcomes",
        f"{holder.job_id}-0-0-response": b"the vendor's answer",
    }


def _failover(transaction: Transaction, calls: Sequence[None]) -> list[int]:
    return [restoration.follow_failover(transaction, new_log=False, lost=True) for _ in calls]


def test_after_a_failover_a_job_with_known_ids_is_polled_and_submits_nothing_more(db: Database) -> None:
    described = description()
    described.devices[0].is_local = False
    catalogue.sync(db, [described])
    pool = AtVendor("IBM")
    holder = planned(db, wanted(1, key="a"), pool=pool)
    change(db, holder, State.SUBMITTED, VendorJob(vendor_id="v"))
    assert db.write(Operation(_failover), None) == 0
    assert job_of(db, holder).state == JobState.JOB_STATE_QUEUED
    (task,) = queue.claim(db, "you", {pool: 1}, LEASE)
    again = Holder(task.job_id, task.attempt, "you")
    assert not submissions.change(db, Change(holder=holder, stage=0, part=0, state=State.DONE))  # the server before
    change(db, again, State.DONE, VendorJob(vendor_id="v"))
    assert submissions.plan(db, again, [wanted(1, key="a")], IDEMPOTENCY_CLIENT_TOKEN)
    with pytest.raises(submissions.SubmissionUnknown, match="a failover of the database lost"):
        submissions.plan(db, again, [wanted(1, key="b")], IDEMPOTENCY_CLIENT_TOKEN)
    end(db, again, "SUBMISSION_UNKNOWN")
    submission_settlement.state_not_submitted(db, CALLER, holder.job_id)


def job_of(db: Database, holder: Holder) -> Job:
    return job_rows.get(db, SCOPE, holder.job_id)
