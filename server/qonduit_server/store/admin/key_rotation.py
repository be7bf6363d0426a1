# SPDX-License-Identifier: Apache-2.0
"""Encrypt the stored credentials again with the first key of the server, while servers use the database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, bindparam, func, select
from sqlalchemy.exc import SQLAlchemyError

from qonduit_server.encryption.sealing import Binding, Sealed, Sealer, Unreadable
from qonduit_server.errors import StartError
from qonduit_server.store import credentials as stored
from qonduit_server.store.admin.command_database import require_current
from qonduit_server.store.engines import connect_to_write, make_engine, parse_url
from qonduit_server.store.jobs import job_credentials as of_jobs
from qonduit_server.store.ownership import principal_of
from qonduit_server.store.schema import credentials, devices, job_credentials, jobs, providers

#: The rows of one transaction.
BATCH: Final = 100

_OF_CREDENTIALS: Final = (
    select(
        *(credentials.c.id, credentials.c.key_id, credentials.c.sealed),
        *(credentials.c.owner, providers.c.name.label("provider")),
    )
    .join(providers, providers.c.id == credentials.c.provider_id)
    .where(credentials.c.id > bindparam("after"), credentials.c.key_id != bindparam("current"))
    .order_by(credentials.c.id)
    .limit(BATCH)
)
_OF_JOBS: Final = (
    select(
        *(job_credentials.c.job_id.label("id"), job_credentials.c.key_id, job_credentials.c.sealed),
        *(principal_of(jobs).label("owner"), providers.c.name.label("provider")),
    )
    .join(jobs, jobs.c.id == job_credentials.c.job_id)
    .join(devices, devices.c.id == jobs.c.device_id)
    .join(providers, providers.c.id == devices.c.provider_id)
    .where(job_credentials.c.job_id > bindparam("after"), job_credentials.c.key_id != bindparam("current"))
    .order_by(job_credentials.c.job_id)
    .limit(BATCH)
)
_TABLES: Final = (
    (credentials, credentials.c.id, _OF_CREDENTIALS, stored.binding_of),
    (job_credentials, job_credentials.c.job_id, _OF_JOBS, of_jobs.binding_of),
)


@dataclass
class Rotation:
    """What a rotation did.

    Attributes:
        rewrapped: the number of rows that it encrypted again.
        unreadable: the rows that it could not decrypt, with the causes.
    """

    rewrapped: int = 0
    unreadable: list[str] = field(default_factory=list)


def rotate(url: str, sealer: Sealer) -> Rotation:
    """Encrypt the keys of all credentials again that another key of the server encrypts.

    Each transaction changes at most `BATCH` rows. An interrupted rotation is repeated and continues with the rows that
    are left. A row that changes meanwhile, or that is deleted, is left as it is.

    Args:
        url: of the database.
        sealer: the keys; the first one encrypts.

    Raises:
        StartError: the database cannot be used.
        FailedPrecondition: there is no key.
    """
    sealer.require_key()
    done = Rotation()
    with _opened(url) as engine, connect_to_write(engine) as connection:
        for table, key, query, bind in _TABLES:
            after = 0
            while rows := _read(connection, query, after, sealer.current_key):
                after = rows[-1].id
                changes = []
                for row in rows:
                    binding: Binding = bind(row.id, row.owner, row.provider)
                    try:
                        new = sealer.rewrap(Sealed(row.key_id, row.sealed), binding)
                    except Unreadable as error:
                        done.unreadable.append(f"{table.name} {row.id} of {row.owner}: {error}")
                    else:
                        changes.append({"row": row.id, "old": row.sealed, "new": new.data, "key": new.key_id})
                done.rewrapped += _write(connection, table, key, changes)
    return done


def usage(url: str) -> Counter[str]:
    """Return the number of rows that each key encrypts, by the id of the key. Raises StartError."""
    with _opened(url) as engine, engine.connect() as connection:
        return count_by_key(connection)


def count_by_key(connection: Connection) -> Counter[str]:
    """Return the number of rows that each key encrypts, by the id of the key."""
    counts: Counter[str] = Counter()
    for table in (credentials, job_credentials):
        for key_id, count in connection.execute(select(table.c.key_id, func.count()).group_by(table.c.key_id)):
            counts[key_id] += count
    return counts


def _read(connection: Connection, query: sa.Select[Any], after: int, current: str) -> list[Any]:
    rows = connection.execute(query, {"after": after, "current": current}).all()
    connection.rollback()
    return list(rows)


def _write(connection: Connection, table: sa.Table, key: sa.Column[Any], changes: list[dict[str, Any]]) -> int:
    if not changes:
        return 0
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    change = (
        sa.update(table)
        .where(key == bindparam("row"), table.c.sealed == bindparam("old"))
        .values(sealed=bindparam("new"), key_id=bindparam("key"))
    )
    changed = sum(connection.execute(change, each).rowcount for each in changes)
    connection.commit()
    return changed


@contextmanager
def _opened(url: str) -> Iterator[Engine]:
    require_current(url)
    engine = make_engine(parse_url(url))
    try:
        yield engine
    except SQLAlchemyError as error:
        where = engine.url.render_as_string(hide_password=True)
        raise StartError(f"the database {where} cannot be used: {str(error).splitlines()[0]}") from error
    finally:
        engine.dispose()
