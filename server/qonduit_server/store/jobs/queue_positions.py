# SPDX-License-Identifier: Apache-2.0
"""The positions of queued jobs: how many jobs of the same provider a server claims before them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sqlalchemy import bindparam, func, select

from qonduit_server.store.database import Database
from qonduit_server.store.schema import IS_QUEUED, jobs

#: Positions are not counted beyond this one.
MAX_POSITION: Final = 10_000
_PROVIDER: Final = select(jobs.c.provider_id).where(jobs.c.id == bindparam("id")).scalar_subquery()
_BEFORE: Final = select(func.count()).select_from(
    select(jobs.c.id)
    .where(IS_QUEUED, jobs.c.provider_id == _PROVIDER, jobs.c.id < bindparam("id"))
    .limit(MAX_POSITION)
    .subquery()
)
_PROVIDERS: Final = select(jobs.c.provider_id).distinct().where(IS_QUEUED)
_OF_PROVIDER: Final = (
    select(jobs.c.id)
    .where(IS_QUEUED, jobs.c.provider_id == bindparam("provider"))
    .order_by(jobs.c.id)
    .limit(MAX_POSITION)
)


def of_job(db: Database, job_id: int) -> int:
    """Return the position of a queued job, from 0."""
    with db.read() as connection:
        return int(connection.execute(_BEFORE, {"id": job_id}).scalar_one())


def of_jobs(db: Database, job_ids: Collection[int]) -> dict[int, int]:
    """Return the positions of those of many jobs that are queued and among the first `MAX_POSITION`."""
    wanted = set(job_ids)
    found: dict[int, int] = {}
    with db.read() as connection:
        for provider in connection.execute(_PROVIDERS).scalars().all():
            rows = connection.execute(_OF_PROVIDER, {"provider": provider}).scalars()
            found.update((job_id, place) for place, job_id in enumerate(rows) if job_id in wanted)
    return found
