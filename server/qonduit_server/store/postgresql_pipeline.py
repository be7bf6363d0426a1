# SPDX-License-Identifier: Apache-2.0
"""Writes of a transaction on PostgreSQL that wait for no answer: they are sent together, with the next statement.

Each statement of a transaction is a round trip, for which two processes must be scheduled. On a busy machine, these
waits are most of a transaction's time. A write without a result waits until the transaction reads or commits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    from psycopg import pq
    from psycopg.abc import PQGen

#: Where a connection keeps the writes that wait; between `begin` and the commit.
_KEY: Final = "qonduit_waiting_writes"
_Write = tuple[str, Sequence[Any]]


def prepare(engine: Engine) -> None:
    """Send the writes that wait before each other statement of the engine."""

    @event.listens_for(engine, "before_cursor_execute")
    def send_before(connection: Connection, *_: object) -> None:
        if waiting := connection.info.get(_KEY):
            connection.info[_KEY] = []
            _execute(connection, waiting)


def begin(connection: Connection) -> None:
    """Let the writes of a transaction wait from now on; `commit` or `end` ends that."""
    connection.info[_KEY] = []


def end(connection: Connection) -> None:
    """Drop the writes that wait, after the transaction has failed."""
    if not connection.closed and not connection.invalidated:
        connection.info.pop(_KEY, None)


def write(connection: Connection, statement: str, parameters: Sequence[Any]) -> None:
    """Execute a statement without a result, or let it wait."""
    waiting: list[_Write] | None = connection.info.get(_KEY)
    if waiting is None:
        connection.exec_driver_sql(statement, tuple(parameters))
    else:
        waiting.append((statement, parameters))


def commit(connection: Connection) -> None:
    """Execute the writes that wait, and commit, in one round trip. If a write fails, nothing is committed.

    Errors are those of SQLAlchemy.
    """
    _execute(connection, connection.info.pop(_KEY, []), commits=True)
    connection.commit()  # of SQLAlchemy, which sends nothing if the driver has committed


def _execute(connection: Connection, waiting: Sequence[_Write], *, commits: bool = False) -> None:
    if not waiting:
        return
    if not connection.in_transaction():
        connection.begin()
    driver: Any = connection.connection.driver_connection
    errors = connection.dialect.loaded_dbapi.Error
    try:
        with driver.cursor() as cursor, driver.pipeline():
            for statement, parameters in waiting:
                cursor.execute(statement, parameters)
                driver.wait(_flushed(driver.pgconn))
            if commits:
                driver.commit()
    except errors as error:
        disconnected = connection.dialect.is_disconnect(error, driver, None)
        if disconnected:
            connection.invalidate(error)
        statements = "; ".join(statement for statement, _ in waiting)
        raise DBAPIError.instance(
            *(statements, None, error, errors),
            connection_invalidated=disconnected,
            dialect=connection.dialect,
        ) from error


def _flushed(session: pq.abc.PGconn) -> PQGen[None]:
    """Wait until the whole of a statement is sent. Psycopg 3.3 waits for its answer when a part of it is sent."""
    from psycopg.waiting import Ready, Wait

    while session.flush():
        if (yield Wait.RW) & Ready.R:
            session.consume_input()  # PostgreSQL may answer the statements before, and wait until that is read
