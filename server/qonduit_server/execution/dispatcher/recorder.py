# SPDX-License-Identifier: Apache-2.0
"""The recorder: the only writer of a running job. It records the events of tasks in batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import structlog

from qonduit.execution.v1.task_pb2 import TaskEvent, TaskFinished
from qonduit_server.errors import StoreFault, Unavailable
from qonduit_server.execution.dispatcher.byte_budget import first_of, weight
from qonduit_server.execution.dispatcher.compatible_devices import add_compatible_devices
from qonduit_server.execution.dispatcher.event_throttle import EventThrottle
from qonduit_server.execution.dispatcher.inbox import Inbox
from qonduit_server.execution.dispatcher.large_result_writer import Item, Requeue, key_of
from qonduit_server.execution.dispatcher.partial_results import PartialResults
from qonduit_server.execution.dispatcher.retry_pauses import retry_pause
from qonduit_server.execution.dispatcher.running_jobs import RunningJobs
from qonduit_server.execution.dispatcher.task_failures import NOT_STORED
from qonduit_server.execution.executor import Executor, Key
from qonduit_server.execution.tracebacks import log_traceback
from qonduit_server.observer import Observer
from qonduit_server.store.database import Database
from qonduit_server.store.jobs import queue

_log = structlog.get_logger("qonduit.dispatcher")

#: The maximum of events in one transaction, and of bytes of their results; a single event may have more bytes.
_BATCH: Final = 2000
_BATCH_BYTES: Final = 16 * 1024**2
#: With more events than this while the database is unavailable, log lines are dropped.
_MANY: Final = 20_000
#: After this number of consecutive failures, a closing recorder gives up.
_LAST_FAILURES: Final = 3


class Recorder:
    """Records the items of the inbox, in one thread that calls `run`. All of its state belongs to that thread.

    While the database is unavailable, it keeps its events and retries.

    Args:
        db: the store.
        executor: cancels tasks whose jobs belong to another server.
        running: the jobs of this server; events of other jobs are dropped.
        inbox: the items to record.
        clock: a monotonic clock in seconds.
        observer: receives each program that succeeded.
    """

    def __init__(
        self,
        db: Database,
        executor: Executor,
        running: RunningJobs,
        inbox: Inbox,
        clock: Callable[[], float],
        observer: Observer,
    ) -> None:
        self._db = db
        self._executor = executor
        self._running = running
        self._inbox = inbox
        self._clock = clock
        self._observer = observer
        self._throttle = EventThrottle()
        self._partial = PartialResults(db.publish_partial_result)
        #: The events to record, in order.
        self._waiting: list[TaskEvent] = []
        #: The jobs to requeue.
        self._requeues: dict[Key, Requeue] = {}
        #: The number of consecutive database failures.
        self._failures = 0

    def run(self) -> None:
        """Record the items that have arrived as one batch, until the inbox is closed and everything is recorded."""
        while not self._done():
            self._wait()
            self._sort(self._inbox.take())
            try:
                self._record_all()
                self._failures = 0
            except Unavailable:
                self._failures += 1

    def _done(self) -> bool:
        empty = not (self._waiting or self._requeues)
        return self._inbox.exhausted and (empty or self._failures >= _LAST_FAILURES)

    def _wait(self) -> None:
        """Wait until there are events or jobs to record."""
        if self._failures:
            self._inbox.pause(retry_pause(self._failures))
            return
        due = min(self._throttle.next_due(), self._partial.next_due())
        self._inbox.wait(None if due == float("inf") else max(0.0, due - self._clock()))

    def _sort(self, arrived: list[Item]) -> None:
        """Sort items into those to record now, to delay, and to drop."""
        now = self._clock()
        events: list[TaskEvent] = []
        for item in arrived:
            key = key_of(item)
            ours = key in self._running and key not in self._requeues
            if isinstance(item, Requeue):
                if ours:
                    self._requeues[key] = item
            elif ours:
                log_traceback(item, job_id=item.job_id, attempt=item.attempt)
                if self._is_stored(item):
                    events.append(item)
            else:
                self._drop(item)
        self._waiting += self._throttle.accept(events, now)
        self._add_compatible_devices()
        for key in self._requeues:
            self._throttle.forget(key)
            self._partial.forget(key)
        self._partial.send_due(now)
        if not self._failures:
            self._waiting += self._throttle.due(now)
        elif len(self._waiting) > _MANY:
            self._waiting = [event for event in self._waiting if event.WhichOneof("event") != "log"]

    def _is_stored(self, event: TaskEvent) -> bool:
        """Forward partial results; return whether an event is recorded."""
        match event.WhichOneof("event"):
            case "program_partial":
                self._partial.accept(event)
                return False
            case "points_done":
                self._partial.accept_points(event)
            case "program_succeeded":
                self._observer.program_succeeded(event.program_succeeded.result.meta_data)
            case "finished":
                self._partial.complete(event)
                self._inbox.add(weight(event))
        return True

    def _drop(self, event: TaskEvent) -> None:
        """Drop an event of a job that this server no longer owns, with its large results that are already written."""
        self._inbox.release(weight(event))
        with suppress(Unavailable):
            queue.discard(self._db, [event])

    def _add_compatible_devices(self) -> None:
        """Add compatible devices to failures. While the database is unavailable, failures are recorded unchanged."""
        while self._throttle.unsupported:
            with suppress(Unavailable):
                add_compatible_devices(self._db, self._throttle.unsupported.pop())

    def _record_all(self) -> None:
        """Record events, then requeue jobs.

        Raises:
            Unavailable: the database is unavailable; unrecorded items are kept.
        """
        while self._waiting:
            number, size = first_of(self._waiting, _BATCH, _BATCH_BYTES)
            self._record(self._waiting[:number])
            del self._waiting[:number]
            self._inbox.release(size)
        if self._requeues:
            self._requeue()
            self._requeues = {}

    def _record(self, events: list[TaskEvent]) -> None:
        owned: dict[str, list[TaskEvent]] = {}
        for event in events:
            if (owner := self._running.owner_of((event.job_id, event.attempt))) is not None:
                owned.setdefault(owner, []).append(event)
        refused = {key for owner, batch in owned.items() for key in self._record_batch(owner, batch)}
        finished = {(event.job_id, event.attempt) for event in events if event.WhichOneof("event") == "finished"}
        self._running.remove(finished | refused)
        for key in refused:  # another server has its lease now
            self._throttle.forget(key)
            self._partial.forget(key)
            self._executor.cancel(*key)

    def _record_batch(self, owner: str, batch: Sequence[TaskEvent]) -> set[Key]:
        """Record a batch and return the refused jobs; a job that cannot be recorded fails without the others."""
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
            # Its task may still be running: the caller cancels it like a refused one.
            return {(job_id, attempt), *queue.record(self._db, owner, [end])}

    def _requeue(self) -> None:
        owned: dict[tuple[str, str, bool], dict[Key, float | None]] = {}
        for key, item in self._requeues.items():
            if (owner := self._running.owner_of(key)) is not None:
                owned.setdefault((owner, item.why, item.counts), {})[key] = item.seconds
        for (owner, why, counts), keys in owned.items():
            # If the owner claims the job again, the two attempts must not have the same number.
            queue.release(self._db, owner, keys, why, counts=counts, reuses_number=self._running.closed)
            self._running.remove(keys)
