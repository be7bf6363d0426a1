# SPDX-License-Identifier: Apache-2.0
"""Delete all data of one owner: jobs with options, events and results, deployments with programs, and the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import sqlalchemy as sa
from sqlalchemy import bindparam, func, select

from qonduit_server.lifecycle import CANCELLING, QUEUED, RUNNING
from qonduit_server.store.admin.adoption import owned
from qonduit_server.store.admin.row_pages import rows_of
from qonduit_server.store.audit_tables import audit_entries
from qonduit_server.store.bulk_statements import among
from qonduit_server.store.database import Database
from qonduit_server.store.jobs import bulk_changes, large_options
from qonduit_server.store.program_tables import program_versions
from qonduit_server.store.project_tables import project_members
from qonduit_server.store.schema import credentials, deployments, jobs, lanes, member_lanes
from qonduit_server.store.usage_tables import owner_totals, quotas, usage, usage_costs
from qonduit_server.store.writer import Operation, Transaction

#: The number of rows that are read, or deleted, at once.
_PAGE: Final = 100
#: A deletion of jobs is repeated until none is left; a call ends after this time.
_CALL_SECONDS: Final = 3600.0

_DEPLOYMENTS: Final = (
    select(deployments)
    .where(deployments.c.caller == bindparam("owner"), deployments.c.id > bindparam("after"))
    .order_by(deployments.c.id)
    .limit(_PAGE)
)
_ACTIVE: Final = select(func.count()).where(
    jobs.c.caller == bindparam("owner"), jobs.c.state.in_([int(state) for state in (QUEUED, RUNNING, CANCELLING)])
)
_DELETE_DEPLOYMENTS: Final = sa.delete(deployments).where(
    among(deployments.c.id, "ids"), ~select(jobs.c.id).where(jobs.c.deployment_id == deployments.c.id).exists()
)
#: The tables of jobs and deployments.
_OF_OBJECTS: Final = (
    *("jobs", "job_labels", "job_options", "events", "results", "buffers", "options"),
    *("submissions", "submission_payloads", "left_groups", "deployments", "deployment_labels", "programs"),
)
#: What belongs to an owner itself, not to one of its objects.
_OF_OWNER: Final = (
    *(table.c.owner for table in (lanes, quotas, owner_totals, usage, usage_costs, credentials, program_versions)),
    *(project_members.c.member, member_lanes.c.member),
)
_DELETE_OF_OWNER: Final = tuple(sa.delete(column.table).where(column == bindparam("owner")) for column in _OF_OWNER)


def delete(db: Database, owner: str) -> int:
    """Delete the data of an owner, and cancel its jobs before; return the number of jobs that still run.

    Jobs that run cannot be deleted: they end once their server has cancelled them. A repeated call deletes the rest.
    Entries of the audit log stay until their retention.
    """
    _until_done(lambda token: bulk_changes.cancel_matching(db, owner, "*", token, seconds=_CALL_SECONDS))
    _until_done(lambda token: bulk_changes.delete_matching(db, owner, "*", token, seconds=_CALL_SECONDS))
    with db.read() as connection:
        active = int(connection.execute(_ACTIVE, {"owner": owner}).scalar_one())
    for row in rows_of(db, _DEPLOYMENTS, "id", _PAGE, owner=owner):
        db.write(_DELETE_DEPLOYMENT, row.id)
    while hashes := large_options.unused(db):
        if not db.write(large_options.ERASE_UNUSED, hashes):
            break
    if not active:
        db.write(_FORGET, owner)
    return active


def remains(db: Database, owner: str) -> dict[str, int]:
    """Return the number of jobs, deployments and entries of the audit log of an owner."""
    with db.read() as connection:
        count = select(func.count()).where(audit_entries.c.principal == owner)
        return {**owned(db, owner), "audit_entries": int(connection.execute(count).scalar_one())}


def active_jobs(db: Database, owner: str) -> int:
    """Return the number of jobs of an owner that have not ended."""
    with db.read() as connection:
        return int(connection.execute(_ACTIVE, {"owner": owner}).scalar_one())


def rewrite(db: Database) -> None:
    """Rewrite the database without deleted rows, which otherwise stay in its files until they are overwritten.

    A server cannot write meanwhile.
    """
    with db.read() as connection:
        if db.kind == "sqlite":
            connection.exec_driver_sql("PRAGMA busy_timeout=60000")
            connection.exec_driver_sql("VACUUM")
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        else:
            connection.exec_driver_sql("SET statement_timeout = 0")
            connection.exec_driver_sql("SET lock_timeout = '60s'")
            for table in (*_OF_OBJECTS, *(column.table.name for column in _OF_OWNER)):
                connection.exec_driver_sql(f"VACUUM (FULL, ANALYZE) {table}")
        connection.detach()


def _until_done(call: Callable[[str], bulk_changes.BulkChange]) -> None:
    token = ""
    while True:
        token = call(token).next_page_token
        if not token:
            return


def _delete_deployments(transaction: Transaction, ids: Sequence[int]) -> list[int]:
    return [transaction.connection.execute(_DELETE_DEPLOYMENTS, {"ids": [number]}).rowcount for number in ids]


def _forget(transaction: Transaction, owners: Sequence[str]) -> list[int]:
    return [
        sum(transaction.connection.execute(each, {"owner": owner}).rowcount for each in _DELETE_OF_OWNER)
        for owner in owners
    ]


_DELETE_DEPLOYMENT: Final[Operation[int, int]] = Operation(
    _delete_deployments, objects=lambda number, deleted: (f"deployments/{number}",) if deleted else ()
)
_FORGET: Final[Operation[str, int]] = Operation(_forget, objects=lambda *_: ())
