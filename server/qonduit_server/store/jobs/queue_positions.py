# SPDX-License-Identifier: Apache-2.0
"""The places of queued jobs: how many jobs servers claim before them at most, as far as is known, and why they wait."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, func, select, text, tuple_

from qonduit.v1.job_pb2 import QueuePlace, QueueReason
from qonduit_server.lifecycle import QUEUED
from qonduit_server.store import catalogue
from qonduit_server.store.bulk_statements import among
from qonduit_server.store.database import Database
from qonduit_server.store.jobs.fair_share import LaneShare, share_of, windows
from qonduit_server.store.jobs.held_jobs import HELD
from qonduit_server.store.lane_accounts import Owed, Running
from qonduit_server.store.pauses import describe
from qonduit_server.store.schema import IS_QUEUED, devices, jobs, providers

#: Positions are not counted beyond this one.
MAX_POSITION: Final = 10_000
#: The jobs of other callers are counted up to this number each; a caller with more is assumed to have any number.
_MOST_COUNTED: Final = 1000
_SELECT_JOBS: Final = (
    select(
        *(jobs.c.id, jobs.c.provider_id, jobs.c.device_id, jobs.c.caller, jobs.c.rank, jobs.c.not_before),
        *(devices.c.available, providers.c.name.label("provider")),
    )
    .join_from(jobs, devices, devices.c.id == jobs.c.device_id)
    .join(providers, providers.c.id == jobs.c.provider_id)
    .where(among(jobs.c.id, "ids"), jobs.c.state == int(QUEUED))
)
_OF_LANE: Final = (
    select(jobs.c.id)
    .where(
        *(IS_QUEUED, jobs.c.provider_id == bindparam("provider"), jobs.c.not_before == 0),
        jobs.c.caller == bindparam("caller"),
    )
    .limit(MAX_POSITION)
)
_IDS: Final = _OF_LANE.order_by(jobs.c.rank, jobs.c.id)
_BEFORE: Final = select(func.count()).select_from(
    _OF_LANE.where(tuple_(jobs.c.rank, jobs.c.id) < tuple_(bindparam("rank"), bindparam("id"))).subquery()
)
_COUNT: Final = text(
    f"SELECT count(*) FROM (SELECT 1 FROM jobs WHERE state = {int(QUEUED)} AND provider_id = :provider "
    f"AND not_before = 0 AND caller = :caller LIMIT {_MOST_COUNTED}) AS counted"
)


def of_job(db: Database, job_id: int) -> QueuePlace | None:
    """Return the place of a job; None if it does not wait."""
    return of_jobs(db, [job_id]).get(job_id)


def of_jobs(db: Database, job_ids: Collection[int]) -> dict[int, QueuePlace]:
    """Return the places of those of many jobs that wait."""
    found: dict[int, QueuePlace] = {}
    with db.read() as connection:
        of_provider: defaultdict[str, list[Row[Any]]] = defaultdict(list)
        rows: Iterable[Any] = connection.execute(_SELECT_JOBS, {"ids": list(job_ids)})
        for row in rows:
            if 0 < row.not_before < HELD:
                found[row.id] = QueuePlace(reason=QueueReason.QUEUE_REASON_SCHEDULED)
            elif not row.available:
                found[row.id] = QueuePlace(reason=QueueReason.QUEUE_REASON_DEVICE_UNAVAILABLE)
            elif (paused := catalogue.pause_of(db, row.device_id)) is not None:
                found[row.id] = QueuePlace(reason=QueueReason.QUEUE_REASON_PAUSED, message=describe(paused))
            else:
                of_provider[row.provider].append(row)
        for provider, rows in of_provider.items():
            found |= _of_provider(connection, provider, rows)
    return found


def _of_provider(connection: Connection, provider: str, rows: Sequence[Row[Any]]) -> dict[int, QueuePlace]:
    shares = [share_of(row, Owed(), Running()) for window in windows(connection, provider) for row in window]
    own = {share.lane.owner: share for share in shares}
    counts: dict[str, float] = {}
    of_caller: defaultdict[str, list[Row[Any]]] = defaultdict(list)
    for row in rows:
        of_caller[row.caller].append(row)
    found: dict[int, QueuePlace] = {}
    for caller, waiting in of_caller.items():
        for job_id, earlier in _earlier(connection, waiting).items():
            # A job that was queued after the lanes were read has none.
            others = _of_others(connection, own[caller], earlier, shares, counts) if caller in own else 0
            found[job_id] = _place(earlier, others)
    return found


def _earlier(connection: Connection, rows: Sequence[Row[Any]]) -> Mapping[int, int]:
    """Return the number of jobs of the same caller before each of its jobs."""
    values = {"provider": rows[0].provider_id, "caller": rows[0].caller}
    if len(rows) == 1:
        before = {**values, "rank": rows[0].rank, "id": rows[0].id}
        return {rows[0].id: connection.execute(_BEFORE, before).scalar_one()}
    places = {job_id: place for place, job_id in enumerate(connection.execute(_IDS, values).scalars())}
    return {row.id: places.get(row.id, MAX_POSITION) for row in rows}


def _of_others(
    connection: Connection, own: LaneShare, earlier: int, shares: Iterable[LaneShare], counts: dict[str, float]
) -> float:
    """Return the number of jobs of other callers that are claimed before a job.

    Args:
        connection: a connection.
        own: the lane of the job.
        earlier: the number of jobs of the same lane before it.
        shares: all lanes.
        counts: the numbers of queued jobs that are known, by owner.
    """
    due = own.virtual_time + earlier * own.stride
    total = 0.0
    for share in shares:
        if share is own or (share.virtual_time, share.lane) > (due, own.lane):
            continue
        turns = math.floor((due - share.virtual_time) / share.stride) + 1
        if share.lane.owner not in counts:
            values = {"provider": share.lane.provider_id, "caller": share.lane.owner}
            count = connection.execute(_COUNT, values).scalar_one()
            counts[share.lane.owner] = count if count < _MOST_COUNTED else math.inf
        total += min(turns, counts[share.lane.owner])
        if earlier + total >= MAX_POSITION:
            break
    return total


def _place(earlier: int, others: float) -> QueuePlace:
    position = int(min(MAX_POSITION, earlier + others))
    if others:
        return QueuePlace(position=position, reason=QueueReason.QUEUE_REASON_SHARE)
    if earlier:
        return QueuePlace(position=position, reason=QueueReason.QUEUE_REASON_EARLIER_JOBS)
    return QueuePlace(position=position, reason=QueueReason.QUEUE_REASON_NO_WORKER)
