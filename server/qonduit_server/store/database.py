# SPDX-License-Identifier: Apache-2.0
"""The database: opened once per process, read by any thread, written by one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from sqlalchemy import Connection, Engine

from qonduit_server.encryption.key_ring import KeyRing
from qonduit_server.encryption.sealing import Sealer
from qonduit_server.errors import StartError
from qonduit_server.observer import UNOBSERVED, Observer
from qonduit_server.store import log_epoch, migrations, sqlite_driver
from qonduit_server.store.audit_trail import Act, AuditTrail, acting
from qonduit_server.store.database_errors import UNAVAILABLE_ERRORS, is_unavailable
from qonduit_server.store.database_health import DatabaseHealth, unavailable
from qonduit_server.store.engines import connect_to_write, drop, make_engine, parse_url
from qonduit_server.store.event_cache import EventCache
from qonduit_server.store.lane_accounts import LaneAccounts
from qonduit_server.store.notification_bus import EVERYTHING, CallerUse, Notification, NotificationBus
from qonduit_server.store.quota_registry import QuotaRegistry
from qonduit_server.store.recent_deployments import RecentDeployments
from qonduit_server.store.wait_history import Waits
from qonduit_server.store.writer import FollowUp, Operation, Transaction, Writer

if TYPE_CHECKING:
    from qonduit_server.store.postgresql_transactions import FollowFailover
    from qonduit_server.store.shared_partials import SharedPartials
    from qonduit_server.store.shared_use import SharedUse

A = TypeVar("A")
R = TypeVar("R")


def utc_now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


class ReadConnection:
    """A connection for reading, borrowed from the pool: `with db.read() as connection`."""

    __slots__ = ("_connection", "_engine", "_health")

    def __init__(self, engine: Engine, health: DatabaseHealth) -> None:
        self._engine = engine
        self._health = health

    def __enter__(self) -> Connection:
        # A failed attempt may block the thread for two seconds while other calls wait for it.
        with self._health.attempt():
            try:
                self._connection = self._engine.connect()
            except UNAVAILABLE_ERRORS as error:
                raise unavailable(error) from error
        return self._connection

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()
        if isinstance(error, UNAVAILABLE_ERRORS):
            raise unavailable(error) from error


class SqliteTransactions:
    """Transactions of the only process that writes to a SQLite file."""

    def __init__(
        self, engine: Engine, clock: Callable[[], datetime], quotas: QuotaRegistry, event_cache: EventCache
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._quotas = quotas
        self._event_cache = event_cache
        self._connection: Connection | None = None
        self._synchronous = ""
        self._log_epoch: int | None = None

    def run(self, work: Callable[[Transaction], None], *, durable: bool) -> Notification:
        """Run `work` in a transaction, commit it, and return its notification."""
        if self._connection is None:
            self._connection = connect_to_write(self._engine)
            self._synchronous = ""
            self._log_epoch = None
        connection = self._connection
        try:
            synchronous = "FULL" if durable else "NORMAL"
            if synchronous != self._synchronous:
                # SQLite ignores the pragma inside a transaction, so set it first.
                sqlite_driver.execute(connection, f"PRAGMA synchronous={synchronous}")
                self._synchronous = synchronous
            sqlite_driver.execute(connection, "BEGIN IMMEDIATE")
            if self._log_epoch is None:
                self._log_epoch = log_epoch.join(connection)
            transaction = Transaction(
                connection, "sqlite", self._clock, self._quotas, self._event_cache, self._log_epoch
            )
            work(transaction)
            sqlite_driver.execute(connection, "COMMIT")
            connection.commit()  # of SQLAlchemy, which began its own if it executed a statement
            self._log_epoch = transaction.log_epoch
        except BaseException as error:
            if is_unavailable(error):
                # The file was replaced, or the disk was full: use a new connection next time.
                self.close()
            else:
                sqlite_driver.rollback(connection)
            raise
        return transaction.notification()

    def attempt(self) -> None:
        """Check whether the database is writable, without a change."""

        def write(transaction: Transaction) -> None:
            # Writes a page to the log, so that a full disk is detected; the value is unused.
            transaction.connection.exec_driver_sql("PRAGMA user_version=0")

        self.run(write, durable=True)

    def close(self) -> None:
        """Close the connection, if there is one."""
        drop(self._connection)
        self._connection = None


class Database:
    """An open database. The calling thread reads; a writer thread commits changes in groups."""

    def __init__(
        self,
        engine: Engine,
        clock: Callable[[], datetime],
        sealer: Sealer,
        observer: Observer,
        follow_failover: FollowFailover | None = None,
        pooled: Engine | None = None,
    ) -> None:
        self._lost = threading.Event()
        self._on_lost: Callable[[], None] = lambda: None
        #: Encrypts the credentials in the database.
        self.sealer: Final = sealer
        self.kind: Final[Literal["sqlite", "postgresql"]] = (
            "sqlite" if engine.dialect.name == "sqlite" else "postgresql"
        )
        self.notifications: Final = NotificationBus()
        self.event_cache: Final = EventCache()
        #: What lanes owe for the jobs that this server claims.
        self.lane_accounts: Final = LaneAccounts()
        #: How long jobs waited, as far as this server observed it.
        self.waits: Final = Waits()
        #: The quotas of owners.
        self.quotas: Final = QuotaRegistry(self.read)
        #: The latest inline deployments that this server stored.
        self.recent_deployments: Final = RecentDeployments()
        self._clock = clock
        #: The rows that a list may test for its filter and leave out, over all of its pages; 0: no limit.
        self.max_tested_rows = 1_000_000
        #: Whether the database is available.
        self.health: Final = DatabaseHealth()
        self.notifications.subscribe(self.event_cache.update)
        self.notifications.subscribe(self.quotas.on_notification)
        #: The connections for reading, and those of sessions if they are others.
        self._engine, self._session_engine = pooled or engine, engine
        self._listener = None
        self._partials: SharedPartials | None = None
        self._use: SharedUse | None = None
        audit = AuditTrail()
        if self.kind == "sqlite":
            sqlite = SqliteTransactions(engine, clock, self.quotas, self.event_cache)
            self._writer = Writer(sqlite, self.notifications.deliver, self.health, audit, observer)
        else:
            # Imports psycopg, which a server on SQLite does not need.
            from qonduit_server.store.postgresql_listener import PostgresqlListener
            from qonduit_server.store.postgresql_transactions import PostgresqlTransactions
            from qonduit_server.store.shared_partials import SharedPartials
            from qonduit_server.store.shared_use import SharedUse

            self._partials, self._use = SharedPartials(), SharedUse()
            receivers = (self._partials, self._use)
            self._listener = PostgresqlListener(
                engine, pooled, self.notifications.deliver, self.health, receivers, clock
            )
            transactions = PostgresqlTransactions(
                *(engine, clock, self.quotas, self._listener, self.health, self.event_cache),
                follow_failover=follow_failover,
                on_failover=self._on_failover,
            )
            self._writer = Writer(transactions, self.notifications.deliver, self.health, audit, observer)

    def now(self) -> int:
        """Return the time of changes now, in microseconds since 1970."""
        return int(self._clock().timestamp() * 1_000_000)

    def read(self) -> ReadConnection:
        """Return a connection for reading. Raises Unavailable if the database does not answer."""
        return ReadConnection(self._engine, self.health)

    def write(self, operation: Operation[A, R], argument: A) -> R:
        """Run an operation and return its result once it is committed.

        Raises:
            Unavailable: the database does not answer; it is unknown whether the change was committed.
            CallError: the operation rejects this argument.
        """
        return self._writer.submit(operation, argument).result()

    def write_later(self, operation: Operation[A, R], argument: A) -> Future[R]:
        """Queue an operation; the future holds its result once it is committed."""
        return self._writer.submit(operation, argument)

    def request_partial_results(self, job_ids: Collection[int]) -> None:
        """Request the partial results of jobs that other servers run. Repeat it: a request is valid for seconds."""
        if self._partials is not None:
            self._partials.request(self._writer, job_ids)

    def publish_partial_result(self, job_id: int, event: bytes) -> None:
        """Deliver a serialized event to the watchers of this server, and of the servers that requested it."""
        self.notifications.deliver(Notification(partial={job_id: event}))
        if self._partials is not None:
            self._partials.send(self._writer, job_id, event)

    def share_use(self, uses: Sequence[CallerUse]) -> None:
        """Send what callers use at this server to the other servers of the database."""
        if self._use is not None:
            with acting(None):
                self._use.send(self._writer, uses)

    def record(self, act: Act) -> Future[None]:
        """Queue the entry of an act that changes nothing else; the future is done once it is committed."""
        with acting(act):
            return self._writer.submit(_NO_OTHER_CHANGE, None)

    def follow(self, follow_up: FollowUp[R]) -> None:
        """Make a change with the next transaction that queues jobs."""
        self._writer.follow(follow_up)

    def withdraw(self, follow_up: FollowUp[R]) -> bool:
        """Withdraw a follow-up; return False if a transaction makes or made it, so that its future gets a result."""
        return self._writer.withdraw(follow_up)

    def _on_failover(self, lost: bool) -> None:
        self.notifications.deliver(EVERYTHING)
        if lost:
            self._lost.set()
            self._on_lost()

    def on_lost(self, callback: Callable[[], None]) -> None:
        """Call back when a failover of the database has lost changes of this process, which must end."""
        self._on_lost = callback
        if self._lost.is_set():
            callback()

    def close(self) -> None:
        """Finish queued writes and close every connection."""
        self._writer.close()
        if self._listener is not None:
            self._listener.close()
        self._engine.dispose()
        self._session_engine.dispose()


#: Only its entry in the audit log is written. Not durable: it is about reading, or about a refused call.
_NO_OTHER_CHANGE: Final[Operation[None, None]] = Operation(lambda _, calls: [None] * len(calls), durable=False)


def open_database(
    url: str,
    *,
    clock: Callable[[], datetime] | None = None,
    keys: KeyRing | None = None,
    observer: Observer = UNOBSERVED,
    follow_failover: FollowFailover | None = None,
    pooler: str = "",
) -> Database:
    """Open a database and upgrade its schema.

    Args:
        url: sqlite:///FILE or postgresql://...
        clock: returns the current time in UTC; by default that of PostgreSQL, or of this machine with SQLite.
        keys: encrypt the credentials of providers; without keys, the database stores none.
        observer: receives the size and the time of each transaction.
        follow_failover: changes the database after a failover of PostgreSQL; without it, writes fail then.
        pooler: postgresql://... of the same database through a connection pooler, for reads; empty without one.

    Raises:
        StartError: the database cannot be reached, has a newer schema, or its connection pooler keeps no sessions.
    """
    engine, pooled = make_engine(parse_url(url)), None
    try:
        if engine.dialect.name == "sqlite":
            if pooler:
                raise StartError("database_pooler needs a database on PostgreSQL, got a SQLite file as database")
            migrations.bring_up_to_date(engine)
            clock = clock or utc_now
        else:
            # Imports psycopg, which a server on SQLite does not need.
            from qonduit_server.store import connection_pooler
            from qonduit_server.store.database_clock import DatabaseClock

            connection_pooler.refuse_shared_sessions(engine)
            migrations.bring_up_to_date(engine)
            clock = clock or DatabaseClock(engine)
            if pooler:
                pooled = connection_pooler.engine_of_reads(engine, pooler)
    except StartError:
        engine.dispose()
        raise
    return Database(engine, clock, Sealer(keys or KeyRing()), observer, follow_failover, pooled)
