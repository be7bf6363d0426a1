# SPDX-License-Identifier: Apache-2.0
"""Check a database without changes, and without effect on servers that use it."""

from __future__ import annotations

import sqlite3
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Column, Connection, Index, text
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.schema import CreateIndex

from qonduit_server.errors import StartError
from qonduit_server.store import migrations
from qonduit_server.store.admin import consistency, database_file, postgresql_server
from qonduit_server.store.admin.finding import Finding
from qonduit_server.store.database import utc_now
from qonduit_server.store.database_clock import DatabaseClock
from qonduit_server.store.engines import make_engine, parse_url
from qonduit_server.store.migrations import compatibility
from qonduit_server.store.migrations.compatibility import Fit
from qonduit_server.store.schema import metadata

__all__ = ["Finding", "inspect"]

#: Time limit of one check, unless deep.
_CHECK_SECONDS: Final = 4.0
#: Number of SQLite instructions between two calls of the progress handler.
_INSTRUCTIONS: Final = 10_000
#: PostgreSQL's code for a statement that exceeds its time limit.
_CANCELED: Final = "57014"
_RESTORE: Final = "A program other than the server changed the schema: restore a backup."


def inspect(url: str, *, deep: bool = False, calls: int = 24, check_seconds: float = _CHECK_SECONDS) -> list[Finding]:
    """Check a database: its availability, file or server, schema, and the consistency of its rows.

    Args:
        url: sqlite:///FILE or postgresql://...
        deep: check every row without a time limit; otherwise check the latest rows with a time limit.
        calls: the number of calls that a server handles at once.
        check_seconds: the time limit of one check in seconds, unless deep.
    """
    try:
        parsed = parse_url(url)
    except StartError as error:
        return [Finding("error", str(error), "Correct QONDUIT_DATABASE.")]
    where = parsed.render_as_string(hide_password=True)
    found: list[Finding] = []
    if parsed.drivername == "sqlite":
        path = Path(parsed.database or "")
        if not path.exists():
            return [_missing(path, where)]
        try:
            if not database_file.is_sqlite(path):
                return [Finding("error", f"{path} is not a SQLite database", "Correct QONDUIT_DATABASE.")]
            found += database_file.outside(path)
        except OSError as error:
            return [Finding("error", f"{path} cannot be read: {error.strerror}", "Give the server's user access.")]
        engine = database_file.open_to_read(path)
    else:
        engine = make_engine(parsed)
    try:
        with engine.connect() as connection:
            found.insert(0, Finding("ok", f"{where} answers"))
            found += _inspect(connection, parsed, deep=deep, calls=calls, check_seconds=check_seconds)
    except (SQLAlchemyError, UnicodeDecodeError) as error:
        # SQLite's messages quote names of a damaged file, which may be no text.
        message = "its names are damaged" if isinstance(error, UnicodeDecodeError) else str(error).splitlines()[0]
        fix = "Correct QONDUIT_DATABASE, or start the database; its log may contain the cause."
        found = [each for each in found if not each.what.endswith(" answers")]
        found.append(Finding("error", f"the database {where} cannot be used: {message}", fix))
    finally:
        engine.dispose()
    return found


def _missing(path: Path, where: str) -> Finding:
    if not path.absolute().parent.is_dir():
        fix = "Create the folder, or correct QONDUIT_DATABASE."
        return Finding("error", f"the folder {path.absolute().parent} of {where} does not exist", fix)
    return Finding("ok", f"{where} does not exist yet; the first start creates it")


