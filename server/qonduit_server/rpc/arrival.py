# SPDX-License-Identifier: Apache-2.0
"""Requests arrive before they are given a thread, so that calls which never send theirs hold nobody up.

grpcio hands a call to a thread when its headers are there, and the thread waits for the request for as long as the
client likes: as many calls as there are threads, each without its request, would stop a server for ever. Here the
request is waited for without a thread. As with `rpc/stream.py`, grpcio has no public way, so this file knows its
insides; tests fail loudly should a release of grpcio move them.

    headers --> held, while too much is under way --> receiving --> waiting for a thread --> handler
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

from grpc import _common, _server
from grpc._cython import cygrpc  # type: ignore[attr-defined]

from qonduit_server.errors import CallError, InvalidArgument, ResourceExhausted
from qonduit_server.rpc.call import Call
from qonduit_server.rpc.status import outcome, status_of

#: Requests that are received at once: each may take as much memory as the largest request.
_RECEIVING: Final = 64
#: Bytes of requests that wait for a thread of one pool; further ones are received when a thread has taken some.
_WAITING_BYTES: Final = 64 * 1024**2
#: Calls that may wait, in whatever way. A call costs about 15 KiB while it waits.
MOST_WAITING: Final = 20_000
#: Seconds a request may take to arrive while other calls are held because of it.
HURRY: Final = 5.0
_TOKEN: Final = _server._RECEIVE_MESSAGE_TOKEN
_NO_FLAGS: Final = 0


class Arrivals:
    """Receives the requests of a server's calls, and gives those that are whole to threads.

    Args:
        slow_request: seconds a request may take to arrive.
        most_waiting: calls that may wait for their request or for a thread, before further ones are refused.
    """

    def __init__(self, slow_request: float, most_waiting: int = MOST_WAITING) -> None:
        self._slow_request = slow_request
        self._most_waiting = most_waiting
        self._lock = threading.Lock()
        self._time = threading.Condition(self._lock)
        self._pools: list[Pool] = []
        #: Those that are being received, the oldest first.
        self._receiving: dict[_Arrival, float] = {}
        self._waiting = 0
        self._asleep = False
        self._stopping = False
        self._timer = threading.Thread(target=self._time_loop, name="rpc-arrivals", daemon=True)
        self._timer.start()

    def pool(self, threads: int, name: str) -> Pool:
        """Make threads for handlers of unary requests."""
        pool = Pool(self, threads, name)
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

    def take(self, arrival: _Arrival) -> None:
        """Begin to receive a call's request, or hold it back for now. Called by grpcio's polling thread."""
        refusal: CallError | None = None
        with self._lock:
            if self._waiting >= self._most_waiting:
                refusal = ResourceExhausted(
                    f"{self._most_waiting} calls wait already (waiting_calls); try again later", subject="waiting_calls"
                )
            else:
                self._waiting += 1
                arrival.pool.held.append(arrival)
                if self._asleep:
                    self._asleep = False
                    self._time.notify()
        if refusal is not None:
            arrival.refuse(refusal)
        else:
            self._go_on()

    def _go_on(self) -> None:
        """Receive what was held back, as far as there is room."""
        while True:
            with self._lock:
                arrival = self._next()
                if arrival is None:
                    return
                self._receiving[arrival] = time.monotonic()
            if not arrival.receive(self._received):
                self._over(arrival)

    def _next(self) -> _Arrival | None:
        """Under the lock."""
        if len(self._receiving) < _RECEIVING:
            for pool in self._pools:
                if pool.held and pool.waiting_bytes < _WAITING_BYTES:
                    return pool.held.popleft()
        return None

    def _received(self, arrival: _Arrival, data: bytes | None) -> None:
        """Give a call to a thread, now that its request is whole; None: it ended, or has none."""
        if data is None:
            arrival.refuse(
                InvalidArgument.of("request", "request.required", "the call ended before its request was whole")
            )
            self._over(arrival)
        else:
            with self._lock:
                refused = self._receiving.pop(arrival, None) is None
                if not refused:
                    arrival.pool.waiting_bytes += len(data)
                    arrival.size = len(data)
            if not refused:
                arrival.pool.start(arrival, data, self._started)
        self._go_on()

    def _started(self, arrival: _Arrival) -> None:
        """A thread has the request."""
        with self._lock:
            arrival.pool.waiting_bytes -= arrival.size
            self._waiting -= 1
            held = any(pool.held for pool in self._pools)
        if held:
            self._go_on()

    def _over(self, arrival: _Arrival) -> None:
        with self._lock:
            if self._receiving.pop(arrival, None) is not None:
                self._waiting -= 1

    def _time_loop(self) -> None:
        look = min(1.0, self._slow_request / 4)
        while True:
            with self._lock:
                if not self._receiving and not self._stopping:
                    self._asleep = True
                    self._time.wait()
                # Nearly every request is here by then: the timer is not woken for each of them.
                if not self._stopping:
                    self._time.wait(look)
                if self._stopping:
                    return
                held = any(pool.held for pool in self._pools)
                patience = min(HURRY, self._slow_request) if held else self._slow_request
                before = time.monotonic() - patience
                slow = [arrival for arrival, since in self._receiving.items() if since < before]
            for arrival in slow:
                why = " while other calls waited" if held else ""
                arrival.refuse(
                    ResourceExhausted(
                        f"the request was not whole after {patience:g} s{why} (slow_request_seconds)",
                        subject="slow_request_seconds",
                    )
                )
                self._over(arrival)
            if slow:
                self._go_on()


class Pool(ThreadPoolExecutor):
    """Threads that handlers run in. grpcio submits a call when its headers are there; it begins when it is whole."""

    def __init__(self, arrivals: Arrivals, threads: int, name: str) -> None:
        super().__init__(threads, thread_name_prefix=name)
        self._arrivals = arrivals
        self.held: deque[_Arrival] = deque()
        self.waiting_bytes = 0

    def submit(self, run: Any, /, *args: Any, **_kwargs: Any) -> Future[Any]:
        """Stand in for what grpcio calls with (run in context, function, event, state, behavior, get request, ...)."""
        function, event, state, behavior, _get_request, *rest = args
        self._arrivals.take(_Arrival(self, run, function, event, state, behavior, rest))
        # grpcio only counts calls with it, and only where it was given a maximum.
        return Future()

    def start(self, arrival: _Arrival, data: bytes, started: Callable[[_Arrival], None]) -> None:
        """Run a call's handler in one of the threads."""

        def get_request() -> bytes | None:
            started(arrival)
            return data if _server._is_rpc_state_active(arrival.state) else None

        super().submit(
            arrival.run, arrival.function, arrival.event, arrival.state, arrival.behavior, get_request, *arrival.rest
        )


class _Arrival:
    """A call whose request is not with a handler yet."""

    __slots__ = ("behavior", "event", "function", "pool", "rest", "run", "size", "state")

    def __init__(self, pool: Pool, run: Any, function: Any, event: Any, state: Any, behavior: Any, rest: Any) -> None:
        self.pool = pool
        self.run = run
        self.function = function
        self.event = event
        self.state = state
        self.behavior = behavior
        self.rest = rest
        self.size = 0

    def receive(self, received: Callable[[_Arrival, bytes | None], None]) -> bool:
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

    def refuse(self, error: CallError) -> None:
        """End the call with an error, unless it has ended."""
        state = self.state
        call = Call(getattr(self.behavior, "method", "unknown"), self.event.invocation_metadata)
        code, message, details = status_of(error, call.request_id)
        with state.condition:
            if not _server._is_rpc_state_active(state):
                return
            state.trailing_metadata = (*call.trailer, ("grpc-status-details-bin", details))
            state.code = code
            state.details = _common.encode(message)
            _server._abort(state, self.event.call, cygrpc.StatusCode.unknown, b"")
        call.ended(error)
