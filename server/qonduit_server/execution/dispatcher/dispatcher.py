# SPDX-License-Identifier: Apache-2.0
"""The dispatcher: claims jobs from the store, has them run by an executor, and is the only writer of a running job.

Threads that do not wait for each other: one claims, one records what happened, one writes large results ahead of that,
one keeps leases and hands on cancels. All of them sleep until they are woken; only leases are a matter of time.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

import structlog

from qonduit.execution.v1.task_pb2 import Task, TaskEvent, TaskFinished
from qonduit_server.errors import StoreFault, Unavailable
from qonduit_server.execution.dispatcher.byte_budget import ByteBudget, first_of, weight
from qonduit_server.execution.dispatcher.compatible_devices import add_compatible_devices
from qonduit_server.execution.dispatcher.event_throttle import EventThrottle, Key
from qonduit_server.execution.dispatcher.large_result_writer import HandBack, Item, LargeResultWriter, key_of
from qonduit_server.execution.dispatcher.task_failures import NOT_STORED, after_loss
from qonduit_server.execution.executor import Executor, Loss
from qonduit_server.execution.tracebacks import log_traceback
from qonduit_server.store.database import Database
from qonduit_server.store.jobs import queue
from qonduit_server.store.notification_bus import Notification

_log = structlog.get_logger("qonduit.dispatcher")

#: Events that one transaction records, at most, and bytes of results unless one alone has more.
_BATCH: Final = 2000
_BATCH_BYTES: Final = 16 * 1024**2
#: With more bytes of results than this not yet recorded, the executor waits until there are fewer.
_MANY_BYTES: Final = 256 * 1024**2
#: With more events than this waiting for the database to come back, log lines are dropped.
_MANY: Final = 20_000
#: With the database away, a claim is tried again after so long.
_CLAIM_AGAIN_SECONDS: Final = 0.5
#: So many lost answers are asked for later; jobs of older ones are left to their leases.
_UNANSWERED: Final = 1000
#: So soon is somebody heard who cannot wait for jobs to end.
_HURRY_SECONDS: Final = 0.1
#: How long handing jobs back may take, and with somebody in a hurry. What is not handed back is left to its leases.
_HAND_BACK_SECONDS: Final = (5.0, 0.5)
_RETRY_SECONDS: Final = (0.05, 0.1, 0.2, 0.5, 1.0)


class Dispatcher:
    """Moves jobs between the store and an executor, whose listener it is.

    Use: `start()`, ..., `drain(seconds, hurry)`, `stop()`; then stop the executor, then close the database.

    Args:
        db: the store.
        executor: runs tasks; not started yet.
        owner: names this dispatcher's leases; unique for each start of a server.
        lease: how long jobs stay this dispatcher's when it falls silent.
        max_attempts: how often a job is started when its worker or server dies.
        time_limit_seconds: how long one job may run; 0 means no limit.
        memory_limit_bytes: the memory one job may use; 0 means no limit.
        max_result_bytes: the most bytes of one program's result; 0 means no limit.
        on_fault: called once a thread has ended by a fault: nothing is claimed any more, the server should end.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        db: Database,
        executor: Executor,
        *,
        owner: str,
        lease: timedelta = timedelta(seconds=30),
        max_attempts: int = 3,
        time_limit_seconds: float = 0.0,
        memory_limit_bytes: int = 0,
        max_result_bytes: int = 0,
        on_fault: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._executor = executor
        self._owner = self._claims_as = owner
        self._lease = lease
        self._max_attempts = max_attempts
        self._time_limit_seconds = time_limit_seconds
        self._memory_limit_bytes = memory_limit_bytes
        self._max_result_bytes = max_result_bytes
        self._on_fault = on_fault
        self._clock = clock
        self._log: Any = _log.bind(owner=owner)  # not at import, when logging is not configured

        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        #: Claimed and not yet recorded as ended, with the owner each was claimed as.
        self._running: dict[Key, str] = {}
        self._cancels: set[Key] = set()

        self._claiming = threading.Lock()
        #: Names under which a claim was tried whose answer was lost: it may have been made.
        self._unanswered: deque[str] = deque(maxlen=_UNANSWERED)
        self._numbers = itertools.count(1)
        self._claim_now = threading.Event()
        self._queue_changed = True
        self._draining = False

        self._arrived = threading.Condition(threading.Lock())
        self._inbox: list[Item] = []
        self._byte_budget = ByteBudget(_MANY_BYTES)
        self._large_results = LargeResultWriter(db, self._arrive)

        self._keep_now = threading.Event()
        self._cancels_changed = True

        self._stopping = threading.Event()
        self._fault = False
        self._unsubscribe: Callable[[], None] = lambda: None
        self._threads = [
            threading.Thread(target=self._work, args=(work,), name=f"dispatcher-{work.__name__}", daemon=True)
            for work in (self._claim, self._record, self._keep, self._large_results.write)
        ]

    def start(self) -> None:
        """Begin to claim and run jobs."""
        self._unsubscribe = self._db.notifications.subscribe(self._on_notification)
        self._executor.start(self)
        for thread in self._threads:
            thread.start()
        self._claim_now.set()
        self._keep_now.set()

    def running(self) -> int:
        """How many jobs are claimed and not yet recorded as ended."""
        return len(self._running)

    def alive(self) -> bool:
        """Whether all threads work. When one has ended by a fault, leases are left to run out for other servers."""
        return not self._fault and all(thread.is_alive() for thread in self._threads)

    def drain(self, seconds: float, hurry: threading.Event | None = None) -> None:
        """Claim no more, let jobs end for so long or until `hurry` is set, then hand the rest back to the queue."""
        self._draining = True
        if self._claiming.acquire(timeout=_HAND_BACK_SECONDS[0]):  # what is just being claimed is to be drained, too
            self._claiming.release()
        hurry = hurry or threading.Event()
        until = self._clock() + seconds
        self._wait_until_idle(lambda: hurry.is_set() or self._clock() >= until)
        with self._lock:
            rest = [] if self._fault else list(self._running)
        if rest:
            self._take_in(HandBack(key, "the server that ran it is stopping", counts=False) for key in rest)
            for key in rest:
                self._executor.cancel(*key)
            now = self._clock()
            self._wait_until_idle(lambda: self._clock() - now >= _HAND_BACK_SECONDS[hurry.is_set()])

    def _wait_until_idle(self, enough: Callable[[], bool]) -> None:
        with self._idle:
            while self._running and not self._fault and not enough():
                self._idle.wait(_HURRY_SECONDS)

    def stop(self) -> None:
        """End the threads. What is still running is left to its leases; `drain` first."""
        self._draining = True
        self._unsubscribe()
        self._stopping.set()
        self._large_results.stop()
        self._byte_budget.lift()
        self._claim_now.set()
        self._keep_now.set()
        with self._arrived:
            self._arrived.notify()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(timeout=10.0)

    # The executor's listener.

    def events(self, events: Sequence[TaskEvent]) -> None:
        """Tasks' events have arrived. Waits while there is too much to be recorded: so workers wait, too."""
        self._byte_budget.take(events)
        self._take_in(events)

    def lost(self, job_id: int, attempt: int, loss: Loss) -> None:
        """A task ended without saying so: run it again, or say for it how it ended."""
        self._log.debug("lost", job_id=job_id, attempt=attempt, pid=loss.pid, kind=loss.kind.value, why=loss.message)
        self._take_in([after_loss(loss, (job_id, attempt), self._max_attempts, self._time_limit_seconds)])

    def capacity_changed(self) -> None:
        """The executor may want more tasks."""
        self._claim_now.set()

    def _take_in(self, items: Iterable[Item]) -> None:
        if passing := self._large_results.take(items):
            self._arrive(passing)

    def _arrive(self, items: list[Item]) -> None:
        with self._arrived:
            self._inbox.extend(items)
            self._arrived.notify()

    def _on_notification(self, notification: Notification) -> None:
        """Called by the store after a commit."""
        if notification.queue:
            self._queue_changed = True
            self._claim_now.set()
        if notification.cancels:
            self._cancels_changed = True
            self._keep_now.set()

    def _work(self, work: Callable[[], None]) -> None:
        try:
            work()
        finally:
            if not self._stopping.is_set():
                self._fault = self._draining = True
                self._large_results.stop()
                self._byte_budget.lift()
                self._on_fault()

    # The claiming thread.

    def _claim(self) -> None:
        """Whenever the executor wants tasks and there may be some: claim them, submit them."""
        empty: set[str] = set()
        while not self._stopping.is_set():
            self._claim_now.wait()
            self._claim_now.clear()
            while self._claim_once(empty):
                pass

    def _claim_once(self, empty: set[str]) -> bool:
        """Claim and submit; False when there is nothing to do until somebody wakes this thread.

        Args:
            empty: providers for which nothing waited, lately.
        """
        if self._queue_changed:
            self._queue_changed = False
            empty.clear()
        wanted = {name: count for name, count in self._executor.capacity().items() if name not in empty}
        with self._claiming:
            if not wanted or self._draining:
                return False
            try:
                tasks = queue.claim(self._db, self._claims_as, wanted, self._lease)
            except Unavailable:
                # It may have been done, and the answer lost: such jobs must not be kept from others by our renewals.
                self._unanswered.append(self._claims_as)
                self._claims_as = f"{self._owner}/{next(self._numbers)}"
            else:
                self._take_unanswered()
                got = Counter(task.provider for task in tasks)
                empty.update(name for name, count in wanted.items() if got[name] < count)
                self._submit(tasks, self._claims_as)
                return True
        self._stopping.wait(_CLAIM_AGAIN_SECONDS)
        return True

    def _take_unanswered(self) -> None:
        """Run what was claimed without our hearing of it, rather than leave it until its lease has run out."""
        if self._unanswered:
            with suppress(Unavailable):
                for owner, tasks in queue.claimed(self._db, list(self._unanswered)).items():
                    self._submit(tasks, owner)
                self._unanswered.clear()
                self._cancels_changed = True
                self._keep_now.set()

    def _submit(self, tasks: list[Task], owner: str) -> None:
        if not tasks:
            return
        for task in tasks:
            task.time_limit_seconds = task.time_limit_seconds or self._time_limit_seconds
            task.memory_limit_bytes = task.memory_limit_bytes or self._memory_limit_bytes
            task.max_result_bytes = task.max_result_bytes or self._max_result_bytes
            self._log.debug("claimed", job_id=task.job_id, attempt=task.attempt, provider=task.provider)
        with self._lock:
            self._running.update({(task.job_id, task.attempt): owner for task in tasks})
        self._executor.submit(tasks)
        # A cancel may have been asked for after the claim and handed on before the executor knew the task.
        for task in tasks:
            if (task.job_id, task.attempt) in self._cancels:
                self._executor.cancel(task.job_id, task.attempt)

    # The recording thread.

    def _record(self) -> None:
        """Write down all that has arrived, as one batch; while the database is away, keep it and try again."""
        throttle = EventThrottle()
        waiting: list[TaskEvent] = []
        back: dict[Key, HandBack] = {}
        failures = 0
        while True:
            self._wait_for_news(throttle, retry_in=_pause(failures - 1) if failures else None)
            with self._arrived:
                arrived, self._inbox = self._inbox, []
            now = self._clock()
            events: list[TaskEvent] = []
            for item in arrived:
                key = key_of(item)
                ours = key in self._running and key not in back
                if isinstance(item, TaskEvent):
                    if ours:
                        log_traceback(item, job_id=item.job_id, attempt=item.attempt)
                        events.append(item)
                    else:
                        self._byte_budget.release(weight(item))
                        with suppress(Unavailable):
                            queue.discard(self._db, [item])
                elif ours:
                    back[key] = item
            waiting += throttle.take(events, now)
            self._name_alternatives(throttle)
            for key in back:
                throttle.forget(key)
            if not failures:
                waiting += throttle.due(now)
            elif len(waiting) > _MANY:
                waiting = [event for event in waiting if event.WhichOneof("event") != "log"]
            try:
                while waiting:
                    number, size = first_of(waiting, _BATCH, _BATCH_BYTES)
                    self._write(waiting[:number], throttle)
                    del waiting[:number]
                    self._byte_budget.release(size)
                if back:
                    self._hand_back(back)
                    back = {}
                failures = 0
            except Unavailable:
                failures += 1
            over = self._stopping.is_set() and not self._inbox and not self._large_results.holds()
            if over and (failures > 2 or not (waiting or back)):
                return

    def _name_alternatives(self, throttle: EventThrottle) -> None:
        """Have failures say which devices can. With the database away they are recorded as they are."""
        while throttle.needy:
            with suppress(Unavailable):
                add_compatible_devices(self._db, throttle.needy.pop())

    def _wait_for_news(self, throttle: EventThrottle, retry_in: float | None) -> None:
        with self._arrived:
            if retry_in is not None:
                self._arrived.wait(retry_in)
                return
            if self._stopping.is_set() and self._large_results.holds():
                self._arrived.wait(_HURRY_SECONDS)
            while not self._inbox and not self._stopping.is_set():
                due = throttle.next_due()
                if due == float("inf"):
                    self._arrived.wait()
                elif (pause := due - self._clock()) > 0:
                    self._arrived.wait(pause)
                else:
                    return

    def _write(self, events: list[TaskEvent], throttle: EventThrottle) -> None:
        owned: dict[str, list[TaskEvent]] = {}
        for event in events:
            if (owner := self._running.get((event.job_id, event.attempt))) is not None:
                owned.setdefault(owner, []).append(event)
        refused = {key for owner, batch in owned.items() for key in self._record_batch(owner, batch)}
        self._forget(
            {(event.job_id, event.attempt) for event in events if event.WhichOneof("event") == "finished"} | refused
        )
        for key in refused:  # its lease is somebody else's now
            throttle.forget(key)
            self._executor.cancel(*key)

    def _record_batch(self, owner: str, batch: Sequence[TaskEvent]) -> set[Key]:
        """Record a batch; a job in it that cannot be recorded fails alone, and says so. Returns the refused."""
        try:
            return queue.record(self._db, owner, batch)
        except StoreFault as error:
            by_job: dict[Key, list[TaskEvent]] = {}
            for event in batch:
                by_job.setdefault((event.job_id, event.attempt), []).append(event)
            if len(by_job) > 1:
                return {key for events in by_job.values() for key in self._record_batch(owner, events)}
            ((job_id, attempt),) = by_job
            _log.error("job cannot be recorded", job_id=job_id, attempt=attempt, exc_info=error)
            with suppress(Unavailable):
                queue.discard(self._db, batch)
            end = TaskEvent(job_id=job_id, attempt=attempt, finished=TaskFinished(failure=NOT_STORED))
            # Its task may still be running: as for one that is refused, it is to be ended.
            return {(job_id, attempt), *queue.record(self._db, owner, [end])}

    def _hand_back(self, back: dict[Key, HandBack]) -> None:
        owned: dict[tuple[str, str, bool], list[Key]] = {}
        for key, item in back.items():
            if (owner := self._running.get(key)) is not None:
                owned.setdefault((owner, item.why, item.counts), []).append(key)
        for (owner, why, counts), keys in owned.items():
            # An owner that claims again must not give two attempts one number.
            queue.release(self._db, owner, keys, why, counts=counts or not self._draining)
            self._forget(keys)

    def _forget(self, keys: Iterable[Key]) -> None:
        with self._idle:
            for key in keys:
                self._running.pop(key, None)
            if not self._running:
                self._idle.notify_all()

    # The keeping thread.

    def _keep(self) -> None:
        """Renew leases, take back those of servers that fell silent, hand on cancels."""
        period = self._lease.total_seconds() / 3
        renew_at = self._clock()
        failures = 0
        while not self._stopping.is_set() and not self._fault:
            self._keep_now.wait(_pause(failures - 1) if failures else max(0.0, renew_at - self._clock()))
            self._keep_now.clear()
            try:
                if self._cancels_changed:
                    self._cancels_changed = False
                    self._hand_on_cancels()
                if self._clock() >= renew_at:
                    for owner in self._owners():
                        queue.renew(self._db, owner, self._lease)
                    queue.expire(self._db, max_attempts=self._max_attempts)
                    renew_at = self._clock() + period
                failures = 0
            except Unavailable:
                self._cancels_changed = True
                failures += 1

    def _owners(self) -> set[str]:
        with self._lock:
            return {self._claims_as, *self._running.values()}

    def _hand_on_cancels(self) -> None:
        asked = [key for owner in self._owners() for key in queue.cancelling(self._db, owner)]
        self._cancels = set(asked)
        for key in asked:
            self._executor.cancel(*key)


def _pause(failures: int) -> float:
    """How long to wait after so many failures in a row."""
    return _RETRY_SECONDS[min(failures, len(_RETRY_SECONDS) - 1)]
