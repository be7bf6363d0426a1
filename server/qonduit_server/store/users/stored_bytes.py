# SPDX-License-Identifier: Apache-2.0
"""The bytes of stored objects and their owners, to subtract them when the objects are deleted."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection, func, select

from qonduit_server.store.bulk_statements import among
from qonduit_server.store.schema import (
    buffers,
    deployments,
    job_options,
    jobs,
    options,
    programs,
    results,
)
from qonduit_server.store.submission_tables import submission_payloads
from qonduit_server.store.usage_tables import owner_totals

#: The bytes of results, buffers, large options and what vendors received and sent, each with the id of its job.
_OF_JOBS: Final = (
    select(results.c.job_id, results.c.size.label("size")),
    select(results.c.job_id, func.length(buffers.c.data).label("size")).join(
        buffers, buffers.c.result_id == results.c.id
    ),
    select(job_options.c.job_id, func.length(options.c.data).label("size")).join(
        options, options.c.sha256 == job_options.c.sha256
    ),
    select(submission_payloads.c.job_id, func.coalesce(func.length(submission_payloads.c.data), 0).label("size")),
)
_OF_SOME: Final = sa.union_all(
    *(query.where(among(query.selected_columns.job_id, "ids")) for query in _OF_JOBS)
).subquery("stored")
_JOBS: Final = (
    select(jobs.c.caller, func.sum(_OF_SOME.c.size))
    .join(_OF_SOME, _OF_SOME.c.job_id == jobs.c.id)
    .group_by(jobs.c.caller)
)
_DEPLOYMENTS: Final = (
    select(deployments.c.id, deployments.c.caller, func.sum(func.length(programs.c.program)).label("size"))
    .join_from(deployments, programs)
    .where(among(deployments.c.id, "ids"))
    .group_by(deployments.c.id, deployments.c.caller)
)
_OF_ALL: Final = sa.union_all(
    select(deployments.c.caller.label("owner"), func.length(programs.c.program).label("size")).join_from(
        deployments, programs
    ),
    *(
        select(jobs.c.caller, found.c.size).join(found, found.c.job_id == jobs.c.id)
        for found in (query.subquery() for query in _OF_JOBS)
    ),
    select(owner_totals.c.owner, -owner_totals.c.stored_bytes),
).subquery("all_stored")
#: The owners whose total differs from the bytes that they store, with the difference. It reads the rows of all jobs.
DIFFERENCES: Final = (
    select(_OF_ALL.c.owner, func.sum(_OF_ALL.c.size).label("missing"))
    .group_by(_OF_ALL.c.owner)
    .having(func.sum(_OF_ALL.c.size) != 0)
    .order_by(_OF_ALL.c.owner)
)


def of_jobs(connection: Connection, ids: Collection[int]) -> dict[str, int]:
    """Return the bytes of the results, buffers, large options and payloads of vendors of jobs, by owner.

    An option that several jobs share counts for each of them.
    """
    return {owner: int(size) for owner, size in connection.execute(_JOBS, {"ids": list(ids)})}


def of_deployments(connection: Connection, ids: Collection[int]) -> dict[int, tuple[str, int]]:
    """Return the owner and the bytes of all programs, replaced ones too, of deployments, by their ids."""
    rows = connection.execute(_DEPLOYMENTS, {"ids": list(ids)})
    return {row.id: (row.caller, int(row.size)) for row in rows}
