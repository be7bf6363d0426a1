# SPDX-License-Identifier: Apache-2.0
"""Export and delete all data of one owner: jobs with options, events and results, and deployments with programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from google.protobuf.message import Message
from sqlalchemy import bindparam, func, select

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.v1.deployment_pb2 import Deployment, QuantumProgram
from qonduit.v1.event_pb2 import JobEvent
from qonduit.v1.result_pb2 import Result
from qonduit_server.errors import StartError
from qonduit_server.lifecycle import CANCELLING, QUEUED, RUNNING
from qonduit_server.store.admin.adoption import owned
from qonduit_server.store.admin.row_pages import rows_of
from qonduit_server.store.audit_tables import audit_entries
from qonduit_server.store.bulk_statements import among
from qonduit_server.store.database import Database
from qonduit_server.store.jobs import bulk_changes, large_options
from qonduit_server.store.jobs.job_spec import LARGE, whole_specs
from qonduit_server.store.jobs.unit_of_work import SELECT_JOBS, job_message
from qonduit_server.store.results import buffers as chunks
from qonduit_server.store.schema import (
    credentials,
    deployments,
    events,
    jobs,
    lanes,
    owner_totals,
    programs,
    project_members,
    quotas,
    results,
    usage,
)
from qonduit_server.store.timestamps import set_time
from qonduit_server.store.writer import Operation, Transaction

#: The number of rows that are read, or deleted, at once.
_PAGE: Final = 100
#: A deletion of jobs is repeated until none is left; a call ends after this time.
_CALL_SECONDS: Final = 3600.0

_JOBS: Final = (
    SELECT_JOBS.where(jobs.c.caller == bindparam("owner"), jobs.c.id > bindparam("after"))
    .order_by(jobs.c.id)
    .limit(_PAGE)
)
_EVENTS: Final = (
    select(events.c.sequence, events.c.payload)
    .where(events.c.job_id == bindparam("job"), events.c.sequence > bindparam("after"))
    .order_by(events.c.sequence)
    .limit(_PAGE)
)
_RESULTS: Final = (
    select(results.c.id, results.c.result)
    .where(results.c.job_id == bindparam("job"), results.c.id > bindparam("after"))
    .order_by(results.c.id)
    .limit(_PAGE)
)
_DEPLOYMENTS: Final = (
    select(deployments)
    .where(deployments.c.caller == bindparam("owner"), deployments.c.id > bindparam("after"))
    .order_by(deployments.c.id)
    .limit(_PAGE)
)
# With the replaced programs, which jobs ran.
_PROGRAMS: Final = select(programs.c.id, programs.c.program).where(programs.c.deployment_id == bindparam("id"))
_ACTIVE: Final = select(func.count()).where(
    jobs.c.caller == bindparam("owner"), jobs.c.state.in_([int(state) for state in (QUEUED, RUNNING, CANCELLING)])
)
_DELETE_DEPLOYMENTS: Final = sa.delete(deployments).where(
    among(deployments.c.id, "ids"), ~select(jobs.c.id).where(jobs.c.deployment_id == deployments.c.id).exists()
)
#: The tables of jobs and deployments.
_OF_OBJECTS: Final = (
    *("jobs", "job_labels", "job_options", "events", "results", "buffers", "options"),
    *("deployments", "deployment_labels", "programs"),
)
#: What belongs to an owner itself, not to one of its objects.
_OF_OWNER: Final = (
    *(table.c.owner for table in (lanes, quotas, owner_totals, usage, credentials)),
    project_members.c.member,
)
_DELETE_OF_OWNER: Final = tuple(sa.delete(column.table).where(column == bindparam("owner")) for column in _OF_OWNER)


def export(db: Database, owner: str, folder: Path, line_of: Callable[[Message], str]) -> dict[str, int]:
    """Write the data of an owner as lines of JSON, few of them in memory; return the number of lines of each file.

    Args:
        db: the database.
        owner: the owner.
        folder: a new folder, which only this account can read. Buffers are files in its folder `buffers`.
        line_of: returns the JSON of a message.

    Raises:
        StartError: the folder exists, or cannot be written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True)
        (folder / "buffers").mkdir(mode=0o700)
        counts = dict.fromkeys(("jobs", "events", "results", "deployments"), 0)
        files = {name: (folder / f"{name}.jsonl").open("w", encoding="utf-8") for name in counts}
        try:

            def write(name: str, message: Message) -> None:
                files[name].write(f"{line_of(message)}\n")
                counts[name] += 1

            _export(db, owner, folder / "buffers", write)
        finally:
            for file in files.values():
                file.close()
    except OSError as error:
        raise StartError(f"cannot write {folder}: {error.strerror}; the folder must not exist") from error
    return counts


def _export(db: Database, owner: str, folder: Path, write: Callable[[str, Message], None]) -> None:
    for row in rows_of(db, _JOBS, "id", _PAGE, owner=owner):
        job = job_message(row)
        with db.read() as connection:
            (spec,) = whole_specs(connection, [job])
        for field in LARGE:
            if job.HasField(f"{field}_reference"):
                job.ClearField(f"{field}_reference")
                job.MergeFromString(JobSpec(**{field: getattr(spec, field)}).SerializeToString())
        write("jobs", job)
        for event in rows_of(db, _EVENTS, "sequence", _PAGE, job=job.id):
            write("events", JobEvent.FromString(event.payload))
        for found in rows_of(db, _RESULTS, "id", _PAGE, job=job.id):
            result = Result.FromString(found.result)
            result.id = found.id
            write("results", result)
            if result.HasField("buffer"):
                _export_buffer(db, found.id, folder / str(found.id))
    for row in rows_of(db, _DEPLOYMENTS, "id", _PAGE, owner=owner):
        deployment = Deployment(id=row.id, deployed_by=row.principal or row.caller, name=row.name)
        set_time(deployment.deployed_at, row.deployed_at)
        with db.read() as connection:
            for program_id, source in connection.execute(_PROGRAMS, {"id": row.id}):
                program = QuantumProgram.FromString(source)
                program.id, program.deployment_id = program_id, row.id
                deployment.programs.append(program)
        write("deployments", deployment)


def _export_buffer(db: Database, result_id: int, path: Path) -> None:
    with path.open("wb") as file:
        chunk = 0
        while (data := chunks.read(db, result_id, chunk)) is not None:
            file.write(data)
            chunk += 1


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
