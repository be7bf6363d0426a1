# SPDX-License-Identifier: Apache-2.0
"""The epoch of the log: its number, which each restore of the database increases.

A restored database lacks the newest events. Other events get their sequences, so a client continues after an event only
if the stored event with that sequence has the epoch that the client knows. The epoch is the time at which the log
began, in microseconds since 1970: two databases that are restored from one backup have different epochs.

Each session that writes reads the epoch once. On PostgreSQL it holds a shared lock from then on, and a new epoch needs
this lock for itself. So no event of an old epoch is committed after a new one has begun.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from sqlalchemy import Connection, select, text, update

from qonduit_server.errors import FailedPrecondition
from qonduit_server.store.schema import database_state

#: The key of the advisory lock of the sessions that write events. An arbitrary number.
_WRITING: Final = 0x716F6E66
_LOCK_SHARED: Final = text(f"SELECT pg_advisory_lock_shared({_WRITING})")
_UNLOCK_SHARED: Final = text(f"SELECT pg_advisory_unlock_shared({_WRITING})")
_LOCK: Final = text(f"SELECT pg_advisory_xact_lock({_WRITING})")
_TRY_LOCK: Final = text(f"SELECT pg_try_advisory_xact_lock({_WRITING})")
# They begin again, and read the new epoch.
_END_OTHERS: Final = text(
    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock' AND granted "
    f"AND classid = 0 AND objid = {_WRITING} AND objsubid = 1 AND pid <> pg_backend_pid() "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
_SELECT: Final = select(database_state.c.log_epoch, database_state.c.is_copy)


class LogState(NamedTuple):
    """What the database states about its log."""

    epoch: int
    #: Whether `qonduit backup` made this database, and no server has used it since.
    is_copy: bool


def read(connection: Connection) -> LogState:
    """Return what the database states about its log."""
    return LogState(*connection.execute(_SELECT).one())


def log_restored(message: str, subject: str) -> FailedPrecondition:
    """Return the error of a client that refers to a log that a restore of the database ended."""
    return FailedPrecondition(message, subject=subject, kind="LOG_EPOCH", reason="LOG_RESTORED")


def join(connection: Connection) -> int:
    """Return the epoch of the events that this session writes, from now on until it ends."""
    if connection.dialect.name == "postgresql":
        # The next statement sees an epoch that began while this one waited.
        connection.execute(_LOCK_SHARED)
    return read(connection).epoch


def leave(connection: Connection) -> None:
    """Write no more events in this PostgreSQL session, until it joins again."""
    connection.execute(_UNLOCK_SHARED)


def lock(connection: Connection) -> None:
    """Wait until no other PostgreSQL session writes, and keep them from writing until the transaction ends.

    Sessions that wrote to a server that has just been promoted, before it got a new epoch, are ended.
    """
    if not connection.execute(_TRY_LOCK).scalar():
        connection.execute(_END_OTHERS)
        connection.execute(_LOCK)


def begin(connection: Connection, now: int) -> int | None:
    """Begin a new epoch in the transaction and return it; None if other sessions write."""
    if connection.dialect.name == "postgresql" and not connection.execute(_TRY_LOCK).scalar():
        return None
    epoch = max(now, read(connection).epoch + 1)
    connection.execute(update(database_state).values(log_epoch=epoch, is_copy=False))
    return epoch
