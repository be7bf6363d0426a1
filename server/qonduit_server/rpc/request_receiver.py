# SPDX-License-Identifier: Apache-2.0
"""Calls on their way to a thread: received without one, in turns of their connections, so many bytes at once.

grpcio hands a call to a thread when its headers are there, and the thread waits for the request for as long as the
client likes: as many calls as there are threads, each without its request, would stop a server for ever. Here the
request is waited for without a thread. What calls wait for is shared out among connections (`rpc/fairness.py`), so that
one that asks for everything does not delay the others. As with `rpc/stream.py`, grpcio has no public way, so this file
knows its insides; tests fail loudly should a release of grpcio move them.

    headers --> held, until it is its turn --> receiving --> ready, until it is its turn --> a thread runs the handler
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
from qonduit_server.process.memory import release_unused
from qonduit_server.rpc.call_context import CallContext
from qonduit_server.rpc.decompression import decompress, decompressed_size
from qonduit_server.rpc.error_status import outcome, status_of
from qonduit_server.rpc.fairness import FairLimit, FairQueue
from qonduit_server.rpc.unread_responses import UnreadResponses

#: Bytes that all requests which are being received may have, were each the largest; it says how many there may be.
_RECEIVING_BYTES: Final = 512 * 1024**2
_RECEIVING: Final = range(8, 65)
#: Bytes of requests, as they were sent, that wait for a thread of one pool; further ones are received later.
_WAITING_BYTES: Final = 64 * 1024**2
#: Requests of more bytes than this are large: handlers have only so many bytes of them at once, whoever sends them, and
#: at most half of the threads. A handler takes several times as much memory as its request.
_LARGE: Final = 1024**2
_LARGE_BYTES: Final = 64 * 1024**2
#: Calls that may wait, in whatever way. A call costs about 15 KiB while it waits.
MOST_WAITING: Final = 20_000
#: Seconds a request may take to arrive while other calls are held because of it.
HURRY: Final = 5.0
#: Unused memory is given back to the system after so many bytes came and went, or as many calls as cost that much ...
_RELEASE_BYTES: Final = 32 * 1024**2
_CALL_BYTES: Final = 16 * 1024
#: ... when nothing is under way, or every so many seconds.
_RELEASE_SECONDS: Final = 30.0
_TOKEN: Final = _server._RECEIVE_MESSAGE_TOKEN
_NO_FLAGS: Final = 0


class RequestReceiver:
    """Receives the requests of a server's calls, and gives those that are whole to threads.

    Args:
        slow_request: seconds a request may take to arrive.
        unread: the responses that clients have not read: who leaves too much unread has no further calls handled.
        max_request_bytes: the largest request.
        most_waiting: calls that may wait for their request or for a thread, before further ones are refused.
    """

    def __init__(
        self, slow_request: float, unread: UnreadResponses, max_request_bytes: int, most_waiting: int = MOST_WAITING
    ) -> None:
        self._slow_request = slow_request
        self._unread = unread
        self._max_request_bytes = max_request_bytes
        self._lock = threading.Lock()
        self._time = threading.Condition(self._lock)
        self._pools: list[OpenPool] = []
        self.waiting = FairLimit(most_waiting)
        slots = _RECEIVING_BYTES // max_request_bytes
        self.slots = FairLimit(max(_RECEIVING.start, min(_RECEIVING.stop - 1, slots)))
        #: Those that are being received, the oldest first.
        self.receiving: dict[_PendingRequest, float] = {}
        self._large_bytes = 0
        self._under_way = 0
        self._passed_bytes = 0
        self._released_bytes = 0
        self._released_at = time.monotonic()
        self._asleep = False
        self._stopping = False
        unread.go_on = self._go_on_if_ready
        self._timer = threading.Thread(target=self._time_loop, name="rpc-request-timer", daemon=True)
        self._timer.start()

    def pool(self, threads: int, name: str) -> OpenPool:
        """Make threads for handlers of unary requests."""
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

    def take(self, arrival: _PendingRequest) -> None:
        """Begin to receive a call's request, or hold it back for now. Called by grpcio's polling thread."""
        with self._lock:
            taken = self.waiting.allows(arrival.connection)
            if taken:
                self.waiting.add(arrival.connection)
                self._under_way += 1
                self._passed_bytes += _CALL_BYTES
                arrival.pool.held.push(arrival.connection, arrival)
                if self._asleep:
                    self._asleep = False
                    self._time.notify()
            else:
                mine, all_of_them = self.waiting.used(arrival.connection), self.waiting.total
        if taken:
            self._go_on()
        else:
            arrival.refuse(
                ResourceExhausted(
                    f"limit of waiting calls reached (waiting_calls = {self.waiting.limit}, shared by all "
                    f"connections): {mine} calls of this connection wait, {all_of_them} in total; retry later",
                    subject="waiting_calls",
                )
            )

    def _go_on(self) -> None:
        """Receive what was held back, and run what is ready, as far as there is room."""
        while True:
            with self._lock:
                held = self._next_held()
                ready = self._next_ready()
            if held is None and ready is None:
                return
            if ready is not None:
                ready.pool.start(ready, self._ended)
            if held is not None and not held.receive(self._received):
                self._lost(held)

    def _go_on_if_ready(self) -> None:
        if any(pool.ready or pool.large for pool in self._pools):
            self._go_on()

    def _next_held(self) -> _PendingRequest | None:
        """Choose a call whose request is received now. Under the lock."""
        if self.slots.total < self.slots.limit:
            for pool in self._pools:
                if pool.held:
                    arrival = pool.held.pop(
                        lambda connection, pool=pool: (  # type: ignore[misc]
                            self.slots.allows(connection) and pool.waiting_bytes.allows(connection)
                        )
                    )
                    if arrival is not None:
                        self.slots.add(arrival.connection)
                        self.receiving[arrival] = time.monotonic()
                        return arrival
        return None

    def _next_ready(self) -> _PendingRequest | None:
        """Choose a call whose handler runs now. Under the lock."""
        for pool in self._pools:
            if pool.running < pool.threads:
                arrival = None
                if pool.large and pool.running_large < max(1, pool.threads // 2) and self._large_bytes < _LARGE_BYTES:
                    arrival = pool.large.pop(self._unread.allows)
                if arrival is None and pool.ready:
                    arrival = pool.ready.pop(self._unread.allows)
                if arrival is not None:
                    self.waiting.remove(arrival.connection)
                    pool.waiting_bytes.remove(arrival.connection, len(arrival.data))
                    pool.running += 1
                    if arrival.size > _LARGE:
                        pool.running_large += 1
                        self._large_bytes += arrival.size
                    return arrival
        return None

    def _received(self, arrival: _PendingRequest, data: bytes | None) -> None:
        """Have a call wait for a thread, now that its request is whole; None: it ended, or has none."""
        error: CallError | None = None
        if data is None:
            error = InvalidArgument.of("request", "request.required", "the call ended before its request was complete")
        else:
            arrival.data = data
            arrival.size = decompressed_size(data, self._max_request_bytes)
            # A little over the limit is refused when it is read, as if it had not been compressed.
            if arrival.size > max(len(data), self._max_request_bytes + 1024**2):
                error = ResourceExhausted(
                    f"the request has {arrival.size} bytes uncompressed, the limit is "
                    f"{self._max_request_bytes} (max_request_bytes)",
                    subject="max_request_bytes",
                    retry_after=None,
                )
        if error is not None:
            arrival.refuse(error)
            self._lost(arrival)
        else:
            with self._lock:
                if self._received_or_lost(arrival):
                    arrival.pool.waiting_bytes.add(arrival.connection, len(arrival.data))
                    self._passed_bytes += arrival.size
                    queue = arrival.pool.large if arrival.size > _LARGE else arrival.pool.ready
                    queue.push(arrival.connection, arrival)
        self._go_on()

    def _ended(self, arrival: _PendingRequest) -> None:
        """Release what a handler that has ended held."""
        with self._lock:
            arrival.pool.running -= 1
            self._under_way -= 1
            if arrival.size > _LARGE:
                arrival.pool.running_large -= 1
                self._large_bytes -= arrival.size
        self._go_on()

    def _lost(self, arrival: _PendingRequest) -> None:
        """Release what a call that will not be received held."""
        with self._lock:
            if self._received_or_lost(arrival):
                self.waiting.remove(arrival.connection)
                self._under_way -= 1

    def _received_or_lost(self, arrival: _PendingRequest) -> bool:
        """Give the slot of a call back; False if that was done before. Under the lock."""
        if self.receiving.pop(arrival, None) is None:
            return False
        self.slots.remove(arrival.connection)
        return True

    def _time_loop(self) -> None:
        look = min(1.0, self._slow_request / 4)
        while True:
            with self._lock:
                if not self._busy() and not self._stopping:
                    self._asleep = True
                    self._time.wait()
                # Nearly every request is here by then: the timer is not woken for each of them.
                if not self._stopping:
                    self._time.wait(look)
                if self._stopping:
                    return
                slow = self._slow()
            for arrival, why in slow:
                arrival.refuse(ResourceExhausted(why, subject="request_receive_timeout_seconds"))
                self._lost(arrival)
            self._unread.cut_slow()
            self._go_on()
            self._release()

    def _busy(self) -> bool:
        """Whether the time loop has anything to look at. Under the lock."""
        passed = self._passed_bytes + self._unread.sent_bytes - self._released_bytes
        return bool(self._under_way or len(self._unread) or passed >= _RELEASE_BYTES)

    def _slow(self) -> list[tuple[_PendingRequest, str]]:
        """Return the calls whose request took too long, and their errors. Under the lock."""
        now = time.monotonic()
        hurry = min(HURRY, self._slow_request)
        none_free = self.slots.total >= self.slots.limit and any(pool.held for pool in self._pools)
        slow = []
        for arrival, since in self.receiving.items():
            waited = now - since
            if waited < hurry:
                break
            hurried = none_free or any(arrival.connection in pool.held for pool in self._pools)
            if hurried or waited >= self._slow_request:
                after, why = (hurry, " while other calls waited") if hurried else (self._slow_request, "")
                slow.append(
                    (arrival, f"the request was not complete after {after:g} s{why} (request_receive_timeout_seconds)")
                )
        return slow

    def _release(self) -> None:
        """Give memory back that was needed for a while: the allocator would keep it for the next burst."""
        passed = self._passed_bytes + self._unread.sent_bytes
        if passed - self._released_bytes < _RELEASE_BYTES:
            return
        idle = not self._under_way and not len(self._unread)
        if idle or time.monotonic() - self._released_at > _RELEASE_SECONDS:
            self._released_bytes = passed
            self._released_at = time.monotonic()
            release_unused()


class OpenPool(ThreadPoolExecutor):
    """Threads that handlers run in. grpcio submits a call when its headers are there; it begins when it is whole."""

    def __init__(self, arrivals: RequestReceiver, threads: int, name: str) -> None:
        super().__init__(threads, thread_name_prefix=name)
        self._arrivals = arrivals
        self.threads = threads
        self.held: FairQueue[_PendingRequest] = FairQueue()
        self.ready: FairQueue[_PendingRequest] = FairQueue()
        self.large: FairQueue[_PendingRequest] = FairQueue()
        self.waiting_bytes = FairLimit(_WAITING_BYTES)
        self.running = 0
        self.running_large = 0

    def submit(self, run: Any, /, *args: Any, **_kwargs: Any) -> Future[Any]:
        """Stand in for what grpcio calls with (run in context, function, event, state, behavior, get request, ...)."""
        function, event, state, behavior, _get_request, *rest = args
        self._arrivals.take(_PendingRequest(self, run, function, event, state, behavior, rest))
        # grpcio only counts calls with it, and only where it was given a maximum.
        return Future()

    def start(self, arrival: _PendingRequest, ended: Callable[[_PendingRequest], None]) -> None:
        """Run a call's handler in one of the threads, of which one must be free."""

        def handle() -> None:
            try:
                arrival.run(
                    arrival.function, arrival.event, arrival.state, arrival.behavior, arrival.request, *arrival.rest
                )
            finally:
                ended(arrival)

        super().submit(handle)


