# SPDX-License-Identifier: Apache-2.0
"""An executor's notifications for its listener, collected under the executor's lock and delivered without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qonduit.execution.v1.task_pb2 import Task, TaskEvent, TaskFinished
from qonduit.v1.failure_pb2 import Failure, FailureCategory
from qonduit_server.execution.executor import Key, Listener, Loss

#: An event, or a loss with its task.
Notification = TaskEvent | tuple[Key, Loss]


@dataclass(frozen=True, eq=False)
class Notifications:
    """Notifications in order, for one delivery.

    Attributes:
        items: events and losses.
        capacity_changed: whether the executor may want more tasks.
    """

    items: Sequence[Notification]
    capacity_changed: bool

    def deliver(self, listener: Listener) -> None:
        """Call the listener with all events and losses in order."""
        events: list[TaskEvent] = []
        for item in self.items:
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
        if self.capacity_changed:
            listener.capacity_changed()


class PendingNotifications:
    """Events and losses in order, and whether more tasks may be wanted. The executor locks it.

    Use, for each delivery: `taken = take()` with the lock, `taken.deliver(listener)` without it, `delivered(taken)`
    with it.
    """

    def __init__(self) -> None:
        self._items: list[Notification] = []
        self._taken: list[Notifications] = []
        #: Whether the listener must ask for the capacity again.
        self.capacity_changed = False

    def __bool__(self) -> bool:
        """Return whether something waits for `take`."""
        return bool(self._items) or self.capacity_changed

    @property
    def items(self) -> Sequence[Notification]:
        """The events and losses that wait for `take`."""
        return self._items

    def event(self, event: TaskEvent) -> None:
        """Add an event."""
        self._items.append(event)

    def lose(self, key: Key, loss: Loss) -> None:
        """Add the loss of a task, which frees its place."""
        self._items.append((key, loss))
        self.capacity_changed = True

    def fail(self, task: Task, reason: str, message: str, *, retryable: bool = False) -> None:
        """Add the end of a task that its provider cannot run."""
        self._items.append(provider_failure(task, reason, message, retryable=retryable))
        self.capacity_changed = True

    def take(self) -> Notifications:
        """Remove and return what waits."""
        taken = Notifications(self._items, self.capacity_changed)
        self._items, self.capacity_changed = [], False
        self._taken.append(taken)
        return taken

    def delivered(self, taken: Notifications) -> None:
        """Record that the listener has handled a result of `take`."""
        self._taken.remove(taken)

    def ended(self) -> set[Key]:
        """Return the tasks whose ends the listener has not handled yet."""
        return {
            item[0] if isinstance(item, tuple) else (item.job_id, item.attempt)
            for items in (self._items, *(each.items for each in self._taken))
            for item in items
            if isinstance(item, tuple) or item.HasField("finished")
        }


def provider_failure(task: Task, reason: str, message: str, *, retryable: bool = False) -> TaskEvent:
    """Return the `finished` event of a task that its provider cannot run."""
    failure = Failure(
        category=FailureCategory.FAILURE_CATEGORY_PROVIDER, reason=reason, message=message, retryable=retryable
    )
    return TaskEvent(job_id=task.job_id, attempt=task.attempt, finished=TaskFinished(failure=failure))
