# SPDX-License-Identifier: Apache-2.0
"""Looks for what is wrong with a database, changing nothing and harming no server that uses it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, text
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.schema import CreateIndex

from qonduit_server.errors import StartError
from qonduit_server.store import migrations
from qonduit_server.store.admin import consistency, database_file, postgresql_server
from qonduit_server.store.admin.finding import Finding
from qonduit_server.store.database import utc_now
from qonduit_server.store.engines import make_engine, parse_url
from qonduit_server.store.schema import metadata

__all__ = ["Finding", "inspect"]

#: How long one look may take, unless it is to be a deep one.
_PATIENCE_SECONDS: Final = 4.0
#: After how many of its instructions SQLite asks whether it is to go on.
_INSTRUCTIONS: Final = 10_000
#: PostgreSQL's code for a statement that took too long.
_CANCELED: Final = "57014"
_RESTORE: Final = "Something else than a server changed the schema: restore a backup."


def inspect(url: str, *, deep: bool = False, calls: int = 24, patience: float = _PATIENCE_SECONDS) -> list[Finding]:
    """Look at a database: whether it answers, its file or server, its schema, and whether its rows agree.

    Args:
        url: sqlite:///FILE or postgresql://...
        deep: look at every row, however long it takes. Otherwise at the latest ones, and never long at anything.
        calls: how many calls a server answers at once.
        patience: how many seconds one look may take, unless deep.
    """
    try:
        parsed = parse_url(url)
    except StartError as error:
        return [Finding("error", str(error), "Mend QONDUIT_DATABASE.")]
    where = parsed.render_as_string(hide_password=True)
    found: list[Finding] = []
    if parsed.drivername == "sqlite":
        path = Path(parsed.database or "")
        if not path.exists():
            return [_missing(path, where)]
        try:
            if not database_file.is_sqlite(path):
                return [
                    Finding("error", f"{path} is not a SQLite database", "Mend QONDUIT_DATABASE, or restore a backup.")
                ]
            found += database_file.outside(path)
        except OSError as error:
            return [Finding("error", f"{path} cannot be read: {error.strerror}", "Give it to the user who serves.")]
        engine = database_file.open_to_read(path)
    else:
        engine = make_engine(parsed)
    try:
        with engine.connect() as connection:
            found.insert(0, Finding("ok", f"{where} answers"))
            found += _look(connection, parsed, deep=deep, calls=calls, patience=patience)
    except SQLAlchemyError as error:
        said = str(error).splitlines()[0]
        mend = "Correct QONDUIT_DATABASE, or start the database; its log may contain the cause."
        found = [each for each in found if not each.what.endswith(" answers")]
        found.append(Finding("error", f"the database {where} cannot be used: {said}", mend))
    finally:
        engine.dispose()
    return found


def _missing(path: Path, where: str) -> Finding:
    if not path.absolute().parent.is_dir():
        mend = "Create the folder, or correct QONDUIT_DATABASE."
        return Finding("error", f"there is no folder {path.absolute().parent} for {where}", mend)
    return Finding("ok", f"{where} does not exist yet: the first start makes it")


def _look(connection: Connection, url: URL, *, deep: bool, calls: int, patience: float) -> Iterator[Finding]:
    is_file = url.drivername == "sqlite"
    limited = _Limited(connection, None if deep else patience)
    if is_file:
        yield from limited("the structure of the file", lambda: database_file.inside(connection))
    else:
        connection.execute(text("SET default_transaction_read_only = on"))
        yield from limited("the settings", lambda: postgresql_server.settings(connection, calls))
        yield from limited("the clock", lambda: postgresql_server.clock(connection))
    revision = migrations.revision_of(connection)
    if revision is None:
        yield Finding("warning", "it has no tables yet", "Run `qonduit migrate`, or start a server.")
        return
    if revision != migrations.HEAD:
        mend = "Run `qonduit migrate`, or start a server; if it is newer than this version, install that one."
        yield Finding("error", f"its schema is at {revision}, not at {migrations.HEAD}", mend)
        return
    drift = list(limited("the schema", lambda: _drift(connection)))
    yield from drift or [Finding("ok", f"its schema is that of revision {revision}")]
    if any(finding.level == "error" for finding in drift):
        return
    if is_file:
        yield from limited("references", lambda: database_file.references(connection))
        yield from limited("unused pages", lambda: database_file.unused_pages(connection))
    else:
        yield from limited("rights", lambda: postgresql_server.rights(connection))
    now = int(utc_now().timestamp() * 1_000_000)
    for name, check in consistency.CHECKS.items():
        yield from limited(name, lambda check=check: check(connection, deep, now))  # type: ignore[misc]
    if not deep:
        most = f"{consistency.SAMPLE:,}"
        yield Finding("ok", f"of jobs and results the latest {most} were looked at; --deep looks at all")


def _drift(connection: Connection) -> Iterator[Finding]:
    """Compare tables, columns and indexes with what this version makes."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    for change in compare_metadata(MigrationContext.configure(connection), metadata):
        # Changes of a column come as a list.
        step: Any = change[0] if isinstance(change, list) else change
        action, subject = str(step[0]), step[-1]
        name = getattr(subject, "name", None) or " ".join(str(part) for part in step[1:4] if part)
        kind = action.partition("_")[2]
        if action == "add_index":
            mend = f"{CreateIndex(subject).compile(dialect=connection.dialect)}".strip().replace("\n", " ") + ";"
            yield Finding("error", f"the index {name} is missing: queries read whole tables", mend)
        elif action.startswith("add_"):
            yield Finding("error", f"the {kind} {name} is missing", _RESTORE)
        elif action.startswith("remove_"):
            yield Finding("warning", f"the {kind} {name} is not of this version", "Nothing uses it: it may be dropped.")
        else:
            yield Finding("error", f"{action}: {name} differs", _RESTORE)


class _Limited:
    """Looks at one thing after the other, at none for too long."""

    def __init__(self, connection: Connection, seconds: float | None) -> None:
        self._connection = connection
        self._seconds = seconds

    def __call__(self, what: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
        """Yield what a look finds; that it was broken off, if it was."""
        found: list[Finding] = []
        try:
            with self._limit():
                found.extend(look())
        except DBAPIError as error:
            if not _is_limit(error):
                raise
            mend = "`qonduit doctor --deep` has no time limit."
            found.append(Finding("ok", f"{what}: not looked at to the end, because it takes too long", mend))
        yield from found

    @contextmanager
    def _limit(self) -> Iterator[None]:
        if self._connection.dialect.name == "postgresql":
            milliseconds = int((self._seconds or 0) * 1000)
            self._connection.execute(text(f"SET statement_timeout = {milliseconds}"))
            yield
            return
        raw = self._connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        if self._seconds is not None:
            end = time.monotonic() + self._seconds
            raw.set_progress_handler(lambda: int(time.monotonic() > end), _INSTRUCTIONS)
        try:
            yield
        finally:
            raw.set_progress_handler(None, 0)


def _is_limit(error: DBAPIError) -> bool:
    if isinstance(error.orig, sqlite3.OperationalError):
        return isinstance(error, OperationalError) and "interrupted" in str(error.orig)
    return getattr(error.orig, "sqlstate", None) == _CANCELED
