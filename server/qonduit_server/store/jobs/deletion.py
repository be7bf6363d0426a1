# SPDX-License-Identifier: Apache-2.0
"""Delete jobs with their events, results, buffers, options and labels, in transactions of bounded size."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy import bindparam, func, select

from qonduit_server.lifecycle import TERMINAL
from qonduit_server.store.bulk_statements import among
from qonduit_server.store.column_limits import MAX_ID
from qonduit_server.store.database import Database
from qonduit_server.store.jobs import job_credentials, large_options, submissions
from qonduit_server.store.labels import DELETE_JOB_LABELS
from qonduit_server.store.results.buffers import CHUNK_BYTES, of_jobs
from qonduit_server.store.schema import buffers, events, jobs, results
from qonduit_server.store.users import stored_bytes
from qonduit_server.store.writer import Operation, Transaction

#: Limits of one transaction, unless a single job has more: jobs; rows; bytes.
MAX_DELETED: Final = 100
_MAX_ROWS: Final = 2000
MAX_BYTES: Final = 8 * 1024**2
#: The buffers of a job with more chunks are deleted after the job.
_MAX_CHUNKS: Final = 32
#: Before this time, all ended jobs have ended.
ANY_TIME: Final = MAX_ID

#: The conditions of jobs that ended before a time.
ENDED: Final = (jobs.c.state.in_([int(state) for state in TERMINAL]), jobs.c.finished_at < bindparam("before"))
_RESULT_BYTES: Final = (
    select(results.c.job_id, func.sum(results.c.size)).where(among(results.c.job_id, "ids")).group_by(results.c.job_id)
)
_CHUNKS: Final = (
    select(results.c.job_id, func.count())
    .join(buffers, buffers.c.result_id == results.c.id)
    .where(among(results.c.job_id, "ids"))
    .group_by(results.c.job_id)
)
_LOCK_JOBS: Final = (
    select(jobs.c.id).where(among(jobs.c.id, "ids"), *ENDED).order_by(jobs.c.id).with_for_update(skip_locked=True)
)
_RESULTS: Final = sa.select(results.c.id).where(among(results.c.job_id, "ids"))
_DELETE_BUFFERS: Final = sa.delete(buffers).where(buffers.c.result_id.in_(_RESULTS))
_DELETES: Final = (
    sa.delete(events).where(among(events.c.job_id, "ids")),
    sa.delete(results).where(among(results.c.job_id, "ids")),
    DELETE_JOB_LABELS,
    *submissions.DELETES,
    job_credentials.DELETE,
    sa.delete(jobs).where(among(jobs.c.id, "ids")),
)


def erase(transaction: Transaction, job_ids: Collection[int], *, with_buffers: bool = True) -> None:
    """Delete jobs with their events, results, buffers and options, and notify their watchers.

    Args:
        job_ids: ended jobs, locked by this transaction.
        with_buffers: False leaves the buffers, unreachable, to be deleted in small transactions.
    """
    if not job_ids:
        return
    for owner, size in stored_bytes.of_jobs(transaction.connection, job_ids).items():
        transaction.usage.stored(owner, -size)
    for statement in (_DELETE_BUFFERS, *_DELETES) if with_buffers else _DELETES:
        transaction.connection.execute(statement, {"ids": list(job_ids)})
    large_options.erase(transaction.connection, job_ids)
    for job_id in job_ids:
        transaction.notify_deleted(job_id)


class EndedJobs(NamedTuple):
    """Ended jobs to delete in one transaction.

    Attributes:
        ids: of the jobs.
        before: the time before which they ended, in microseconds since 1970; others are left.
        heavy: the results of a job with too many chunks, whose buffers are deleted after the job.
    """

    ids: Sequence[int]
    before: int
    heavy: Sequence[int] = ()


def batches(db: Database, events_of: Mapping[int, int], before: int) -> Iterator[EndedJobs]:
    """Yield jobs in batches for one transaction.

    Args:
        db: the database.
        events_of: the number of events of each job, by its id.
        before: as of `EndedJobs`.
    """
    left = dict(events_of)
    with db.read() as connection:
        sizes = {job_id: int(size) for job_id, size in connection.execute(_RESULT_BYTES, {"ids": list(left)})}
        chunks = {job_id: int(count) for job_id, count in connection.execute(_CHUNKS, {"ids": list(left)})}
    # Jobs whose buffers are too large for one transaction are deleted first, then their buffers, now unreachable.
    for job_id in [job_id for job_id, count in chunks.items() if count > _MAX_CHUNKS]:
        with db.read() as connection:
            heavy = of_jobs(connection, [job_id])
        yield EndedJobs([job_id], before, heavy)
        del left[job_id]
    chosen: list[int] = []
    count = size = 0
    for job_id, number in left.items():
        chosen.append(job_id)
        count += number + chunks.get(job_id, 0)
        size += sizes.get(job_id, 0) + chunks.get(job_id, 0) * CHUNK_BYTES
        if len(chosen) >= MAX_DELETED or count >= _MAX_ROWS or size >= MAX_BYTES:
            yield EndedJobs(chosen, before)
            chosen, count, size = [], 0, 0
    if chosen:
        yield EndedJobs(chosen, before)


def _erase_ended(transaction: Transaction, calls: Sequence[EndedJobs]) -> list[list[int]]:
    answers = []
    for ended in calls:
        parameters = {"ids": list(ended.ids), "before": ended.before}
        ids = list(transaction.connection.execute(_LOCK_JOBS, parameters).scalars())
        erase(transaction, ids, with_buffers=not ended.heavy)
        answers.append(ids)
    return answers


#: Deletes those of some jobs that have ended and are not locked, and returns their ids.
ERASE_ENDED: Final[Operation[EndedJobs, list[int]]] = Operation(
    _erase_ended, objects=lambda _, ids: [f"jobs/{job_id}" for job_id in ids]
)
#: The same for retention. Not durable: after a power failure, the next sweep deletes the rows again.
ERASE_EXPIRED: Final[Operation[EndedJobs, list[int]]] = Operation(_erase_ended, durable=False)
