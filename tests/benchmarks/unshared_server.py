# SPDX-License-Identifier: Apache-2.0
"""`qonduit serve` whose jobs start in the order of submission, as the reference of the cost of fair share."""

from __future__ import annotations

import inspect
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import bindparam, select

from qonduit_server.cli import main
from qonduit_server.store.job_pools import Pool, provider_name, queues_of
from qonduit_server.store.jobs import queue
from qonduit_server.store.jobs.claim_selection import Claim, Claimed, claim_jobs
from qonduit_server.store.jobs.unit_of_work import SELECT_ENTRIES, UnitOfWork
from qonduit_server.store.queries import Query
from qonduit_server.store.schema import IS_QUEUED, jobs, providers

_OLDEST: Final = Query(
    SELECT_ENTRIES.where(
        *(IS_QUEUED, jobs.c.not_before == bindparam("queue")),
        jobs.c.provider_id == select(providers.c.id).where(providers.c.name == bindparam("provider")).scalar_subquery(),
    )
    .order_by(jobs.c.id)
    .limit(bindparam("count"))
)
_NAMES: Final = list(inspect.signature(claim_jobs).parameters)
#: The arguments of `claim_jobs` that matter here, whatever others it takes.
_USED: Final = itemgetter(*(_NAMES.index(name) for name in ("unit", "wanted", "pool", "found")))


def claim_oldest(*arguments: Any, **_: Any) -> None:
    """Claim the oldest jobs of a pool in place of `claim_jobs`, and charge no caller."""
    unit: UnitOfWork
    wanted: Claim
    pool: Pool
    found: Claimed
    unit, wanted, pool, found = _USED(arguments)
    values = {"provider": provider_name(pool), "queue": queues_of(pool).main, "count": wanted.capacity[pool]}
    for entry in unit.add_rows(_OLDEST(unit.transaction.connection, values)):
        unit.start(entry, wanted.owner, unit.transaction.now + wanted.lease)
        found.jobs.append(entry)
    unit.flush()


if __name__ == "__main__":
    queue.claim_jobs = claim_oldest  # type: ignore[attr-defined]
    main()
