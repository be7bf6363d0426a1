# SPDX-License-Identifier: Apache-2.0
"""Places of waiting jobs in the queue, for the streams that requested them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from typing import Final

from qonduit.v1.job_pb2 import QueuePlace
from qonduit_server.rpc.error_status import outcome
from qonduit_server.store.database import Database
from qonduit_server.store.jobs import queue_positions

#: Seconds between two reads of the queue.
INTERVAL: Final = 1.0


class QueuePlaces:
    """Reads the queue while streams wait for changes of their place, in one thread.

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
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="rpc-queue-places", daemon=True)
        self._thread.start()

    def request(self) -> None:
        """Read the queue at once: a stream requested the place of its job."""
        self._wake.set()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        self._wake.set()
        self._thread.join()

    def _loop(self) -> None:
        while not self._stopped.is_set():
            self._wake.wait()
            self._wake.clear()
            while (jobs := self._watched()) and not self._stopped.is_set():
                outcome("", self._read, jobs)
                self._wake.wait(INTERVAL)
                self._wake.clear()

    def _read(self, jobs: Collection[int]) -> None:
        self._deliver(queue_positions.of_jobs(self._db, jobs))
