# SPDX-License-Identifier: Apache-2.0
"""The scheduler: the waiting tasks of the pool, and their assignment to workers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

from qonduit.execution.v1.task_pb2 import Task
from qonduit_server.execution.executor import Key
from qonduit_server.execution.local.admission import Admission
from qonduit_server.execution.local.worker_processes import (
    MAX_AHEAD,
    SLOW_SECONDS,
    ForkServer,
    PendingTask,
    Worker,
)


class Scheduler:
    """The backlogs of all providers, and `slots` workers that may be busy at once. The pool locks it.

    Args:
        providers: by name.
        slots: the maximum number of concurrent tasks.
        fork: requests one more worker of a provider; returns None if it cannot have one.
        memory_bytes: the limit of the memory of all running tasks; 0 means no limit.
        handed_over: called with a worker and the tasks assigned to it.
    """

    def __init__(
        self,
        providers: Mapping[str, ForkServer],
        slots: int,
        fork: Callable[[ForkServer], Worker | None],
        memory_bytes: int = 0,
        handed_over: Callable[[Worker, Sequence[PendingTask]], None] = lambda worker, tasks: None,
    ) -> None:
        self._providers = providers
        self._slots = slots
        self._fork = fork
        self._handed_over = handed_over
        self._admission = Admission(memory_bytes, slots)
        self._waiting: dict[Key, PendingTask] = {}
        self._orders = itertools.count()

    def add(self, provider: ForkServer, task: Task) -> None:
        """Add a new task to the backlog."""
        if self._admission.default_bytes:
            task.memory_granted_bytes = self._admission.default_bytes
        held = PendingTask((task.job_id, task.attempt), task, next(self._orders))
        provider.backlog.append(held)
        self._waiting[held.key] = held

    def resize(self, slots: int) -> None:
        """Set another maximum of busy workers. If more are busy, they get no other tasks until fewer are."""
        self._slots = slots
        self._admission.resize(slots)
        if self.free() < 0:
            for provider in self._providers.values():
                self.reclaim(provider)

    def reclaim(self, provider: ForkServer) -> None:
        """Requeue the tasks that the workers of a provider have not started."""
        self.requeue(provider, [held for worker in provider.ready for held in worker.reclaim()])

    def keys(self) -> set[Key]:
        """Return all waiting tasks."""
        return {*self._waiting, *self._admission.keys()}

    def remove(self, key: Key) -> PendingTask | None:
        """Remove and return a waiting task; None if it does not wait."""
        held = self._waiting.pop(key, None)
        if held is not None:
            self._providers[held.task.provider].backlog.remove(held)
            return held
        return self._admission.remove(key)

    def requeue(self, provider: ForkServer, tasks: Sequence[PendingTask]) -> None:
        """Requeue tasks of a worker: at the head of the backlog, or for memory if they are large."""
        for held in sorted(tasks, key=lambda each: each.order, reverse=True):
            if held.need:
                self._admission.wait(held)
            else:
                provider.backlog.appendleft(held)
                self._waiting[held.key] = held

    def declined(self, worker: Worker, held: PendingTask, need: int, now: float) -> None:
        """Requeue a task that needs more memory than granted, until that memory is free."""
        del worker.held[held.key]
        held.declined(need, worker.id, now)
        self._admission.wait(held)

    def clear(self, provider: ForkServer) -> list[PendingTask]:
        """Remove and return the waiting tasks of a provider."""
        backlog = list(provider.backlog)
        provider.backlog.clear()
        for held in backlog:
            del self._waiting[held.key]
        return backlog + self._admission.clear(provider.name)

    def waits_for(self, provider: ForkServer) -> bool:
        """Return whether any task waits for this provider."""
        return bool(provider.backlog or self._admission.waiting_for(provider.name))

    def short_of_memory(self) -> list[PendingTask]:
        """Return the tasks that have begun to wait for memory; each is returned once."""
        return self._admission.unnotified(self._can_run, self._large()) if self._admission else []

    def free(self) -> int:
        """Return the number of free slots."""
        busy = sum(1 for p in self._providers.values() for w in p.workers.values() if w.held and not w.killed)
        return self._slots - busy

    def wanted(self, now: float) -> dict[str, int]:
        """Return the number of further tasks that keep the workers busy, by provider, with a reserve of short tasks."""
        free = self.free()
        brisk = any(w.held and w.depth(now) > 1 for p in self._providers.values() for w in p.ready)
        wanted = {p.name: self._wanted(p, free, brisk, now) for p in self._providers.values()}
        return {name: count for name, count in wanted.items() if count > 0}

    def _wanted(self, provider: ForkServer, free: int, brisk: bool, now: float) -> int:
        if provider.outdated:
            return 0
        if provider.state == "broken":
            return MAX_AHEAD  # so that they fail and do not wait
        if free < 0 or (self._admission and self._admission.full(provider.name)):
            return 0
        held = len(provider.backlog) + sum(len(worker.held) for worker in provider.ready)
        if provider.state != "loaded":
            return 1 if held == 0 and (free > 0 or brisk) else 0  # one task is enough to load the SDK
        depths = [worker.depth(now) for worker in provider.ready if worker.held]
        idle = max((worker.depth(now) for worker in provider.ready if not worker.held), default=1)
        target = sum(_reserve(depth) for depth in depths) + max(0, free) * _reserve(idle)
        wanted = target - held
        if held == 0 and brisk:
            return max(1, wanted)
        if free <= 0 and wanted < target // 4:  # small claims cost more than they gain
            return 0
        return wanted

    def place(self, now: float) -> list[Worker]:
        """Assign waiting tasks to workers, the oldest of all providers first. Return the workers with new tasks."""
        placed: list[Worker] = []
        while True:
            waiting = [p for p in self._providers.values() if p.backlog and p.runs_tasks]
            oldest = min(waiting, key=lambda p: p.backlog[0].order) if waiting else None
            large = self._admission.first(self._can_run, self._large()) if self._admission else None
            if large is not None and (oldest is None or large.order < oldest.backlog[0].order):
                worker = self._place_large(large, now)
            elif oldest is not None:
                worker = self._place(oldest, now)
            else:
                return placed
            if worker is None:
                return placed
            placed.append(worker)

    def _can_run(self, provider: str) -> bool:
        return self._providers[provider].runs_tasks

    def _large(self) -> list[PendingTask]:
        """Return the large tasks of workers, including workers that are being killed."""
        return [held for p in self._providers.values() for w in p.workers.values() if (held := w.large) is not None]

    def _place_large(self, held: PendingTask, now: float) -> Worker | None:
        """Assign an admitted task to an idle worker. Without one, no other tasks are assigned ahead."""
        worker = self._idle(self._providers[held.task.provider], held.prepared_by) if self.free() > 0 else None
        if worker is not None:
            self._admission.remove(held.key)
            self._assign(worker, [held], now)
        return worker

    def _idle(self, provider: ForkServer, preferred: int = -1) -> Worker | None:
        """Return an idle worker: the preferred one by id, otherwise a warm one, otherwise a new one."""
        idle = [worker for worker in provider.ready if not worker.held]
        if not idle:
            return self._fork(provider)
        return max(idle, key=lambda w: (w.id == preferred, w.pid != 0, w.useful))

    def _place(self, provider: ForkServer, now: float) -> Worker | None:
        free = self.free()
        worker: Worker | None
        if free > 0:
            worker = self._idle(provider)
            if worker is None:
                return None
            room = min(worker.depth(now), -(-len(provider.backlog) // free))
        elif free < 0:
            return None
        else:
            # At least half empty, so that several tasks are sent in one message.
            some = [w for w in provider.ready if w.held and not w.alone and 2 * len(w.held) <= w.depth(now)]
            if not some or provider.backlog[0].alone:
                return None
            worker = min(some, key=lambda w: len(w.held))
            room = worker.depth(now) - len(worker.held)
        self._assign(worker, self._take(provider, room), now)
        return worker

    def _assign(self, worker: Worker, tasks: Sequence[PendingTask], now: float) -> None:
        worker.assign(tasks, now)
        self._handed_over(worker, tasks)

    def _take(self, provider: ForkServer, count: int) -> list[PendingTask]:
        """Remove and return the oldest tasks of a backlog; a task that must be alone is returned alone."""
        taken: list[PendingTask] = []
        while provider.backlog and len(taken) < count:
            if taken and (provider.backlog[0].alone or taken[0].alone):
                break
            held = provider.backlog.popleft()
            del self._waiting[held.key]
            taken.append(held)
        return taken

    def reclaim_from_slow(self, now: float) -> None:
        """Requeue the tasks behind slow ones, if a slot is free."""
        if self.free() <= 0:
            return
        for provider in self._providers.values():
            for worker in provider.ready:
                if len(worker.held) > 1 and worker.slow(now):
                    self.requeue(provider, worker.reclaim())

    def next_deadline(self, now: float) -> float:
        """Return the next time of a time limit, a slow task or a fork server's start; infinity without any."""
        deadline = float("inf")
        for provider in self._providers.values():
            if provider.start_at is not None:
                deadline = min(deadline, provider.start_at)
            for worker in provider.ready:
                if (limit := worker.limit()) is not None:
                    deadline = min(deadline, limit[0])
                deadline = min(deadline, worker.slow_at())
                if len(worker.held) > 1 and worker.pid and not worker.slow(now):
                    deadline = min(deadline, worker.head_since + SLOW_SECONDS + 0.001)
        return deadline


def _reserve(depth: int) -> int:
    return 2 * depth if depth > 1 else 1
