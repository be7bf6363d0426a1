# SPDX-License-Identifier: Apache-2.0
"""The file of a SQLite database, seen from outside: for the doctor, who opens it only to read."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, NullPool, create_engine, text

from qonduit_server.store.admin.finding import Finding

_MAGIC: Final = b"SQLite format 3\0"
_MIB: Final = 1024**2
#: Below this a disk is about to be full; below that nothing can be written any more.
_LITTLE_ROOM: Final = 1024 * _MIB
_NO_ROOM: Final = 64 * _MIB
#: A log is folded into the file every few megabytes, unless somebody reads for very long.
_LARGE_LOG: Final = 256 * _MIB
#: Where write-ahead logs do not work, since machines do not share memory.
_REMOTE: Final = ("nfs", "cifs", "smb", "9p", "fuse.sshfs", "ceph", "glusterfs")


def open_to_read(path: Path, patience: float = 2.0) -> Engine:
    """Make an engine that cannot change the file, nor the mode of its log."""

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            path.absolute().as_uri() + "?mode=ro", uri=True, timeout=patience, isolation_level=None
        )
        connection.execute("PRAGMA query_only=ON").close()
        return connection

    return create_engine("sqlite://", creator=connect, poolclass=NullPool)


def is_sqlite(path: Path) -> bool:
    """Whether a file is a SQLite database, or empty, which is as good as none. Raises OSError if it cannot be read."""
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) in (b"", _MAGIC)


def outside(path: Path) -> Iterator[Finding]:
    """Look at permissions, room, log and file system."""
    # SQLite's log and the server's lock lie beside the file itself, not beside a symbolic link that leads to it.
    path = path.resolve()
    folder = path.parent
    beside = [Path(f"{path}{suffix}") for suffix in ("-wal", "-shm", "-server.lock")]
    for needed in (path, *(each for each in beside if each.exists())):
        if not os.access(needed, os.R_OK | os.W_OK):
            mend = f"Give it to the user who serves: chown, or chmod u+rw {needed}."
            yield Finding("error", f"{needed} cannot be read and written by this user", mend)
    if not os.access(folder, os.W_OK | os.X_OK):
        mend = f"The log and the lock lie beside the file: let the user who serves write to {folder}."
        yield Finding("error", f"nothing can be written to {folder}", mend)
    exposed = [each for each in (path, *beside[:2]) if each.exists() and _is_exposed(each.stat())]
    if exposed:
        mend = f"Programs and results are in it: chmod o-rwx {' '.join(map(str, exposed))}"
        yield Finding("warning", "every user of this machine can read it", mend)
    free = shutil.disk_usage(folder).free
    if free < _LITTLE_ROOM:
        mend = "Make room, or move the database; retention_days deletes what is old."
        yield Finding("error" if free < _NO_ROOM else "warning", f"only {free // _MIB} MiB are free on its disk", mend)
    log = beside[0].stat().st_size if beside[0].exists() else 0
    if log > _LARGE_LOG:
        mend = (
            "Somebody reads it for very long (a backup, a shell): the log shrinks when that ends and a server restarts."
        )
        yield Finding("warning", f"its write-ahead log has {log // _MIB} MiB", mend)
    if is_remote(folder):
        mend = "Put the file on a local disk: write-ahead needs shared memory. Several machines can share a PostgreSQL."
        yield Finding("error", f"it lies on a file system of other machines ({_file_system(folder)})", mend)
    with path.open("rb") as file:
        header = file.read(20)
    if header and header[18:20] != b"\x02\x02":
        yield Finding("ok", "it has no write-ahead log now (a backup, or never served): the first start switches to it")
    used = _is_served(path, beside[2])
    size = path.stat().st_size // _MIB
    yield Finding("ok", f"{size} MiB, {free // _MIB} MiB free" + ("" if used is None else _served(used)))


def _is_exposed(state: os.stat_result) -> bool:
    """Whether a file has something to read, and every user may."""
    return state.st_size > 0 and bool(state.st_mode & stat.S_IROTH)


def _served(used: bool) -> str:
    return ", a server uses it" if used else ", no server uses it now"


def inside(connection: Connection) -> Iterator[Finding]:
    """Look at the structure of the file: pages, indexes, what refers to what."""
    damage = connection.execute(text("PRAGMA quick_check(3)")).scalars().all()
    if damage != ["ok"]:
        mend = "Restore a backup, or save what can be read: stop the server, then `sqlite3 FILE .recover`."
        yield Finding("error", f"its file is damaged: {'; '.join(map(str, damage)):.300}", mend)
        return
    yield Finding("ok", "its file is sound")


def references(connection: Connection) -> Iterator[Finding]:
    """Look for rows that refer to what is not there."""
    lost = text('SELECT "table", parent, count(*) FROM pragma_foreign_key_check GROUP BY 1, 2')
    for table, parent, count in connection.execute(lost).all():
        mend = "Something else than a server changed the database: restore a backup."
        yield Finding("error", f"{count} {table} refer to {parent} that are not there", mend)


def unused_pages(connection: Connection) -> Iterator[Finding]:
    """Look at what a smaller file would save."""
    pages, unused, size = (
        int(connection.execute(text(f"PRAGMA {name}")).scalar_one())
        for name in ("page_count", "freelist_count", "page_size")
    )
    if unused * size > _LITTLE_ROOM and unused * 2 > pages:
        mend = "It is used again for new jobs. To give it back: stop the server, then `sqlite3 FILE VACUUM`."
        yield Finding("ok", f"{unused * size // _MIB} MiB of its file are unused", mend)


def is_remote(folder: Path) -> bool:
    """Whether a folder is on a file system that other machines share."""
    return _file_system(folder).startswith(_REMOTE)


def _file_system(folder: Path) -> str:
    """Return the kind of file system a folder is on, as /proc/mounts names it; empty if there is no such list."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return ""
    real = str(folder.resolve())
    above = [(len(one[1]), one[2]) for one in mounts if (real + "/").startswith(one[1].rstrip("/") + "/")]
    return max(above, default=(0, ""))[1]


def _is_served(*locked: Path) -> bool | None:
    """Return whether a process holds a lock of a server, without touching it; None where that cannot be seen."""
    try:
        locks = Path("/proc/locks").read_text().splitlines()
        inodes = {str(path.stat().st_ino) for path in locked if path.exists()}
    except OSError:
        return None
    return any(" FLOCK " in line and line.split()[5].rpartition(":")[2] in inodes for line in locks)
