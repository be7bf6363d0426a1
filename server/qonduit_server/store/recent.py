# SPDX-License-Identifier: Apache-2.0
"""The latest events of the latest jobs, kept in memory: what watchers want is nearly always what was just written.

Only a saving of queries. What is not here, or may have been changed by another server, is read from the database.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

from qonduit_server.store.signals import StoredEvent, Wake

#: Jobs remembered at most, events remembered of each, and bytes of one event.
_MOST_JOBS: Final = 2048
_MOST_EVENTS: Final = 32
_MOST_BYTES: Final = 4096


class Recent:
    """A run of events without gaps for each of the jobs that changed last. Fed by every wake, before all others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: OrderedDict[int, list[StoredEvent]] = OrderedDict()

    def take(self, wake: Wake) -> None:
        """Remember the events of a commit of ours; forget the jobs that somebody else changed, or that are gone."""
        if not (wake.jobs or wake.all_jobs):
            return
        with self._lock:
            if wake.all_jobs:
                self._jobs.clear()
            for job_id in wake.jobs:
                fresh = wake.events.get(job_id)
                if not fresh or len(fresh) > _MOST_EVENTS or any(len(event.payload) > _MOST_BYTES for event in fresh):
                    self._jobs.pop(job_id, None)
                    continue
                known = self._jobs.get(job_id)
                if known is None or known[-1].sequence + 1 != fresh[0].sequence or len(known) >= _MOST_EVENTS:
                    self._jobs[job_id] = list(fresh)
                else:
                    # A new list: readers hold the one before without the lock.
                    self._jobs[job_id] = known + fresh
                self._jobs.move_to_end(job_id)
            while len(self._jobs) > _MOST_JOBS:
                self._jobs.popitem(last=False)

    def after(self, job_id: int, sequence: int, limit: int) -> list[StoredEvent] | None:
        """Return a job's events after a sequence, as the database would; None when it has to be asked."""
        events = self._jobs.get(job_id)
        if events is None or not events[0].sequence - 1 <= sequence <= events[-1].sequence:
            return None
        start = sequence + 1 - events[0].sequence
        return events[start : start + limit]
