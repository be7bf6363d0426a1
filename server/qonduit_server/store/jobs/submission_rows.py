# SPDX-License-Identifier: Apache-2.0
"""The rows of the submission ledger (submissions.py): read, insert and update them in a transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import bindparam, select

from qonduit.execution.v1.vendor_pb2 import Submission, VendorJob
from qonduit_server.store.bulk_statements import among
from qonduit_server.store.jobs.submission_entries import GROUP_STAGE, Entry, State
from qonduit_server.store.schema import jobs
from qonduit_server.store.submission_tables import left_groups, submission_payloads, submissions

_CHANGED: Final = (
    *("state", "vendor_id", "calls", "begun_at", "deadline", "status", "price", "price_unit", "reserved_on"),
)
_SELECT: Final = (
    select(submissions)
    .where(among(submissions.c.job_id, "ids"))
    .order_by(submissions.c.job_id, submissions.c.stage, submissions.c.part)
)
_INSERT: Final = sa.insert(submissions)
_UPDATE: Final = (
    sa.update(submissions)
    .where(
        submissions.c.job_id == bindparam("job"),
        submissions.c.stage == bindparam("of_stage"),
        submissions.c.part == bindparam("of_part"),
    )
    .values({name: bindparam(f"new_{name}") for name in _CHANGED})
)
#: The payload with this kind is what a submission sends.
REQUEST: Final = 1
_SELECT_GROUP: Final = select(submission_payloads.c.data).where(
    submission_payloads.c.job_id == bindparam("job"),
    submission_payloads.c.stage == GROUP_STAGE,
    submission_payloads.c.part == 0,
    submission_payloads.c.kind == REQUEST,
)
_LEAVE: Final = sa.insert(left_groups)
#: Delete the left batches and sessions of jobs.
DELETE_LEFT_GROUPS: Final = sa.delete(left_groups).where(among(left_groups.c.job_id, "ids"))
SET_VENDOR_ID: Final = (
    sa.update(jobs).where(jobs.c.id == bindparam("job")).values(provider_specific_id=bindparam("vendor_id"))
)


def entries_of(connection: sa.Connection, job_ids: Sequence[int]) -> dict[int, list[Entry]]:
    """Return the submissions of jobs, as `read` does."""
    found: dict[int, list[Entry]] = {}
    if job_ids:
        for row in connection.execute(_SELECT, {"ids": job_ids}):
            found.setdefault(row.job_id, []).append(_entry(row))
    return found


def insert(connection: sa.Connection, job_id: int, entry: Entry) -> None:
    """Add a submission of a job."""
    values = {"job_id": job_id, "stage": entry.stage, "part": entry.part, "key": entry.key, "token": entry.token}
    values["idempotency"] = int(entry.idempotency)
    connection.execute(_INSERT, values | _changed(entry))


def update(connection: sa.Connection, job_id: int, entry: Entry) -> None:
    """Write a submission of a job, which the transaction has locked."""
    values = {"job": job_id, "of_stage": entry.stage, "of_part": entry.part}
    connection.execute(_UPDATE, values | {f"new_{name}": value for name, value in _changed(entry).items()})


def leave_group(connection: sa.Connection, job_id: int, now: int) -> bool:
    """Record that a job ends whose batch or session is open at its vendor, if that is so; return whether it is."""
    entries = entries_of(connection, [job_id]).get(job_id, [])
    if not any(entry.is_group and entry.state == State.SUBMITTED and entry.vendor_id for entry in entries):
        return False
    seconds = group_request(connection, job_id).group_seconds
    connection.execute(_LEAVE, {"job_id": job_id, "due": now, "ends_at": now + seconds * 1_000_000})
    return True


def group_request(connection: sa.Connection, job_id: int) -> Submission:
    """Return what opened the batch or the session of a job."""
    data = connection.execute(_SELECT_GROUP, {"job": job_id}).scalar()
    return Submission.FromString(data or b"")


def _changed(entry: Entry) -> dict[str, Any]:
    """Return the values of the columns `_CHANGED`."""
    return {
        "state": int(entry.state),
        "vendor_id": entry.vendor_id or None,
        "calls": entry.calls,
        "begun_at": entry.begun_at or None,
        "deadline": entry.deadline or None,
        "status": entry.status.SerializeToString() or None,
        "price": entry.price,
        "price_unit": entry.price_unit or None,
        "reserved_on": entry.reserved_on,
    }


def _entry(row: Any) -> Entry:
    return Entry(
        stage=row.stage,
        part=row.part,
        key=row.key,
        state=State(row.state),
        idempotency=row.idempotency,
        token=row.token,
        vendor_id=row.vendor_id or "",
        calls=row.calls,
        begun_at=row.begun_at or 0,
        deadline=row.deadline or 0,
        status=VendorJob.FromString(row.status or b""),
        price=row.price,
        price_unit=row.price_unit or "",
        reserved_on=row.reserved_on,
    )
