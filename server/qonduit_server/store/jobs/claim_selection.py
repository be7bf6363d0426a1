# SPDX-License-Identifier: Apache-2.0
"""Select and lease the next jobs of a pool, in the order of fair share."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Exists,
    and_,
    exists,
    or_,
    select,
)

from qonduit.v1.event_pb2 import LOG_LEVEL_WARNING, LogLine
from qonduit.v1.failure_pb2 import Failure
from qonduit_server.encryption.sealing import Sealer
from qonduit_server.lifecycle import FAILED
from qonduit_server.store.bulk_statements import among
from qonduit_server.store.catalogue_snapshot import Claimable
from qonduit_server.store.job_pools import MAIN_QUEUES, AtVendor, Pool, Ranges, provider_name, queues_of
from qonduit_server.store.jobs import job_credentials, waiting_lanes
from qonduit_server.store.jobs.fair_share import FairShare, LaneShare, order, order_members
from qonduit_server.store.jobs.next_jobs import next_jobs
from qonduit_server.store.jobs.unit_of_work import JobChange, UnitOfWork
from qonduit_server.store.lane_accounts import Charge, Lane, Owed, Running
from qonduit_server.store.notification_bus import ANY_PROVIDER
from qonduit_server.store.ownership import is_project
from qonduit_server.store.program_queue import queue_name
from qonduit_server.store.queries import Query
from qonduit_server.store.schema import IS_ACTIVE, IS_QUEUED, jobs, pauses, providers
from qonduit_server.store.users.quota_checks import ClaimQuotas
from qonduit_server.version_requirements import Environment

#: The number of jobs with unusable credentials that a transaction passes over.
_MOST_UNREADY: Final = 100
#: The number of pools of which one claim asks for lanes before it knows which have jobs.
_MOST_WINDOWS: Final = 2
#: The number of members of a project that are compared at once, however many projects have turns.
_LEAST_MEMBERS: Final = 16


class Claim(NamedTuple):
    """A request for jobs."""

    owner: str
    capacity: Mapping[Pool, int]
    lease: int
    slots: int
    #: What lanes owe, their running jobs, and where to begin with many lanes.
    owed: Mapping[Lane, Owed]
    running: Mapping[Lane, Running]
    turns: Mapping[tuple[Pool, str], str]
    #: The queues of jobs with required versions that earlier claims have left.
    unexamined: Mapping[Pool, Ranges]
    #: Decrypts the credentials of jobs.
    sealer: Sealer
    #: The devices whose jobs may be claimed; None for all.
    claimable: Claimable | None
    #: The environments of the workers, by provider name; None if they meet all required versions.
    environments: Mapping[str, Sequence[Environment]] | None = None

    def environments_of(self, pool: Pool) -> Sequence[Environment] | None:
        """Return the environments of the workers that run or prepare the jobs of a pool."""
        return None if self.environments is None else self.environments.get(provider_name(pool), ())


class Waiting(NamedTuple):
    """The jobs of a pool that wait to be claimed.

    Attributes:
        paused: the ids of the paused devices.
        unpinned: whether some require no versions, beside the jobs of server programs.
        pinned: whether some require versions.
        children: whether server programs submitted some.
    """

    paused: set[int]
    unpinned: bool
    pinned: bool
    children: bool


class Claimed(NamedTuple):
    """The jobs of a claim, their credentials and costs, and where the next begins, by pool the queues it examines."""

    jobs: list[JobChange]
    credentials: dict[int, str]
    charges: list[Charge]
    turns: dict[tuple[Pool, str], str]
    unexamined: dict[Pool, Ranges]


def _waits(condition: ColumnElement[bool]) -> Exists:
    return exists().where(IS_QUEUED, condition, jobs.c.provider_id == providers.c.id)


# Of the workers and of the vendor of a provider: whether jobs wait that require no versions, that do, and children.
_POOLS: Final = (queues_of(""), queues_of(AtVendor("")))
_UNPINNED: Final = [_waits(jobs.c.not_before == each.main) for each in _POOLS]
_PINNED: Final = [_waits(jobs.c.not_before.between(each.pinned, each.children - 1)) for each in _POOLS]
_CHILDREN: Final = [_waits(jobs.c.not_before == each.children) for each in _POOLS]
# Both of the latter, for the condition that every provider is compared with.
_OTHERS: Final = [_waits(jobs.c.not_before.between(each.pinned, each.children)) for each in _POOLS]
_WHOLE: Final = pauses.alias("whole")
# One row for each of their paused devices, or one without any.
_SELECT_WAITING: Final = Query(
    select(
        providers.c.name,
        pauses.c.device_id,
        *(each.label(f"waits_{i}") for i, each in enumerate(_UNPINNED + _PINNED + _CHILDREN)),
    )
    .outerjoin(pauses, and_(pauses.c.provider_id == providers.c.id, pauses.c.device_id > 0))
    .where(
        or_(*_UNPINNED, *_OTHERS),
        ~exists().where(_WHOLE.c.device_id == 0, _WHOLE.c.provider_id.in_((0, providers.c.id))),
    )
)
_PAUSED: Final = Query(select(pauses.c.device_id).limit(1))
# The first condition makes databases use the index by device.
_WAITS: Final = Query(
    select(jobs.c.id)
    .where(IS_ACTIVE, IS_QUEUED, jobs.c.not_before.in_(MAIN_QUEUES), among(jobs.c.device_id, "devices"))
    .limit(1)
)


def ask_elsewhere(connection: Connection, claimable: Claimable | None) -> Callable[[], bool]:
    """Ask whether jobs wait that other servers may claim, and this one may not (queries.py)."""
    if claimable is None or not claimable.offered_elsewhere:
        return lambda: False
    found = _WAITS.ask(connection, {"devices": claimable.offered_elsewhere})
    return lambda: bool(found())


def ask_waiting(connection: Connection) -> Callable[[], dict[Pool, Waiting]]:
    """Ask for the pools that have jobs to claim (queries.py). Jobs that require versions may be for other servers."""
    answer = _SELECT_WAITING.ask(connection, {})

    def by_pool() -> dict[Pool, Waiting]:
        waiting: dict[Pool, Waiting] = {}
        for name, paused, *waits in answer():
            pools: tuple[Pool, ...] = (name, AtVendor(name))
            for place, pool in enumerate(pools):
                kinds = [bool(each) for each in waits[place :: len(pools)]]
                if any(kinds):
                    found = waiting.setdefault(pool, Waiting(set(), *kinds))
                    found.paused.update(() if paused is None else (paused,))
        return waiting

    return by_pool


def ask_windows(
    connection: Connection, claims: Sequence[Claim], queued: AbstractSet[str] | None
) -> dict[Pool, Callable[[], Sequence[Any]]]:
    """Ask for the first lanes of pools that probably have jobs, for a single claim, if they are few.

    `queued` has the names of the providers for which jobs were queued, or None.
    """
    pools = [
        pool
        for pool, capacity in claims[0].capacity.items()
        if capacity > 0
        and not isinstance(pool, AtVendor)
        and (queued is None or not queued.isdisjoint((ANY_PROVIDER, provider_name(pool))))
    ]
    if len(claims) > 1 or len(pools) > _MOST_WINDOWS or connection.dialect.name == "sqlite":
        return {}
    turns = claims[0].turns
    return {pool: waiting_lanes.ask_window(connection, pool, turns.get((pool, ""), "")) for pool in pools}


def claim_fresh(unit: UnitOfWork, share: FairShare, wanted: Claim, found: Claimed) -> Mapping[int, bytes] | None:
    """Claim all jobs of the queue without a search, if this transaction created them and nothing limits the claim.

    They are those of one owner, for devices of one provider that this server offers. Nothing is paused.

    Returns:
        Their programs by id; None if `claim_jobs` must claim them.
    """
    transaction = unit.transaction
    fresh = transaction.fresh_jobs
    if not fresh:
        return None
    owner, pool = fresh[0].owner, queue_name(fresh[0].job)
    here = wanted.claimable.here if wanted.claimable is not None else None
    if (
        is_project(owner)
        or wanted.capacity.get(pool, 0) < len(fresh)
        or transaction.quotas().of(owner).limits_claims
        or not all(
            each.owner == owner
            and each.queue == queues_of(pool).main
            and each.programs
            and not each.has_credential
            and queue_name(each.job) == pool
            and each.device.is_local
            and (here is None or each.device.id in here)
            for each in fresh
        )
    ):
        return None
    paused = _PAUSED.ask(transaction.connection, {})
    window = next(waiting_lanes.windows(transaction.connection, pool), ())
    lanes = share.add([row for row in window if row.owner == owner])
    if paused() or len(window) != 1 or len(lanes) != 1:
        return None  # or another server has queued jobs since
    for entry in unit.add_created(each.job for each in fresh):
        _lease(unit, share, wanted, found, lanes[0], entry)
    unit.flush()
    if len(fresh) == wanted.capacity[pool]:
        found.turns[pool, ""] = ""
    return {
        run.program_id: program
        for each in fresh
        for run, program in zip(each.job.program_runs, each.programs, strict=True)
    }


def _lease(
    unit: UnitOfWork, share: FairShare, wanted: Claim, found: Claimed, lane: LaneShare, entry: JobChange
) -> None:
    """Start a job of workers, and charge its lane."""
    unit.start(entry, wanted.owner, unit.transaction.now + wanted.lease)
    found.charges.extend(share.charge((entry.job.id, entry.job.attempt), lane))
    found.jobs.append(entry)


def claim_jobs(
    unit: UnitOfWork,
    share: FairShare,
    quotas: ClaimQuotas,
    wanted: Claim,
    pool: Pool,
    found: Claimed,
    paused: AbstractSet[int],
    queues: Mapping[int, float],
    window: Callable[[], Sequence[Any]] | None = None,
) -> None:
    """Claim jobs of a pool, as many as there are and as quotas allow.

    Jobs of devices that are paused, or that this server does not offer, are left.

    `queues` are those that have jobs for this server, with the number of jobs that it takes, and `window` returns the
    first lanes of the main one, if they were asked for.

    A lane whose next job is for a paused device is left until its jobs are moved (held_jobs.py). Jobs that cannot start
    because of their credentials do not count, up to a number: then another claim follows.
    """
    transaction = unit.transaction
    here = wanted.claimable.here if wanted.claimable is not None else None
    provider, left = provider_name(pool), wanted.capacity[pool]
    most = left + _MOST_UNREADY
    rooms, children = dict(queues), queues_of(pool).children
    slots = 0 if isinstance(pool, AtVendor) else wanted.slots  # jobs at vendors occupy no workers
    after = wanted.turns.get((pool, ""), "")
    for lanes_of in waiting_lanes.windows_of_queues(transaction.connection, pool, after, queues, asked=window):
        quotas.read([row.owner for row in lanes_of.lanes])
        # Children start without regard to the quota.
        lanes = share.add([row for row in lanes_of.lanes if children in rooms or quotas.room(row.owner) > 0])
        while lanes and left:
            for lane in lanes:
                lane.room = math.inf if children in rooms else quotas.room(lane.lane.owner)
            turns = order(lanes, min(left, most), slots)
            _read_members(share, wanted, pool, found, turns, queues)
            turns = order_members(turns, slots)
            first = next_jobs(transaction.connection, pool, turns, wanted.claimable, rooms, paused, quotas.room)
            # A device may be newer than what this server knows; then it knows more at the next claim.
            known = [(lane, row) for lane, row in first if here is None or row.device_id in here]
            if len(known) < len(first):
                transaction.queued.add(provider)
            chosen = [(lane, row) for lane, row in known if row.device_id not in paused]
            transaction.times |= len(chosen) < len(known)
            left -= _start(unit, share, quotas, wanted, pool, found, chosen)
            most -= len(chosen)
            if not most:
                transaction.queued.add(provider)
                return
            emptied = Counter(lane.lane for lane in turns) - Counter(lane.lane for lane, _ in chosen)
            lanes = [
                lane
                for lane in lanes
                if lane.remains_without(emptied) and (children in rooms or quotas.room(lane.lane.owner) > 0)
            ]
        if not left:
            found.turns[pool, ""] = lanes_of.last
            return


def _read_members(
    share: FairShare,
    wanted: Claim,
    pool: Pool,
    found: Claimed,
    turns: Sequence[LaneShare],
    queues: Collection[int],
) -> None:
    """Read the members of the projects that have turns: the more projects, the fewer members of each."""
    lanes = {lane.lane: lane for lane in turns if is_project(lane.lane.owner)}
    for lane in lanes.values():
        key = (pool, lane.lane.owner)
        most = max(_LEAST_MEMBERS, waiting_lanes.MAX_LANES // len(lanes))
        after = share.read_members(pool, lane, wanted.turns.get(key, ""), queues, most)
        if after or (after is not None and key in wanted.turns):
            found.turns[key] = after


def _start(
    unit: UnitOfWork,
    share: FairShare,
    quotas: ClaimQuotas,
    wanted: Claim,
    pool: Pool,
    found: Claimed,
    chosen: Sequence[tuple[LaneShare, Any]],
) -> int:
    """Lease jobs, given with their lanes, unless their credentials do not allow it; return how many.

    A job at a vendor costs its lane nothing: lanes share the time of workers, of which it takes a few milliseconds.
    """
    entries = unit.add_rows([row for _, row in chosen])
    ready = _with_credentials(unit, wanted.sealer, entries, found.credentials)
    for (lane, row), entry in zip(chosen, entries, strict=True):
        if entry.job.id in ready:
            if row.not_before != queues_of(pool).children:
                quotas.take(lane.lane.owner, row.memory_bytes)
            if isinstance(pool, AtVendor):
                unit.start(entry, wanted.owner, unit.transaction.now + wanted.lease)
                lane.virtual_time += lane.stride  # so that lanes take turns in this claim
                found.jobs.append(entry)
            else:
                _lease(unit, share, wanted, found, lane, entry)
    # Written now, so that the next query of this transaction does not return them.
    unit.flush()
    return len(ready)


def _with_credentials(
    unit: UnitOfWork, sealer: Sealer, entries: Sequence[JobChange], credentials: dict[int, str]
) -> set[int]:
    """Decrypt the credentials of jobs; return the jobs that can start.

    A job whose credential was deleted fails. A job whose credential cannot be decrypted waits.
    """
    ready = {entry.job.id for entry in entries}
    unreadable: list[int] = []
    found = job_credentials.read(unit.transaction.connection, sealer, [entry.job for entry in entries])
    for job_id, credential in found.items():
        if isinstance(credential, str):
            credentials[job_id] = credential
            continue
        ready.remove(job_id)
        entry = unit.entries[job_id]
        if isinstance(credential, Failure):
            entry.job.failure.CopyFrom(credential)
            unit.set_open_programs(entry, FAILED, credential)
            unit.move(entry, FAILED)
        else:
            unreadable.append(job_id)
            if entry.job.last_sequence == 1:
                message = f"the job waits, because its credential cannot be decrypted: {credential}"
                unit.append(entry, log=LogLine(level=LOG_LEVEL_WARNING, message=message))
    job_credentials.postpone(unit.transaction, unreadable)
    return ready
