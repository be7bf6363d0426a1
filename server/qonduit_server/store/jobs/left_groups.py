# SPDX-License-Identifier: Apache-2.0
"""The batches and sessions at vendors that are open although their jobs have ended: a server or a worker was lost.

The transaction that ends such a job adds a row (`submission_rows.leave_group`), and the credential of the job is kept
until the row goes. Servers that share a database close them in turn: the one that takes a row postpones it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy import bindparam, select

from qonduit.execution.v1.vendor_pb2 import Submission, VendorJob
from qonduit_server.encryption.sealing import Sealer
from qonduit_server.store.bulk_statements import among
from qonduit_server.store.database import Database
from qonduit_server.store.jobs import job_credentials
from qonduit_server.store.jobs.submission_entries import State, status_of
from qonduit_server.store.jobs.submission_rows import DELETE_LEFT_GROUPS, entries_of, group_request, update
from qonduit_server.store.jobs.unit_of_work import JobChange, UnitOfWork
from qonduit_server.store.jobs.vendor_costs import settle
from qonduit_server.store.submission_tables import left_groups
from qonduit_server.store.writer import Operation, Transaction

#: A server that takes one has this time before another server does.
_LEASE: Final = timedelta(minutes=5)
#: The time after which a server looks again at those that it cannot close.
_OTHERS: Final = timedelta(seconds=10)
_MICROSECOND: Final = timedelta(microseconds=1)
_DUE: Final = (
    select(left_groups.c.job_id, left_groups.c.ends_at)
    .where(left_groups.c.due <= bindparam("now"))
    .order_by(left_groups.c.job_id)
    .limit(10)
    .with_for_update(skip_locked=True)
)
_ANY_DUE: Final = select(left_groups.c.job_id).where(left_groups.c.due <= bindparam("now")).limit(1)
_POSTPONE: Final = sa.update(left_groups).where(among(left_groups.c.job_id, "ids")).values(due=bindparam("until"))


class LeftGroup(NamedTuple):
    """A batch or a session to close: its job and device, the vendor's id, and what opened it."""

    job_id: int
    device: str
    vendor_id: str
    secret: str
    request: Submission

    def __repr__(self) -> str:
        """Return it without the secret."""
        return f"LeftGroup({self.job_id}, {self.vendor_id!r})"


class _Taking(NamedTuple):
    providers: Collection[str]
    sealer: Sealer


class _Report(NamedTuple):
    job_id: int
    found: VendorJob | None
    again: timedelta | None


def take_due(db: Database, providers: Collection[str]) -> list[LeftGroup]:
    """Return those of providers that are due, for this server; others do not take them for a while.

    What a vendor has ended by itself is settled, and not returned.
    """
    with db.read() as connection:
        if connection.execute(_ANY_DUE, {"now": db.now()}).first() is None:
            return []
    return db.write(_TAKE, _Taking(providers, db.sealer))


def report(db: Database, job_id: int, found: VendorJob | None, again: timedelta | None) -> None:
    """Record what the vendor reports.

    Args:
        db: the database.
        job_id: the job.
        found: the state; None if the vendor reports none.
        again: the time after which the vendor is asked again; None if it has ended, and its cost is settled.
    """
    db.write(_REPORT, _Report(job_id, found, again))


def hand_over(connection: sa.Connection, job_id: int) -> None:
    """Let the job that continues the submissions of another one close its batch or session."""
    if connection.execute(DELETE_LEFT_GROUPS, {"ids": [job_id]}).rowcount:
        job_credentials.erase(connection, [job_id])


def _take(transaction: Transaction, calls: Sequence[_Taking]) -> list[list[LeftGroup]]:
    answers = []
    for call in calls:
        rows = transaction.connection.execute(_DUE, {"now": transaction.now}).all()
        unit = UnitOfWork(transaction)
        unit.load([row.job_id for row in rows])
        jobs = [entry.job for entry in unit.entries.values()]
        entries = entries_of(transaction.connection, list(unit.entries))
        secrets = job_credentials.read(transaction.connection, call.sealer, jobs) if jobs else {}
        found: list[LeftGroup] = []
        others: list[int] = []
        for row in rows:
            entry = unit.entries.get(row.job_id)
            if entry is None or row.ends_at <= transaction.now:
                _end(transaction, entry, row.job_id, None)
                continue
            secret = secrets.get(row.job_id, "")
            if entry.job.device.partition("/")[0] in call.providers and isinstance(secret, str):
                request = group_request(transaction.connection, row.job_id)
                group = next(each for each in entries[row.job_id] if each.is_group)
                found.append(LeftGroup(row.job_id, entry.job.device, group.vendor_id, secret, request))
            else:
                others.append(row.job_id)
        unit.flush()
        # Another server may have their provider, or the key of their credential.
        for ids, wait in (([each.job_id for each in found], _LEASE), (others, _OTHERS)):
            if ids:
                until = transaction.now + wait // _MICROSECOND
                transaction.connection.execute(_POSTPONE, {"ids": ids, "until": until})
        answers.append(found)
    return answers


def _report(transaction: Transaction, calls: Sequence[_Report]) -> list[None]:
    unit = UnitOfWork(transaction)
    unit.load([call.job_id for call in calls])
    for call in calls:
        if call.again is None:
            _end(transaction, unit.entries.get(call.job_id), call.job_id, call.found)
        else:
            until = transaction.now + call.again // _MICROSECOND
            transaction.connection.execute(_POSTPONE, {"ids": [call.job_id], "until": until})
    unit.flush()
    return [None] * len(calls)


def _end(transaction: Transaction, entry: JobChange | None, job_id: int, found: VendorJob | None) -> None:
    """Settle a batch or a session that has ended, and erase the credential of its job."""
    transaction.connection.execute(DELETE_LEFT_GROUPS, {"ids": [job_id]})
    job_credentials.erase(transaction.connection, [job_id])
    if entry is None:
        return
    entries = entries_of(transaction.connection, [job_id]).get(job_id, [])
    for place, before in enumerate(entries):
        if before.is_group and before.state == State.SUBMITTED:
            after = replace(before, state=State.DONE, status=before.status if found is None else found)
            entries[place] = settle(transaction, entry.job, before, after)
            update(transaction.connection, job_id, entries[place])
    status, shown = status_of(entries), entry.job.provider_status
    status.cancellation, status.message = shown.cancellation, shown.message
    shown.CopyFrom(status)
    entry.changed = True


_TAKE: Final = Operation(_take)
_REPORT: Final = Operation(_report)
