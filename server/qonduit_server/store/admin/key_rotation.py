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

from qonduit_server.encryption.sealing import Sealed, Sealer, Unreadable
from qonduit_server.errors import StartError
from qonduit_server.store.admin.command_database import require_current
from qonduit_server.store.admin.sealed_tables import CREDENTIALS, JOB_CREDENTIALS, SealedTable
from qonduit_server.store.engines import connect_to_write, make_engine, parse_url

#: The rows of one transaction.
BATCH: Final = 100

_TABLES: Final = (CREDENTIALS, JOB_CREDENTIALS)


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
        for each in _TABLES:
            after = 0
            while rows := _read(connection, each, after, sealer.current_key):
                after = rows[-1].id
                changes = []
                for row in rows:
                    binding = each.bind(row.id, row.owner, row.provider)
                    try:
                        new = sealer.rewrap(Sealed(row.key_id, row.sealed), binding)
                    except Unreadable as error:
                        done.unreadable.append(f"{each.table.name} {row.id} of {row.owner}: {error}")
                    else:
                        changes.append({"row": row.id, "old": row.sealed, "new": new.data, "key": new.key_id})
                done.rewrapped += _write(connection, each, changes)
    return done


def usage(url: str) -> Counter[str]:
    """Return the number of rows that each key encrypts, by the id of the key. Raises StartError."""
    with _opened(url) as engine, engine.connect() as connection:
        return count_by_key(connection)


def count_by_key(connection: Connection) -> Counter[str]:
    """Return the number of rows that each key encrypts, by the id of the key."""
    counts: Counter[str] = Counter()
    for each in _TABLES:
        key = each.table.c.key_id
        for key_id, count in connection.execute(select(key, func.count()).group_by(key)):
            counts[key_id] += count
    return counts


def _read(connection: Connection, of: SealedTable, after: int, current: str) -> list[Any]:
    query = of.rows.where(of.key > after, of.table.c.key_id != current).order_by(of.key).limit(BATCH)
    rows = connection.execute(query).all()
    connection.rollback()
    return list(rows)


def _write(connection: Connection, of: SealedTable, changes: list[dict[str, Any]]) -> int:
    if not changes:
        return 0
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    change = (
        sa.update(of.table)
        .where(of.key == bindparam("row"), of.table.c.sealed == bindparam("old"))
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
