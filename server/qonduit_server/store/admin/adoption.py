# SPDX-License-Identifier: Apache-2.0
"""Hand the deployments and jobs of one owner to another, in small transactions, while servers use the database.

An interrupted adoption continues when it is started again: objects that were handed over have another owner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Column, Select, Table, bindparam, func, null, select

from qonduit_server.errors import InvalidArgument
from qonduit_server.store.bulk_statements import among
from qonduit_server.store.column_limits import checked_text
from qonduit_server.store.database import Database
from qonduit_server.store.schema import deployment_labels, deployments, job_labels, jobs, owner_totals
from qonduit_server.store.writer import Operation, Transaction

#: The number of objects that one transaction hands over.
BATCH: Final = 500


@dataclass(frozen=True)
class _Kind:
    """Objects with an owner, their labels, and what identifies a repeated request beside the owner."""

    objects: Table
    labels: Table
    labelled: Column[Any]
    request: tuple[Column[Any], ...]


_KINDS: Final = (
    _Kind(deployments, deployment_labels, deployment_labels.c.deployment_id, (deployments.c.request_id,)),
    _Kind(jobs, job_labels, job_labels.c.job_id, (jobs.c.request_id, jobs.c.method)),
)


_TAKE_STORED: Final = (
    sa.delete(owner_totals).where(owner_totals.c.owner == bindparam("source")).returning(owner_totals.c.stored_bytes)
)


class _Batch(NamedTuple):
    kind: _Kind
    source: str
    target: str
    ids: Sequence[int]


def owned(db: Database, owner: str) -> dict[str, int]:
    """Return how many objects an owner has, by the name of their table."""
    with db.read() as connection:
        return {
            kind.objects.name: int(
                connection.execute(select(func.count()).where(kind.objects.c.caller == owner)).scalar_one()
            )
            for kind in _KINDS
        }


def adopt(db: Database, source: str, target: str) -> dict[str, int]:
    """Hand all deployments and jobs of an owner to another; return how many, by the name of their table.

    Jobs keep their state: running ones continue. A request id stays with its job, so a repeated request of the former
    owner creates a new one; if the new owner has used the same id, the job loses it.

    Raises:
        InvalidArgument: the owners are equal, or a name is invalid.
    """
    checked_text("to", target)
    if source == target or not target:
        raise InvalidArgument.of("to", "to.other", f"the new owner must be another one, got {target!r}")
    counts = {kind.objects.name: 0 for kind in _KINDS}
    for kind in _KINDS:
        while ids := _some(db, kind, source):
            counts[kind.objects.name] += len(db.write(_ADOPT, _Batch(kind, source, target, ids)))
    db.write(_MOVE_STORED, (source, target))
    return counts


def _move_stored(transaction: Transaction, calls: Sequence[tuple[str, str]]) -> list[None]:
    """Count the stored bytes of the former owners for the new ones. What they used before stays recorded as it was."""
    connection = transaction.connection
    for source, target in calls:
        moved = connection.execute(_TAKE_STORED, {"source": source}).scalar()
        if moved is not None:
            transaction.usage.stored(target, moved)
    return [None] * len(calls)


def _some(db: Database, kind: _Kind, owner: str) -> list[int]:
    table = kind.objects
    with db.read() as connection:
        return list(connection.execute(select(table.c.id).where(table.c.caller == owner).limit(BATCH)).scalars())


def _adopt(transaction: Transaction, calls: Sequence[_Batch]) -> list[list[int]]:
    connection = transaction.connection
    answers = []
    for kind, source, target, ids in calls:
        table = kind.objects
        mine = (among(table.c.id, "ids"), table.c.caller == bindparam("source"))
        values = {"ids": list(ids), "source": source, "target": target}
        locked = list(connection.execute(_locked(table, mine), values).scalars())
        values["ids"] = locked
        used = _used(kind)
        kept = {column: sa.case((used, null()), else_=column) for column in (table.c.request_id, table.c.fingerprint)}
        connection.execute(sa.update(table).where(*mine).values({table.c.caller: bindparam("target"), **kept}), values)
        connection.execute(
            sa.update(kind.labels).where(among(kind.labelled, "ids")).values(caller=bindparam("target")), values
        )
        answers.append(locked)
    return answers


def _locked(table: Table, conditions: Sequence[Any]) -> Select[Any]:
    return select(table.c.id).where(*conditions).order_by(table.c.id).with_for_update()


def _used(kind: _Kind) -> Any:
    """Return the condition that the new owner has an object of the same request."""
    other = kind.objects.alias()
    same = [other.c[column.name] == column for column in kind.request]
    return select(other.c.id).where(other.c.caller == bindparam("target"), *same).correlate(kind.objects).exists()


_ADOPT: Final[Operation[_Batch, list[int]]] = Operation(
    _adopt, objects=lambda batch, ids: [f"{batch.kind.objects.name}/{number}" for number in ids]
)
_MOVE_STORED: Final[Operation[tuple[str, str], None]] = Operation(_move_stored)
