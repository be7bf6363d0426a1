# SPDX-License-Identifier: Apache-2.0
"""The numbers of queued jobs, counted up to a limit, so that a count takes bounded time."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Connection, bindparam, func, select, text

from qonduit_server.store.lane_accounts import Lane
from qonduit_server.store.schema import IS_QUEUED, jobs
from qonduit_server.store.sqlite_driver import Query

_COUNT: Final = f"SELECT count(*) FROM (SELECT 1 FROM jobs WHERE {IS_QUEUED} AND caller = :owner {{}} LIMIT :most) AS q"
# On the index of a caller's jobs by state.
_OF_OWNER: Final = text(_COUNT.format(""))
# On the indexes of claims.
_OF_LANE: Final = text(_COUNT.format("AND provider_id = :provider AND not_before = 0"))
_OF_MEMBER: Final = text(
    _COUNT.format("AND provider_id = :provider AND not_before = 0 AND principal IS NOT NULL AND principal = :member")
)

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


def of_all(connection: Connection, most: int) -> int:
    """Return the number of all queued jobs, at most `most`."""
    ((count,),) = _OF_ALL(connection, {"most": most})
    return int(count)


def of_owner(connection: Connection, owner: str, most: int) -> int:
    """Return the number of an owner's queued jobs, at most `most`."""
    return int(connection.execute(_OF_OWNER, {"owner": owner, "most": most}).scalar_one())


def of_lane(connection: Connection, lane: Lane, most: int) -> int:
    """Return the number of jobs of a lane that its provider may claim, at most `most`."""
    values: dict[str, Any] = {"provider": lane.provider_id, "owner": lane.owner, "most": most}
    if lane.member:
        values["member"] = lane.member
    return int(connection.execute(_OF_MEMBER if lane.member else _OF_LANE, values).scalar_one())
