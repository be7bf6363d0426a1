# SPDX-License-Identifier: Apache-2.0
"""Advisory locks that limit a SQLite file to one server; they end with the process that holds them.

There are two locks, because a file can have several names, and a name can refer to several files over time:

- one on the database file itself, under any name (a symbolic link, a hard link, another mount), and
- one on a lock file beside it, which holds if the database is replaced, and which servers of earlier versions respect.

The first uses flock, which is independent of SQLite's fcntl locks. But closing any descriptor of a file releases all
fcntl locks of the process on it. So the descriptor is opened once, is not inherited, and is closed after SQLite's last
connection.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys
from pathlib import Path
from typing import Final

from qonduit_server.errors import StartError
from qonduit_server.store.admin.database_file import is_remote
from qonduit_server.store.engines import parse_url

#: Access for the owner only. SQLite uses the mode of the database for its log and its shared memory.
_MODE: Final = 0o600
#: Open no symbolic link, do not truncate, do not block: other users may have write access to the folder.
_FLAGS: Final = os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class ServerLock:
    """The locks of a server on its SQLite file. Without `close`, they are held until the process ends."""

    def __init__(self, descriptors: list[int]) -> None:
        self._descriptors = descriptors

    def close(self) -> None:
        """Release the locks. No connection to the database may be open in this process."""
        while self._descriptors:
            os.close(self._descriptors.pop())


def acquire(url: str) -> ServerLock | None:
    """Lock a SQLite file for this process, and create it if it does not exist.

    Call it before the first connection to the file. Returns None for PostgreSQL, which several servers can share.

    Raises:
        StartError: another server holds the lock, or the file cannot be locked.
    """
    parsed = parse_url(url)
    if parsed.drivername != "sqlite":
        return None
    assert parsed.database is not None
    database = Path(os.path.realpath(parsed.database))
    # The lock file comes first: a server that fails here has not opened the database file.
    descriptors = [_lock(Path(f"{database}-server.lock"), parsed.database)]
    if _locks_are_independent(database):
        try:
            descriptors.append(_lock(database, parsed.database))
        except StartError:
            os.close(descriptors[0])
            raise
    return ServerLock(descriptors)


def _lock(path: Path, database: str) -> int:
    try:
        descriptor = os.open(path, _FLAGS, _MODE)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise StartError(f"the lock file {path} must not be a symbolic link: remove it") from error
        raise StartError(f"cannot open the lock file {path}: {error.strerror}") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise StartError(f"the lock file {path} is not a regular file")
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise StartError(
            f"another server uses {database}: a SQLite file serves one server; several can share a PostgreSQL database"
        ) from error
    except OSError as error:
        os.close(descriptor)
        raise StartError(f"cannot lock {path}: {error.strerror}") from error
    except StartError:
        os.close(descriptor)
        raise
    return descriptor


def _locks_are_independent(database: Path) -> bool:
    """Return whether flock is independent of SQLite's fcntl locks: on local file systems of Linux.

    Elsewhere flock would block SQLite itself, so only the lock file is used.
    """
    return sys.platform.startswith("linux") and not is_remote(database.parent)
