# SPDX-License-Identifier: Apache-2.0
"""Retention: deletes what ended too long ago, a little at a time, so that nobody who uses the store waits for it.

Walks go by primary key (ids grow with time) and stop where everything is young. What a walk finds is looked at again in
the transaction that deletes it, under locks that wait for nobody: several servers may sweep one database at once, and
what is in use at that moment is left for the next sweep.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy import bindparam, exists, func, select
from sqlalchemy.exc import SQLAlchemyError

from qonduit.v1.job_pb2 import Job
from qonduit_server.errors import CallError
from qonduit_server.lifecycle import TERMINAL
from qonduit_server.store.bulk_statements import among
from qonduit_server.store.database import Database, utc_now
from qonduit_server.store.jobs import large_options
from qonduit_server.store.jobs.deletion import erase
from qonduit_server.store.results.buffers import ERASE, PIECE_BYTES, of_jobs
from qonduit_server.store.results.orphaned_chunks import OrphanedChunks
from qonduit_server.store.schema import buffers, deployments, jobs, programs, results
from qonduit_server.store.writer import Operation, Transaction

#: What one transaction deletes at most, unless a single job has more: jobs or deployments; rows; bytes.
_MOST: Final = 100
_MOST_ROWS: Final = 2000
_MOST_BYTES: Final = 8 * 1024**2
#: A job whose buffers have more pieces goes before them.
_MOST_PIECES: Final = 32
#: How many rows are looked at in one read.
_PAGE: Final = 500
#: The rest between two transactions: others have the writer to themselves for this long, or for twice as long as the
#: last one took.
_REST_SECONDS: Final = 0.01
#: A deployment that more jobs refer to keeps its replaced programs: to find out which are used would take too long.
_MOST_JOBS_LOOKED_AT: Final = 1000
#: When to try again after the database did not answer.
_AGAIN_SECONDS: Final = 60.0

_ENDED: Final = (jobs.c.state.in_([int(state) for state in TERMINAL]), jobs.c.finished_at < bindparam("before"))
_JOBS: Final = (
    select(jobs.c.id, jobs.c.created_at, jobs.c.last_sequence, sa.and_(*_ENDED).label("ended"))
    .where(jobs.c.id > bindparam("after"))
    .order_by(jobs.c.id)
    .limit(_PAGE)
)
_RESULT_BYTES: Final = (
    select(results.c.job_id, func.sum(results.c.size)).where(among(results.c.job_id, "ids")).group_by(results.c.job_id)
)
_PIECES: Final = (
    select(results.c.job_id, func.count())
    .join(buffers, buffers.c.result_id == results.c.id)
    .where(among(results.c.job_id, "ids"))
    .group_by(results.c.job_id)
)
_LOCK_JOBS: Final = (
    select(jobs.c.id).where(among(jobs.c.id, "ids"), *_ENDED).order_by(jobs.c.id).with_for_update(skip_locked=True)
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
_DELETE_UNUSED: Final = sa.delete(deployments).where(among(deployments.c.id, "ids"), *_UNUSED)
_REPLACED: Final = (
    select(programs.c.deployment_id)
    .distinct()
    .where(among(programs.c.deployment_id, "ids"), programs.c.is_current.is_(False))
)
_RUNS: Final = (
    select(jobs.c.program_runs).where(jobs.c.deployment_id == bindparam("deployment")).limit(_MOST_JOBS_LOOKED_AT + 1)
)
_SELECT_REPLACED: Final = select(programs.c.id).where(
    programs.c.deployment_id == bindparam("deployment"), programs.c.is_current.is_(False)
)
_DELETE_PROGRAMS: Final = sa.delete(programs).where(among(programs.c.id, "ids"))


@dataclass
class Swept:
    """How much went."""

    jobs: int = 0
    deployments: int = 0
    programs: int = 0
    #: Large results that were never recorded.
    orphans: int = 0
    #: Large options that were left without a job.
    options: int = 0

    def __bool__(self) -> bool:
        """Whether anything went."""
        return bool(self.jobs or self.deployments or self.programs or self.orphans or self.options)


class _Old(NamedTuple):
    ids: Sequence[int]
    before: int
    #: Its results that have too large buffers: they follow when nobody can find them any more.
    heavy: Sequence[int] = ()


def sweep(db: Database, before: int, stop: threading.Event) -> Swept:
    """Delete jobs that ended before a moment, then what only they needed.

    With a job go its events, results, buffers and its request id; with the last job of an inline deployment that
    deployment; programs that were replaced before that moment, where no job refers to them.

    Args:
        before: the moment, in microseconds since 1970.
        stop: once set, this ends after the transaction that is under way.

    Raises:
        Unavailable: the database does not answer. What went is gone; the rest goes with the next sweep.
    """
    swept = Swept()
    pace = _Pace(stop)
    for old in _old_jobs(db, before):
        swept.jobs += pace.do(db, _ERASE, old)
        pace.erase_pieces(db, old.heavy)
        if stop.is_set():
            return swept
    for operation, ids in _old_deployments(db, before):
        gone = pace.do(db, operation, ids)
        if operation is _ERASE_DEPLOYMENTS:
            swept.deployments += gone
        else:
            swept.programs += gone
        if stop.is_set():
            return swept
    return swept


class Retention:
    """The thread that sweeps: at the start, then once an interval, until `stop`.

    Made before this server records anything: it also deletes what lost servers left behind.

    Args:
        db: the store.
        keep_days: how long jobs are kept after they ended; 0 for ever.
        log: is given a line to log, with its fields, after each sweep that found something, or failed.
        interval: seconds between two sweeps.
        clock: tells the time, in UTC.
    """

    def __init__(
        self,
        db: Database,
        keep_days: float,
        log: Callable[..., object],
        *,
        interval: float = 3600.0,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._db = db
        self._keep_seconds = keep_days * 86_400
        self._log = log
        self._interval = interval
        self._orphans = OrphanedChunks(db)
        self._clock = clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="store-retention", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, after the transaction that is under way."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5.0)

    def _work(self) -> None:
        while not self._stop.is_set():
            begun = time.monotonic()
            wait = self._interval
            try:
                swept = self._sweep()
            except (CallError, SQLAlchemyError) as error:
                wait = min(self._interval, _AGAIN_SECONDS)
                if not self._stop.is_set():
                    self._log("retention was broken off", error=str(error).partition("\n")[0], again_in=wait)
            else:
                if swept:
                    seconds = round(time.monotonic() - begun, 3)
                    self._log("retention", **vars(swept), seconds=seconds)
            self._stop.wait(wait)

    def _sweep(self) -> Swept:
        pace = _Pace(self._stop)
        orphans = pace.erase_pieces(self._db, self._orphans.without_result())
        options = pace.erase_options(self._db)
        swept = Swept()
        if self._keep_seconds and not self._stop.is_set():
            before = max(0, self._clock().timestamp() - self._keep_seconds)
            swept = sweep(self._db, int(before * 1_000_000), self._stop)
        swept.orphans = orphans
        swept.options = options
        return swept


class _Pace:
    """Does one thing after the other, with rests between them."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop

    def do(self, db: Database, operation: Operation[Any, int], argument: Any) -> int:
        """Do a thing, rest, and return how many rows it deleted."""
        begun = time.monotonic()
        gone = db.write(operation, argument)
        self._stop.wait(max(_REST_SECONDS, 2 * (time.monotonic() - begun)))
        return gone

    def erase_pieces(self, db: Database, result_ids: Sequence[int]) -> int:
        """Delete the pieces of results that are not there; return of how many."""
        for place, result_id in enumerate(result_ids):
            while not self._stop.is_set() and self.do(db, ERASE, result_id):
                pass
            if self._stop.is_set():
                return place
        return len(result_ids)

    def erase_options(self, db: Database) -> int:
        """Delete the large options that no job has; return how many went."""
        total = 0
        while not self._stop.is_set() and (hashes := large_options.unused(db)):
            gone = self.do(db, large_options.ERASE_UNUSED, hashes)
            total += gone
            if not gone:  # others hold them: another sweep will see
                break
        return total


