# SPDX-License-Identifier: Apache-2.0
"""How many bytes of results are in hand: what waits for the store, and what one transaction writes, stay bounded."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from qonduit.execution.v1.task_pb2 import TaskEvent
from qonduit_server.store.results import large_results


class ByteBudget:
    """Bytes of results that arrived and are not recorded. Whoever brings more waits while there are too many.

    Args:
        most: with more bytes than this in hand, nothing is taken.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._bytes = 0
        self._lifted = False
        self._fewer = threading.Condition(threading.Lock())

    def take(self, events: Sequence[TaskEvent]) -> None:
        """Take what arrived; events without results never wait."""
        size = sum(map(weight, events))
        if size:
            with self._fewer:
                self._fewer.wait_for(lambda: self._bytes <= self._most or self._lifted)
                self._bytes += size

    def release(self, size: int) -> None:
        """So many bytes are recorded, or of no interest any more."""
        if size:
            with self._fewer:
                self._bytes -= size
                self._fewer.notify_all()

    def lift(self) -> None:
        """Let nobody wait from now on: nothing will be recorded any more."""
        with self._fewer:
            self._lifted = True
            self._fewer.notify_all()


def first_of(events: Sequence[TaskEvent], number: int, size: int) -> tuple[int, int]:
    """How many events from the first on make a batch, and how many bytes of results they have.

    Args:
        number: of events in a batch, at most.
        size: of their results in bytes, unless a single one has more.
    """
    total = 0
    for place, event in enumerate(events[:number]):
        more = weight(event)
        if place and total + more > size:
            return place, total
        total += more
    return min(number, len(events)), total


def weight(event: TaskEvent) -> int:
    """How many bytes an event's results have; whatever else events hold is small."""
    # Not the length of the rows: to ask for it would copy them.
    return sum(given.result.ByteSize() + given.result.buffer.size_bytes for given in large_results.event_results(event))
