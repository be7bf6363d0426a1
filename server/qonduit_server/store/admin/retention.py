# SPDX-License-Identifier: Apache-2.0
"""Retention: delete old jobs in small transactions, so that other writers do not wait.

A sweep scans by primary key (ids grow with time) and stops at the first page without old rows. The transaction that
deletes rows checks them again, under locks that do not wait: several servers may sweep one database at once, and rows
in use are left for the next sweep.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy import bindparam, exists, select
from sqlalchemy.exc import SQLAlchemyError

from qonduit.v1.job_pb2 import Job
from qonduit_server.errors import CallError
from qonduit_server.store.admin import audit_retention
from qonduit_server.store.bulk_statements import among
from qonduit_server.store.database import Database, utc_now
from qonduit_server.store.jobs import large_options
from qonduit_server.store.jobs.deletion import ENDED, ERASE_EXPIRED, MAX_BYTES, MAX_DELETED, EndedJobs, batches
from qonduit_server.store.results.buffers import ERASE
from qonduit_server.store.results.orphaned_chunks import OrphanedChunks
from qonduit_server.store.schema import deployments, jobs, programs
from qonduit_server.store.users import stored_bytes
from qonduit_server.store.writer import Operation, Transaction

R = TypeVar("R")

#: Number of rows per read.
_PAGE: Final = 500
#: Minimum pause between two transactions; the pause is at least twice as long as the last transaction.
_PAUSE_SECONDS: Final = 0.01
#: A deployment with more jobs keeps its replaced programs: finding the unused ones would take too long.
_MAX_JOBS_CHECKED: Final = 1000
#: Retry interval while the database is unavailable.
_RETRY_SECONDS: Final = 60.0

_JOBS: Final = (
    select(jobs.c.id, jobs.c.created_at, jobs.c.last_sequence, sa.and_(*ENDED).label("ended"))
    .where(jobs.c.id > bindparam("after"))
    .order_by(jobs.c.id)
    .limit(_PAGE)
)
_DEPLOYMENTS: Final = (
    select(deployments.c.id, deployments.c.deployed_at, deployments.c.is_inline, deployments.c.size)
    .where(deployments.c.id > bindparam("after"))
    .order_by(deployments.c.id)
    .limit(_PAGE)
)
_UNUSED: Final = (deployments.c.is_inline, ~exists().where(jobs.c.deployment_id == deployments.c.id))
_SELECT_UNUSED: Final = select(deployments.c.id).where(among(deployments.c.id, "ids"), *_UNUSED)
_LOCK_DEPLOYMENTS: Final = (
    select(deployments.c.id).where(among(deployments.c.id, "ids")).with_for_update(skip_locked=True)
)
_DELETE_UNUSED: Final = (
    sa.delete(deployments).where(among(deployments.c.id, "ids"), *_UNUSED).returning(deployments.c.id)
)
_REPLACED: Final = (
    select(programs.c.deployment_id)
    .distinct()
    .where(among(programs.c.deployment_id, "ids"), programs.c.is_current.is_(False))
)
_RUNS: Final = (
    select(jobs.c.program_runs).where(jobs.c.deployment_id == bindparam("deployment")).limit(_MAX_JOBS_CHECKED + 1)
)
_SELECT_REPLACED: Final = select(programs.c.id).where(
    programs.c.deployment_id == bindparam("deployment"), programs.c.is_current.is_(False)
)
_DELETE_PROGRAMS: Final = sa.delete(programs).where(among(programs.c.id, "ids"))


@dataclass
class SweepCounts:
    """The numbers of deleted objects."""

    jobs: int = 0
    deployments: int = 0
    programs: int = 0
    #: Large results that were not recorded.
    orphans: int = 0
    #: Large options without a job.
    options: int = 0
    audit_entries: int = 0

    def __bool__(self) -> bool:
        """Return whether anything was deleted."""
        return any(vars(self).values())


def sweep(db: Database, before: int, stop: threading.Event) -> SweepCounts:
    """Delete jobs that ended before a time, then objects that no other job uses.

    A job is deleted with its events, results, buffers and request id; an inline deployment is deleted with its last
    job; programs replaced before that time are deleted if no job refers to them.

    Args:
        before: the time, in microseconds since 1970.
        stop: when set, the sweep ends after the current transaction.

    Raises:
        Unavailable: the database does not answer; the next sweep deletes the rest.
    """
    swept = SweepCounts()
    throttle = _Throttle(stop)
    for old in _old_jobs(db, before):
        swept.jobs += len(throttle.run(db, ERASE_EXPIRED, old))
        throttle.erase_chunks(db, old.heavy)
        if stop.is_set():
            return swept
    for operation, ids in _old_deployments(db, before):
        deleted = throttle.run(db, operation, ids)
        if operation is _ERASE_DEPLOYMENTS:
            swept.deployments += deleted
        else:
            swept.programs += deleted
        if stop.is_set():
            return swept
    return swept


class Retention:
    """The thread that sweeps at the start and then once per interval, until `stop`.

    Create it before this server records anything, because it also deletes the leftovers of lost servers.

    Args:
        db: the store.
        keep_days: how long jobs are kept after they end; 0 means forever.
        keep_audit_days: the same for entries of the audit log.
        log: called with an event and its fields after each sweep that deleted something or failed.
        interval: seconds between two sweeps.
        clock: returns the current time in UTC.
    """

    def __init__(
        self,
        db: Database,
        keep_days: float,
        log: Callable[..., object],
        *,
        keep_audit_days: float = 0,
        interval: float = 3600.0,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._db = db
        self._log = log
        self._interval = interval
        self._orphans = OrphanedChunks(db)
        self._clock = clock
        self._stop = threading.Event()
        self._woken = threading.Event()
        self.keep(keep_days, keep_audit_days)
        self._thread = threading.Thread(target=self._work, name="store-retention", daemon=True)

    def keep(self, days: float, audit_days: float) -> None:
        """Set how long jobs and entries of the audit log are kept, and sweep at once.

        Args:
            days: how long jobs are kept after they end; 0 means forever.
            audit_days: the same for entries of the audit log.
        """
        self._keep_seconds = days * 86_400
        self._keep_audit_seconds = audit_days * 86_400
        self._woken.set()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread after the current transaction."""
        self._stop.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)

    def _work(self) -> None:
        while not self._stop.is_set():
            self._woken.clear()
            started = time.monotonic()
            wait = self._interval
            try:
                swept = self._sweep()
            except (CallError, SQLAlchemyError) as error:
                wait = min(self._interval, _RETRY_SECONDS)
                if not self._stop.is_set():
                    self._log("retention failed", error=str(error).partition("\n")[0], again_in=wait)
            else:
                if swept:
                    seconds = round(time.monotonic() - started, 3)
                    self._log("retention", **vars(swept), seconds=seconds)
            if not self._stop.is_set():
                self._woken.wait(wait)

    def _sweep(self) -> SweepCounts:
        throttle = _Throttle(self._stop)
        orphans = throttle.erase_chunks(self._db, self._orphans.without_result())
        options = throttle.erase_options(self._db)
        swept = SweepCounts()
        if self._keep_seconds and not self._stop.is_set():
            swept = sweep(self._db, self._before(self._keep_seconds), self._stop)
        if self._keep_audit_seconds:
            swept.audit_entries = throttle.erase_audit(self._db, self._before(self._keep_audit_seconds))
        swept.orphans = orphans
        swept.options = options
        return swept

    def _before(self, seconds: float) -> int:
        return int(max(0, self._clock().timestamp() - seconds) * 1_000_000)


