# SPDX-License-Identifier: Apache-2.0
"""Throttle events: progress at most four times per second and job, no start events of short runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from qonduit.execution.v1.task_pb2 import TaskEvent
from qonduit_server.execution.executor import Key

#: Three per second at regular intervals and the last one at any time make at most four in any second.
PROGRESS_SECONDS: Final = 1 / 3
#: The start of a program is recorded if the program has not ended after this time.
_START_SECONDS: Final = 0.05


@dataclass(slots=True)
class _DelayedEvent:
    progress: TaskEvent | None = None
    progress_due: float = 0.0
    begun: dict[int, tuple[float, TaskEvent]] = field(default_factory=dict)


class EventThrottle:
    """Delays events until they are due or superseded. Times are seconds of one clock, which the caller reads."""

    def __init__(self) -> None:
        self._held: dict[Key, _DelayedEvent] = {}
        #: Accepted failures with requirements; the caller removes them and adds compatible devices.
        self.unsupported: list[TaskEvent] = []

    def accept(self, events: Iterable[TaskEvent], now: float) -> list[TaskEvent]:
        """Accept events in order; return those to record at once."""
        passed: list[TaskEvent] = []
        for event in events:
            kind = event.WhichOneof("event")
            if kind == "started":
                if event.started.message_id:
                    passed.append(event)
                continue
            key = (event.job_id, event.attempt)
            if kind == "progress":
                self._held.setdefault(key, _DelayedEvent()).progress = event
            elif kind == "program_started":
                begun = self._held.setdefault(key, _DelayedEvent()).begun
                begun[event.program_started.index] = (now + _START_SECONDS, event)
            elif kind == "finished":
                held = self._held.pop(key, None)
                if held is not None and held.progress is not None:
                    passed.append(held.progress)
                passed.append(event)
            else:
                held = self._held.get(key)
                if held is not None and kind == "program_succeeded":
                    held.begun.pop(event.program_succeeded.index, None)
                elif kind == "program_failed":
                    if held is not None:
                        held.begun.pop(event.program_failed.index, None)
                    if event.program_failed.HasField("needs"):
                        self.unsupported.append(event)
                passed.append(event)
        return passed

    def due(self, now: float) -> list[TaskEvent]:
        """Remove and return the delayed events that are due."""
        passed: list[TaskEvent] = []
        for held in self._held.values():
            for index, (due, event) in list(held.begun.items()):
                if due <= now:
                    passed.append(event)
                    del held.begun[index]
            if held.progress is not None and held.progress_due <= now:
                passed.append(held.progress)
                held.progress = None
                held.progress_due = now + PROGRESS_SECONDS
        return passed

    def next_due(self) -> float:
        """Return the time at which the next delayed event is due; infinity if there is no delayed event."""
        return min(
            (
                due
                for held in self._held.values()
                for due in (
                    *((held.progress_due,) if held.progress is not None else ()),
                    *(due for due, _ in held.begun.values()),
                )
            ),
            default=float("inf"),
        )

    def forget(self, key: Key) -> None:
        """Drop the delayed events of a task that ended without a `finished` event."""
        self._held.pop(key, None)
