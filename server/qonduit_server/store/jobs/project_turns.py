# SPDX-License-Identifier: Apache-2.0
"""The turns of users in the queue of a project, so that many jobs of one member do not delay the first of another.

The jobs of a project with the same priority are claimed by turn. A new job gets the turn after the last queued job of
its user, but none before the first job of the queue: users with queued jobs alternate, and a user without any has
neither credit nor debt of the time before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection, bindparam, func, select

from qonduit_server.store.schema import IN_PROJECT_QUEUE, IS_QUEUED, jobs


class UserQueue(NamedTuple):
    """The queued jobs of a user in a project, with one priority and provider. `owner` is that of the project's jobs."""

    provider_id: int
    owner: str
    user: str
    rank: int


_IS_OF_QUEUE: Final = (
    jobs.c.provider_id == bindparam("provider_id"),
    jobs.c.caller == bindparam("owner"),
    jobs.c.rank == bindparam("rank"),
)
_LAST: Final = select(func.max(jobs.c.turn)).where(
    IN_PROJECT_QUEUE, *_IS_OF_QUEUE, jobs.c.principal == bindparam("user")
)
_FIRST: Final = (
    select(jobs.c.turn)
    .where(IS_QUEUED, *_IS_OF_QUEUE, jobs.c.not_before == 0)
    .order_by(jobs.c.turn, jobs.c.id)
    .limit(1)
)
_SELECT: Final = select(_LAST.scalar_subquery().label("last"), _FIRST.scalar_subquery().label("first"))


def next_turns(connection: Connection, queues: Sequence[UserQueue | None]) -> list[int]:
    """Return the turns of new jobs, in the order of their creation; None stands for a job outside of projects.

    Servers that create jobs at the same time may return the same turn, which the ids of the jobs then order.
    """
    following: dict[UserQueue, int] = {}
    turns: list[int] = []
    for queue in queues:
        if queue is None:
            turns.append(0)
            continue
        if queue not in following:
            row = connection.execute(_SELECT, queue._asdict()).one()
            following[queue] = max(0 if row.last is None else row.last + 1, row.first or 0)
        turns.append(following[queue])
        following[queue] += 1
    return turns
