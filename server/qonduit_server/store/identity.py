# SPDX-License-Identifier: Apache-2.0
"""Ids, made by the database and handed out before the rows are written, so that rows can be written in bulk."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Table, text

from qonduit_server.store.writer import Transaction


def new_ids(transaction: Transaction, table: Table, count: int) -> Sequence[int]:
    """Reserve ids for rows of a table, ascending. Ids are never used twice; some may never be used."""
    if not count:
        return ()
    if transaction.kind == "postgresql":
        rows = transaction.connection.execute(
            text(f"SELECT nextval('{table.name}_id_seq') FROM generate_series(1, :count)"), {"count": count}
        )
        return list(rows.scalars())
    # Nobody else writes while this transaction lasts; SQLite itself notes the highest id that is inserted.
    last = transaction.connection.execute(
        text("SELECT seq FROM sqlite_sequence WHERE name = :name"), {"name": table.name}
    ).scalar()
    first = (last or 0) + 1
    return range(first, first + count)
