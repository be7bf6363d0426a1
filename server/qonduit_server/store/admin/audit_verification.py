# SPDX-License-Identifier: Apache-2.0
"""Verify the chains of the audit log: no entry was changed, inserted, moved or removed, except by retention.

A chain contains no key: an account that may drop the triggers can compute all hashes again. The ends of the chains,
kept elsewhere (an export, a printout), show that too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import bindparam, select

from qonduit_server.store.admin.row_pages import rows_of
from qonduit_server.store.audit_tables import audit_entries as entries
from qonduit_server.store.audit_trail import HASHED, NO_HASH, hash_after
from qonduit_server.store.database import Database

_READ: Final = 1000
_AFTER: Final = select(entries).where(entries.c.id > bindparam("after")).order_by(entries.c.id).limit(_READ)
#: A chain begins after one of the newest entries; several servers may write meanwhile.
_RECENT: Final = 10_000
#: The most errors that are listed.
_MAX_ERRORS: Final = 100


@dataclass
class Verification:
    """What a verification found.

    Attributes:
        entries: the number of entries.
        errors: descriptions of the faults; at most 100.
        ends: the number and hash of the last entry of each chain.
    """

    entries: int = 0
    errors: list[str] = field(default_factory=list)
    ends: dict[str, tuple[int, bytes]] = field(default_factory=dict)


def verify(db: Database, kept: Mapping[tuple[str, int], bytes] = MappingProxyType({})) -> Verification:
    """Verify all entries, few of them in memory.

    Args:
        db: the database.
        kept: hashes of entries by chain and number, from an earlier verification or export.
    """
    found = Verification()
    missing = dict(kept)
    recent: deque[bytes] = deque(maxlen=_RECENT)
    #: The ends that retention noted, and the first remaining entries of chains that lack their start.
    anchors: dict[str, dict[int, bytes]] = {}
    cut: dict[str, Any] = {}
    unlinked: list[Any] = []
    for row in rows_of(db, _AFTER, "id", _READ):
        found.entries += 1
        before = _before(row, found, recent, cut, unlinked)
        if before is not None and hash_after(before, [getattr(row, name) for name in HASHED]) != row.sha256:
            _fault(found, row, "does not match its hash: it or the entry before it was changed")
        found.ends[row.chain] = (row.number, row.sha256)
        recent.append(row.sha256)
        if missing.pop((row.chain, row.number), row.sha256) != row.sha256:
            _fault(found, row, f"differs from the kept hash of number {row.number}")
        for anchor in (row.anchors or "").split():
            chain, number, sha256 = anchor.split(":")
            anchors.setdefault(chain, {})[int(number)] = bytes.fromhex(sha256)
    for chain, number in missing:
        found.errors.append(f"chain {chain} has no entry of number {number}, whose hash was kept")
    # The entry after which one of the oldest remaining chains began may be deleted.
    for row in unlinked if not anchors else ():
        _fault(found, row, "begins a chain after an entry that is missing")
    for chain, row in cut.items():
        before = anchors.get(chain, {}).get(row.number - 1)
        if before is None:
            _fault(found, row, f"is the first of its chain, but has the number {row.number}: entries are missing")
        elif hash_after(before, [getattr(row, name) for name in HASHED]) != row.sha256:
            _fault(found, row, "does not match its hash and the one that retention noted")
    return found


def _before(
    row: Any, found: Verification, recent: deque[bytes], cut: dict[str, Any], unlinked: list[Any]
) -> bytes | None:
    """Return the hash before an entry; None if only retention can know it, or if an error is found."""
    end = found.ends.get(row.chain)
    if end is not None:
        if row.number == end[0] + 1:
            return end[1]
        _fault(found, row, f"has the number {row.number}, expected {end[0] + 1}: entries are missing or moved")
        return None
    if row.number != 1:
        cut[row.chain] = row
        return None
    previous: bytes = row.previous if row.previous is not None else NO_HASH
    if previous not in recent and (recent or previous != NO_HASH):
        if found.entries <= _RECENT:
            unlinked.append(row)
        else:
            _fault(found, row, "begins a chain after an entry that is missing")
    return previous


def _fault(found: Verification, row: Any, what: str) -> None:
    if len(found.errors) < _MAX_ERRORS:
        found.errors.append(f"entry {row.id} (chain {row.chain}) {what}")
