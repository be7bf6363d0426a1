# SPDX-License-Identifier: Apache-2.0
"""Write large results before their events, so that the recorder does not wait for them."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final, NamedTuple

from qonduit.execution.v1.task_pb2 import TaskEvent
from qonduit_server.errors import StoreFault, Unavailable
from qonduit_server.execution.executor import Key
from qonduit_server.store.database import Database
from qonduit_server.store.jobs import queue
from qonduit_server.store.results import large_results

#: With more held items than this, log lines are dropped.
_MANY: Final = 20_000


class Requeue(NamedTuple):
    """A job to requeue, and whether the attempt counts: one that the server stopped does not.

    `seconds` is the time for which the attempt occupied a worker; None if it is not known.
    """

    key: Key
    why: str
    counts: bool
    seconds: float | None = None


Item = TaskEvent | Requeue


def key_of(item: Item) -> Key:
    """Return the job and attempt of an item."""
    return (item.job_id, item.attempt) if isinstance(item, TaskEvent) else item.key


class LargeResultWriter:
    """Holds large results and the items that follow them of the same task; forwards them in order after the write.

    Args:
        db: the store.
        forward: receives the held items, in the thread that runs `write`.
    """

    def __init__(self, db: Database, forward: Callable[[list[Item]], None]) -> None:
        self._db = db
        self._forward = forward
        self._changed = threading.Condition(threading.Lock())
        self._items: deque[Item] = deque()
        #: The number of held items by task.
        self._held: Counter[Key] = Counter()
        self._stopped = False

    def accept(self, items: Iterable[Item]) -> list[Item]:
        """Hold large results and their successors; return the other items."""
        passing: list[Item] = []
        with self._changed:
            for item in items:
                if isinstance(item, TaskEvent) and large_results.is_large(item):
                    # The store assigns ids.
                    large_results.reset_ids(item)
                elif not self._held or key_of(item) not in self._held:
                    passing.append(item)
                    continue
                elif len(self._items) >= _MANY and isinstance(item, TaskEvent) and item.HasField("log"):
                    continue
                self._held[key_of(item)] += 1
                self._items.append(item)
            if self._items:
                self._changed.notify()
        return passing

    def holds(self) -> bool:
        """Return whether any item is held."""
        return bool(self._held)

    def write(self) -> None:
        """Write large results and forward them, until `stop`; then forward the rest without a write."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._items or self._stopped)
                if not self._items:
                    return
                item = self._items.popleft()
            if isinstance(item, TaskEvent) and not self._stopped:
                # On an error, the recorder retries the write or reports the error.
                with suppress(Unavailable, StoreFault):
                    queue.write_ahead(self._db, item)
            self._forward([item])
            key = key_of(item)
            del item  # large: free it before the wait for the next one
            with self._changed:
                self._held[key] -= 1
                if not self._held[key]:
                    del self._held[key]

    def stop(self) -> None:
        """Write no more large results."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
