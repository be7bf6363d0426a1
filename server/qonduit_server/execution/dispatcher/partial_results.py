# SPDX-License-Identifier: Apache-2.0
"""Partial results of running tasks: forwarded to watchers, and kept for the case that the job is cancelled."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from qonduit.execution.v1.task_pb2 import ProgramPartial, TaskEvent
from qonduit.v1.event_pb2 import JobEvent, PartialResult
from qonduit.v1.result_pb2 import Result
from qonduit_server.execution.dispatcher.running_jobs import Key
from qonduit_server.store.notification_bus import Notification, NotificationBus

#: Maximum of bytes of a forwarded event; larger results can be read once they are stored.
_MAX_EVENT_BYTES: Final = 256 * 1024
#: Maximum of bytes that are kept of a task.
_MAX_KEPT_BYTES: Final = 1024**2


class PartialResults:
    """Forwards partial results, and keeps the latest of each task. All of its state belongs to the recorder's thread.

    Args:
        notifications: receives the events for watchers of this server.
    """

    def __init__(self, notifications: NotificationBus) -> None:
        self._notifications = notifications
        self._kept: dict[Key, dict[tuple[int, int], ProgramPartial]] = {}

    def accept(self, event: TaskEvent) -> None:
        """Forward and keep a partial result; it replaces an earlier one of the same program and point."""
        partial = event.program_partial
        own = self._kept.setdefault((event.job_id, event.attempt), {})
        own[partial.index, partial.first_point] = partial
        if sum(each.ByteSize() for each in own.values()) > _MAX_KEPT_BYTES:
            del own[partial.index, partial.first_point]
        self._forward(event.job_id, partial.index, partial.first_point, (each.result for each in partial.results))

    def forward_points(self, event: TaskEvent) -> None:
        """Forward the results of points, which are stored too."""
        done = event.points_done
        self._forward(event.job_id, done.index, done.first_point, (each.result for each in done.results))

    def complete(self, event: TaskEvent) -> None:
        """Add what was kept of a cancelled task to its last event; drop it for other tasks."""
        kept = self._kept.pop((event.job_id, event.attempt), {})
        if event.finished.failure.reason == "CANCELLED":
            event.finished.partial.extend(kept[key] for key in sorted(kept))

    def forget(self, key: Key) -> None:
        """Drop what was kept of a task."""
        self._kept.pop(key, None)

    def _forward(self, job_id: int, index: int, first_point: int, results: Iterable[Result]) -> None:
        now = Timestamp()
        now.GetCurrentTime()
        message = PartialResult(index=index, first_point=first_point, results=results)
        if message.results:
            message.program_id = message.results[0].program_id
        if message.ByteSize() <= _MAX_EVENT_BYTES:
            event = JobEvent(job_id=job_id, event_time=now, partial_result=message)
            self._notifications.deliver(Notification(partial={job_id: event.SerializeToString()}))
