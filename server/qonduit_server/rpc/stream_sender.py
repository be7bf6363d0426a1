# SPDX-License-Identifier: Apache-2.0
"""The sending end of a response stream that holds no thread. It uses private names of grpcio.

grpcio's public API for streams without a thread (`send_response_callback`) blocks in each send until the client's
flow-control window has room, so a slow client blocks the sending thread. Here a send only starts, and grpcio's polling
thread calls back when it completes: 10,000 streams with any number of slow clients need no thread, and the last message
is sent with the status in one batch. The private names are the same in all grpcio releases that pyproject.toml allows.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import grpc
from grpc import _server
from grpc._cython import cygrpc  # type: ignore[attr-defined]

from qonduit_server.errors import CallError
from qonduit_server.rpc.call_context import CallContext
from qonduit_server.rpc.error_status import outcome, status_of

_NO_FLAGS = 0
_TOKEN = _server._SEND_MESSAGE_TOKEN


class Stream:
    """One response stream. The caller starts a send only after the previous one has completed."""

    __slots__ = ("_context", "_event", "_revoked", "_state", "call", "error", "finished", "sending_since", "sent")

    def __init__(self, context: grpc.ServicerContext, call: CallContext) -> None:
        inside: Any = context
        self._context = context
        self._event = inside._rpc_event
        self._state = inside._state
        self._revoked: CallError | None = None
        self.call = call
        self.error: CallError | None = None
        self.finished = False
        #: The start of the current send (monotonic seconds); 0.0 without a current send.
        self.sending_since = 0.0
        self.sent = 0

    def on_close(self, callback: Callable[[], None]) -> bool:
        """Register a callback for the end of the stream, which is called once; return False if it has ended."""
        return self._context.add_callback(callback)

    def send(self, message: bytes, done: Callable[[], None]) -> bool:
        """Start to send a message; grpcio's polling thread calls `done` when the client's window has taken it.

        Return False if the stream has ended; then `done` is not called.
        """
        state = self._state
        with state.condition:
            if not _server._is_rpc_state_active(state):
                return False
            operations = [cygrpc.SendMessageOperation(message, _NO_FLAGS)]
            if state.initial_metadata_allowed:
                operations.insert(0, _server._get_initial_metadata_operation(state, None))
                state.initial_metadata_allowed = False
            release = _server._send_message(state, _TOKEN)
            request_id = self.call.request_id

            def completed(event: Any) -> Any:
                ended = release(event)
                with state.condition:
                    self.sending_since = 0.0
                    revoked = self._revoked
                # An exception in `done` must not end the polling thread of the server.
                outcome(request_id, done if revoked is None else lambda: self.fail(revoked))
                return ended

            self.sending_since = time.monotonic()
            self._event.call.start_server_batch(tuple(operations), completed)
            state.due.add(_TOKEN)
        self.sent += 1
        return True

    def finish(self, message: bytes | None = None) -> None:
        """End with OK, after a last message, unless the stream has ended."""
        with self._state.condition:
            if not _server._is_rpc_state_active(self._state):
                return
            self.finished = True
            self.sent += message is not None
            self.sending_since = time.monotonic()
            self._context.set_trailing_metadata(self.call.trailer)
            _server._status(self._event, self._state, message)

    def fail(self, error: CallError) -> None:
        """End with an error, unless the stream has ended."""
        code, message, details = status_of(error, self.call.request_id)
        with self._state.condition:
            if not _server._is_rpc_state_active(self._state):
                return
            self.error = error
            self._context.set_trailing_metadata((*self.call.trailer, ("grpc-status-details-bin", details)))
            self._context.set_code(code)
            self._context.set_details(message)
            _server._status(self._event, self._state, None)

    def revoke(self, error: CallError) -> None:
        """End with an error, at once or when the current send completes. Any thread may call it at any time."""
        with self._state.condition:
            self._revoked = error
            if not self.sending_since:
                self.fail(error)

    def cut(self, error: CallError) -> None:
        """End without waiting for the client, which receives CANCELLED; the log contains the reason."""
        self.error = error
        self._context.cancel()
