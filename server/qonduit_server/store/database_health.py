# SPDX-License-Identifier: Apache-2.0
"""Whether the database answers, as far as is known: nobody waits for one that is away, everybody is told."""

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
    """What may be away: the database as a whole, or its taking of changes alone (a full disk, a lock)."""

    DATABASE = "database"
    CHANGES = "changes"


class DatabaseHealth:
    """What the store's threads found out. They try again by themselves, so what is known here is never old."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._away: dict[Part, BaseException] = {}
        self._since = 0.0
        #: Held by the one caller who may try while the database as a whole is away.
        self._trying = threading.Lock()
        self._callbacks: tuple[Callable[[bool], None], ...] = ()
        #: Whether what was tried last was taken, and never answered.
        self.silent = False

    @property
    def complete(self) -> bool:
        """Whether all of it answers."""
        return not self._away

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Around each attempt to reach the database: while it is away, one caller at a time may try.

        Raises:
            Unavailable: it is away, and somebody tries already.
        """
        cause = self._away.get(Part.DATABASE)
        if cause is None:
            yield
        elif self._trying.acquire(blocking=False):
            try:
                yield
            finally:
                self._trying.release()
        else:
            raise unavailable(cause)

    def lost(self, part: Part, cause: BaseException, *, silent: bool = False) -> None:
        """Note that a part was tried and does not answer. Logged when that is news.

        Args:
            silent: it takes connections and says nothing, so that each further attempt would only wait.
        """
        with self._lock:
            self.silent = silent
            news = not self._away
            self._away = {**self._away, part: cause}
            if news:
                self._since = time.monotonic()
        if news:
            _log.error("the database is away", what=part.value, why=_words(cause))
            self._tell(False)

    def found(self, part: Part) -> None:
        """Note that a part was tried and answers."""
        with self._lock:
            self.silent = False
            if part not in self._away:
                return
            self._away = {other: cause for other, cause in self._away.items() if other is not part}
            news = not self._away
        if news:
            _log.warning("the database is back", seconds=round(time.monotonic() - self._since, 3))
            self._tell(True)

    def subscribe(self, callback: Callable[[bool], None]) -> None:
        """Have a callback told whenever the database went away (False) or came back (True). It must be quick."""
        with self._lock:
            self._callbacks = (*self._callbacks, callback)

    def _tell(self, complete: bool) -> None:
        for callback in self._callbacks:
            callback(complete)


def unavailable(error: BaseException) -> Unavailable:
    """Say for callers that the database does not answer; the driver's own words stay the cause."""
    away = Unavailable("the database does not answer")
    away.__cause__ = error
    return away


def _words(cause: BaseException) -> str:
    """Return the first line of what the driver said: the others may hold statements and their values."""
    return str(getattr(cause, "orig", None) or cause).partition("\n")[0][:200]
