# SPDX-License-Identifier: Apache-2.0
"""Memory admission: the memory that each task may take by default, and the order of tasks that need more."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable
from typing import Final

from qonduit_server.execution.executor import Key
from qonduit_server.execution.local.worker_processes import PendingTask

#: The memory that a task may take by default, if the budget is large enough: most tasks take no more.
_DEFAULT_BYTES: Final = 128 * 1024**2
#: The default memory of all slots is reserved for them, but at most the budget divided by this number.
_DEFAULT_SHARE: Final = 4
#: With this many waiting tasks of a provider, no more of its tasks are wanted: small ones among them could pass, but
#: no other server can run the tasks that wait here.
_MOST_WAITING: Final = 32
#: The maximum of bytes of all waiting tasks, as messages.
_MOST_WAITING_BYTES: Final = 64 * 1024**2


class Admission:
    """Admits large tasks. Granted memory is not counted here: it follows from the tasks of the workers.

    Every slot has `default_bytes`. A large task needs more; it takes the difference from the rest of the budget. Large
    tasks are admitted in the order of submission, so that smaller ones cannot starve one; while no large task runs,
    the first one is admitted at any size.

    Args:
        budget_bytes: the limit of the memory of all running tasks; 0 means no limit, and no task is large.
        slots: the maximum number of concurrent tasks.
    """

    def __init__(self, budget_bytes: int, slots: int) -> None:
        self._budget_bytes = budget_bytes
        self._waiting: list[PendingTask] = []
        self._bytes = 0
        self.resize(slots)

    def resize(self, slots: int) -> None:
        """Set another maximum number of concurrent tasks."""
        budget = self._budget_bytes
        self.default_bytes = max(1, min(_DEFAULT_BYTES, budget // (_DEFAULT_SHARE * slots))) if budget else 0
        self._shared_bytes = budget - slots * self.default_bytes

    def __bool__(self) -> bool:
        """Return whether any task waits."""
        return bool(self._waiting)

    def wait(self, held: PendingTask) -> None:
        """Add a large task, in the order of submission."""
        insort(self._waiting, held, key=lambda each: each.order)
        self._bytes += held.size

    def keys(self) -> list[Key]:
        """Return all waiting tasks."""
        return [held.key for held in self._waiting]

    def remove(self, key: Key) -> PendingTask | None:
        """Remove and return a waiting task; None if it does not wait here."""
        held = next((each for each in self._waiting if each.key == key), None)
        if held is not None:
            self._waiting.remove(held)
            self._bytes -= held.size
        return held

    def clear(self, provider: str) -> list[PendingTask]:
        """Remove and return the waiting tasks of a provider."""
        removed = self.waiting_for(provider)
        for held in removed:
            self.remove(held.key)
        return removed

    def waiting_for(self, provider: str) -> list[PendingTask]:
        """Return the waiting tasks of a provider, oldest first."""
        return [held for held in self._waiting if held.task.provider == provider]

    def full(self, provider: str) -> bool:
        """Return whether too many tasks wait to want more tasks of this provider."""
        if len(self._waiting) < _MOST_WAITING and self._bytes < _MOST_WAITING_BYTES:
            return False
        return self._bytes >= _MOST_WAITING_BYTES or len(self.waiting_for(provider)) >= _MOST_WAITING

    def first(self, can_run: Callable[[str], bool], running: Iterable[PendingTask]) -> PendingTask | None:
        """Return the next task to admit when it has a worker; None if no task waits or the first lacks memory.

        Args:
            can_run: whether a provider can run tasks: tasks do not wait behind one of a provider that cannot.
            running: the running large tasks, including those whose process is still being killed.
        """
        held = next((each for each in self._waiting if can_run(each.task.provider)), None)
        return held if held is not None and self._fits(held, running) else None

    def unnotified(self, can_run: Callable[[str], bool], running: Iterable[PendingTask]) -> list[PendingTask]:
        """Return the tasks that wait for memory and whose watchers are not notified; mark them as notified."""
        if all(held.notified for held in self._waiting) or self.first(can_run, running) is not None:
            return []
        unnotified = [held for held in self._waiting if not held.notified and can_run(held.task.provider)]
        for held in unnotified:
            held.notified = True
        return unnotified

    def _fits(self, held: PendingTask, running: Iterable[PendingTask]) -> bool:
        needs = [each.need for each in running]
        together = sum(needs) + held.need - (len(needs) + 1) * self.default_bytes
        return not needs or together <= self._shared_bytes
