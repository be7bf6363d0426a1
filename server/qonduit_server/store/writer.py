# SPDX-License-Identifier: Apache-2.0
"""Group commit: one thread commits the changes of many threads in few transactions.

An operation takes many arguments and returns one result for each. All queued calls become one transaction; calls of the
same operation become one call, in order of arrival. If the transaction fails, each call is retried in its own
transaction, so that a failing call does not affect others.

While the database is unavailable, only this thread waits and retries; calls fail at once.

A follow-up is a change that the next transaction that queues jobs also makes: so a job that can run at once is created
and claimed in one transaction.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from queue import SimpleQueue
from typing import Any, Final, Generic, Protocol, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import Connection

from qonduit_server.cost_estimates import RunTime
from qonduit_server.errors import CallError, Unavailable
from qonduit_server.observer import Observer
from qonduit_server.store.audit_trail import Act, AuditTrail, current_act
from qonduit_server.store.database_errors import FAULTS, is_race, is_unavailable
from qonduit_server.store.database_health import DatabaseHealth, Part, unavailable
from qonduit_server.store.event_cache import EventCache
from qonduit_server.store.fresh_jobs import FreshJob
from qonduit_server.store.notification_bus import ANY_PROVIDER, EVERYTHING, Notification, StoredEvent
from qonduit_server.store.quota_registry import QuotaRegistry, QuotaSnapshot
from qonduit_server.store.usage_ledger import UsageLedger

A = TypeVar("A")
R = TypeVar("R")

#: Maximum number of calls in a transaction: limits how long the first call waits for the last.
_MAX_CALLS: Final = 1000
#: Number of attempts for a call that loses a race with another server (a unique key, a deleted row).
_RACE_ATTEMPTS: Final = 3
#: Retry interval while the database is unavailable.
_RETRY_SECONDS: Final = 0.5
_EXPECTED_ERRORS: Final = (CallError, *FAULTS)


class Transaction:
    """The context of an operation: a connection, the time, and the notification to deliver after the commit."""

    def __init__(
        self,
        connection: Connection,
        kind: str,
        clock: Callable[[], datetime],
        quotas: QuotaRegistry,
        event_cache: EventCache,
        log_epoch: int,
    ) -> None:
        self.connection = connection
        self.kind = kind
        self._event_cache = event_cache
        #: The epoch of new events (store/log_epoch.py).
        self.log_epoch = log_epoch
        #: Microseconds since 1970.
        self.now = int(clock().timestamp() * 1_000_000)
        self.timestamp = Timestamp(seconds=self.now // 1_000_000, nanos=self.now % 1_000_000 * 1000)
        #: The names of the providers for which jobs were queued, or `ANY_PROVIDER`.
        self.queued: set[str] = set()
        #: All queued jobs of the database, if this transaction created all of them.
        self.fresh_jobs: list[FreshJob] | None = None
        self.times = False
        self.cancels = False
        self.catalogue = False
        self.quotas_changed = False
        #: What owners use; written when all operations have run.
        self.usage: Final = UsageLedger()
        self._quotas = quotas
        self._jobs: set[int] = set()
        self._events: dict[int, list[StoredEvent]] = {}
        self._run_times: list[RunTime] = []

    def quotas(self) -> QuotaSnapshot:
        """Return the quotas in force."""
        return self._quotas.snapshot(self.connection)

    def add_event(self, job_id: int, event: StoredEvent) -> None:
        """Add a written event to the notification. Add a job's events in order."""
        self._jobs.add(job_id)
        self._events.setdefault(job_id, []).append(event)

    def known_event(self, job_id: int, sequence: int) -> StoredEvent | None:
        """Return an event that this transaction has written, or a cached one; None if it is neither."""
        if (written := self._events.get(job_id)) is not None and written[-1].sequence == sequence:
            return written[-1]
        cached = self._event_cache.after(job_id, sequence - 1, 1)
        return cached[0] if cached else None

    def add_run_time(self, run_time: RunTime) -> None:
        """Add the time of a finished run to the notification."""
        self._run_times.append(run_time)

    def notify_deleted(self, job_id: int) -> None:
        """Add a deleted job to the notification, so that its watchers check it."""
        self._jobs.add(job_id)
        self._events.pop(job_id, None)

    def notification(self) -> Notification:
        """Return the notification to deliver after the commit."""
        return Notification(
            queued=frozenset(self.queued),
            times=self.times,
            cancels=self.cancels,
            jobs=frozenset(self._jobs),
            catalogue=self.catalogue,
            quotas=self.quotas_changed,
            events=self._events,
            run_times=self._run_times,
        )


