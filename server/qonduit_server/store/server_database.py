# SPDX-License-Identifier: Apache-2.0
"""The database as a server opens it: locked if it is SQLite, with a new log if it was restored."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, Final

import structlog

from qonduit_server.encryption.key_ring import KeyRing
from qonduit_server.observer import UNOBSERVED, Observer
from qonduit_server.store import server_lock
from qonduit_server.store.admin import restoration
from qonduit_server.store.database import Database, open_database
from qonduit_server.store.jobs import queue
from qonduit_server.store.server_lock import ServerLock

_log: Final[Any] = structlog.get_logger("qonduit.store")


def open_for_server(
    url: str,
    undo: ExitStack,
    keys: KeyRing,
    observer: Observer = UNOBSERVED,
    *,
    pooler: str = "",
    restored: bool,
    audited: bool,
    max_attempts: int,
) -> tuple[Database, ServerLock | None]:
    """Open the database of a server, and end the leases of servers that cannot be alive.

    Args:
        url: sqlite:///FILE or postgresql://...
        undo: closes the database, and releases the lock, if the start fails.
        keys: encrypt the credentials of providers.
        observer: observes the database.
        pooler: the URL of a connection pooler for reads; empty without one.
        restored: whether the operator states that the database was restored; a copy of `qonduit backup` states so.
        audited: whether a new log gets an entry in the audit log.
        max_attempts: the maximum number of starts of a job; 0 means no limit.

    Raises:
        StartError: the database cannot be used.
    """
    lock = server_lock.acquire(url)
    if lock is not None:
        undo.callback(lock.close)
    # Closed before the lock, as `server_lock` requires.
    follow_failover = restoration.follow_failover
    database = open_database(url, keys=keys, observer=observer, follow_failover=follow_failover, pooler=pooler)
    undo.callback(database.close)
    if restored or restoration.is_copy(database):
        _log.warning("database restored", **restoration.begin_log(database, audited=audited)._asdict())
    if lock is not None:
        # No other server can be alive: requeue the running jobs of the previous one at once.
        queue.expire(database, max_attempts=max_attempts, all_owners=True)
    return database, lock
