# SPDX-License-Identifier: Apache-2.0
"""Fair share: which lanes the next jobs are claimed from, by stride scheduling.

Each lane has a virtual time: the seconds of workers that its jobs have used, divided by its weight. A claim takes the
next job of the lowest lane, and adds the estimated cost of the job to it, which is the mean of the lane's jobs. The end
of the job corrects it. A lane that was idle, or is new, starts at the virtual time of its provider, so it has neither
credit nor debt of the time before.

The index of queued jobs decides which lanes have jobs; the table holds their virtual times only. So no job is lost with
a row of that table, and creating a job does not write it.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, column, text

from qonduit_server.lifecycle import QUEUED
from qonduit_server.store import sqlite_driver
from qonduit_server.store.database import Database
from qonduit_server.store.lane_accounts import LEAST_SECONDS, Lane, Owed, Running
from qonduit_server.store.sqlite_driver import Query
from qonduit_server.store.writer import Operation, Transaction

#: The estimated seconds of a job of a lane of which none has ended.
UNKNOWN_SECONDS: Final = 0.1
#: The maximum number of lanes that one step of a claim compares; the others follow in turn.
MAX_LANES: Final = 128
#: A caller waits for others to use at most this many seconds of workers, however much it has used alone before.
MOST_DEBT: Final = 300.0
#: The share of the old mean that remains after one more job ended.
_REMAINS: Final = 0.8

_PROVIDER: Final = "(SELECT id FROM providers WHERE name = :provider)"
# The callers with jobs to claim: each step skips to the next caller in the index.
_NEXT: Final = (
    f"SELECT caller FROM jobs WHERE state = {int(QUEUED)} AND not_before = {{queue}} AND caller {{condition}} "
    f"AND provider_id = {_PROVIDER} ORDER BY caller LIMIT 1"
)
_LANE_COLUMNS: Final[list[ColumnElement[Any]]] = [
    column(name) for name in ("id", "owner", "place", "weight", "virtual_time", "mean_seconds", "floor")
]
_LANES: Final = (
    f"WITH RECURSIVE owners (owner, place) AS (SELECT ({_NEXT.format(queue='{queue}', condition='{first} :after')}), 1 "
    f"UNION ALL SELECT ({_NEXT.format(queue='{queue}', condition='> owners.owner')}), place + 1 FROM owners "
    "WHERE owner IS NOT NULL AND place < :most) "
    "SELECT p.id, o.owner, o.place, lanes.weight, lanes.virtual_time, lanes.mean_seconds, "
    f"(SELECT max(virtual_start) FROM lanes WHERE provider_id = {_PROVIDER}) AS floor "
    "FROM providers p CROSS JOIN owners o LEFT JOIN lanes ON lanes.provider_id = p.id AND lanes.owner = o.owner "
    "WHERE p.name = :provider AND o.owner IS NOT NULL"
)
_FIRST_LANES: Final = Query(text(_LANES.format(first=">=", queue=0)).columns(*_LANE_COLUMNS))
_NEXT_LANES: Final = Query(text(_LANES.format(first=">", queue=0)).columns(*_LANE_COLUMNS))
_FIRST_PINNED: Final = Query(text(_LANES.format(first=">=", queue=":queue")).columns(*_LANE_COLUMNS))
_NEXT_PINNED: Final = Query(text(_LANES.format(first=">", queue=":queue")).columns(*_LANE_COLUMNS))

_COLUMNS: Final = ("provider_id", "owner", "owed", "floor", "ceiling", "charge", "start", "observed", "remains")
_TYPES: Final = ("bigint", "text", *["float8"] * 7)
_NEW: Final = f"unnest({', '.join(f'%b::{each}[]' for each in _TYPES)}) AS new ({', '.join(_COLUMNS)})"
_SETS: Final = (
    "virtual_time = {least}({greatest}(lanes.virtual_time + {owed} / weight, {floor}), {ceiling}) + {charge} / weight, "
    "virtual_start = {greatest}(lanes.virtual_start, {start}), "
    "mean_seconds = CASE WHEN {remains} = 1 THEN lanes.mean_seconds WHEN lanes.mean_seconds IS NULL THEN {observed} "
    "ELSE {observed} + (lanes.mean_seconds - {observed}) * {remains} END"
)
_INSERTED: Final = "lanes (provider_id, owner, virtual_time, virtual_start, mean_seconds)"
_VALUES: Final = "{greatest}({owed}, {floor}) + {charge}, {start}, CASE WHEN {remains} < 1 THEN {observed} END"
_OF_NEW: Final = {"greatest": "GREATEST", "least": "LEAST"} | {name: f"new.{name}" for name in _COLUMNS}
_OF_PARAMETERS: Final = {"greatest": "max", "least": "min"} | {name: f"?{n}" for n, name in enumerate(_COLUMNS, 1)}
_SQLITE: Final = (
    f"INSERT INTO {_INSERTED} VALUES (?1, ?2, {_VALUES.format(**_OF_PARAMETERS)}) "
    f"ON CONFLICT (provider_id, owner) DO UPDATE SET {_SETS.format(**_OF_PARAMETERS)}"
)
# Rows that another server has locked are skipped: a claim never waits for one.
_UPDATE: Final = (
    f"WITH new AS MATERIALIZED (SELECT * FROM {_NEW}), free AS MATERIALIZED (SELECT lanes.provider_id, lanes.owner "
    "FROM new JOIN lanes USING (provider_id, owner) ORDER BY 1, 2 FOR NO KEY UPDATE OF lanes SKIP LOCKED) "
    f"UPDATE lanes SET {_SETS.format(**_OF_NEW)} FROM new JOIN free USING (provider_id, owner) "
    "WHERE lanes.provider_id = new.provider_id AND lanes.owner = new.owner RETURNING lanes.provider_id, lanes.owner"
)
_INSERT: Final = (
    f"INSERT INTO {_INSERTED} SELECT new.provider_id, new.owner, {_VALUES.format(**_OF_NEW)} FROM {_NEW} "
    "ON CONFLICT DO NOTHING RETURNING provider_id, owner"
)


@dataclass(eq=False, slots=True)
class LaneShare:
    """A lane with jobs to claim, as far as a claim knows it.

    Attributes:
        lane: its key.
        weight: its weight.
        virtual_time: its virtual time, including what its running jobs cost so far.
        mean: the estimated seconds of a job.
        long: the number of its jobs that occupy a worker of this server.
        room: the number of jobs that may be claimed; quotas of its owner may limit it.
    """

    lane: Lane
    weight: float
    virtual_time: float
    mean: float
    long: int = 0
    room: float = math.inf

    @property
    def stride(self) -> float:
        """The virtual time that one job adds."""
        return self.mean / self.weight


def order(shares: Iterable[LaneShare], count: int, slots: int = 0) -> list[LaneShare]:
    """Return the lanes from which to claim `count` jobs, in order, as if each had as many.

    Args:
        shares: the lanes.
        count: the number of jobs.
        slots: the number of tasks that the server runs at once. While others wait, a lane is served only if it occupies
            less than its part of them; 0 means no limit.
    """
    heap = [(share.virtual_time, share.lane, share) for share in shares]
    heapq.heapify(heap)
    weights = sum(share.weight for _, _, share in heap)
    held = {share.lane: share.long for _, _, share in heap}
    room = {share.lane: share.room for _, _, share in heap}
    found: list[LaneShare] = []
    full: list[tuple[float, Lane, LaneShare]] = []
    while heap and len(found) < count:
        time, lane, share = heap[0]
        if room[lane] < 1:
            heapq.heappop(heap)
            if not heap and full:
                heap, full, slots = full, [], 0
                heapq.heapify(heap)
            continue
        is_full = slots > 0 and held[lane] >= max(1, math.ceil(slots * share.weight / weights))
        if is_full and len(heap) + len(full) > 1:
            full.append(heapq.heappop(heap))
            if not heap:
                # No lane is below its part: the workers that remain are shared by virtual time alone.
                heap, full, slots = full, [], 0
                heapq.heapify(heap)
            continue
        found.append(share)
        room[lane] -= 1
        held[lane] += count <= slots  # then each task occupies a worker
        heapq.heapreplace(heap, (time + share.stride, lane, share))
    return found


@dataclass(slots=True)
class _Change:
    charge: float = 0.0
    start: float = 0.0
    floor: float = 0.0
    ceiling: float = math.inf


class FairShare:
    """The lanes of one transaction: what its claims cost them. `flush` writes it.

    Args:
        connection: the connection of the transaction.
        owed: what lanes owe before.
        running: the running jobs of this server, by lane.
    """

    def __init__(self, connection: Connection, owed: Mapping[Lane, Owed], running: Mapping[Lane, Running]) -> None:
        self._connection = connection
        self._owed = owed
        self._running = running
        self._known: set[Lane] = set()
        self._changes: dict[Lane, _Change] = {}

    def add(self, rows: Sequence[Any]) -> list[LaneShare]:
        """Add lanes from rows of `windows`. No lane stays further behind the lowest one than `MOST_DEBT`."""
        shares = [self._share(row) for row in rows]
        if not shares:
            return []
        most = min(share.virtual_time for share in shares) + MOST_DEBT
        for share in shares:
            ran = self._running.get(share.lane, Running()).excess / share.weight
            if share.virtual_time - ran > most:
                share.virtual_time = most + ran
                self._changes[share.lane].ceiling = most
        return shares

    def _share(self, row: Any) -> LaneShare:
        lane = Lane(row.id, row.owner)
        if row.virtual_time is not None:
            self._known.add(lane)
        change = self._changes.setdefault(lane, _Change())
        change.floor = row.floor or 0.0
        share = share_of(row, self._owed.get(lane, Owed()), self._running.get(lane, Running()))
        share.virtual_time += change.charge / share.weight
        return share

    def charge(self, share: LaneShare) -> float:
        """Charge a lane for one job; return the seconds."""
        change = self._changes[share.lane]
        change.start = max(change.start, share.virtual_time)
        change.charge += share.mean
        share.virtual_time += share.stride
        return share.mean

    def flush(self) -> dict[Lane, Owed]:
        """Write all costs; return those of lanes that another server has locked."""
        changed = {
            lane for lane, change in self._changes.items() if change.charge or change.ceiling < math.inf
        } | self._owed.keys()
        rows = [self._row(lane) for lane in sorted(changed)]
        if not rows:
            return {}
        if self._connection.dialect.name == "sqlite":
            sqlite_driver.execute(self._connection, _SQLITE, *rows)
            return {}
        written = self._write(_UPDATE, rows)
        if new := [row for row in rows if Lane(*row[:2]) not in written | self._known]:
            written |= self._write(_INSERT, new)
        return {lane: self._unwritten(lane) for lane in changed - written}

    def _row(self, lane: Lane) -> tuple[Any, ...]:
        change, owed = self._changes.get(lane, _Change()), self._owed.get(lane, Owed())
        observed = owed.observed / owed.ended if owed.ended else 0.0
        return (
            *lane,
            owed.seconds,
            change.floor,
            change.ceiling,
            change.charge,
            change.start,
            observed,
            _REMAINS**owed.ended,
        )

    def _write(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> set[Lane]:
        columns = tuple(map(list, zip(*rows, strict=True)))
        return {Lane(*row) for row in self._connection.exec_driver_sql(statement, columns)}

    def _unwritten(self, lane: Lane) -> Owed:
        change = self._changes.get(lane, _Change())
        return self._owed.get(lane, Owed()).plus(Owed(change.charge))


def windows(connection: Connection, provider: str, after: str = "", queue: int = 0) -> Iterator[Sequence[Any]]:
    """Yield the lanes of a provider that have jobs to claim, at most `MAX_LANES` at once, each once.

    Args:
        connection: a connection.
        provider: the name of the provider.
        after: the owner after which to begin; then those before it follow.
        queue: the queue of jobs that require versions; default: the one of those that require none.
    """
    first, following = (_FIRST_PINNED, _NEXT_PINNED) if queue else (_FIRST_LANES, _NEXT_LANES)
    seen: set[str] = set()
    for query, start in ((following, after), (first, "")) if after else ((first, ""),):
        rows = _window(connection, query, provider, start, queue)
        while fresh := [row for row in rows if row.owner not in seen]:
            yield fresh
            seen.update(row.owner for row in fresh)
            if len(rows) < MAX_LANES:
                break
            rows = _window(connection, following, provider, last_owner(rows), queue)


def last_owner(rows: Sequence[Any]) -> str:
    """Return the last owner in the order of the database, which may differ from that of Python."""
    return str(max(rows, key=lambda row: int(row.place)).owner)


def _window(connection: Connection, query: Query, provider: str, after: str, queue: int) -> Sequence[Any]:
    values = {"provider": provider, "after": after, "most": MAX_LANES}
    return query(connection, {**values, "queue": queue} if queue else values)


def share_of(row: Any, owed: Owed, running: Running) -> LaneShare:
    """Return a lane from a row of `windows`."""
    weight = row.weight or 1.0
    time = max((row.virtual_time or 0.0) + owed.seconds / weight, row.floor or 0.0)
    mean = row.mean_seconds
    if owed.ended:
        observed = owed.observed / owed.ended
        mean = observed + ((observed if mean is None else mean) - observed) * _REMAINS**owed.ended
    mean = max(LEAST_SECONDS, UNKNOWN_SECONDS if mean is None else mean)
    return LaneShare(Lane(row.id, row.owner), weight, time + running.excess / weight, mean, running.long)


def set_weight(db: Database, provider_id: int, owner: str, weight: float) -> None:
    """Set the weight of a lane: twice the weight is twice the share of the workers while others wait."""
    db.write(_SET_WEIGHT, (provider_id, owner, weight))


def _set_weight(transaction: Transaction, weights: Sequence[tuple[int, str, float]]) -> list[None]:
    for provider_id, owner, weight in weights:
        values = {"provider_id": provider_id, "owner": owner, "weight": weight}
        transaction.connection.execute(_WEIGHT, values)
    return [None] * len(weights)


_WEIGHT: Final = text(
    "INSERT INTO lanes (provider_id, owner, weight, virtual_time, virtual_start) "
    "VALUES (:provider_id, :owner, :weight, 0, 0) ON CONFLICT (provider_id, owner) DO UPDATE SET weight = :weight"
)
_SET_WEIGHT: Final = Operation(_set_weight)
