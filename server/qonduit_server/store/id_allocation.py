# SPDX-License-Identifier: Apache-2.0
"""Allocation of ids before the rows are written, so that rows can be inserted in bulk."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from sqlalchemy import Table, TextClause, text

from qonduit_server.store import sqlite_driver
from qonduit_server.store.schema import metadata
from qonduit_server.store.writer import Transaction


def new_ids(transaction: Transaction, *wanted: tuple[Table, int]) -> list[Sequence[int]]:
    """Reserve ids for new rows of some tables, ascending, in one statement.

    Ids are never reused; some may stay unused. Call it once per table and transaction, before the rows are inserted.
    """
    if not any(count for _, count in wanted):
        return [() for _ in wanted]
    names = tuple(table.name for table, _ in wanted)
    if transaction.kind == "postgresql":
        counts = {f"count{place}": count for place, (_, count) in enumerate(wanted)}
        ids: list[list[int]] = [[] for _ in wanted]
        for place, number in transaction.connection.execute(_from_sequences(names), counts):
            ids[place].append(number)
        return list(ids)
    # No other connection writes during this transaction; SQLite records the highest inserted id.
    last = _last_ids(transaction)
    return [range(last.get(table.name, 0) + 1, last.get(table.name, 0) + 1 + count) for table, count in wanted]


def reserve_ids(transaction: Transaction, table: Table, count: int) -> Sequence[int]:
    """Reserve ids, ascending, for rows that later transactions may insert."""
    (ids,) = new_ids(transaction, (table, count))
    if ids and transaction.kind != "postgresql":
        _record_last_id(transaction, table.name, ids[-1])
    return ids


def skip_ids(transaction: Transaction, count: int) -> None:
    """Leave out this many ids of each table, so that no new row gets one of them."""
    names = [table.name for table in metadata.sorted_tables if table.dialect_options["sqlite"]["autoincrement"]]
    if transaction.kind == "postgresql":
        for name in names:
            sequence = f"{name}_id_seq"
            query = text(f"SELECT setval('{sequence}', (SELECT last_value FROM {sequence}) + :count)")
            transaction.connection.execute(query, {"count": count})
        return
    last = _last_ids(transaction)
    for name in names:
        _record_last_id(transaction, name, last.get(name, 0) + count)


def _last_ids(transaction: Transaction) -> dict[str, int]:
    """Return the highest id of each table in SQLite that has had rows."""
    return dict(sqlite_driver.execute(transaction.connection, "SELECT name, seq FROM sqlite_sequence"))


def _record_last_id(transaction: Transaction, table: str, last_id: int) -> None:
    """Record the last id of a table in SQLite, which does so itself only when a row is inserted."""
    connection, last = transaction.connection, (last_id, table)
    if not sqlite_driver.execute(connection, "UPDATE sqlite_sequence SET seq = ? WHERE name = ?", last).rowcount:
        sqlite_driver.execute(connection, "INSERT INTO sqlite_sequence (seq, name) VALUES (?, ?)", last)


@lru_cache
def _from_sequences(names: tuple[str, ...]) -> TextClause:
    return text(
        " UNION ALL ".join(
            f"SELECT {place}, nextval('{name}_id_seq') FROM generate_series(1, :count{place})"
            for place, name in enumerate(names)
        )
    )
