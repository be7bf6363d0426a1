# SPDX-License-Identifier: Apache-2.0
"""Unary responses that clients have not read yet: bounded in bytes, and cut off where they are never read.

grpcio keeps a response until the client's HTTP/2 window takes it, however long that is.
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

#: Bytes that all connections may leave unread.
MOST: Final = 256 * 1024**2
#: Bytes that one connection may leave unread; its further calls wait until it has read some.
MOST_OF_ONE: Final = 16 * 1024**2
#: Seconds a response may stay unread while more than half of `MOST` is.
HURRY: Final = 5.0

_log = structlog.get_logger("qonduit.rpc")
_cut_lines = RateLimitedLog()


class UnreadResponses:
    """All unary responses that are on their way.

    Args:
        patience: seconds a client may take to read a response.
        most: bytes that all connections may leave unread.
        most_of_one: bytes that one connection may leave unread.
    """

    def __init__(self, patience: float, most: int = MOST, most_of_one: int = MOST_OF_ONE) -> None:
        self._patience = patience
        self._most_of_one = most_of_one
        self._lock = threading.Lock()
        self._bytes = FairLimit(most)
        #: The oldest first.
        self._responses: dict[_UnreadResponse, None] = {}
        #: Called when something was read: calls that were kept waiting may go on.
        self.go_on: Callable[[], None] = lambda: None
        #: Bytes of all responses so far.
        self.sent_bytes = 0

    def __len__(self) -> int:
        """Return how many responses are unread."""
        return len(self._responses)

    @property
    def total(self) -> int:
        """Bytes that are unread."""
        return self._bytes.total

    def allows(self, connection: str) -> bool:
        """Return whether a connection's next call may be handled. Called often, hence without the lock.

        Where all connections together have reached their limit, those that have left nothing unread still may.
        """
        used = self._bytes.used(connection)
        return used == 0 or used < min(self._most_of_one, self._bytes.limit - self._bytes.total)

    def add(self, call: CallContext, context: grpc.ServicerContext, connection: str, size: int) -> None:
        """Note a response that is about to be sent, until it is read or the call ends in another way."""
        response = _UnreadResponse(call, context, connection, size)
        with self._lock:
            self._bytes.add(connection, size)
            self._responses[response] = None
            self.sent_bytes += size
        if not context.add_callback(lambda: self._over(response)):
            self._over(response)

    def cut_slow(self) -> None:
        """Cut off the responses that were not read in time. Their callers see CANCELLED; the log says why."""
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
            self._over(response)
            left_out = _cut_lines.says(response.call.method, "SLOW_READER")
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

    def _over(self, response: _UnreadResponse) -> None:
        with self._lock:
            if response not in self._responses:
                return
            del self._responses[response]
            self._bytes.remove(response.connection, response.size)
        self.go_on()


class _UnreadResponse:
    """One response that was not read yet."""

    __slots__ = ("call", "connection", "context", "since", "size")

    def __init__(self, call: CallContext, context: grpc.ServicerContext, connection: str, size: int) -> None:
        self.call = call
        self.context = context
        self.connection = connection
        self.size = size
        self.since = time.monotonic()
