# SPDX-License-Identifier: Apache-2.0
"""Settle unknown submissions: a new job adopts what the vendor has, or a user states that the vendor has nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy import bindparam, select

from qonduit.execution.v1.vendor_pb2 import VendorJob
from qonduit_server.errors import CallError, FailedPrecondition, NotFound
from qonduit_server.store.database import Database
from qonduit_server.store.jobs.submission_entries import State
from qonduit_server.store.jobs.submissions import INSERT, SET_VENDOR_ID, entries_of
from qonduit_server.store.jobs.unit_of_work import UnitOfWork
from qonduit_server.store.ownership import owner_of
from qonduit_server.store.submission_tables import submission_payloads, submissions
from qonduit_server.store.writer import Operation, Transaction


class Adoption(NamedTuple):
    """The vendor's id of the first unknown submission of a failed job, whose submissions a new job continues."""

    job_id: int
    vendor_id: str


class _Settlement(NamedTuple):
    owner: str
    job_id: int


_SET_STATE: Final = (
    sa.update(submissions)
    .where(
        submissions.c.job_id == bindparam("job"),
        submissions.c.stage == bindparam("of_stage"),
        submissions.c.part == bindparam("of_part"),
    )
    .values(state=bindparam("new_state"))
)


def state_not_submitted(db: Database, owner: str, job_id: int) -> None:
    """Record that the vendor does not have the unknown submissions of a failed job, which may then run again.

    Raises:
        NotFound: the job does not exist.
        FailedPrecondition: it has no unknown submissions.
    """
    db.write(_SETTLE, _Settlement(owner, job_id))


def is_unknown(connection: sa.Connection, job_id: int) -> bool:
    """Return whether a job has unknown submissions."""
    return any(entry.state == State.UNKNOWN for entry in entries_of(connection, [job_id]).get(job_id, ()))


def adopt(transaction: Transaction, adoption: Adoption, job_id: int) -> None:
    """Copy the submissions of a failed job, which the transaction has locked, to a new job.

    The first unknown one has the vendor's id. Submitted ones are polled, planned ones are submitted, and the others are
    looked up again.
    """
    connection = transaction.connection
    entries = entries_of(connection, [adoption.job_id])[adoption.job_id]
    first = next(entry for entry in entries if entry.state == State.UNKNOWN)
    source = {"job_id": job_id}
    for entry in entries:
        adopted = entry is first
        status = VendorJob(vendor_id=adoption.vendor_id, word="adopted") if adopted else entry.status
        values = {
            **source,
            "stage": entry.stage,
            "part": entry.part,
            "key": entry.key,
            "state": State.SUBMITTED if adopted else entry.state,
            "idempotency": entry.idempotency,
            "token": entry.token,
            "vendor_id": status.vendor_id or entry.vendor_id or None,
            "calls": entry.calls,
            "begun_at": entry.begun_at or None,
            "deadline": entry.deadline or None,
            "status": status.SerializeToString(),
        }
        connection.execute(INSERT, values)
    columns = ("stage", "part", "kind", "sha256", "data")
    copied = select(sa.literal(job_id), *(submission_payloads.c[name] for name in columns)).where(
        submission_payloads.c.job_id == adoption.job_id
    )
    connection.execute(sa.insert(submission_payloads).from_select(["job_id", *columns], copied))
    connection.execute(SET_VENDOR_ID, {"job": job_id, "vendor_id": adoption.vendor_id})
    place = {"job": adoption.job_id, "of_stage": first.stage, "of_part": first.part}
    connection.execute(_SET_STATE, {**place, "new_state": int(State.ADOPTED)})


def _settle(transaction: Transaction, calls: Sequence[_Settlement]) -> list[CallError | None]:
    unit = UnitOfWork(transaction)
    unit.load({call.job_id for call in calls})
    answers: list[CallError | None] = []
    for call in calls:
        job = unit.entries.get(call.job_id)
        entries = entries_of(transaction.connection, [call.job_id]).get(call.job_id, [])
        unknown = [entry for entry in entries if entry.state == State.UNKNOWN]
        if job is None or owner_of(job.job) != call.owner:
            answers.append(NotFound("job", call.job_id))
            continue
        answers.append(None if unknown else not_unknown(call.job_id))
        for entry in unknown:
            place = {"job": call.job_id, "of_stage": entry.stage, "of_part": entry.part}
            transaction.connection.execute(_SET_STATE, {**place, "new_state": int(State.NOT_SUBMITTED)})
    return answers


def not_unknown(job_id: int) -> FailedPrecondition:
    """Return the error of a job without an unknown submission."""
    return FailedPrecondition(f"job {job_id} has no unknown submission to settle", subject=f"jobs/{job_id}")


def _settled(call: _Settlement, _: object) -> Sequence[str]:
    return (f"jobs/{call.job_id}",)


_SETTLE: Final = Operation(_settle, objects=_settled)
