# SPDX-License-Identifier: Apache-2.0
"""The database: opened once a process, read by any thread, written by one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import Connection

from qonduit_server.store.signals import Signals


def utc_now() -> datetime:
    """Return the time now, in UTC."""
    return datetime.now(UTC)


class Database:
    """An open database. Reads go on in the calling thread; writes go to one thread that commits them in groups."""

    kind: Literal["sqlite", "postgresql"]
    signals: Signals

    def read(self) -> AbstractContextManager[Connection]:
        """Lend a connection to read with. Raises Unavailable when the database does not answer."""
        raise NotImplementedError

    def write(self, operation: Any, argument: Any) -> Any:
        """Run an operation and return its result once it is committed."""
        raise NotImplementedError

    def write_later(self, operation: Any, argument: Any) -> Future[Any]:
        """Queue an operation; the future holds its result once it is committed."""
        raise NotImplementedError

    def close(self) -> None:
        """Finish what was queued and close every connection."""
        raise NotImplementedError


def open_database(url: str, *, clock: Callable[[], datetime] = utc_now) -> Database:
    """Open a database, bringing its schema up to date.

    Args:
        url: sqlite:///FILE or postgresql://...
        clock: tells the time, in UTC.

    Raises:
        StartError: it cannot be reached, or was written by a newer version.
    """
    raise NotImplementedError
