# SPDX-License-Identifier: Apache-2.0
"""Hand the names of a user's server programs to another user, before their versions, in one transaction."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection, select

from qonduit_server.store.database import Database
from qonduit_server.store.program_tables import program_versions
from qonduit_server.store.schema import deployments
from qonduit_server.store.writer import Operation, Transaction


def adopt(db: Database, source: str, target: str) -> int:
    """Hand over the names with their last versions; return their number.

    A name that the new owner uses gets a number behind it: all versions of "vqe" become those of "vqe-2".
    """
    return db.write(_ADOPT, (source, target))


def _adopt(transaction: Transaction, calls: Sequence[tuple[str, str]]) -> list[int]:
    return [_adopted(transaction.connection, source, target) for source, target in calls]


def _adopted(connection: Connection, source: str, target: str) -> int:
    table = program_versions.c
    own, used = (
        list(connection.execute(select(table.name).where(table.owner == owner).order_by(table.name)).scalars())
        for owner in (source, target)
    )
    taken = {*own, *used}
    for name in own:
        new = name
        if name in used:
            new = next(free for count in itertools.count(2) if (free := f"{name}-{count}") not in taken)
            taken.add(new)
            versions = sa.update(deployments).where(
                deployments.c.caller == source, deployments.c.name == name, deployments.c.version.is_not(None)
            )
            connection.execute(versions.values(name=new))
        row = sa.update(program_versions).where(table.owner == source, table.name == name)
        connection.execute(row.values(owner=target, name=new))
    return len(own)


_ADOPT: Final[Operation[tuple[str, str], int]] = Operation(_adopt)
