# SPDX-License-Identifier: Apache-2.0
"""Large results are written ahead of their events, so that recording what happened to other jobs waits for none."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final, NamedTuple

from qonduit.execution.v1.task_pb2 import TaskEvent
from qonduit_server.errors import StoreFault, Unavailable
from qonduit_server.execution.dispatcher.running_jobs import Key
from qonduit_server.store.database import Database
from qonduit_server.store.jobs import queue
from qonduit_server.store.results import large_results

#: With more than this behind large results, log lines are dropped.
_MANY: Final = 20_000


class HandBack(NamedTuple):
    """A task to be handed back, and whether that attempt counts: one that was stopped did nothing wrong."""

    key: Key
    why: str
    counts: bool


Item = TaskEvent | HandBack


def key_of(item: Item) -> Key:
    """Return the job and attempt that an item speaks of."""
    return (item.job_id, item.attempt) if isinstance(item, TaskEvent) else item.key


class LargeResultWriter:
    """Lets pass what arrives, but for large results and what follows them of the same task: those pass in order, later.

    Args:
        db: the store.
        hand_on: is given what was held up, in the thread that runs `write`.
    """

    def __init__(self, db: Database, hand_on: Callable[[list[Item]], None]) -> None:
        self._db = db
        self._hand_on = hand_on
        self._changed = threading.Condition(threading.Lock())
        self._items: deque[Item] = deque()
        #: How many items of a task are held up.
        self._held: Counter[Key] = Counter()
        self._stopped = False

    def take(self, items: Iterable[Item]) -> list[Item]:
        """Take what arrived; give what may pass at once."""
        passing: list[Item] = []
        with self._changed:
            for item in items:
                if isinstance(item, TaskEvent) and large_results.is_large(item):
                    # Ids are the store's to give.
                    large_results.reset_ids(item)
                elif not self._held or key_of(item) not in self._held:
                    passing.append(item)
                    continue
                elif len(self._items) >= _MANY and isinstance(item, TaskEvent) and item.HasField("log"):
                    continue
                self._held[key_of(item)] += 1
                self._items.append(item)
            self._changed.notify()
        return passing

    def holds(self) -> bool:
        """Whether anything is held up."""
        return bool(self._held)

    def write(self) -> None:
        """Write large results and hand them on, until `stop`; then hand on the rest."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._items or self._stopped)
                if not self._items:
                    return
                item = self._items.popleft()
            if isinstance(item, TaskEvent) and not self._stopped:
                # What cannot be written now is tried again, or told, by whoever records it.
                with suppress(Unavailable, StoreFault):
                    queue.write_ahead(self._db, item)
            self._hand_on([item])
            key = key_of(item)
            del item  # large, and not to be kept until the next comes
            with self._changed:
                self._held[key] -= 1
                if not self._held[key]:
                    del self._held[key]

    def stop(self) -> None:
        """Write nothing from now on."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
