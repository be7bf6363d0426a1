# SPDX-License-Identifier: Apache-2.0
"""Statements of a transaction on PostgreSQL that wait for no answer: they are sent together, with the next that does.

Each statement of a transaction is a round trip, for which two processes must be scheduled. On a busy machine, these
waits are most of a transaction's time. A write without a result waits until the transaction needs an answer or commits.
So does a read whose rows are not needed yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    from qonduit_server.store.postgresql_round_trip import Rows, Statement

#: Where a connection keeps the statements that wait; between `begin` and the end of the transaction.
_KEY: Final = "qonduit_waiting_statements"
_BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED"
_Parameters = Sequence[Any] | Mapping[str, Any]


class _Waiting:
    """A statement, and its rows once it was executed."""

    __slots__ = ("rows", "statement")

    def __init__(self, statement: Statement) -> None:
        self.statement = statement
        self.rows: Rows | None = None


def prepare(engine: Engine) -> None:
    """Send the statements that wait before each other statement of the engine."""

    @event.listens_for(engine, "before_cursor_execute")
    def send_before(connection: Connection, *_: object) -> None:
        if connection.info.get(_KEY):
            _send_waiting(connection)


def begin(connection: Connection) -> None:
    """Begin a transaction, whose statements wait; `commit` or `rollback` ends it."""
    # The driver would wait for the answers of its own BEGIN and COMMIT.
    _driver(connection).autocommit = True
    connection.info[_KEY] = [_waiting(_BEGIN)]


def write(connection: Connection, statement: str, parameters: _Parameters) -> None:
    """Execute a statement without a result, or let it wait."""
    _add(connection, _waiting(statement, parameters))


def ask(connection: Connection, statement: str, parameters: _Parameters) -> Callable[[], Rows]:
    """Execute a statement with a result, or let it wait.

    Returns:
        A function that returns the rows. The first call executes what waits; after `commit`, the rows are there.
    """
    asked = _waiting(statement, parameters, reads=True)
    _add(connection, asked)

    def rows() -> Rows:
        if asked.rows is None:
            _send_waiting(connection)
        assert asked.rows is not None, "asked in another transaction"
        return asked.rows

    return rows


def commit(connection: Connection) -> None:
    """Execute the statements that wait, and commit, in one round trip. If one fails, nothing is committed.

    Errors are those of SQLAlchemy. Call `rollback` after an error, unless the connection is closed.
    """
    waiting: list[_Waiting] = connection.info[_KEY]
    if [each.statement.text for each in waiting] != [_BEGIN]:  # otherwise there was no statement
        _send(connection, [*waiting, _waiting("COMMIT")])
    del connection.info[_KEY]
    _driver(connection).autocommit = False
    connection.commit()  # of SQLAlchemy, which sends nothing


def rollback(connection: Connection) -> None:
    """Roll back a transaction, whether it was begun here or by SQLAlchemy."""
    connection.info.pop(_KEY, None)
    connection.rollback()
    driver = _driver(connection)
    driver.rollback()  # if SQLAlchemy knows of no transaction
    driver.autocommit = False


def _waiting(text: str, parameters: _Parameters = (), *, reads: bool = False) -> _Waiting:
    from qonduit_server.store.postgresql_round_trip import Statement  # with the driver, which SQLite does not need

    return _Waiting(Statement(text, parameters, reads))


def _driver(connection: Connection) -> Any:
    return connection.connection.driver_connection


def _add(connection: Connection, waiting: _Waiting) -> None:
    others: list[_Waiting] | None = connection.info.get(_KEY)
    if others is None:
        _send(connection, [waiting])
    else:
        others.append(waiting)


def _send_waiting(connection: Connection) -> None:
    waiting, connection.info[_KEY] = connection.info[_KEY], []
    _send(connection, waiting)


def _send(connection: Connection, waiting: Sequence[_Waiting]) -> None:
    from qonduit_server.store.postgresql_round_trip import execute

    if not connection.in_transaction():
        connection.begin()  # for the rollback of SQLAlchemy
    driver = _driver(connection)
    errors = connection.dialect.loaded_dbapi.Error
    try:
        rows = execute(driver, [each.statement for each in waiting])
    except errors as error:
        disconnected = connection.dialect.is_disconnect(error, driver, None)
        if disconnected:
            connection.invalidate(error)
        raise DBAPIError.instance(
            *("; ".join(each.statement.text for each in waiting), None, error, errors),
            connection_invalidated=disconnected,
            dialect=connection.dialect,
        ) from error
    for each, found in zip(waiting, rows, strict=True):
        each.rows = found
