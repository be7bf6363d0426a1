# SPDX-License-Identifier: Apache-2.0
"""Statements of SQLite's driver have the errors and the values of SQLAlchemy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError, OperationalError

from qonduit_server.store.database import open_database
from qonduit_server.store.sqlite_driver import execute, rollback
from tests.sqlite_template import new_sqlite

_INSERT = "INSERT INTO providers (name, with_token) VALUES (?, ?)"


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    db = open_database(new_sqlite(tmp_path / "x.sqlite3"))
    with db.read() as connection:
        yield connection
    db.close()


def test_rows_are_inserted_and_found(connection: Connection) -> None:
    execute(connection, _INSERT, ("a", False))
    execute(connection, _INSERT, ("b", True), ("c", False))
    assert execute(connection, "SELECT name FROM providers WHERE id > 0 ORDER BY name").fetchall() == [
        ("a",),
        ("b",),
        ("c",),
    ]


def test_a_rollback_ends_a_transaction_that_was_begun_in_either_way(connection: Connection) -> None:
    execute(connection, "BEGIN IMMEDIATE")
    execute(connection, _INSERT, ("a", False))
    connection.execute(text(_INSERT.replace("?, ?", "'b', false")))
    for _ in range(2):
        rollback(connection)
        assert execute(connection, "SELECT name FROM providers WHERE id > 0").fetchall() == []


def test_errors_are_those_of_sqlalchemy(connection: Connection) -> None:
    execute(connection, _INSERT, ("a", False))
    with pytest.raises(IntegrityError, match="UNIQUE"):
        execute(connection, _INSERT, ("a", False))
    with pytest.raises(IntegrityError):
        execute(connection, _INSERT, ("b", False), ("b", False))
    with pytest.raises(OperationalError, match="no such table"):
        execute(connection, "SELECT * FROM missing")
