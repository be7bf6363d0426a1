# SPDX-License-Identifier: Apache-2.0
"""A SQLite file serves one server at a time: advisory locks that end with the process that holds them.

Two locks, since a file has several names and a name may lead to several files over time:

- one of the database file itself, whatever name leads to it (a symbolic link, a hard link, another mount), and
- one of a lock file beside it, which holds if the database is replaced, and which servers of earlier versions respect.

The first is taken with flock, which does not meet SQLite's own locks (fcntl). But closing any descriptor of a file ends
all fcntl locks that its process has on it. So the descriptor is opened once, is given to no child, and is closed after
SQLite's last connection.
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

#: For its owner alone. SQLite gives its log and its shared memory the mode of the database.
_MODE: Final = 0o600
#: Opened files are not followed, emptied or waited for: in a folder that others may write to, a name may be a trap.
_FLAGS: Final = os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class ServerLock:
    """The locks of a server on its SQLite file. Without `close`, they are held until the process ends."""

    def __init__(self, descriptors: list[int]) -> None:
        self._descriptors = descriptors

    def close(self) -> None:
        """Release the locks. No connection to the database may be open in this process."""
        while self._descriptors:
            os.close(self._descriptors.pop())


def hold(url: str) -> ServerLock | None:
    """Make this process the only server of a SQLite file, which is created if it does not exist.

    Call it before the first connection to the file. Returns None for PostgreSQL, which serves several.

    Raises:
        StartError: another server holds it, or it cannot be locked.
    """
    parsed = parse_url(url)
    if parsed.drivername != "sqlite":
        return None
    assert parsed.database is not None
    database = Path(os.path.realpath(parsed.database))
    # The lock file comes first: a server that is refused here has not opened the database file.
    descriptors = [_lock(Path(f"{database}-server.lock"), parsed.database)]
    if _locks_are_apart(database):
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
            raise StartError(f"{path} is a symbolic link, which may lead anywhere: remove it") from error
        raise StartError(f"cannot open {path}, with which the server locks its database: {error.strerror}") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise StartError(f"{path} is not a regular file")
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


def _locks_are_apart(database: Path) -> bool:
    """Whether flock and SQLite's fcntl locks do not meet on this file: on local file systems of Linux.

    Elsewhere flock would lock SQLite itself out, so there the lock file has to do.
    """
    return sys.platform.startswith("linux") and not is_remote(database.parent)
