# SPDX-License-Identifier: Apache-2.0
"""Unary responses that clients have not read yet: limited in bytes, and cancelled if a client never reads them.

grpcio keeps a response without a time limit until the client's HTTP/2 window takes it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

import grpc
import structlog

from qonduit_server.rpc.call_context import CallContext, RateLimitedLog
from qonduit_server.rpc.fairness import FairLimit

#: The maximum of unread bytes of all connections.
MOST: Final = 256 * 1024**2
#: The maximum of unread bytes of one connection; its further calls wait until it has read some.
MOST_OF_ONE: Final = 16 * 1024**2
#: Seconds a response may stay unread while more than half of `MOST` is unread.
HURRY: Final = 5.0

_log = structlog.get_logger("qonduit.rpc")
_cut_lines = RateLimitedLog()


class UnreadResponses:
    """All unary responses that clients have not read yet.

    Args:
        patience: seconds a client may take to read a response.
        most: the maximum of unread bytes of all connections.
        most_of_one: the maximum of unread bytes of one connection.
    """

    def __init__(self, patience: float, most: int = MOST, most_of_one: int = MOST_OF_ONE) -> None:
        self._patience = patience
        self._most_of_one = most_of_one
        self._lock = threading.Lock()
        self._bytes = FairLimit(most)
        #: Oldest first.
        self._responses: dict[_UnreadResponse, None] = {}
        #: Called when a client has read a response: waiting calls may now be handled.
        self.on_read: Callable[[], None] = lambda: None
        #: Total bytes of all responses so far.
        self.sent_bytes = 0

    def __len__(self) -> int:
        """Return the number of unread responses."""
        return len(self._responses)

    @property
    def total(self) -> int:
        """The number of unread bytes."""
        return self._bytes.total

    def allows(self, connection: str) -> bool:
        """Return whether a connection's next call may be handled. Called often, therefore without the lock.

        If all connections together have reached their limit, a connection without unread responses is still allowed.
        """
        used = self._bytes.used(connection)
        return used == 0 or used < min(self._most_of_one, self._bytes.limit - self._bytes.total)

    def add(self, call: CallContext, context: grpc.ServicerContext, connection: str, size: int) -> None:
        """Count a response that is about to be sent, until it is read or the call ends."""
        response = _UnreadResponse(call, context, connection, size)
        with self._lock:
            self._bytes.add(connection, size)
            self._responses[response] = None
            self.sent_bytes += size
        if not context.add_callback(lambda: self._remove(response)):
            self._remove(response)

    def cut_slow(self) -> None:
        """Cancel the responses that were not read in time. Clients receive CANCELLED; the log contains the reason."""
        with self._lock:
            full = self._bytes.total > self._bytes.limit // 2
            patience = min(HURRY, self._patience) if full else self._patience
            before = time.monotonic() - patience
            slow = []
            for response in self._responses:
                if response.since > before:
                    break
                slow.append(response)
        for response in slow:
            response.context.cancel()
            self._remove(response)
            left_out = _cut_lines.allow(response.call.method, "SLOW_READER")
            if left_out is not None:
                _log.warning(
                    "response not read",
                    method=response.call.method,
                    reason="SLOW_READER",
                    bytes=response.size,
                    seconds=round(time.monotonic() - response.since, 3),
                    request_id=response.call.request_id,
                    caller=response.call.principal.name,
                    **({"left_out": left_out} if left_out else {}),
                )

    def _remove(self, response: _UnreadResponse) -> None:
        with self._lock:
            if response not in self._responses:
                return
            del self._responses[response]
            self._bytes.remove(response.connection, response.size)
        self.on_read()


class _UnreadResponse:
    """One response that the client has not read yet."""

    __slots__ = ("call", "connection", "context", "since", "size")

    def __init__(self, call: CallContext, context: grpc.ServicerContext, connection: str, size: int) -> None:
        self.call = call
        self.context = context
        self.connection = connection
        self.size = size
        self.since = time.monotonic()