class _Throttle:
    """Runs operations with pauses between them."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop

    def run(self, db: Database, operation: Operation[Any, R], argument: Any) -> R:
        """Run an operation, pause, and return its result: what it deleted."""
        return self._paced(lambda: db.write(operation, argument))

    def erase_audit(self, db: Database, before: int) -> int:
        """Delete the entries of the audit log of before a time; return their number."""
        total = 0
        while not self._stop.is_set() and (deleted := self._paced(lambda: audit_retention.erase_oldest(db, before))):
            total += deleted
        return total

    def _paced(self, delete: Callable[[], R]) -> R:
        started = time.monotonic()
        deleted = delete()
        self._stop.wait(max(_PAUSE_SECONDS, 2 * (time.monotonic() - started)))
        return deleted

    def erase_chunks(self, db: Database, result_ids: Sequence[int]) -> int:
        """Delete the chunks of missing results; return the number of results."""
        for place, result_id in enumerate(result_ids):
            while not self._stop.is_set() and self.run(db, ERASE, result_id):
                pass
            if self._stop.is_set():
                return place
        return len(result_ids)

    def erase_options(self, db: Database) -> int:
        """Delete the large options that no job uses; return their number."""
        total = 0
        while not self._stop.is_set() and (hashes := large_options.unused(db)):
            deleted = self.run(db, large_options.ERASE_UNUSED, hashes)
            total += deleted
            if not deleted:  # locked by others: left for the next sweep
                break
        return total


def _old_jobs(db: Database, before: int) -> Iterator[EndedJobs]:
    """Yield jobs that ended before a time, oldest first, in batches for one transaction."""
    after = 0
    while True:
        with db.read() as connection:
            rows = connection.execute(_JOBS, {"after": after, "before": before}).all()
        yield from batches(db, {row.id: row.last_sequence for row in rows if row.ended}, before)
        # If all jobs of a page are young, so are later ones. A single young job proves nothing: servers' clocks differ.
        if len(rows) < _PAGE or all(row.created_at >= before for row in rows):
            return
        after = rows[-1].id


def _old_deployments(db: Database, before: int) -> Iterator[tuple[Operation[Any, int], Any]]:
    """Yield the operations that delete inline deployments without jobs, and replaced programs."""
    after = 0
    while True:
        with db.read() as connection:
            rows = connection.execute(_DEPLOYMENTS, {"after": after}).all()
            old = [row for row in rows if row.deployed_at < before]
            inline = [row.id for row in old if row.is_inline]
            unused = set(connection.execute(_SELECT_UNUSED, {"ids": inline}).scalars()) if inline else set()
            kept = [row.id for row in old if not row.is_inline]
            replaced = list(connection.execute(_REPLACED, {"ids": kept}).scalars()) if kept else []
        chosen: list[int] = []
        size = 0
        for row in old:
            if row.id in unused:
                chosen.append(row.id)
                size += row.size
                if len(chosen) >= MAX_DELETED or size >= MAX_BYTES:
                    yield _ERASE_DEPLOYMENTS, chosen
                    chosen, size = [], 0
        if chosen:
            yield _ERASE_DEPLOYMENTS, chosen
        for deployment_id in replaced:
            yield _ERASE_REPLACED, deployment_id
        # As with jobs, but only inline deployments count: an update makes a deployment younger than its id.
        if len(rows) < _PAGE or (not old and any(row.is_inline for row in rows)):
            return
        after = rows[-1].id


def _erase_deployments(transaction: Transaction, calls: Sequence[Sequence[int]]) -> list[int]:
    answers = []
    for ids in calls:
        # Locked first, then checked in a separate statement, which sees jobs created before the lock was acquired.
        locked = list(transaction.connection.execute(_LOCK_DEPLOYMENTS, {"ids": list(ids)}).scalars())
        stored = stored_bytes.of_deployments(transaction.connection, locked)
        deleted = transaction.connection.execute(_DELETE_UNUSED, {"ids": locked}).scalars().all()
        for deployment_id in deleted:
            if deployment_id in stored:
                owner, size = stored[deployment_id]
                transaction.usage.stored(owner, -size)
        answers.append(len(deleted))
    return answers


def _erase_replaced(transaction: Transaction, deployment_ids: Sequence[int]) -> list[int]:
    connection = transaction.connection
    answers = []
    for deployment_id in deployment_ids:
        unused: set[int] = set()
        if connection.execute(_LOCK_DEPLOYMENTS, {"ids": [deployment_id]}).first() is not None:
            found = connection.execute(_RUNS, {"deployment": deployment_id}).scalars().all()
            if len(found) <= _MAX_JOBS_CHECKED:
                used = {run.program_id for one in found for run in Job.FromString(one).program_runs}
                unused = set(connection.execute(_SELECT_REPLACED, {"deployment": deployment_id}).scalars()) - used
        if unused:
            owner, before = stored_bytes.of_deployments(connection, [deployment_id])[deployment_id]
            connection.execute(_DELETE_PROGRAMS, {"ids": list(unused)})
            _, after = stored_bytes.of_deployments(connection, [deployment_id]).get(deployment_id, (owner, 0))
            transaction.usage.stored(owner, after - before)
        answers.append(len(unused))
    return answers


# Not durable: after a power failure, the next sweep deletes the rows again.
_ERASE_DEPLOYMENTS: Final = Operation(_erase_deployments, durable=False)
_ERASE_REPLACED: Final = Operation(_erase_replaced, durable=False)
