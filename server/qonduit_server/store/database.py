# SPDX-License-Identifier: Apache-2.0
"""The database: opened once a process, read by any thread, written by one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from qonduit_server.errors import StartError
from qonduit_server.store import migrations
from qonduit_server.store.database_health import DatabaseHealth, unavailable
from qonduit_server.store.engines import connect_to_write, make_engine, parse_url
from qonduit_server.store.event_cache import EventCache
from qonduit_server.store.notification_bus import Notification, NotificationBus
from qonduit_server.store.writer import AWAY, Operation, Transaction, Writer, is_away

if TYPE_CHECKING:
    from qonduit_server.store.postgresql_listener import PostgresqlListener

A = TypeVar("A")
R = TypeVar("R")


def utc_now() -> datetime:
    """Return the time now, in UTC."""
    return datetime.now(UTC)


class ReadConnection:
    """A connection lent for reading: `with db.read() as connection`."""

    __slots__ = ("_connection", "_engine", "_health")

    def __init__(self, engine: Engine, health: DatabaseHealth) -> None:
        self._engine = engine
        self._health = health

    def __enter__(self) -> Connection:
        # Each connection that is tried in vain may cost a thread two seconds, and other calls wait for the thread.
        with self._health.attempt():
            try:
                self._connection = self._engine.connect()
            except AWAY as error:
                raise unavailable(error) from error
        return self._connection

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()
        if isinstance(error, AWAY):
            raise unavailable(error) from error


class SqliteTransactions:
    """Transactions of the only process that writes to a file."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._clock = clock
        self._connection: Connection | None = None
        self._synchronous = ""

    def run(self, work: Callable[[Transaction], None], *, durable: bool) -> Notification:
        """Run `work` in a transaction, commit it, and return what is to be told."""
        if self._connection is None:
            self._connection = connect_to_write(self._engine)
            self._synchronous = ""
        connection = self._connection
        try:
            synchronous = "FULL" if durable else "NORMAL"
            if synchronous != self._synchronous:
                # Ignored inside a transaction, so it comes first.
                connection.exec_driver_sql(f"PRAGMA synchronous={synchronous}")
                self._synchronous = synchronous
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            transaction = Transaction(connection, "sqlite", self._clock)
            work(transaction)
            connection.commit()
        except BaseException as error:
            if is_away(error):
                # A file that was replaced, or a disk that was full: begin anew on a fresh connection.
                self.close()
            else:
                connection.rollback()
            raise
        return transaction.notification()

    def attempt(self) -> None:
        """Change nothing, but find out whether changes are taken."""

        def write(transaction: Transaction) -> None:
            # A page of its own in the log, so that a full disk is noticed; nobody uses the number.
            transaction.connection.exec_driver_sql("PRAGMA user_version=0")

        self.run(write, durable=True)

    def close(self) -> None:
        """Close the connection, if there is one."""
        _drop(self._connection)
        self._connection = None


class PostgresqlTransactions:
    """Transactions of one of the servers that share a database."""

    def __init__(
        self,
        engine: Engine,
        clock: Callable[[], datetime],
        listener: PostgresqlListener,
        health: DatabaseHealth,
        recent: EventCache,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._listener = listener
        self._health = health
        self._event_cache = recent
        self._connection: Connection | None = None

    def run(self, work: Callable[[Transaction], None], *, durable: bool) -> Notification:
        """Run `work` in a transaction, commit it, and return what is to be told."""
        # Whatever another server changes from now on may be heard before the wake of this transaction is delivered.
        self._event_cache.begin()
        fresh = self._connection is None
        try:
            notification = self._prepare(work, durable=durable)
        except DBAPIError as error:
            if fresh or not error.connection_invalidated or self._health.silent:
                raise
            # The server was restarted since. Nothing was committed: once more, on a new connection.
            notification = self._prepare(work, durable=durable)
        assert self._connection is not None
        try:
            self._connection.commit()
        except BaseException:
            self._listener.disown()
            self.close()
            raise
        return notification

    def _prepare(self, work: Callable[[Transaction], None], *, durable: bool) -> Notification:
        if self._connection is None:
            self._connection = connect_to_write(self._engine)
        connection = self._connection
        try:
            if not durable:
                connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
            transaction = Transaction(connection, "postgresql", self._clock)
            work(transaction)
            notification = transaction.notification()
            if notification:
                self._listener.tell(connection, notification)
        except BaseException as error:
            if is_away(error):
                # Another server may have taken over, so that a new connection leads elsewhere.
                self.close()
            else:
                self._roll_back(connection)
            raise
        return notification

    def _roll_back(self, connection: Connection) -> None:
        try:
            connection.rollback()
        except SQLAlchemyError:
            self.close()

    def attempt(self) -> None:
        """Change nothing, but find out whether changes are taken."""

        def write(transaction: Transaction) -> None:
            # Refused by a server that only reads, though no row is looked at.
            transaction.connection.execute(_NO_CHANGE)

        self.run(write, durable=True)

    def close(self) -> None:
        """Close the connection, if there is one."""
        _drop(self._connection)
        self._connection = None


_NO_CHANGE: Final = text("UPDATE jobs SET id = id WHERE false")


def _drop(connection: Connection | None) -> None:
    """Close a connection without another word to the database, which may not be there."""
    if connection is not None:
        connection.invalidate()
        connection.close()


class Database:
    """An open database. Reads go on in the calling thread; writes go to one thread that commits them in groups."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        self.kind: Final[Literal["sqlite", "postgresql"]] = (
            "sqlite" if engine.dialect.name == "sqlite" else "postgresql"
        )
        self.notifications: Final = NotificationBus()
        self.recent: Final = EventCache()
        #: Whether the database answers.
        self.health: Final = DatabaseHealth()
        self.notifications.subscribe(self.recent.take)
        self._engine = engine
        self._listener = None
        if self.kind == "sqlite":
            self._writer = Writer(SqliteTransactions(engine, clock), self.notifications.deliver, self.health)
        else:
            # Brings psycopg, which a server on SQLite has no use for.
            from qonduit_server.store.postgresql_listener import PostgresqlListener

            self._listener = PostgresqlListener(engine, self.notifications.deliver, self.health)
            transactions = PostgresqlTransactions(engine, clock, self._listener, self.health, self.recent)
            self._writer = Writer(transactions, self.notifications.deliver, self.health)

    def read(self) -> ReadConnection:
        """Lend a connection to read with. Raises Unavailable when the database does not answer."""
        return ReadConnection(self._engine, self.health)

    def write(self, operation: Operation[A, R], argument: A) -> R:
        """Run an operation and return its result once it is committed.

        Raises:
            Unavailable: the database does not answer. Whether the change was made is then not known.
            CallError: what the operation says about this argument.
        """
        return self._writer.submit(operation, argument).result()

    def write_later(self, operation: Operation[A, R], argument: A) -> Future[R]:
        """Queue an operation; the future holds its result once it is committed."""
        return self._writer.submit(operation, argument)

    def close(self) -> None:
        """Finish what was queued and close every connection."""
        self._writer.close()
        if self._listener is not None:
            self._listener.close()
        self._engine.dispose()


def open_database(url: str, *, clock: Callable[[], datetime] = utc_now) -> Database:
    """Open a database, bringing its schema up to date.

    Args:
        url: sqlite:///FILE or postgresql://...
        clock: tells the time, in UTC.

    Raises:
        StartError: it cannot be reached, or was written by a newer version.
    """
    engine = make_engine(parse_url(url))
    try:
        migrations.bring_up_to_date(engine)
    except StartError:
        engine.dispose()
        raise
    return Database(engine, clock)