def _old_jobs(db: Database, before: int) -> Iterator[_Old]:
    """Yield jobs that ended before a moment, oldest first, as many at once as one transaction should delete."""
    after = 0
    while True:
        with db.read() as connection:
            rows = connection.execute(_JOBS, {"after": after, "before": before}).all()
            events = {row.id: row.last_sequence for row in rows if row.ended}
            sizes = {job_id: int(size) for job_id, size in connection.execute(_RESULT_BYTES, {"ids": list(events)})}
            pieces = {job_id: int(count) for job_id, count in connection.execute(_PIECES, {"ids": list(events)})}
        # Those whose buffers are too much for one transaction go first; the buffers follow, when nobody knows of them.
        heavy = [job_id for job_id, count in pieces.items() if count > _MOST_PIECES]
        for job_id in heavy:
            with db.read() as connection:
                heavy_results = of_jobs(connection, [job_id])
            yield _Old([job_id], before, heavy_results)
            del events[job_id]
        chosen: list[int] = []
        count = size = 0
        for job_id, sequence in events.items():
            chosen.append(job_id)
            count += sequence + pieces.get(job_id, 0)
            size += sizes.get(job_id, 0) + pieces.get(job_id, 0) * PIECE_BYTES
            if len(chosen) >= _MOST or count >= _MOST_ROWS or size >= _MOST_BYTES:
                yield _Old(chosen, before)
                chosen, count, size = [], 0, 0
        if chosen:
            yield _Old(chosen, before)
        # A page whose jobs are all young: so are those after it. Not the first young one: servers' clocks differ.
        if len(rows) < _PAGE or all(row.created_at >= before for row in rows):
            return
        after = rows[-1].id


