# SPDX-License-Identifier: Apache-2.0
"""Which events are worth telling: progress at most four times a second a job, no beginnings of short runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from qonduit.execution.v1.task_pb2 import TaskEvent
from qonduit_server.execution.dispatcher.running_jobs import Key

#: Three a second regularly and the last one at any time make at most four in any second.
_PROGRESS_SECONDS: Final = 1 / 3
#: That a program was begun is told when it has not ended by then.
_BEGINNING_SECONDS: Final = 0.05


@dataclass(slots=True)
class _DelayedEvent:
    progress: TaskEvent | None = None
    progress_due: float = 0.0
    begun: dict[int, tuple[float, TaskEvent]] = field(default_factory=dict)


class EventThrottle:
    """Holds events back until they are due or of no interest. Times are seconds of one clock, given by the caller."""

    def __init__(self) -> None:
        self._held: dict[Key, _DelayedEvent] = {}
        #: Failures among those told that are to name other devices, for the caller to take.
        self.needy: list[TaskEvent] = []

    def take(self, events: Iterable[TaskEvent], now: float) -> list[TaskEvent]:
        """Take what was emitted, in order; give what is to be told at once."""
        told: list[TaskEvent] = []
        for event in events:
            kind = event.WhichOneof("event")
            if kind == "started":
                continue
            key = (event.job_id, event.attempt)
            if kind == "progress":
                self._held.setdefault(key, _DelayedEvent()).progress = event
            elif kind == "program_started":
                begun = self._held.setdefault(key, _DelayedEvent()).begun
                begun[event.program_started.index] = (now + _BEGINNING_SECONDS, event)
            elif kind == "finished":
                held = self._held.pop(key, None)
                if held is not None and held.progress is not None:
                    told.append(held.progress)
                told.append(event)
            else:
                held = self._held.get(key)
                if held is not None and kind == "program_succeeded":
                    held.begun.pop(event.program_succeeded.index, None)
                elif kind == "program_failed":
                    if held is not None:
                        held.begun.pop(event.program_failed.index, None)
                    if event.program_failed.HasField("needs"):
                        self.needy.append(event)
                told.append(event)
        return told

    def due(self, now: float) -> list[TaskEvent]:
        """Give what was held back long enough."""
        told: list[TaskEvent] = []
        for held in self._held.values():
            for index, (due, event) in list(held.begun.items()):
                if due <= now:
                    told.append(event)
                    del held.begun[index]
            if held.progress is not None and held.progress_due <= now:
                told.append(held.progress)
                held.progress = None
                held.progress_due = now + _PROGRESS_SECONDS
        return told

    def next_due(self) -> float:
        """When `due` has something to give; infinity: not unless more is taken."""
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
        """Drop what is held back of a task that ended in another way."""
        self._held.pop(key, None)
