# SPDX-License-Identifier: Apache-2.0
"""The pool's notifications for its listener, collected under the pool's lock and delivered without it."""

from __future__ import annotations

import time

from qonduit.execution.v1.task_pb2 import Task, TaskEvent, TaskFinished
from qonduit.v1.event_pb2 import LogLevel, LogLine
from qonduit.v1.failure_pb2 import Failure, FailureCategory
from qonduit_server.execution.executor import Listener, Loss, LossKind
from qonduit_server.execution.local.worker_processes import Key, PendingTask
from qonduit_server.process.memory import format_bytes


class PendingNotifications:
    """Events and losses in order, and whether more tasks may be wanted."""

    def __init__(self) -> None:
        self._items: list[TaskEvent | tuple[Key, Loss]] = []
        self.more_wanted = False

    def __bool__(self) -> bool:
        """Return whether there are notifications."""
        return bool(self._items) or self.more_wanted

    def ended(self) -> set[Key]:
        """Return the tasks whose ends are among the notifications."""
        return {
            item[0] if isinstance(item, tuple) else (item.job_id, item.attempt)
            for item in self._items
            if isinstance(item, tuple) or item.HasField("finished")
        }

    def take(self) -> PendingNotifications:
        """Remove and return all notifications, for delivery without the pool's lock."""
        taken = PendingNotifications()
        taken._items, self._items = self._items, []
        taken.more_wanted, self.more_wanted = self.more_wanted, False
        return taken

    def event(self, event: TaskEvent) -> None:
        """Add an event of a worker."""
        self._items.append(event)

    def lose(self, held: PendingTask, kind: LossKind, message: str, pid: int = 0) -> None:
        """Add the loss of a task; `pid` is the process that had it."""
        ran = time.monotonic() - held.started_at if pid and held.started_at is not None else 0.0
        self._items.append((held.key, Loss(kind, message, pid, held.spent + ran)))
        self.more_wanted = True

    def waits(self, held: PendingTask) -> None:
        """Add a log line: the task waits for memory."""
        message = f"the job needs {format_bytes(held.need)} of memory and waits until they are free"
        log = LogLine(level=LogLevel.LOG_LEVEL_INFO, message=message)
        self._items.append(TaskEvent(job_id=held.task.job_id, attempt=held.task.attempt, log=log))

    def fail(self, task: Task, reason: str) -> None:
        """Add the failure of a task whose provider is unavailable."""
        message = f"The provider {task.provider} is not available" if task.provider else "Translation is not available"
        failure = Failure(
            category=FailureCategory.FAILURE_CATEGORY_PROVIDER,
            reason="SDK_UNAVAILABLE",
            message=f"{message} on this server: {reason}",
        )
        finished = TaskFinished(failure=failure)
        self._items.append(TaskEvent(job_id=task.job_id, attempt=task.attempt, finished=finished))
        self.more_wanted = True

    def deliver(self, listener: Listener) -> None:
        """Deliver all notifications in order."""
        events: list[TaskEvent] = []
        for item in self._items:
            if isinstance(item, TaskEvent):
                events.append(item)
                continue
            if events:
                listener.events(events)
                events = []
            (job_id, attempt), loss = item
            listener.lost(job_id, attempt, loss)
        if events:
            listener.events(events)
        if self.more_wanted:
            listener.capacity_changed()
