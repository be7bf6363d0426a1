# SPDX-License-Identifier: Apache-2.0
"""Allocation of ids before the rows are written, so that rows can be inserted in bulk."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from sqlalchemy import Table, TextClause, text

from qonduit_server.store import sqlite_driver
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
    last = dict(sqlite_driver.execute(transaction.connection, "SELECT name, seq FROM sqlite_sequence"))
    return [range(last.get(table.name, 0) + 1, last.get(table.name, 0) + 1 + count) for table, count in wanted]


def reserve_ids(transaction: Transaction, table: Table, count: int) -> Sequence[int]:
    """Reserve ids, ascending, for rows that later transactions may insert."""
    (ids,) = new_ids(transaction, (table, count))
    if ids and transaction.kind != "postgresql":
        # SQLite records it only when a row is inserted.
        last = (ids[-1], table.name)
        connection = transaction.connection
        noted = sqlite_driver.execute(connection, "UPDATE sqlite_sequence SET seq = ? WHERE name = ?", last)
        if not noted.rowcount:
            sqlite_driver.execute(connection, "INSERT INTO sqlite_sequence (seq, name) VALUES (?, ?)", last)
    return ids


@lru_cache
def _from_sequences(names: tuple[str, ...]) -> TextClause:
    return text(
        " UNION ALL ".join(
            f"SELECT {place}, nextval('{name}_id_seq') FROM generate_series(1, :count{place})"
            for place, name in enumerate(names)
        )
    )
