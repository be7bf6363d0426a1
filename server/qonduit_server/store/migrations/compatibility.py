# SPDX-License-Identifier: Apache-2.0
"""Which servers may use a schema: those of its revision or a newer one, and older ones that its revisions allow.

Each revision names the oldest one whose servers may use the schema after it (`oldest_server`). The database keeps the
newest of these names, because an older server does not have the revisions that its database was upgraded with. Names of
revisions are numbers of four digits, so they compare as text.

A running server on PostgreSQL holds a shared advisory lock that contains its revision. So an upgrade that this server
does not support is refused until the server has stopped.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, text

from qonduit_server.errors import StartError

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory

#: The first half of the key of the advisory locks that running servers hold; the second half is the revision.
RUNNING: Final = 0x716F6E65


class Fit(Enum):
    """How the schema of a database relates to a server."""

    #: The database has no tables.
    EMPTY = "empty"
    #: It must be upgraded first.
    OLDER = "older"
    CURRENT = "current"
    #: It is newer, and its revisions allow this server.
    COMPATIBLE = "compatible"
    #: It is newer, and needs a newer server.
    INCOMPATIBLE = "incompatible"


@dataclass(frozen=True)
class Schema:
    """What a database states about its schema."""

    #: Its revision; None without tables.
    revision: str | None
    #: The oldest revision whose servers may use it; None if it does not state any.
    oldest_server: str | None

    def fit(self, head: str) -> Fit:
        """Return how the schema relates to a server whose latest revision is `head`."""
        if self.revision is None:
            return Fit.EMPTY
        if self.revision == head:
            return Fit.CURRENT
        if self.revision < head:
            return Fit.OLDER
        return Fit.COMPATIBLE if (self.oldest_server or self.revision) <= head else Fit.INCOMPATIBLE

    def needs_upgrade(self, head: str) -> bool:
        """Return whether a server whose latest revision is `head` must upgrade the schema before it uses it."""
        return self.fit(head) in (Fit.EMPTY, Fit.OLDER)

    def refusal(self, head: str) -> str | None:
        """Return why a server whose latest revision is `head` must not use the newer schema, or None."""
        if self.fit(head) is not Fit.INCOMPATIBLE:
            return None
        return (
            f"the database is at revision {self.revision}, which needs servers of revision "
            f"{self.oldest_server or self.revision} or newer, but this version supports revisions up to {head}: "
            "a newer version upgraded it. Install that version, or use another database."
        )


def read(connection: Connection) -> Schema:
    """Return what a database states about its schema."""

    def only(table: str, column: str) -> str | None:
        if not has_table(connection, table):
            return None
        found: str | None = connection.execute(text(f"SELECT {column} FROM {table}")).scalar()
        return found

    return Schema(only("alembic_version", "version_num"), only("database_state", "oldest_server"))


def set_oldest_server(connection: Connection, revision: str) -> None:
    """State the oldest revision whose servers may use the database."""
    values = {"revision": revision}
    if not connection.execute(text("UPDATE database_state SET oldest_server = :revision"), values).rowcount:
        connection.execute(text("INSERT INTO database_state (id, oldest_server) VALUES (1, :revision)"), values)


def computed_oldest_server(scripts: ScriptDirectory, revision: str) -> str:
    """Return the oldest revision whose servers may use the schema of a revision, by all revisions up to it."""
    chain = scripts.iterate_revisions(revision, "base")
    return max(str(getattr(each.module, "oldest_server", each.revision)) for each in chain)


def record(connection: Connection, scripts: ScriptDirectory) -> None:
    """State the oldest server of a database that was migrated."""
    revision = read(connection).revision
    if revision is not None and has_table(connection, "database_state"):
        set_oldest_server(connection, computed_oldest_server(scripts, revision))


def announcement(head: str) -> str:
    """Return the queries by which a session announces a running server of the revision `head`, and reads the schema.

    The announcement ends with the session. The values of the queries are empty, the revision, and the oldest server.
    """
    return (
        f"SELECT pg_advisory_lock_shared({RUNNING}, {int(head)}); "
        "SELECT version_num FROM alembic_version; SELECT oldest_server FROM database_state"
    )


def refuse_running_servers(connection: Connection, oldest_server: str) -> None:
    """Refuse a schema while servers run that it does not support. Raises StartError."""
    if connection.dialect.name != "postgresql":
        return  # the server of a SQLite file holds its lock
    older = connection.execute(_OLDER_SERVERS, {"key": RUNNING, "oldest": int(oldest_server)}).all()
    if older:
        running = ", ".join(f"{row.servers} of revision {row.revision:04}" for row in older)
        raise StartError(
            f"the new schema needs servers of revision {oldest_server} or newer, and older servers use the database "
            f"({running}): stop them, then upgrade it"
        )


_OLDER_SERVERS: Final = text(
    "SELECT CAST(objid AS bigint) AS revision, count(*) AS servers FROM pg_locks "
    "WHERE locktype = 'advisory' AND classid = :key AND objsubid = 2 AND CAST(objid AS bigint) < :oldest "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "GROUP BY objid ORDER BY objid"
)


def has_table(connection: Connection, name: str) -> bool:
    """Return whether a table exists."""
    # A direct query: SQLAlchemy's inspector takes longer than the rest of opening a database.
    if connection.dialect.name == "postgresql":
        query = text("SELECT to_regclass(:name) IS NOT NULL")
    else:
        query = text("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = :name")
    return bool(connection.execute(query, {"name": name}).scalar())
