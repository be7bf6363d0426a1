# SPDX-License-Identifier: Apache-2.0
"""The jobs that server programs submit: their number, and their end with the program.

A child is cancelled once its program has ended, in a transaction that follows the end: if the server is lost in
between, the next check of any server cancels it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from sqlalchemy import bindparam, func, or_, select, text

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.v1.job_pb2 import JobType
from qonduit_server.errors import CallError, FailedPrecondition, ResourceExhausted
from qonduit_server.lifecycle import QUEUED, RUNNING, TERMINAL
from qonduit_server.store.bulk_statements import among
from qonduit_server.store.database import Database
from qonduit_server.store.jobs.cancellation import cancel_loaded
from qonduit_server.store.jobs.unit_of_work import JobChange, UnitOfWork
from qonduit_server.store.queries import Query
from qonduit_server.store.schema import devices, jobs
from qonduit_server.store.writer import Operation, Transaction

#: The maximum number of children that one transaction cancels.
_MOST: Final = 200

_PARENT: Final = jobs.alias("parent")
_CHILD: Final = jobs.alias("child")
_PARENTS: Final = Query(
    select(
        jobs.c.id,
        jobs.c.state,
        select(func.count()).where(_CHILD.c.parent_job_id == jobs.c.id).scalar_subquery().label("children"),
    ).where(among(jobs.c.id, "ids"))
)
# The first condition makes databases use the index of children that have not ended.
_ORPHANS: Final = (
    select(jobs.c.id)
    .join_from(jobs, _PARENT, _PARENT.c.id == jobs.c.parent_job_id, isouter=True)
    .where(
        text("jobs.state IN (1, 2, 3) AND jobs.parent_job_id IS NOT NULL"),
        jobs.c.state.in_([int(QUEUED), int(RUNNING)]),
        or_(_PARENT.c.id.is_(None), _PARENT.c.state.in_([int(state) for state in TERMINAL])),
    )
    .limit(_MOST)
)
_ACTIVE: Final = select(jobs.c.id).where(
    text("state IN (1, 2, 3) AND parent_job_id IS NOT NULL"), jobs.c.parent_job_id == bindparam("parent")
)
_HAS_CHILDREN: Final = select(jobs.c.id).where(jobs.c.parent_job_id == bindparam("parent")).limit(1)
_IS_SIMULATOR: Final = select(devices.c.is_simulator).where(devices.c.id == bindparam("device"))


class Admission:
    """Admits the children that one transaction creates.

    Args:
        transaction: the transaction.
        specs: those of the new jobs.
    """

    def __init__(self, transaction: Transaction, specs: Iterable[JobSpec]) -> None:
        parents = {spec.parent_job_id for spec in specs if spec.parent_job_id}
        self._running: dict[int, int] = {}
        if parents:
            rows = _PARENTS(transaction.connection, {"ids": list(parents)})
            self._running = {row.id: row.children for row in rows if row.state == RUNNING}

    def admit(self, parent: int, most: int) -> CallError | None:
        """Count a child; return why it is refused, if it is.

        Args:
            parent: the job of the server program.
            most: the maximum number of its children; 0 means no limit.
        """
        count = self._running.get(parent)
        if count is None:
            return FailedPrecondition(
                f"job {parent} does not run any more: a server program submits jobs only while it runs",
                subject=f"jobs/{parent}",
                kind="PARENT",
            )
        if most and count >= most:
            return ResourceExhausted(
                f"the server program has submitted {count} jobs, and a program may submit at most {most} "
                "(max_program_jobs): submit several circuits or parameter values in one job",
                subject="max_program_jobs",
                retry_after=None,
            )
        self._running[parent] = count + 1
        return None


def is_repeatable(unit: UnitOfWork, entry: JobChange) -> bool:
    """Return whether a job may run again after its process was lost.

    A server program runs again from its first line, so that it might submit other jobs than before. On a device that
    is no simulator, these could be charged twice.
    """
    job = entry.job
    if job.type != JobType.JOB_TYPE_IBM_RUNNER:
        return True
    connection = unit.transaction.connection
    if connection.execute(_IS_SIMULATOR, {"device": job.executed_on_id}).scalar():
        return True
    return connection.execute(_HAS_CHILDREN, {"parent": job.id}).first() is None


def active(db: Database, parent: int) -> list[int]:
    """Return the children of a program that have not ended. Raises Unavailable."""
    with db.read() as connection:
        return list(connection.execute(_ACTIVE, {"parent": parent}).scalars())


def cancel(db: Database, job_ids: Sequence[int]) -> None:
    """Cancel jobs. Raises Unavailable."""
    for start in range(0, len(job_ids), _MOST):
        db.write(_CANCEL, job_ids[start : start + _MOST])


def end_orphans(db: Database) -> None:
    """Cancel the children of programs that have ended or were deleted, on all servers. Raises Unavailable."""
    with db.read() as connection:
        ids = list(connection.execute(_ORPHANS).scalars())
    while ids:
        db.write(_CANCEL, ids)
        if len(ids) < _MOST:
            return
        with db.read() as connection:
            ids = list(connection.execute(_ORPHANS).scalars())


def _cancel(transaction: Transaction, calls: Sequence[Sequence[int]]) -> list[None]:
    unit = UnitOfWork(transaction)
    unit.load({job_id for ids in calls for job_id in ids})
    for entry in unit.entries.values():
        cancel_loaded(unit, entry)
    unit.flush()
    return [None] * len(calls)


_CANCEL: Final = Operation(_cancel, objects=lambda ids, _: [f"jobs/{job_id}" for job_id in ids])
