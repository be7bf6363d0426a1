# SPDX-License-Identifier: Apache-2.0
"""Checks of a PostgreSQL server for the doctor; they only read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

from sqlalchemy import Connection, text

from qonduit_server.store.admin.finding import Finding
from qonduit_server.store.schema import metadata

#: Older versions are out of support; the tests run on 15.
_OLDEST: Final = 130_000
#: Times of jobs are those of the database, times of tokens and of the log those of a server.
_MAX_CLOCK_SKEW_SECONDS: Final = 1.0
#: Connections of a server beside those of its calls: for the writer, the listener and the lease keeper.
_OWN_CONNECTIONS: Final = 4

_UNSAFE: Final = {
    "fsync": "a power failure can lose acknowledged submits and damage the database",
    "full_page_writes": "a power failure can damage the database",
    "synchronous_commit": "a power failure can lose acknowledged submits",
    "autovacuum": "deleted rows use disk space forever, and queries become slow",
}


def settings(connection: Connection, calls: int) -> Iterator[Finding]:
    """Check the version, the settings and the connection limit.

    Args:
        calls: the number of calls that a Qonduit server handles at once.
    """

    def show(name: str) -> str:
        return str(connection.execute(text(f"SHOW {name}")).scalar_one())

    version = int(show("server_version_num"))
    if version < _OLDEST:
        yield Finding("warning", f"the server is PostgreSQL {show('server_version')}", "Upgrade it to 13 or newer.")
    if (encoding := show("server_encoding")) != "UTF8":
        yield Finding(
            "error", f"the encoding is {encoding}, not UTF8", "Create it again: CREATE DATABASE ... ENCODING 'UTF8'."
        )
    for name, danger in _UNSAFE.items():
        if show(name) == "off":
            yield Finding("warning", f"{name} is off: {danger}", f"Set {name} = on in postgresql.conf.")
    if connection.execute(text("SELECT pg_is_in_recovery()")).scalar_one():
        yield Finding("error", "the server is a standby, which is read-only", "Point QONDUIT_DATABASE to the primary.")
    if connection.execute(
        text(
            "SELECT count(*) FROM pg_db_role_setting, unnest(setconfig) AS one "
            "WHERE one IN ('default_transaction_read_only=on', 'default_transaction_read_only=true') "
            "AND setrole IN (0, current_user::regrole) "
            "AND setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))"
        )
    ).scalar_one():
        fix = "ALTER DATABASE ... RESET default_transaction_read_only, or ALTER ROLE ... RESET it."
        yield Finding("error", "default_transaction_read_only is on", fix)
    yield from _connections(
        connection, calls, int(show("max_connections")), int(show("superuser_reserved_connections"))
    )


def _connections(connection: Connection, calls: int, most: int, reserved: int) -> Iterator[Finding]:
    others = connection.execute(
        text(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' "
            "AND application_name <> 'qonduit' AND pid <> pg_backend_pid()"
        )
    ).scalar_one()
    needed = calls + _OWN_CONNECTIONS
    if most - reserved - others < needed:
        fix = f"Raise max_connections, or lower rpc_threads: a server may use {needed} connections at once."
        what = f"max_connections is {most}, {reserved} reserved and {others} in use by others: too few for a server"
        yield Finding("warning", what, fix)


def clock(connection: Connection, now: Callable[[], float] = time.time) -> Iterator[Finding]:
    """Compare the server's clock with this machine's.

    Args:
        now: returns the time of this machine in seconds since 1970.
    """
    before = now()
    theirs = float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
    after = now()
    skew = max(before - theirs, theirs - after, 0.0)
    if skew > _MAX_CLOCK_SKEW_SECONDS:
        fix = "Synchronize both with NTP: jobs have the time of the database, tokens and the log that of this machine."
        yield Finding("warning", f"the clocks of the server and of this machine differ by {skew:.1f} s", fix)


def privileges(connection: Connection) -> Iterator[Finding]:
    """Check that the user has the privileges of a server."""
    missing = [
        table.name
        for table in metadata.sorted_tables
        if not connection.execute(
            # A list of privileges would require only one of them.
            text(
                "SELECT has_table_privilege(:t, 'SELECT') AND has_table_privilege(:t, 'INSERT') "
                "AND has_table_privilege(:t, 'UPDATE') AND has_table_privilege(:t, 'DELETE')"
            ),
            {"t": table.name},
        ).scalar_one()
    ]
    if missing:
        fix = "GRANT ALL ON ALL TABLES IN SCHEMA public TO that user, and ON ALL SEQUENCES; or make it the owner."
        yield Finding("error", f"the user lacks read and write privileges on {', '.join(missing)}", fix)
    broken = (
        "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid AND indrelid::regclass::text = ANY(:t)"
    )
    tables = [table.name for table in metadata.sorted_tables]
    invalid = connection.execute(text(broken), {"t": tables}).scalars().all()
    if invalid:
        yield Finding("error", f"invalid indexes: {', '.join(invalid)}", f"REINDEX INDEX {invalid[0]}.")
