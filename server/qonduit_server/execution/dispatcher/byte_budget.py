# SPDX-License-Identifier: Apache-2.0
"""Limit the bytes of unrecorded results, and the bytes of results in one transaction."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from qonduit.execution.v1.task_pb2 import TaskEvent
from qonduit_server.store.results import large_results


class ByteBudget:
    """Counts the bytes of unrecorded results. A thread that adds results waits while there are too many.

    Args:
        most: with more bytes than this, `acquire` waits.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._bytes = 0
        self._lifted = False
        self._fewer = threading.Condition(threading.Lock())

    def acquire(self, events: Sequence[TaskEvent]) -> None:
        """Add the results of events, after a wait if there are too many; events without results never wait."""
        size = sum(map(weight, events))
        if size:
            with self._fewer:
                self._fewer.wait_for(lambda: self._bytes <= self._most or self._lifted)
                self._bytes += size

    def release(self, size: int) -> None:
        """Subtract bytes that are recorded or dropped."""
        if size:
            with self._fewer:
                self._bytes -= size
                self._fewer.notify_all()

    def lift(self) -> None:
        """Lift the limit: `acquire` no longer waits, because the recorder ends."""
        with self._fewer:
            self._lifted = True
            self._fewer.notify_all()


def first_of(events: Sequence[TaskEvent], number: int, size: int) -> tuple[int, int]:
    """Return the number of leading events that make a batch, and the bytes of their results.

    Args:
        events: the waiting events.
        number: the maximum number of events in a batch.
        size: the maximum of bytes of their results; a single event may have more.
    """
    total = 0
    for place, event in enumerate(events[:number]):
        more = weight(event)
        if place and total + more > size:
            return place, total
        total += more
    return min(number, len(events)), total


def weight(event: TaskEvent) -> int:
    """Return the bytes of an event's results; the rest of an event is small."""
    # Not the length of the rows, because reading it would copy them.
    return sum(each.result.ByteSize() + each.result.buffer.size_bytes for each in large_results.event_results(event))
