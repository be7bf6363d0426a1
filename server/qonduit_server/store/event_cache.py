# SPDX-License-Identifier: Apache-2.0
"""A cache of the latest events of the latest jobs: watchers nearly always read events that were just written.

The cache only saves queries. Events that are not cached, or that another server may have changed, are read from the
database.

Two threads update it: the writer with the events of its commits, the listener with notifications of other servers. A
notification may overtake an event: another server can see a commit, change the same job and notify before the writer
delivers the events of that commit. The cache therefore drops the events of a transaction for each job that a
notification has named since the transaction began: they may not be the latest.

A notification of another server may contain the events. They are kept if they follow the cached ones, or are the first
of their job: notifications arrive in the order of commits, so that none is missing between them.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from qonduit_server.store.notification_bus import Notification, StoredEvent

#: Maximum number of cached jobs, of events per job, and of bytes per event, without its results.
_MAX_JOBS: Final = 2048
_MAX_EVENTS: Final = 32
_MAX_BYTES: Final = 4096


class EventCache:
    """Events without gaps of each recently changed job. It receives each notification before all other subscribers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: OrderedDict[int, list[StoredEvent]] = OrderedDict()
        #: Jobs that other servers changed since the current transaction began.
        self._changed: set[int] = set()
        #: Whether any job may have changed.
        self._any_changed = False

    def begin(self) -> None:
        """Record that a transaction of the writer begins. Call it before the transaction reads anything."""
        with self._lock:
            self._changed.clear()
            self._any_changed = False

    def invalidate(self, job_ids: Iterable[int]) -> None:
        """Drop jobs whose events may be outdated, so that they are read from the database the next time."""
        with self._lock:
            for job_id in job_ids:
                self._drop(job_id)

    def update(self, notification: Notification) -> None:
        """Cache the events of a commit; drop the other changed jobs, and those that are deleted."""
        if not (notification.jobs or notification.all_jobs):
            return
        with self._lock:
            if notification.all_jobs:
                self._jobs.clear()
                self._any_changed = True
            for job_id in notification.jobs:
                fresh = notification.events.get(job_id)
                if not fresh:
                    fresh = notification.received.get(job_id)
                    if not fresh or not self._follows(job_id, fresh[0].sequence):
                        self._drop(job_id)
                        continue
                elif self._any_changed or job_id in self._changed:
                    self._jobs.pop(job_id, None)
                    continue
                if len(fresh) > _MAX_EVENTS or any(len(event.payload) > _MAX_BYTES for event in fresh):
                    self._drop(job_id)
                    continue
                known = self._jobs.get(job_id)
                if known is None or known[-1].sequence + 1 != fresh[0].sequence or len(known) >= _MAX_EVENTS:
                    self._jobs[job_id] = list(fresh)
                else:
                    # A new list, because readers use the old one without the lock.
                    self._jobs[job_id] = known + fresh
                self._jobs.move_to_end(job_id)
            while len(self._jobs) > _MAX_JOBS:
                self._jobs.popitem(last=False)

    def _follows(self, job_id: int, sequence: int) -> bool:
        """Return whether an event of another server is the next one after the cached ones."""
        known = self._jobs.get(job_id)
        return sequence == (1 if known is None else known[-1].sequence + 1)

    def _drop(self, job_id: int) -> None:
        """Drop a job, also from the events of the current transaction. Call it under the lock."""
        self._jobs.pop(job_id, None)
        self._changed.add(job_id)
        if len(self._changed) > _MAX_JOBS:
            # Without transactions, nothing else limits the set.
            self._changed.clear()
            self._any_changed = True

    def after(self, job_id: int, sequence: int, limit: int) -> list[StoredEvent] | None:
        """Return a job's events after a sequence, as the database would; None if they are not cached."""
        events = self._jobs.get(job_id)
        if events is None or not events[0].sequence - 1 <= sequence <= events[-1].sequence:
            return None
        start = sequence + 1 - events[0].sequence
        return events[start : start + limit]
