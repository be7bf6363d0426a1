# SPDX-License-Identifier: Apache-2.0
"""The numbers of jobs of the whole database that have not ended, for metrics. Each query reads a bounded range."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final, NamedTuple

from sqlalchemy import Select, TextClause, func, select

from qonduit.v1.job_pb2 import JobState
from qonduit_server.lifecycle import ACTIVE, QUEUED
from qonduit_server.store import catalogue
from qonduit_server.store.database import Database
from qonduit_server.store.schema import IS_ACTIVE, IS_LEASED, IS_QUEUED, jobs

#: Waiting jobs beyond this number are not counted, and neither are running ones.
MOST_COUNTED: Final = 100_000
#: Of the waiting jobs, this number of the oldest are examined for one that could start.
_MOST_EXAMINED: Final = 1000


def _count(condition: TextClause) -> Select[tuple[int, int, int]]:
    """Count jobs by device and state. They have no order, so that no database sorts more of them than it counts."""
    some = select(jobs.c.device_id, jobs.c.state).where(condition).limit(MOST_COUNTED).subquery()
    columns = (some.c.device_id, some.c.state)
    return select(*columns, func.count().label("number")).group_by(*columns)


# Waiting jobs may be many, and must not hide the running ones.
_QUEUED: Final = _count(IS_QUEUED)
_LEASED: Final = _count(IS_LEASED)
_OLDEST: Final = (
    select(jobs.c.created_at, jobs.c.not_before)
    .where(IS_ACTIVE, jobs.c.state == int(QUEUED))
    .order_by(jobs.c.created_at, jobs.c.id)
    .limit(_MOST_EXAMINED)
)


class QueueTotals(NamedTuple):
    """The jobs that have not ended.

    Attributes:
        states: their number by state, 0 included.
        devices: the number of jobs by device ("PROVIDER/device") that has any.
        oldest_seconds: how long the oldest job waits that could start, of the 1,000 oldest; 0 without such a job.
    """

    states: Mapping[JobState, int]
    devices: Mapping[str, int]
    oldest_seconds: float


def totals(db: Database) -> QueueTotals:
    """Count the jobs of all servers that have not ended. Raises Unavailable."""
    now = db.now()
    states: Counter[JobState] = Counter(dict.fromkeys(ACTIVE, 0))
    devices: Counter[int] = Counter()
    with db.read() as connection:
        for row in (*connection.execute(_QUEUED), *connection.execute(_LEASED)):
            states[row.state] += row.number
            devices[row.device_id] += row.number
        since = [max(row.created_at, row.not_before) for row in connection.execute(_OLDEST)]
    names = {device.id: name for name, device in catalogue.devices_by_name(db).items()}
    return QueueTotals(
        states,
        {names.get(device, "unknown"): count for device, count in devices.items()},
        max([0.0, *((now - start) / 1e6 for start in since)]),
    )
