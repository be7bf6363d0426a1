# SPDX-License-Identifier: Apache-2.0
"""What the audit log records of calls: the act of each, refusals, and what operators read of other owners.

Entries contain names and ids, never the text of a program, an input, or a credential.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from typing import Any, Final, Literal

from google.protobuf.message import Message

from qonduit_server.errors import CallError, Unavailable
from qonduit_server.rpc.auth.authorization import Access
from qonduit_server.rpc.auth.principal import UNAUTHENTICATED, Metadata
from qonduit_server.rpc.call_context import CallContext
from qonduit_server.store.audit_trail import Act, acting, object_name
from qonduit_server.store.database import Database
from qonduit_server.store.object_owners import owner_of

#: The recorded calls: changes, with refusals and operators' reads; all calls; or nothing.
AuditMode = Literal["changes", "all", "off"]

#: The statuses of refusals. Others are failures of the server, or ends that the caller chose.
_REFUSALS: Final = (
    *("INVALID_ARGUMENT", "UNAUTHENTICATED", "PERMISSION_DENIED", "NOT_FOUND", "ALREADY_EXISTS"),
    *("FAILED_PRECONDITION", "RESOURCE_EXHAUSTED", "OUT_OF_RANGE"),
)
#: The most refusals that a server records in a minute: of one principal, and of all.
MAX_OF_PRINCIPAL: Final = 10
MAX_REFUSALS: Final = 60
_WINDOW_SECONDS: Final = 60
#: The longest address of a caller in an entry, in characters.
_MAX_ADDRESS: Final = 64
_FORWARDED: Final = "x-forwarded-for"
#: The fields that hold the name of an object's owner in responses.
_OWNER_FIELDS: Final = ("executed_by", "deployed_by")


class AuditedCalls:
    """Records calls.

    Args:
        db: the database, whose writer records the changes themselves.
        mode: the recorded calls.
        trusted_proxies: the addresses of proxies whose metadata x-forwarded-for names the caller.
        clock: a monotonic clock in seconds.
    """

    def __init__(
        self,
        db: Database,
        mode: AuditMode = "off",
        trusted_proxies: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._mode = mode
        self._proxies = frozenset(trusted_proxies)
        self._refusals = RefusalLimit(clock)

    def address(self, peer: str, metadata: Metadata) -> str:
        """Return the address of a caller: of its connection, or as a trusted proxy forwards it."""
        if self._proxies and _host(peer) in self._proxies:
            forwarded = [value for key, value in metadata if key == _FORWARDED and isinstance(value, str)]
            if forwarded and (last := forwarded[-1].rpartition(",")[2].strip()):
                return object_name(last)[:_MAX_ADDRESS]
        return peer[:_MAX_ADDRESS]

    def acting(self, call: CallContext) -> AbstractContextManager[None]:
        """Record the changes of a block as those of a call."""
        return acting(None if self._mode == "off" else lambda: _act(call))

    @contextmanager
    def answering(self, call: CallContext, access: Access) -> Iterator[list[Message]]:
        """Record what a block does for a call: its changes, else that it reads if the mode requires an entry.

        The block adds its response to the list.

        Raises:
            Unavailable: the entry of an operator's read cannot be written; the caller gets no response.
        """
        of_changes: list[Act] = []

        def act() -> Act:
            # Built for a change: most calls only read.
            of_changes.append(_act(call))
            return of_changes[-1]

        responses: list[Message] = []
        with acting(None if self._mode == "off" else act):
            yield responses
        if not of_changes:
            self.read(call, access, *responses)

    def read(self, call: CallContext, access: Access, response: Message | None = None) -> None:
        """Record a read: in the mode `all` each, else those that require a role."""
        if self._mode == "off" or access is Access.PUBLIC:
            return
        reads_all = access is Access.READ and call.scope is None and call.principal.authentication != "none"
        if reads_all and (count := _others(self._db, call, response)):
            self._db.record(replace(_act(call), count=count)).result()
        elif access in (Access.OPERATOR, Access.ADMIN):
            self._db.record(_act(call)).result()
        elif self._mode == "all":
            self._record(_act(call))

    def refused(self, call: CallContext, error: CallError) -> None:
        """Record a refusal, unless there are too many; the next entry then contains their number."""
        if self._mode == "off" or error.status not in _REFUSALS:
            return
        left_out = self._refusals.allow(call.principal.name)
        if left_out is not None:
            self._record(replace(_act(call), outcome=error.reason, left_out=left_out))

    def _record(self, act: Act) -> None:
        # While the database is away, the log alone has the call.
        with suppress(Unavailable):
            self._db.record(act)


class RefusalLimit:
    """Bounds the entries of refusals, so that refused calls cannot fill the disk.

    Args:
        clock: a monotonic clock in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._window = 0
        self._counts: dict[str, int] = {}
        self._left_out = 0

    def allow(self, principal: str) -> int | None:
        """Return the number of refusals without an entry since the last one with; None to leave this one out."""
        with self._lock:
            window = int(self._clock() // _WINDOW_SECONDS)
            if window != self._window:
                self._window = window
                self._counts.clear()
            count = self._counts.get(principal, 0)
            if count >= MAX_OF_PRINCIPAL or sum(self._counts.values()) >= MAX_REFUSALS:
                self._left_out += 1
                return None
            self._counts[principal] = count + 1
            left_out, self._left_out = self._left_out, 0
            return left_out


def named_object(method: str, request_type: type[Message]) -> Callable[[Any], str]:
    """Return the function from a request of a method, "Service/Method", to the name of the object that it names.

    The field `job_id`, `id`, `name` or `<other object>_id` names the object, or such a field of the message `<object>`.
    """
    verb_and_noun = re.findall(r"[A-Z][a-z]*", method.rpartition("/")[2])
    noun = "_".join(verb_and_noun[1:]).lower()
    collection = f"{noun.replace('_', '-')}s"
    fields = request_type.DESCRIPTOR.fields_by_name
    if "job_id" in fields:
        return lambda request: f"jobs/{request.job_id}"
    if "id" in fields:
        return lambda request: f"{collection}/{request.id}"
    if "name" in fields:
        return lambda request: object_name(request.name)
    if noun in fields and (message := fields[noun].message_type) is not None:
        inner = message.fields_by_name
        if "id" in inner and verb_and_noun[0] == "Update":
            return lambda request: f"{collection}/{getattr(request, noun).id}"
        if "id" not in inner and "name" in inner:
            return lambda request: object_name(f"{collection}/{getattr(request, noun).name}")
    others = [name for name in fields if name.endswith("_id") and name != "request_id"]
    if others and verb_and_noun[0] not in ("Create", "Run"):
        return lambda request: f"{others[0].removesuffix('_id').replace('_', '-')}s/{getattr(request, others[0])}"
    return lambda request: ""


def _act(call: CallContext) -> Act:
    principal = call.principal
    return Act(
        principal=principal.name,
        method=call.method,
        authentication=principal.authentication if principal is not UNAUTHENTICATED else "",
        credential=principal.credential,
        peer=call.peer,
        request_id=call.request_id,
        object=call.object,
    )


def _others(db: Database, call: CallContext, response: Message | None) -> int:
    """Return how many objects of other owners a call of an operator reads."""
    name = call.principal.name
    if call.object:
        return int(owner_of(db, call.object) not in ("", name))
    values = [] if response is None else [value for _, value in response.ListFields()]
    items = [item for value in values if isinstance(value, Sequence) for item in value if isinstance(item, Message)]
    owners = (getattr(item, field) for item in items for field in _OWNER_FIELDS if hasattr(item, field))
    return sum(owner not in ("", name) for owner in owners)


def _host(peer: str) -> str:
    """Return the address of a connection, "ipv4:127.0.0.1:1234" or "ipv6:%5B::1%5D:1234", without its port."""
    kind, _, address = peer.partition(":")
    host = address.rpartition(":")[0].replace("%5B", "").replace("%5D", "").strip("[]")
    return host if kind in ("ipv4", "ipv6") else peer
