# SPDX-License-Identifier: Apache-2.0
"""Looks for what is wrong with a database, changing nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from sqlalchemy import Connection, func, select, text
from sqlalchemy.exc import SQLAlchemyError

from qonduit_server.errors import StartError
from qonduit_server.store import migrations
from qonduit_server.store.database import utc_now
from qonduit_server.store.engines import make_engine, parse_url
from qonduit_server.store.schema import IS_LEASED, IS_QUEUED, devices, jobs

#: A lease that ran out this long ago was not taken back by any server, although each looks every few seconds.
_STUCK_MICROSECONDS: Final = 60 * 1_000_000


@dataclass(frozen=True)
class Finding:
    """Something that was looked at, how it is, and what to do about it."""

    level: Literal["ok", "warning", "error"]
    what: str
    how_to_mend: str = ""


def inspect(url: str) -> list[Finding]:
    """Look at a database: whether it answers, its schema, its integrity, jobs that nobody runs."""
    try:
        parsed = parse_url(url)
        where = parsed.render_as_string(hide_password=True)
        if parsed.drivername == "sqlite" and not Path(parsed.database or "").exists():
            return [Finding("ok", f"{where} does not exist yet: the first start makes it")]
        revision = migrations.current(url)
    except StartError as error:
        return [Finding("error", str(error), "Mend QONDUIT_DATABASE, or start the database.")]
    found = [Finding("ok", f"{where} answers")]
    if revision is None:
        return [*found, Finding("warning", "it has no tables yet", "Run `python -m qonduit_server migrate`.")]
    if revision != migrations.HEAD:
        mend = "Run `python -m qonduit_server migrate`, or, if it is newer than this version, install that one."
        return [*found, Finding("error", f"its schema is at {revision}, not at {migrations.HEAD}", mend)]
    found.append(Finding("ok", f"its schema is at {revision}"))
    engine = make_engine(parsed)
    try:
        with engine.connect() as connection:
            found += _sqlite(connection) if engine.dialect.name == "sqlite" else _postgresql(connection)
            found += _jobs(connection)
    except SQLAlchemyError as error:
        found.append(Finding("error", f"it stopped to answer: {str(error).splitlines()[0]}", "Look into its log."))
    finally:
        engine.dispose()
    return found


def _sqlite(connection: Connection) -> Iterator[Finding]:
    mode = connection.execute(text("PRAGMA journal_mode")).scalar_one()
    if mode != "wal":
        yield Finding(
            "error",
            f"its journal mode is {mode}, not wal",
            "Put the file on a local disk: write-ahead needs shared memory.",
        )
    damage = connection.execute(text("PRAGMA quick_check(1)")).scalar_one()
    if damage == "ok":
        yield Finding("ok", "its file is sound")
    else:
        yield Finding(
            "error", f"its file is damaged: {damage}", "Restore a backup, or save what can be read with `.recover`."
        )


def _postgresql(connection: Connection) -> Iterator[Finding]:
    encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
    if encoding != "UTF8":
        yield Finding(
            "error", f"its encoding is {encoding}, not UTF8", "Make it anew: CREATE DATABASE ... ENCODING 'UTF8'."
        )
    if connection.execute(text("SHOW fsync")).scalar_one() != "on":
        yield Finding("warning", "fsync is off: submits that were answered can be lost", "Set fsync = on.")


def _jobs(connection: Connection) -> Iterator[Finding]:
    now = int(utc_now().timestamp() * 1_000_000)
    waiting = connection.execute(select(func.count()).select_from(jobs).where(IS_QUEUED)).scalar_one()
    running = connection.execute(select(func.count()).select_from(jobs).where(IS_LEASED)).scalar_one()
    yield Finding("ok", f"{waiting} jobs wait, {running} run")
    stuck = connection.execute(
        select(func.count()).select_from(jobs).where(IS_LEASED, jobs.c.lease_until < now - _STUCK_MICROSECONDS)
    ).scalar_one()
    if stuck:
        mend = "A server that is up takes them back by itself: start one."
        yield Finding("warning", f"{stuck} jobs belong to a server that is gone", mend)
    orphans = connection.execute(
        select(func.count())
        .select_from(jobs.join(devices, devices.c.id == jobs.c.device_id))
        .where(IS_QUEUED, devices.c.available.is_(False))
    ).scalar_one()
    if orphans:
        mend = "Offer that provider again, or cancel the jobs."
        yield Finding("warning", f"{orphans} jobs wait for devices that are not available", mend)
