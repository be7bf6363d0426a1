# SPDX-License-Identifier: Apache-2.0
"""Hand all that a user owns, and its memberships, to another user, in small transactions, while servers use them.

An interrupted adoption continues when it is started again: objects that were handed over have another owner.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Column, Connection, Select, Table, bindparam, func, null, select

from qonduit.v1.job_pb2 import Job
from qonduit_server.encryption.sealing import Sealed, Sealer, Unreadable
from qonduit_server.errors import InvalidArgument
from qonduit_server.store.admin import membership_adoption, program_adoption
from qonduit_server.store.admin.sealed_tables import CREDENTIALS, JOB_CREDENTIALS, SealedTable
from qonduit_server.store.bulk_statements import among
from qonduit_server.store.column_limits import checked_text
from qonduit_server.store.database import Database
from qonduit_server.store.jobs import submission_rows, vendor_costs
from qonduit_server.store.jobs.submission_entries import Entry
from qonduit_server.store.jobs.unit_of_work import SELECT_JOBS, job_message
from qonduit_server.store.owned_queries import principal_of
from qonduit_server.store.ownership import is_project
from qonduit_server.store.project_tables import project_members
from qonduit_server.store.schema import credentials, deployment_labels, deployments, job_labels, jobs
from qonduit_server.store.usage_tables import owner_totals
from qonduit_server.store.writer import Operation, Transaction

#: The name of memberships in the counts.
MEMBERSHIPS: Final = "memberships"
#: The number of objects that one transaction hands over.
BATCH: Final = 500


@dataclass(frozen=True)
class _Kind:
    """Objects with an owner.

    Attributes:
        owner: the column of the owner.
        labelled: the column of the labels of the objects that refers to them, if they have labels.
        request: what identifies a repeated request beside the owner.
        name: the column of the name that no other object of the owner has, if they have one.
        sealed: the secrets of the objects, if they have some, under the ids of the objects.
    """

    owner: Column[Any]
    labelled: Column[Any] | None = None
    request: tuple[Column[Any], ...] = ()
    name: Column[Any] | None = None
    sealed: SealedTable | None = None

    @property
    def objects(self) -> Table:
        """The table of the objects."""
        table: Table = self.owner.table
        return table


_KINDS: Final = (
    _Kind(deployments.c.caller, deployment_labels.c.deployment_id, (deployments.c.request_id,)),
    _Kind(jobs.c.caller, job_labels.c.job_id, (jobs.c.request_id, jobs.c.method), sealed=JOB_CREDENTIALS),
    _Kind(credentials.c.owner, name=credentials.c.name, sealed=CREDENTIALS),
)


_TAKE_STORED: Final = (
    sa.delete(owner_totals).where(owner_totals.c.owner == bindparam("source")).returning(owner_totals.c.stored_bytes)
)
_JOBS: Final = SELECT_JOBS.where(among(jobs.c.id, "ids"))


class _Batch(NamedTuple):
    kind: _Kind
    source: str
    target: str
    ids: Sequence[int]
    sealer: Sealer


class _Handed(NamedTuple):
    ids: list[int]
    #: Why objects were left, by id.
    left: dict[int, str]


@dataclass
class Adoption:
    """What an adoption did.

    Attributes:
        handed: the number of objects that it handed over, by the name of their table.
        left: the objects that stay with their owner, because their secrets cannot be decrypted, with the causes.
    """

    handed: dict[str, int] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)


def owned(db: Database, owner: str) -> dict[str, int]:
    """Return how many objects an owner has, by the name of their table."""
    with db.read() as connection:
        columns = {**{kind.objects.name: kind.owner for kind in _KINDS}, MEMBERSHIPS: project_members.c.member}
        return {
            name: int(connection.execute(select(func.count()).where(column == owner)).scalar_one())
            for name, column in columns.items()
        }


def adopt(db: Database, source: str, target: str) -> Adoption:
    """Hand all deployments, jobs, credentials and memberships of a user to another.

    Jobs keep their state: running ones continue. A request id stays with its job, so a repeated request of the former
    owner creates a new one; if the new owner has used the same id, the job loses it. A credential whose name the new
    owner uses gets a number behind it, and so does a server program with all its versions. Secrets are encrypted again,
    because their encryption is bound to the owner; an object whose secret cannot be decrypted stays. Jobs of projects
    keep the name of the user who created them.

    Raises:
        InvalidArgument: the owners are equal, a name is invalid, or an owner is a project.
        ResourceExhausted: the new owner would be in too many projects. The rest is handed over before.
    """
    checked_text("to", target)
    for name, owner in (("owner", source), ("to", target)):
        if is_project(owner):
            raise InvalidArgument.of(name, f"{name}.user", f"the objects of a project stay with it, got {owner!r}")
    if source == target or not target:
        raise InvalidArgument.of("to", "to.other", f"the new owner must be another one, got {target!r}")
    done = Adoption()
    program_adoption.adopt(db, source, target)
    for kind in _KINDS:
        name = kind.objects.name
        left: dict[int, str] = {}
        done.handed[name] = 0
        while ids := _some(db, kind, source, left):
            handed = db.write(_ADOPT, _Batch(kind, source, target, ids, db.sealer))
            done.handed[name] += len(handed.ids)
            left |= handed.left
        done.left += [f"{name}/{number}: {cause}" for number, cause in left.items()]
    db.write(_MOVE_STORED, (source, target))
    done.handed[MEMBERSHIPS] = membership_adoption.adopt(db, source, target)
    return done


def _move_stored(transaction: Transaction, calls: Sequence[tuple[str, str]]) -> list[None]:
    """Count the stored bytes of the former owners for the new ones. What they used before stays recorded as it was."""
    connection = transaction.connection
    for source, target in calls:
        moved = connection.execute(_TAKE_STORED, {"source": source}).scalar()
        if moved is not None:
            transaction.usage.stored(target, moved)
    return [None] * len(calls)


def _some(db: Database, kind: _Kind, owner: str, left: Collection[int]) -> list[int]:
    number = kind.objects.c.id
    query = select(number).where(kind.owner == owner, ~among(number, "left")).limit(BATCH)
    with db.read() as connection:
        return list(connection.execute(query, {"left": list(left)}).scalars())


def _adopt(transaction: Transaction, calls: Sequence[_Batch]) -> list[_Handed]:
    connection = transaction.connection
    answers = []
    for kind, source, target, ids, sealer in calls:
        table = kind.objects
        mine = (among(table.c.id, "ids"), kind.owner == bindparam("source"))
        values: dict[str, Any] = {"ids": list(ids), "source": source, "target": target}
        locked = list(connection.execute(_locked(table, mine), values).scalars())
        left = _reseal(connection, sealer, kind.sealed, locked, target) if kind.sealed else {}
        values["ids"] = [number for number in locked if number not in left]
        if kind.name is not None:
            _rename(connection, kind.owner, kind.name, values)
        changes: dict[Any, Any] = {kind.owner: bindparam("target")}
        if kind.request:
            used = _used(kind)
            changes |= {each: sa.case((used, null()), else_=each) for each in (table.c.request_id, table.c.fingerprint)}
        reserved = _reserved(connection, values["ids"]) if table is jobs else {}
        connection.execute(sa.update(table).where(*mine).values(changes), values)
        _move_reservations(transaction, reserved)
        if kind.labelled is not None:
            labels = sa.update(kind.labelled.table).where(among(kind.labelled, "ids"))
            connection.execute(labels.values(caller=bindparam("target")), values)
        answers.append(_Handed(values["ids"], left))
    return answers


def _reserved(connection: Connection, ids: Sequence[int]) -> dict[int, tuple[Job, list[Entry]]]:
    """Return the jobs for which costs at vendors are reserved, with their submissions."""
    found = {
        job_id: entries
        for job_id, entries in submission_rows.entries_of(connection, ids).items()
        if any(entry.reserved_on is not None for entry in entries)
    }
    if not found:
        return {}
    return {row.id: (job_message(row), found[row.id]) for row in connection.execute(_JOBS, {"ids": list(found)})}


def _move_reservations(transaction: Transaction, before: Mapping[int, tuple[Job, list[Entry]]]) -> None:
    """Move reservations to the owners that jobs have now."""
    if before:
        for row in transaction.connection.execute(_JOBS, {"ids": list(before)}).all():
            job, entries = before[row.id]
            for entry in entries:
                vendor_costs.moved(transaction, job, job_message(row), entry)


def _reseal(
    connection: Connection, sealer: Sealer, sealed: SealedTable, ids: Sequence[int], target: str
) -> dict[int, str]:
    """Encrypt secrets again for another owner; return why some cannot be decrypted, by id."""
    left: dict[int, str] = {}
    rows = connection.execute(sealed.rows.where(among(sealed.key, "ids")), {"ids": list(ids)}).all()
    for row in rows:
        try:
            secret = sealer.open(Sealed(row.key_id, row.sealed), sealed.bind(row.id, row.owner, row.provider))
        except Unreadable as error:
            left[row.id] = str(error)
            continue
        new = sealer.seal(secret, sealed.bind(row.id, target, row.provider))
        change = sa.update(sealed.table).where(sealed.key == row.id).values(key_id=new.key_id, sealed=new.data)
        connection.execute(change)
    return left


def _rename(connection: Connection, owner: Column[Any], name: Column[Any], values: dict[str, Any]) -> None:
    """Rename the objects whose names the new owner uses: "lab" becomes "lab-2"."""
    number = name.table.c.id
    used = set(connection.execute(select(name).where(owner.in_([values["source"], values["target"]]))).scalars())
    same = select(name).where(owner == values["target"])
    query = select(number, name).where(among(number, "ids"), name.in_(same))
    for row in connection.execute(query, values).all():
        free = next(new for count in itertools.count(2) if (new := f"{row[1]}-{count}") not in used)
        used.add(free)
        connection.execute(sa.update(name.table).where(number == row.id).values({name: free}))


def _locked(table: Table, conditions: Sequence[Any]) -> Select[Any]:
    return select(table.c.id).where(*conditions).order_by(table.c.id).with_for_update()


def _used(kind: _Kind) -> Any:
    """Return the condition that the new owner has an object of the same request."""
    other = kind.objects.alias()
    same = [other.c[column.name] == column for column in kind.request]
    of_target = principal_of(other) == bindparam("target")
    return select(other.c.id).where(of_target, *same).correlate(kind.objects).exists()


_ADOPT: Final[Operation[_Batch, _Handed]] = Operation(
    _adopt, objects=lambda batch, handed: [f"{batch.kind.objects.name}/{number}" for number in handed.ids]
)
_MOVE_STORED: Final[Operation[tuple[str, str], None]] = Operation(_move_stored)
