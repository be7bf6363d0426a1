# SPDX-License-Identifier: Apache-2.0
"""Receive the requests of unary calls without a thread, fairly among connections and with a limit of bytes.

grpcio assigns a call to a thread when its headers have arrived, and the thread waits for the request without a limit:
a client with as many calls as there are threads, each without its request, would block a server forever. This module
waits for requests without a thread. Connections share its limits fairly (`rpc/fairness.py`), so that a connection with
many calls does not delay the others. As in `rpc/stream_sender.py`, grpcio has no public API for this, so this module
uses private names; tests fail if a release of grpcio changes them.

    headers --> held until its turn --> receiving --> ready until its turn --> a thread runs the handler
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

from grpc import _common, _server
from grpc._cython import cygrpc  # type: ignore[attr-defined]

from qonduit_server.errors import CallError, InvalidArgument, ResourceExhausted
from qonduit_server.observer import UNOBSERVED, Observer
from qonduit_server.process.memory import release_unused
from qonduit_server.rpc.audited_calls import AuditedCalls
from qonduit_server.rpc.auth.principal import RejectEarly, reject_none
from qonduit_server.rpc.call_context import CallContext
from qonduit_server.rpc.decompression import decompress, decompressed_size
from qonduit_server.rpc.error_status import outcome, status_of
from qonduit_server.rpc.fairness import FairLimit, FairQueue
from qonduit_server.rpc.unread_responses import UnreadResponses

#: The maximum of bytes of concurrently received requests of the largest size; it determines the number of slots.
_RECEIVING_BYTES: Final = 512 * 1024**2
_RECEIVING: Final = range(8, 65)
#: The maximum of bytes of requests, as sent, that wait for a thread of one pool; others are received later.
_WAITING_BYTES: Final = 64 * 1024**2
#: Larger requests count as large. Handlers process at most `_LARGE_BYTES` of them at once, in at most half of the
#: threads. A handler takes several times as much memory as its request.
_LARGE: Final = 1024**2
_LARGE_BYTES: Final = 64 * 1024**2
#: The maximum number of waiting calls. A waiting call costs about 15 KiB.
MOST_WAITING: Final = 20_000
#: Seconds in which a request must be complete while other calls are held because of it.
HURRY: Final = 5.0
#: Unused memory is released to the system after this many bytes of requests, responses and calls ...
_RELEASE_BYTES: Final = 32 * 1024**2
_CALL_BYTES: Final = 16 * 1024
#: ... when the server is idle, or at this interval.
_RELEASE_SECONDS: Final = 30.0
_TOKEN: Final = _server._RECEIVE_MESSAGE_TOKEN
_NO_FLAGS: Final = 0


class RequestReceiver:
    """Receives the requests of a server's calls, and runs the handlers of complete ones in threads.

    Args:
        slow_request: seconds in which a request must be complete.
        unread: the unread responses: a connection with too many of them has its further calls held.
        max_request_bytes: the largest request.
        most_waiting: the maximum number of calls that wait for their request or for a thread; others are rejected.
        audit: records the calls that are rejected here.
        reject_early: rejects calls without a valid token, so that their requests are not received.
        observer: receives the calls that are rejected here.
    """

    def __init__(
        self,
        slow_request: float,
        unread: UnreadResponses,
        max_request_bytes: int,
        audit: AuditedCalls,
        most_waiting: int = MOST_WAITING,
        reject_early: RejectEarly = reject_none,
        observer: Observer = UNOBSERVED,
    ) -> None:
        self.audit = audit
        self.observer = observer
        self._reject_early = reject_early
        self._slow_request = slow_request
        self._unread = unread
        self._max_request_bytes = max_request_bytes
        self._lock = threading.Lock()
        self._time = threading.Condition(self._lock)
        self._pools: list[OpenPool] = []
        self.waiting = FairLimit(most_waiting)
        slots = _RECEIVING_BYTES // max_request_bytes
        self.slots = FairLimit(max(_RECEIVING.start, min(_RECEIVING.stop - 1, slots)))
        #: The calls whose requests are being received, oldest first.
        self.receiving: dict[_PendingRequest, float] = {}
        self._large_bytes = 0
        self._calls = 0
        self._passed_bytes = 0
        self._released_bytes = 0
        self._released_at = time.monotonic()
        self._asleep = False
        self._stopping = False
        unread.on_read = self._dispatch_if_ready
        self._timer = threading.Thread(target=self._time_loop, name="rpc-request-timer", daemon=True)
        self._timer.start()

    def pool(self, threads: int, name: str) -> OpenPool:
        """Create a pool of threads for handlers of unary calls."""
        pool = OpenPool(self, threads, name)
        self._pools.append(pool)
        return pool

    def stop(self) -> None:
        """End the threads."""
        with self._lock:
            self._stopping = True
            self._time.notify()
        self._timer.join()
        for pool in self._pools:
            pool.shutdown()

    def accept(self, pending: _PendingRequest) -> None:
        """Begin to receive a call's request, or hold or reject the call. Called by grpcio's polling thread."""
        if not pending.is_public and (error := self._reject_early(pending.event.invocation_metadata)) is not None:
            pending.reject(error)
            return
        with self._lock:
            accepted = self.waiting.allows(pending.connection)
            if accepted:
                self.waiting.add(pending.connection)
                self._calls += 1
                self._passed_bytes += _CALL_BYTES
                pending.pool.held.push(pending.connection, pending)
                if self._asleep:
                    self._asleep = False
                    self._time.notify()
            else:
                own, total = self.waiting.used(pending.connection), self.waiting.total
        if accepted:
            self._dispatch()
        else:
            pending.reject(
                ResourceExhausted(
                    f"limit of waiting calls reached (waiting_calls = {self.waiting.limit}, shared by all "
                    f"connections): {own} calls of this connection wait, {total} in total; retry later",
                    subject="waiting_calls",
                )
            )

    def _dispatch(self) -> None:
        """Receive held requests and run ready calls, as far as the limits allow."""
        while True:
            with self._lock:
                held = self._next_held()
                ready = self._next_ready()
            if held is None and ready is None:
                return
            if ready is not None:
                ready.pool.start(ready, self._ended)
            if held is not None and not held.receive(self._received):
                self._discard(held)

    def _dispatch_if_ready(self) -> None:
        if any(pool.ready or pool.large for pool in self._pools):
            self._dispatch()

    def _next_held(self) -> _PendingRequest | None:
        """Choose a call whose request is received now. Under the lock."""
        if self.slots.total < self.slots.limit:
            for pool in self._pools:
                if pool.held:
                    pending = pool.held.pop(
                        lambda connection, pool=pool: (  # type: ignore[misc]
                            self.slots.allows(connection) and pool.waiting_bytes.allows(connection)
                        )
                    )
                    if pending is not None:
                        self.slots.add(pending.connection)
                        self.receiving[pending] = time.monotonic()
                        return pending
        return None

    def _next_ready(self) -> _PendingRequest | None:
        """Choose a call whose handler runs now. Under the lock."""
        for pool in self._pools:
            if pool.running < pool.threads:
                pending = None
                if pool.large and pool.running_large < max(1, pool.threads // 2) and self._large_bytes < _LARGE_BYTES:
                    pending = pool.large.pop(self._unread.allows)
                if pending is None and pool.ready:
                    pending = pool.ready.pop(self._unread.allows)
                if pending is not None:
                    self.waiting.remove(pending.connection)
                    pool.waiting_bytes.remove(pending.connection, len(pending.data))
                    pool.running += 1
                    if pending.size > _LARGE:
                        pool.running_large += 1
                        self._large_bytes += pending.size
                    return pending
        return None

    def _received(self, pending: _PendingRequest, data: bytes | None) -> None:
        """Queue a call whose request is complete for a thread; `data` is None if the call ended without a request."""
        error: CallError | None = None
        if data is None:
            error = InvalidArgument.of("request", "request.required", "the call ended before its request was complete")
        else:
            pending.data = data
            pending.size = decompressed_size(data, self._max_request_bytes)
            # A request slightly over the limit is rejected by the parser, like one that is not compressed.
            if pending.size > max(len(data), self._max_request_bytes + 1024**2):
                error = ResourceExhausted(
                    f"the request has {pending.size} bytes uncompressed, the limit is "
                    f"{self._max_request_bytes} (max_request_bytes)",
                    subject="max_request_bytes",
                    retry_after=None,
                )
        if error is not None:
            pending.reject(error)
            self._discard(pending)
        else:
            with self._lock:
                if self._release_slot(pending):
                    pending.pool.waiting_bytes.add(pending.connection, len(pending.data))
                    self._passed_bytes += pending.size
                    queue = pending.pool.large if pending.size > _LARGE else pending.pool.ready
                    queue.push(pending.connection, pending)
        self._dispatch()

    def _ended(self, pending: _PendingRequest) -> None:
        """Release the limits of a call whose handler has ended."""
        with self._lock:
            pending.pool.running -= 1
            self._calls -= 1
            if pending.size > _LARGE:
                pending.pool.running_large -= 1
                self._large_bytes -= pending.size
        self._dispatch()

    def _discard(self, pending: _PendingRequest) -> None:
        """Release the limits of a call whose request is no longer received."""
        with self._lock:
            if self._release_slot(pending):
                self.waiting.remove(pending.connection)
                self._calls -= 1

    def _release_slot(self, pending: _PendingRequest) -> bool:
        """Release the slot of a call; return False if it was released before. Under the lock."""
        if self.receiving.pop(pending, None) is None:
            return False
        self.slots.remove(pending.connection)
        return True

    def _time_loop(self) -> None:
        interval = min(1.0, self._slow_request / 4)
        while True:
            with self._lock:
                if not self._busy() and not self._stopping:
                    self._asleep = True
                    self._time.wait()
                # Nearly every request is complete within the interval, so the timer does not run for each of them.
                if not self._stopping:
                    self._time.wait(interval)
                if self._stopping:
                    return
                slow = self._slow()
            for pending, message in slow:
                pending.reject(ResourceExhausted(message, subject="request_receive_timeout_seconds"))
                self._discard(pending)
            self._unread.cut_slow()
            self._dispatch()
            self._release()

    def _busy(self) -> bool:
        """Return whether the time loop has work. Under the lock."""
        passed = self._passed_bytes + self._unread.sent_bytes - self._released_bytes
        return bool(self._calls or len(self._unread) or passed >= _RELEASE_BYTES)

    def _slow(self) -> list[tuple[_PendingRequest, str]]:
        """Return the calls whose request took too long, and their error messages. Under the lock."""
        now = time.monotonic()
        hurry = min(HURRY, self._slow_request)
        none_free = self.slots.total >= self.slots.limit and any(pool.held for pool in self._pools)
        slow = []
        for pending, since in self.receiving.items():
            waited = now - since
            if waited < hurry:
                break
            hurried = none_free or any(pending.connection in pool.held for pool in self._pools)
            if hurried or waited >= self._slow_request:
                after, reason = (hurry, " while other calls waited") if hurried else (self._slow_request, "")
                slow.append(
                    (
                        pending,
                        f"the request was not complete after {after:g} s{reason} (request_receive_timeout_seconds)",
                    )
                )
        return slow

    def _release(self) -> None:
        """Release unused memory to the system: the allocator would keep it for the next burst."""
        passed = self._passed_bytes + self._unread.sent_bytes
        if passed - self._released_bytes < _RELEASE_BYTES:
            return
        idle = not self._calls and not len(self._unread)
        if idle or time.monotonic() - self._released_at > _RELEASE_SECONDS:
            self._released_bytes = passed
            self._released_at = time.monotonic()
            release_unused()


class OpenPool(ThreadPoolExecutor):
    """The threads of handlers. grpcio submits a call with its headers; its handler starts with the complete request."""

    def __init__(self, receiver: RequestReceiver, threads: int, name: str) -> None:
        super().__init__(threads, thread_name_prefix=name)
        self._receiver = receiver
        self.audit = receiver.audit
        self.observer = receiver.observer
        self.threads = threads
        self.held: FairQueue[_PendingRequest] = FairQueue()
        self.ready: FairQueue[_PendingRequest] = FairQueue()
        self.large: FairQueue[_PendingRequest] = FairQueue()
        self.waiting_bytes = FairLimit(_WAITING_BYTES)
        self.running = 0
        self.running_large = 0

    def submit(self, run: Any, /, *args: Any, **_kwargs: Any) -> Future[Any]:
        """Accept a call of grpcio: (run in context, function, event, state, behavior, get request, ...)."""
        function, event, state, behavior, _get_request, *rest = args
        self._receiver.accept(_PendingRequest(self, run, function, event, state, behavior, rest))
        # grpcio uses the future only to count calls, and only with a configured maximum.
        return Future()

    def start(self, pending: _PendingRequest, ended: Callable[[_PendingRequest], None]) -> None:
        """Run a call's handler in a thread. One must be free."""

        def handle() -> None:
            try:
                pending.run(
                    pending.function, pending.event, pending.state, pending.behavior, pending.request, *pending.rest
                )
            finally:
                ended(pending)

        super().submit(handle)


