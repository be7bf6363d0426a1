# SPDX-License-Identifier: Apache-2.0
"""The inbox: a queue of items from the executor to the recorder, with backpressure on results."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from qonduit.execution.v1.task_pb2 import TaskEvent
from qonduit_server.execution.dispatcher.byte_budget import ByteBudget
from qonduit_server.execution.dispatcher.large_result_writer import Item, LargeResultWriter
from qonduit_server.store.database import Database

#: With more bytes of unrecorded results than this, the executor waits.
_MANY_BYTES: Final = 256 * 1024**2
#: The interval at which a closing recorder checks for large results that are still being written.
_CHECK_SECONDS: Final = 0.1


class Inbox:
    """Items in order of arrival, per task; large results and their successors of the same task arrive after the write.

    One lock guards the items. The byte budget and the large-result writer have their own locks. None of the three is
    acquired while another one is held, and no other component is called while they are held, so they come last in the
    order of locks.

    Args:
        db: the store; large results are written to it.
    """

    def __init__(self, db: Database) -> None:
        self._byte_budget = ByteBudget(_MANY_BYTES)
        self._large_results = LargeResultWriter(db, self._arrive)
        self._arrived = threading.Condition(threading.Lock())
        self._items: list[Item] = []
        self._closed = False

    @property
    def write_large_results(self) -> Callable[[], None]:
        """The work of the thread that writes large results."""
        return self._large_results.write

    def put_events(self, events: Sequence[TaskEvent]) -> None:
        """Add events. Wait while too many bytes of results are unrecorded, which applies backpressure to workers."""
        self._byte_budget.acquire(events)
        self.put(events)

    def put(self, items: Iterable[Item]) -> None:
        """Add items without waiting."""
        if passing := self._large_results.accept(items):
            self._arrive(passing)

    def _arrive(self, items: list[Item]) -> None:
        with self._arrived:
            self._items.extend(items)
            self._arrived.notify()

    def take(self) -> list[Item]:
        """Remove and return all items that have arrived."""
        with self._arrived:
            items, self._items = self._items, []
        return items

    def add(self, size: int) -> None:
        """Add bytes of results to the budget without waiting: they were added to an event that has arrived."""
        self._byte_budget.release(-size)

    def release(self, size: int) -> None:
        """Release bytes of results to the budget: they are recorded or dropped."""
        self._byte_budget.release(size)

    def wait(self, seconds: float | None) -> None:
        """Wait until there are items or the inbox is closed, at most `seconds`; None means no limit."""
        with self._arrived:
            if self._closed and self._large_results.holds():
                self._arrived.wait(_CHECK_SECONDS)
            self._arrived.wait_for(lambda: self._items or self._closed, seconds)

    def pause(self, seconds: float) -> None:
        """Wait for `seconds`, or until more items arrive."""
        with self._arrived:
            self._arrived.wait(seconds)

    @property
    def exhausted(self) -> bool:
        """Whether the inbox is closed and empty."""
        # In this order: an item that the writer no longer holds is in the list.
        return self._closed and not self._large_results.holds() and not self._items

    def stop_waiting(self) -> None:
        """Stop the backpressure and the writes of large results, as after a fault of another thread."""
        self._large_results.stop()
        self._byte_budget.lift()

    def close(self) -> None:
        """Close the inbox: the recorder ends after it has recorded the remaining items."""
        with self._arrived:
            self._closed = True
            self._arrived.notify()
        self.stop_waiting()