def _inspect(connection: Connection, url: URL, *, deep: bool, calls: int, check_seconds: float) -> Iterator[Finding]:
    is_file = url.drivername == "sqlite"
    limited = _Limited(connection, None if deep else check_seconds)
    if is_file:
        yield from limited("the structure of the file", lambda: database_file.inside(connection))
        schema = compatibility.read(connection)
    else:
        connection.execute(text("SET default_transaction_read_only = on"))
        # Before the statements of this session have a time limit.
        schema = compatibility.read(connection)
        yield from limited("the settings", lambda: postgresql_server.settings(connection, calls))
        yield from limited("the clock", lambda: postgresql_server.clock(connection))
    fit = schema.fit(migrations.HEAD)
    if fit is Fit.EMPTY:
        yield Finding("warning", "the database has no tables yet", "Run `qonduit migrate`, or start a server.")
        return
    if fit in (Fit.OLDER, Fit.INCOMPATIBLE):
        fix = "Run `qonduit migrate`, or start a server; if it is newer than this version, install that one."
        yield Finding("error", f"the schema is at revision {schema.revision}, not at {migrations.HEAD}", fix)
        return
    if fit is Fit.COMPATIBLE:
        what = f"the schema is at revision {schema.revision}; this version has {migrations.HEAD}, which may use it"
        yield Finding("ok", what, "Install the newer version on each server.")
    else:
        drift = list(limited("the schema", lambda: _drift(connection)))
        yield from drift or [Finding("ok", f"the schema is that of revision {schema.revision}")]
        if any(finding.level == "error" for finding in drift):
            return
    if is_file:
        yield from limited("references", lambda: database_file.references(connection))
        yield from limited("unused pages", lambda: database_file.unused_pages(connection))
    else:
        yield from limited("privileges", lambda: postgresql_server.privileges(connection))
    moment = utc_now() if is_file else DatabaseClock(connection.engine)()
    now = int(moment.timestamp() * 1_000_000)
    for name, check in consistency.CHECKS.items():
        yield from limited(name, lambda check=check: check(connection, deep, now))  # type: ignore[misc]
    if not deep:
        most = f"{consistency.SAMPLE:,}"
        yield Finding("ok", f"only the latest {most} jobs and results were checked; --deep checks all")


def _drift(connection: Connection) -> Iterator[Finding]:
    """Compare tables, columns and indexes with the schema of this version."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with warnings.catch_warnings():
        # Indexes on expressions are compared below.
        warnings.simplefilter("ignore")
        changes = compare_metadata(MigrationContext.configure(connection), metadata)
    for change in [*changes, *(("add_index", index) for index in _missing_expressions(connection))]:
        # Changes of a column are in a list.
        step: Any = change[0] if isinstance(change, list) else change
        action, subject = str(step[0]), step[-1]
        name = getattr(subject, "name", None) or " ".join(str(part) for part in step[1:4] if part)
        kind = action.partition("_")[2]
        if action == "add_index":
            fix = f"{CreateIndex(subject).compile(dialect=connection.dialect)}".strip().replace("\n", " ") + ";"
            yield Finding("error", f"the index {name} is missing: queries scan whole tables", fix)
        elif action.startswith("add_"):
            yield Finding("error", f"the {kind} {name} is missing", _RESTORE)
        elif action.startswith("remove_"):
            yield Finding("warning", f"the {kind} {name} is not part of this version", "It is unused: drop it.")
        else:
            yield Finding("error", f"{action}: {name} differs", _RESTORE)


def _missing_expressions(connection: Connection) -> Iterator[Index]:
    """Yield the missing indexes on expressions of a SQLite database, which `compare_metadata` does not find there."""
    if connection.dialect.name == "sqlite":
        present = set(connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'index'")).scalars())
        for index in (index for table in metadata.sorted_tables for index in table.indexes):
            if index.name not in present and not all(isinstance(each, Column) for each in index.expressions):
                yield index


class _Limited:
    """Runs checks with a time limit for each."""

    def __init__(self, connection: Connection, seconds: float | None) -> None:
        self._connection = connection
        self._seconds = seconds

    def __call__(self, what: str, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
        """Yield the findings of a check, and whether it exceeded its time limit."""
        found: list[Finding] = []
        try:
            with self._limit():
                found.extend(check())
        except DBAPIError as error:
            if not _is_limit(error):
                raise
            fix = "`qonduit doctor --deep` has no time limit."
            found.append(Finding("ok", f"{what}: check stopped at its time limit", fix))
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
