# SPDX-License-Identifier: Apache-2.0
"""Lists of the audit log: pages of entries, and all entries of a time for an export."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from sqlalchemy import bindparam, select, tuple_

from qonduit.v1.audit_service_pb2 import AuditEntry
from qonduit_server.store.audit_tables import audit_entries as entries
from qonduit_server.store.database import Database
from qonduit_server.store.filter_conditions import Field, filter_terms, number_field, text_field, time_field
from qonduit_server.store.list_indexes import Order, Path, ScannedList, whole_path
from qonduit_server.store.list_scan import Row, Scan, read_page
from qonduit_server.store.paging import Cursor, Page
from qonduit_server.store.timestamps import set_time

_TEXTS: Final = ("principal", "authentication", "credential", "peer", "method", "object", "outcome", "request_id")
_FIELDS: Final[Mapping[str, Field]] = {
    **{name: text_field(entries.c[name]) for name in _TEXTS},
    "time": time_field(entries.c.at),
    "id": number_field(entries.c.id),
}
_ORDER: Final = (entries.c.at, entries.c.id)
_ENTRIES: Final = ScannedList(
    entries.c.id,
    "entries",
    {
        "time": Order(
            (),
            of_all=[
                Path(_ORDER, lambda name: ((entries.c.principal, name),), equal="principal", is_ranged=True),
                whole_path(*_ORDER),
            ],
        )
    },
    {"at": "time"},
)
_COLUMNS: Final = select(entries)
#: The number of entries of an export that are in memory.
_EXPORTED: Final = 1000
_AFTER: Final = (
    _COLUMNS.where(tuple_(*_ORDER) > tuple_(bindparam("at"), bindparam("id"))).order_by(*_ORDER).limit(_EXPORTED)
)


def list_page(
    db: Database, page_size: int = 0, page_token: str = "", filter: str = "", order_by: str = ""
) -> Page[AuditEntry]:
    """Return a page of entries, by default the newest first; order_by is time.

    As with jobs, a page may be short or empty.

    Raises:
        InvalidArgument: bad filter, page token or order.
    """
    scan = Scan(_ENTRIES, None, filter_terms(filter, _FIELDS), order_by)
    cursor = Cursor(("audit", filter, order_by), page_size, page_token)
    return read_page(db, scan, cursor, _COLUMNS, _size, lambda _, rows: [message(row) for row in rows])


def since(db: Database, at: int) -> Iterator[AuditEntry]:
    """Yield the entries from a time on (microseconds since 1970), oldest first, few of them in memory."""
    place = {"at": at - 1, "id": 2**62}
    while True:
        with db.read() as connection:
            rows = connection.execute(_AFTER, place).all()
        yield from map(message, rows)
        if len(rows) < _EXPORTED:
            return
        place = {"at": rows[-1].at, "id": rows[-1].id}


def message(row: Row) -> AuditEntry:
    """Return the message of an entry."""
    entry = AuditEntry(
        **{name: getattr(row, name) for name in (*_TEXTS, "id", "count", "left_out", "chain", "number", "sha256")}
    )
    set_time(entry.time, row.at)
    if row.anchors is not None:
        entry.anchors = row.anchors
    if row.previous is not None:
        entry.previous_sha256 = row.previous
    return entry


def _size(row: Row) -> int:
    return 700 + len(row.anchors or "")
