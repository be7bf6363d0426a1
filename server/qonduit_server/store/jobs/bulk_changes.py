# SPDX-License-Identifier: Apache-2.0
"""Cancel or delete all jobs that match a filter, in transactions of bounded size and calls of bounded time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from sqlalchemy import select

from qonduit.v1.job_pb2 import JobState
from qonduit_server.errors import InvalidArgument, Unavailable
from qonduit_server.lifecycle import QUEUED, RUNNING, TERMINAL
from qonduit_server.store.database import Database
from qonduit_server.store.jobs.cancellation import cancel_loaded
from qonduit_server.store.jobs.deletion import ANY_TIME, ERASE_ENDED, batches
from qonduit_server.store.jobs.job_list import scan_of
from qonduit_server.store.jobs.unit_of_work import UnitOfWork
from qonduit_server.store.list_scan import Row
from qonduit_server.store.ownership import Visibility, owner_of
from qonduit_server.store.paging import Cursor
from qonduit_server.store.results import buffers
from qonduit_server.store.schema import jobs
from qonduit_server.store.writer import Operation, Transaction

#: The number of ids that an answer contains.
MAX_IDS: Final = 100
#: The number of jobs that one transaction changes.
_BATCH: Final = 100
#: After this time a call ends with the current transaction.
CALL_SECONDS: Final = 1.0
#: The columns that a scan needs, and what a deletion needs to bound its transactions.
_COLUMNS: Final = select(jobs.c.id, jobs.c.state, jobs.c.created_at, jobs.c.last_sequence)

#: Changes the jobs of some rows; returns the ids of those that it changed.
_Change = Callable[[Sequence[Row]], list[int]]


@dataclass
class BulkChange:
    """What a call did.

    Attributes:
        count: the number of jobs that it changed, or would change.
        job_ids: the first of them.
        next_page_token: continues with the other jobs; empty after the last call.
    """

    count: int = 0
    job_ids: list[int] = field(default_factory=list)
    next_page_token: str = ""


class _Candidates(NamedTuple):
    #: None for the jobs of all owners.
    owners: frozenset[str] | None
    state: int
    ids: Sequence[int]


def cancel_matching(
    db: Database,
    caller: Visibility | str,
    filter: str,
    page_token: str = "",
    *,
    validate_only: bool = False,
    seconds: float = CALL_SECONDS,
) -> BulkChange:
    """Request the cancel of the queued and running jobs that match a filter.

    Args:
        db: the database.
        caller: the caller, with the owners whose jobs are cancelled.
        filter: as of `job_list.list_page`, not empty; "*" matches all.
        page_token: from the previous call.
        validate_only: only count the jobs.
        seconds: the time after which the call ends with the current transaction.

    Raises:
        InvalidArgument: bad filter or page token.
        ResourceExhausted: the earlier calls have tested too many jobs that do not match.
    """
    visible = Visibility.of(caller)

    def cancel(rows: Sequence[Row]) -> list[int]:
        by_state: dict[int, list[int]] = {}
        for row in rows:
            by_state.setdefault(row.state, []).append(row.id)
        # The filter may select by state, so a job that was claimed meanwhile is not cancelled as a queued one.
        calls = [
            _Candidates(None if visible.sees_all else visible.owners, state, ids) for state, ids in by_state.items()
        ]
        return [job_id for call in calls for job_id in db.write(_CANCEL, call)]

    states = (QUEUED, RUNNING)
    change = None if validate_only else cancel
    return _change(db, visible, "cancel", filter, page_token, states, change, seconds)


def delete_matching(
    db: Database,
    caller: Visibility | str,
    filter: str,
    page_token: str = "",
    *,
    validate_only: bool = False,
    seconds: float = CALL_SECONDS,
) -> BulkChange:
    """Delete the ended jobs that match a filter, with their events and results; arguments as of cancel."""
    deadline = time.monotonic() + seconds

    def delete(rows: Sequence[Row]) -> list[int]:
        deleted: set[int] = set()
        for batch in batches(db, {row.id: row.last_sequence for row in rows}, ANY_TIME):
            erased: list[int] = db.write(ERASE_ENDED, batch)
            deleted.update(erased)
            # The jobs are deleted. Retention deletes the chunks for which no time is left.
            with suppress(Unavailable):
                for result_id in batch.heavy:
                    if time.monotonic() < deadline:
                        buffers.erase(db, result_id)
        return [row.id for row in rows if row.id in deleted]

    states = tuple(sorted(TERMINAL))
    change = None if validate_only else delete
    return _change(db, Visibility.of(caller), "delete", filter, page_token, states, change, seconds)


def _change(
    db: Database,
    visible: Visibility,
    name: str,
    filter: str,
    page_token: str,
    states: Sequence[JobState],
    change: _Change | None,
    seconds: float,
) -> BulkChange:
    if not filter.strip():
        raise InvalidArgument.of("filter", "filter.required", 'filter: must not be empty; "*" matches all jobs')
    scan = scan_of(db, visible, filter, states=states)
    cursor = Cursor((name, visible.caller, filter), 0, page_token)
    after = scan.position(cursor)
    scan.require_index(cursor, db.max_tested_rows)
    done = BulkChange()
    deadline = time.monotonic() + seconds
    while True:
        with db.read() as connection:
            scanned = scan.read(connection, _COLUMNS, after, _BATCH, max(0.0, deadline - time.monotonic()))
        cursor.tested += scanned.tested
        rows = [found.row for found in scanned.found]
        changed = change(rows) if change else [row.id for row in rows]
        done.count += len(changed)
        done.job_ids += changed[: MAX_IDS - len(done.job_ids)]
        after = scanned.stopped or (scanned.found[-1].position if len(rows) == _BATCH else None)
        if after is None:
            return done
        if time.monotonic() > deadline:
            done.next_page_token = cursor.token(after.segment, *after.keys)
            return done


def _cancel(transaction: Transaction, calls: Sequence[_Candidates]) -> list[Any]:
    unit = UnitOfWork(transaction)
    unit.load({job_id for call in calls for job_id in call.ids})
    answers = []
    for owners, state, ids in calls:
        entries = [unit.entries[job_id] for job_id in ids if job_id in unit.entries]
        own = [entry for entry in entries if owners is None or owner_of(entry.job) in owners]
        chosen = [entry for entry in own if entry.job.state == state]
        for entry in chosen:
            cancel_loaded(unit, entry)
        answers.append([entry.job.id for entry in chosen])
    unit.flush()
    return answers


_CANCEL: Final[Operation[_Candidates, list[int]]] = Operation(
    _cancel, objects=lambda _, ids: [f"jobs/{job_id}" for job_id in ids]
)
