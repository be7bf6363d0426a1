# SPDX-License-Identifier: Apache-2.0
"""The places of queued jobs: how many jobs servers claim before them at most, as far as is known, and why they wait."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Row, bindparam, func, select, true, tuple_

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.v1.job_pb2 import QueuePlace, QueueReason
from qonduit_server.lifecycle import QUEUED
from qonduit_server.store import catalogue, queued_jobs
from qonduit_server.store.bulk_statements import among
from qonduit_server.store.database import Database
from qonduit_server.store.job_pools import AtVendor, Pool, provider_name, queues_of
from qonduit_server.store.jobs.fair_share import UNKNOWN_SECONDS, LaneShare, share_of
from qonduit_server.store.jobs.held_jobs import HELD
from qonduit_server.store.jobs.job_credentials import has_credential
from qonduit_server.store.jobs.pinned_jobs import PINNED, reason_to_wait
from qonduit_server.store.jobs.waiting_lanes import windows
from qonduit_server.store.lane_accounts import Lane, Owed, Running
from qonduit_server.store.ownership import is_project
from qonduit_server.store.pauses import describe
from qonduit_server.store.schema import IN_PROJECT_QUEUE, IS_LEASED, IS_QUEUED, devices, jobs, lanes, providers
from qonduit_server.store.timestamps import microseconds
from qonduit_server.store.users.quota_checks import claim_rooms
from qonduit_server.store.wait_history import Ahead

#: Positions are not counted beyond this one.
MAX_POSITION: Final = 10_000
#: The jobs of other callers are counted up to this number each; a caller with more is assumed to have any number.
MOST_COUNTED: Final = 1000
#: The number of lanes whose jobs are counted in one statement.
_LANES_PER_COUNT: Final = 100
_MESSAGE_CHARACTERS: Final = 2000
_SELECT_JOBS: Final = (
    select(
        *(jobs.c.id, jobs.c.provider_id, jobs.c.device_id, jobs.c.caller, jobs.c.principal, jobs.c.rank),
        *(jobs.c.not_before, jobs.c.attempt, jobs.c.spec),
        *(devices.c.available, devices.c.status_message, devices.c.is_local, providers.c.name.label("provider")),
    )
    .join_from(jobs, devices, devices.c.id == jobs.c.device_id)
    .join(providers, providers.c.id == jobs.c.provider_id)
    .where(among(jobs.c.id, "ids"), jobs.c.state == int(QUEUED))
)
_OF_QUEUE: Final = (
    select(jobs.c.id)
    .where(IS_QUEUED, jobs.c.provider_id == bindparam("provider"), jobs.c.caller == bindparam("caller"))
    .limit(MAX_POSITION)
)
_OF_LANE: Final = _OF_QUEUE.where(jobs.c.not_before == bindparam("main"))
#: The jobs of an owner in the order of claims, unless it is a project. `main` is the queue of their pool.
IDS_OF_LANE: Final = _OF_LANE.order_by(jobs.c.rank, jobs.c.turn, jobs.c.id)
_IS_OF_MEMBER: Final = (IN_PROJECT_QUEUE, jobs.c.principal == bindparam("member"))
_IDS_OF_MEMBER: Final = _OF_LANE.where(*_IS_OF_MEMBER).order_by(jobs.c.rank, jobs.c.id)
_IS_BEFORE: Final = tuple_(jobs.c.rank, jobs.c.id) < tuple_(bindparam("rank"), bindparam("id"))
_BEFORE: Final = select(func.count()).select_from(_OF_LANE.where(_IS_BEFORE).subquery())
_BEFORE_OF_MEMBER: Final = select(func.count()).select_from(_OF_LANE.where(*_IS_OF_MEMBER, _IS_BEFORE).subquery())
# The jobs with the same required versions, which are claimed in the same order as those without.
_OF_PINNED: Final = _OF_QUEUE.where(jobs.c.not_before == bindparam("queue"), _IS_BEFORE)
_PINNED_BEFORE: Final = select(func.count()).select_from(_OF_PINNED.subquery())
_PINNED_BEFORE_OF_MEMBER: Final = select(func.count()).select_from(_OF_PINNED.where(*_IS_OF_MEMBER).subquery())
_LOCAL: Final = select(devices.c.id).where(devices.c.is_local == true())
#: The running jobs of the workers of a provider, of all servers; further ones are assumed to be like these.
_MOST_RUNNING: Final = 1000
_RUNNING: Final = (
    select(jobs.c.started_at, lanes.c.mean_seconds)
    .join_from(
        jobs, lanes, (lanes.c.provider_id == jobs.c.provider_id) & (lanes.c.owner == jobs.c.caller), isouter=True
    )
    .where(IS_LEASED, jobs.c.provider_id == bindparam("provider"), jobs.c.device_id.in_(_LOCAL))
    .limit(_MOST_RUNNING)
)
#: A running job takes at least this part of the mean time of its lane from now on, however long it has run.
_LEAST_REST: Final = 0.25


class Place(NamedTuple):
    """The place of a waiting job.

    Attributes:
        queue: its position and the reason why it waits, without estimates.
        attempt: the number of its starts so far.
        start: the work before its start; None if it cannot start now, or if it is not known.
        end: the work before its end, likewise.
    """

    queue: QueuePlace
    attempt: int
    start: Ahead | None = None
    end: Ahead | None = None


class _Turns(NamedTuple):
    """The number of jobs that are claimed before another one, and their seconds."""

    jobs: float
    seconds: float


def of_job(db: Database, job_id: int) -> QueuePlace | None:
    """Return the place of a job; None if it does not wait."""
    return of_jobs(db, [job_id]).get(job_id)


def of_jobs(db: Database, job_ids: Collection[int]) -> dict[int, QueuePlace]:
    """Return the places of those of many jobs that wait, with estimates of their starts and ends if they are known."""
    with db.read() as connection:
        places = places_of(db, connection, job_ids, db.now())
    for place in places.values():
        queue = place.queue
        if place.start is not None and (start := db.waits.starts.estimate(place.start)) is not None:
            queue.estimated_start_seconds_p50, queue.estimated_start_seconds_p90 = map(_rounded, start)
        if place.end is not None and (end := db.waits.ends.estimate(place.end)) is not None:
            queue.estimated_end_seconds_p50, queue.estimated_end_seconds_p90 = map(_rounded, end)
    return {job_id: place.queue for job_id, place in places.items()}


def places_of(db: Database, connection: Connection, job_ids: Collection[int], now: int) -> dict[int, Place]:
    """Return the places of those of many jobs that wait.

    Args:
        db: the database, whose catalogue knows pauses.
        connection: a connection.
        job_ids: the jobs.
        now: the time in microseconds since 1970.
    """
    found: dict[int, Place] = {}
    of_pool: defaultdict[Pool, list[Row[Any]]] = defaultdict(list)
    rows: Iterable[Any] = connection.execute(_SELECT_JOBS, {"ids": list(job_ids)})
    for row in rows:
        if 0 < row.not_before < HELD:
            found[row.id] = Place(QueuePlace(reason=_reason_of_time(row)), row.attempt)
        elif not row.available:
            reason = QueueReason.QUEUE_REASON_DEVICE_UNAVAILABLE
            found[row.id] = Place(QueuePlace(reason=reason, message=row.status_message), row.attempt)
        elif (paused := catalogue.pause_of(db, row.device_id)) is not None:
            place = QueuePlace(reason=QueueReason.QUEUE_REASON_PAUSED, message=describe(paused))
            found[row.id] = Place(place, row.attempt)
        elif row.not_before >= PINNED and (
            missing := reason_to_wait(db, row.provider, JobSpec.FromString(row.spec or b""))
        ):
            place = QueuePlace(reason=QueueReason.QUEUE_REASON_VERSIONS, message=missing[:_MESSAGE_CHARACTERS])
            found[row.id] = Place(place, row.attempt)
        else:
            of_pool[row.provider if row.is_local else AtVendor(row.provider)].append(row)
    for pool, waiting in of_pool.items():
        main = queues_of(pool).main
        of_callers = [row for window in windows(connection, provider_name(pool), queue=main) for row in window]
        held = _held(db, connection, {row.owner for row in of_callers}, now)
        for row in waiting:
            if row.caller in held:
                found[row.id] = Place(QueuePlace(reason=QueueReason.QUEUE_REASON_QUOTA), row.attempt)
        going = [row for row in waiting if row.caller not in held]
        if going:
            found |= _of_pool(connection, pool, [row for row in of_callers if row.owner not in held], going, now)
    return found


def _reason_of_time(row: Row[Any]) -> QueueReason:
    """Return why a job waits for a time: the one of its request, or the next try to decrypt its credential."""
    spec = JobSpec.FromString(row.spec or b"")
    requested = spec.HasField("not_before") and microseconds(spec.not_before) >= row.not_before
    if has_credential(spec) and not requested:
        return QueueReason.QUEUE_REASON_CREDENTIAL
    return QueueReason.QUEUE_REASON_SCHEDULED


def _held(db: Database, connection: Connection, owners: Collection[str], now: int) -> set[str]:
    """Return the owners whose quotas hold their jobs."""
    snapshot = db.quotas.snapshot(connection)
    limited = {owner: each for owner in owners if (each := snapshot.of(owner)).limits_claims}
    return {owner for owner, room in claim_rooms(connection, limited, now).items() if room.count < 1}


def _of_pool(
    connection: Connection, pool: Pool, of_callers: Iterable[Row[Any]], rows: Sequence[Row[Any]], now: int
) -> dict[int, Place]:
    main = queues_of(pool).main
    shares = [share_of(row, Owed(), Running()) for row in of_callers]
    own = {share.lane.owner: share for share in shares}
    running = [_rest(row, now) for row in connection.execute(_RUNNING, {"provider": rows[0].provider_id})]
    counts: dict[Lane, float] = {}
    of_caller: defaultdict[str, list[Row[Any]]] = defaultdict(list)
    attempts = {row.id: row.attempt for row in rows}
    for row in rows:
        of_caller[row.caller].append(row)
    found: dict[int, Place] = {}
    for caller, waiting in of_caller.items():
        for job_id, earlier in _earlier_of_owner(connection, waiting, counts, main).items():
            share = own.get(caller)
            # A job that was queued after the lanes were read has none.
            others = _of_others(connection, share, earlier, shares, counts, main) if share else _Turns(0, 0.0)
            queue = _queue_place(earlier, others.jobs)
            found[job_id] = Place(queue, attempts[job_id])
            # When a vendor's device runs a job is for the vendor to estimate.
            if share is not None and queue.position < MAX_POSITION and not isinstance(pool, AtVendor):
                ahead = _ahead(share, earlier, others.seconds, running)
                end = ahead._replace(seconds=ahead.seconds + share.mean)
                found[job_id] = found[job_id]._replace(start=ahead, end=end)
    return found


def _rest(row: Any, now: int) -> float:
    """Return the seconds that a running job of a provider takes from now on."""
    mean = UNKNOWN_SECONDS if row.mean_seconds is None else row.mean_seconds
    return float(max(mean - (now - (row.started_at or now)) / 1e6, mean * _LEAST_REST))


def _ahead(share: LaneShare, earlier: int, others: float, running: Sequence[float]) -> Ahead:
    """Return the work before a job. While jobs wait, all workers are busy: their number is that of the running jobs."""
    own = earlier * share.mean
    total = own + others + sum(running)
    return Ahead(share.lane.provider_id, total / max(1, len(running)), own / total if total else 0.0)


def _earlier_of_owner(
    connection: Connection, rows: Sequence[Row[Any]], counts: dict[Lane, float], main: int
) -> Mapping[int, int]:
    """Return the number of jobs of the same owner before each of its jobs; in a project, members share its turns."""
    if not is_project(rows[0].caller):
        return _earlier(connection, rows, main)
    read = windows(connection, rows[0].provider, project=rows[0].caller, queue=main)
    shares = {row.member: share_of(row, Owed(), Running()) for window in read for row in window}
    of_member: defaultdict[str, list[Row[Any]]] = defaultdict(list)
    for row in rows:
        of_member[row.principal].append(row)
    found: dict[int, int] = {}
    for member, waiting in of_member.items():
        for job_id, earlier in _earlier(connection, waiting, main, member).items():
            share = shares.get(member)
            others = _of_others(connection, share, earlier, shares.values(), counts, main).jobs if share else 0
            found[job_id] = int(min(MAX_POSITION, earlier + others))
    return found


def _earlier(connection: Connection, rows: Sequence[Row[Any]], main: int, member: str = "") -> Mapping[int, int]:
    """Return the number of jobs of the same lane before each of its jobs."""
    values = {"provider": rows[0].provider_id, "caller": rows[0].caller, "main": main}
    values |= {"member": member} if member else {}
    single = rows if len(rows) == 1 else [row for row in rows if row.not_before >= PINNED]
    found: dict[int, int] = {}
    for row in single:
        before = {**values, "rank": row.rank, "id": row.id}
        found[row.id] = connection.execute(_BEFORE_OF_MEMBER if member else _BEFORE, before).scalar_one()
        if row.not_before >= PINNED:
            query = _PINNED_BEFORE_OF_MEMBER if member else _PINNED_BEFORE
            found[row.id] += connection.execute(query, {**before, "queue": row.not_before}).scalar_one()
    if len(found) < len(rows):
        ids = connection.execute(_IDS_OF_MEMBER if member else IDS_OF_LANE, values).scalars()
        places = {job_id: place for place, job_id in enumerate(ids)}
        found |= {row.id: places.get(row.id, MAX_POSITION) for row in rows if row.id not in found}
    return found


def _of_others(
    connection: Connection,
    own: LaneShare,
    earlier: int,
    shares: Iterable[LaneShare],
    counts: dict[Lane, float],
    main: int,
) -> _Turns:
    """Return the jobs of other lanes that are claimed before a job.

    Args:
        connection: a connection.
        own: the lane of the job.
        earlier: the number of jobs of the same lane before it.
        shares: all lanes of the provider; for the lane of a member, those of its project.
        counts: the numbers of queued jobs that are known.
        main: the queue of the pool.
    """
    due = own.virtual_time + earlier * own.stride
    total = seconds = 0.0
    before: list[tuple[LaneShare, float]] = []
    for share in shares:
        strides = (due - share.virtual_time) / share.stride
        # Of equal times, the lower lane is first.
        turns: float = math.floor(strides) + 1 if share.lane < own.lane else math.ceil(strides)
        if share is not own and turns > 0:
            before.append((share, turns))
    for first in range(0, len(before), _LANES_PER_COUNT):
        some = before[first : first + _LANES_PER_COUNT]
        missing = [share.lane for share, _ in some if share.lane not in counts]
        for lane, count in queued_jobs.of_lanes(connection, missing, MOST_COUNTED, main).items():
            counts[lane] = count if count < MOST_COUNTED else math.inf
        for share, turns in some:
            total += min(turns, counts[share.lane])
            seconds += min(turns, counts[share.lane]) * share.mean
            if earlier + total >= MAX_POSITION:
                return _Turns(total, seconds)
    return _Turns(total, seconds)


def _queue_place(earlier: int, others: float) -> QueuePlace:
    position = int(min(MAX_POSITION, earlier + others))
    if others:
        return QueuePlace(position=position, reason=QueueReason.QUEUE_REASON_SHARE)
    if earlier:
        return QueuePlace(position=position, reason=QueueReason.QUEUE_REASON_EARLIER_JOBS)
    return QueuePlace(position=position, reason=QueueReason.QUEUE_REASON_NO_WORKER)


def _rounded(seconds: float) -> float:
    """Return two significant digits: more would pretend to a precision that estimates do not have."""
    return float(f"{seconds:.2g}")