@dataclass(frozen=True, eq=False)
class Operation(Generic[A, R]):
    """A change to the store.

    Attributes:
        run: takes all arguments and returns one result for each, in order. A result that is an exception is raised in
            its caller only; the transaction continues.
        durable: whether the change must survive a power failure after the caller has the result.
        objects: returns the names of the objects that a call changed, for the audit log, from its argument and result;
            without it, the log names the object of the request.
    """

    run: Callable[[Transaction, Sequence[A]], Sequence[R | CallError]]
    durable: bool = True
    objects: Callable[[A, R], Sequence[str]] | None = None


class Transactions(Protocol):
    """The transactions of one kind of database."""

    def run(self, work: Callable[[Transaction], None], *, durable: bool) -> Notification:
        """Run `work` in a transaction, commit it, and return its notification."""
        ...

    def attempt(self) -> None:
        """Check whether the database is writable, without a change."""
        ...

    def close(self) -> None:
        """Close the connection, if there is one."""
        ...


@dataclass(eq=False)
class _Call:
    operation: Operation[Any, Any]
    argument: Any
    #: Under which it is recorded; None records nothing.
    act: Act | None
    future: Future[Any] = field(default_factory=Future)
    result: Any = None


class FollowUp(Generic[R]):
    """A change that the next transaction that queues jobs of some providers also makes, once.

    Attributes:
        providers: the names of the providers.
        run: makes the change. It is called with the names of the providers for which the transaction queued jobs, and
            again if the transaction is retried.
        future: holds the result of `run` once it is committed. It holds None if `run` was called but the transaction
            was rolled back, and raises Unavailable if it is unknown whether it was committed.
    """

    def __init__(self, providers: Iterable[str], run: Callable[[Transaction, AbstractSet[str]], R]) -> None:
        self.providers = frozenset(providers)
        self.run = run
        self.future: Future[R | None] = Future()
        self.result: R | None = None


