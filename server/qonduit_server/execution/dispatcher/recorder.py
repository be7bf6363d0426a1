# SPDX-License-Identifier: Apache-2.0
"""The recorder: the only writer of a running job. It records what happened to tasks, in batches."""

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
from qonduit_server.execution.dispatcher.large_result_writer import HandBack, Item, key_of
from qonduit_server.execution.dispatcher.retry_pauses import retry_pause
from qonduit_server.execution.dispatcher.running_jobs import Key, RunningJobs
from qonduit_server.execution.dispatcher.task_failures import NOT_STORED
from qonduit_server.execution.executor import Executor
from qonduit_server.execution.tracebacks import log_traceback
from qonduit_server.store.database import Database
from qonduit_server.store.jobs import queue

_log = structlog.get_logger("qonduit.dispatcher")

#: Events that one transaction records, at most, and bytes of results unless one alone has more.
_BATCH: Final = 2000
_BATCH_BYTES: Final = 16 * 1024**2
#: With more events than this waiting for the database to come back, log lines are dropped.
_MANY: Final = 20_000
#: After so many failures in a row, a recorder that is to end gives up.
_LAST_FAILURES: Final = 3


class Recorder:
    """Records the items of the inbox, in one thread that calls `run`. All of its state belongs to that thread.

    While the database is away, it keeps what it has and tries again.

    Args:
        db: the store.
        executor: is told to cancel tasks whose jobs belong to another server.
        running: the jobs of this server; what arrives about others is dropped.
        inbox: what arrived.
        clock: seconds that only grow.
    """

    def __init__(
        self, db: Database, executor: Executor, running: RunningJobs, inbox: Inbox, clock: Callable[[], float]
    ) -> None:
        self._db = db
        self._executor = executor
        self._running = running
        self._inbox = inbox
        self._clock = clock
        self._throttle = EventThrottle()
        #: Events that are to be recorded, in order.
        self._waiting: list[TaskEvent] = []
        #: Jobs that are to be requeued.
        self._requeues: dict[Key, HandBack] = {}
        #: How often in a row the database did not answer.
        self._failures = 0

    def run(self) -> None:
        """Record whatever has arrived as one batch, until the inbox is closed and everything is recorded."""
        while not self._over():
            self._wait()
            self._sort(self._inbox.take())
            try:
                self._record_all()
                self._failures = 0
            except Unavailable:
                self._failures += 1

    def _over(self) -> bool:
        done = not (self._waiting or self._requeues)
        return self._inbox.exhausted and (done or self._failures >= _LAST_FAILURES)

    def _wait(self) -> None:
        """Wait until there is something to record."""
        if self._failures:
            self._inbox.pause(retry_pause(self._failures))
            return
        due = self._throttle.next_due()
        self._inbox.wait(None if due == float("inf") else max(0.0, due - self._clock()))

    def _sort(self, arrived: list[Item]) -> None:
        """Decide what is to be recorded now, what later, and what not at all."""
        now = self._clock()
        events: list[TaskEvent] = []
        for item in arrived:
            key = key_of(item)
            ours = key in self._running and key not in self._requeues
            if isinstance(item, HandBack):
                if ours:
                    self._requeues[key] = item
            elif ours:
                log_traceback(item, job_id=item.job_id, attempt=item.attempt)
                events.append(item)
            else:
                self._drop(item)
        self._waiting += self._throttle.take(events, now)
        self._add_compatible_devices()
        for key in self._requeues:
            self._throttle.forget(key)
        if not self._failures:
            self._waiting += self._throttle.due(now)
        elif len(self._waiting) > _MANY:
            self._waiting = [event for event in self._waiting if event.WhichOneof("event") != "log"]

    def _drop(self, event: TaskEvent) -> None:
        """Drop an event of a job that is not ours any more, with what was written ahead of it."""
        self._inbox.release(weight(event))
        with suppress(Unavailable):
            queue.discard(self._db, [event])

    def _add_compatible_devices(self) -> None:
        """Have failures list the devices that can. With the database away they are recorded as they are."""
        while self._throttle.needy:
            with suppress(Unavailable):
                add_compatible_devices(self._db, self._throttle.needy.pop())

    def _record_all(self) -> None:
        """Record events, then requeue jobs.

        Raises:
            Unavailable: the database is away; what is not recorded is kept.
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
            self._executor.cancel(*key)

    def _record_batch(self, owner: str, batch: Sequence[TaskEvent]) -> set[Key]:
        """Record a batch and return the refused; a job in it that cannot be recorded fails alone, and says so."""
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
            # Its task may still be running: it is cancelled like one that is refused.
            return {(job_id, attempt), *queue.record(self._db, owner, [end])}

    def _requeue(self) -> None:
        owned: dict[tuple[str, str, bool], list[Key]] = {}
        for key, item in self._requeues.items():
            if (owner := self._running.owner_of(key)) is not None:
                owned.setdefault((owner, item.why, item.counts), []).append(key)
        for (owner, why, counts), keys in owned.items():
            # An owner that claims again must not give two attempts one number.
            queue.release(self._db, owner, keys, why, counts=counts or not self._running.closed)
            self._running.remove(keys)
