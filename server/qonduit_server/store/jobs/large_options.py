# SPDX-License-Identifier: Apache-2.0
"""Options that are too large for the row of a job, stored once by SHA-256 for all jobs.

An option is inserted in the transaction that inserts its first job, and deleted with its last job. Two rules keep an
option while a job uses it: a job is linked to an option in a transaction that locks the option's row, and an option is
deleted in a transaction that locks its row and then finds no linked job.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection, bindparam, exists, func, select

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit_server.errors import NotFound
from qonduit_server.store.bulk_statements import BulkInsert, among
from qonduit_server.store.column_limits import is_id
from qonduit_server.store.database import Database
from qonduit_server.store.owned_queries import Owned
from qonduit_server.store.ownership import Scope
from qonduit_server.store.schema import job_options, jobs, options
from qonduit_server.store.writer import Operation, Transaction

#: Bytes per read.
CHUNK_BYTES: Final = 256 * 1024
#: Maximum number of unused options that one transaction deletes.
MAX_ERASED: Final = 100
_NAME: Final = re.compile(r"jobs/([1-9][0-9]{0,18})/([a-z_]+)")
_INSERT: Final = BulkInsert(options, ("sha256", "data"), unless_there=True)
_LINK: Final = BulkInsert(job_options, ("job_id", "sha256"), unless_there=True)
_AMONG: Final = among(options.c.sha256, "hashes")
_SELECT: Final = select(options.c.sha256, options.c.data).where(_AMONG)
_LOCK: Final = (
    select(options.c.sha256).where(_AMONG).order_by(options.c.sha256).with_for_update(read=True, key_share=True)
)
_LOCK_TO_ERASE: Final = select(options.c.sha256).where(_AMONG).with_for_update(skip_locked=True)
_IS_UNUSED: Final = ~exists().where(job_options.c.sha256 == options.c.sha256)
_UNUSED: Final = select(options.c.sha256).where(_IS_UNUSED).limit(MAX_ERASED)
_DELETE_UNUSED: Final = sa.delete(options).where(_AMONG, _IS_UNUSED)
_LINKED: Final = select(job_options.c.sha256).distinct().where(among(job_options.c.job_id, "ids"))
_UNLINK: Final = sa.delete(job_options).where(among(job_options.c.job_id, "ids"))
_SPEC: Final = Owned(select(jobs.c.spec).where(jobs.c.id == bindparam("id")), jobs.c.caller)
_CHUNK: Final = (
    select(func.substr(options.c.data, bindparam("start"), CHUNK_BYTES, type_=sa.LargeBinary))
    .join(job_options, job_options.c.sha256 == options.c.sha256)
    .where(job_options.c.job_id == bindparam("job"), options.c.sha256 == bindparam("sha256"))
)


class StoredOption(NamedTuple):
    """A large option of one job."""

    job_id: int
    sha256: str
    size_bytes: int


def name_of(job_id: int, field: str) -> str:
    """Return the buffer name of a job's option."""
    return f"jobs/{job_id}/{field}"


def insert(transaction: Transaction, by_job: Mapping[int, Mapping[str, bytes]]) -> None:
    """Store the large options of new jobs, given by job id and SHA-256."""
    data = {sha256: data for own in by_job.values() for sha256, data in own.items()}
    missing = data
    while missing:
        # In the same order on every server, to avoid deadlocks.
        _INSERT(transaction.connection, sorted(missing.items()))
        locked = set(transaction.connection.execute(_LOCK, {"hashes": list(data)}).scalars())
        # An existing option may have been deleted before it was locked.
        missing = {sha256: data[sha256] for sha256 in data.keys() - locked}
    if data:
        _LINK(
            transaction.connection,
            [(job_id, sha256) for job_id, own in by_job.items() for sha256 in own],
        )


def read_many(connection: Connection, hashes: Collection[str]) -> dict[str, bytes]:
    """Return options by their SHA-256."""
    return {row.sha256: row.data for row in connection.execute(_SELECT, {"hashes": list(hashes)})}


def find(db: Database, scope: Scope, name: str) -> StoredOption:
    """Return the option with this buffer name, of a job in the scope. Raises NotFound."""
    match = _NAME.fullmatch(name)
    if match and is_id(job_id := int(match[1])):
        with db.read() as connection:
            row = _SPEC.execute(connection, scope, {"id": job_id}).first()
        field = f"{match[2]}_reference"
        if row is not None and row.spec and field in JobSpec.DESCRIPTOR.fields_by_name:
            reference = getattr(JobSpec.FromString(row.spec), field)
            if reference.sha256:
                return StoredOption(job_id, reference.sha256, reference.size_bytes)
    raise NotFound("buffer", name)


def read(db: Database, option: StoredOption, chunk: int) -> bytes | None:
    """Return a chunk of an option, counted from 0; None if its job is deleted."""
    place = {"job": option.job_id, "sha256": option.sha256, "start": chunk * CHUNK_BYTES + 1}
    with db.read() as connection:
        found: bytes | None = connection.execute(_CHUNK, place).scalar()
        return found


def erase(connection: Connection, job_ids: Collection[int]) -> None:
    """Delete the options of jobs that are being deleted, unless other jobs use them."""
    if hashes := list(connection.execute(_LINKED, {"ids": list(job_ids)}).scalars()):
        connection.execute(_UNLINK, {"ids": list(job_ids)})
        _erase(connection, hashes)


def unused(db: Database) -> list[str]:
    """Return some options that no job uses: two servers that delete the last jobs of one may both leave it."""
    with db.read() as connection:
        return list(connection.execute(_UNUSED).scalars())


def _erase(connection: Connection, hashes: Sequence[str]) -> int:
    locked = list(connection.execute(_LOCK_TO_ERASE, {"hashes": list(hashes)}).scalars())
    # A separate statement, which sees jobs linked before the rows were locked.
    return connection.execute(_DELETE_UNUSED, {"hashes": locked}).rowcount if locked else 0


def _erase_unused(transaction: Transaction, calls: Sequence[Sequence[str]]) -> list[int]:
    return [_erase(transaction.connection, hashes) for hashes in calls]


#: Deletes options by SHA-256 if no job uses them, and returns how many it deleted.
ERASE_UNUSED: Final = Operation(_erase_unused, durable=False, objects=lambda *_: ())
