# SPDX-License-Identifier: Apache-2.0
"""Queries that are compiled once and executed by the driver: most of the time of a small one is that of SQLAlchemy.

On PostgreSQL, planning takes longer than the execution of most of them. A plan is kept if the statement has no
parameters, or if plans for their values would be no better. So constants are part of the statement, and a list with one
value is compared by "=": a plan for any list expects ten values, for which another plan may seem better each time.
"""

from __future__ import annotations

import re
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Dialect, Select, TextualSelect, literal

from qonduit_server.store import postgresql_pipeline, sqlite_driver

_Process = Callable[[Any], Any]
_PARAMETER: Final = re.compile(r"%\((?P<name>\w+)\)s")
_LIST: Final = re.compile(r"= ANY \(%\((?P<name>\w+)\)s::(?P<type>\w+)\[\]\)")


class _Compiled(NamedTuple):
    text: str
    #: The parameters in order, each with the function that converts its value.
    parameters: Sequence[tuple[str, _Process]]
    #: The values of parameters that are part of the statement.
    defaults: Mapping[str, Any]
    #: Makes a row.
    make: Callable[[Sequence[Any]], Any]
    #: The parameters that are lists of which any value matches, and the statement for lists with one value.
    lists: Sequence[str] = ()
    text_for_one: str = ""


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
            compile_for = _compile_for_sqlite if name == "sqlite" else _compile_for_postgresql
            compiled = self._compiled[name] = compile_for(self._statement, connection.dialect)
        if name == "sqlite":
            values = {**compiled.defaults, **parameters}
            positional = [process(values[name]) for name, process in compiled.parameters]
            found = [compiled.make(row) for row in sqlite_driver.execute(connection, compiled.text, positional)]
            return lambda: found
        named = {name: process(parameters[name]) for name, process in compiled.parameters}
        text = compiled.text
        if compiled.lists and all(len(named[each]) == 1 for each in compiled.lists):
            text = compiled.text_for_one
            named.update((each, named[each][0]) for each in compiled.lists)
        answer = postgresql_pipeline.ask(connection, text, named)
        return lambda: [compiled.make(row) for row in answer()]


def _compile_for_sqlite(statement: Select[*tuple[Any, ...]] | TextualSelect, dialect: Dialect) -> _Compiled:
    compiled = statement.compile(dialect=dialect)
    whole = compiled.construct_expanded_state(compiled.params)
    processors = _processors(compiled, dialect)
    names = [(name, processors.get(name, _unchanged)) for name in whole.positiontup or ()]
    return _Compiled(whole.statement, names, whole.parameters, _maker(statement))


def _compile_for_postgresql(statement: Select[*tuple[Any, ...]] | TextualSelect, dialect: Dialect) -> _Compiled:
    compiled = statement.compile(dialect=dialect)
    whole = compiled.construct_expanded_state(compiled.params)
    required = {name for name, bind in compiled.binds.items() if bind.required}

    def constant(found: re.Match[str]) -> str:
        if found["name"] in required:
            return found[0]
        value = literal(whole.parameters[found["name"]])
        return f"({value.compile(dialect=dialect, compile_kwargs={'literal_binds': True})})"

    text = _PARAMETER.sub(constant, whole.statement)
    processors = _processors(compiled, dialect)
    names = [(name, processors.get(name, _unchanged)) for name in whole.parameters if name in required]
    lists = [found["name"] for found in _LIST.finditer(text)]
    for_one = _LIST.sub(r"= %(\g<name>)s::\g<type>", text)
    return _Compiled(text, names, {}, _maker(statement), lists, for_one)


def _processors(compiled: Any, dialect: Dialect) -> dict[str, _Process]:
    """Return the functions that convert the values of parameters, by name."""
    found = {name: bind.type.dialect_impl(dialect).bind_processor(dialect) for name, bind in compiled.binds.items()}
    return {name: processor for name, processor in found.items() if processor is not None}


def _maker(statement: Select[*tuple[Any, ...]] | TextualSelect) -> Callable[[Sequence[Any]], Any]:
    row = namedtuple("row", [column.name for column in statement.selected_columns], rename=True)  # type: ignore[misc]
    return row._make


def _unchanged(value: Any) -> Any:
    return value
