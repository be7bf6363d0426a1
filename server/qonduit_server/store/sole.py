# SPDX-License-Identifier: Apache-2.0
"""A SQLite file serves one server at a time: an advisory lock beside it, gone with the process that holds it."""

from __future__ import annotations

import fcntl
from io import FileIO
from pathlib import Path

from qonduit_server.errors import StartError
from qonduit_server.store.engines import parse_url


def hold(url: str) -> FileIO | None:
    """Make this process the only server of a SQLite file; what is returned holds the lock until it is closed.

    Returns None for PostgreSQL, which serves several.

    Raises:
        StartError: another server holds it.
    """
    parsed = parse_url(url)
    if parsed.drivername != "sqlite":
        return None
    assert parsed.database is not None
    path = Path(f"{parsed.database}-server.lock")
    try:
        lock = FileIO(path, "w")
    except OSError as error:
        raise StartError(f"cannot write beside the database: {error}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise StartError(
            f"another server uses {parsed.database}: a SQLite file serves one server, several can share a PostgreSQL"
        ) from error
    return lock
