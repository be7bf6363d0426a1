# SPDX-License-Identifier: Apache-2.0
"""Every list that docs/filters.md calls indexed uses its index, on every database, for each owner."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from qonduit_server.store import engines, schema
from qonduit_server.store.database import Database, open_database
from qonduit_server.store.writer import Operation, Transaction
from tests.benchmarks.growth import LISTS, LISTS_OF_ALL, PRIMARY_KEY, lists
from tests.benchmarks.stored_jobs import fill
from tests.store_fixture import submit

#: Enough that PostgreSQL prefers an index to the table.
JOBS = 20_000
PAGE = 50
DOCS = Path(__file__).parents[2] / "docs"
GUIDE = DOCS / "filters.md"
#: The scans that read a table or an index from its start to its end, and sorts.
WHOLE = re.compile(r"Seq Scan on (jobs|job_labels)|^SCAN (jobs|job_labels)$")
SORT = re.compile(r"Sort  \(|USE TEMP B-TREE FOR ORDER BY")
PRIMARY = {"sqlite": r"INTEGER PRIMARY KEY", "postgresql": r"pk_jobs"}


def plan_of(db: Database, statement: str, parameters: Any) -> list[str]:
    """Return the lines of the plan of a statement."""
    with db.read() as connection:
        if db.kind == "postgresql":
            return list(connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars())
        return list(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).scalars("detail"))


def test_each_indexed_list_follows_its_index_without_a_sort(db: Database, database_url: str) -> None:
    fill(database_url, db, JOBS)
    indexes = {(filter, order_by): index for filter, order_by, index in (*LISTS, *LISTS_OF_ALL)}
    seen: list[tuple[str, Any]] = []

    @event.listens_for(db._engine, "before_cursor_execute")
    def note(connection: object, cursor: object, statement: str, values: Any, context: object, many: bool) -> None:
        seen.append((statement, values))

    for (filter, order_by, owner), read in lists(db, JOBS).items():
        seen.clear()
        page = read("")
        if page.next_page_token:
            read(page.next_page_token)
        asked = [each for each in seen if "FROM jobs" in each[0] or "FROM job_labels" in each[0]]
        plans = [(statement, plan_of(db, statement, values)) for statement, values in asked]
        lines = [line for _, plan in plans for line in plan]
        where = (filter, order_by, owner, lines)
        index = indexes[filter, order_by]
        name = PRIMARY[db.kind] if index == PRIMARY_KEY else index
        assert any(re.search(rf"\b{name}\b", line) for line in lines), where
        assert not any(WHOLE.search(line) for line in lines), where
        # A chunk of rows that were found by their ids is sorted, and less than a page of an owner.
        others = [line for statement, plan in plans if not is_chunk(statement) for line in plan]
        assert not any(SORT.search(line) and rows_of(line) > PAGE for line in others), where


def rows_of(line: str) -> int:
    """Return how many rows PostgreSQL expects at a step; on SQLite, many."""
    found = re.search(r"rows=(\d+)", line)
    return int(found[1]) if found else JOBS


def is_chunk(statement: str) -> bool:
    """Return whether a statement reads rows by a list of ids."""
    return "json_each" in statement or "= ANY" in statement


def test_the_advice_on_vacuum_is_valid(db: Database) -> None:
    statements = re.findall(r"`(ALTER TABLE \w+ SET [^`]+)`", (DOCS / "operating.md").read_text())
    assert len(statements) == 2
    if db.kind == "postgresql":
        with db.read() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
            options = connection.exec_driver_sql("SELECT reloptions FROM pg_class WHERE relname = 'jobs'").scalar_one()
        assert options == ["autovacuum_vacuum_scale_factor=0.02"]


def test_the_guide_lists_these_filters_with_their_indexes() -> None:
    rows = re.findall(r"^\| (.+?) \| `(\w+)` \| (primary key|`\w+`) \|", GUIDE.read_text(), re.MULTILINE)
    listed = [(order, index.strip("`")) for _, order, index in rows]
    assert listed == [
        (order_by.partition(" ")[0] or "created_at", index) for _, order_by, index in (*LISTS, *LISTS_OF_ALL)
    ]
    known = {index.name for table in (schema.jobs, schema.job_labels) for index in table.indexes}
    assert {index for _, index in listed} <= known | {PRIMARY_KEY}


def test_the_log_of_a_sqlite_file_shrinks_after_a_large_transaction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "LOG_BYTES", 100_000)
    db = open_database(f"sqlite:///{tmp_path}/x.sqlite3")
    log = tmp_path / "x.sqlite3-wal"
    submit(db)

    def add(transaction: Transaction, calls: Sequence[int]) -> list[None]:
        transaction.connection.exec_driver_sql("INSERT INTO options VALUES ('0', zeroblob(5000000))")
        return [None] * len(calls)

    db.write(Operation(add), 0)
    assert log.stat().st_size > 5_000_000
    # The transaction was copied to the file, and the next one begins the log again.
    submit(db)
    submit(db)
    assert log.stat().st_size <= 200_000
    db.close()
