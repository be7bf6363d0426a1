# SPDX-License-Identifier: Apache-2.0
"""Select and lease the next jobs of a provider, in the order of fair share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    Text,
    and_,
    bindparam,
    exists,
    func,
    not_,
    or_,
    select,
    true,
)

from qonduit.v1.event_pb2 import LOG_LEVEL_WARNING, LogLine
from qonduit.v1.failure_pb2 import Failure
from qonduit_server.encryption.sealing import Sealer
from qonduit_server.lifecycle import FAILED
from qonduit_server.store.bulk_statements import among
from qonduit_server.store.catalogue_snapshot import Claimable
from qonduit_server.store.jobs import job_credentials
from qonduit_server.store.jobs.fair_share import MAX_LANES, FairShare, LaneShare, last_owner, order, windows
from qonduit_server.store.jobs.pinned_jobs import PINNED
from qonduit_server.store.jobs.unit_of_work import SELECT_ENTRIES, JobChange, UnitOfWork
from qonduit_server.store.lane_accounts import Charge, Lane, Owed, Running
from qonduit_server.store.schema import IS_ACTIVE, IS_QUEUED, jobs, pauses, providers
from qonduit_server.store.sqlite_driver import Query
from qonduit_server.store.users.quota_checks import ClaimQuotas
from qonduit_server.version_requirements import Environment

#: The number of jobs with unusable credentials that a transaction passes over.
_MOST_UNREADY: Final = 100


class Claim(NamedTuple):
    """A request for jobs."""

    owner: str
    capacity: Mapping[str, int]
    lease: int
    slots: int
    #: What lanes owe, their running jobs, and where to begin with many lanes.
    owed: Mapping[Lane, Owed]
    running: Mapping[Lane, Running]
    turns: Mapping[str, str]
    #: Decrypts the credentials of jobs.
    sealer: Sealer
    #: The devices whose jobs may be claimed; None for all.
    claimable: Claimable | None
    #: The environments of the workers, by provider name; None if they meet all required versions.
    environments: Mapping[str, Sequence[Environment]] | None = None

    def environments_of(self, provider: str) -> Sequence[Environment] | None:
        """Return the environments of a provider."""
        return None if self.environments is None else self.environments.get(provider, ())


class Waiting(NamedTuple):
    """The jobs of a provider that wait to be claimed.

    Attributes:
        paused: the ids of the paused devices.
        unpinned: whether some require no versions.
        pinned: whether some require versions.
    """

    paused: set[int]
    unpinned: bool
    pinned: bool


class Claimed(NamedTuple):
    """The jobs of a claim with the names of their providers, their credentials and costs, and where the next begins."""

    jobs: list[tuple[str, JobChange]]
    credentials: dict[int, str]
    charges: list[Charge]
    turns: dict[str, str]


_IS_OF_PROVIDER: Final = (
    jobs.c.provider_id == select(providers.c.id).where(providers.c.name == bindparam("provider")).scalar_subquery()
)
_OF_PROVIDER: Final = and_(IS_QUEUED, jobs.c.not_before == 0, _IS_OF_PROVIDER)
_UNPINNED: Final = exists().where(IS_QUEUED, jobs.c.not_before == 0, jobs.c.provider_id == providers.c.id)
_PINNED: Final = exists().where(IS_QUEUED, jobs.c.not_before >= PINNED, jobs.c.provider_id == providers.c.id)
_WHOLE: Final = pauses.alias("whole")
# One row for each of their paused devices, or one without any.
_SELECT_WAITING: Final = Query(
    select(providers.c.name, pauses.c.device_id, _UNPINNED.label("unpinned"), _PINNED.label("pinned"))
    .outerjoin(pauses, and_(pauses.c.provider_id == providers.c.id, pauses.c.device_id > 0))
    .where(
        or_(_UNPINNED, _PINNED),
        ~exists().where(_WHOLE.c.device_id == 0, _WHOLE.c.provider_id.in_((0, providers.c.id))),
    )
)
_ORDER: Final = (jobs.c.rank, jobs.c.turn, jobs.c.id)
# The order of jobs of several queues, and their queue, behind the columns of SELECT_ENTRIES.
_SELECT_ROWS: Final = SELECT_ENTRIES.add_columns(jobs.c.rank, jobs.c.turn, jobs.c.not_before)
_SELECT_NEXT: Final = _SELECT_ROWS.where(_OF_PROVIDER).order_by(*_ORDER)
_NOT_ELSEWHERE: Final = not_(among(jobs.c.device_id, "elsewhere"))
_SELECT_PINNED: Final = (
    _SELECT_ROWS.where(
        *(IS_QUEUED, _IS_OF_PROVIDER, jobs.c.not_before == bindparam("queue"), jobs.c.caller == bindparam("owner")),
        not_(among(jobs.c.device_id, "left")),
    )
    .order_by(*_ORDER)
    .limit(bindparam("count"))
    .with_for_update(skip_locked=True, of=jobs)
)
_WANTED: Final = (
    func.unnest(bindparam("owners", type_=ARRAY(Text)), bindparam("counts", type_=ARRAY(BigInteger)))
    .table_valued("owner", "count")
    .render_derived(name="wanted")
)


class _NextJobs:
    """The queries of the next jobs of lanes, with a condition.

    Attributes:
        of_lane: for SQLite.
        of_lanes: for PostgreSQL.
    """

    def __init__(self, *conditions: ColumnElement[bool]) -> None:
        next_jobs: Select[Any] = _SELECT_NEXT.where(*conditions)
        self.of_lane: Final = Query(next_jobs.where(jobs.c.caller == bindparam("owner")).limit(bindparam("count")))
        # Two limits: PostgreSQL plans for the constant one, and stops at that of the lane.
        first = (
            next_jobs.where(jobs.c.caller == _WANTED.c.owner)
            .limit(bindparam("most"))
            .with_for_update(skip_locked=True, of=jobs)
            .correlate(_WANTED)
            .subquery("first")
        )
        queue = select(*first.c).limit(_WANTED.c.count).lateral("queue")
        self.of_lanes: Final = select(*queue.c).select_from(_WANTED.join(queue, true()))


_NEXT: Final = _NextJobs()
_NEXT_HERE: Final = _NextJobs(_NOT_ELSEWHERE)
# The first condition makes databases use the index by device.
_WAITS: Final = Query(
    select(jobs.c.id).where(IS_ACTIVE, IS_QUEUED, jobs.c.not_before == 0, among(jobs.c.device_id, "devices")).limit(1)
)


def wait_elsewhere(connection: Connection, claimable: Claimable | None) -> bool:
    """Return whether jobs wait that other servers may claim, and this one may not."""
    if claimable is None or not claimable.offered_elsewhere:
        return False
    return bool(_WAITS(connection, {"devices": claimable.offered_elsewhere}))


def waiting_providers(connection: Connection) -> dict[str, Waiting]:
    """Return the providers that have jobs to claim. Jobs that require versions may be for other servers."""
    waiting: dict[str, Waiting] = {}
    for name, paused, unpinned, pinned in _SELECT_WAITING(connection, {}):
        found = waiting.setdefault(name, Waiting(set(), bool(unpinned), bool(pinned)))
        found.paused.update(() if paused is None else (paused,))
    return waiting


def claim_jobs(
    unit: UnitOfWork,
    share: FairShare,
    quotas: ClaimQuotas,
    wanted: Claim,
    provider: str,
    found: Claimed,
    paused: AbstractSet[int],
    pinned: Mapping[int, float],
) -> None:
    """Claim jobs of a provider, as many as there are and as quotas allow.

    Jobs of devices that are paused, or that this server does not offer, are left.

    `pinned` are the queues of jobs whose required versions the server has, with the number of jobs that it takes.

    A lane whose next job is for a paused device is left until its jobs are moved (held_jobs.py). Jobs that cannot start
    because of their credentials do not count, up to a number: then another claim follows.
    """
    transaction = unit.transaction
    here = wanted.claimable.here if wanted.claimable is not None else None
    left = wanted.capacity[provider]
    most = left + _MOST_UNREADY
    rooms = dict(pinned)
    for rows, others in _lanes(transaction.connection, provider, wanted.turns.get(provider, ""), pinned):
        quotas.read([row.owner for row in (*rows, *others)])
        lanes = share.add([row for row in (*rows, *others) if quotas.room(row.owner) > 0])
        while lanes and left:
            for lane in lanes:
                lane.room = quotas.room(lane.lane.owner)
            turns = order(lanes, min(left, most), wanted.slots)
            first = _first_jobs(transaction.connection, provider, turns, wanted.claimable, rooms, paused)
            # A device may be newer than what this server knows; then it knows more at the next claim.
            known = [(lane, row) for lane, row in first if here is None or row.device_id in here]
            transaction.queue |= len(known) < len(first)
            chosen = [(lane, row) for lane, row in known if row.device_id not in paused]
            transaction.times |= len(chosen) < len(known)
            left -= _start(unit, share, quotas, wanted, provider, found, chosen)
            most -= len(chosen)
            if not most:
                transaction.queue = True
                return
            emptied = Counter(lane.lane for lane in turns) - Counter(lane.lane for lane, _ in chosen)
            lanes = [lane for lane in lanes if lane.lane not in emptied and quotas.room(lane.lane.owner) > 0]
        if not left:
            found.turns[provider] = last_owner(rows) if len(rows) == MAX_LANES else ""
            return


def _start(
    unit: UnitOfWork,
    share: FairShare,
    quotas: ClaimQuotas,
    wanted: Claim,
    provider: str,
    found: Claimed,
    chosen: Sequence[tuple[LaneShare, Any]],
) -> int:
    """Lease jobs, given with their lanes, unless their credentials do not allow it; return how many."""
    entries = unit.add_rows([row for _, row in chosen])
    ready = _with_credentials(unit, wanted.sealer, entries, found.credentials)
    for (lane, row), entry in zip(chosen, entries, strict=True):
        if entry.job.id in ready:
            unit.start(entry, wanted.owner, unit.transaction.now + wanted.lease)
            quotas.take(lane.lane.owner, row.memory_bytes)
            found.charges.append(Charge((entry.job.id, entry.job.attempt), lane.lane, share.charge(lane)))
            found.jobs.append((provider, entry))
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


def _lanes(
    connection: Connection, provider: str, after: str, pinned: Collection[int]
) -> Iterator[tuple[Sequence[Any], Sequence[Any]]]:
    """Yield the lanes of a provider as `windows`; with the first ones, also those that have pinned jobs alone."""
    of_pinned = {row.owner: row for queue in pinned for row in next(windows(connection, provider, after, queue), ())}
    for rows in windows(connection, provider, after):
        for row in rows:
            of_pinned.pop(row.owner, None)
        yield rows, list(of_pinned.values())
        of_pinned = {}
    if of_pinned:
        yield (), list(of_pinned.values())


def _first_jobs(
    connection: Connection,
    provider: str,
    turns: Sequence[LaneShare],
    claimable: Claimable | None,
    rooms: dict[int, float],
    paused: AbstractSet[int],
) -> list[tuple[LaneShare, Any]]:
    """Lock and return the first jobs of lanes, a lane and its next job for each of its turns.

    Args:
        connection: a connection.
        provider: the name of the provider.
        turns: the lanes.
        claimable: the devices whose jobs may be claimed; None for all.
        rooms: the number of jobs that may be taken from each queue of pinned jobs; becomes that of further ones.
        paused: the paused devices, whose pinned jobs are passed over.
    """
    counts = Counter(lane.lane.owner for lane in turns)
    queues: dict[str, Iterator[Any]] = {}
    elsewhere = claimable.elsewhere if claimable is not None else ()
    queries = _NEXT_HERE if elsewhere else _NEXT
    values: dict[str, Any] = {"provider": provider, **({"elsewhere": elsewhere} if elsewhere else {})}
    if connection.dialect.name == "sqlite":
        for owner, count in counts.items():
            queues[owner] = iter(queries.of_lane(connection, {**values, "owner": owner, "count": count}))
    else:
        values |= {"owners": list(counts), "counts": list(counts.values()), "most": max(counts.values())}
        rows: dict[str, list[Any]] = {owner: [] for owner in counts}
        for row in connection.execute(queries.of_lanes, values):
            rows[row.caller].append(row)
        queues |= {owner: iter(each) for owner, each in rows.items()}
    if rooms:
        left = paused | frozenset(elsewhere)
        for owner, count in counts.items():
            merged = list(queues[owner])
            for queue, room in rooms.items():
                if limit := int(min(count, room)):
                    of_queue = {"provider": provider, "queue": queue, "owner": owner, "count": limit}
                    merged += connection.execute(_SELECT_PINNED, {**of_queue, "left": list(left)})
            merged.sort(key=lambda row: (row.rank, row.turn, row.id))
            queues[owner] = _within(merged, rooms)
    return [(lane, each) for lane in turns if (each := next(queues[lane.lane.owner], None)) is not None]


def _within(rows: Iterable[Any], rooms: dict[int, float]) -> Iterator[Any]:
    """Yield the jobs of the queues that have room."""
    for row in rows:
        if row.not_before in rooms:
            if rooms[row.not_before] < 1:
                continue
            rooms[row.not_before] -= 1
        yield row
