# SPDX-License-Identifier: Apache-2.0
"""Wakes: what changed in the store, told to this process (and, on PostgreSQL, to every server) after the commit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event: its place in the job's history, a serialized JobEvent, and whether it is the job's last one."""

    sequence: int
    payload: bytes
    terminal: bool


@dataclass(frozen=True)
class Notification:
    """What changed.

    Attributes:
        queue: jobs wait that did not wait before.
        cancels: a cancel of a running job was asked for.
        jobs: jobs with new events, or deleted.
        all_jobs: any job may have new events (wakes may have been missed).
        catalogue: providers or devices changed.
        events: the new events of `jobs`, as far as this process wrote them; never sent to others.
    """

    queue: bool = False
    cancels: bool = False
    jobs: frozenset[int] = frozenset()
    all_jobs: bool = False
    catalogue: bool = False
    events: Mapping[int, list[StoredEvent]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether anything changed."""
        return bool(self.queue or self.cancels or self.jobs or self.all_jobs or self.catalogue)


#: Told to everyone when wakes may have been missed.
EVERYTHING = Notification(queue=True, cancels=True, all_jobs=True, catalogue=True)


class NotificationBus:
    """Who wants to be woken in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._callbacks: tuple[Callable[[Notification], None], ...] = ()

    def subscribe(self, callback: Callable[[Notification], None]) -> Callable[[], None]:
        """Have `callback` called after every commit that changed something; returns what ends that.

        It is called in the thread that writes or listens: it must be quick, and must not write to the store.
        """
        with self._lock:
            self._callbacks = (*self._callbacks, callback)

        def unsubscribe() -> None:
            with self._lock:
                self._callbacks = tuple(known for known in self._callbacks if known is not callback)

        return unsubscribe

    def deliver(self, notification: Notification) -> None:
        """Tell every subscriber."""
        for callback in self._callbacks:
            callback(notification)
