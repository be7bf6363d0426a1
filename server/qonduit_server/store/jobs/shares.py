# SPDX-License-Identifier: Apache-2.0
"""The shares of owners in the workers of providers, for operators: who is served next, and why others wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, bindparam, func, select, text

from qonduit.v1.system_service_pb2 import Share
from qonduit_server.store import queued_jobs
from qonduit_server.store.column_limits import checked_text
from qonduit_server.store.database import Database
from qonduit_server.store.job_pools import MAIN_QUEUES
from qonduit_server.store.jobs import fair_share
from qonduit_server.store.lane_accounts import Lane
from qonduit_server.store.paging import Cursor, Page
from qonduit_server.store.schema import IS_LEASED, IS_QUEUED, jobs, lanes, providers

#: Of one page.
MAX_PAGE: Final = 100
#: Queued jobs of an owner are counted up to this number.
_MOST_COUNTED: Final = 10_000

_PROVIDERS: Final = (
    select(providers.c.id, providers.c.name).where(providers.c.id >= bindparam("first")).order_by(providers.c.id)
)
_LANE: Final = select(lanes).where(lanes.c.provider_id == bindparam("provider"), lanes.c.owner == bindparam("owner"))


def _waiting(name: str, queue: int) -> str:
    """Return the table of the owners with jobs in a queue, found by skipping through the index."""
    following = (
        f"SELECT caller FROM jobs WHERE {IS_QUEUED} AND not_before = {queue} AND provider_id = :provider "
        "AND caller > {} ORDER BY caller LIMIT 1"
    )
    return (
        f"{name} (owner, place) AS (SELECT ({following.format(':after')}), 1 UNION ALL "
        f"SELECT ({following.format(f'{name}.owner')}), place + 1 FROM {name} "
        "WHERE owner IS NOT NULL AND place < :most)"
    )


_TABLES: Final = {f"waiting_{place}": queue for place, queue in enumerate(MAIN_QUEUES)}
# Those with queued jobs, and those with a row; in the order of the database.
_OWNERS: Final = text(
    f"WITH RECURSIVE {', '.join(_waiting(name, queue) for name, queue in _TABLES.items())} "
    + " UNION ".join(f"SELECT owner FROM {name} WHERE owner IS NOT NULL" for name in _TABLES)
    + " UNION SELECT owner FROM (SELECT owner FROM lanes "
    "WHERE provider_id = :provider AND owner > :after ORDER BY owner LIMIT :most) AS known ORDER BY 1 LIMIT :most"
)
_FLOOR: Final = select(func.max(lanes.c.virtual_start)).where(lanes.c.provider_id == bindparam("provider"))
# Ordered like the index of leased jobs, so that the database uses that index.
_RUNNING: Final = select(jobs.c.provider_id, jobs.c.caller).where(IS_LEASED).order_by(jobs.c.owner, jobs.c.state)


def list_page(db: Database, provider_id: int = 0, page_size: int = 0, page_token: str = "") -> Page[Share]:
    """Return a page of the owners that wait, run, or have used workers; by provider and owner.

    Args:
        db: the database.
        provider_id: the provider; 0 for all.
        page_size: the maximum number of shares, at most `MAX_PAGE`; 0 means 50.
        page_token: from the previous page.
    """
    cursor = Cursor(("shares", str(provider_id)), min(page_size, MAX_PAGE), page_token)
    first, after = cursor.after(int, str) or (provider_id, "")
    found: list[Share] = []
    with db.read() as connection:
        running = _running(connection)
        for provider in connection.execute(_PROVIDERS, {"first": first}).all():
            if provider_id not in (0, provider.id) or len(found) > cursor.size:
                continue
            start = after if provider.id == first else ""
            found += _of_provider(connection, provider, start, cursor.size + 1 - len(found), running)
    kept, token = cursor.cut(found, lambda share: (share.provider_id, share.owner), lambda share: share.ByteSize())
    return Page(kept, token)


def set_weight(db: Database, provider: Any, owner: str, weight: float) -> Share:
    """Set the weight of an owner at a provider of the catalogue; return its share."""
    fair_share.set_weight(db, provider.id, checked_text("owner", owner), weight)
    with db.read() as connection:
        return _shares(connection, provider, [owner], _running(connection))[0]


def _running(connection: Connection) -> Counter[Any]:
    """Return the numbers of running jobs by provider and owner."""
    return Counter(tuple(row) for row in connection.execute(_RUNNING))


def _of_provider(connection: Connection, provider: Any, after: str, most: int, running: Counter[Any]) -> list[Share]:
    values = {"provider": provider.id, "after": after, "most": most}
    owners = connection.execute(_OWNERS, values).scalars().all()
    return _shares(connection, provider, owners, running)


def _shares(connection: Connection, provider: Any, owners: Sequence[str], running: Counter[Any]) -> list[Share]:
    floor = connection.execute(_FLOOR, {"provider": provider.id}).scalar() or 0.0
    return [_share(connection, provider, owner, floor, running) for owner in owners]


def _share(connection: Connection, provider: Any, owner: str, floor: float, running: Counter[Any]) -> Share:
    key = {"provider": provider.id, "owner": owner}
    lane = connection.execute(_LANE, key).first()
    return Share(
        provider_id=provider.id,
        provider=provider.name,
        owner=owner,
        weight=lane.weight if lane else 1.0,
        lead_seconds=max(0.0, lane.virtual_time - floor) if lane else 0.0,
        mean_seconds=lane.mean_seconds if lane else None,
        queued_jobs=sum(
            queued_jobs.of_lane(connection, Lane(provider.id, owner), _MOST_COUNTED, queue) for queue in MAIN_QUEUES
        ),
        running_jobs=running[provider.id, owner],
    )
