# SPDX-License-Identifier: Apache-2.0
"""Observe a few waiting jobs until they start and end, so that the waits of others can be estimated."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, bindparam, select

from qonduit_server.lifecycle import CANCELLED, QUEUED, TERMINAL
from qonduit_server.store import queued_jobs
from qonduit_server.store.bulk_statements import among
from qonduit_server.store.database import Database
from qonduit_server.store.job_pools import AtVendor
from qonduit_server.store.jobs import queue_positions
from qonduit_server.store.jobs.claim_selection import ask_waiting
from qonduit_server.store.jobs.queue_positions import Place
from qonduit_server.store.jobs.waiting_lanes import windows
from qonduit_server.store.lane_accounts import Lane
from qonduit_server.store.schema import jobs

#: The number of jobs of each provider that are chosen at once, of different callers.
_CHOSEN: Final = 4
#: The number of jobs that are observed; further ones replace some of them at random.
MOST_OBSERVED: Final = 512
_SELECT: Final = select(jobs.c.id, jobs.c.state, jobs.c.attempt, jobs.c.started_at, jobs.c.finished_at).where(
    among(jobs.c.id, "ids")
)
_NTH: Final = queue_positions.IDS_OF_LANE.limit(1).offset(bindparam("offset"))


@dataclass(slots=True)
class _Observed:
    place: Place
    since: int
    started: bool = False


class QueueSampler:
    """Observes waiting jobs of all servers that share the database.

    Args:
        db: the store, which keeps the waits.
        chance: selects the jobs.
    """

    def __init__(self, db: Database, chance: random.Random | None = None) -> None:
        self._db = db
        self._chance = chance or random.Random()
        self._observed: dict[int, _Observed] = {}

    def __len__(self) -> int:
        """Return the number of observed jobs."""
        return len(self._observed)

    def step(self) -> bool:
        """Record the waits that have ended, and choose further jobs. Return whether jobs wait or are observed."""
        with self._db.read() as connection:
            if self._observed:
                self._record(connection)
            chosen = [
                job_id
                for pool, waiting in ask_waiting(connection)().items()
                if waiting.unpinned and not isinstance(pool, AtVendor)  # their waits are the vendor's
                for job_id in self._choose(connection, pool)
                if job_id not in self._observed
            ]
            if chosen:
                self._observe(connection, chosen)
        return bool(self._observed)

    def _record(self, connection: Connection) -> None:
        rows: dict[int, Any] = {row.id: row for row in connection.execute(_SELECT, {"ids": list(self._observed)})}
        for job_id, each in list(self._observed.items()):
            row = rows.get(job_id)
            if row is None or row.attempt > each.place.attempt + 1 or (row.state == QUEUED and each.started):
                del self._observed[job_id]  # deleted, or requeued
            elif row.state != QUEUED:
                self._record_started(job_id, each, row)

    def _record_started(self, job_id: int, each: _Observed, row: Any) -> None:
        waits = self._db.waits
        if row.started_at and not each.started and each.place.start is not None:
            waits.starts.add(each.place.start, (row.started_at - each.since) / 1e6)
        each.started = True
        if row.state in TERMINAL:
            if row.started_at and row.state != CANCELLED and each.place.end is not None:
                waits.ends.add(each.place.end, (row.finished_at - each.since) / 1e6)
            del self._observed[job_id]

    def _choose(self, connection: Connection, provider: str) -> Iterable[int]:
        """Yield jobs of some callers, one of each."""
        lanes = next(windows(connection, provider), ())
        for lane in self._chance.sample(list(lanes), min(_CHOSEN, len(lanes))):
            values = {"provider": lane.id, "caller": lane.owner, "main": 0}
            count = queued_jobs.of_lane(connection, Lane(lane.id, lane.owner), queue_positions.MOST_COUNTED)
            offset = self._chance.randrange(max(1, count))
            yield from connection.execute(_NTH, {**values, "offset": offset}).scalars()

    def _observe(self, connection: Connection, chosen: list[int]) -> None:
        now = self._db.now()
        for job_id, place in queue_positions.places_of(self._db, connection, chosen, now).items():
            if place.start is None:
                continue
            while len(self._observed) >= MOST_OBSERVED:
                del self._observed[self._chance.choice(list(self._observed))]
            self._observed[job_id] = _Observed(place, now)
