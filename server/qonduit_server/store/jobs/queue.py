# SPDX-License-Identifier: Apache-2.0
"""The queue for dispatchers: leases on jobs, and all changes to running jobs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from datetime import timedelta
from types import MappingProxyType
from typing import Final, NamedTuple

from sqlalchemy import Connection, bindparam, select, text, update

from qonduit.execution.v1.task_pb2 import Task, TaskEvent
from qonduit_server.encryption.sealing import Sealer
from qonduit_server.errors import StoreFault, Unavailable
from qonduit_server.lifecycle import CANCELLING
from qonduit_server.store import catalogue
from qonduit_server.store.bulk_statements import among
from qonduit_server.store.database import Database
from qonduit_server.store.database_errors import FAULTS
from qonduit_server.store.job_pools import Pool, Ranges, all_pinned, provider_name, queues_of
from qonduit_server.store.jobs import job_credentials
from qonduit_server.store.jobs.claim_selection import (
    Claim,
    Claimed,
    Waiting,
    ask_elsewhere,
    ask_waiting,
    ask_windows,
    claim_fresh,
    claim_jobs,
)
from qonduit_server.store.jobs.fair_share import FairShare
from qonduit_server.store.jobs.lease_ends import EXPIRE, RELEASE, Expiry, Release
from qonduit_server.store.jobs.outcome_recording import OutcomeRecorder
from qonduit_server.store.jobs.pinned_jobs import queues_for
from qonduit_server.store.jobs.task_messages import tasks_of
from qonduit_server.store.jobs.unit_of_work import SELECT_ENTRIES, UnitOfWork
from qonduit_server.store.lane_accounts import Charge, Lane, LaneAccounts, Owed, add_owed
from qonduit_server.store.notification_bus import ANY_PROVIDER
from qonduit_server.store.results import buffers, large_results
from qonduit_server.store.schema import IS_LEASED, jobs
from qonduit_server.store.users.quota_checks import ClaimQuotas
from qonduit_server.store.writer import Operation, Transaction
from qonduit_server.version_requirements import Environment


class ClaimResult(NamedTuple):
    """The tasks of a claim and their costs."""

    #: Returns the tasks; after the commit.
    tasks: Callable[[], list[Task]]
    charges: list[Charge]
    turns: Mapping[tuple[Pool, str], str]
    #: Returns what lanes owe that could not be written; after the commit.
    unwritten: Callable[[], Mapping[Lane, Owed]]
    #: The providers of which more jobs may wait to be claimed, or `ANY_PROVIDER`.
    more: AbstractSet[str] = frozenset()
    #: The pools with jobs that require versions.
    pinned: frozenset[Pool] = frozenset()
    #: The queues of such jobs that are left to examine, by pool of the claim.
    unexamined: Mapping[Pool, Ranges] = MappingProxyType({})


class _Lookup(NamedTuple):
    owners: Sequence[str]
    sealer: Sealer


class _Batch(NamedTuple):
    owner: str
    events: Sequence[TaskEvent]
    #: The number of chunks of each large result, by id.
    chunks: Mapping[int, int]


class _Recorded(NamedTuple):
    refused: set[tuple[int, int]]
    #: Large results that were not stored, because their outcomes were ignored.
    unused: set[int]


class _Renewal(NamedTuple):
    owner: str
    lease: int


#: Number of attempts to write a large result whose chunks another server deletes, before `record` fails.
_WRITE_ATTEMPTS: Final = 3
_SELECT_LEASED: Final = SELECT_ENTRIES.where(IS_LEASED, among(jobs.c.owner, "owners")).order_by(jobs.c.id)
_RENEW: Final = update(jobs).where(IS_LEASED, jobs.c.owner == bindparam("of")).values(lease_until=bindparam("until"))
_SELECT_CANCELLING: Final = select(jobs.c.id, jobs.c.attempt).where(
    text(f"state = {int(CANCELLING)}"), IS_LEASED, jobs.c.owner == bindparam("owner")
)


def claim(
    db: Database,
    owner: str,
    capacity: Mapping[Pool, int],
    lease: timedelta,
    slots: int = 0,
    environments: Mapping[str, Sequence[Environment]] | None = None,
) -> list[Task]:
    """Lease queued jobs in the order of fair share: QUEUED -> RUNNING, attempt + 1, event state_change.

    The jobs of one caller are leased by descending priority, then oldest first.

    Args:
        db: the database.
        owner: the dispatcher's id, unique for each start of a server.
        capacity: the maximum number of jobs, by pool (job_pools.py).
        lease: the duration of the lease unless renewed.
        slots: the number of tasks that run at once, of which each caller gets its part while others wait; 0 means that
            only the used time is shared.
        environments: the environments of the workers, by provider name: only jobs whose required versions one of them
            has are leased. Default: they have all versions.

    Returns:
        Tasks with their programs and credentials, in that order; the dispatcher sets the limits of memory and time.
    """
    accounts = db.lane_accounts
    owed = accounts.take()
    try:
        result = db.write(_CLAIM, claim_of(db, owner, capacity, lease, slots, owed, environments))
    except BaseException:
        accounts.add(owed)
        raise
    return account_for(accounts, result)


def claim_of(
    db: Database,
    owner: str,
    capacity: Mapping[Pool, int],
    lease: timedelta,
    slots: int,
    owed: Mapping[Lane, Owed],
    environments: Mapping[str, Sequence[Environment]] | None,
) -> Claim:
    """Return a claim with what lanes owe, and with their running jobs and turns as they are now."""
    accounts = db.lane_accounts
    return Claim(
        *(owner, capacity, _microseconds(lease), slots, owed, accounts.running()),
        turns=dict(accounts.turns),
        unexamined=dict(accounts.unexamined),
        sealer=db.sealer,
        claimable=catalogue.claimable(db),
        environments=environments,
    )


def account_for(accounts: LaneAccounts, result: ClaimResult) -> list[Task]:
    """Charge the lanes of a committed claim; return its tasks."""
    accounts.add(result.unwritten())
    accounts.started(result.charges)
    accounts.turns.update(result.turns)
    accounts.pinned = result.pinned
    accounts.unexamined = {pool: left for pool, left in {**accounts.unexamined, **result.unexamined}.items() if left}
    return result.tasks()


def record(db: Database, owner: str, batch: Sequence[TaskEvent]) -> set[tuple[int, int]]:
    """Record the events of running jobs in one transaction: results, events, states.

    Events of a (job, attempt) that is not leased to `owner` are ignored. Results inside `batch` get their ids. The
    chunks of large results are written first, unless `write_ahead` did so.

    Returns:
        The refused (job, attempt) pairs: their tasks can be dropped.

    Raises:
        Unavailable: the database does not answer; retry later with the same events.
        StoreFault: the batch cannot be stored, now or later; nothing was stored.
    """
    if not batch:
        return set()
    operation = _RECORD_ENDS if any(event.HasField("finished") for event in batch) else _RECORD
    heavy = [event for event in batch if large_results.is_large(event)]
    for _ in range(_WRITE_ATTEMPTS):
        for event in heavy:
            large_results.write_ahead(db, event)
        chunks = {result_id: count for event in heavy for result_id, count in large_results.chunks_of(event).items()}
        try:
            recorded = db.write(operation, _Batch(owner, batch, chunks))
        except FAULTS as error:
            raise StoreFault(f"cannot record events of running jobs: {type(error).__name__}") from error
        if recorded is not None:
            with suppress(Unavailable):  # retention deletes the orphaned chunks
                large_results.erase(db, recorded.unused)
            for event in batch:
                if event.HasField("finished"):
                    seconds = event.finished.seconds if event.finished.HasField("seconds") else None
                    db.lane_accounts.ended((event.job_id, event.attempt), seconds)
            db.lane_accounts.forget(recorded.refused)
            return recorded.refused
        for event in heavy:
            large_results.reset_ids(event)
    raise Unavailable("chunks of large results were deleted while they were written; retry")


def write_ahead(db: Database, event: TaskEvent) -> None:
    """Write the chunks of an event's large results in small transactions, before the event is recorded.

    Raises:
        Unavailable: the database does not answer; retry later with the same event, or leave it to `record`.
        StoreFault: the chunks cannot be stored, now or later.
    """
    if large_results.is_large(event):
        large_results.write_ahead(db, event)


def discard(db: Database, events: Iterable[TaskEvent]) -> None:
    """Delete the chunks written for events that will not be recorded. Raises Unavailable."""
    for event in events:
        if large_results.is_large(event):
            large_results.erase(db, [result_id for result_id in large_results.chunks_of(event) if result_id])


def claimed(db: Database, owners: Sequence[str]) -> dict[str, list[Task]]:
    """Return the tasks leased to owners, by owner, after a claim whose answer was lost."""
    return db.write(_CLAIMED, _Lookup(owners, db.sealer))


def release(
    db: Database,
    owner: str,
    jobs: Mapping[tuple[int, int], float | None],
    cause: str,
    *,
    counts: bool = True,
    reuses_number: bool = False,
) -> None:
    """Release (job, attempt) pairs: RUNNING -> QUEUED with the reason in a log event; CANCELLING -> CANCELLED.

    Args:
        db: the database.
        owner: the dispatcher's id.
        jobs: the pairs, each with the seconds for which it occupied a worker; None if they are not known.
        cause: the reason.
        counts: whether the attempt counts against the maximum number of attempts.
        reuses_number: whether the next attempt gets the number of one that does not count; use that only for an owner
            that claims no more jobs, because then only the owner distinguishes the two.
    """
    if jobs:
        db.write(RELEASE, Release(owner, jobs, cause, counts, reuses_number))
        db.lane_accounts.forget(jobs)


def renew(db: Database, owner: str, lease: timedelta) -> None:
    """Renew all leases of an owner, from now."""
    db.write(_RENEW_ALL, _Renewal(owner, _microseconds(lease)))


def cancelling(db: Database, owner: str) -> list[tuple[int, int]]:
    """Return the (job, attempt) pairs leased to an owner whose cancel was requested."""
    with db.read() as connection:
        return [(job, attempt) for job, attempt in connection.execute(_SELECT_CANCELLING, {"owner": owner})]


def expire(db: Database, *, max_attempts: int = 0, all_owners: bool = False) -> int:
    """End expired leases: RUNNING -> QUEUED, CANCELLING -> CANCELLED. Return how many.

    A job whose last allowed attempt was lost with its server fails instead of being requeued: its program may be the
    cause each time.

    Args:
        max_attempts: the maximum number of starts of a job; 0 means no limit.
        all_owners: end all leases, expired or not. Use it only if no other server can be alive.
    """
    return db.write(EXPIRE, Expiry(max_attempts, all_owners))


def _microseconds(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1)


def run_claims(
    transaction: Transaction, claims: Sequence[Claim], queued: AbstractSet[str] | None = None
) -> list[ClaimResult]:
    """Make claims in a transaction.

    Args:
        transaction: the transaction.
        claims: the claims.
        queued: the names of the providers for which jobs were queued; None if any may have jobs.
    """
    unit = UnitOfWork(transaction)
    owed: dict[Lane, Owed] = {}
    for wanted in claims:
        add_owed(owed, wanted.owed)
    share = FairShare(transaction.connection, owed, claims[0].running)
    quotas = ClaimQuotas(transaction)
    claimed = [Claimed([], {}, [], {}, {}) for _ in claims]
    if len(claims) == 1 and (programs := claim_fresh(unit, share, claims[0], claimed[0])) is not None:
        (fresh,) = tasks_of(transaction, unit, [claimed[0].jobs], {}, programs)
        nothing: Mapping[Pool, Ranges] = dict.fromkeys(claims[0].capacity, ())
        first = claimed[0]
        return [ClaimResult(fresh, first.charges, first.turns, share.flush(), unexamined=nothing)]
    found_waiting = ask_waiting(transaction.connection)
    elsewhere = ask_elsewhere(transaction.connection, claims[0].claimable)
    windows = ask_windows(transaction.connection, claims, queued)
    waiting = found_waiting()
    emptied: set[Pool] = set()
    for wanted, found in zip(claims, claimed, strict=True):
        for pool, capacity in wanted.capacity.items():
            if capacity > 0 and (own := waiting.get(pool)) is not None:
                before = len(found.jobs)
                queues = _queues(transaction.connection, wanted, pool, own, found)
                claim_jobs(unit, share, quotas, wanted, pool, found, own.paused, queues, windows.get(pool))
                left = found.unexamined.get(pool, ())
                if len(found.jobs) - before >= capacity:
                    # The queues that were examined may have more jobs.
                    found.unexamined[pool] = all_pinned(pool, left) if left else ()
                elif not left:
                    emptied.add(pool)
    credentials = {job_id: secret for found in claimed for job_id, secret in found.credentials.items()}
    unwritten = share.flush()
    tasks = tasks_of(transaction, unit, [found.jobs for found in claimed], credentials)
    pinned = frozenset(pool for pool, own in waiting.items() if own.pinned)
    more = {provider_name(pool) for pool in waiting.keys() - emptied}
    if elsewhere():
        more.add(ANY_PROVIDER)
    if transaction.kind == "postgresql":
        more.update(map(provider_name, pinned))  # another server may have their versions
    return [
        ClaimResult(
            leased,
            found.charges,
            found.turns,
            unwritten if place == 0 else dict,
            more=more,
            pinned=pinned,
            unexamined={pool: found.unexamined.get(pool, ()) for pool in wanted.capacity},
        )
        for place, (wanted, leased, found) in enumerate(zip(claims, tasks, claimed, strict=True))
    ]


def _queues(connection: Connection, wanted: Claim, pool: Pool, waiting: Waiting, claimed: Claimed) -> dict[int, float]:
    """Return queues that have jobs for a server, with the number of jobs that it takes; note those that are left."""
    queues = queues_of(pool)
    found: dict[int, float] = {}
    if waiting.pinned:
        left = wanted.unexamined.get(pool, ())
        found, claimed.unexamined[pool] = queues_for(connection, pool, wanted.environments_of(pool), left)
    if waiting.children:
        found[queues.children] = math.inf
    if waiting.unpinned:
        found[queues.main] = math.inf
    return found


def _claimed(transaction: Transaction, lookups: Sequence[_Lookup]) -> list[dict[str, list[Task]]]:
    return [_claimed_by(transaction, lookup) for lookup in lookups]


def _claimed_by(transaction: Transaction, lookup: _Lookup) -> dict[str, list[Task]]:
    unit = UnitOfWork(transaction)
    entries = unit.add_rows(transaction.connection.execute(_SELECT_LEASED, {"owners": list(lookup.owners)}).all())
    jobs_found = [entry.job for entry in entries]
    read = job_credentials.read(transaction.connection, lookup.sealer, jobs_found)
    credentials = {job_id: each for job_id, each in read.items() if isinstance(each, str)}
    tasks: dict[str, list[Task]] = {}
    for entry, task in zip(entries, tasks_of(transaction, unit, [entries], credentials)[0](), strict=True):
        tasks.setdefault(entry.owner or "", []).append(task)
    return tasks


def _record(transaction: Transaction, batches: Sequence[_Batch]) -> list[_Recorded | None]:
    """Record batches; return None for a batch with missing chunks, of which nothing is recorded."""
    answers: list[_Recorded | None] = []
    complete = [buffers.is_complete(transaction, batch.chunks) for batch in batches]
    recordable = [batch for batch, is_complete in zip(batches, complete, strict=True) if is_complete]
    recorder = OutcomeRecorder(transaction, [event for batch in recordable for event in batch.events])
    for batch, is_complete in zip(batches, complete, strict=True):
        refused = recorder.record(batch.owner, batch.events) if is_complete else set()
        answers.append(_Recorded(refused, batch.chunks.keys() - recorder.stored) if is_complete else None)
    recorder.close()
    return answers


def _renew(transaction: Transaction, renewals: Sequence[_Renewal]) -> list[None]:
    for renewal in renewals:
        transaction.connection.execute(_RENEW, {"of": renewal.owner, "until": transaction.now + renewal.lease})
    return [None] * len(renewals)


_CLAIM: Final = Operation(run_claims, durable=False)
_CLAIMED: Final = Operation(_claimed, durable=False)
_RECORD: Final = Operation(_record, durable=False)
_RECORD_ENDS: Final = Operation(_record, durable=True)
_RENEW_ALL: Final = Operation(_renew, durable=False)