class _PendingRequest:
    """A call whose handler has not started yet."""

    __slots__ = ("behavior", "connection", "data", "event", "function", "pool", "rest", "run", "size", "state")

    def __init__(
        self, pool: OpenPool, run: Any, function: Any, event: Any, state: Any, behavior: Any, rest: Any
    ) -> None:
        self.pool = pool
        self.run = run
        self.function = function
        self.event = event
        self.state = state
        self.behavior = behavior
        self.rest = rest
        self.connection: str = _common.decode(event.call.peer())
        #: The request as sent, and its decompressed size.
        self.data = b""
        self.size = 0

    @property
    def is_public(self) -> bool:
        """Whether the method needs no authentication; so do methods that do not exist."""
        return getattr(self.behavior, "is_public", True)

    def receive(self, received: Callable[[_PendingRequest, bytes | None], None]) -> bool:
        """Begin to receive; grpcio's polling thread calls `received`. Return False if the call has ended."""
        state = self.state

        def completed(event: Any) -> Any:
            data = event.batch_operations[0].message()
            with state.condition:
                ended = _server._possibly_finish_call(state, _TOKEN)
            # An exception in `received` must not end the polling thread of the server.
            outcome("", received, self, data)
            return ended

        with state.condition:
            if not _server._is_rpc_state_active(state):
                return False
            self.event.call.start_server_batch((cygrpc.ReceiveMessageOperation(_NO_FLAGS),), completed)
            state.due.add(_TOKEN)
        return True

    def request(self) -> bytes | None:
        """Return the request; None if the call has ended, or is rejected now because decompression failed."""
        data, self.data = self.data, b""
        if not _server._is_rpc_state_active(self.state):
            return None
        inflated, error = outcome("", decompress, data, self.size)
        if error is not None:
            self.reject(error)
        return inflated

    def reject(self, error: CallError) -> None:
        """End the call with an error, unless it has ended."""
        state = self.state
        if not _server._is_rpc_state_active(state):
            return
        method = getattr(self.behavior, "method", "unknown")
        call = CallContext(method, self.event.invocation_metadata, observer=self.pool.observer)
        code, message, details = status_of(error, call.request_id)
        with state.condition:
            if not _server._is_rpc_state_active(state):
                return
            state.trailing_metadata = (*call.trailer, ("grpc-status-details-bin", details))
            state.code = code
            state.details = _common.encode(message)
            _server._abort(state, self.event.call, cygrpc.StatusCode.unknown, b"")
        call.ended(error, flood=True)
        if not self.is_public:
            audit = self.pool.audit
            call.peer = audit.address(self.connection, self.event.invocation_metadata)
            audit.refused(call, error)
