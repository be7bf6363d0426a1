# SPDX-License-Identifier: Apache-2.0
"""Find and delete inline deployments whose last job was deleted, and replaced programs that no job refers to."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection, bindparam, exists, select

from qonduit.v1.job_pb2 import Job
from qonduit_server.store.bulk_statements import among
from qonduit_server.store.database import Database
from qonduit_server.store.jobs.deletion import MAX_BYTES, MAX_DELETED
from qonduit_server.store.schema import deployments, jobs, programs
from qonduit_server.store.users import stored_bytes
from qonduit_server.store.writer import Operation, Transaction

#: Number of rows per read.
_PAGE: Final = 500
#: A deployment with more jobs keeps its replaced programs: finding the unused ones would take too long.
_MAX_JOBS_CHECKED: Final = 1000
_DEPLOYMENTS: Final = (
    select(deployments.c.id, deployments.c.deployed_at, deployments.c.is_inline, deployments.c.size)
    .where(deployments.c.id > bindparam("after"))
    .order_by(deployments.c.id)
    .limit(_PAGE)
)
_UNUSED: Final = (deployments.c.is_inline, ~exists().where(jobs.c.deployment_id == deployments.c.id))
_SELECT_UNUSED: Final = select(deployments.c.id).where(among(deployments.c.id, "ids"), *_UNUSED)
_LOCK_DEPLOYMENTS: Final = (
    select(deployments.c.id).where(among(deployments.c.id, "ids")).with_for_update(skip_locked=True)
)
_DELETE_UNUSED: Final = (
    sa.delete(deployments).where(among(deployments.c.id, "ids"), *_UNUSED).returning(deployments.c.id)
)
_REPLACED: Final = (
    select(programs.c.deployment_id)
    .distinct()
    .where(among(programs.c.deployment_id, "ids"), programs.c.is_current.is_(False))
)
_RUNS: Final = (
    select(jobs.c.program_runs).where(jobs.c.deployment_id == bindparam("deployment")).limit(_MAX_JOBS_CHECKED + 1)
)
_SELECT_REPLACED: Final = select(programs.c.id).where(
    programs.c.deployment_id == bindparam("deployment"), programs.c.is_current.is_(False)
)
_DELETE_PROGRAMS: Final = sa.delete(programs).where(among(programs.c.id, "ids"))


class Unused(NamedTuple):
    """Inline deployments that had no job when they were read. Those that have one are not deleted."""

    ids: Sequence[int]


class Replaced(NamedTuple):
    """A deployment with replaced programs.

    Attributes:
        deployment_id: its id.
        only: the programs that may be deleted if no job refers to them; None for all replaced ones.
    """

    deployment_id: int
    only: Collection[int] | None = None


def of_before(db: Database, before: int) -> Iterator[Unused | Replaced]:
    """Yield the deployments of before a time whose programs may be deleted, in batches for one transaction."""
    after = 0
    while True:
        with db.read() as connection:
            rows = connection.execute(_DEPLOYMENTS, {"after": after}).all()
            old = [row for row in rows if row.deployed_at < before]
            inline = [row.id for row in old if row.is_inline]
            unused = set(connection.execute(_SELECT_UNUSED, {"ids": inline}).scalars()) if inline else set()
            kept = [row.id for row in old if not row.is_inline]
            replaced = list(connection.execute(_REPLACED, {"ids": kept}).scalars()) if kept else []
        chosen: list[int] = []
        size = 0
        for row in old:
            if row.id in unused:
                chosen.append(row.id)
                size += row.size
                if len(chosen) >= MAX_DELETED or size >= MAX_BYTES:
                    yield Unused(chosen)
                    chosen, size = [], 0
        if chosen:
            yield Unused(chosen)
        for deployment_id in replaced:
            yield Replaced(deployment_id)
        # As with jobs, but only inline deployments count: an update makes a deployment younger than its id.
        if len(rows) < _PAGE or (not old and any(row.is_inline for row in rows)):
            return
        after = rows[-1].id


def _erase_unused(transaction: Transaction, calls: Sequence[Unused]) -> list[int]:
    answers = []
    for (ids,) in calls:
        # Locked first, then checked in a separate statement, which sees jobs created before the lock was acquired.
        locked = list(transaction.connection.execute(_LOCK_DEPLOYMENTS, {"ids": list(ids)}).scalars())
        stored = stored_bytes.of_deployments(transaction.connection, locked)
        deleted = transaction.connection.execute(_DELETE_UNUSED, {"ids": locked}).scalars().all()
        for deployment_id in deleted:
            if deployment_id in stored:
                owner, size = stored[deployment_id]
                transaction.usage.stored(owner, -size)
        answers.append(len(deleted))
    return answers


def unused_programs(connection: Connection, deployment_id: int) -> set[int]:
    """Return the replaced programs of a deployment to which no job refers; none if it has too many jobs."""
    found = connection.execute(_RUNS, {"deployment": deployment_id}).scalars().all()
    if len(found) > _MAX_JOBS_CHECKED:
        return set()
    used = {run.program_id for one in found for run in Job.FromString(one).program_runs}
    return set(connection.execute(_SELECT_REPLACED, {"deployment": deployment_id}).scalars()) - used


def _erase_replaced(transaction: Transaction, calls: Sequence[Replaced]) -> list[int]:
    connection = transaction.connection
    answers = []
    for deployment_id, only in calls:
        unused: set[int] = set()
        if connection.execute(_LOCK_DEPLOYMENTS, {"ids": [deployment_id]}).first() is not None:
            unused = unused_programs(connection, deployment_id)
            if only is not None:
                unused &= set(only)
        if unused:
            owner, before = stored_bytes.of_deployments(connection, [deployment_id])[deployment_id]
            connection.execute(_DELETE_PROGRAMS, {"ids": list(unused)})
            _, after = stored_bytes.of_deployments(connection, [deployment_id]).get(deployment_id, (owner, 0))
            transaction.usage.stored(owner, after - before)
        answers.append(len(unused))
    return answers


# Not durable: after a power failure, the next sweep deletes the rows again.
ERASE_UNUSED: Final[Operation[Unused, int]] = Operation(_erase_unused, durable=False)
ERASE_REPLACED: Final[Operation[Replaced, int]] = Operation(_erase_replaced, durable=False)
