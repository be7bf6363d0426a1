# SPDX-License-Identifier: Apache-2.0
"""Group commit: one thread folds the changes that many threads ask for into few transactions.

An operation is written for many arguments at once and gives one result each. Calls that wait at the same moment become
one transaction: calls of the same operation one call, in the order in which they came. Should such a transaction fail,
each call is tried again alone, so that a bad call harms nobody else.

While the database is away nobody waits for it but this thread, which tries again by itself: calls are refused at once.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from queue import SimpleQueue
from typing import Any, Final, Generic, Protocol, TypeVar

from google.protobuf.message import Error as MessageError
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from qonduit_server.errors import CallError, Unavailable
from qonduit_server.store.database_health import DatabaseHealth, Part, unavailable
from qonduit_server.store.notification_bus import EVERYTHING, Notification, StoredEvent

A = TypeVar("A")
R = TypeVar("R")

#: Calls folded into one transaction at most: bounds how long the first of them waits for the last.
_MOST_CALLS: Final = 1000
#: How often a call that lost a race with another server (a unique key, a row deleted meanwhile) is tried again.
_RACES: Final = 3
#: PostgreSQL's codes for a deadlock and for a serialization failure.
_RACE_CODES: Final = ("40P01", "40001")
#: PostgreSQL's code for a change that is refused because the server, or the session, only reads: a standby, say.
_READ_ONLY_CODE: Final = "25006"
#: With the database away, it is tried again after so long.
_AGAIN_SECONDS: Final = 0.5
#: What a database that does not answer is told by: locked, gone, full, or no connection free in time.
AWAY: Final = (OperationalError, InterfaceError, PoolTimeout)
#: What a change that cannot be made ends with. Named one by one: anything else ends the thread.
FAULTS: Final = (
    SQLAlchemyError,
    MessageError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
_ENDINGS: Final = (CallError, *FAULTS)


class Transaction:
    """What an operation works in: a connection, the time, and what is to be told after the commit."""

    def __init__(self, connection: Connection, kind: str, clock: Callable[[], datetime]) -> None:
        self.connection = connection
        self.kind = kind
        #: Microseconds since 1970.
        self.now = int(clock().timestamp() * 1_000_000)
        self.timestamp = Timestamp(seconds=self.now // 1_000_000, nanos=self.now % 1_000_000 * 1000)
        self.queue = False
        self.cancels = False
        self.catalogue = False
        self._jobs: set[int] = set()
        self._events: dict[int, list[StoredEvent]] = {}

    def tell(self, job_id: int, event: StoredEvent) -> None:
        """Have an event that was written told to whoever watches its job. A job's events come in order."""
        self._jobs.add(job_id)
        self._events.setdefault(job_id, []).append(event)

    def notify_deleted(self, job_id: int) -> None:
        """Have whoever watches a job look again: it was deleted."""
        self._jobs.add(job_id)
        self._events.pop(job_id, None)

    def notification(self) -> Notification:
        """Return what is to be told."""
        return Notification(
            queue=self.queue,
            cancels=self.cancels,
            jobs=frozenset(self._jobs),
            catalogue=self.catalogue,
            events=self._events,
        )


@dataclass(frozen=True, eq=False)
class Operation(Generic[A, R]):
    """A change to the store.

    Attributes:
        run: takes all arguments at once and returns one result each, in order. A result that is an exception is raised
            to its caller alone; the transaction goes on.
        durable: whether it must survive the loss of power once its caller has the answer.
    """

    run: Callable[[Transaction, Sequence[A]], Sequence[R | CallError]]
    durable: bool = True


class Transactions(Protocol):
    """How one kind of database begins and ends transactions."""

    def run(self, work: Callable[[Transaction], None], *, durable: bool) -> Notification:
        """Run `work` in a transaction, commit it, and return what is to be told."""
        ...

    def attempt(self) -> None:
        """Change nothing, but find out whether changes are taken, as `run` would."""
        ...

    def close(self) -> None:
        """Close the connection, if there is one."""
        ...


@dataclass(eq=False)
class _Call:
    operation: Operation[Any, Any]
    argument: Any
    future: Future[Any] = field(default_factory=Future)
    result: Any = None


