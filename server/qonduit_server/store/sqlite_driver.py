# SPDX-License-Identifier: Apache-2.0
"""Statements for SQLite's driver, without the layers of SQLAlchemy.

For a small statement, SQLAlchemy takes several times as long as the database. Errors are those of SQLAlchemy.
"""

from __future__ import annotations

import sqlite3
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Dialect, Select, TextualSelect
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


class _Compiled(NamedTuple):
    text: str
    #: The parameters in order, each with the function that converts its value.
    parameters: Sequence[tuple[str, Callable[[Any], Any]]]
    #: The values of parameters that are part of the statement.
    defaults: Mapping[str, Any]
    #: Makes a row.
    make: Callable[[Sequence[Any]], Any]


class Query:
    """A query that is compiled once. On SQLite, the values of rows are those of the driver."""

    def __init__(self, statement: Select[Any] | TextualSelect) -> None:
        self._statement = statement
        self._compiled: _Compiled | None = None

    def __call__(self, connection: Connection, parameters: Mapping[str, Any]) -> Sequence[Any]:
        """Return all rows."""
        if connection.dialect.name != "sqlite":
            return connection.execute(self._statement, parameters).all()
        if self._compiled is None:
            self._compiled = self._compile(connection.dialect)
        text, names, defaults, make = self._compiled
        values = {**defaults, **parameters}
        return [make(row) for row in execute(connection, text, [process(values[name]) for name, process in names])]

    def _compile(self, dialect: Dialect) -> _Compiled:
        compiled = self._statement.compile(dialect=dialect)
        processors = {
            name: bind.type.dialect_impl(dialect).bind_processor(dialect) for name, bind in compiled.binds.items()
        }
        names = [(name, processors[name] or _unchanged) for name in compiled.positiontup or ()]
        columns = [column.name for column in self._statement.selected_columns]
        row = namedtuple("row", columns, rename=True)  # type: ignore[misc]
        return _Compiled(str(compiled), names, compiled.params or {}, row._make)


def _unchanged(value: Any) -> Any:
    return value
