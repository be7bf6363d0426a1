# SPDX-License-Identifier: Apache-2.0
"""Checks of a SQLite database file for the doctor, which opens it read-only."""

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
#: Free space below which the doctor warns, and below which it reports an error.
_LOW_SPACE: Final = 1024 * _MIB
_NO_SPACE: Final = 64 * _MIB
#: SQLite checkpoints a log every few megabytes, except during a very long read transaction.
_LARGE_LOG: Final = 256 * _MIB
#: File systems on which write-ahead logs do not work, because machines do not share memory.
_REMOTE: Final = ("nfs", "cifs", "smb", "9p", "fuse.sshfs", "ceph", "glusterfs")


def open_to_read(path: Path, timeout: float = 2.0) -> Engine:
    """Create an engine that can change neither the file nor its journal mode."""

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            path.absolute().as_uri() + "?mode=ro", uri=True, timeout=timeout, isolation_level=None
        )
        connection.execute("PRAGMA query_only=ON").close()
        return connection

    return create_engine("sqlite://", creator=connect, poolclass=NullPool)


def is_sqlite(path: Path) -> bool:
    """Return whether a file is a SQLite database or empty. Raises OSError if it cannot be read."""
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) in (b"", _MAGIC)


def outside(path: Path) -> Iterator[Finding]:
    """Check permissions, free space, log and file system."""
    # SQLite's log and the server's lock file are beside the file itself, not beside a symbolic link to it.
    path = path.resolve()
    folder = path.parent
    beside = [Path(f"{path}{suffix}") for suffix in ("-wal", "-shm", "-server.lock")]
    for needed in (path, *(each for each in beside if each.exists())):
        if not os.access(needed, os.R_OK | os.W_OK):
            fix = f"Give the server's user access: chown, or chmod u+rw {needed}."
            yield Finding("error", f"this user cannot read and write {needed}", fix)
    if not os.access(folder, os.W_OK | os.X_OK):
        fix = f"The server creates its log and its lock file there: give its user write access to {folder}."
        yield Finding("error", f"{folder} is not writable", fix)
    exposed = [each for each in (path, *beside[:2]) if each.exists() and _is_exposed(each.stat())]
    if exposed:
        fix = f"It contains programs and results: chmod o-rwx {' '.join(map(str, exposed))}"
        yield Finding("warning", "every user of this machine can read the database", fix)
    free = shutil.disk_usage(folder).free
    if free < _LOW_SPACE:
        fix = "Free disk space, or move the database; retention_days deletes old jobs."
        yield Finding("error" if free < _NO_SPACE else "warning", f"only {free // _MIB} MiB are free on its disk", fix)
    log = beside[0].stat().st_size if beside[0].exists() else 0
    if log > _LARGE_LOG:
        fix = "End long reads of the database (a backup, a shell) and restart the server: the log then shrinks."
        yield Finding("warning", f"the write-ahead log has {log // _MIB} MiB", fix)
    if is_remote(folder):
        fix = "Move the file to a local disk: SQLite's log needs shared memory. Several machines can share PostgreSQL."
        yield Finding("error", f"the database is on a network file system ({_file_system(folder)})", fix)
    with path.open("rb") as file:
        header = file.read(20)
    if header and header[18:20] != b"\x02\x02":
        yield Finding("ok", "the database has no write-ahead log (a backup, or never served); the first start adds it")
    used = _is_served(path, beside[2])
    size = path.stat().st_size // _MIB
    yield Finding("ok", f"{size} MiB, {free // _MIB} MiB free" + ("" if used is None else _usage(used)))


def _is_exposed(state: os.stat_result) -> bool:
    """Return whether a file is not empty and every user can read it."""
    return state.st_size > 0 and bool(state.st_mode & stat.S_IROTH)


def _usage(used: bool) -> str:
    return ", a server uses it" if used else ", no server uses it now"


def inside(connection: Connection) -> Iterator[Finding]:
    """Check the structure of the file: pages and indexes."""
    damage = connection.execute(text("PRAGMA quick_check(3)")).scalars().all()
    if damage != ["ok"]:
        fix = "Restore a backup, or recover the readable data: stop the server, then `sqlite3 FILE .recover`."
        yield Finding("error", f"the database file is damaged: {'; '.join(map(str, damage)):.300}", fix)
        return
    yield Finding("ok", "the database file is intact")


def references(connection: Connection) -> Iterator[Finding]:
    """Check for rows that refer to missing rows."""
    lost = text('SELECT "table", parent, count(*) FROM pragma_foreign_key_check GROUP BY 1, 2')
    for table, parent, count in connection.execute(lost).all():
        fix = "A program other than the server changed the database: restore a backup."
        yield Finding("error", f"{count} {table} refer to missing {parent}", fix)


def unused_pages(connection: Connection) -> Iterator[Finding]:
    """Report unused pages of the file."""
    pages, unused, size = (
        int(connection.execute(text(f"PRAGMA {name}")).scalar_one())
        for name in ("page_count", "freelist_count", "page_size")
    )
    if unused * size > _LOW_SPACE and unused * 2 > pages:
        fix = "New jobs reuse them. To shrink the file: stop the server, then `sqlite3 FILE VACUUM`."
        yield Finding("ok", f"{unused * size // _MIB} MiB of the database file are unused", fix)


def is_remote(folder: Path) -> bool:
    """Return whether a folder is on a network file system."""
    return _file_system(folder).startswith(_REMOTE)


def _file_system(folder: Path) -> str:
    """Return the file system type of a folder from /proc/mounts; empty if there is no such file."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return ""
    real = str(folder.resolve())
    above = [(len(one[1]), one[2]) for one in mounts if (real + "/").startswith(one[1].rstrip("/") + "/")]
    return max(above, default=(0, ""))[1]


def _is_served(*locked: Path) -> bool | None:
    """Return whether a process holds a server's lock, from /proc/locks; None if that cannot be read."""
    try:
        locks = Path("/proc/locks").read_text().splitlines()
        inodes = {str(path.stat().st_ino) for path in locked if path.exists()}
    except OSError:
        return None
    return any(" FLOCK " in line and line.split()[5].rpartition(":")[2] in inodes for line in locks)
