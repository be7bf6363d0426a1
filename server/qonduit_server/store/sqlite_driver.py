# SPDX-License-Identifier: Apache-2.0
"""Statements for SQLite's driver, without the layers of SQLAlchemy.

For a small statement, SQLAlchemy takes several times as long as the database. Errors are those of SQLAlchemy.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError


def execute(connection: Connection, statement: str, *rows: Sequence[Any]) -> sqlite3.Cursor:
    """Execute a statement with positional parameters; with several rows of them, once for each row."""
    driver: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment]
    try:
        if len(rows) > 1:
            return driver.executemany(statement, rows)
        return driver.execute(statement, *rows)
    except sqlite3.Error as error:
        raise DBAPIError.instance(
            statement, rows, error, sqlite3.Error, dialect=connection.dialect, ismulti=len(rows) > 1
        ) from error


def rollback(connection: Connection) -> None:
    """Roll back the transaction that `execute` began, if there is one, and the one of SQLAlchemy."""
    driver: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment]
    if driver.in_transaction:
        execute(connection, "ROLLBACK")
    connection.rollback()
