# SPDX-License-Identifier: Apache-2.0
"""The submission ledger: the submissions of each job to vendors, so that no job is submitted, and paid, twice.

A submission is planned with its token, then marked as being submitted in a transaction of its own, and only then sent.
The vendor's id is stored in the same transaction as the event that shows it. So after a crash the ledger shows which
submissions may have reached the vendor without an answer, and until when the call may still arrive. All times are those
of the database's clock.
"""

from __future__ import annotations

import hashlib
import uuid
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy import bindparam, select

from qonduit.execution.v1.task_pb2 import Task
from qonduit.execution.v1.vendor_pb2 import Idempotency, Submission, VendorOutcomes
from qonduit.v1.event_pb2 import LOG_LEVEL_WARNING, LogLine
from qonduit.v1.job_pb2 import Job
from qonduit_server.capabilities import VENDOR_MODES
from qonduit_server.encryption.sealing import Sealer
from qonduit_server.errors import CallError
from qonduit_server.lifecycle import CANCELLING, LEASED
from qonduit_server.store.bulk_statements import among
from qonduit_server.store.database import Database
from qonduit_server.store.jobs import job_credentials
from qonduit_server.store.jobs.job_sizes import truncate
from qonduit_server.store.jobs.submission_entries import (
    GROUP_STAGE,
    OPEN,
    SHOWN_PARTS,
    SHOWN_TEXT_BYTES,
    Change,
    Entry,
    Holder,
    State,
    status_of,
)
from qonduit_server.store.jobs.submission_rows import (
    DELETE_LEFT_GROUPS,
    REQUEST,
    SET_VENDOR_ID,
    entries_of,
    insert,
    update,
)
from qonduit_server.store.jobs.task_messages import tasks_of
from qonduit_server.store.jobs.unit_of_work import JobChange, UnitOfWork, server_of
from qonduit_server.store.jobs.vendor_costs import CostLimits, priced, settle
from qonduit_server.store.ownership import owner_of
from qonduit_server.store.program_queue import queue_name
from qonduit_server.store.submission_tables import submission_payloads, submissions
from qonduit_server.store.writer import Operation, Transaction

#: The largest response of a vendor that is kept, after compression.
MAX_RAW_BYTES: Final = 4 * 1024**2
#: The further kinds of payloads.
OUTCOMES: Final = 2
RAW: Final = 3


class SubmissionUnknown(CallError):
    """Changes are lost in which submissions may have been planned and sent."""

    reason = "SUBMISSION_UNKNOWN"


class Superseded(CallError):
    """Another step has changed the submission."""


class _Plan(NamedTuple):
    holder: Holder
    submissions: Sequence[Submission]
    idempotency: Idempotency
    why_unpriced: str = ""


class _Reading(NamedTuple):
    holder: Holder
    sealer: Sealer


class Credential(NamedTuple):
    """The credential of a job: the id of a stored one, or 0, and the secret; that is empty if it cannot be read."""

    id: int
    secret: str

    def __repr__(self) -> str:
        """Return it without the secret."""
        return f"Credential({self.id})"


class _Credentials(NamedTuple):
    holders: Sequence[Holder]
    sealer: Sealer


