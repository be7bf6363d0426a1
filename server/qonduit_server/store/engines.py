# SPDX-License-Identifier: Apache-2.0
"""Connections to SQLite and PostgreSQL."""

from __future__ import annotations

import os
import re
import socket
import sqlite3
import time
from contextlib import suppress
from typing import Any, Final
from weakref import WeakKeyDictionary

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DisconnectionError

from qonduit_server.errors import StartError
from qonduit_server.store import postgresql_pipeline

#: Time limit for SQLite's lock, and for PostgreSQL to accept a connection.
_TIMEOUT_SECONDS: Final = 2
#: Delay between two attempts to switch a file to its write-ahead log.
_WAL_RETRY_SECONDS: Final = 0.01
#: A pooled connection that was idle for longer is tested before use: its server may have restarted.
_IDLE_SECONDS: Final = 5.0


_LAST_PORT: Final = 65535
_HOSTS: Final = re.compile(
    r"(?P<scheme>postgres\w*(?:\+psycopg)?://)(?P<user>[^/?@]*@)?(?P<hosts>[^/?@,]+(?:,[^/?@,]+)+)(?P<path>/[^?]*)?"
    r"(?:\?(?P<query>.*))?"
)


def parse_url(url: str) -> URL:
    """Return a URL with its driver name. Raises StartError if the URL is invalid or the database is unsupported."""
    try:
        parsed = make_url(_with_separate_hosts(url))
    except ArgumentError as error:
        raise StartError(f"the database URL must be sqlite:///FILE or postgresql://... ({error})") from error
    except ValueError as error:  # SQLAlchemy parses the port with int()
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


def _with_separate_hosts(url: str) -> str:
    """Return a URL with libpq's list of hosts (HOST:PORT,HOST:PORT) in the form that SQLAlchemy reads."""
    if (found := _HOSTS.fullmatch(url)) is None:
        return url
    hosts = "&".join(f"host={each}" for each in found["hosts"].split(","))
    query = "&".join(filter(None, (hosts, found["query"])))
    return f"{found['scheme']}{found['user'] or ''}{found['path'] or '/'}?{query}"


def make_engine(url: URL, *, pooled: bool = False) -> Engine:
    """Create the engine. Its connections are in autocommit mode: each statement sees all commits before it.

    Args:
        url: sqlite:///FILE or postgresql://...
        pooled: whether the URL leads through a pooler, which keeps no session: then only single statements may use it.
    """
    if url.drivername == "sqlite":
        return _sqlite(url)
    engine = create_engine(
        url,
        isolation_level="AUTOCOMMIT",
        use_native_hstore=False,
        **_LIMITS,
        connect_args=_postgresql_arguments(url) | ({"prepare_threshold": None} if pooled else {}),
    )
    if not pooled and "options" not in url.query:
        event.listen(engine, "connect", _limit_session)
    postgresql_pipeline.prepare(engine)
    _try_idle_connections(engine)
    _SOCKETS[engine] = _Sockets(engine)
    return engine


def sever(engine: Engine) -> None:
    """Shut down every connection of an engine to PostgreSQL, which ends each wait for an answer."""
    _SOCKETS[engine].sever()


def connect_to_write(engine: Engine) -> Connection:
    """Open a connection for transactions. On SQLite, the caller begins each one with BEGIN IMMEDIATE."""
    connection = engine.connect()
    if engine.dialect.name == "sqlite":
        return connection
    connection.connection.driver_connection.execute(_WRITER_SETTINGS)  # type: ignore[union-attr]
    return connection.execution_options(isolation_level="READ COMMITTED")


def drop(connection: Connection | None) -> None:
    """Close a connection without contacting the database, which may be unreachable."""
    if connection is not None:
        connection.invalidate()
        connection.close()


