# SPDX-License-Identifier: Apache-2.0
"""Providers and workers without processes, for tests of scheduling."""

from __future__ import annotations

import itertools
import os

from qonduit_server.execution.local.scheduler import Scheduler
from qonduit_server.execution.local.worker_processes import ForkServer, Worker
from tests.unit.execution.pool_fixture import task


class FakePool:
    """Two providers whose workers accept tasks and do not run them."""

    def __init__(self, slots: int, memory_bytes: int = 0) -> None:
        self.one, self.two = ForkServer("ONE", [], state="loaded"), ForkServer("TWO", [], state="loaded")
        self._slots = slots
        self._ids = itertools.count(1)
        self._descriptors: list[int] = []
        self.schedule = Scheduler({"ONE": self.one, "TWO": self.two}, slots, self._fork, memory_bytes)

    def _fork(self, provider: ForkServer) -> Worker | None:
        if len(provider.ready) >= self._slots:
            return None
        worker, ends = Worker.make(next(self._ids), provider)
        self._descriptors += ends
        worker.pid = -1  # alive, to the scheduler
        provider.workers[worker.id] = worker
        return worker

    def add(self, *job_ids: int, provider: ForkServer | None = None, attempt: int = 1) -> None:
        chosen = provider or self.one
        for job_id in job_ids:
            self.schedule.add(chosen, task(job_id, provider=chosen.name, attempt=attempt))

    def begin(self, worker: Worker) -> None:
        """Begin the worker's next task: take the token."""
        assert os.read(worker.tokens_in, 8)

    def end(self, worker: Worker, now: float) -> None:
        """End the worker's running task."""
        del worker.held[next(iter(worker.held))]
        worker.finished(1, now)

    def decline(self, worker: Worker, need: int, now: float = 0.0) -> None:
        """Decline the task that the worker began, for it needs this much memory."""
        self.begin(worker)
        self.schedule.declined(worker, next(iter(worker.held.values())), need, now)
        worker.finished(1, now)

    def discard(self, worker: Worker) -> None:
        """Discard a worker as the pool does when its process has ended."""
        del worker.provider.workers[worker.id]
        worker.held.clear()
        worker.close()

    def holds(self) -> list[list[int]]:
        workers = [w for p in (self.one, self.two) for w in p.workers.values()]
        return [[key[0] for key in worker.held] for worker in workers]

    def close(self) -> None:
        for provider in (self.one, self.two):
            for worker in provider.workers.values():
                worker.close()
        for descriptor in self._descriptors:
            os.close(descriptor)
