# SPDX-License-Identifier: Apache-2.0
"""Delete jobs with their events, results, buffers and options, for DeleteJob and for retention."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import sqlalchemy as sa

from qonduit_server.store.bulk_statements import among
from qonduit_server.store.jobs import large_options
from qonduit_server.store.schema import buffers, events, jobs, results
from qonduit_server.store.writer import Transaction

_RESULTS: Final = sa.select(results.c.id).where(among(results.c.job_id, "ids"))
_DELETE_BUFFERS: Final = sa.delete(buffers).where(buffers.c.result_id.in_(_RESULTS))
_DELETES: Final = (
    sa.delete(events).where(among(events.c.job_id, "ids")),
    sa.delete(results).where(among(results.c.job_id, "ids")),
    sa.delete(jobs).where(among(jobs.c.id, "ids")),
)


def erase(transaction: Transaction, job_ids: Collection[int], *, with_buffers: bool = True) -> None:
    """Delete jobs with their events, results, buffers and options, and notify their watchers.

    Args:
        job_ids: ended jobs, locked by this transaction.
        with_buffers: False leaves the buffers, unreachable, to be deleted in small transactions.
    """
    if not job_ids:
        return
    for statement in (_DELETE_BUFFERS, *_DELETES) if with_buffers else _DELETES:
        transaction.connection.execute(statement, {"ids": list(job_ids)})
    large_options.erase(transaction.connection, job_ids)
    for job_id in job_ids:
        transaction.notify_deleted(job_id)
