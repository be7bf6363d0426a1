# SPDX-License-Identifier: Apache-2.0
"""Health of the database: calls fail at once while it is unavailable, and subscribers are notified of changes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum

import structlog

from qonduit_server.errors import Unavailable

_log = structlog.get_logger("qonduit.store")


class Part(Enum):
    """What may be unavailable: the whole database, or only writes (a full disk, a lock)."""

    DATABASE = "database"
    CHANGES = "changes"


class DatabaseHealth:
    """The state that the store's threads report. They retry by themselves, so the state is current."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._causes: dict[Part, BaseException] = {}
        self._since = 0.0
        #: Held by the caller that retries while the whole database is unavailable.
        self._trying = threading.Lock()
        self._callbacks: tuple[Callable[[bool], None], ...] = ()
        #: Whether the database server accepts connections but does not answer.
        self.unresponsive = False

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Wrap an attempt to reach the database: while it is unavailable, one caller at a time may try.

        Raises:
            Unavailable: it is unavailable, and another caller is trying.
        """
        cause = self._causes.get(Part.DATABASE)
        if cause is None:
            yield
        elif self._trying.acquire(blocking=False):
            try:
                yield
            finally:
                self._trying.release()
        else:
            raise unavailable(cause)

    def mark_unavailable(self, part: Part, cause: BaseException, *, unresponsive: bool = False) -> None:
        """Mark a part as unavailable, and log the change.

        Args:
            unresponsive: it accepts connections but does not answer, so that each further attempt would only wait.
        """
        with self._lock:
            self.unresponsive = unresponsive
            changed = not self._causes
            self._causes = {**self._causes, part: cause}
            if changed:
                self._since = time.monotonic()
        if changed:
            _log.error("database unavailable", what=part.value, why=_first_line(cause))
            self._notify(False)

    def mark_available(self, part: Part) -> None:
        """Mark a part as available, and log the change."""
        with self._lock:
            self.unresponsive = False
            if part not in self._causes:
                return
            self._causes = {other: cause for other, cause in self._causes.items() if other is not part}
            changed = not self._causes
        if changed:
            _log.warning("database available", seconds=round(time.monotonic() - self._since, 3))
            self._notify(True)

    @property
    def available(self) -> bool:
        """Whether the database answers and is writable."""
        return not self._causes

    def subscribe(self, callback: Callable[[bool], None]) -> None:
        """Call back when the database becomes unavailable (False) or available (True). The callback must be quick."""
        with self._lock:
            self._callbacks = (*self._callbacks, callback)

    def _notify(self, available: bool) -> None:
        for callback in self._callbacks:
            callback(available)


def unavailable(error: BaseException) -> Unavailable:
    """Return the error for callers; the driver's error is its cause."""
    result = Unavailable("the database does not answer")
    result.__cause__ = error
    return result


def _first_line(cause: BaseException) -> str:
    """Return the first line of the driver's message; further lines may contain statements and their values."""
    return str(getattr(cause, "orig", None) or cause).partition("\n")[0][:200]
