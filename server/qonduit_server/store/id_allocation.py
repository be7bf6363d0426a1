# SPDX-License-Identifier: Apache-2.0
"""Allocation of ids before the rows are written, so that rows can be inserted in bulk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from sqlalchemy import BigInteger, Integer, Table, column, text

from qonduit_server.store import sqlite_driver
from qonduit_server.store.queries import Query
from qonduit_server.store.schema import metadata
from qonduit_server.store.writer import Transaction


def new_ids(transaction: Transaction, *wanted: tuple[Table, int]) -> list[Sequence[int]]:
    """Reserve ids for new rows of some tables, ascending, in one statement.

    Ids are never reused; some may stay unused. Call it once per table and transaction, before the rows are inserted.
    """
    return expect_ids(transaction, *wanted)(*(count for _, count in wanted))


def expect_ids(transaction: Transaction, *expected: tuple[Table, int]) -> Callable[..., list[Sequence[int]]]:
    """Ask for the ids that new rows of some tables will probably need, without waiting for them (queries.py).

    Returns:
        A function of the numbers of ids that are needed, one for each table, which returns them as `new_ids` does.
    """
    tables = [table for table, _ in expected]
    if transaction.kind != "postgresql":
        return lambda *counts: _after_last_ids(transaction, tables, counts)
    reserved = _ask(transaction, expected)

    def take(*counts: int) -> list[Sequence[int]]:
        first = reserved()
        missing = [max(0, count - len(ids)) for count, ids in zip(counts, first, strict=True)]
        further = _ask(transaction, list(zip(tables, missing, strict=True)))()
        return [[*own[:count], *more] for own, count, more in zip(first, counts, further, strict=True)]

    return take


def _ask(transaction: Transaction, wanted: Sequence[tuple[Table, int]]) -> Callable[[], list[list[int]]]:
    """Take numbers from the sequences of tables in PostgreSQL."""
    if not any(count for _, count in wanted):
        return lambda: [[] for _ in wanted]
    query = _from_sequences(tuple(table.name for table, _ in wanted))
    counts = {f"count{place}": count for place, (_, count) in enumerate(wanted)}
    answer = query.ask(transaction.connection, counts)

    def by_table() -> list[list[int]]:
        ids: list[list[int]] = [[] for _ in wanted]
        for place, number in answer():
            ids[place].append(number)
        return ids

    return by_table


def _after_last_ids(transaction: Transaction, tables: Sequence[Table], counts: Sequence[int]) -> list[Sequence[int]]:
    """Return the ids after those of the rows in SQLite, in which no other connection writes meanwhile."""
    if not any(counts):
        return [() for _ in tables]
    last = _last_ids(transaction)
    starts = [last.get(table.name, 0) + 1 for table in tables]
    return [range(start, start + count) for start, count in zip(starts, counts, strict=True)]


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
def _from_sequences(names: tuple[str, ...]) -> Query:
    parts = (
        f"SELECT {place}, nextval('{name}_id_seq') FROM generate_series(1, CAST(:count{place} AS integer))"
        for place, name in enumerate(names)
    )
    return Query(text(" UNION ALL ".join(parts)).columns(column("place", Integer), column("id", BigInteger)))
