# SPDX-License-Identifier: Apache-2.0
"""What is too large for a result's message: kept in pieces beside it, read piece by piece."""

from __future__ import annotations

from typing import Final

from sqlalchemy import bindparam, select

from qonduit_server.errors import NotFound
from qonduit_server.store import results
from qonduit_server.store.bulk import BulkInsert
from qonduit_server.store.database import Database
from qonduit_server.store.schema import buffers
from qonduit_server.store.writer import Transaction

#: How many bytes a piece has; the last one of a buffer may have fewer.
PIECE_BYTES: Final = 256 * 1024
#: Pieces that one statement writes: PostgreSQL takes longer over larger arrays.
_TOGETHER: Final = 4
_PREFIX: Final = "results/"
_INSERT: Final = BulkInsert(buffers, ("result_id", "piece", "data"))
_PIECE: Final = select(buffers.c.data).where(
    buffers.c.result_id == bindparam("result"), buffers.c.piece == bindparam("piece")
)


def name_of(result_id: int) -> str:
    """The name under which a result's buffer is asked for."""
    return f"{_PREFIX}{result_id}"


def store(transaction: Transaction, result_id: int, data: bytes, size: int) -> None:
    """Write a buffer's pieces.

    Raises:
        ValueError: it has not the size that its result tells: what there is of it must not pass for all.
    """
    if len(data) != size:
        raise ValueError(f"a buffer of {size} bytes came with {len(data)}")
    view = memoryview(data)
    pieces = range(0, size, PIECE_BYTES)
    for first in range(0, len(pieces), _TOGETHER):
        rows = [
            (result_id, first + place, view[start : start + PIECE_BYTES])
            for place, start in enumerate(pieces[first : first + _TOGETHER])
        ]
        _INSERT(transaction.connection, rows)


def find(db: Database, caller: str, name: str) -> tuple[int, int]:
    """Return the id of the result that a buffer belongs to, and the buffer's size in bytes. Raises NotFound."""
    digits = name.removeprefix(_PREFIX)
    if name.startswith(_PREFIX) and digits.isascii() and digits.isdigit() and len(digits) < 20:
        try:
            result = results.get(db, caller, int(digits))
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
