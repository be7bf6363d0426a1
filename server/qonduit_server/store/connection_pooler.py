# SPDX-License-Identifier: Apache-2.0
"""Connection poolers such as PgBouncer: what may go through one, and how one is detected.

The writer and the listener need sessions of their own: they hold advisory locks and listen. A pooler in session mode
keeps these; one in transaction or statement mode gives each transaction to another connection, which would lose them
without an error. Reads are single statements, so they may go through it.
"""

from __future__ import annotations

from contextlib import closing
from typing import Any, Final

import psycopg
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from qonduit_server.errors import StartError
from qonduit_server.store.engines import connect_apart, make_engine, parse_url
from qonduit_server.store.timed_queries import Unresponsive, values_of

#: How long a pooler may take to assign a connection.
_SECONDS: Final = 10.0
#: How often the connections of two sessions are compared.
_COMPARISONS: Final = 5
# Identifies the database in its running server.
_IDENTITY: Final = (
    "SELECT CAST(pg_postmaster_start_time() AS text), "
    "(SELECT CAST(oid AS text) FROM pg_database WHERE datname = current_database())"
)


def refuse_shared_sessions(engine: Engine) -> None:
    """Refuse a pooler that shares the connections of sessions. Raises StartError.

    A pooler reports another process id of the backend at login than the backend itself, so that a direct connection is
    recognized at once. In transaction mode, a pooler gives the connection that one session released to the next.
    """
    try:
        one = connect_apart(engine)
    except psycopg.Error:
        return  # reported by the next connection
    try:
        with closing(one):
            own = _backend(one)
            if one.info.backend_pid == own:
                return
            with closing(connect_apart(engine)) as other:
                for _ in range(_COMPARISONS):
                    if _backend(other) == own or _backend(one) != own:
                        raise StartError(
                            "the database URL leads through a connection pooler in transaction or statement mode, "
                            "which does not keep sessions: set database to the URL of PostgreSQL itself or of a pooler "
                            "in session mode, and database_pooler to this URL"
                        )
    except psycopg.Error as error:
        raise StartError(f"the connection pooler of the database cannot be used: {_first_line(error)}") from error


def engine_of_reads(engine: Engine, url: str) -> Engine:
    """Return an engine whose connections go through a pooler to the database of another engine. Raises StartError."""
    parsed = parse_url(url)
    if parsed.drivername == "sqlite":
        raise StartError("database_pooler must be the URL of a pooler of PostgreSQL: postgresql://...")
    pooled = make_engine(parsed, pooled=True)
    try:
        _refuse_other_database(engine, pooled)
    except StartError:
        pooled.dispose()
        raise
    return pooled


def _refuse_other_database(engine: Engine, pooled: Engine) -> None:
    try:
        with engine.connect() as direct, pooled.connect() as through:
            same = direct.execute(text(_IDENTITY)).one() == through.execute(text(_IDENTITY)).one()
    except SQLAlchemyError as error:
        where = pooled.url.render_as_string(hide_password=True)
        raise StartError(f"the pooler {where} (database_pooler) cannot be used: {_first_line(error)}") from error
    if not same:
        raise StartError("database_pooler leads to another database than database: both must be the same")


def _backend(connection: psycopg.Connection[Any]) -> int:
    """Return the process id of the backend that serves a connection now."""
    try:
        (process,) = values_of(connection.pgconn, b"SELECT pg_backend_pid()", _SECONDS)
    except Unresponsive as error:
        message = f"it assigned no connection within {_SECONDS:g} s: raise its pool size"
        raise psycopg.OperationalError(message) from error
    return int(process)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
