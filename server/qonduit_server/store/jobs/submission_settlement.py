# SPDX-License-Identifier: Apache-2.0
"""Settle unknown submissions: a new job adopts what the vendor has, or a user states that the vendor has nothing."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy import bindparam, func, select

from qonduit.execution.v1.vendor_pb2 import Idempotency, VendorJob
from qonduit.v1.job_pb2 import Job
from qonduit_server.errors import CallError, FailedPrecondition, NotFound
from qonduit_server.store.database import Database
from qonduit_server.store.jobs import left_groups, vendor_costs
from qonduit_server.store.jobs.submission_entries import ADOPTED_WORD, LOST_KEY, Entry, State
from qonduit_server.store.jobs.submission_rows import SET_VENDOR_ID, entries_of, insert, update
from qonduit_server.store.jobs.unit_of_work import UnitOfWork
from qonduit_server.store.ownership import owner_of
from qonduit_server.store.submission_tables import submission_payloads
from qonduit_server.store.writer import Operation, Transaction

#: Their outcomes are not stored, and a job that lost its log cannot continue them.
_UNFINISHED: Final = (State.PLANNED, State.SUBMITTING, State.SUBMITTED)


_BYTES: Final = select(func.coalesce(func.sum(func.length(submission_payloads.c.data)), 0)).where(
    submission_payloads.c.job_id == bindparam("job")
)


class Adoption(NamedTuple):
    """The vendor's id of the first unknown submission of a failed job, whose submissions a new job continues."""

    job_id: int
    vendor_id: str


class _Settlement(NamedTuple):
    owner: str
    job_id: int


def state_not_submitted(db: Database, owner: str, job_id: int) -> None:
    """Record that the vendor does not have the unknown submissions of a failed job, which may then run again.

    Raises:
        NotFound: the job does not exist.
        FailedPrecondition: it has no unknown submissions.
    """
    db.write(_SETTLE, _Settlement(owner, job_id))


def is_unknown(connection: sa.Connection, job_id: int) -> bool:
    """Return whether a job has unknown submissions."""
    return bool(_unknown_of(connection, job_id))


def _unknown_of(connection: sa.Connection, job_id: int) -> list[Entry]:
    return _unknown(entries_of(connection, [job_id]).get(job_id, ()))


def _unknown(entries: Sequence[Entry]) -> list[Entry]:
    """Return the unknown submissions of a job; those without an id of the vendor precede the others."""
    return sorted((entry for entry in entries if entry.state == State.UNKNOWN), key=lambda each: bool(each.vendor_id))


def adoption_error(connection: sa.Connection, adoption: Adoption) -> CallError | None:
    """Return why a job, which the transaction has locked, cannot be adopted with an id; None if it can."""
    entries = entries_of(connection, [adoption.job_id]).get(adoption.job_id, [])
    unknown = _unknown(entries)
    if not unknown:
        return not_unknown(adoption.job_id)
    subject = f"jobs/{adoption.job_id}"
    if unknown[0].key == LOST_KEY:
        return FailedPrecondition(
            f"the restored database does not contain what job {adoption.job_id} submitted, so its results cannot be "
            "read: read them at the vendor, or use --not-submitted",
            subject=subject,
        )
    for entry in entries:
        if entry is not unknown[0] and entry.vendor_id == adoption.vendor_id:
            return FailedPrecondition(
                f"the vendor's job {adoption.vendor_id} is part {entry.part} of call {entry.stage} of job "
                f"{adoption.job_id}, and not its part {unknown[0].part} of call {unknown[0].stage}",
                subject=subject,
            )
    return None


def bar(transaction: Transaction, job_ids: Collection[int]) -> set[int]:
    """Bar jobs from further submissions, which they may have made in changes that are lost; return the barred jobs.

    These are the jobs of which the vendor has all known submissions, with their ids, and of which one has not ended.
    """
    barred = set()
    for job_id, entries in entries_of(transaction.connection, list(job_ids)).items():
        known = [entry for entry in entries if entry.state != State.BARRED]
        states = {entry.state for entry in known}
        if State.SUBMITTED in states and states <= {State.SUBMITTED, State.DONE}:
            barred.add(job_id)
            if len(known) == len(entries):
                nothing = Idempotency.IDEMPOTENCY_NOTHING
                stage = max(entry.stage for entry in entries) + 1
                insert(
                    transaction.connection, job_id, Entry(stage, 0, LOST_KEY, State.BARRED, nothing, str(uuid.uuid4()))
                )
    return barred


