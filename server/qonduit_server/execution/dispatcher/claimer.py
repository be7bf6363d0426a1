# SPDX-License-Identifier: Apache-2.0
"""The claimer: claims jobs whenever the executor wants tasks and the queue may have some, and submits them."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from qonduit.execution.v1.task_pb2 import Task
from qonduit_server.errors import Unavailable
from qonduit_server.execution.dispatcher.running_jobs import RunningJobs
from qonduit_server.execution.executor import Executor
from qonduit_server.store.database import Database
from qonduit_server.store.jobs import queue

#: While the database is away, a claim is tried again after so long.
_CLAIM_AGAIN_SECONDS: Final = 0.5
#: So many lost answers are looked up later; jobs of older ones are left to their leases.
_UNANSWERED: Final = 1000


@dataclass(frozen=True)
class TaskLimits:
    """What a task may use where its job sets no limit of its own; 0 means no limit.

    Attributes:
        time_limit_seconds: how long it may run.
        memory_limit_bytes: the memory that it may use.
        max_result_bytes: the most bytes of one program's result.
    """

    time_limit_seconds: float = 0.0
    memory_limit_bytes: int = 0
    max_result_bytes: int = 0

    def fill_in(self, task: Task) -> None:
        """Set the limits that a task does not have."""
        task.time_limit_seconds = task.time_limit_seconds or self.time_limit_seconds
        task.memory_limit_bytes = task.memory_limit_bytes or self.memory_limit_bytes
        task.max_result_bytes = task.max_result_bytes or self.max_result_bytes


class Claimer:
    """Moves jobs from the queue to the executor, in one thread that calls `run`.

    A lock is held from before a claim until its tasks are submitted, so that a drain can wait for a claim under way. It
    is the only lock of the dispatcher under which the store, the running jobs and the executor are called, so it comes
    first in the order of locks. No listener's method acquires it.

    Args:
        db: the store.
        executor: runs the tasks.
        running: gets the claimed jobs before the executor does. No job is claimed once it is closed.
        lease: how long a claim holds without renewal.
        limits: for tasks without limits of their own.
        on_late_claim: called after jobs of a claim whose answer was lost were submitted: cancels of them may have been
            missed.
        log: bound to the server's name.
    """

    def __init__(
        self,
        db: Database,
        executor: Executor,
        running: RunningJobs,
        *,
        lease: timedelta,
        limits: TaskLimits,
        on_late_claim: Callable[[], None],
        log: Any,
    ) -> None:
        self._db = db
        self._executor = executor
        self._running = running
        self._lease = lease
        self._limits = limits
        self._on_late_claim = on_late_claim
        self._log = log
        self._claiming = threading.Lock()
        self._wake = threading.Event()
        self._queue_changed = True
        self._stopping = threading.Event()
        # What follows belongs to the thread.
        #: Names under which a claim was tried whose answer was lost: the claim may have been made.
        self._unanswered: deque[str] = deque(maxlen=_UNANSWERED)
        #: Providers for which no job waited at the last claim.
        self._empty: set[str] = set()

    def capacity_changed(self) -> None:
        """Claim again: the executor may want more tasks."""
        self._wake.set()

    def queue_changed(self) -> None:
        """Claim again: jobs may wait for any provider."""
        self._queue_changed = True
        self._wake.set()

    def wait_for_claim(self, seconds: float) -> None:
        """Wait until the tasks of a claim under way are submitted, at most for so many seconds."""
        if self._claiming.acquire(timeout=seconds):
            self._claiming.release()

    def stop(self) -> None:
        """End the thread; the running jobs are closed first."""
        self._stopping.set()
        self._wake.set()

    def run(self) -> None:
        """Claim jobs until `stop`."""
        while not self._stopping.is_set():
            self._wake.wait()
            self._wake.clear()
            while self._claim_once():
                pass

    def _claim_once(self) -> bool:
        """Claim and submit; return False when there is nothing to do until the next wake-up."""
        if self._queue_changed:
            self._queue_changed = False
            self._empty.clear()
        wanted = {name: count for name, count in self._executor.capacity().items() if name not in self._empty}
        with self._claiming:
            if not wanted or self._running.closed:
                return False
            owner = self._running.claiming_owner
            try:
                tasks = queue.claim(self._db, owner, wanted, self._lease)
            except Unavailable:
                # The claim may have been made, and its answer lost: such jobs must not be kept from other servers by
                # our renewals.
                self._unanswered.append(self._running.change_owner())
            else:
                self._take_unanswered()
                got = Counter(task.provider for task in tasks)
                self._empty.update(name for name, count in wanted.items() if got[name] < count)
                self._submit(tasks, owner)
                return True
        self._stopping.wait(_CLAIM_AGAIN_SECONDS)
        return True

    def _take_unanswered(self) -> None:
        """Run jobs of claims whose answers were lost, rather than leave them until their leases run out."""
        if self._unanswered:
            with suppress(Unavailable):
                for owner, tasks in queue.claimed(self._db, list(self._unanswered)).items():
                    self._submit(tasks, owner)
                self._unanswered.clear()
                self._on_late_claim()

    def _submit(self, tasks: list[Task], owner: str) -> None:
        if not tasks:
            return
        for task in tasks:
            self._limits.fill_in(task)
            self._log.debug("claimed", job_id=task.job_id, attempt=task.attempt, provider=task.provider)
        # First of all: events of the tasks may arrive while they are being submitted.
        self._running.add([(task.job_id, task.attempt) for task in tasks], owner)
        self._executor.submit(tasks)
        # A cancel may have been requested after the claim and passed on before the executor knew the task.
        for task in tasks:
            if self._running.cancel_requested((task.job_id, task.attempt)):
                self._executor.cancel(task.job_id, task.attempt)
