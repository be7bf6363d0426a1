# SPDX-License-Identifier: Apache-2.0
"""Connections: how SQLite and PostgreSQL are spoken to."""

from __future__ import annotations

import os
import socket
import sqlite3
import time
from contextlib import suppress
from typing import Any, Final
from weakref import WeakKeyDictionary

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DisconnectionError

from qonduit_server.errors import StartError

#: How long to wait for SQLite's lock, or for PostgreSQL to take a connection, before saying that it is away.
_PATIENCE_SECONDS: Final = 2
#: How long to wait between two attempts to switch a file to its write-ahead log.
_WAL_AGAIN_SECONDS: Final = 0.01
#: A pooled connection that lay idle for longer is tried before it is lent: its server may have been restarted.
_IDLE_SECONDS: Final = 5.0


_LAST_PORT: Final = 65535


def parse_url(url: str) -> URL:
    """Return a URL with its driver named. Raises StartError when it is not one of a database we know."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise StartError(f"the database URL must be sqlite:///FILE or postgresql://... ({error})") from error
    except ValueError as error:  # SQLAlchemy reads the port with int()
        given = str(error).rpartition(": ")[2]
        raise StartError(
            f"the port of the database URL must be a number from 1 to {_LAST_PORT}, got {given}"
        ) from error
    if parsed.port is not None and not 1 <= parsed.port <= _LAST_PORT:
        raise StartError(f"the port of the database URL must be a number from 1 to {_LAST_PORT}, got {parsed.port}")
    if parsed.drivername in ("sqlite", "sqlite+pysqlite"):
        if parsed.query.get("uri") or str(parsed.database).startswith("file:"):
            raise StartError(f"the database must be named by its path (sqlite:///FILE), got {parsed.database}")
        if parsed.database in (None, "", ":memory:") or "mode=memory" in str(parsed):
            raise StartError(
                "the database must be a file (sqlite:///FILE): an in-memory database is lost with the process"
            )
        return parsed.set(drivername="sqlite")
    if parsed.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return parsed.set(drivername="postgresql+psycopg")
    raise StartError(f"the database URL must be sqlite:///FILE or postgresql://..., got {parsed.drivername!r}")


def _no_port(given: object) -> StartError:
    return StartError(f"the port of the database URL must be a number from 1 to {_LAST_PORT}, got {given}")


def make_engine(url: URL) -> Engine:
    """Make the engine. Its connections begin no transactions by themselves: each statement sees what was committed."""
    if url.drivername == "sqlite":
        return _sqlite(url)
    engine = create_engine(
        url,
        isolation_level="AUTOCOMMIT",
        use_native_hstore=False,
        **_LIMITS,
        connect_args=_postgresql_arguments(url),
    )
    _try_idle_connections(engine)
    _SOCKETS[engine] = _Sockets(engine)
    return engine


def sever(engine: Engine) -> None:
    """Break every connection of an engine to PostgreSQL, and with it each wait for an answer."""
    _SOCKETS[engine].sever()


def connect_to_write(engine: Engine) -> Connection:
    """Open a connection for transactions. On SQLite whoever writes has to begin them, with BEGIN IMMEDIATE."""
    connection = engine.connect()
    if engine.dialect.name == "sqlite":
        return connection
    return connection.execution_options(isolation_level="READ COMMITTED")


_LIMITS: Final[dict[str, Any]] = {
    "pool_size": 8,
    "max_overflow": 64,
    "pool_timeout": _PATIENCE_SECONDS,
    "pool_use_lifo": True,
}


def _postgresql_arguments(url: URL) -> dict[str, Any]:
    """Return libpq parameters; those in the URL win."""
    arguments = {
        "connect_timeout": _PATIENCE_SECONDS,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 5000,
        "application_name": "qonduit",
        # A server that is frozen inside a transaction must not keep its locks, or nobody could take over its jobs.
        "options": "-c lock_timeout=4s -c statement_timeout=60s -c idle_in_transaction_session_timeout=5s"
        " -c timezone=UTC",
    }
    return {name: value for name, value in arguments.items() if name not in url.query}


def _create_private(path: str) -> None:
    """Create a database file, for its owner alone: SQLite gives its log and its shared memory the same mode."""
    # A file that exists is not opened: closing it would end the locks that SQLite has on it in this process. Where it
    # cannot be created, SQLite says so when it connects.
    with suppress(OSError):
        os.close(os.open(os.path.realpath(path), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _sqlite(url: URL) -> Engine:
    assert url.database is not None
    _create_private(url.database)
    engine = create_engine(url, **_LIMITS, connect_args={"check_same_thread": False, "timeout": _PATIENCE_SECONDS})

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, record: object) -> None:
        # The driver must not begin transactions by itself: reads need none, whoever writes begins with BEGIN IMMEDIATE.
        connection.isolation_level = None
        _use_wal(connection)
        for pragma in (
            "synchronous=FULL",
            "foreign_keys=ON",
            "cache_size=-16384",
            "temp_store=MEMORY",
        ):
            connection.execute(f"PRAGMA {pragma}").close()

    return engine


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch a file to its write-ahead log. SQLite does not wait for its lock in this one statement, so we do."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_WAL_AGAIN_SECONDS)


def _try_idle_connections(engine: Engine) -> None:
    @event.listens_for(engine, "checkin")
    def note(connection: Any, record: Any) -> None:
        record.info["idle_since"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def attempt(connection: Any, record: Any, proxy: object) -> None:
        since = record.info.get("idle_since")
        if since is None or time.monotonic() - since < _IDLE_SECONDS:
            return
        try:
            connection.execute("SELECT 1")
        except engine.dialect.loaded_dbapi.Error as error:
            raise DisconnectionError from error


class _Sockets:
    """The sockets of an engine's connections to PostgreSQL, so that they can be broken from outside."""

    def __init__(self, engine: Engine) -> None:
        # From the engine's first connection on: it stays in the pool.
        self._errors = (OSError, engine.dialect.loaded_dbapi.Error)
        #: Each with the number of its socket: that of its descriptor may be another's by the time it is used.
        self._open: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
        event.listen(engine, "connect", self._note)

    def _note(self, connection: Any, record: object) -> None:
        self._open[connection] = os.fstat(connection.fileno()).st_ino

    def sever(self) -> None:
        """Break every connection, and with it each wait for an answer: the server is there, but silent.

        Nothing else ends such a wait: the kernel of a server that hangs goes on to acknowledge what it is sent.
        """
        for connection, number in list(self._open.items()):
            with suppress(*self._errors), socket.socket(fileno=os.dup(connection.fileno())) as own:
                if os.fstat(own.fileno()).st_ino == number:
                    own.shutdown(socket.SHUT_RDWR)


_SOCKETS: Final[WeakKeyDictionary[Engine, _Sockets]] = WeakKeyDictionary()
