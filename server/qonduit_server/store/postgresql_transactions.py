# SPDX-License-Identifier: Apache-2.0
"""Transactions on PostgreSQL, which several servers share, and which another PostgreSQL server may take over."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, Protocol

import structlog
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, NotSupportedError, ProgrammingError, SQLAlchemyError

from qonduit_server.errors import FailedPrecondition, Unavailable
from qonduit_server.store import log_epoch, postgresql_pipeline, timeline
from qonduit_server.store.database_errors import is_unavailable
from qonduit_server.store.database_health import DatabaseHealth
from qonduit_server.store.engines import connect_to_write, drop
from qonduit_server.store.event_cache import EventCache
from qonduit_server.store.notification_bus import Notification
from qonduit_server.store.postgresql_listener import PostgresqlListener
from qonduit_server.store.quota_registry import QuotaRegistry
from qonduit_server.store.timeline import Change, Timeline
from qonduit_server.store.writer import Transaction

_log: Final[Any] = structlog.get_logger("qonduit.store")


# With a synchronous standby, all commits wait for it, so that watchers see no event that a failover could lose. Read
# each time, because standbys come and go while the session lives.
_RELAX: Final = (
    "SELECT set_config('synchronous_commit', CASE WHEN current_setting('synchronous_standby_names') = '' THEN 'off' "
    "ELSE current_setting('synchronous_commit') END, true)"
)
_NO_CHANGE: Final = text("UPDATE jobs SET id = id WHERE false")


class FollowFailover(Protocol):
    """Changes the database after a failover; returns the number of jobs that failed."""

    def __call__(self, transaction: Transaction, *, new_log: bool, lost: bool) -> int:
        """Begin a new log if `new_log`; changes may be lost if `lost`."""
        ...


class PostgresqlTransactions:
    """Transactions of one of the servers that share a PostgreSQL database.

    Args:
        engine: the engine of the database.
        clock: returns the current time in UTC.
        quotas: the quotas of owners.
        listener: notifies other servers.
        health: whether the database is available.
        event_cache: the events of latest transactions.
        follow_failover: changes the database after a failover; None if this process must not follow one.
        on_failover: called after a failover, with whether changes of this process were lost. Then it can no longer
            write, because its memory contains them.
    """

    def __init__(
        self,
        engine: Engine,
        clock: Callable[[], datetime],
        quotas: QuotaRegistry,
        listener: PostgresqlListener,
        health: DatabaseHealth,
        event_cache: EventCache,
        follow_failover: FollowFailover | None,
        on_failover: Callable[[bool], None],
    ) -> None:
        self._follow_failover = follow_failover
        self._on_failover = on_failover
        #: The timeline of the server that this one wrote to last, and its own last change.
        self._timeline: str | None = None
        self._last_change: Change | None = None
        self._timeline_readable = True
        #: Whether commits wait for a standby, as far as is known.
        self._is_synchronous = False
        #: Whether a failover lost changes of this server.
        self._lost = False
        self._engine = engine
        self._clock = clock
        self._quotas = quotas
        self._listener = listener
        self._health = health
        self._event_cache = event_cache
        self._connection: Connection | None = None
        self._log_epoch: int | None = None

    def run(self, work: Callable[[Transaction], None], *, durable: bool) -> Notification:
        """Run `work` in a transaction, commit it, and return its notification."""
        # Notifications of other servers may arrive before the notification of this transaction is delivered.
        self._event_cache.begin()
        fresh = self._connection is None
        try:
            notification = self._prepare(work, durable=durable)
        except DBAPIError as error:
            if fresh or not error.connection_invalidated or self._health.unresponsive:
                raise
            # The database server restarted. Nothing was committed, so retry on a new connection.
            notification = self._prepare(work, durable=durable)
        assert self._connection is not None
        try:
            postgresql_pipeline.commit(self._connection)
        except BaseException as error:
            if isinstance(error, DBAPIError) and not error.connection_invalidated:
                self._fail(self._connection, error)  # PostgreSQL refused a write, or the commit
            else:
                self._listener.change_sender()
                self.close()
            raise
        if notification.events:
            job_id, stored = next(iter(notification.events.items()))
            self._last_change = Change(job_id, stored[-1])
        elif durable:
            self._last_change = Change(position=self._position(self._connection))
        elif self._last_change is not None and not self._last_change.position:
            # Once for each event that is the last one, at the latest when leases are renewed.
            self._last_change = self._last_change._replace(position=self._position(self._connection))
        return notification

    def _position(self, connection: Connection) -> str:
        """Return the position of the write-ahead log after a commit; "" if it cannot be read."""
        try:
            found = timeline.position(connection)
            connection.commit()
        except SQLAlchemyError:
            self.close()
            return ""
        return found

    def _prepare(self, work: Callable[[Transaction], None], *, durable: bool) -> Notification:
        self._refuse_if_lost()
        if self._connection is None:
            self._connection = connect_to_write(self._engine)
            self._log_epoch = None
        connection = self._connection
        try:
            if self._log_epoch is None:
                self._log_epoch = self._join(connection)
            transaction = self._transaction(connection, self._log_epoch)
            postgresql_pipeline.begin(connection)
            relaxed = None if durable else postgresql_pipeline.ask(connection, _RELAX, ())
            work(transaction)
            if relaxed is not None:
                ((setting,),) = relaxed()
                self._is_synchronous = setting in timeline.WAITING
            notification = transaction.notification()
            if notification:
                self._listener.notify(connection, notification)
            # If the commit fails, the connection is closed, and the next one reads the epoch.
            self._log_epoch = transaction.log_epoch
        except BaseException as error:
            self._fail(connection, error)
            raise
        return notification

    def _fail(self, connection: Connection, error: BaseException) -> None:
        """Roll back after an error that left nothing committed."""
        if is_unavailable(error):
            # After a failover, a new connection leads to another database server.
            self.close()
        else:
            self._roll_back(connection)

    def _transaction(self, connection: Connection, epoch: int) -> Transaction:
        return Transaction(connection, "postgresql", self._clock, self._quotas, self._event_cache, epoch)

    def _join(self, connection: Connection) -> int:
        """Begin to write in a session, after a failover if there was one; return the epoch of its events."""
        epoch = log_epoch.join(connection)
        if (found := self._read_timeline(connection)) is None or found.current is None:
            return epoch  # on a standby, the first change fails
        if found.recorded is None:
            timeline.record(connection, found.current)
        elif found.current != found.recorded or self._timeline not in (None, found.current):
            epoch = self._follow(connection, found)
        connection.commit()
        self._timeline = found.current
        self._is_synchronous = found.is_synchronous
        return epoch

    def _read_timeline(self, connection: Connection) -> Timeline | None:
        """Return the timeline; None if this PostgreSQL does not permit to read it."""
        if not self._timeline_readable:
            return None
        try:
            return timeline.read(connection)
        except (ProgrammingError, NotSupportedError) as error:
            connection.rollback()  # the session keeps its lock
            self._timeline_readable = False
            _log.warning("failovers of the database are not detected", why=str(error.orig).partition("\n")[0])
            return None

    def _follow(self, connection: Connection, found: Timeline) -> int:
        """Follow a failover; return the new epoch. Raises Unavailable if changes of this process are lost."""
        assert found.current is not None
        if self._follow_failover is None:
            raise FailedPrecondition(
                "the database was restored, or failed over to another PostgreSQL server: start a Qonduit server first",
                subject="database",
                kind="TIMELINE",
            )
        lost = self._last_change is not None and not timeline.contains(connection, self._last_change)
        # Otherwise another server has followed it, and the sessions that write know its log.
        is_first = found.recorded != found.current
        if is_first:
            log_epoch.leave(connection)
            connection.commit()
            log_epoch.lock(connection)
        # Another server may have followed it while this one waited.
        new_log = is_first and timeline.read(connection).recorded != found.current
        transaction = self._transaction(connection, log_epoch.read(connection).epoch)
        uncertain = lost or (new_log and not self._is_synchronous)
        failed = self._follow_failover(transaction, new_log=new_log, lost=uncertain)
        timeline.record(connection, found.current)
        if notification := transaction.notification():
            self._listener.notify(connection, notification)
        connection.commit()
        epoch = log_epoch.join(connection) if is_first else log_epoch.read(connection).epoch
        connection.commit()
        _log.warning(
            "database failed over", timeline=found.current, log_epoch=epoch, new_log=new_log, lost=lost, failed=failed
        )
        if lost:
            self._lost = True
            _log.error("the database lost changes of this server, which ends")
        self._on_failover(lost)
        self._refuse_if_lost()
        return epoch

    def _refuse_if_lost(self) -> None:
        if self._lost:
            raise Unavailable("a failover of the database lost changes of this server, which ends")

    def _roll_back(self, connection: Connection) -> None:
        try:
            postgresql_pipeline.rollback(connection)
        except (SQLAlchemyError, connection.dialect.loaded_dbapi.Error):
            self.close()

    def attempt(self) -> None:
        """Check whether the database is writable, without a change."""

        def write(transaction: Transaction) -> None:
            # A read-only server rejects it, although it reads no row.
            transaction.connection.execute(_NO_CHANGE)

        self.run(write, durable=True)

    def close(self) -> None:
        """Close the connection, if there is one."""
        drop(self._connection)
        self._connection = None
