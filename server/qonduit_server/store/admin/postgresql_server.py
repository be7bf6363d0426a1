# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL server and how it is set up: for the doctor, who only asks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

from sqlalchemy import Connection, text

from qonduit_server.store.admin.finding import Finding
from qonduit_server.store.schema import metadata

#: Older ones get no more corrections; the tests run on 15.
_OLDEST: Final = 130_000
#: Servers judge each other's leases by their clocks.
_CLOCKS_APART_SECONDS: Final = 1.0
#: Connections that a server keeps besides those of its calls: it writes, it listens, it looks after leases.
_OWN_CONNECTIONS: Final = 4

_UNSAFE: Final = {
    "fsync": "submits that were answered can be lost, and the database damaged, when the power fails",
    "full_page_writes": "the database can be damaged when the power fails",
    "synchronous_commit": "submits that were answered can be lost when the power fails",
    "autovacuum": "what is deleted takes room for ever, and queries grow slow",
}


def settings(connection: Connection, calls: int) -> Iterator[Finding]:
    """Look at its version, its settings and its room for connections.

    Args:
        calls: how many calls one of our servers answers at once.
    """

    def show(name: str) -> str:
        return str(connection.execute(text(f"SHOW {name}")).scalar_one())

    version = int(show("server_version_num"))
    if version < _OLDEST:
        yield Finding("warning", f"it is PostgreSQL {show('server_version')}", "Upgrade it: 13 or newer is supported.")
    if (encoding := show("server_encoding")) != "UTF8":
        yield Finding(
            "error", f"its encoding is {encoding}, not UTF8", "Create it again: CREATE DATABASE ... ENCODING 'UTF8'."
        )
    for name, danger in _UNSAFE.items():
        if show(name) == "off":
            yield Finding("warning", f"{name} is off: {danger}", f"Set {name} = on in postgresql.conf.")
    if connection.execute(text("SELECT pg_is_in_recovery()")).scalar_one():
        yield Finding("error", "it is a standby: nothing can be written", "Point QONDUIT_DATABASE to the primary.")
    if connection.execute(
        text(
            "SELECT count(*) FROM pg_db_role_setting, unnest(setconfig) AS one "
            "WHERE one IN ('default_transaction_read_only=on', 'default_transaction_read_only=true') "
            "AND setrole IN (0, current_user::regrole) "
            "AND setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))"
        )
    ).scalar_one():
        mend = "ALTER DATABASE ... RESET default_transaction_read_only, or the same of the role."
        yield Finding("error", "default_transaction_read_only is on: nothing can be written", mend)
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
        mend = f"Raise max_connections, or lower rpc_threads: a server may need {needed} connections at once."
        what = f"max_connections is {most}, {reserved} are reserved and {others} used by others: too few for a server"
        yield Finding("warning", what, mend)


def clock(connection: Connection, now: Callable[[], float] = time.time) -> Iterator[Finding]:
    """Compare its clock with this machine's.

    Args:
        now: tells the time here, in seconds since 1970.
    """
    before = now()
    theirs = float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
    after = now()
    apart = max(before - theirs, theirs - after, 0.0)
    if apart > _CLOCKS_APART_SECONDS:
        mend = "Have both set by NTP: servers judge by the time whether another one is gone."
        yield Finding("warning", f"its clock and this machine's are {apart:.1f} s apart", mend)


def rights(connection: Connection) -> Iterator[Finding]:
    """Look whether the user may do what a server does."""
    lacking = [
        table.name
        for table in metadata.sorted_tables
        if not connection.execute(
            # A list of privileges asks for any of them.
            text(
                "SELECT has_table_privilege(:t, 'SELECT') AND has_table_privilege(:t, 'INSERT') "
                "AND has_table_privilege(:t, 'UPDATE') AND has_table_privilege(:t, 'DELETE')"
            ),
            {"t": table.name},
        ).scalar_one()
    ]
    if lacking:
        mend = "GRANT ALL ON ALL TABLES IN SCHEMA public TO that user, and ON ALL SEQUENCES; or let it own them."
        yield Finding("error", f"the user may not read and write {', '.join(lacking)}", mend)
    broken = (
        "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid AND indrelid::regclass::text = ANY(:t)"
    )
    tables = [table.name for table in metadata.sorted_tables]
    invalid = connection.execute(text(broken), {"t": tables}).scalars().all()
    if invalid:
        yield Finding("error", f"indexes are not valid: {', '.join(invalid)}", f"REINDEX INDEX {invalid[0]}.")
