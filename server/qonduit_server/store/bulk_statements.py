# SPDX-License-Identifier: Apache-2.0
"""Bulk statements for many rows, in the fastest form for each database.

SQLAlchemy's executemany builds a dictionary for each row and converts every value by its type, which takes several
times as long as the database itself: too slow for thousands of rows a second. These statements pass rows as plain
tuples to SQLite's executemany, and as one array per column to PostgreSQL, in one statement. A single row is passed
without arrays: its values are converted faster, and PostgreSQL keeps the plan.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Connection, Dialect, Table, Text, bindparam
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import NullType, TypeDecorator

from qonduit_server.store import postgresql_pipeline, sqlite_driver


class BulkInsert:
    """Inserts rows.

    Args:
        table: the table.
        columns: the names of the columns, in the order of the values of a row.
        unless_there: skip rows whose key exists already.
    """

    def __init__(self, table: Table, columns: Sequence[str], *, unless_there: bool = False) -> None:
        names = ", ".join(columns)
        marks = ", ".join("?" * len(columns))
        rest = " ON CONFLICT DO NOTHING" if unless_there else ""
        self._sqlite = f"INSERT INTO {table.name} ({names}) VALUES ({marks}){rest}"
        self._postgresql = _Statements(
            f"INSERT INTO {table.name} ({names}) VALUES ({', '.join(_values(table, columns))}){rest}",
            f"INSERT INTO {table.name} ({names}) SELECT * FROM {_arrays(table, columns)}{rest}",
        )

    def __call__(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert rows."""
        _execute(connection, self._sqlite, self._postgresql, rows)


class BulkUpsert:
    """Inserts rows, or changes the rows with the same key.

    Args:
        table: the table.
        columns: the names of the columns, in the order of the values of a row.
        changes: the assignments for an existing row, which call the new row `excluded`.
    """

    def __init__(self, table: Table, columns: Sequence[str], changes: str) -> None:
        names = ", ".join(columns)
        marks = ", ".join("?" * len(columns))
        key = ", ".join(column.name for column in table.primary_key)
        rest = f"ON CONFLICT ({key}) DO UPDATE SET {changes}"
        self._sqlite = f"INSERT INTO {table.name} ({names}) VALUES ({marks}) {rest}"
        self._postgresql = _Statements(
            f"INSERT INTO {table.name} ({names}) VALUES ({', '.join(_values(table, columns))}) {rest}",
            f"INSERT INTO {table.name} ({names}) SELECT * FROM {_arrays(table, columns)} {rest}",
        )

    def __call__(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert or change rows; each key once, and in the same order on every server, to avoid deadlocks."""
        _execute(connection, self._sqlite, self._postgresql, rows)


class BulkUpdate:
    """Updates rows by id; a row holds the values of `columns`, then the id."""

    def __init__(self, table: Table, columns: Sequence[str]) -> None:
        names = ", ".join(columns)
        sets = ", ".join(f"{name} = ?" for name in columns)
        self._sqlite = f"UPDATE {table.name} SET {sets} WHERE id = ?"
        sets = ", ".join(f"{name} = new.{name}" for name in columns)
        values = zip(columns, _values(table, columns), strict=True)
        self._postgresql = _Statements(
            f"UPDATE {table.name} SET {', '.join(f'{name} = {value}' for name, value in values)} "
            f"WHERE id = {_values(table, ['id'])[0]}",
            f"UPDATE {table.name} SET {sets} FROM {_arrays(table, [*columns, 'id'])} AS new ({names}, id) "
            f"WHERE {table.name}.id = new.id",
        )

    def __call__(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Update rows."""
        _execute(connection, self._sqlite, self._postgresql, rows)


class _Statements(NamedTuple):
    """A statement for PostgreSQL, for one row and for an array of each column."""

    of_row: str
    of_arrays: str


def _values(table: Table, columns: Sequence[str]) -> list[str]:
    # %b selects the binary format; otherwise bytes are sent as hexadecimal text.
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    return [f"%b::{table.c[name].type.compile(dialect)}" for name in columns]


def _arrays(table: Table, columns: Sequence[str]) -> str:
    return f"unnest({', '.join(f'{value}[]' for value in _values(table, columns))})"


def _execute(connection: Connection, sqlite: str, postgresql: _Statements, rows: Sequence[tuple[Any, ...]]) -> None:
    if connection.dialect.name == "sqlite":
        sqlite_driver.execute(connection, sqlite, *rows)
    elif len(rows) == 1:
        postgresql_pipeline.write(connection, postgresql.of_row, rows[0])
    else:
        postgresql_pipeline.write(connection, postgresql.of_arrays, tuple(map(list, zip(*rows, strict=True))))


class _List(TypeDecorator[Collection[Any]]):
    """A list of numbers or texts as one parameter: an array on PostgreSQL, JSON on SQLite."""

    impl = Text
    cache_ok = True

    def __init__(self, of: type[BigInteger] | type[Text]) -> None:
        super().__init__()
        self.of = of

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else postgresql.ARRAY(self.of))

    def process_bind_param(self, value: Collection[Any] | None, dialect: Dialect) -> Any:
        return json.dumps(list(value or ())) if dialect.name == "sqlite" else list(value or ())


class _Among(FunctionElement[Any]):
    name = "among"
    # Not Boolean: SQLite would get "... = 1", which cannot use an index.
    type = NullType()
    inherit_cache = True


@compiles(_Among, "postgresql")
def _any(element: _Among, compiler: SQLCompiler, **options: Any) -> str:
    column, values = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} = ANY ({values})"


@compiles(_Among, "sqlite")
def _in(element: _Among, compiler: SQLCompiler, **options: Any) -> str:
    column, values = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({values}))"


def among(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """Return the condition that a column equals one of the values in the list parameter `name`.

    Unlike IN, the statement is the same for any number of values, so it is parsed and planned once.
    """
    of = Text if isinstance(column.type, Text) else BigInteger
    return _Among(column, bindparam(name, type_=_List(of)))
