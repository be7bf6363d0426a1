# SPDX-License-Identifier: Apache-2.0
"""Log one line per job transition, in a separate thread that does not delay commits. Telemetry observes them there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Final

import structlog

from qonduit.v1.event_pb2 import JobEvent
from qonduit.v1.failure_pb2 import FailureCategory
from qonduit.v1.job_pb2 import Job, JobState
from qonduit_server.store.notification_bus import Notification, NotificationBus

_log = structlog.get_logger("qonduit.job")
_PREFIX = len("JOB_STATE_")
#: The pause before the wait for more transitions, so that those of a busy server wake the thread once for many.
_PAUSE_SECONDS: Final = 0.01


class JobLog:
    """Logs the job transitions that this process commits, until `close`.

    Args:
        notifications: those of the store.
        observers: called with each job after a transition, and its state before; UNSPECIFIED for a new job.
    """

    def __init__(
        self, notifications: NotificationBus, observers: Sequence[Callable[[Job, JobState], None]] = ()
    ) -> None:
        self._observers = observers
        self._notifications: SimpleQueue[Notification | None] = SimpleQueue()
        self._unsubscribe = notifications.subscribe(self._enqueue)
        self._thread = threading.Thread(target=self._write, name="job-log", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Log the transitions committed so far, then stop the thread."""
        self._unsubscribe()
        self._notifications.put(None)
        self._thread.join(timeout=5.0)

    def _enqueue(self, notification: Notification) -> None:
        if notification.events:
            self._notifications.put(notification)

    def _write(self) -> None:
        while (notification := self._notifications.get()) is not None:
            for events in notification.events.values():
                for stored in events:
                    event = JobEvent.FromString(stored.payload)
                    kind = event.WhichOneof("event")
                    if kind == "created":
                        self._observe(event.created, JobState.JOB_STATE_UNSPECIFIED)
                    elif kind == "state_change":
                        self._observe(event.state_change.job, event.state_change.from_state)
            if self._notifications.empty():
                time.sleep(_PAUSE_SECONDS)

    def _observe(self, job: Job, before: JobState) -> None:
        _log_transition(job, _name(before) if before else "")
        for observe in self._observers:
            observe(job, before)


def _log_transition(job: Job, before: str) -> None:
    more: dict[str, object] = {}
    if job.traceparent:
        more["trace_id"] = job.traceparent.split("-")[1]
    if job.attempt:
        more["attempt"] = job.attempt
    if job.HasField("failure"):
        more["category"] = FailureCategory.Name(job.failure.category)[len("FAILURE_CATEGORY_") :]
        more["reason"] = job.failure.reason
    if job.HasField("finished_at"):
        more["seconds"] = round((job.finished_at.ToNanoseconds() - job.created_at.ToNanoseconds()) / 1e9, 6)
    _log.info("job", job_id=job.id, before=before, state=_name(job.state), device_id=job.executed_on_id, **more)


def _name(state: JobState) -> str:
    return JobState.Name(state)[_PREFIX:]
