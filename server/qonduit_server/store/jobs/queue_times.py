# SPDX-License-Identifier: Apache-2.0
"""What changes queued jobs by itself: reached times, expiry, and pauses of their devices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from sqlalchemy import BigInteger, bindparam, literal_column, select

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.v1.failure_pb2 import Failure, FailureCategory
from qonduit_server.lifecycle import FAILED, QUEUED
from qonduit_server.store.database import Database
from qonduit_server.store.job_pools import IS_LOCAL
from qonduit_server.store.jobs import held_jobs
from qonduit_server.store.jobs.held_jobs import HELD, MUST_MOVE, SET_QUEUE
from qonduit_server.store.jobs.pinned_jobs import queue_of
from qonduit_server.store.jobs.unit_of_work import SELECT_ENTRIES, UnitOfWork
from qonduit_server.store.notification_bus import ANY_PROVIDER
from qonduit_server.store.queries import Query
from qonduit_server.store.schema import EXPIRES, IS_QUEUED, jobs, providers
from qonduit_server.store.usage_ledger import DAY
from qonduit_server.store.users.quota_checks import seconds_to_midnight
from qonduit_server.store.writer import Operation, Transaction

#: The maximum number of jobs that one transaction changes.
_MOST: Final = 1000
#: After a transaction that changed nothing, the next one follows in this time: another server has locked the jobs.
_AGAIN_SECONDS: Final = 0.05
_NEXT: Final = (
    f"SELECT min(due) FROM (SELECT (SELECT not_before FROM jobs WHERE state = {int(QUEUED)} "
    f"AND provider_id = providers.id AND not_before > 0 AND not_before < {HELD} ORDER BY not_before LIMIT 1) AS due "
    "FROM providers "
    f"UNION ALL SELECT (SELECT min(expires_at) FROM jobs WHERE state = {int(QUEUED)} AND expires_at IS NOT NULL)) AS d"
)
#: The next time, and whether jobs must be moved.
_DUE: Final = Query(select(literal_column(f"({_NEXT})", BigInteger).label("due"), MUST_MOVE.label("must_move")))
_SELECT_DUE: Final = Query(
    select(
        *(jobs.c.id, jobs.c.spec, IS_LOCAL),
        select(providers.c.name).where(providers.c.id == jobs.c.provider_id).scalar_subquery().label("provider"),
    )
    .where(
        *(IS_QUEUED, jobs.c.provider_id.in_(select(providers.c.id))),
        *(jobs.c.not_before > 0, jobs.c.not_before <= bindparam("now")),
    )
    .limit(_MOST)
    .with_for_update(skip_locked=True, of=jobs)
)
_SELECT_EXPIRED: Final = Query(
    SELECT_ENTRIES.where(EXPIRES, jobs.c.expires_at <= bindparam("now"))
    .order_by(jobs.c.expires_at)
    .limit(_MOST)
    .with_for_update(skip_locked=True, of=jobs)
)


def apply_due(db: Database) -> float:
    """Apply the times that are reached, and pauses; return the seconds to the next time, or infinity without one.

    After a change it returns 0: more jobs may be due.

    Raises:
        Unavailable: the database does not answer.
    """
    with db.read() as connection:
        ((due, must_move),) = _DUE(connection, {})
        limits_days = db.quotas.snapshot(connection).limits_days
    now = db.now()
    if db.quotas.is_new_day(now // DAY) and limits_days:
        db.write(_APPLY, True)  # jobs that a quota of the day before held may start
    seconds = math.inf if due is None else (due - now) / 1e6
    if limits_days:
        seconds = min(seconds, seconds_to_midnight(now))
    if seconds > 0 and not must_move:
        return seconds
    return 0.0 if db.write(_APPLY, False) else _AGAIN_SECONDS


def _apply(transaction: Transaction, calls: Sequence[bool]) -> list[bool]:
    """Return whether jobs were changed, for each call."""
    if any(calls):
        transaction.queued.add(ANY_PROVIDER)
    now = {"now": transaction.now}
    unit = UnitOfWork(transaction)
    expired = _SELECT_EXPIRED.ask(transaction.connection, now)
    due = _SELECT_DUE.ask(transaction.connection, now)
    move_held = held_jobs.ask_moves(transaction)
    for entry in unit.add_rows(expired()):
        entry.job.failure.CopyFrom(_EXPIRED)
        unit.set_open_programs(entry, FAILED, _EXPIRED)
        unit.move(entry, FAILED)
    unit.flush()
    promoted: list[tuple[int, int]] = []
    for row in due():
        if row.id in unit.entries:
            continue  # it has expired
        promoted.append((queue_of(JobSpec.FromString(row.spec or b""), is_local=bool(row.is_local)), row.id))
        transaction.queued.add(row.provider)
    if promoted:
        SET_QUEUE(transaction.connection, promoted)
    moved = move_held()
    return [bool(unit.entries or promoted or moved)] * len(calls)


_EXPIRED: Final = Failure(
    category=FailureCategory.FAILURE_CATEGORY_LIMIT,
    reason="EXPIRED",
    message="The job did not start before the time in job.expires_at. Create it again with a later time, or without.",
    retryable=True,
)
_APPLY: Final = Operation(_apply)
