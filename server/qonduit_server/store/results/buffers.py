# SPDX-License-Identifier: Apache-2.0
"""Buffers: data too large for a result's message, stored in chunks.

Chunks are written before their result and deleted after it, in small transactions, so that no writer waits for a whole
buffer. Chunks without a result are unreachable. Two rules keep a result and its chunks together: a result is inserted
in a transaction that locks the first chunk and then counts all chunks; and chunks are deleted, the first one last, in
transactions that lock the first chunk and then find no result.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection, bindparam, func, select

from qonduit_server.errors import NotFound
from qonduit_server.store.bulk_statements import BulkInsert, among
from qonduit_server.store.database import Database
from qonduit_server.store.ownership import Scope
from qonduit_server.store.results import result_rows
from qonduit_server.store.schema import buffers
from qonduit_server.store.schema import results as results_table
from qonduit_server.store.writer import Operation, Transaction

#: Bytes per chunk; the last chunk of a buffer may have fewer.
CHUNK_BYTES: Final = 256 * 1024
#: Chunks written per transaction and statement: PostgreSQL is slower with larger arrays.
_CHUNKS_PER_WRITE: Final = 4
#: Chunks deleted per transaction.
_MAX_ERASED: Final = 16
_PREFIX: Final = "results/"
_INSERT: Final = BulkInsert(buffers, ("result_id", "piece", "data"), unless_there=True)
_OF_RESULT: Final = buffers.c.result_id == bindparam("result")
_CHUNK: Final = select(buffers.c.data).where(_OF_RESULT, buffers.c.piece == bindparam("piece"))
_LAST: Final = select(func.max(buffers.c.piece)).where(_OF_RESULT)
_COUNTS: Final = (
    select(buffers.c.result_id, func.count()).where(among(buffers.c.result_id, "ids")).group_by(buffers.c.result_id)
)
_FIRST: Final = select(buffers.c.result_id).where(among(buffers.c.result_id, "ids"), buffers.c.piece == 0)
_LOCK: Final = _FIRST.order_by(buffers.c.result_id).with_for_update(read=True, key_share=True)
_LOCK_TO_ERASE: Final = _FIRST.with_for_update(skip_locked=True)
_OF_JOBS: Final = (
    select(results_table.c.id)
    .join(buffers, sa.and_(buffers.c.result_id == results_table.c.id, buffers.c.piece == 0))
    .where(among(results_table.c.job_id, "ids"))
)
_RESULT: Final = select(results_table.c.id).where(results_table.c.id == bindparam("result"))
_DELETE: Final = sa.delete(buffers).where(_OF_RESULT, buffers.c.piece >= bindparam("piece"))


class _Chunks(NamedTuple):
    result_id: int
    first: int
    data: Sequence[memoryview]


def name_of(result_id: int) -> str:
    """Return the name of a result's buffer."""
    return f"{_PREFIX}{result_id}"


def count_of(size: int) -> int:
    """Return the number of chunks of a buffer of `size` bytes."""
    return -(-size // CHUNK_BYTES)


def written(db: Database, result_id: int) -> int:
    """Return how many chunks of a buffer are written. Raises Unavailable."""
    with db.read() as connection:
        last = connection.execute(_LAST, {"result": result_id}).scalar()
        return 0 if last is None else last + 1


def write_ahead(db: Database, result_id: int, data: bytes, after: int) -> None:
    """Write the chunks of a future result from index `after` on, in small transactions.

    Raises:
        Unavailable: the database does not answer; use `written` to find out how many chunks are written.
    """
    view = memoryview(data)
    for first in range(after, count_of(len(data)), _CHUNKS_PER_WRITE):
        starts = range(first * CHUNK_BYTES, min((first + _CHUNKS_PER_WRITE) * CHUNK_BYTES, len(data)), CHUNK_BYTES)
        db.write(_WRITE, _Chunks(result_id, first, [view[start : start + CHUNK_BYTES] for start in starts]))


def is_complete(transaction: Transaction, counts: Mapping[int, int]) -> bool:
    """Return whether results have the given numbers of chunks, and lock them until the transaction ends."""
    if not counts:
        return True
    transaction.connection.execute(_LOCK, {"ids": list(counts)}).all()
    # A separate statement, which sees deletions before the first chunks were locked.
    rows = transaction.connection.execute(_COUNTS, {"ids": list(counts)})
    return {row[0]: row[1] for row in rows} == counts


def of_jobs(connection: Connection, job_ids: Collection[int]) -> list[int]:
    """Return the ids of the results of jobs that have buffers."""
    return list(connection.execute(_OF_JOBS, {"ids": list(job_ids)}).scalars())


def erase(db: Database, result_id: int) -> None:
    """Delete the chunks of a missing result, in small transactions. Raises Unavailable."""
    while db.write(ERASE, result_id):
        pass


def find(db: Database, scope: Scope, name: str) -> tuple[int, int]:
    """Return the id of the result that a buffer belongs to, and the buffer's size in bytes. Raises NotFound."""
    digits = name.removeprefix(_PREFIX)
    if name.startswith(_PREFIX) and digits.isascii() and digits.isdigit() and len(digits) < 20:
        try:
            result = result_rows.get(db, scope, int(digits))
        except NotFound:
            pass
        else:
            if result.HasField("buffer") and result.buffer.name == name:
                return result.id, result.buffer.size_bytes
    raise NotFound("buffer", name)


def read(db: Database, result_id: int, chunk: int) -> bytes | None:
    """Return the chunk of an index, from 0; None if it was deleted with its job."""
    with db.read() as connection:
        found: bytes | None = connection.execute(_CHUNK, {"result": result_id, "piece": chunk}).scalar()
        return found


def _write(transaction: Transaction, calls: Sequence[_Chunks]) -> list[None]:
    for result_id, first, data in calls:
        rows: list[tuple[Any, ...]] = [(result_id, first + place, chunk) for place, chunk in enumerate(data)]
        _INSERT(transaction.connection, rows)
    return [None] * len(calls)


def _erase(transaction: Transaction, result_ids: Sequence[int]) -> list[int]:
    """Delete the last chunks of buffers; return how many are left to delete."""
    answers = []
    for result_id in result_ids:
        left = 0
        # Another transaction that has the lock is inserting the result or deleting its chunks.
        locked = transaction.connection.execute(_LOCK_TO_ERASE, {"ids": [result_id]}).first()
        if locked is not None and transaction.connection.execute(_RESULT, {"result": result_id}).first() is None:
            last = transaction.connection.execute(_LAST, {"result": result_id}).scalar()
            left = max(0, (last or 0) + 1 - _MAX_ERASED)
            transaction.connection.execute(_DELETE, {"result": result_id, "piece": left})
        answers.append(left)
    return answers


# Becomes durable with the result.
_WRITE: Final = Operation(_write, durable=False)
#: Deletes some chunks of a missing result, and returns how many are left. Not durable: after a power failure, they are
#: deleted again. The audit log has the entry of the job.
ERASE: Final = Operation(_erase, durable=False, objects=lambda *_: ())
