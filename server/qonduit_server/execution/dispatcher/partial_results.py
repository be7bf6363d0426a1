# SPDX-License-Identifier: Apache-2.0
"""Partial results of running tasks: forwarded to watchers, and kept for the case that the job is cancelled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from qonduit.execution.v1.task_pb2 import PointsDone, ProgramPartial, TaskEvent
from qonduit.v1.event_pb2 import JobEvent, PartialResult
from qonduit_server.execution.dispatcher.event_throttle import PROGRESS_SECONDS
from qonduit_server.execution.executor import Key

#: Maximum of bytes of a forwarded event; larger results can be read once they are stored.
_MAX_EVENT_BYTES: Final = 256 * 1024
#: Maximum of bytes that are kept of a task.
_MAX_KEPT_BYTES: Final = 1024**2


@dataclass(slots=True)
class _Forwarding:
    """The results of a task that wait to be forwarded, and when they may be."""

    waiting: PartialResult | None = None
    due: float = 0.0


class PartialResults:
    """Forwards partial results, and keeps the latest of each task. All of its state belongs to the recorder's thread.

    Results that arrive before the next event is due replace each other; those of adjacent points are merged. Times are
    seconds of one clock, which the caller reads.

    Args:
        publish: receives each serialized event for the watchers of a job.
    """

    def __init__(self, publish: Callable[[int, bytes], None]) -> None:
        self._publish = publish
        self._kept: dict[Key, dict[tuple[int, int], ProgramPartial]] = {}
        self._forwarding: dict[Key, _Forwarding] = {}

    def accept(self, event: TaskEvent) -> None:
        """Forward and keep a partial result; it replaces an earlier one of the same program and point."""
        partial = event.program_partial
        own = self._kept.setdefault((event.job_id, event.attempt), {})
        own[partial.index, partial.first_point] = partial
        if sum(each.ByteSize() for each in own.values()) > _MAX_KEPT_BYTES:
            del own[partial.index, partial.first_point]
        self._hold(event, partial)

    def accept_points(self, event: TaskEvent) -> None:
        """Forward the results of points, which are stored too."""
        self._hold(event, event.points_done)

    def complete(self, event: TaskEvent) -> None:
        """Forward the waiting results, and add the kept ones of a cancelled task to its last event."""
        key = (event.job_id, event.attempt)
        held = self._forwarding.pop(key, None)
        if held is not None and held.waiting is not None:
            self._send(event.job_id, held.waiting)
        kept = self._kept.pop(key, {})
        if event.finished.failure.reason == "CANCELLED":
            event.finished.partial.extend(kept[each] for each in sorted(kept))

    def forget(self, key: Key) -> None:
        """Drop the kept results of a task."""
        self._kept.pop(key, None)
        self._forwarding.pop(key, None)

    def send_due(self, now: float) -> None:
        """Forward the results that are due."""
        for (job_id, _), held in self._forwarding.items():
            if held.waiting is not None and held.due <= now:
                self._send(job_id, held.waiting)
                held.waiting, held.due = None, now + PROGRESS_SECONDS

    def next_due(self) -> float:
        """Return the time at which the next event is due; infinity if none waits."""
        return min((held.due for held in self._forwarding.values() if held.waiting is not None), default=float("inf"))

    def _hold(self, event: TaskEvent, found: PointsDone | ProgramPartial) -> None:
        message = PartialResult(
            index=found.index, first_point=found.first_point, results=[each.result for each in found.results]
        )
        if message.results:
            message.program_id = message.results[0].program_id
        held = self._forwarding.setdefault((event.job_id, event.attempt), _Forwarding())
        waiting = held.waiting
        if waiting is not None and _follows(waiting, message):
            waiting.results.extend(message.results)
        elif message.ByteSize() <= _MAX_EVENT_BYTES:
            held.waiting = message

    def _send(self, job_id: int, message: PartialResult) -> None:
        now = Timestamp()
        now.GetCurrentTime()
        event = JobEvent(job_id=job_id, event_time=now, partial_result=message)
        self._publish(job_id, event.SerializeToString())


def _follows(waiting: PartialResult, message: PartialResult) -> bool:
    """Return whether the results of two messages are those of adjacent points, and fit into one."""
    last = waiting.results[-1] if waiting.results else None
    return (
        last is not None
        and last.HasField("point")
        and waiting.index == message.index
        and last.point + 1 == message.first_point
        and waiting.ByteSize() + message.ByteSize() <= _MAX_EVENT_BYTES
    )
