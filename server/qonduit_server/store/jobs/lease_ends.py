# SPDX-License-Identifier: Apache-2.0
"""The ends of leases without an outcome: released by the server that holds them, or expired with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from sqlalchemy import bindparam

from qonduit.v1.event_pb2 import LOG_LEVEL_WARNING, LogLine
from qonduit.v1.failure_pb2 import Failure, FailureCategory
from qonduit_server.lifecycle import CANCELLED, CANCELLING, FAILED, LEASED, QUEUED, RUNNING
from qonduit_server.store.jobs import child_jobs, submissions
from qonduit_server.store.jobs.attempt_times import most_seconds
from qonduit_server.store.jobs.submission_entries import Entry
from qonduit_server.store.jobs.submission_rows import entries_of
from qonduit_server.store.jobs.unit_of_work import SELECT_ENTRIES, JobChange, UnitOfWork, usage_key
from qonduit_server.store.schema import IS_LEASED, jobs
from qonduit_server.store.writer import Operation, Transaction


class Release(NamedTuple):
    """The arguments of `queue.release`."""

    owner: str
    #: The jobs and attempts, with the seconds for which they occupied a worker, as far as they are known.
    jobs: Mapping[tuple[int, int], float | None]
    cause: str
    counts: bool
    reuses_number: bool


class Expiry(NamedTuple):
    """The arguments of `queue.expire`."""

    max_attempts: int
    all_owners: bool


# Ordered like the index of leased jobs, so that the database uses that index.
_SELECT_EXPIRED: Final = (
    SELECT_ENTRIES.where(IS_LEASED, jobs.c.lease_until < bindparam("now"))
    .order_by(jobs.c.owner, jobs.c.state)
    .with_for_update(skip_locked=True)
)
_END_OF_TIME: Final = 2**63 - 1
_LOST: Final = "the server that ran the job was lost"
_SERVER_LOST: Final = "SERVER_LOST"


def attempts_exhausted(reason: str, attempt: int, cause: str) -> Failure:
    """Return the failure of a job whose last allowed attempt was lost."""
    return Failure(
        category=FailureCategory.FAILURE_CATEGORY_WORKER,
        reason=reason,
        message=f"the job was started {attempt} times (max_attempts) and no attempt ended; last: {cause}",
        retryable=True,
    )


def program_interrupted(cause: str) -> Failure:
    """Return the failure of a server program that was lost, and whose jobs might be charged again."""
    return Failure(
        category=FailureCategory.FAILURE_CATEGORY_WORKER,
        reason="PROGRAM_INTERRUPTED",
        message=f"{cause} while the program had jobs on a device that is no simulator. It was not run again, because "
        "its jobs could be charged twice: look at its jobs (filter parent_job_id), then submit the program again",
    )


def _release(transaction: Transaction, releases: Sequence[Release]) -> list[None]:
    unit = UnitOfWork(transaction)
    unit.load({job_id for release in releases for job_id, _ in release.jobs})
    sent = _cancelling_submissions(unit)
    for release in releases:
        for (job_id, attempt), seconds in release.jobs.items():
            entry = unit.entries.get(job_id)
            if entry and entry.owner == release.owner and entry.job.attempt == attempt and entry.job.state in LEASED:
                _count_lost(unit, entry, seconds)
                submissions.warn_of_open(unit, entry, sent.get(job_id, ()))
                end_lease(unit, entry, release.cause, counts=release.counts, reuses_number=release.reuses_number)
    unit.flush()
    return [None] * len(releases)


def _expire(transaction: Transaction, expiries: Sequence[Expiry]) -> list[int]:
    unit = UnitOfWork(transaction)
    before = _END_OF_TIME if any(each.all_owners for each in expiries) else transaction.now
    most = max(each.max_attempts for each in expiries)
    expired = unit.add_rows(transaction.connection.execute(_SELECT_EXPIRED, {"now": before}).all())
    # The next attempt of a job that is at a vendor only polls: it is not the program that ends the servers.
    at_vendor = entries_of(transaction.connection, [entry.job.id for entry in expired])
    for entry in expired:
        job = entry.job
        _count_lost(unit, entry)
        submissions.warn_of_open(unit, entry, at_vendor.get(job.id, ()))
        counted = job.attempt - job.returned_attempts
        if job.state == RUNNING and 0 < most <= counted and job.id not in at_vendor:
            job.failure.CopyFrom(attempts_exhausted(_SERVER_LOST, counted, _LOST))
            unit.set_open_programs(entry, FAILED, job.failure)
            unit.move(entry, FAILED)
        else:
            end_lease(unit, entry, _LOST, counts=True)
    unit.flush()
    return [len(expired), *[0] * (len(expiries) - 1)]


def _cancelling_submissions(unit: UnitOfWork) -> dict[int, list[Entry]]:
    """Return the submissions of the loaded jobs that are being cancelled."""
    ids = [job_id for job_id, entry in unit.entries.items() if entry.job.state == CANCELLING]
    return entries_of(unit.transaction.connection, ids)


def _count_lost(unit: UnitOfWork, entry: JobChange, seconds: float | None = None) -> None:
    """Add an attempt that ends without an outcome to the usage of its owner."""
    used = most_seconds(unit.transaction, entry) if seconds is None else seconds
    unit.transaction.usage.ran(usage_key(entry.job), seconds=used)


def end_lease(unit: UnitOfWork, entry: JobChange, cause: str, *, counts: bool, reuses_number: bool = False) -> None:
    """End a lease without an outcome. Ended programs keep their outcomes; those of the next attempt are ignored."""
    if entry.job.state == CANCELLING:
        unit.set_open_programs(entry, CANCELLED)
        unit.move(entry, CANCELLED)
    elif entry.job.state == RUNNING and not child_jobs.is_repeatable(unit, entry):
        failure = program_interrupted(cause)
        entry.job.failure.CopyFrom(failure)
        unit.set_open_programs(entry, FAILED, failure)
        unit.move(entry, FAILED)
    elif entry.job.state == RUNNING:
        unit.append(entry, log=LogLine(level=LOG_LEVEL_WARNING, message=f"{cause}; the job was requeued"))
        unit.set_open_programs(entry, QUEUED)
        if not counts:
            unit.uncount_attempt(entry, reuses_number=reuses_number)
        unit.move(entry, QUEUED)


RELEASE: Final = Operation(_release, durable=True)
EXPIRE: Final = Operation(_expire, durable=True)
