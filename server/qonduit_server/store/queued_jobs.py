# SPDX-License-Identifier: Apache-2.0
"""The numbers of queued jobs, counted up to a limit, so that a count takes bounded time."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import Connection, bindparam, func, select, text

from qonduit_server.store.lane_accounts import Lane
from qonduit_server.store.queries import Query
from qonduit_server.store.schema import IS_QUEUED, jobs

_COUNT: Final = f"SELECT count(*) FROM (SELECT 1 FROM jobs WHERE {IS_QUEUED} AND caller = {{}} {{}} LIMIT :most) AS q"
# On the index of a caller's jobs by state.
_OF_OWNER: Final = text(_COUNT.format(":owner", ""))
# On the indexes of claims.
_CLAIMABLE: Final = "AND provider_id = :provider AND not_before = :queue"
_OF_LANE: Final = text(_COUNT.format(":owner", _CLAIMABLE))
_OF_MEMBER: Final = text(_COUNT.format(":owner", f"{_CLAIMABLE} AND principal IS NOT NULL AND principal = :member"))
_OF_OWNERS: Final = f"SELECT o.value, ({_COUNT.format('o.value', _CLAIMABLE)}) FROM {{}}"
_OF_OWNERS_SQLITE: Final = text(_OF_OWNERS.format("json_each(:owners) AS o"))
_OF_OWNERS_POSTGRESQL: Final = text(_OF_OWNERS.format("unnest(CAST(:owners AS text[])) AS o(value)"))

_OF_ALL: Final = Query(
    select(func.count()).select_from(
        # Ordered like the index of queued jobs, so that the database uses that index.
        select(jobs.c.id)
        .where(IS_QUEUED)
        .order_by(jobs.c.provider_id, jobs.c.not_before, jobs.c.caller)
        .limit(bindparam("most"))
        .subquery()
    )
)


def ask_of_all(connection: Connection, most: int) -> Callable[[], int]:
    """Ask for the number of all queued jobs (queries.py), at most `most`."""
    answer = _OF_ALL.ask(connection, {"most": most})
    return lambda: int(answer()[0][0])


def of_owner(connection: Connection, owner: str, most: int) -> int:
    """Return the number of an owner's queued jobs, at most `most`."""
    return int(connection.execute(_OF_OWNER, {"owner": owner, "most": most}).scalar_one())


def of_lane(connection: Connection, lane: Lane, most: int, queue: int = 0) -> int:
    """Return the number of jobs of a lane in a queue (job_pools.py), at most `most`."""
    values: dict[str, Any] = {"provider": lane.provider_id, "owner": lane.owner, "most": most, "queue": queue}
    if lane.member:
        values["member"] = lane.member
    return int(connection.execute(_OF_MEMBER if lane.member else _OF_LANE, values).scalar_one())


def of_lanes(connection: Connection, lanes: Sequence[Lane], most: int, queue: int = 0) -> dict[Lane, int]:
    """Return the numbers of jobs of a provider's lanes in a queue, each at most `most`.

    Those of owners are counted in one statement, those of members one by one.
    """
    found = {lane: of_lane(connection, lane, most, queue) for lane in lanes if lane.member}
    of_owners = {lane.owner: lane for lane in lanes if not lane.member}
    if of_owners:
        values = {"provider": lanes[0].provider_id, "most": most, "queue": queue}
        if connection.dialect.name == "sqlite":
            rows = connection.execute(_OF_OWNERS_SQLITE, {**values, "owners": json.dumps(list(of_owners))})
        else:
            rows = connection.execute(_OF_OWNERS_POSTGRESQL, {**values, "owners": list(of_owners)})
        found |= {of_owners[owner]: int(count) for owner, count in rows}
    return found
