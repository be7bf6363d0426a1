# SPDX-License-Identifier: Apache-2.0
"""Lock and select the next jobs of lanes: of owners, or of the members of projects."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    Connection,
    Select,
    Text,
    TextClause,
    bindparam,
    func,
    not_,
    select,
    text,
)
from sqlalchemy import true as always

from qonduit_server.store.bulk_statements import among
from qonduit_server.store.catalogue_snapshot import Claimable
from qonduit_server.store.job_pools import Pool, provider_name, queues_of
from qonduit_server.store.jobs.fair_share import LaneShare
from qonduit_server.store.jobs.unit_of_work import SELECT_ENTRIES
from qonduit_server.store.lane_accounts import Lane
from qonduit_server.store.queries import Query
from qonduit_server.store.schema import IN_PROJECT_QUEUE, IS_QUEUED, jobs, providers

_IS_OF_PROVIDER: Final = (
    jobs.c.provider_id == select(providers.c.id).where(providers.c.name == bindparam("provider")).scalar_subquery()
)
_NOT_ELSEWHERE: Final = not_(among(jobs.c.device_id, "elsewhere"))
# The order of jobs of several queues, and their queue, behind the columns of SELECT_ENTRIES.
_SELECT_ROWS: Final = SELECT_ENTRIES.add_columns(jobs.c.rank, jobs.c.turn, jobs.c.not_before)


class _Unpinned:
    """The next jobs of several lanes that require no versions.

    Args:
        next_jobs: selects those of all lanes in the order of claims.
        key: the columns that identify a lane, by the fields of `Lane`.
    """

    def __init__(self, next_jobs: Select[Any], key: Mapping[str, Column[str]]) -> None:
        self._of_one = next_jobs.where(*(each == bindparam(name) for name, each in key.items()))
        self._of_lane = Query(self._of_one.limit(bindparam("count")))
        #: Of one lane on PostgreSQL, by the constant limit.
        self._locked: dict[int, Query] = {}
        lists = [bindparam(f"{name}s", type_=ARRAY(Text)) for name in key]
        wanted = (
            func.unnest(*lists, bindparam("counts", type_=ARRAY(BigInteger)))
            .table_valued(*key, "count")
            .render_derived(name="wanted")
        )
        # Two limits: PostgreSQL plans for the first one, and stops at that of the lane.
        first = (
            next_jobs.where(*(each == wanted.c[name] for name, each in key.items()))
            .limit(bindparam("most"))
            .with_for_update(skip_locked=True, of=jobs)
            .correlate(wanted)
            .subquery("first")
        )
        queue = select(*first.c).limit(wanted.c.count).lateral("queue")
        self._of_lanes = Query(select(*queue.c).select_from(wanted.join(queue, always())))
        self._key = tuple(key)

    def __call__(
        self, connection: Connection, values: Mapping[str, Any], counts: Mapping[Lane, int]
    ) -> dict[Lane, list[Any]]:
        """Return the jobs of lanes, at most the given number of each."""
        if connection.dialect.name == "sqlite":
            return {
                lane: list(self._of_lane(connection, {**values, **lane._asdict(), "count": count}))
                for lane, count in counts.items()
            }
        if len(counts) == 1:
            ((lane, count),) = counts.items()
            return {lane: list(self._locked_query(count)(connection, {**values, **lane._asdict(), "count": count}))}
        lists: dict[str, Any] = {f"{name}s": [getattr(lane, name) for lane in counts] for name in self._key}
        lists |= {"counts": list(counts.values()), "most": max(counts.values())}
        found: dict[tuple[str, str], list[Any]] = {(lane.owner, lane.member): [] for lane in counts}
        for row in self._of_lanes(connection, {**values, **lists}):
            found[row.caller, row.principal if "member" in self._key else ""].append(row)
        return {lane: found[lane.owner, lane.member] for lane in counts}

    def _locked_query(self, count: int) -> Query:
        """Return the query of one lane for at most this number of jobs."""
        # With a constant limit, PostgreSQL keeps the plan. There are few of them, because each is a power of two.
        limit = 1 << (count - 1).bit_length()
        if (query := self._locked.get(limit)) is None:
            first = self._of_one.limit(limit).with_for_update(skip_locked=True, of=jobs).subquery("first")
            query = self._locked[limit] = Query(select(*first.c).limit(bindparam("count")))
        return query


class _Queues:
    """The queues of lanes of one kind.

    Args:
        condition: the condition of the index with their order.
        order: the order of claims.
        key: the columns that identify a lane, by the fields of `Lane`.
    """

    def __init__(self, condition: TextClause, order: Sequence[Column[Any]], **key: Column[str]) -> None:
        rows = _SELECT_ROWS.where(condition, _IS_OF_PROVIDER).order_by(*order)
        unpinned = rows.where(jobs.c.not_before == bindparam("main"))
        self._all = _Unpinned(unpinned, key)
        self._here = _Unpinned(unpinned.where(_NOT_ELSEWHERE), key)
        self._pinned = Query(
            rows.where(jobs.c.not_before == bindparam("queue"), not_(among(jobs.c.device_id, "left")))
            .where(*(each == bindparam(name) for name, each in key.items()))
            .limit(bindparam("count"))
            .with_for_update(skip_locked=True, of=jobs)
        )
        self._has_pinned = _has_pinned(condition, key)
        self._order = [each.name for each in order]
        self._key = tuple(key)

    def next_jobs(
        self,
        connection: Connection,
        pool: Pool,
        counts: Mapping[Lane, int],
        elsewhere: Collection[int],
        rooms: dict[int, float],
        left: Collection[int],
    ) -> dict[Lane, Iterator[Any]]:
        """Return the next jobs of lanes, at most the given number of each. `left` are devices of pinned jobs."""
        if not counts:
            return {}
        values, main = {"provider": provider_name(pool)}, queues_of(pool).main
        of_main: dict[str, Any] = {**values, "main": main}
        if main not in rooms:
            found: dict[Lane, list[Any]] = {lane: [] for lane in counts}
        elif elsewhere:
            found = self._here(connection, {**of_main, "elsewhere": elsewhere}, counts)
        else:
            found = self._all(connection, of_main, counts)
        others = [queue for queue in rooms if queue != main]
        if not others:
            return {lane: iter(rows) for lane, rows in found.items()}
        for lane, queues in self._pinned_queues(connection, values["provider"], list(counts), others).items():
            for queue in queues:
                if limit := int(min(counts[lane], rooms[queue])):
                    of_queue = {**values, "queue": queue, "count": limit, "left": list(left)}
                    of_lane = {name: getattr(lane, name) for name in self._key}
                    found[lane] += self._pinned(connection, {**of_queue, **of_lane})
            found[lane].sort(key=lambda row: [getattr(row, name) for name in self._order])
        return {lane: _within(rows, rooms) for lane, rows in found.items()}

    def _pinned_queues(
        self, connection: Connection, provider: str, lanes: Sequence[Lane], queues: Sequence[int]
    ) -> dict[Lane, list[int]]:
        """Return the lanes that have pinned jobs, with their queues. There may be hundreds of queues of one caller."""
        if len(lanes) == len(queues) == 1:
            return {lanes[0]: list(queues)}
        values: dict[str, Any] = {"provider": provider}
        if connection.dialect.name == "sqlite":
            pairs = [[lane.owner, lane.member] for lane in lanes]
            values |= {"lanes": json.dumps(pairs), "queues": json.dumps(queues)}
        else:
            values |= {"owners": [lane.owner for lane in lanes], "members": [lane.member for lane in lanes]}
            values |= {"queues": queues}
        found: defaultdict[Lane, list[int]] = defaultdict(list)
        for place, queue in connection.execute(self._has_pinned[connection.dialect.name], values):
            found[lanes[place]].append(queue)
        return found


def _has_pinned(condition: TextClause, key: Mapping[str, Column[str]]) -> dict[str, TextClause]:
    """Return the queries for the places of lanes, and the queues in which they have pinned jobs, by dialect."""
    own = " AND ".join(f"{column.name} = {{{name}}}" for name, column in key.items())
    # Not by EXISTS, which PostgreSQL may compare with all queued jobs.
    first = (
        f"(SELECT 1 FROM jobs WHERE {condition} AND provider_id = (SELECT id FROM providers WHERE name = :provider) "
        f"AND not_before = q.value AND {own} LIMIT 1) IS NOT NULL"
    )
    sqlite = first.format(owner="json_extract(o.value, '$[0]')", member="json_extract(o.value, '$[1]')")
    return {
        "sqlite": text(
            f"SELECT o.key, q.value FROM json_each(:lanes) AS o CROSS JOIN json_each(:queues) AS q WHERE {sqlite}"
        ),
        "postgresql": text(
            "SELECT o.place - 1, q.value FROM unnest(CAST(:owners AS text[]), CAST(:members AS text[])) "
            "WITH ORDINALITY AS o(owner, member, place) CROSS JOIN unnest(CAST(:queues AS bigint[])) AS q(value) "
            f"WHERE {first.format(owner='o.owner', member='o.member')}"
        ),
    }


# Both in the order of an index.
_OF_OWNERS: Final = _Queues(IS_QUEUED, (jobs.c.rank, jobs.c.turn, jobs.c.id), owner=jobs.c.caller)
_OF_MEMBERS: Final = _Queues(IN_PROJECT_QUEUE, (jobs.c.rank, jobs.c.id), owner=jobs.c.caller, member=jobs.c.principal)


def next_jobs(
    connection: Connection,
    pool: Pool,
    turns: Sequence[LaneShare],
    claimable: Claimable | None,
    rooms: dict[int, float],
    paused: AbstractSet[int],
    room_of: Callable[[str], float],
) -> list[tuple[LaneShare, Any]]:
    """Lock and return the first jobs of lanes, a lane and its next job for each of its turns.

    Args:
        connection: a connection.
        pool: the pool of jobs.
        turns: the lanes.
        claimable: the devices whose jobs may be claimed; None for all.
        rooms: the number of jobs that may be taken from each queue that has jobs; becomes that of further ones.
        paused: the paused devices, whose pinned jobs are passed over.
        room_of: returns the number of jobs of an owner that quotas allow to start, beside the children of programs.
    """
    counts = Counter(lane.lane for lane in turns)
    elsewhere = claimable.elsewhere if claimable is not None else ()
    left = paused | frozenset(elsewhere)
    queues: dict[Lane, Iterator[Any]] = {}
    for kind, of_members in ((_OF_OWNERS, False), (_OF_MEMBERS, True)):
        own = {lane: count for lane, count in counts.items() if bool(lane.member) is of_members}
        queues |= kind.next_jobs(connection, pool, own, elsewhere, rooms, left)
    children = queues_of(pool).children
    if children in rooms:
        allowed = {lane.owner: room_of(lane.owner) for lane in queues}
        queues = {lane: _allowed(rows, allowed, children) for lane, rows in queues.items()}
    return [(lane, each) for lane in turns if (each := next(queues[lane.lane], None)) is not None]


def _allowed(rows: Iterable[Any], allowed: dict[str, float], children: int) -> Iterator[Any]:
    """Yield the children of programs, and of the other jobs those that quotas allow to start."""
    for row in rows:
        if row.not_before != children:
            if allowed[row.caller] < 1:
                continue
            allowed[row.caller] -= 1
        yield row


def _within(rows: Iterable[Any], rooms: dict[int, float]) -> Iterator[Any]:
    """Yield the jobs of the queues that have room."""
    for row in rows:
        if row.not_before in rooms:
            if rooms[row.not_before] < 1:
                continue
            rooms[row.not_before] -= 1
        yield row
