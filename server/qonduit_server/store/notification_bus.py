# SPDX-License-Identifier: Apache-2.0
"""Notifications of changes, delivered after the commit to this process and, on PostgreSQL, to every server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from qonduit_server.cost_estimates import RunTime

#: In place of the name of a provider: jobs may have been queued for any.
ANY_PROVIDER: Final = ""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event.

    Attributes:
        sequence: its sequence.
        payload: a serialized JobEvent.
        terminal: whether it is the job's last event.
        results: with the last event, all results of the job, serialized and in order; None if they must be read.
    """

    sequence: int
    payload: bytes
    terminal: bool
    results: Sequence[bytes] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class CallerUse:
    """What a caller uses at one server.

    Attributes:
        caller: the caller.
        open_buffers: the number of its open streams of buffers.
        uploaded: the bytes of its requests since the last message.
        server: the server; empty for this one.
    """

    caller: str
    open_buffers: int
    uploaded: int = 0
    server: str = ""


@dataclass(frozen=True)
class Notification:
    """The changes of a transaction.

    Attributes:
        queued: the names of the providers for which jobs were queued, or `ANY_PROVIDER`.
        times: jobs were queued that wait for a time or expire; not sent to other servers.
        cancels: the cancel of a running job was requested.
        jobs: jobs that have new events or are deleted.
        all_jobs: any job may have new events (notifications may have been missed).
        catalogue: providers or devices changed.
        quotas: quotas changed.
        events: the new events of `jobs` that this process wrote.
        received: the new events of `jobs` that another server sent with its notification: all of the job, or none.
        run_times: the times of the runs whose results this process stored; not sent to other servers.
        partial: JobEvents with partial results, serialized, by job; never stored. `shared_partials` sends them to other
            servers.
        use: what a caller uses at another server.
    """

    queued: frozenset[str] = frozenset()
    times: bool = False
    cancels: bool = False
    jobs: frozenset[int] = frozenset()
    all_jobs: bool = False
    catalogue: bool = False
    quotas: bool = False
    events: Mapping[int, list[StoredEvent]] = field(default_factory=dict)
    received: Mapping[int, list[StoredEvent]] = field(default_factory=dict)
    run_times: Sequence[RunTime] = ()
    partial: Mapping[int, bytes] = field(default_factory=dict)
    use: CallerUse | None = None

    @property
    def queue(self) -> bool:
        """Whether jobs were queued."""
        return bool(self.queued)

    def __bool__(self) -> bool:
        """Whether anything changed."""
        changed = self.queued or self.times or self.cancels or self.jobs or self.all_jobs
        return bool(changed or self.catalogue or self.quotas)


#: Delivered when notifications may have been missed.
EVERYTHING = Notification(queued=frozenset((ANY_PROVIDER,)), cancels=True, all_jobs=True, catalogue=True, quotas=True)


class NotificationBus:
    """The subscribers of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._callbacks: tuple[Callable[[Notification], None], ...] = ()

    def subscribe(self, callback: Callable[[Notification], None]) -> Callable[[], None]:
        """Call `callback` after every commit that changes something; return the function that unsubscribes it.

        The writer or listener thread calls it: it must be quick, and must not write to the store.
        """
        with self._lock:
            self._callbacks = (*self._callbacks, callback)

        def unsubscribe() -> None:
            with self._lock:
                self._callbacks = tuple(known for known in self._callbacks if known is not callback)

        return unsubscribe

    def deliver(self, notification: Notification) -> None:
        """Call every subscriber."""
        for callback in self._callbacks:
            callback(notification)
