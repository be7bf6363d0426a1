# SPDX-License-Identifier: Apache-2.0
"""Queries that are compiled once and executed by the driver: most of the time of a small one is that of SQLAlchemy."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Dialect, Select, TextualSelect

from qonduit_server.store import postgresql_pipeline, sqlite_driver


class _Compiled(NamedTuple):
    text: str
    #: The parameters in order, each with the function that converts its value.
    parameters: Sequence[tuple[str, Callable[[Any], Any]]]
    #: The values of parameters that are part of the statement.
    defaults: Mapping[str, Any]
    #: Makes a row.
    make: Callable[[Sequence[Any]], Any]


class Query:
    """A query that is compiled once for each kind of database. The values of rows are those of the driver."""

    def __init__(self, statement: Select[*tuple[Any, ...]] | TextualSelect) -> None:
        self._statement = statement
        self._compiled: dict[str, _Compiled] = {}

    def __call__(self, connection: Connection, parameters: Mapping[str, Any]) -> Sequence[Any]:
        """Return all rows."""
        return self.ask(connection, parameters)()

    def ask(self, connection: Connection, parameters: Mapping[str, Any]) -> Callable[[], Sequence[Any]]:
        """Execute the query, but in a transaction on PostgreSQL do not wait for its rows.

        Ask what does not depend on other answers first, and call the returned functions afterwards: all that was asked
        and written until then is one round trip (postgresql_pipeline.py).

        Returns:
            A function that returns all rows. They contain the changes before `ask`, and none after it.
        """
        name = connection.dialect.name
        if (compiled := self._compiled.get(name)) is None:
            compiled = self._compiled[name] = self._compile(connection.dialect)
        text, names, defaults, make = compiled
        values = {**defaults, **parameters}
        if name == "sqlite":
            positional = [process(values[name]) for name, process in names]
            found = [make(row) for row in sqlite_driver.execute(connection, text, positional)]
            return lambda: found
        named = {name: process(values[name]) for name, process in names}
        answer = postgresql_pipeline.ask(connection, text, named)
        return lambda: [make(row) for row in answer()]

    def _compile(self, dialect: Dialect) -> _Compiled:
        compiled = self._statement.compile(dialect=dialect)
        # With the values of lists that are part of the statement.
        whole = compiled.construct_expanded_state(compiled.params)
        processors = {
            name: bind.type.dialect_impl(dialect).bind_processor(dialect) for name, bind in compiled.binds.items()
        }
        names = [(name, processors.get(name) or _unchanged) for name in whole.positiontup or whole.parameters]
        columns = [column.name for column in self._statement.selected_columns]
        row = namedtuple("row", columns, rename=True)  # type: ignore[misc]
        return _Compiled(whole.statement, names, whole.parameters, row._make)


def _unchanged(value: Any) -> Any:
    return value
