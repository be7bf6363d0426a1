# SPDX-License-Identifier: Apache-2.0
"""The shares of owners in the workers of providers, and of members in those of their projects, for operators.

They show who is served next, and why others wait.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Select, TextClause, and_, bindparam, func, select, text

from qonduit.v1.system_service_pb2 import Share
from qonduit_server.store import queued_jobs
from qonduit_server.store.column_limits import checked_text
from qonduit_server.store.database import Database
from qonduit_server.store.job_pools import MAIN_QUEUES
from qonduit_server.store.jobs import fair_share
from qonduit_server.store.lane_accounts import Lane
from qonduit_server.store.ownership import is_project, project_of
from qonduit_server.store.paging import Cursor, Page
from qonduit_server.store.project_tables import project_members
from qonduit_server.store.schema import (
    IN_PROJECT_QUEUE,
    IS_LEASED,
    IS_QUEUED,
    jobs,
    lanes,
    member_lanes,
    providers,
)

#: Of one page.
MAX_PAGE: Final = 100
#: Queued jobs of an owner are counted up to this number.
_MOST_COUNTED: Final = 10_000

_PROVIDERS: Final = (
    select(providers.c.id, providers.c.name).where(providers.c.id >= bindparam("first")).order_by(providers.c.id)
)


class _Kind(NamedTuple):
    """The queries for the lanes of owners, or for those of the members of the project `owner`, of one provider.

    Attributes:
        names: the names of those that wait, or have a row, after the name `after`; in the order of the database.
        lane: the row of one.
        floor: the virtual time of all of them.
    """

    names: TextClause
    lane: Select[Any]
    floor: Select[Any]


def _names(column: str, condition: str, table: str, name: str, key: str) -> TextClause:
    """Return the query for the names of lanes: those with queued jobs are found by skipping through an index."""
    following = (
        f"SELECT {column} FROM jobs WHERE {condition} AND not_before = {{}} AND provider_id = :provider "
        f"AND {column} > {{}} ORDER BY {column} LIMIT 1"
    )
    waiting = [
        f"waiting_{place} (name, place) AS (SELECT ({following.format(queue, ':after')}), 1 UNION ALL "
        f"SELECT ({following.format(queue, f'waiting_{place}.name')}), place + 1 FROM waiting_{place} "
        "WHERE name IS NOT NULL AND place < :most)"
        for place, queue in enumerate(MAIN_QUEUES)
    ]
    return text(
        f"WITH RECURSIVE {', '.join(waiting)} "
        + " UNION ".join(f"SELECT name FROM waiting_{place} WHERE name IS NOT NULL" for place in range(len(waiting)))
        + f" UNION SELECT {name} FROM (SELECT {name} FROM {table} WHERE provider_id = :provider{key} "
        f"AND {name} > :after ORDER BY {name} LIMIT :most) AS known ORDER BY 1 LIMIT :most"
    )


_OF_PROVIDER: Final[Any] = bindparam("provider")
_OWNERS: Final = _Kind(
    _names("caller", str(IS_QUEUED), "lanes", "owner", ""),
    select(lanes).where(lanes.c.provider_id == _OF_PROVIDER, lanes.c.owner == bindparam("owner")),
    select(func.max(lanes.c.virtual_start)).where(lanes.c.provider_id == _OF_PROVIDER),
)
_IS_OF_PROJECT: Final = and_(member_lanes.c.provider_id == _OF_PROVIDER, member_lanes.c.owner == bindparam("owner"))
_MEMBERS: Final = _Kind(
    _names("principal", f"{IN_PROJECT_QUEUE} AND caller = :owner", "member_lanes", "member", " AND owner = :owner"),
    select(member_lanes).where(_IS_OF_PROJECT, member_lanes.c.member == bindparam("member")),
    select(func.max(member_lanes.c.virtual_start)).where(_IS_OF_PROJECT),
)
_WEIGHT: Final = select(project_members.c.weight).where(
    project_members.c.project == bindparam("project"), project_members.c.member == bindparam("member")
)
# Ordered like the index of leased jobs, so that the database uses that index.
_RUNNING: Final = (
    select(jobs.c.provider_id, jobs.c.caller, func.coalesce(jobs.c.principal, ""))
    .where(IS_LEASED)
    .order_by(jobs.c.owner, jobs.c.state)
)


def list_page(db: Database, provider_id: int = 0, page_size: int = 0, page_token: str = "") -> Page[Share]:
    """Return a page of the owners that wait, run, or have used workers, each project followed by its members that do.

    They are ordered by provider, owner and member.

    Args:
        db: the database.
        provider_id: the provider; 0 for all.
        page_size: the maximum number of shares, at most `MAX_PAGE`; 0 means 50.
        page_token: from the previous page.
    """
    cursor = Cursor(("shares", str(provider_id)), min(page_size, MAX_PAGE), page_token)
    first, owner, member = cursor.after(int, str, str) or (provider_id, "", "")
    found: list[Share] = []
    with db.read() as connection:
        running = _running(connection)
        for provider in connection.execute(_PROVIDERS, {"first": first}).all():
            if provider_id not in (0, provider.id) or len(found) > cursor.size:
                continue
            after = (owner, member) if provider.id == first else ("", "")
            for share in _of_provider(connection, provider, after, cursor.size + 1, running):
                found.append(share)
                if len(found) > cursor.size:
                    break
    kept, token = cursor.cut(
        found, lambda share: (share.provider_id, share.owner, share.member), lambda share: share.ByteSize()
    )
    return Page(kept, token)


def set_weight(db: Database, provider: Any, owner: str, weight: float) -> Share:
    """Set the weight of an owner at a provider of the catalogue; return its share."""
    fair_share.set_weight(db, provider.id, checked_text("owner", owner), weight)
    with db.read() as connection:
        return _of_owner(connection, provider, owner, _running(connection))


def _running(connection: Connection) -> Counter[Lane]:
    """Return the numbers of running jobs by lane, of a project also those of its members."""
    found: Counter[Lane] = Counter()
    for provider_id, owner, principal in connection.execute(_RUNNING):
        found[Lane(provider_id, owner)] += 1
        if is_project(owner):
            found[Lane(provider_id, owner, principal)] += 1
    return found


def _of_provider(
    connection: Connection, provider: Any, after: tuple[str, str], most: int, running: Counter[Lane]
) -> Iterator[Share]:
    """Yield the shares behind that of an owner and a member, at least `most` if there are that many."""
    owner, member = after
    values = {"provider": provider.id, "most": most}
    if is_project(owner):
        yield from _of_members(connection, provider, owner, member, most, running)
    for name in connection.execute(_OWNERS.names, {**values, "after": owner}).scalars().all():
        yield _of_owner(connection, provider, name, running)
        if is_project(name):
            yield from _of_members(connection, provider, name, "", most, running)


def _of_owner(connection: Connection, provider: Any, owner: str, running: Counter[Lane]) -> Share:
    values = {"provider": provider.id, "owner": owner}
    row = connection.execute(_OWNERS.lane, values).first()
    weight = row.weight if row else 1.0
    return _share(connection, provider, Lane(provider.id, owner), row, weight, _OWNERS, running)


def _of_members(
    connection: Connection, provider: Any, owner: str, after: str, most: int, running: Counter[Lane]
) -> Iterator[Share]:
    values = {"provider": provider.id, "owner": owner}
    for member in connection.execute(_MEMBERS.names, {**values, "after": after, "most": most}).scalars().all():
        row = connection.execute(_MEMBERS.lane, {**values, "member": member}).first()
        weight = connection.execute(_WEIGHT, {"project": project_of(owner), "member": member}).scalar()
        yield _share(connection, provider, Lane(provider.id, owner, member), row, weight or 1.0, _MEMBERS, running)


def _share(
    connection: Connection, provider: Any, lane: Lane, row: Any, weight: float, kind: _Kind, running: Counter[Lane]
) -> Share:
    floor = connection.execute(kind.floor, {"provider": provider.id, "owner": lane.owner}).scalar() or 0.0
    return Share(
        provider_id=provider.id,
        provider=provider.name,
        owner=lane.owner,
        member=lane.member,
        weight=weight,
        lead_seconds=max(0.0, row.virtual_time - floor) if row else 0.0,
        mean_seconds=row.mean_seconds if row else None,
        queued_jobs=sum(queued_jobs.of_lane(connection, lane, _MOST_COUNTED, queue) for queue in MAIN_QUEUES),
        running_jobs=running[lane],
    )