def _old_deployments(db: Database, before: int) -> Iterator[tuple[Operation[Any, int], Any]]:
    """Yield what is to be done about inline deployments without jobs, and about programs that were replaced."""
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
                if len(chosen) >= _MOST or size >= _MOST_BYTES:
                    yield _ERASE_DEPLOYMENTS, chosen
                    chosen, size = [], 0
        if chosen:
            yield _ERASE_DEPLOYMENTS, chosen
        for deployment_id in replaced:
            yield _ERASE_REPLACED, deployment_id
        # As with jobs, judged by inline ones: what was updated is younger than its id.
        if len(rows) < _PAGE or (not old and any(row.is_inline for row in rows)):
            return
        after = rows[-1].id


def _erase(transaction: Transaction, calls: Sequence[_Old]) -> list[int]:
    answers = []
    for old in calls:
        parameters = {"ids": list(old.ids), "before": old.before}
        ids = list(transaction.connection.execute(_LOCK_JOBS, parameters).scalars())
        erase(transaction, ids, with_buffers=not old.heavy)
        answers.append(len(ids))
    return answers


def _erase_deployments(transaction: Transaction, calls: Sequence[Sequence[int]]) -> list[int]:
    answers = []
    for ids in calls:
        # Locked first, judged by a statement of its own: it sees the jobs that were made until the lock was had.
        locked = list(transaction.connection.execute(_LOCK_DEPLOYMENTS, {"ids": list(ids)}).scalars())
        answers.append(transaction.connection.execute(_DELETE_UNUSED, {"ids": locked}).rowcount)
    return answers


def _erase_replaced(transaction: Transaction, deployment_ids: Sequence[int]) -> list[int]:
    connection = transaction.connection
    answers = []
    for deployment_id in deployment_ids:
        unused: set[int] = set()
        if connection.execute(_LOCK_DEPLOYMENTS, {"ids": [deployment_id]}).first() is not None:
            found = connection.execute(_RUNS, {"deployment": deployment_id}).scalars().all()
            if len(found) <= _MOST_JOBS_LOOKED_AT:
                used = {run.program_id for one in found for run in Job.FromString(one).program_runs}
                unused = set(connection.execute(_SELECT_REPLACED, {"deployment": deployment_id}).scalars()) - used
        if unused:
            connection.execute(_DELETE_PROGRAMS, {"ids": list(unused)})
        answers.append(len(unused))
    return answers


# Nobody was promised that something is gone: after a loss of power it is deleted once more.
_ERASE: Final = Operation(_erase, durable=False)
_ERASE_DEPLOYMENTS: Final = Operation(_erase_deployments, durable=False)
_ERASE_REPLACED: Final = Operation(_erase_replaced, durable=False)