_OF_JOBS: Final = among(submission_payloads.c.job_id, "ids")
_SELECT_PAYLOADS: Final = (
    select(submission_payloads.c.data)
    .where(_OF_JOBS, submission_payloads.c.kind == bindparam("kind"))
    .order_by(submission_payloads.c.job_id, submission_payloads.c.stage, submission_payloads.c.part)
)
_SELECT_PAYLOAD: Final = select(submission_payloads.c.data).where(
    submission_payloads.c.job_id == bindparam("job"),
    submission_payloads.c.stage == bindparam("stage"),
    submission_payloads.c.part == bindparam("part"),
    submission_payloads.c.kind == bindparam("kind"),
)
_INSERT_PAYLOAD: Final = sa.insert(submission_payloads)
_CLOCK: Final = sa.text("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
#: Delete the submissions of jobs.
DELETES: Final = (
    sa.delete(submissions).where(among(submissions.c.job_id, "ids")),
    sa.delete(submission_payloads).where(_OF_JOBS),
    DELETE_LEFT_GROUPS,
)


def plan(
    db: Database, holder: Holder, wanted: Sequence[Submission], idempotency: Idempotency, why_unpriced: str = ""
) -> bool:
    """Add submissions to the ledger, durably, and reserve their prices; return whether the holder has the lease.

    Known ones do not change.

    Args:
        db: has the ledger.
        holder: the server, and the attempt of the job.
        wanted: the submissions.
        idempotency: how the vendor prevents double submissions.
        why_unpriced: why the vendor has not estimated the cost of those without a price, if that is known.

    Raises:
        FailedPrecondition, QuotaExceeded: their cost exceeds a limit. None is added.
        SubmissionUnknown: a failover may have lost some of them. None is added.
    """
    return db.write(_PLAN, _Plan(holder, wanted, idempotency, why_unpriced))


def change(db: Database, changed: Change) -> bool:
    """Change a submission, durably; return whether the holder has the lease. Without it, nothing changes.

    Raises:
        Superseded: the submission has another state than the change expects; nothing changed.
    """
    return db.write(_CHANGE, changed)


def read(db: Database, job_ids: Iterable[int]) -> Mapping[int, list[Entry]]:
    """Return the submissions of jobs, in the order of stage and part; jobs without any are left out."""
    with db.read() as connection:
        return entries_of(connection, list(job_ids))


def request(db: Database, job_id: int, stage: int, part: int) -> Submission:
    """Return what a submission sends."""
    found = payload(db, job_id, stage, part, REQUEST)
    assert isinstance(found, Submission)
    return found


def outcomes(db: Database, job_id: int) -> list[VendorOutcomes]:
    """Return the stored outcomes of a job."""
    with db.read() as connection:
        found = connection.execute(_SELECT_PAYLOADS, {"ids": [job_id], "kind": OUTCOMES}).scalars()
        return [VendorOutcomes.FromString(data) for data in found]


def raw(db: Database, job_id: int, stage: int, part: int) -> bytes | None:
    """Return the vendor's response; None if it is not kept."""
    found = payload(db, job_id, stage, part, RAW)
    assert found is None or isinstance(found, bytes)
    return found


def payload(db: Database, job_id: int, stage: int, part: int, kind: int) -> Submission | VendorOutcomes | bytes | None:
    """Return what a submission sent or received, by its kind; None if it does not exist, or is not kept."""
    values = {"job": job_id, "stage": stage, "part": part, "kind": kind}
    with db.read() as connection:
        data = connection.execute(_SELECT_PAYLOAD, values).scalar()
    if data is None:
        return None
    if kind == RAW:
        return zlib.decompress(data)
    return Submission.FromString(data) if kind == REQUEST else VendorOutcomes.FromString(data)


def task(db: Database, holder: Holder) -> Task | None:
    """Return the task of a job with the credential that it has now; None if the holder has not the lease."""
    return db.write(_TASK, _Reading(holder, db.sealer))


def credentials(db: Database, holders: Sequence[Holder]) -> list[Credential | None]:
    """Return the credentials that jobs have now, in one transaction; None for a job whose holder has not the lease."""
    return db.write(_CREDENTIALS, _Credentials(holders, db.sealer))


def now(db: Database) -> int:
    """Return the time of the database's own clock, in microseconds since 1970: deadlines are compared with it."""
    with db.read() as connection:
        return _time(connection, db.kind, db.now())


def _time(connection: sa.Connection, kind: str, own: int) -> int:
    """Return the time of PostgreSQL's clock; SQLite has that of this machine, which alone uses the file."""
    return int(connection.execute(_CLOCK).scalar_one()) if kind == "postgresql" else own


def warn_of_open(unit: UnitOfWork, entry: JobChange, entries: Sequence[Entry]) -> None:
    """Append a warning to a job that ends as cancelled while a vendor may have its submissions."""
    left = [each for each in entries if each.state in OPEN]
    if left and entry.job.state == CANCELLING:
        ids = ", ".join(each.vendor_id or f"the job with the tag {each.token}" for each in left[:SHOWN_PARTS])
        message = f"the vendor has not confirmed the cancellation of {ids}: it may run, and may be charged"
        unit.append(entry, log=LogLine(level=LOG_LEVEL_WARNING, message=message))


def _held(unit: UnitOfWork, holder: Holder) -> JobChange | None:
    """Return a loaded job if the holder has its lease."""
    entry = unit.entries.get(holder.job_id)
    if entry is None or entry.job.state not in LEASED or entry.job.attempt != holder.attempt or entry.owner is None:
        return None
    return entry if server_of(entry.owner) == holder.server else None


def _plan(transaction: Transaction, plans: Sequence[_Plan]) -> list[bool | CallError]:
    unit = UnitOfWork(transaction)
    unit.load({each.holder.job_id for each in plans})
    known = entries_of(transaction.connection, [each.holder.job_id for each in plans])
    held = [_held(unit, each.holder) for each in plans]
    limits = CostLimits(transaction, [entry.job for entry in held if entry is not None])
    answers: list[bool | CallError] = []
    for each, entry in zip(plans, held, strict=True):
        if entry is None:
            answers.append(False)
            continue
        before = known.get(each.holder.job_id, [])
        new = _new_entries(each, before)
        if new and any(known.state == State.BARRED for known in before):
            _end_bar(transaction, each.holder.job_id, before)
            answers.append(
                SubmissionUnknown(
                    f"{queue_name(entry.job)} may have further submissions of the job, which a failover of the "
                    "database lost. They are not sent again: look for them in the vendor's list of jobs, then run "
                    f"`qonduit resolve {entry.job.id} --not-submitted`"
                )
            )
            continue
        reserved = limits.reserve(entry.job, before, [one for _, one in new], each.why_unpriced)
        if isinstance(reserved, CallError):
            answers.append(reserved)
            continue
        answers.append(True)
        for (wanted, _), one in zip(new, reserved, strict=True):
            insert(transaction.connection, each.holder.job_id, one)
            place = (each.holder.job_id, one.stage, one.part)
            _keep(transaction, owner_of(entry.job), place, REQUEST, wanted.SerializeToString(deterministic=True))
        if any(one.reserved_on is not None for one in reserved):
            entry.job.provider_status.reserved.CopyFrom(status_of([*before, *reserved]).reserved)
            unit.append(entry, provider_status=entry.job.provider_status)
    unit.flush()
    return answers


def _end_bar(transaction: Transaction, job_id: int, entries: Sequence[Entry]) -> None:
    """Let a user settle whether the vendor has submissions that are lost."""
    for entry in entries:
        if entry.state == State.BARRED:
            update(transaction.connection, job_id, replace(entry, state=State.UNKNOWN))


def _new_entries(wanted: _Plan, known: Sequence[Entry]) -> list[tuple[Submission, Entry]]:
    """Return the submissions of a plan that the ledger does not contain."""
    stages = {entry.key: entry.stage for entry in known if not entry.is_group}
    present = {(entry.key, entry.part) for entry in known}
    found = []
    for new in wanted.submissions:
        # No vendor takes a token or a tag when it opens a group.
        stage, idempotency = GROUP_STAGE, Idempotency.IDEMPOTENCY_NOTHING
        if new.key not in VENDOR_MODES.values():
            stage, idempotency = stages.setdefault(new.key, len(stages)), wanted.idempotency
        if (new.key, new.part) not in present:
            entry = Entry(stage, new.part, new.key, State.PLANNED, idempotency, str(uuid.uuid4()))
            found.append((new, priced(entry, new.price if new.HasField("price") else None)))
    return found


def _keep(transaction: Transaction, owner: str, place: tuple[int, int, int], kind: int, data: bytes) -> None:
    """Store a payload with its hash; a vendor's response compressed, and without its data if it is too large."""
    kept: bytes | None = data
    if kind == RAW:
        kept = zlib.compress(data)
        kept = kept if len(kept) <= MAX_RAW_BYTES else None
    job_id, stage, part = place
    transaction.usage.stored(owner, len(kept or b""))
    values = {"job_id": job_id, "stage": stage, "part": part, "kind": kind, "data": kept}
    transaction.connection.execute(_INSERT_PAYLOAD, values | {"sha256": hashlib.sha256(data).hexdigest()})


def _change(transaction: Transaction, changes: Sequence[Change]) -> list[bool | CallError]:
    unit = UnitOfWork(transaction)
    ids = {each.holder.job_id for each in changes}
    unit.load(ids)
    known = {
        (job_id, entry.stage, entry.part): entry
        for job_id, entries in entries_of(transaction.connection, list(ids)).items()
        for entry in entries
    }
    answers: list[bool | CallError] = []
    for each in changes:
        place = (each.holder.job_id, each.stage, each.part)
        job, before = _held(unit, each.holder), known.get(place)
        if job is None or before is None:
            answers.append(False)
            continue
        if each.expects and before.state not in each.expects:
            answers.append(Superseded(f"submission {place} is {before.state.name}"))
            continue
        answers.append(True)
        known[place] = _apply(transaction, job.job, before, each)
        settled = known[place].reserved_on != before.reserved_on
        if each.shown or settled or each.cancellation is not None or each.message is not None:
            _show(unit, job, each, [entry for (job_id, *_), entry in known.items() if job_id == place[0]])
    unit.flush()
    return answers


def _apply(transaction: Transaction, job: Job, before: Entry, wanted: Change) -> Entry:
    """Write a changed submission; return it."""
    deadline, begun_at, calls = before.deadline, before.begun_at, before.calls
    if wanted.begins is not None:
        now = _time(transaction.connection, transaction.kind, transaction.now)
        # A repetition of a call without an answer does not extend the time for which the vendor knows the token.
        begun_at = begun_at if before.state == State.SUBMITTING else now
        calls, deadline = calls + 1, now + wanted.begins // timedelta(microseconds=1)
    job_id = wanted.holder.job_id
    status = before.status if wanted.job is None else wanted.job
    after = replace(
        before,
        state=before.state if wanted.state is None else wanted.state,
        vendor_id=status.vendor_id or before.vendor_id,
        calls=calls,
        begun_at=begun_at,
        deadline=deadline,
        status=status,
    )
    if after.state == State.DONE and before.state != State.DONE:
        after = settle(transaction, job, before, after)
    update(transaction.connection, job_id, after)
    if after.vendor_id and not after.is_group and not job.HasField("provider_specific_id"):
        # The first that is known, of any part: clients may have read it, so it never changes.
        job.provider_specific_id = after.vendor_id
        transaction.connection.execute(SET_VENDOR_ID, {"job": job_id, "vendor_id": after.vendor_id})
    place = (job_id, before.stage, before.part)
    if before.state == State.DONE:
        return after
    if wanted.outcomes is not None:
        _keep(transaction, owner_of(job), place, OUTCOMES, wanted.outcomes.SerializeToString())
    if wanted.raw is not None:
        _keep(transaction, owner_of(job), place, RAW, wanted.raw)
    return after


def _show(unit: UnitOfWork, job: JobChange, changed: Change, entries: Sequence[Entry]) -> None:
    """Set the status of a job from its submissions, and append the event."""
    status = status_of(entries, changed)
    before = job.job.provider_status
    status.cancellation = before.cancellation if changed.cancellation is None else changed.cancellation
    status.message = before.message if changed.message is None else truncate(changed.message, SHOWN_TEXT_BYTES)
    if status == before:
        return
    job.job.provider_status.CopyFrom(status)
    unit.append(job, provider_status=status)


def _task(transaction: Transaction, reads: Sequence[_Reading]) -> list[Task | None]:
    unit = UnitOfWork(transaction)
    unit.load({each.holder.job_id for each in reads})
    held = [_held(unit, each.holder) for each in reads]
    wanted = [[each] if each is not None else [] for each in held]
    using = [each.job for each in held if each is not None]
    secrets = job_credentials.read(transaction.connection, reads[0].sealer, using)
    readable = {job_id: secret for job_id, secret in secrets.items() if isinstance(secret, str)}
    return [next(iter(tasks()), None) for tasks in tasks_of(transaction, unit, wanted, readable)]


def _credentials(transaction: Transaction, reads: Sequence[_Credentials]) -> list[list[Credential | None]]:
    unit = UnitOfWork(transaction)
    unit.load({holder.job_id for each in reads for holder in each.holders})
    using = [entry.job for entry in unit.entries.values()]
    secrets = job_credentials.read(transaction.connection, reads[0].sealer, using)

    def found(holder: Holder) -> Credential | None:
        held, secret = _held(unit, holder), secrets.get(holder.job_id)
        if held is None:
            return None
        return Credential(held.job.credential_id, secret if isinstance(secret, str) else "")

    return [[found(holder) for holder in each.holders] for each in reads]


_PLAN: Final = Operation(_plan)
_CHANGE: Final = Operation(_change)
_TASK: Final = Operation(_task, durable=False)
_CREDENTIALS: Final = Operation(_credentials, durable=False)