# A server that is frozen inside a transaction must lose its locks, or no other server could claim its jobs.
_SESSION_LIMITS: Final = (
    "SET lock_timeout = '4s'; SET statement_timeout = '60s'; SET idle_in_transaction_session_timeout = '5s'; "
    "SET timezone = 'UTC'; "
    # An index that has only the first columns of an order would be read whole, and its rows sorted.
    "SET enable_incremental_sort = off; "
    # A plan that is kept since its table was small would read the whole table when it is large.
    "SET enable_seqscan = off; "
    # Small tables without an index would cost so much then that PostgreSQL compiles the statement.
    "SET jit = off"
)
# Nor may such a plan read a whole table once to find the rows of a transaction in it.
_WRITER_SETTINGS: Final = "SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_material = off"
#: The write-ahead log of a SQLite file is cut to this size when it begins again; a large transaction makes it longer.
LOG_BYTES: Final = 64 * 1024**2
_LIMITS: Final[dict[str, Any]] = {
    "pool_size": 8,
    "max_overflow": 64,
    "pool_timeout": _TIMEOUT_SECONDS,
    "pool_use_lifo": True,
}


def _postgresql_arguments(url: URL) -> dict[str, Any]:
    """Return libpq parameters, except those in the URL, which take precedence."""
    arguments = {
        "connect_timeout": _TIMEOUT_SECONDS,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 5000,
        "application_name": "qonduit",
    }
    return {name: value for name, value in arguments.items() if name not in url.query}


def _limit_session(connection: Any, record: object) -> None:
    """Set the time limits of a session. Poolers refuse them as parameters of the connection."""
    autocommit, connection.autocommit = connection.autocommit, True
    connection.execute(_SESSION_LIMITS).close()
    connection.autocommit = autocommit


def connect_apart(engine: Engine) -> Any:
    """Open a connection of psycopg to PostgreSQL that is not in the pool of the engine."""
    arguments, options = engine.dialect.create_connect_args(engine.url)
    own = {"autocommit": True, "connect_timeout": _TIMEOUT_SECONDS, "keepalives_idle": 5}
    return engine.dialect.loaded_dbapi.connect(*arguments, **{**options, **own})


def _create_private(path: str) -> None:
    """Create a database file that only its owner can read; SQLite uses its mode for the log and the shared memory."""
    # An existing file is not opened: closing it would release SQLite's locks in this process. If the file cannot be
    # created, SQLite reports the error when it connects.
    with suppress(OSError):
        os.close(os.open(os.path.realpath(path), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _sqlite(url: URL) -> Engine:
    assert url.database is not None
    _create_private(url.database)
    engine = create_engine(url, **_LIMITS, connect_args={"check_same_thread": False, "timeout": _TIMEOUT_SECONDS})

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, record: object) -> None:
        # The driver must not begin transactions: reads need none, and writes begin with BEGIN IMMEDIATE.
        connection.isolation_level = None
        _use_wal(connection)
        for pragma in (
            "synchronous=FULL",
            "foreign_keys=ON",
            "cache_size=-16384",
            "temp_store=MEMORY",
            f"journal_size_limit={LOG_BYTES}",
        ):
            connection.execute(f"PRAGMA {pragma}").close()

    return engine


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch a file to its write-ahead log, with retries: SQLite does not wait for the lock in this statement."""
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_WAL_RETRY_SECONDS)


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
    """The sockets of an engine's connections to PostgreSQL, so that another thread can shut them down."""

    def __init__(self, engine: Engine) -> None:
        self._errors = (OSError, engine.dialect.loaded_dbapi.Error)
        #: Each with the inode of its socket, because its descriptor may be reused.
        self._open: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
        event.listen(engine, "connect", self._note)

    def _note(self, connection: Any, record: object) -> None:
        self._open[connection] = os.fstat(connection.fileno()).st_ino

    def sever(self) -> None:
        """Shut down every connection, which ends each wait for an answer of an unresponsive server.

        Nothing else ends such a wait: the kernel of a hanging server still acknowledges packets.
        """
        for connection, number in list(self._open.items()):
            with suppress(*self._errors), socket.socket(fileno=os.dup(connection.fileno())) as own:
                if os.fstat(own.fileno()).st_ino == number:
                    own.shutdown(socket.SHUT_RDWR)


_SOCKETS: Final[WeakKeyDictionary[Engine, _Sockets]] = WeakKeyDictionary()
