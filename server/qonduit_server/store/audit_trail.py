# SPDX-License-Identifier: Apache-2.0
"""The audit trail: who did what, written by the transaction that did it.

`acting` states the act of the current thread. The writer passes each committed change to the act under which it was
made, so that no change of a call can be without an entry.

The entries of one process form a chain: the hash of an entry covers the entry and the hash before it. A chain per
process needs no lock between servers. Its first entry contains the newest hash of any chain, which links the chains.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, select

from qonduit_server.store.audit_tables import audit_entries
from qonduit_server.store.bulk_statements import BulkInsert

#: The longest name of an object in an entry, in characters.
MAX_OBJECT: Final = 128
#: The hash before the first entry of a database.
NO_HASH: Final = bytes(32)
#: The columns that the hash of an entry covers, in this order, beside `previous` and the hash before it.
HASHED: Final = (
    *("chain", "number", "at", "principal", "authentication", "credential", "peer", "method", "object", "count"),
    *("outcome", "request_id", "left_out", "anchors"),
)
_INSERT: Final = BulkInsert(audit_entries, (*HASHED, "previous", "sha256"))
_NEWEST: Final = (
    select(audit_entries.c.sha256).where(audit_entries.c.id > 0).order_by(audit_entries.c.id.desc()).limit(1)
)


@dataclass
class Act:
    """What a principal does: the fields of an entry that are known before the change.

    Attributes:
        principal: the name of the principal; empty without authentication.
        method: the RPC or command.
        authentication: how the principal authenticated: token, oidc, certificate, none or command.
        credential: the id of the token or certificate, never the secret.
        peer: the address of the caller.
        request_id: as in the log.
        object: the name of the object that the request names; empty if it names none.
        outcome: "OK", or the reason of a refusal.
        count: the number of objects, for an act that is no change.
        left_out: the number of refusals before this one that have no entry.
        anchors: as in the table.
    """

    principal: str
    method: str
    authentication: str = ""
    credential: str = ""
    peer: str = ""
    request_id: str = ""
    object: str = ""
    outcome: str = "OK"
    count: int = 0
    left_out: int = 0
    anchors: str | None = None


_ACT: Final[ContextVar[Act | Callable[[], Act] | None]] = ContextVar("act", default=None)


@contextmanager
def acting(act: Act | Callable[[], Act] | None) -> Iterator[None]:
    """Record the changes that the block makes under an act, or one that a function returns; None records none."""
    token = _ACT.set(act)
    try:
        yield
    finally:
        _ACT.reset(token)


def current_act() -> Act | None:
    """Return the act of the current thread."""
    act = _ACT.get()
    return act() if callable(act) else act


def object_name(text: str) -> str:
    """Return the name of an object as an entry can hold it: printable, and of limited length."""
    return "".join(character if character.isprintable() else "?" for character in text[:MAX_OBJECT])


class AuditTrail:
    """The chain of this process. Only the writer thread calls it."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begin a new chain: it is unknown whether the last entries were committed."""
        self._chain = uuid.uuid4().hex
        self._number = 0
        self._sha256 = NO_HASH
        self._next = (0, NO_HASH)

    def append(self, connection: Connection, now: int, changes: Sequence[tuple[Act, Sequence[str]]]) -> None:
        """Add the entries of acts with the objects that they changed, in the transaction of the changes.

        Args:
            connection: of the transaction.
            now: its time.
            changes: each act with the names of the objects; one entry for each object.
        """
        number, sha256 = self._number, self._sha256
        previous = None
        if changes and not number:
            previous = sha256 = connection.execute(_NEWEST).scalar() or NO_HASH
        rows: list[tuple[Any, ...]] = []
        for act, objects in changes:
            for name in objects:
                number += 1
                values = (
                    *(self._chain, number, now, act.principal, act.authentication, act.credential, act.peer),
                    *(act.method, name, act.count or len(objects), act.outcome, act.request_id, act.left_out),
                    act.anchors,
                )
                sha256 = hash_after(sha256, values)
                rows.append((*values, previous, sha256))
                previous = None
        if rows:
            _INSERT(connection, rows)
        self._next = (number, sha256)

    def committed(self) -> None:
        """Continue after the entries of the last call of `append`, whose transaction was committed."""
        self._number, self._sha256 = self._next


def hash_after(before: bytes, values: Sequence[Any]) -> bytes:
    """Return the hash of an entry: the values of `HASHED`, after the hash of the entry before it."""
    return hashlib.sha256(before + json.dumps(values, separators=(",", ":")).encode()).digest()
