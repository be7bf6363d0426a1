# SPDX-License-Identifier: Apache-2.0
"""Watches of jobs: streams that receive each stored event once and in order, and hold no thread while they wait.

A notification of the store makes the watches of a job ready. A few readers take ready watches, read the new events of
many jobs with one query, and start to send; each completed send starts the next one of its stream. One thread at a time
owns a watch:

    IDLE --notification--> READY --reader takes it--> BUSY --all sent--> IDLE, or READY after another notification

No watch depends on notifications alone: each recheck queries the database for new events of all watched jobs.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeVar

from qonduit.v1.job_pb2 import QueuePlace
from qonduit_server.errors import CallError, InvalidArgument, NotFound, Unavailable
from qonduit_server.observer import UNOBSERVED, Observer
from qonduit_server.rpc.error_status import outcome
from qonduit_server.rpc.queue_places import QueuePlaces
from qonduit_server.rpc.stream_sender import Stream
from qonduit_server.rpc.watch import (
    STORED_EVENTS,
    Wanted,
    Watch,
    WatchState,
    add_transient,
    final_results,
    framed,
    heartbeat,
)
from qonduit_server.store import event_log
from qonduit_server.store.database import Database
from qonduit_server.store.notification_bus import Notification, StoredEvent
from qonduit_server.store.results import result_rows

V = TypeVar("V")

#: The default time without events before a heartbeat, in seconds.
DEFAULT_HEARTBEAT: Final = 20.0
#: Seconds between two rechecks of all watched jobs: the maximum delay of an event if a notification is lost.
RECHECK: Final = 5.0
#: The maximum time between two timer checks of a watch, in seconds, so that the timer drops closed watches soon.
LOOK: Final = 20.0
#: A heartbeat may be sent this many seconds early, which saves a run of the timer.
EARLY: Final = 0.005
#: The maximum of watches in a batch, of jobs in a query, and of events per job in a query.
BATCH: Final = 500
JOBS: Final = 64
EVENTS: Final = 256
#: The maximum of watches with a current send, so that other calls run in between. A further one waits `PATIENCE`
#: seconds for one of them to complete; otherwise they are slow and are no longer counted.
SENDING: Final = 64
PATIENCE: Final = 0.1
_NO_WATCHES: Final[dict[int, Watch]] = {}


class JobWatches:
    """The watches of this server."""

    def __init__(
        self, db: Database, *, readers: int = 4, slow_reader: float = 10.0, observer: Observer = UNOBSERVED
    ) -> None:
        self._db = db
        self._observer = observer
        self._slow_reader = slow_reader
        self._slow_check_interval = slow_reader / 10
        self._lock = threading.Lock()
        self._ready_changed = threading.Condition(self._lock)
        self._time = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)
        self._stopped = threading.Condition(self._lock)
        self._ready: deque[Watch] = deque()
        self._sending: set[Watch] = set()
        self._of_job: dict[int, dict[int, Watch]] = {}
        self._watches: dict[int, Watch] = {}
        self._number = 0
        self._due: list[tuple[float, int]] = []
        self._timer_due = 0.0
        self._draining = False
        self._stopping = False
        self._unsubscribe = db.notifications.subscribe(self._on_notification)
        self._places = QueuePlaces(db, self._jobs_with_places, self._add_places)
        self._threads = [
            threading.Thread(target=self._read_loop, name=f"rpc-watch-reader-{number}", daemon=True)
            for number in range(readers)
        ]
        self._threads.append(threading.Thread(target=self._time_loop, name="rpc-watch-timer", daemon=True))
        self._threads.append(threading.Thread(target=self._recheck_loop, name="rpc-watch-recheck", daemon=True))
        for thread in self._threads:
            thread.start()

    def __len__(self) -> int:
        """Return the number of open streams."""
        return len(self._watches)

    def open(
        self,
        stream: Stream,
        job_id: int,
        after: int,
        interval: float,
        *,
        epoch: int = 0,
        fresh: bool = False,
        wants: Wanted = STORED_EVENTS,
    ) -> None:
        """Watch a job on a stream.

        Args:
            after: the last sequence that the client has.
            interval: seconds without events before a heartbeat.
            epoch: the epoch of the event `after`, as the client knows it.
            fresh: whether this call created the job; then `after` is not checked.
            wants: the events that the stream requested.
        """
        watch = Watch(stream, job_id, after, interval, verify=not fresh, epoch=epoch, wants=wants)
        with self._lock:
            if self._draining:
                raise draining()
            self._number += 1
            number = self._number
            self._watches[number] = watch
            self._of_job.setdefault(job_id, {})[number] = watch
            self._ready.append(watch)
            self._ready_changed.notify()
            now = time.monotonic()
            self._schedule(number, now + min(interval, LOOK))
            if self._timer_due > now + self._slow_check_interval:
                self._time.notify()
        if not stream.on_close(lambda: self._forget(number, watch)):
            self._forget(number, watch)
        if wants.queue_updates:
            self._places.request()
        if wants.partial_results:
            self._db.request_partial_results([job_id])

    def drain(self) -> None:
        """End every stream with UNAVAILABLE and open no new ones."""
        with self._lock:
            self._draining = True
            self._mark_ready(self._watches.values())

    def stop(self) -> None:
        """End the threads. The server cancels the streams that are still open."""
        self._unsubscribe()
        self._places.stop()
        with self._lock:
            self._draining = self._stopping = True
            self._ready_changed.notify_all()
            self._room.notify_all()
            self._time.notify_all()
            self._stopped.notify_all()
        for thread in self._threads:
            thread.join()

    # Notifications.

    def _on_notification(self, notification: Notification) -> None:
        if notification.partial:
            self._offer(notification.partial, Watch.accept_partial)
        if not (notification.jobs or notification.all_jobs):
            return
        with self._lock:
            if notification.all_jobs:
                self._mark_ready(self._watches.values())
            elif len(notification.jobs) <= len(self._of_job):
                for job_id in notification.jobs:
                    self._mark_ready(self._of_job.get(job_id, _NO_WATCHES).values())
            else:
                for job_id in self._of_job.keys() & notification.jobs:
                    self._mark_ready(self._of_job[job_id].values())

    def _offer(self, found: Mapping[int, V], accept: Callable[[Watch, V], bool]) -> None:
        """Offer a value that is not stored to the watches of each job; those that accept it become ready."""
        with self._lock:
            for job_id, value in found.items():
                self._mark_ready(
                    [watch for watch in self._of_job.get(job_id, _NO_WATCHES).values() if accept(watch, value)]
                )

    def _add_places(self, places: Mapping[int, QueuePlace]) -> None:
        self._offer(places, Watch.accept_place)

    def _jobs_with_places(self) -> set[int]:
        with self._lock:
            return {watch.job_id for watch in self._watches.values() if watch.wants.queue_updates}

    def _mark_ready(self, watches: Iterable[Watch]) -> None:
        """Make watches ready. Under the lock."""
        before = len(self._ready)
        now = time.monotonic()
        for watch in watches:
            if watch.state is WatchState.IDLE:
                watch.state = WatchState.READY
                watch.ready_since = now
                self._ready.append(watch)
            else:
                watch.stale = True
        added = len(self._ready) - before
        if added:
            self._ready_changed.notify(1 + added // JOBS)

    def _forget(self, number: int, watch: Watch) -> None:
        with self._lock:
            self._leave_room(watch)
            watch.state = WatchState.CLOSED
            if self._watches.pop(number, None) is None:
                return
            others = self._of_job[watch.job_id]
            del others[number]
            if not others:
                del self._of_job[watch.job_id]

    # Readers.

    def _read_loop(self) -> None:
        while True:
            with self._lock:
                while not self._ready and not self._stopping:
                    self._ready_changed.wait()
                if self._stopping:
                    return
                batch: list[Watch] = []
                cursors: dict[int, int] = {}
                while self._ready and len(batch) < BATCH and len(cursors) < JOBS:
                    watch = self._ready.popleft()
                    if watch.state is WatchState.READY:
                        watch.state = WatchState.BUSY
                        watch.stale = False
                        batch.append(watch)
                        cursors[watch.job_id] = min(cursors.get(watch.job_id, watch.cursor), watch.cursor)
            outcome("", self._serve, batch, cursors)

    def _serve(self, batch: list[Watch], cursors: dict[int, int]) -> None:
        """Read the events of a batch of watches, and start to send to each."""
        found: dict[int, list[StoredEvent] | None] | None = None
        error: CallError | None = draining()
        if not self._draining:
            found, error = outcome("", event_log.read_after_many, self._db, list(cursors.items()), EVENTS)
        for watch in batch:
            self._wait_for_room(watch)
            failed = error
            if found is not None:
                _, failed = outcome(watch.stream.call.request_id, self._deliver, watch, found[watch.job_id])
            if failed is not None:
                watch.stream.fail(failed)

    def _wait_for_room(self, watch: Watch) -> None:
        with self._lock:
            if len(self._sending) >= SENDING and not self._room.wait(PATIENCE):
                self._sending.clear()
            if watch.state is WatchState.BUSY:
                self._sending.add(watch)

    def _leave_room(self, watch: Watch) -> None:
        """Under the lock."""
        if watch in self._sending:
            self._sending.remove(watch)
            self._room.notify()

    def _deliver(self, watch: Watch, found: list[StoredEvent] | None) -> None:
        """Add the events that were read to a watch, and start to send."""
        if found is None:
            raise NotFound("job", watch.job_id)
        more = len(found) == EVENTS
        if watch.verify and not (more and found[-1].sequence < watch.skip):
            last = next((event for event in found if event.sequence == watch.skip), None)
            # The cache is updated shortly after a commit; the client may have read the committed job before that.
            if last is None and event_log.stale_jobs(self._db, {watch.job_id: watch.skip - 1}):
                more = True
            else:
                self._verify(watch, last)
        for event in found:
            # Smaller sequences were read for another watch of the same job, which is behind this one.
            if event.sequence > watch.cursor:
                self._add(watch, event)
        if more:
            with self._lock:
                watch.stale = True
        else:
            if not watch.complete:
                add_transient(watch)
            if watch.beat and not watch.pending:
                watch.pending.append(heartbeat(watch))
        if watch.pending:
            watch.beat = False
            if found:
                self._observer.events_delivered(time.monotonic() - watch.ready_since)
        self._send_next(watch)

    def _verify(self, watch: Watch, last: StoredEvent | None) -> None:
        """Check that the client's last event is stored. Raises the errors of a wrong `after_sequence`."""
        event_log.check_cursor(self._db, watch.job_id, watch.skip, watch.epoch, last)
        if last is None:
            raise InvalidArgument.of(
                "after_sequence", "after_sequence.max", f"after_sequence: the job has no event {watch.skip} yet"
            )
        watch.verify = False

    def _add(self, watch: Watch, event: StoredEvent) -> None:
        """Add a stored event to a watch, and the events that come before it."""
        if event.sequence > 1:
            # Before the next stored event, so that a job's end does not hide what came before it.
            add_transient(watch)
        if event.sequence > watch.skip:
            if event.terminal and watch.wants.final_results:
                results = result_rows.few(self._db, watch.job_id) if event.results is None else event.results
                if results:
                    watch.pending.append(final_results(watch, results))
            if event.terminal or event.sequence == 1 or not watch.wants.omit_intermediate:
                watch.pending.append(event.payload)
        watch.cursor = event.sequence
        watch.complete = watch.complete or event.terminal

    def _send_next(self, watch: Watch) -> None:
        """Send the next pending event; each completed send calls this again."""
        if watch.pending:
            watch.sent_at = time.monotonic()
            message = framed(watch.pending.popleft())
            if watch.complete and not watch.pending:
                watch.stream.finish(message)
            elif self._draining:
                watch.stream.fail(draining())
            else:
                watch.stream.send(message, lambda: self._send_next(watch))
        elif watch.complete:
            watch.stream.finish()
        else:
            with self._lock:
                if watch.state is not WatchState.BUSY:
                    return
                watch.state = WatchState.IDLE
                self._leave_room(watch)
                if watch.stale or self._draining:
                    self._mark_ready((watch,))

    # Time.

    def _schedule(self, number: int, due: float) -> None:
        """Under the lock."""
        heapq.heappush(self._due, (due, number))
        if due < self._timer_due:
            self._time.notify()

    def _time_loop(self) -> None:
        next_slow_check = 0.0
        while True:
            slow: list[Watch] = []
            with self._lock:
                now = time.monotonic()
                while self._due and self._due[0][0] <= now:
                    _, number = heapq.heappop(self._due)
                    watch = self._watches.get(number)
                    if watch is not None:
                        self._on_time(watch, number, now)
                if now >= next_slow_check:
                    next_slow_check = now + self._slow_check_interval
                    started = now - self._slow_reader
                    slow = [watch for watch in self._watches.values() if 0.0 < watch.stream.sending_since < started]
                if not slow:
                    if self._stopping:
                        return
                    due = self._due[0][0] if self._due else now + LOOK
                    self._timer_due = min(due, next_slow_check) if self._watches else due
                    self._time.wait(max(0.0, self._timer_due - now))
            for watch in slow:
                watch.stream.cut(SLOW_READER)

    def _on_time(self, watch: Watch, number: int, now: float) -> None:
        """Send a heartbeat if the watch has sent nothing for its interval. Under the lock."""
        heartbeat_at = watch.sent_at + watch.interval
        beat = heartbeat_at <= now + EARLY
        if watch.state is WatchState.IDLE and beat:
            watch.beat = True
            self._mark_ready((watch,))
        self._schedule(number, min(now + watch.interval if beat else heartbeat_at, now + LOOK))

    # Rechecks.

    def _recheck_loop(self) -> None:
        while True:
            with self._lock:
                if not self._stopping:
                    self._stopped.wait(RECHECK)
                if self._stopping:
                    return
                partial = {watch.job_id for watch in self._watches.values() if watch.wants.partial_results}
                waiting = [watch for watch in self._watches.values() if watch.state is WatchState.IDLE]
                cursors: dict[int, int] = {}
                for watch in waiting:
                    cursors[watch.job_id] = min(cursors.get(watch.job_id, watch.cursor), watch.cursor)
            self._db.request_partial_results(partial)
            # This fails while the database is unavailable; the next recheck queries again.
            found, _ = outcome("", event_log.stale_jobs, self._db, cursors)
            if found:
                wanted = set(found)
                with self._lock:
                    self._mark_ready(watch for watch in waiting if watch.job_id in wanted)


def draining() -> CallError:
    """Return the error of a server that is stopping."""
    return Unavailable("the server is stopping; retry", reason="DRAINING", retry_after=1.0)


SLOW_READER: Final = Unavailable(
    "the client accepted no event for too long; resume with after_sequence", reason="SLOW_READER"
)
