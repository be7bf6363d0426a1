# SPDX-License-Identifier: Apache-2.0
"""Detect that another PostgreSQL server writes to the database: after a failover, or a restore to a point in time.

Each promotion begins a new timeline of the write-ahead log, and each cluster has its own system identifier. The
database keeps both of the server that wrote last. If they differ from those of the server that writes now, changes may
be lost that clients have seen: the newest ones of a primary that failed, unless replication is synchronous.

The first session that writes to the new server begins a new log (log_epoch.py), so that no cursor of a lost event
continues after another event, and that no lost id is used again. Each running server then checks whether its own last
change is still there. The write-ahead log is a sequence: if the last change is there, all before it are.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from sqlalchemy import Connection, bindparam, select, text, update

from qonduit_server.store.notification_bus import StoredEvent
from qonduit_server.store.schema import database_state, events

#: The values of synchronous_commit with which a standby has all acknowledged changes.
WAITING: Final = ("on", "remote_apply")
_READ: Final = text(
    "SELECT CASE WHEN pg_is_in_recovery() THEN NULL ELSE (SELECT CAST(system_identifier AS text) FROM "
    "pg_control_system()) || '/' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END AS current, "
    "(SELECT timeline FROM database_state) AS recorded, current_setting('synchronous_standby_names') <> '' "
    f"AND current_setting('synchronous_commit') IN {WAITING} AS is_synchronous"
)
_POSITION: Final = text("SELECT CAST(pg_current_wal_insert_lsn() AS text)")
# NULL if the server was restarted since its promotion.
_CONTAINS: Final = text("SELECT pg_last_wal_replay_lsn() >= CAST(:position AS pg_lsn)")
_EVENT: Final = select(events.c.payload).where(
    events.c.job_id == bindparam("job"), events.c.sequence == bindparam("sequence")
)


class Timeline(NamedTuple):
    """The timeline of a PostgreSQL server.

    Attributes:
        current: the system identifier and the timeline; None for a standby.
        recorded: those of the server that wrote last; None if no server has written.
        is_synchronous: whether commits wait for a standby, so that a failover loses none.
    """

    current: str | None
    recorded: str | None
    is_synchronous: bool


class Change(NamedTuple):
    """A committed change, which shows whether a server that took over has it.

    Attributes:
        job_id: the job of its last event; 0 for a change without events.
        event: its last event, which another server may delete with its job.
        position: a position in the write-ahead log after the change; "" if it is not known.
    """

    job_id: int = 0
    event: StoredEvent | None = None
    position: str = ""


def read(connection: Connection) -> Timeline:
    """Return the timeline of the server of a connection."""
    return Timeline(*connection.execute(_READ).one())


def record(connection: Connection, current: str) -> None:
    """State in the database that a server with this timeline writes to it."""
    connection.execute(update(database_state).values(timeline=current))


def position(connection: Connection) -> str:
    """Return the position of the write-ahead log."""
    return str(connection.execute(_POSITION).scalar_one())


def contains(connection: Connection, change: Change) -> bool:
    """Return whether a server that took over certainly has a change."""
    if change.event is not None:
        values = {"job": change.job_id, "sequence": change.event.sequence}
        if connection.execute(_EVENT, values).scalar_one_or_none() == change.event.payload:
            return True
    return bool(change.position and connection.execute(_CONTAINS, {"position": change.position}).scalar_one())
