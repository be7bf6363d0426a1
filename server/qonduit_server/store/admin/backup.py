# SPDX-License-Identifier: Apache-2.0
"""Copy a SQLite database while a server uses it; the copy contains everything acknowledged before it began."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from qonduit_server.errors import StartError
from qonduit_server.store.engines import parse_url

#: Pages (of 4 KiB) per step; progress is reported, and an interrupt handled, between steps.
_STEP_PAGES: Final = 1024


def copy(url: str, target: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> int:
    """Copy a database to a new file, which gets its name when it is complete and checked.

    The copy is a snapshot, taken in a read transaction. Writers do not wait: they append to the write-ahead log, which
    grows until the copy is complete.

    Args:
        url: sqlite:///FILE.
        target: the new file; must not exist.
        progress: called with the number of copied pages and the total.

    Returns:
        The size of the copy in bytes.

    Raises:
        StartError: the database is not SQLite or cannot be read, or the target exists or cannot be written.
    """
    parsed = parse_url(url)
    if parsed.drivername != "sqlite":
        raise StartError(
            "use pg_dump for PostgreSQL: pg_dump --format=custom --file=FILE --dbname=URL; "
            "pg_restore --dbname=URL FILE restores it into an empty database"
        )
    source = Path(parsed.database or "").absolute()
    if not source.is_file():
        raise StartError(f"there is no database {source}")
    if os.path.lexists(target):
        raise StartError(f"{target} exists already and is not overwritten: use another name, or remove it")
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".partial", dir=target.absolute().parent)
    except OSError as error:
        raise StartError(f"cannot write beside {target}: {error.strerror}") from error
    os.close(descriptor)
    partial = Path(name)
    try:
        _copy(source, partial, progress)
        _sync(partial)
        _publish(partial, target)
        _sync(target.absolute().parent)
        return target.stat().st_size
    except (sqlite3.Error, OSError) as error:
        raise StartError(f"the backup failed: {error}; {target} was not created") from error
    finally:
        for leftover in (partial, Path(f"{name}-journal"), Path(f"{name}-wal"), Path(f"{name}-shm")):
            with suppress(FileNotFoundError):
                leftover.unlink()


def _copy(source: Path, partial: Path, progress: Callable[[int, int], None]) -> None:
    with (
        closing(sqlite3.connect(source.as_uri() + "?mode=ro", uri=True, timeout=30, isolation_level=None)) as reading,
        closing(sqlite3.connect(partial, isolation_level=None)) as writing,
    ):
        # Held for all steps: without it, the copy would restart at each commit of the server.
        reading.execute("BEGIN")
        reading.execute("SELECT count(*) FROM sqlite_master").fetchone()
        reading.backup(
            writing,
            pages=_STEP_PAGES,
            progress=lambda _, remaining, total: progress(total - remaining, total),
            sleep=0.001,
        )
        reading.execute("ROLLBACK")
        _mark(writing)
        # A single file without a log; the server switches back to the log when it opens the file.
        writing.execute("PRAGMA journal_mode=DELETE")
        if (damage := writing.execute("PRAGMA integrity_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(f"the copy is damaged, and probably the database as well: {damage}")


def _mark(copy: sqlite3.Connection) -> None:
    """State in the copy that it is one, so that a server begins a new log in it; older schemas cannot state it."""
    columns = copy.execute("SELECT name FROM pragma_table_info('database_state')").fetchall()
    if ("is_copy",) in columns:
        copy.execute("UPDATE database_state SET is_copy = 1")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _publish(partial: Path, target: Path) -> None:
    """Rename a file atomically, unless the target exists by now."""
    try:
        os.link(partial, target)
    except FileExistsError:
        raise
    except OSError:
        # The file system does not support hard links.
        if os.path.lexists(target):
            raise FileExistsError(f"{target} exists") from None
        partial.rename(target)
