# SPDX-License-Identifier: Apache-2.0
"""What is too large for a result's message: kept in pieces beside it, written ahead of it, read piece by piece.

Pieces come before their result and go after it, in small transactions, so that nobody waits for a whole buffer. Pieces
without a result are found by nobody. Two rules keep a result and its pieces together: a result is inserted in a
transaction that holds the first piece and has then counted all of them, and pieces are deleted, the first one last, in
transactions that hold the first piece and have then seen that there is no result.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection, bindparam, func, select

from qonduit_server.errors import NotFound
from qonduit_server.store.bulk_statements import BulkInsert, among
from qonduit_server.store.database import Database
from qonduit_server.store.results import result_rows
from qonduit_server.store.schema import buffers
from qonduit_server.store.schema import results as results_table
from qonduit_server.store.writer import Operation, Transaction

#: How many bytes a piece has; the last one of a buffer may have fewer.
PIECE_BYTES: Final = 256 * 1024
#: Pieces that one transaction writes, and one statement: PostgreSQL takes longer over larger arrays.
_TOGETHER: Final = 4
#: Pieces that one transaction deletes.
_MOST_ERASED: Final = 16
_PREFIX: Final = "results/"
_INSERT: Final = BulkInsert(buffers, ("result_id", "piece", "data"), unless_there=True)
_OF_RESULT: Final = buffers.c.result_id == bindparam("result")
_PIECE: Final = select(buffers.c.data).where(_OF_RESULT, buffers.c.piece == bindparam("piece"))
_LAST: Final = select(func.max(buffers.c.piece)).where(_OF_RESULT)
_COUNTS: Final = (
    select(buffers.c.result_id, func.count()).where(among(buffers.c.result_id, "ids")).group_by(buffers.c.result_id)
)
_FIRST: Final = select(buffers.c.result_id).where(among(buffers.c.result_id, "ids"), buffers.c.piece == 0)
_HOLD: Final = _FIRST.order_by(buffers.c.result_id).with_for_update(read=True, key_share=True)
_HOLD_TO_ERASE: Final = _FIRST.with_for_update(skip_locked=True)
_OF_JOBS: Final = (
    select(results_table.c.id)
    .join(buffers, sa.and_(buffers.c.result_id == results_table.c.id, buffers.c.piece == 0))
    .where(among(results_table.c.job_id, "ids"))
)
_RESULT: Final = select(results_table.c.id).where(results_table.c.id == bindparam("result"))
_DELETE: Final = sa.delete(buffers).where(_OF_RESULT, buffers.c.piece >= bindparam("piece"))


class _Pieces(NamedTuple):
    result_id: int
    first: int
    data: Sequence[memoryview]


def name_of(result_id: int) -> str:
    """Return the name under which a result's buffer is asked for."""
    return f"{_PREFIX}{result_id}"


def count_of(size: int) -> int:
    """How many pieces a buffer of so many bytes has."""
    return -(-size // PIECE_BYTES)


def written(db: Database, result_id: int) -> int:
    """How many pieces of a buffer are there already. Raises Unavailable."""
    with db.read() as connection:
        last = connection.execute(_LAST, {"result": result_id}).scalar()
        return 0 if last is None else last + 1


def write_ahead(db: Database, result_id: int, data: bytes, after: int) -> None:
    """Write the pieces of a result that is not there yet, after the first ones, in small transactions.

    Raises:
        Unavailable: the database does not answer; what is `written` then is not known.
    """
    view = memoryview(data)
    for first in range(after, count_of(len(data)), _TOGETHER):
        starts = range(first * PIECE_BYTES, min((first + _TOGETHER) * PIECE_BYTES, len(data)), PIECE_BYTES)
        db.write(_WRITE, _Pieces(result_id, first, [view[start : start + PIECE_BYTES] for start in starts]))


def whole(transaction: Transaction, counts: Mapping[int, int]) -> bool:
    """Whether results have so many pieces each, which stay as long as this transaction lasts."""
    if not counts:
        return True
    transaction.connection.execute(_HOLD, {"ids": list(counts)}).all()
    # A statement of its own, for it sees what was deleted until the first pieces were had.
    rows = transaction.connection.execute(_COUNTS, {"ids": list(counts)})
    return {row[0]: row[1] for row in rows} == counts


def of_jobs(connection: Connection, job_ids: Collection[int]) -> list[int]:
    """Return the results of jobs that have buffers."""
    return list(connection.execute(_OF_JOBS, {"ids": list(job_ids)}).scalars())


def erase(db: Database, result_id: int) -> None:
    """Delete the pieces of a result that is not there, or no more, in small transactions. Raises Unavailable."""
    while db.write(ERASE, result_id):
        pass


def find(db: Database, caller: str, name: str) -> tuple[int, int]:
    """Return the id of the result that a buffer belongs to, and the buffer's size in bytes. Raises NotFound."""
    digits = name.removeprefix(_PREFIX)
    if name.startswith(_PREFIX) and digits.isascii() and digits.isdigit() and len(digits) < 20:
        try:
            result = result_rows.get(db, caller, int(digits))
        except NotFound:
            pass
        else:
            if result.HasField("buffer") and result.buffer.name == name:
                return result.id, result.buffer.size_bytes
    raise NotFound("buffer", name)


def read(db: Database, result_id: int, piece: int) -> bytes | None:
    """Return a piece, counted from 0; None when it is there no more, because the job was deleted."""
    with db.read() as connection:
        found: bytes | None = connection.execute(_PIECE, {"result": result_id, "piece": piece}).scalar()
        return found


def _write(transaction: Transaction, calls: Sequence[_Pieces]) -> list[None]:
    for result_id, first, data in calls:
        rows: list[tuple[Any, ...]] = [(result_id, first + place, piece) for place, piece in enumerate(data)]
        _INSERT(transaction.connection, rows)
    return [None] * len(calls)


def _erase(transaction: Transaction, result_ids: Sequence[int]) -> list[int]:
    """Delete the last pieces of buffers; give how many are left that may be deleted."""
    answers = []
    for result_id in result_ids:
        left = 0
        # Who holds it now is about to insert the result, or deletes as well.
        held = transaction.connection.execute(_HOLD_TO_ERASE, {"ids": [result_id]}).first()
        if held is not None and transaction.connection.execute(_RESULT, {"result": result_id}).first() is None:
            last = transaction.connection.execute(_LAST, {"result": result_id}).scalar()
            left = max(0, (last or 0) + 1 - _MOST_ERASED)
            transaction.connection.execute(_DELETE, {"result": result_id, "piece": left})
        answers.append(left)
    return answers


# Made durable with the result.
_WRITE: Final = Operation(_write, durable=False)
#: Deletes some of the pieces of a result that is not there, and gives how many are left. Nobody was promised that they
#: are gone: after a loss of power they are deleted once more.
ERASE: Final = Operation(_erase, durable=False)
