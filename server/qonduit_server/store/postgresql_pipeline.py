# SPDX-License-Identifier: Apache-2.0
"""Writes of a transaction on PostgreSQL that wait for no answer: they are sent together, with the next statement.

Each statement of a transaction is a round trip, for which two processes must be scheduled. On a busy machine, these
waits are most of a transaction's time. A write without a result waits until the transaction reads, or is prepared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError

#: Where a connection keeps the writes that wait; only between `begin` and `end`.
_KEY: Final = "qonduit_waiting_writes"
_Write = tuple[str, Sequence[Any]]


def prepare(engine: Engine) -> None:
    """Send the writes that wait before each other statement of the engine."""

    @event.listens_for(engine, "before_cursor_execute")
    def send_before(connection: Connection, *_: object) -> None:
        if connection.info.get(_KEY):
            send(connection)


def begin(connection: Connection) -> None:
    """Let the writes of a transaction wait from now on. Call `send` before the commit, and then `end`."""
    connection.info[_KEY] = []


def end(connection: Connection) -> None:
    """Drop the writes that wait, after the transaction ended or failed."""
    if not connection.invalidated:
        connection.info.pop(_KEY, None)


def write(connection: Connection, statement: str, parameters: Sequence[Any]) -> None:
    """Execute a statement without a result, or let it wait."""
    waiting: list[_Write] | None = connection.info.get(_KEY)
    if waiting is None:
        connection.exec_driver_sql(statement, tuple(parameters))
    else:
        waiting.append((statement, parameters))


def send(connection: Connection) -> None:
    """Execute the writes that wait, in order, in one round trip. Errors are those of SQLAlchemy."""
    waiting: list[_Write] = connection.info.get(_KEY) or []
    if not waiting:
        return
    connection.info[_KEY] = []
    if not connection.in_transaction():
        connection.begin()
    driver: Any = connection.connection.driver_connection
    errors = connection.dialect.loaded_dbapi.Error
    try:
        with driver.cursor() as cursor:
            if len(waiting) == 1:
                cursor.execute(*waiting[0])
            else:
                with driver.pipeline():
                    for statement, parameters in waiting:
                        cursor.execute(statement, parameters)
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
