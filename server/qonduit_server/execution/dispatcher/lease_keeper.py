# SPDX-License-Identifier: Apache-2.0
"""The lease keeper: renews leases and offers, finds lost jobs, and forwards cancellations."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from qonduit_server.errors import Unavailable
from qonduit_server.execution.dispatcher.retry_pauses import retry_pause
from qonduit_server.execution.dispatcher.running_jobs import RunningJobs
from qonduit_server.execution.executor import Executor, Key
from qonduit_server.store import catalogue
from qonduit_server.store.database import Database
from qonduit_server.store.jobs import child_jobs, queue, queue_times

#: How late a server applies the times of jobs that only other servers have set.
_OTHERS_SECONDS: Final = 0.25


class LeaseKeeper:
    """Keeps the leases of running jobs, in one thread that calls `run`. It holds no lock.

    Of several servers, each would act at the time of each job. So a server acts a moment later, in case another one is
    lost, until it has set a time itself.

    Args:
        db: the store.
        executor: runs the jobs.
        running: the jobs whose leases are renewed.
        lease: how long a lease is valid without renewal; it is renewed three times in that time.
        max_attempts: the maximum number of attempts of a job whose server dies.
        on_lost_task: called with each task that the executor has lost.
        clock: a monotonic clock in seconds.
    """

    def __init__(
        self,
        db: Database,
        executor: Executor,
        running: RunningJobs,
        *,
        lease: timedelta,
        max_attempts: int,
        on_lost_task: Callable[[Key], None],
        clock: Callable[[], float],
    ) -> None:
        self._db = db
        self._executor = executor
        self._running = running
        self._lease = lease
        self._max_attempts = max_attempts
        self._on_lost_task = on_lost_task
        self._clock = clock
        self._wake = threading.Event()
        self._cancels_changed = True
        self._times_changed = True
        #: Whether this server may have set a time of a queued job.
        self._has_set_times = False
        self._stopping = threading.Event()

    def cancels_changed(self) -> None:
        """Forward cancellations: some may have been requested since the last check."""
        self._cancels_changed = True
        self._wake.set()

    def times_changed(self) -> None:
        """Read the times of queued jobs: this server may have set one that is earlier than before."""
        self._has_set_times = self._times_changed = True
        self._wake.set()

    def stop(self) -> None:
        """End the thread. Current leases expire."""
        self._stopping.set()
        self._wake.set()

    def run(self) -> None:
        """Renew leases, forward cancellations and apply the times of queued jobs, until `stop`."""
        period = self._lease.total_seconds() / 3
        renew_at = due_at = self._clock()
        failures = 0
        while True:
            self._wake.wait(retry_pause(failures) if failures else max(0.0, min(renew_at, due_at) - self._clock()))
            self._wake.clear()
            if self._stopping.is_set():
                return
            try:
                if self._cancels_changed:
                    self._cancels_changed = False
                    self._forward_cancels()
                if self._clock() >= renew_at:
                    self._renew()
                    renew_at = self._clock() + period
                    self._find_lost_tasks()
                    # Another server, which may be lost, may have created jobs with times, or ended a server program.
                    self._times_changed = self._cancels_changed = True
                if self._times_changed or self._clock() >= due_at:
                    due_at = self._apply_due()
                failures = 0
            except Unavailable:
                self._cancels_changed = self._times_changed = True
                failures += 1

    def _apply_due(self) -> float:
        """Apply the times that are reached; return when to do so again."""
        self._times_changed = False
        seconds = queue_times.apply_due(self._db)
        if math.isinf(seconds):
            self._has_set_times = self._times_changed
        return self._clock() + seconds + (0.0 if self._has_set_times or not seconds else _OTHERS_SECONDS)

    def _renew(self) -> None:
        for owner in self._running.owners():
            queue.renew(self._db, owner, self._lease)
        queue.expire(self._db, max_attempts=self._max_attempts)
        catalogue.renew(self._db)

    def _find_lost_tasks(self) -> None:
        """Report the tasks that the executor neither has nor has ended: their ends would never arrive."""
        before = self._running.expected()
        if not before:
            return
        try:
            held = self._executor.tasks()
        except Unavailable:
            return
        # In this order no task is reported that is submitted, or that ends, in the meantime.
        for key in (before - set(held)) & self._running.expected():
            self._on_lost_task(key)

    def _forward_cancels(self) -> None:
        child_jobs.end_orphans(self._db)
        requested = [key for owner in self._running.owners() for key in queue.cancelling(self._db, owner)]
        self._running.request_cancels(requested)
        for key in requested:
            self._executor.cancel(*key)
