# SPDX-License-Identifier: Apache-2.0
"""The dispatcher: claims jobs from the store, submits them to an executor, and records their events.

It starts, drains and stops components that share one set of running jobs: the claimer, the recorder with its inbox and
the writer of large results, and the lease keeper. Each has a thread and waits for no other. All of them sleep until
they are notified; only leases depend on time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import structlog

from qonduit.execution.v1.task_pb2 import TaskEvent
from qonduit_server.execution.dispatcher.claimer import Claimer, TaskLimits
from qonduit_server.execution.dispatcher.inbox import Inbox
from qonduit_server.execution.dispatcher.large_result_writer import Requeue
from qonduit_server.execution.dispatcher.lease_keeper import LeaseKeeper
from qonduit_server.execution.dispatcher.recorder import Recorder
from qonduit_server.execution.dispatcher.running_jobs import RunningJobs
from qonduit_server.execution.dispatcher.task_failures import after_loss
from qonduit_server.execution.executor import Executor, Key, Loss, LossKind
from qonduit_server.observer import UNOBSERVED, Observer
from qonduit_server.store.database import Database
from qonduit_server.store.notification_bus import Notification

_log = structlog.get_logger("qonduit.dispatcher")

#: Time limits of requeuing in a drain: normally, and after a second signal. Leases of other jobs expire.
_REQUEUE_SECONDS: Final = (5.0, 0.5)
_JOIN_SECONDS: Final = 10.0


class Dispatcher:
    """Moves jobs between the store and an executor, whose listener it is.

    Use: `start()`, ..., `drain(seconds, hurry)`, `stop()`; then stop the executor, then close the database.

    Locks are acquired in this order: the claimer's, the executor's own, then that of the running jobs or one of the
    inbox.

    Args:
        db: the store.
        executor: runs tasks; not started yet.
        owner: the owner of this dispatcher's leases; unique for each start of a server.
        lease: how long a lease is valid without renewal.
        slots: the number of tasks that run at once, which callers share; 0 if it is not known.
        max_attempts: the maximum number of attempts of a job whose worker or server dies.
        time_limit_seconds: the time limit of one job; 0 means no limit.
        memory_limit_bytes: the memory limit of one job; 0 means no limit.
        max_result_bytes: the largest result of one program in bytes; 0 means no limit.
        on_fault: called when a thread has ended by a fault: the dispatcher claims no jobs and the server should end.
        on_drain: called when a drain has begun: ends the tasks that another server continues without a loss.
        vendor_capacity: returns the number of jobs for devices at vendors that the executor wants, by provider name.
        clock: a monotonic clock in seconds.
        observer: receives claims, lost tasks and programs that succeeded.
    """

    def __init__(
        self,
        db: Database,
        executor: Executor,
        *,
        owner: str,
        lease: timedelta = timedelta(seconds=30),
        slots: int = 0,
        max_attempts: int = 3,
        time_limit_seconds: float = 0.0,
        memory_limit_bytes: int = 0,
        max_result_bytes: int = 0,
        on_fault: Callable[[], None] = lambda: None,
        on_drain: Callable[[], None] = lambda: None,
        vendor_capacity: Callable[[], Mapping[str, int]] = dict,
        clock: Callable[[], float] = time.monotonic,
        observer: Observer = UNOBSERVED,
    ) -> None:
        self._db = db
        self._executor = executor
        self._max_attempts = max_attempts
        self._time_limit_seconds = time_limit_seconds
        self._on_fault = on_fault
        self._on_drain = on_drain
        self._clock = clock
        self._observer = observer
        self._log: Any = _log.bind(owner=owner)  # not at import, when logging is not configured
        self._running = RunningJobs(owner)
        self._inbox = Inbox(db)
        self._recorder = Recorder(db, executor, self._running, self._inbox, clock, observer)
        self._lease_keeper = LeaseKeeper(
            db,
            executor,
            self._running,
            lease=lease,
            max_attempts=max_attempts,
            on_lost_task=self._lost_by_executor,
            clock=clock,
        )
        self._claimer = Claimer(
            db,
            executor,
            self._running,
            lease=lease,
            slots=slots,
            limits=TaskLimits(time_limit_seconds, memory_limit_bytes, max_result_bytes),
            on_late_claim=self._lease_keeper.cancels_changed,
            vendor_capacity=vendor_capacity,
            log=self._log,
            observer=observer,
        )
        self._stopping = False
        self._unsubscribe: Callable[[], None] = lambda: None
        self._threads = [
            threading.Thread(target=self._run, args=(work,), name=f"dispatcher-{name}", daemon=True)
            for name, work in (
                ("claimer", self._claimer.run),
                ("recorder", self._recorder.run),
                ("lease-keeper", self._lease_keeper.run),
                ("large-results", self._inbox.write_large_results),
            )
        ]

    def start(self) -> None:
        """Begin to claim and run jobs."""
        self._unsubscribe = self._db.notifications.subscribe(self._on_notification)
        self._executor.start(self)
        for thread in self._threads:
            thread.start()
        self._claimer.queue_changed()

    def running(self) -> int:
        """Return the number of claimed jobs whose ends are not recorded."""
        return len(self._running)

    def alive(self) -> bool:
        """Return whether all threads run. When one has ended by a fault, the leases expire for other servers."""
        return not self._running.abandoned and all(thread.is_alive() for thread in self._threads)

    def resize(self, slots: int) -> None:
        """Set the number of tasks that run at once, which callers share."""
        self._claimer.resize(slots)

    def drain(self, seconds: float, hurry: threading.Event | None = None) -> None:
        """Claim no more jobs, wait up to `seconds` or until `hurry` is set for jobs to end, then requeue the rest."""
        self._running.close()
        self._claimer.wait_for_claim(_REQUEUE_SECONDS[0])  # the jobs of a current claim are drained, too
        self._on_drain()
        hurry = hurry or threading.Event()
        until = self._clock() + seconds
        self._running.wait_until_empty(lambda: hurry.is_set() or self._clock() >= until)
        rest = [] if self._running.abandoned else self._running.keys()
        if rest:
            self._inbox.put(Requeue(key, "the server that ran it is stopping", counts=False) for key in rest)
            for key in rest:
                self._executor.cancel(*key)
            now = self._clock()
            self._running.wait_until_empty(lambda: self._clock() - now >= _REQUEUE_SECONDS[hurry.is_set()])

    def stop(self) -> None:
        """End the threads. The leases of running jobs expire; call `drain` first."""
        self._running.close()
        self._unsubscribe()
        self._stopping = True
        self._claimer.stop()
        self._lease_keeper.stop()
        self._inbox.close()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(_JOIN_SECONDS)

    def abandon(self) -> None:
        """Abandon the running jobs after a fault: their leases expire. The server should end."""
        self._running.abandon()
        self._claimer.stop()
        self._lease_keeper.stop()
        self._inbox.stop_waiting()
        self._on_fault()

    # The executor's listener.

    def events(self, events: Sequence[TaskEvent]) -> None:
        """Queue events of tasks. Wait while too many bytes are unrecorded, which applies backpressure to workers."""
        # Before the wait: the executor has no more to report of these tasks.
        self._running.ended([(event.job_id, event.attempt) for event in events if event.HasField("finished")])
        self._inbox.put_events(events)

    def lost(self, job_id: int, attempt: int, loss: Loss) -> None:
        """Handle a task that ended without a `finished` event: requeue its job, or record its failure."""
        key = (job_id, attempt)
        self._running.ended([key])
        self._observer.task_lost(loss.kind.value)
        self._log.debug("lost", job_id=job_id, attempt=attempt, pid=loss.pid, kind=loss.kind.value, why=loss.message)
        returned = self._running.returned_attempts(key)
        self._inbox.put([after_loss(loss, key, returned, self._max_attempts, self._time_limit_seconds)])

    def _lost_by_executor(self, key: Key) -> None:
        """Handle a task that its executor no longer has, although it reported no end."""
        job_id, attempt = key
        self._log.error("task lost by its executor", job_id=job_id, attempt=attempt)
        self._executor.cancel(job_id, attempt)
        self.lost(job_id, attempt, Loss(LossKind.DIED, "its executor no longer has the task"))

    def capacity_changed(self) -> None:
        """Notify the claimer that the executor may want more tasks."""
        self._claimer.capacity_changed()

    def _on_notification(self, notification: Notification) -> None:
        """Notify the threads that a commit concerns; called by the store."""
        if notification.queue:
            self._claimer.queue_changed(notification.queued)
        if notification.times or notification.catalogue:  # another server may have paused a device
            self._lease_keeper.times_changed()
        if notification.cancels:
            self._lease_keeper.cancels_changed()

    def _run(self, work: Callable[[], None]) -> None:
        """Run a thread. When it ends by a fault, abandon the jobs, so that other servers claim them."""
        try:
            work()
        finally:
            if not self._stopping:
                self.abandon()