class Writer:
    """The thread that writes.

    Args:
        transactions: runs a transaction.
        deliver: is told, after each commit, what changed.
        presence: is told whether changes are taken.
    """

    def __init__(
        self, transactions: Transactions, deliver: Callable[[Notification], None], health: DatabaseHealth
    ) -> None:
        self._transactions = transactions
        self._deliver = deliver
        self._health = health
        #: Why changes are not taken now. Under the lock, as is `_closed`.
        self._away: Exception | None = None
        self._closing = threading.Event()
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="store-writer", daemon=True)
        self._thread.start()

    def submit(self, operation: Operation[A, R], argument: A) -> Future[R]:
        """Queue a call. Raises Unavailable after `close`, and while the database is away."""
        call = _Call(operation, argument)
        with self._lock:
            if self._closed:
                raise Unavailable("the store is closed")
            if self._away is not None:
                raise unavailable(self._away)
            self._calls.put(call)
        return call.future

    def close(self) -> None:
        """Finish what was queued, then end."""
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
            while self._take(calls):
                self._serve(calls)
                calls = []
        finally:
            # Reached with calls left only when this thread is ended by a fault: nobody may wait for ever.
            with self._lock:
                self._closed = True
            cause = sys.exc_info()[1]
            while not self._calls.empty():
                if (call := self._calls.get()) is not None:
                    calls.append(call)
            for call in calls:
                if not call.future.done():
                    call.future.set_exception(Unavailable(f"the store's writer ended: {cause!r}"))

    def _take(self, calls: list[_Call]) -> bool:
        """Wait for a call, then take all that wait. Returns False when there is nothing more to come."""
        call = self._calls.get()
        while call is not None:
            calls.append(call)
            if len(calls) == _MOST_CALLS or self._calls.empty():
                return True
            call = self._calls.get()
        if calls:
            self._calls.put(None)
        return bool(calls)

    def _serve(self, calls: list[_Call]) -> None:
        try:
            notification = self._commit(calls)
        except _ENDINGS as error:
            if is_away(error):
                self._wait_for_database(calls, error)
            elif len(calls) == 1 and not _is_race(error):
                _fail(calls, error)
            else:
                self._serve_one_by_one(calls)
        else:
            self._finish(calls, notification)

    def _serve_one_by_one(self, calls: list[_Call]) -> None:
        for place, call in enumerate(calls):
            for attempt in range(_RACES):
                try:
                    notification = self._commit([call])
                except _ENDINGS as error:
                    if is_away(error):
                        self._wait_for_database(calls[place:], error)
                        return
                    if attempt + 1 == _RACES or not _is_race(error):
                        _fail([call], error)
                        break
                else:
                    self._finish([call], notification)
                    break

    def _wait_for_database(self, calls: list[_Call], error: Exception) -> None:
        """Refuse these calls and all that come, until the database takes changes again or the store is closed."""
        with self._lock:
            self._away = error
        # Who is refused looks at it; only a second failure tells everybody: one call may have been unlucky.
        _fail([*calls, *self._waiting()], error)
        while True:
            try:
                self._transactions.attempt()
            except _ENDINGS as still:
                with self._lock:
                    self._away = still
                self._health.lost(Part.CHANGES, still)
                if self._closing.wait(_AGAIN_SECONDS):
                    return
            else:
                break
        # What failed may have been committed all the same, and the answer lost: then nobody was told of it.
        self._deliver(EVERYTHING)
        with self._lock:
            self._away = None
        self._health.found(Part.CHANGES)

    def _waiting(self) -> list[_Call]:
        """Take all calls that wait, but leave the word to end where it was."""
        calls: list[_Call] = []
        while not self._calls.empty():
            if (call := self._calls.get()) is None:
                self._calls.put(None)
                break
            calls.append(call)
        return calls

    def _commit(self, calls: list[_Call]) -> Notification:
        folded: dict[Operation[Any, Any], list[_Call]] = {}
        for call in calls:
            folded.setdefault(call.operation, []).append(call)

        def work(transaction: Transaction) -> None:
            for operation, group in folded.items():
                results = operation.run(transaction, [call.argument for call in group])
                for call, result in zip(group, results, strict=True):
                    call.result = result

        return self._transactions.run(work, durable=any(operation.durable for operation in folded))

    def _finish(self, calls: list[_Call], notification: Notification) -> None:
        if notification:
            self._deliver(notification)
        for call in calls:
            if isinstance(call.result, CallError):
                call.future.set_exception(call.result)
            else:
                call.future.set_result(call.result)


def _is_race(error: BaseException) -> bool:
    """Whether another server came first (or the two waited for each other), so that trying again is likely to do."""
    if isinstance(error, IntegrityError):
        return True
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) in _RACE_CODES


def is_away(error: BaseException) -> bool:
    """Whether a change failed because the database is away, or takes none: it is to be tried again later."""
    if getattr(getattr(error, "orig", None), "sqlstate", None) == _READ_ONLY_CODE:
        return True
    return isinstance(error, Unavailable) or (isinstance(error, AWAY) and not _is_race(error))


def _fail(calls: list[_Call], error: Exception) -> None:
    for call in calls:
        known = isinstance(error, CallError) or not is_away(error)
        call.future.set_exception(error if known else unavailable(error))
