# SPDX-License-Identifier: Apache-2.0
"""Send items to a collector in a thread of their own: a slow or absent collector delays nothing else.

A bounded number of items waits. Further ones, and those that the collector does not accept, are lost and counted.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

import structlog

T = TypeVar("T")

#: The maximum number of waiting items, and of items in a request.
MOST_WAITING: Final = 8192
_BATCH: Final = 512

_log = structlog.get_logger("qonduit.telemetry")


class Outbox(Generic[T]):
    """Sends items in batches, at an interval. Thread-safe.

    Args:
        signal: the kind of the items, for the name of the thread and for the log.
        send: sends items; returns whether the collector accepted them. It must end by itself.
        on_loss: called with a number of lost items.
        seconds: the interval.
        produce: returns further items at each interval.
    """

    def __init__(
        self,
        signal: str,
        send: Callable[[Sequence[T]], bool],
        on_loss: Callable[[int], None],
        seconds: float,
        produce: Callable[[], Sequence[T]] = tuple,
    ) -> None:
        self._signal = signal
        self._send = send
        self._on_loss = on_loss
        self._seconds = seconds
        self._produce = produce
        self._waiting: deque[T] = deque()
        self._stopping = threading.Event()
        self._reachable = True
        self._thread = threading.Thread(target=self._run, name=f"telemetry-{signal}", daemon=True)
        self._thread.start()

    def put(self, item: T) -> None:
        """Add an item. It is lost if too many wait."""
        # Without a lock: a few items more than the maximum do no harm.
        if len(self._waiting) >= MOST_WAITING:
            self._on_loss(1)
        else:
            self._waiting.append(item)

    def stop(self, seconds: float) -> None:
        """Send the waiting items, and wait at most `seconds` for that."""
        self._stopping.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stopping.wait(self._seconds):
            self._send_waiting()
        self._send_waiting()

    def _send_waiting(self) -> None:
        self._waiting.extend(self._produce())
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
            accepted = self._send(batch)
            if not accepted:
                self._on_loss(len(batch))
            if accepted != self._reachable:
                self._reachable = accepted
                self._log_change(accepted)
            if not accepted:
                return

    def _log_change(self, accepted: bool) -> None:
        if accepted:
            _log.info("collector available", signal=self._signal)
        else:
            _log.warning("collector unavailable", signal=self._signal)
