# SPDX-License-Identifier: Apache-2.0
"""Memory as it is shared out among tasks: what each may take unasked, who runs when with more, and who waits for it."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable
from typing import Final

from qonduit_server.execution.local.worker_processes import Key, PendingTask

#: What a task may take unasked, where the budget is large enough: most tasks take no more.
_UNASKED_BYTES: Final = 128 * 1024**2
#: What all slots take unasked is kept free for them, but no more than this share of the budget.
_UNASKED_SHARE: Final = 4
#: So many tasks of a provider may wait for memory, until no more of its tasks are wanted: there may be small ones among
#: them that would flow past, but what waits here can be given to no other server.
_MOST_WAITING: Final = 32
#: All that wait may be so large together, as messages.
_MOST_WAITING_BYTES: Final = 64 * 1024**2


class Admission:
    """The rules, and those that wait. Memory that is granted is not counted here: it is what the workers hold.

    Every slot has `unasked_bytes` for itself. A large task, one that needs more, takes the difference from what is
    left of the budget. Large tasks are admitted in the order in which they came, so that none is passed by smaller
    ones for ever; while none runs, the first of them is admitted whatever it needs.

    Args:
        budget_bytes: what all running tasks may take together; 0: there is no limit, and no task needs to ask.
        slots: how many tasks run at once, at most.
    """

    def __init__(self, budget_bytes: int, slots: int) -> None:
        self.unasked_bytes = (
            max(1, min(_UNASKED_BYTES, budget_bytes // (_UNASKED_SHARE * slots))) if budget_bytes else 0
        )
        self._shared_bytes = budget_bytes - slots * self.unasked_bytes
        self._waiting: list[PendingTask] = []
        self._bytes = 0

    def __bool__(self) -> bool:
        """Whether any task waits."""
        return bool(self._waiting)

    def wait(self, held: PendingTask) -> None:
        """Let a large task wait, at its own place."""
        insort(self._waiting, held, key=lambda each: each.order)
        self._bytes += held.size

    def remove(self, key: Key) -> PendingTask | None:
        """Take out a task that waits here."""
        held = next((each for each in self._waiting if each.key == key), None)
        if held is not None:
            self._waiting.remove(held)
            self._bytes -= held.size
        return held

    def clear(self, provider: str) -> list[PendingTask]:
        """Take out all that wait for a provider."""
        gone = self.waiting_for(provider)
        for held in gone:
            self.remove(held.key)
        return gone

    def waiting_for(self, provider: str) -> list[PendingTask]:
        """Those that wait for a provider, the oldest first."""
        return [held for held in self._waiting if held.task.provider == provider]

    def full(self, provider: str) -> bool:
        """Whether so many wait that no more tasks of this provider are wanted."""
        if len(self._waiting) < _MOST_WAITING and self._bytes < _MOST_WAITING_BYTES:
            return False
        return self._bytes >= _MOST_WAITING_BYTES or len(self.waiting_for(provider)) >= _MOST_WAITING

    def first(self, can_run: Callable[[str], bool], running: Iterable[PendingTask]) -> PendingTask | None:
        """Return the task to admit next, as soon as it has a worker; None: none waits, or the first has no memory.

        Args:
            can_run: whether a provider has workers at all: others do not wait behind one that has not.
            running: the large tasks that run, those included whose process is still being killed.
        """
        held = next((each for each in self._waiting if can_run(each.task.provider)), None)
        return held if held is not None and self._fits(held, running) else None

    def untold(self, can_run: Callable[[str], bool], running: Iterable[PendingTask]) -> list[PendingTask]:
        """Those that wait for memory and have not been told so; they count as told from now on."""
        if all(held.told for held in self._waiting) or self.first(can_run, running) is not None:
            return []
        untold = [held for held in self._waiting if not held.told and can_run(held.task.provider)]
        for held in untold:
            held.told = True
        return untold

    def _fits(self, held: PendingTask, running: Iterable[PendingTask]) -> bool:
        needs = [each.need for each in running]
        together = sum(needs) + held.need - (len(needs) + 1) * self.unasked_bytes
        return not needs or together <= self._shared_bytes