class _PendingRequest:
    """A call whose request is not with a handler yet."""

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
        #: The request as it was sent, and its size when it is not compressed.
        self.data = b""
        self.size = 0

    def receive(self, received: Callable[[_PendingRequest, bytes | None], None]) -> bool:
        """Begin to receive; `received` is called in grpcio's polling thread. False: the call has ended already."""
        state = self.state

        def here(event: Any) -> Any:
            data = event.batch_operations[0].message()
            with state.condition:
                ended = _server._possibly_finish_call(state, _TOKEN)
            # Whatever goes wrong in there must not end the polling thread of the whole server.
            outcome("", received, self, data)
            return ended

        with state.condition:
            if not _server._is_rpc_state_active(state):
                return False
            self.event.call.start_server_batch((cygrpc.ReceiveMessageOperation(_NO_FLAGS),), here)
            state.due.add(_TOKEN)
        return True

    def request(self) -> bytes | None:
        """Return the request; None: the call has ended, or ends now because it cannot be read."""
        data, self.data = self.data, b""
        if not _server._is_rpc_state_active(self.state):
            return None
        inflated, error = outcome("", decompress, data, self.size)
        if error is not None:
            self.refuse(error)
        return inflated

    def refuse(self, error: CallError) -> None:
        """End the call with an error, unless it has ended."""
        state = self.state
        if not _server._is_rpc_state_active(state):
            return
        call = CallContext(getattr(self.behavior, "method", "unknown"), self.event.invocation_metadata)
        code, message, details = status_of(error, call.request_id)
        with state.condition:
            if not _server._is_rpc_state_active(state):
                return
            state.trailing_metadata = (*call.trailer, ("grpc-status-details-bin", details))
            state.code = code
            state.details = _common.encode(message)
            _server._abort(state, self.event.call, cygrpc.StatusCode.unknown, b"")
        call.ended(error, flood=True)
