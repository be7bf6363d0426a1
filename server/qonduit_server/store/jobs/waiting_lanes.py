# SPDX-License-Identifier: Apache-2.0
"""The lanes that have jobs to claim: those of the owners at a provider, and those of the members of a project.

The index of queued jobs decides which lanes have jobs, by skipping from one name to the next. The tables hold their
virtual times only, so no job is lost with a row of these tables, and creating a job writes none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Connection, TextualSelect, column, text

from qonduit_server.store.job_pools import Pool, provider_name, queues_of
from qonduit_server.store.ownership import project_of
from qonduit_server.store.queries import Query
from qonduit_server.store.schema import IN_PROJECT_QUEUE, IS_QUEUED

#: The maximum number of lanes of a window, which one step of a claim compares; the others follow in turn.
MAX_LANES: Final = 128
#: The least number of lanes of each queue that are read at once, of many queues.
_LEAST_LANES: Final = 8

_PROVIDER: Final = "(SELECT id FROM providers WHERE name = :provider)"
_COLUMNS: Final[list[ColumnElement[Any]]] = [
    column(name) for name in ("id", "owner", "member", "place", "weight", "virtual_time", "mean_seconds", "floor")
]
# The owners with jobs to claim.
_OWNERS: Final = {
    "next": f"SELECT caller FROM jobs WHERE {IS_QUEUED} AND not_before = {{queue}} AND caller {{condition}} "
    f"AND provider_id = {_PROVIDER} ORDER BY caller LIMIT 1",
    "columns": "n.name AS owner, '' AS member, n.place, l.weight",
    "lanes": "lanes l ON l.provider_id = p.id AND l.owner = n.name",
    "others": f"lanes WHERE provider_id = {_PROVIDER}",
}
# The members with jobs to claim among those of the project :owner.
_MEMBERS: Final = {
    "next": f"SELECT principal FROM jobs WHERE {IN_PROJECT_QUEUE} AND not_before = {{queue}} AND caller = :owner "
    f"AND principal {{condition}} AND provider_id = {_PROVIDER} ORDER BY principal LIMIT 1",
    "columns": ":owner AS owner, n.name AS member, n.place, "
    "(SELECT weight FROM project_members WHERE project = :project AND member = n.name) AS weight",
    "lanes": "member_lanes l ON l.provider_id = p.id AND l.owner = :owner AND l.member = n.name",
    "others": f"member_lanes WHERE provider_id = {_PROVIDER} AND owner = :owner",
}


class Window(NamedTuple):
    """Lanes that one step of a claim compares.

    Attributes:
        lanes: their rows.
        last: the name after which the next claim begins; empty if it begins with the first.
    """

    lanes: Sequence[Any]
    last: str


def _query(of: dict[str, str], queue: str, first: str) -> Query:
    """Return the query of a window of a queue whose first name compares with :after as `first` does."""
    first_name = of["next"].format(queue=queue, condition=f"{first} :after")
    next_name = of["next"].format(queue=queue, condition="> names.name")
    statement = (
        f"WITH RECURSIVE names (name, place) AS (SELECT ({first_name}), 1 UNION ALL "
        f"SELECT ({next_name}), place + 1 FROM names WHERE name IS NOT NULL AND place < :most) "
        f"SELECT p.id, {of['columns']}, l.virtual_time, l.mean_seconds, "
        f"(SELECT max(virtual_start) FROM {of['others']}) AS floor "
        f"FROM providers p CROSS JOIN names n LEFT JOIN {of['lanes']} WHERE p.name = :provider AND n.name IS NOT NULL"
    )
    return Query(text(statement).columns(*_COLUMNS))


def _query_of_several(of: dict[str, str], queues: str, first: str) -> TextualSelect:
    """Return the query of the lanes of several queues, a row for each lane of each queue."""
    first_name = of["next"].format(queue="q.value", condition=f"{first} :after")
    next_name = of["next"].format(queue="names.queue", condition="> names.name")
    return text(
        f"WITH RECURSIVE names (queue, name, place) AS (SELECT q.value, ({first_name}), 1 FROM {queues} UNION ALL "
        f"SELECT queue, ({next_name}), place + 1 FROM names WHERE name IS NOT NULL "
        "AND place < CASE WHEN queue = :main THEN :most ELSE :each END) "
        f"SELECT n.queue, p.id, {of['columns']}, l.virtual_time, l.mean_seconds, "
        f"(SELECT max(virtual_start) FROM {of['others']}) AS floor FROM providers p CROSS JOIN names n "
        f"LEFT JOIN {of['lanes']} WHERE p.name = :provider AND n.name IS NOT NULL ORDER BY n.name"
    ).columns(column("queue", BigInteger), *_COLUMNS)


# The first and the following windows: of owners or members, of the queue 0 or another one.
_QUERIES: Final = {
    (of_members, other): tuple(
        _query(_MEMBERS if of_members else _OWNERS, ":queue" if other else "0", first) for first in (">=", ">")
    )
    for of_members in (False, True)
    for other in (False, True)
}
_OF_SEVERAL: Final = {
    (of_members, dialect): tuple(
        _query_of_several(_MEMBERS if of_members else _OWNERS, queues, first) for first in (">=", ">")
    )
    for of_members in (False, True)
    for dialect, queues in (
        ("sqlite", "json_each(:queues) AS q"),
        ("postgresql", "unnest(CAST(:queues AS bigint[])) AS q(value)"),
    )
}


def ask_window(connection: Connection, pool: Pool, after: str) -> Callable[[], Sequence[Any]]:
    """Ask for the first lanes of the main queue of a pool (queries.py), for `windows_of_queues`."""
    queue = queues_of(pool).main
    first, following = _QUERIES[False, bool(queue)]
    values: dict[str, Any] = {"provider": provider_name(pool), "most": MAX_LANES, "after": after}
    if queue:
        values["queue"] = queue
    return (following if after else first).ask(connection, values)


def windows(
    connection: Connection,
    provider: str,
    after: str = "",
    *,
    project: str = "",
    queue: int = 0,
    most: int = 0,
    asked: Callable[[], Sequence[Any]] | None = None,
) -> Iterator[Sequence[Any]]:
    """Yield lanes that have jobs to claim at a provider, several at once, each once.

    Args:
        connection: a connection.
        provider: the name of the provider.
        after: the owner or the member after which to begin; then those before it follow.
        project: a project as the owner of its jobs, whose members are the lanes; empty for the lanes of owners.
        queue: the queue of the jobs; default: the one for workers without required versions.
        most: the maximum number of lanes at once; 0 means `MAX_LANES`.
        asked: returns the first lanes, if they were asked for by `ask_window` with the same arguments.
    """
    first, following = _QUERIES[bool(project), bool(queue)]
    values: dict[str, Any] = {"provider": provider, "most": most or MAX_LANES}
    if queue:
        values["queue"] = queue
    if project:
        values |= {"owner": project, "project": project_of(project)}
    seen: set[str] = set()
    for query, start in ((following, after), (first, "")) if after else ((first, ""),):
        rows = query(connection, {**values, "after": start}) if asked is None else asked()
        asked = None
        while fresh := [row for row in rows if _name_of(row) not in seen]:
            yield fresh
            seen.update(map(_name_of, fresh))
            if len(rows) < (most or MAX_LANES):
                break
            rows = following(connection, {**values, "after": _last_name(rows)})


def windows_of_queues(
    connection: Connection,
    pool: Pool,
    after: str,
    queues: Collection[int],
    *,
    project: str = "",
    most: int = 0,
    asked: Callable[[], Sequence[Any]] | None = None,
) -> Iterator[Window]:
    """Yield the lanes that have jobs to claim in any of several queues, several at once, each once.

    `queues` are those that have jobs. The other arguments are those of `windows`.
    """
    provider, main = provider_name(pool), queues_of(pool).main
    most = most or MAX_LANES
    if set(queues) == {main}:
        for rows in windows(connection, provider, after, project=project, queue=main, most=most, asked=asked):
            yield Window(rows, _last_name(rows) if len(rows) == most else "")
        return
    if not queues:
        return
    # Few lanes of each of many queues: most queues are those of one caller.
    each = min(most, max(_LEAST_LANES, 4 * most // len(queues)))
    values: dict[str, Any] = {"provider": provider, "main": main, "most": most, "each": each}
    values["queues"] = json.dumps(list(queues)) if connection.dialect.name == "sqlite" else list(queues)
    if project:
        values |= {"owner": project, "project": project_of(project)}
    first, following = _OF_SEVERAL[bool(project), connection.dialect.name]
    seen: set[str] = set()
    for query, start in ((following, after), (first, "")) if after else ((first, ""),):
        rows, last = _complete(connection.execute(query, {**values, "after": start}).all(), main, most, each)
        while fresh := [row for row in rows if _name_of(row) not in seen]:
            seen.update(map(_name_of, fresh))
            yield Window(fresh, last)
            if not last:
                break
            rows, last = _complete(connection.execute(following, {**values, "after": last}).all(), main, most, each)


def _complete(rows: Sequence[Any], main: int, most: int, each: int) -> tuple[list[Any], str]:
    """Return the first lanes of several queues up to the name from which on some may be missing, and this name.

    Args:
        rows: a row for each lane of each queue, in the order of names.
        main: the queue of which `most` lanes were read, of the others `each`.
        most: the maximum number of lanes.
        each: the maximum number of lanes of a queue.
    """
    lanes: dict[str, Any] = {}
    last = ""
    for row in rows:
        name = _name_of(row)
        if last and name != last:
            return list(lanes.values()), last
        lanes[name] = row
        if row.place == (most if row.queue == main else each) or len(lanes) == most:
            last = name
    return list(lanes.values()), last


def _name_of(row: Any) -> str:
    """Return the name of the owner or of the member whose lane a row is."""
    return str(row.member or row.owner)


def _last_name(rows: Sequence[Any]) -> str:
    """Return the last name in the order of the database, which may differ from that of Python."""
    return _name_of(max(rows, key=lambda row: int(row.place)))
