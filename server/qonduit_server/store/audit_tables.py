# SPDX-License-Identifier: Apache-2.0
"""The tables of the audit log, and the triggers that make it append-only."""

from __future__ import annotations

from sqlalchemy import DDL, BigInteger, Column, Index, Integer, LargeBinary, Table, Text, event

from qonduit_server.store import audit_triggers
from qonduit_server.store.schema_metadata import Id, metadata

# Who did what (store/audit_trail.py). Append-only: triggers refuse any change, and any deletion but that of retention.
audit_entries = Table(
    "audit_entries",
    metadata,
    Column("id", Id, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("principal", Text, nullable=False),
    # How the principal authenticated, and the id of the token or certificate.
    Column("authentication", Text, nullable=False),
    Column("credential", Text, nullable=False),
    Column("peer", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("object", Text, nullable=False),
    # The number of objects that the same transaction changed for the same call.
    Column("count", Integer, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    # The number of refusals before this one that have no entry.
    Column("left_out", Integer, nullable=False),
    # The hashes of the last deleted entries of chains, as text; only in entries of retention.
    Column("anchors", Text),
    # The entries of one process, numbered from 1. Each hash covers the entry and the hash before it.
    Column("chain", Text, nullable=False),
    Column("number", BigInteger, nullable=False),
    # The newest hash of any chain when this one began; only in its first entry.
    Column("previous", LargeBinary),
    Column("sha256", LargeBinary, nullable=False),
    Index("ix_audit_entries_at", "at", "id"),
    Index("ix_audit_entries_principal_at", "principal", "at", "id"),
    sqlite_autoincrement=True,
)

# Has a row only within a transaction of retention: entries before that time may be deleted.
audit_guard = Table("audit_guard", metadata, Column("deletable_before", BigInteger, nullable=False))


def _ddl(statement: str) -> DDL:
    # SQLAlchemy would replace parameters after percent signs.
    return DDL(statement.replace("%", "%%"))  # type: ignore[no-untyped-call]


for dialect, statements in audit_triggers.STATEMENTS.items():
    for statement in statements:
        event.listen(audit_guard, "after_create", _ddl(statement).execute_if(dialect=dialect))
# The triggers need both tables.
audit_guard.add_is_dependent_on(audit_entries)
