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
    from psycopg import pq
    from psycopg.abc import PQGen

#: Where a connection keeps the statements that wait; between `begin` and the commit.
_KEY: Final = "qonduit_waiting_statements"
_Parameters = Sequence[Any] | Mapping[str, Any]
_Rows = Sequence[Sequence[Any]]


class _Statement:
    """A statement, and its rows once it was executed: None before, and for a write."""

    __slots__ = ("parameters", "reads", "rows", "text")

    def __init__(self, text: str, parameters: _Parameters, *, reads: bool) -> None:
        self.text = text
        self.parameters = parameters
        self.reads = reads
        self.rows: _Rows | None = None


def prepare(engine: Engine) -> None:
    """Send the statements that wait before each other statement of the engine."""

    @event.listens_for(engine, "before_cursor_execute")
    def send_before(connection: Connection, *_: object) -> None:
        if connection.info.get(_KEY):
            _send_waiting(connection)


def begin(connection: Connection) -> None:
    """Let the statements of a transaction wait from now on; `commit` or `end` ends that."""
    connection.info[_KEY] = []


def end(connection: Connection) -> None:
    """Drop the statements that wait, after the transaction has failed."""
    if not connection.closed and not connection.invalidated:
        connection.info.pop(_KEY, None)


def write(connection: Connection, statement: str, parameters: _Parameters) -> None:
    """Execute a statement without a result, or let it wait."""
    _add(connection, _Statement(statement, parameters, reads=False))


def ask(connection: Connection, statement: str, parameters: _Parameters) -> Callable[[], _Rows]:
    """Execute a statement with a result, or let it wait.

    Returns:
        A function that returns the rows. The first call executes what waits; after `commit`, the rows are there.
    """
    asked = _Statement(statement, parameters, reads=True)
    _add(connection, asked)

    def rows() -> _Rows:
        if asked.rows is None:
            _send_waiting(connection)
        assert asked.rows is not None, "asked in another transaction"
        return asked.rows

    return rows


def commit(connection: Connection) -> None:
    """Execute the statements that wait, and commit, in one round trip. If one fails, nothing is committed.

    Errors are those of SQLAlchemy.
    """
    _execute(connection, connection.info.pop(_KEY, []), commits=True)
    connection.commit()  # of SQLAlchemy, which sends nothing if the driver has committed


def _add(connection: Connection, statement: _Statement) -> None:
    waiting: list[_Statement] | None = connection.info.get(_KEY)
    if waiting is None:
        _execute(connection, [statement])
    else:
        waiting.append(statement)


def _send_waiting(connection: Connection) -> None:
    waiting, connection.info[_KEY] = connection.info[_KEY], []
    _execute(connection, waiting)


def _execute(connection: Connection, statements: Sequence[_Statement], *, commits: bool = False) -> None:
    if not statements:
        return
    if not connection.in_transaction():
        connection.begin()
    driver: Any = connection.connection.driver_connection
    errors = connection.dialect.loaded_dbapi.Error
    try:
        if len(statements) > 1 or commits or not driver.autocommit:
            with driver.pipeline():
                cursors = [_send(driver, each) for each in statements]
                if commits:
                    driver.commit()
        else:
            cursors = [driver.execute(statements[0].text, statements[0].parameters, binary=True)]
        for statement, cursor in zip(statements, cursors, strict=True):
            if statement.reads:
                statement.rows = cursor.fetchall()
    except errors as error:
        disconnected = connection.dialect.is_disconnect(error, driver, None)
        if disconnected:
            connection.invalidate(error)
        raise DBAPIError.instance(
            *("; ".join(each.text for each in statements), None, error, errors),
            connection_invalidated=disconnected,
            dialect=connection.dialect,
        ) from error


def _send(driver: Any, statement: _Statement) -> Any:
    """Send a statement; return the cursor with its answer."""
    cursor = driver.cursor(binary=statement.reads)
    cursor.execute(statement.text, statement.parameters)
    driver.wait(_flushed(driver.pgconn))
    return cursor


def _flushed(session: pq.abc.PGconn) -> PQGen[None]:
    """Wait until the whole of a statement is sent. Psycopg 3.3 waits for its answer when a part of it is sent."""
    from psycopg.waiting import Ready, Wait

    while session.flush():
        if (yield Wait.RW) & Ready.R:
            session.consume_input()  # PostgreSQL may answer the statements before, and wait until that is read
