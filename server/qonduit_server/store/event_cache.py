# SPDX-License-Identifier: Apache-2.0
"""The latest events of the latest jobs, kept in memory: what watchers want is nearly always what was just written.

Only a saving of queries. What is not here, or may have been changed by another server, is read from the database.

Two threads feed it: the writer with the events of its own commits, the listener with the notifications of other
servers. A notification may overtake an own event: another server can see a commit, change the same job and notify
before the writer delivers the events of that commit. So the events of a transaction are not kept of jobs that a
notification has named since it began: they may not be the last ones any more.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from qonduit_server.store.notification_bus import Notification, StoredEvent

#: Jobs remembered at most, events remembered of each, and bytes of one event.
_MOST_JOBS: Final = 2048
_MOST_EVENTS: Final = 32
_MOST_BYTES: Final = 4096


class EventCache:
    """A run of events without gaps for each of the jobs that changed last. Fed by every wake, before all others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: OrderedDict[int, list[StoredEvent]] = OrderedDict()
        #: Jobs that other servers changed since the current transaction began.
        self._changed: set[int] = set()
        #: Any job may be among them.
        self._any_changed = False

    def begin(self) -> None:
        """Note that a transaction of the writer begins. It must be called before the transaction reads anything."""
        with self._lock:
            self._changed.clear()
            self._any_changed = False

    def forget(self, job_ids: Iterable[int]) -> None:
        """Have jobs read from the database the next time: what is kept of them may be out of date."""
        with self._lock:
            for job_id in job_ids:
                self._drop(job_id)

    def take(self, notification: Notification) -> None:
        """Keep the events of a commit of this server; drop jobs that another server changed, or that are deleted."""
        if not (notification.jobs or notification.all_jobs):
            return
        with self._lock:
            if notification.all_jobs:
                self._jobs.clear()
                self._any_changed = True
            for job_id in notification.jobs:
                fresh = notification.events.get(job_id)
                if not fresh:
                    self._drop(job_id)
                    continue
                overtaken = self._any_changed or job_id in self._changed
                if overtaken or len(fresh) > _MOST_EVENTS or any(len(event.payload) > _MOST_BYTES for event in fresh):
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

    def _drop(self, job_id: int) -> None:
        """Drop a job, now and if the current transaction writes events of it. Under the lock."""
        self._jobs.pop(job_id, None)
        self._changed.add(job_id)
        if len(self._changed) > _MOST_JOBS:
            # Without a transaction nothing else bounds them.
            self._changed.clear()
            self._any_changed = True

    def after(self, job_id: int, sequence: int, limit: int) -> list[StoredEvent] | None:
        """Return a job's events after a sequence, as the database would; None when it has to be asked."""
        events = self._jobs.get(job_id)
        if events is None or not events[0].sequence - 1 <= sequence <= events[-1].sequence:
            return None
        start = sequence + 1 - events[0].sequence
        return events[start : start + limit]
