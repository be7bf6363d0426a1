# SPDX-License-Identifier: Apache-2.0
"""Copies a SQLite database while a server uses it: what was acknowledged when the copy began is in the copy."""

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

#: Pages (of 4 KiB) between two looks at whether somebody wants to know, or wants to stop.
_STEP_PAGES: Final = 1024


def copy(url: str, target: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> int:
    """Copy a database into a new file, which is whole and checked when it appears under its name.

    The copy is of one moment: a read transaction holds it still, which keeps no writer waiting, since what is written
    meanwhile goes to the write-ahead log. That grows until the copy is made.

    Args:
        url: sqlite:///FILE.
        target: where to; must not exist.
        progress: told how many pages of how many are copied.

    Returns:
        The size of the copy in bytes.

    Raises:
        StartError: not a SQLite database, or it cannot be read, or the target exists or cannot be written.
    """
    parsed = parse_url(url)
    if parsed.drivername != "sqlite":
        raise StartError(
            "PostgreSQL brings its own: pg_dump --format=custom --file=FILE --dbname=URL; "
            "pg_restore --dbname=URL FILE restores it into an empty database"
        )
    source = Path(parsed.database or "").absolute()
    if not source.is_file():
        raise StartError(f"there is no database {source}")
    if os.path.lexists(target):
        raise StartError(f"{target} exists already: it is not overwritten. Give another name, or remove it.")
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".partial", dir=target.absolute().parent)
    except OSError as error:
        raise StartError(f"cannot write beside {target}: {error.strerror}") from error
    os.close(descriptor)
    partial = Path(name)
    try:
        _copy(source, partial, progress)
        _sync(partial)
        _appear(partial, target)
        _sync(target.absolute().parent)
        return target.stat().st_size
    except (sqlite3.Error, OSError) as error:
        raise StartError(f"the backup failed: {error}; {target} was not made") from error
    finally:
        for leftover in (partial, Path(f"{name}-journal"), Path(f"{name}-wal"), Path(f"{name}-shm")):
            with suppress(FileNotFoundError):
                leftover.unlink()


def _copy(source: Path, partial: Path, progress: Callable[[int, int], None]) -> None:
    with (
        closing(sqlite3.connect(source.as_uri() + "?mode=ro", uri=True, timeout=30, isolation_level=None)) as reading,
        closing(sqlite3.connect(partial, isolation_level=None)) as writing,
    ):
        # Held for all steps: without it the copy would begin anew whenever the server commits.
        reading.execute("BEGIN")
        reading.execute("SELECT count(*) FROM sqlite_master").fetchone()
        reading.backup(
            writing,
            pages=_STEP_PAGES,
            progress=lambda _, remaining, total: progress(total - remaining, total),
            sleep=0.001,
        )
        reading.execute("ROLLBACK")
        # One file, without a log beside it; whoever opens it switches back.
        writing.execute("PRAGMA journal_mode=DELETE")
        if (damage := writing.execute("PRAGMA integrity_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(f"the copy is damaged, and so is the database, very likely: {damage}")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _appear(partial: Path, target: Path) -> None:
    """Give a file its name, at once, unless somebody else took the name meanwhile."""
    try:
        os.link(partial, target)
    except FileExistsError:
        raise
    except OSError:
        # A file system without links.
        if os.path.lexists(target):
            raise FileExistsError(f"{target} exists") from None
        partial.rename(target)
