# SPDX-License-Identifier: Apache-2.0
"""Places of waiting jobs in the queue, for the streams that requested them, and observations for their estimates."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Final

from qonduit.v1.job_pb2 import QueuePlace
from qonduit_server.rpc.error_status import outcome
from qonduit_server.store.database import Database
from qonduit_server.store.jobs import queue_positions
from qonduit_server.store.jobs.queue_sampling import QueueSampler
from qonduit_server.store.notification_bus import Notification

#: Seconds between two reads of the queue.
INTERVAL: Final = 1.0


class QueuePlaces:
    """Reads the queue while jobs wait, in one thread: a few of them are observed, and streams receive their places.

    Args:
        db: the store.
        watched: returns the jobs whose places are requested.
        deliver: receives the places of waiting jobs.
    """

    def __init__(
        self, db: Database, watched: Callable[[], Collection[int]], deliver: Callable[[Mapping[int, QueuePlace]], None]
    ) -> None:
        self._db = db
        self._watched = watched
        self._deliver = deliver
        self._sampler = QueueSampler(db)
        self._queued = threading.Event()
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._unsubscribe = db.notifications.subscribe(self._on_notification)
        self._thread = threading.Thread(target=self._loop, name="rpc-queue-places", daemon=True)
        self._thread.start()

    def request(self) -> None:
        """Read the queue at once: a stream requested the place of its job."""
        self._wake.set()
        self._queued.set()

    def stop(self) -> None:
        """End the thread."""
        self._unsubscribe()
        self._stopped.set()
        self.request()
        self._thread.join()

    def _on_notification(self, notification: Notification) -> None:
        if notification.queue and not self._queued.is_set():
            self._queued.set()

    def _loop(self) -> None:
        next_sample = 0.0
        while not self._stopped.is_set():
            self._queued.wait()
            # Most jobs start at once: only those that wait for longer are observed. Requests do not wait.
            self._wake.wait(INTERVAL)
            self._wake.clear()
            self._queued.clear()
            if (now := time.monotonic()) >= next_sample:
                next_sample = now + INTERVAL
                outcome("", self._sampler.step)
            if jobs := self._watched():
                outcome("", self._read, jobs)
            if jobs or len(self._sampler):
                self._queued.set()

    def _read(self, jobs: Collection[int]) -> None:
        self._deliver(queue_positions.of_jobs(self._db, jobs))
