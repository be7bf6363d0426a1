# SPDX-License-Identifier: Apache-2.0
"""The numbers of queued jobs of owners, counted up to a limit, so that a count takes bounded time."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, text

from qonduit_server.store.schema import IS_QUEUED

_COUNT: Final = f"SELECT count(*) FROM (SELECT 1 FROM jobs WHERE {IS_QUEUED} AND caller = :owner {{}} LIMIT :most) AS q"
# On the index of a caller's jobs by state.
_OF_OWNER: Final = text(_COUNT.format(""))
# On the index of claims.
_OF_LANE: Final = text(_COUNT.format("AND provider_id = :provider AND not_before = 0"))


def of_owner(connection: Connection, owner: str, most: int) -> int:
    """Return the number of an owner's queued jobs, at most `most`."""
    return int(connection.execute(_OF_OWNER, {"owner": owner, "most": most}).scalar_one())


def of_lane(connection: Connection, provider_id: int, owner: str, most: int) -> int:
    """Return the number of an owner's jobs that a provider may claim, at most `most`."""
    values = {"provider": provider_id, "owner": owner, "most": most}
    return int(connection.execute(_OF_LANE, values).scalar_one())