def lose(transaction: Transaction, job_ids: Collection[int]) -> None:
    """Record that vendors may have more submissions of jobs than the ledger contains, which lost changes."""
    known = entries_of(transaction.connection, list(job_ids))
    for job_id in job_ids:
        entries = known.get(job_id, [])
        unfinished = [entry for entry in entries if entry.state in _UNFINISHED]
        for entry in unfinished:
            update(transaction.connection, job_id, replace(entry, state=State.UNKNOWN))
        if not unfinished:
            stage = max((entry.stage + 1 for entry in entries), default=0)
            nothing = Idempotency.IDEMPOTENCY_NOTHING
            lost = Entry(stage, 0, LOST_KEY, State.UNKNOWN, nothing, str(uuid.uuid4()))
            insert(transaction.connection, job_id, lost)


def adopt(transaction: Transaction, adoption: Adoption, job: Job) -> None:
    """Copy the submissions of a failed job, which the transaction has locked, to a new job, with their reservations.

    The first unknown one has the vendor's id. Ones with an id are polled, planned ones are submitted, and those without
    an answer are looked up again. If others are unknown, the new job fails, and is settled in its turn.
    """
    connection, job_id = transaction.connection, job.id
    unit = UnitOfWork(transaction)
    unit.load([adoption.job_id])
    failed = unit.entries[adoption.job_id]
    left_groups.hand_over(connection, adoption.job_id)
    entries = entries_of(connection, [adoption.job_id])[adoption.job_id]
    unknown = _unknown(entries)
    for entry in entries:
        copy = vendor_costs.moved(transaction, failed.job, job, entry)
        if entry is unknown[0]:
            status = VendorJob(vendor_id=adoption.vendor_id, word=ADOPTED_WORD)
            copy = replace(copy, vendor_id=adoption.vendor_id, status=status)
        if copy.state == State.UNKNOWN and copy.vendor_id:
            copy = replace(copy, state=State.SUBMITTED)
        insert(connection, job_id, copy)
    columns = ("stage", "part", "kind", "sha256", "data")
    copied = select(sa.literal(job_id), *(submission_payloads.c[name] for name in columns)).where(
        submission_payloads.c.job_id == adoption.job_id
    )
    connection.execute(sa.insert(submission_payloads).from_select(["job_id", *columns], copied))
    transaction.usage.stored(owner_of(job), int(connection.execute(_BYTES, {"job": job_id}).scalar_one()))
    if not unknown[0].is_group:
        connection.execute(SET_VENDOR_ID, {"job": job_id, "vendor_id": adoption.vendor_id})
    for entry in entries:
        state = State.ADOPTED if entry in unknown else entry.state
        if entry.reserved_on is not None or state != entry.state:
            update(connection, adoption.job_id, replace(entry, state=state, reserved_on=None))
    if failed.job.provider_status.HasField("reserved"):
        failed.job.provider_status.ClearField("reserved")
        failed.changed = True
        unit.flush()


def _settle(transaction: Transaction, calls: Sequence[_Settlement]) -> list[CallError | None]:
    unit = UnitOfWork(transaction)
    unit.load({call.job_id for call in calls})
    answers: list[CallError | None] = []
    for call in calls:
        job = unit.entries.get(call.job_id)
        if job is None or owner_of(job.job) != call.owner:
            answers.append(NotFound("job", call.job_id))
            continue
        entries = entries_of(transaction.connection, [call.job_id]).get(call.job_id, [])
        unknown = _unknown(entries)
        answers.append(None if unknown else not_unknown(call.job_id))
        settled = [
            vendor_costs.release(transaction, job.job, replace(entry, state=State.NOT_SUBMITTED)) for entry in unknown
        ]
        settled += vendor_costs.end(transaction, job.job, [entry for entry in entries if entry not in unknown])
        for entry in settled:
            update(transaction.connection, call.job_id, entry)
        if unknown and job.job.provider_status.HasField("reserved"):
            job.job.provider_status.ClearField("reserved")
            job.changed = True
    unit.flush()
    return answers


def not_unknown(job_id: int) -> FailedPrecondition:
    """Return the error of a job without an unknown submission."""
    return FailedPrecondition(f"job {job_id} has no unknown submission to settle", subject=f"jobs/{job_id}")


def _settled(call: _Settlement, _: object) -> Sequence[str]:
    return (f"jobs/{call.job_id}",)


_SETTLE: Final = Operation(_settle, objects=_settled)
