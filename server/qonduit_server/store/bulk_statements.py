# SPDX-License-Identifier: Apache-2.0
"""Statements about many rows at once, in the form that is fastest on each database.

SQLAlchemy's own executemany builds a dictionary and runs every value through its type for each row, which costs several
times what the database itself needs; a store that handles thousands of rows a second cannot pay that. So rows go as
plain tuples to SQLite's executemany, and as one array a column to PostgreSQL, in one statement.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import BigInteger, Column, ColumnElement, Connection, Dialect, Table, Text, bindparam
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import NullType, TypeDecorator


class BulkInsert:
    """Inserts rows.

    Args:
        table: where.
        columns: the names of the columns, in the order of the values of a row.
        unless_there: leave out rows whose key is there already.
    """

    def __init__(self, table: Table, columns: Sequence[str], *, unless_there: bool = False) -> None:
        names = ", ".join(columns)
        marks = ", ".join("?" * len(columns))
        rest = " ON CONFLICT DO NOTHING" if unless_there else ""
        self._sqlite = f"INSERT INTO {table.name} ({names}) VALUES ({marks}){rest}"
        self._postgresql = f"INSERT INTO {table.name} ({names}) SELECT * FROM {_arrays(table, columns)}{rest}"

    def __call__(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert."""
        _execute(connection, self._sqlite, self._postgresql, rows)


class BulkUpdate:
    """Updates rows by their id, which is the last value of a row; the others are those of `columns`."""

    def __init__(self, table: Table, columns: Sequence[str]) -> None:
        names = ", ".join(columns)
        sets = ", ".join(f"{name} = ?" for name in columns)
        self._sqlite = f"UPDATE {table.name} SET {sets} WHERE id = ?"
        sets = ", ".join(f"{name} = new.{name}" for name in columns)
        self._postgresql = (
            f"UPDATE {table.name} SET {sets} FROM {_arrays(table, [*columns, 'id'])} AS new ({names}, id) "
            f"WHERE {table.name}.id = new.id"
        )

    def __call__(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Update."""
        _execute(connection, self._sqlite, self._postgresql, rows)


def _arrays(table: Table, columns: Sequence[str]) -> str:
    # %b: in the binary format, or bytes would be written as hexadecimal text.
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    return f"unnest({', '.join(f'%b::{table.c[name].type.compile(dialect)}[]' for name in columns)})"


def _execute(connection: Connection, sqlite: str, postgresql: str, rows: Sequence[tuple[Any, ...]]) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(sqlite, list(rows))
    else:
        connection.exec_driver_sql(postgresql, tuple(map(list, zip(*rows, strict=True))))


class _List(TypeDecorator[Collection[Any]]):
    """A list of numbers or of texts as one parameter: an array, or on SQLite, which has none, JSON."""

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
    # Not Boolean: on SQLite that would be written as "... = 1", which no index serves.
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


def among(column: Column[Any], name: str) -> ColumnElement[bool]:
    """Return the condition that a column holds one of the values of the list given as the parameter `name`.

    Unlike IN it is the same statement for any number of values, so that it is parsed and planned once.
    """
    of = Text if isinstance(column.type, Text) else BigInteger
    return _Among(column, bindparam(name, type_=_List(of)))
