# SPDX-License-Identifier: Apache-2.0
"""Delete old entries of the audit log, the only change that its triggers allow.

Each transaction deletes the oldest entries and adds one with the ends of the deleted parts of chains, so that a
verification can distinguish them from a deletion by anyone else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from sqlalchemy import bindparam, select

from qonduit_server.store.audit_tables import audit_entries as entries
from qonduit_server.store.audit_tables import audit_guard
from qonduit_server.store.audit_trail import Act, acting
from qonduit_server.store.database import Database
from qonduit_server.store.writer import Operation, Transaction

#: The number of entries, and of chains, of one transaction.
_MAX_DELETED: Final = 1000
_MAX_CHAINS: Final = 50
_OLDEST: Final = (
    select(entries.c.id, entries.c.at, entries.c.chain, entries.c.number, entries.c.sha256)
    .where(entries.c.id > 0)
    .order_by(entries.c.id)
    .limit(_MAX_DELETED)
)
_DELETE: Final = sa.delete(entries).where(entries.c.id <= bindparam("last"))
_ALLOW: Final = sa.insert(audit_guard).values(deletable_before=bindparam("before"))
_FORBID: Final = sa.delete(audit_guard)
_LOCK: Final = sa.text("LOCK TABLE audit_guard IN EXCLUSIVE MODE")


def erase_oldest(db: Database, before: int) -> int:
    """Delete some of the oldest entries, if they are of before a time; return their number.

    The first younger entry ends the deletion: a chain loses its start only, also if the clocks of servers differ.

    Args:
        db: the database.
        before: the time, in microseconds since 1970.
    """
    with db.read() as connection:
        rows = connection.execute(_OLDEST).all()
    ends: dict[str, str] = {}
    last = deleted = 0
    for row in rows:
        if row.at >= before or (row.chain not in ends and len(ends) == _MAX_CHAINS):
            break
        ends[row.chain] = f"{row.chain}:{row.number}:{row.sha256.hex()}"
        last = row.id
        deleted += 1
    if not deleted:
        return 0
    act = Act("", "retention", authentication="none", count=deleted, anchors=" ".join(ends.values()))
    with acting(act):
        return db.write(_ERASE, (last, before))


def _erase(transaction: Transaction, calls: Sequence[tuple[int, int]]) -> list[int]:
    answers = []
    connection = transaction.connection
    if transaction.kind == "postgresql":
        connection.execute(_LOCK)
    for last, before in calls:
        connection.execute(_ALLOW, {"before": before})
        answers.append(connection.execute(_DELETE, {"last": last}).rowcount)
        connection.execute(_FORBID)
    return answers


#: Two servers may delete the same entries: the second one deletes none, and adds no entry.
_ERASE: Final[Operation[tuple[int, int], int]] = Operation(
    _erase, objects=lambda _, deleted: ("audit-entries",) if deleted else ()
)
