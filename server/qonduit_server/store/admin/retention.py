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
from typing import Final, TypeVar

import sqlalchemy as sa
from sqlalchemy import bindparam, select
from sqlalchemy.exc import SQLAlchemyError

from qonduit_server.errors import CallError
from qonduit_server.observer import UNOBSERVED, Observer
from qonduit_server.store.admin import audit_retention, expired_deployments
from qonduit_server.store.admin.archive import ArchiveFailed
from qonduit_server.store.admin.archived_objects import Archiver
from qonduit_server.store.admin.expired_deployments import ERASE_REPLACED, ERASE_UNUSED, Replaced
from qonduit_server.store.database import Database, utc_now
from qonduit_server.store.jobs import large_options
from qonduit_server.store.jobs.deletion import ENDED, ERASE_EXPIRED, EndedJobs, batches
from qonduit_server.store.results.buffers import ERASE
from qonduit_server.store.results.orphaned_chunks import OrphanedChunks
from qonduit_server.store.schema import jobs
from qonduit_server.store.writer import Operation

A = TypeVar("A")
R = TypeVar("R")

#: Number of rows per read.
_PAGE: Final = 500
#: Minimum pause between two transactions; the pause is at least twice as long as the last transaction.
_PAUSE_SECONDS: Final = 0.01
#: Retry interval while the database or the archive is unavailable.
_RETRY_SECONDS: Final = 60.0

_JOBS: Final = (
    select(jobs.c.id, jobs.c.created_at, jobs.c.last_sequence, sa.and_(*ENDED).label("ended"))
    .where(jobs.c.id > bindparam("after"))
    .order_by(jobs.c.id)
    .limit(_PAGE)
)


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
    #: Written to the archive, compressed.
    archived_bytes: int = 0

    def __bool__(self) -> bool:
        """Return whether anything was deleted."""
        return any(vars(self).values())


def sweep(db: Database, before: int, stop: threading.Event, archiver: Archiver | None = None) -> SweepCounts:
    """Delete jobs that ended before a time, then objects that no other job uses.

    A job is deleted with its events, results, buffers and request id; an inline deployment is deleted with its last
    job; programs replaced before that time are deleted if no job refers to them.

    Args:
        before: the time, in microseconds since 1970.
        stop: when set, the sweep ends after the current transaction.
        archiver: archives objects before they are deleted.

    Raises:
        Unavailable: the database does not answer; the next sweep deletes the rest.
        ArchiveFailed: the archive cannot be written; only objects that it contains are deleted.
    """
    swept = SweepCounts()
    if archiver is None:
        _sweep(db, before, stop, None, swept)
        return swept
    written = archiver.archive.written_bytes
    try:
        _sweep(db, before, stop, archiver, swept)
    finally:
        archiver.archive.close_file()
    swept.archived_bytes = archiver.archive.written_bytes - written
    return swept


def _sweep(db: Database, before: int, stop: threading.Event, archiver: Archiver | None, swept: SweepCounts) -> None:
    throttle = _Throttle(stop)
    for old in _old_jobs(db, before):
        swept.jobs += len(throttle.run(db, ERASE_EXPIRED, old, archiver.jobs if archiver else None))
        throttle.erase_chunks(db, old.heavy)
        if stop.is_set():
            return
    for found in expired_deployments.of_before(db, before):
        if isinstance(found, Replaced):
            swept.programs += throttle.run(db, ERASE_REPLACED, found, archiver.replaced if archiver else None)
        else:
            swept.deployments += throttle.run(db, ERASE_UNUSED, found, archiver.unused if archiver else None)
        if stop.is_set():
            return


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
        archiver: archives jobs and deployments before they are deleted; None keeps no copy.
        observer: counts sweeps that failed.
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
        archiver: Archiver | None = None,
        observer: Observer = UNOBSERVED,
    ) -> None:
        self._db = db
        self._archiver = archiver
        self._observer = observer
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
            except (CallError, SQLAlchemyError, ArchiveFailed) as error:
                wait = min(self._interval, _RETRY_SECONDS)
                if not self._stop.is_set():
                    self._observer.retention_failed()
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
        audit_entries = 0
        if self._keep_audit_seconds:
            audit_entries = throttle.erase_audit(self._db, self._before(self._keep_audit_seconds))
        swept = SweepCounts()
        if self._keep_seconds and not self._stop.is_set():
            # Last, because a full disk of the archive ends it.
            swept = sweep(self._db, self._before(self._keep_seconds), self._stop, self._archiver)
        swept.orphans = orphans
        swept.options = options
        swept.audit_entries = audit_entries
        return swept

    def _before(self, seconds: float) -> int:
        return int(max(0, self._clock().timestamp() - seconds) * 1_000_000)


class _Throttle:
    """Runs operations with pauses between them."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop

    def run(self, db: Database, operation: Operation[A, R], argument: A, archived: Callable[[A], A] | None = None) -> R:
        """Run an operation, pause, and return its result: what it deleted.

        Args:
            db: the store.
            operation: deletes the argument.
            argument: what to delete.
            archived: archives the argument and returns the archived part, which alone is then deleted.
        """
        return self._paced(lambda: db.write(operation, archived(argument) if archived else argument))

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