class Writer:
    """The thread that writes.

    Args:
        transactions: runs transactions.
        deliver: called with the notification after each commit.
        health: records whether the database is writable.
        audit: records the changes of acts.
        observer: receives the size and the time of each transaction.
    """

    def __init__(
        self,
        transactions: Transactions,
        deliver: Callable[[Notification], None],
        health: DatabaseHealth,
        audit: AuditTrail,
        observer: Observer,
    ) -> None:
        self._transactions = transactions
        self._deliver = deliver
        self._health = health
        self._audit = audit
        self._observer = observer
        #: Why the database is not writable now; None if it is. Guarded by the lock, like `_closed`.
        self._unavailable: Exception | None = None
        self._closing = threading.Event()
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._follow_ups: list[FollowUp[Any]] = []
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="store-writer", daemon=True)
        self._thread.start()

    def submit(self, operation: Operation[A, R], argument: A) -> Future[R]:
        """Queue a call. Raises Unavailable after `close`, and while the database is unavailable."""
        call = _Call(operation, argument, current_act())
        with self._lock:
            if self._closed:
                raise Unavailable("the store is closed")
            if self._unavailable is not None:
                raise unavailable(self._unavailable)
            self._calls.put(call)
        return call.future

    def follow(self, follow_up: FollowUp[Any]) -> None:
        """Make a change with the next transaction that queues jobs."""
        with self._lock:
            self._follow_ups.append(follow_up)

    def withdraw(self, follow_up: FollowUp[Any]) -> bool:
        """Withdraw a follow-up; return False if a transaction makes or made it, so that its future gets a result."""
        with self._lock:
            waits = follow_up in self._follow_ups
            if waits:
                self._follow_ups.remove(follow_up)
            return waits

    def close(self) -> None:
        """Finish queued calls, then stop the thread."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._calls.put(None)
        self._closing.set()
        self._thread.join()
        self._transactions.close()

    def _work(self) -> None:
        calls: list[_Call] = []
        try:
            while self._next_batch(calls):
                self._serve(calls)
                calls = []
        finally:
            # Calls remain only if a fault ends this thread: fail them, so that no caller waits forever.
            with self._lock:
                self._closed = True
            cause = sys.exc_info()[1]
            while not self._calls.empty():
                if (call := self._calls.get()) is not None:
                    calls.append(call)
            for call in calls:
                if not call.future.done():
                    call.future.set_exception(Unavailable(f"the store's writer stopped: {cause!r}"))

    def _next_batch(self, calls: list[_Call]) -> bool:
        """Wait for a call, then add all queued calls to `calls`. Return False after `close`, with an empty queue."""
        call = self._calls.get()
        while call is not None:
            calls.append(call)
            if len(calls) == _MAX_CALLS or self._calls.empty():
                return True
            call = self._calls.get()
        if calls:
            self._calls.put(None)
        return bool(calls)

    def _serve(self, calls: list[_Call]) -> None:
        followed: list[FollowUp[Any]] = []
        try:
            notification = self._commit(calls, followed)
        except _EXPECTED_ERRORS as error:
            for follow_up in followed:
                if is_unavailable(error):
                    follow_up.future.set_exception(unavailable(error))
                else:
                    follow_up.future.set_result(None)
            if is_unavailable(error):
                self._wait_for_database(calls, error)
            elif len(calls) == 1 and not followed and not is_race(error):
                _fail(calls, error)
            else:
                # Without the follow-up, which may be the cause.
                self._serve_one_by_one(calls)
        except BaseException:
            for follow_up in followed:
                follow_up.future.set_exception(Unavailable("the store's writer stopped"))
            raise
        else:
            for follow_up in followed:
                follow_up.future.set_result(follow_up.result)
            self._finish(calls, notification)

    def _serve_one_by_one(self, calls: list[_Call]) -> None:
        for place, call in enumerate(calls):
            for attempt in range(_RACE_ATTEMPTS):
                try:
                    notification = self._commit([call])
                except _EXPECTED_ERRORS as error:
                    if is_unavailable(error):
                        self._wait_for_database(calls[place:], error)
                        return
                    if attempt + 1 == _RACE_ATTEMPTS or not is_race(error):
                        _fail([call], error)
                        break
                else:
                    self._finish([call], notification)
                    break

    def _wait_for_database(self, calls: list[_Call], error: Exception) -> None:
        """Fail these and all new calls until the database is writable again or the store is closed."""
        with self._lock:
            self._unavailable = error
        self._audit.restart()
        # Only a second failure marks the database as unavailable: the first may concern a single call.
        _fail([*calls, *self._drain()], error)
        while True:
            try:
                self._transactions.attempt()
            except _EXPECTED_ERRORS as retry_error:
                with self._lock:
                    self._unavailable = retry_error
                self._health.mark_unavailable(Part.CHANGES, retry_error)
                if self._closing.wait(_RETRY_SECONDS):
                    return
            else:
                break
        # A failed transaction may have been committed without a notification, if only its answer was lost.
        self._deliver(EVERYTHING)
        with self._lock:
            self._unavailable = None
        self._health.mark_available(Part.CHANGES)

    def _drain(self) -> list[_Call]:
        """Remove and return all queued calls, but leave the stop marker in the queue."""
        calls: list[_Call] = []
        while not self._calls.empty():
            if (call := self._calls.get()) is None:
                self._calls.put(None)
                break
            calls.append(call)
        return calls

    def _commit(self, calls: list[_Call], followed: list[FollowUp[Any]] | None = None) -> Notification:
        """Commit calls, and the follow-up if it may be added to `followed`."""
        groups: dict[Operation[Any, Any], list[_Call]] = {}
        for call in calls:
            groups.setdefault(call.operation, []).append(call)

        def work(transaction: Transaction) -> None:
            for operation, group in groups.items():
                results = operation.run(transaction, [call.argument for call in group])
                for call, result in zip(group, results, strict=True):
                    call.result = result
            if transaction.queued and followed is not None:
                followed.extend(self._take_follow_ups(transaction.queued))
            if followed:
                queued = frozenset(transaction.queued)
                transaction.queued.clear()  # a follow-up adds those that have further jobs
                for follow_up in followed:
                    follow_up.result = follow_up.run(transaction, queued)
            if transaction.usage:
                transaction.usage.write(transaction.connection, transaction.now)
            self._audit.append(transaction.connection, transaction.now, _changes(calls))

        began = time.perf_counter()
        try:
            notification = self._transactions.run(work, durable=any(operation.durable for operation in groups))
        except _EXPECTED_ERRORS:
            self._observer.commit_failed()
            raise
        self._observer.committed(len(calls), time.perf_counter() - began)
        self._audit.committed()
        return notification

    def _take_follow_ups(self, queued: AbstractSet[str]) -> list[FollowUp[Any]]:
        with self._lock:
            taken = [each for each in self._follow_ups if ANY_PROVIDER in queued or each.providers & queued]
            self._follow_ups = [each for each in self._follow_ups if each not in taken]
        return taken

    def _finish(self, calls: list[_Call], notification: Notification) -> None:
        if notification:
            self._deliver(notification)
        for call in calls:
            if isinstance(call.result, CallError):
                call.future.set_exception(call.result)
            else:
                call.future.set_result(call.result)


def _changes(calls: Sequence[_Call]) -> list[tuple[Act, Sequence[str]]]:
    """Return the acts of calls, each with the names of the objects that it changed."""
    changes: list[tuple[Act, Sequence[str]]] = []
    for call in calls:
        if call.act is not None and not isinstance(call.result, CallError):
            objects = call.operation.objects
            changes.append((call.act, objects(call.argument, call.result) if objects else (call.act.object,)))
    return changes


def _fail(calls: list[_Call], error: Exception) -> None:
    for call in calls:
        known = isinstance(error, CallError) or not is_unavailable(error)
        call.future.set_exception(error if known else unavailable(error))
