# SPDX-License-Identifier: Apache-2.0
"""Deployments: named sets of programs. Programs are immutable: an update creates new ones, and jobs keep theirs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection, bindparam, select

from qonduit.v1.deployment_pb2 import Deployment, QuantumProgram
from qonduit_server.errors import AlreadyExists, CallError, FailedPrecondition, InvalidArgument, NotFound
from qonduit_server.store import labels as label_rows
from qonduit_server.store import projects as project_rows
from qonduit_server.store.bulk_statements import BulkInsert, among
from qonduit_server.store.column_limits import checked_text, is_id
from qonduit_server.store.database import Database
from qonduit_server.store.id_allocation import new_ids
from qonduit_server.store.owned_queries import Owned
from qonduit_server.store.ownership import CheckChange, Scope, owner_for, permit_all, project_of
from qonduit_server.store.schema import deployments, jobs, programs
from qonduit_server.store.timestamps import set_time
from qonduit_server.store.users import stored_bytes
from qonduit_server.store.users.quota_checks import SubmissionQuotas
from qonduit_server.store.writer import Operation, Transaction


class NewDeployment(NamedTuple):
    """A deployment ready to be written: the caller's thread serializes its programs, not the writer thread."""

    owner: str
    principal: str
    name: str | None
    programs: Sequence[bytes]
    request_id: str | None = None
    fingerprint: bytes | None = None
    is_inline: bool = False
    labels: Mapping[str, str] = MappingProxyType({})

    @property
    def size(self) -> int:
        """The size of its programs in bytes."""
        return sum(map(len, self.programs))


class _Update(NamedTuple):
    caller: str
    deployment_id: int
    changes_name: bool
    name: str | None
    programs: Sequence[bytes] | None
    labels: Mapping[str, str] | None


class _DeploymentKey(NamedTuple):
    caller: str
    deployment_id: int


#: The fields of a deployment that an update can change.
CHANGEABLE: Final = ("name", "programs", "labels")

COLUMNS: Final = (
    *(deployments.c.id, deployments.c.caller, deployments.c.name, deployments.c.deployed_at),
    *(deployments.c.principal, deployments.c.server_program),
)
_SELECT: Final = select(*COLUMNS).where(
    deployments.c.id == bindparam("id"), deployments.c.caller == bindparam("caller")
)
_VISIBLE: Final = Owned(select(*COLUMNS).where(deployments.c.id == bindparam("id")), deployments.c.caller)
_SELECT_LOCKED: Final = _SELECT.with_for_update()
_SELECT_PROGRAMS: Final = (
    select(programs.c.id, programs.c.deployment_id, programs.c.program)
    .where(among(programs.c.deployment_id, "ids"), programs.c.is_current.is_(True))
    .order_by(programs.c.deployment_id, programs.c.position)
)
_SELECT_REQUESTS: Final = select(
    *(deployments.c.id, deployments.c.caller, deployments.c.principal),
    *(deployments.c.request_id, deployments.c.fingerprint),
).where(among(deployments.c.request_id, "requests"), deployments.c.request_id.is_not(None))
_SELECT_USE: Final = select(jobs.c.id).where(jobs.c.deployment_id == bindparam("deployment")).limit(1)
_INSERT: Final = BulkInsert(
    deployments,
    ("id", "caller", "name", "deployed_at", "request_id", "fingerprint", "size", "is_inline", "principal"),
)
_INSERT_PROGRAMS: Final = BulkInsert(programs, ("id", "deployment_id", "position", "is_current", "program"))
_RETIRE: Final = sa.update(programs).where(programs.c.deployment_id == bindparam("deployment")).values(is_current=False)


def create(db: Database, caller: str, deployment: Deployment, request_id: str = "") -> Deployment:
    """Store a deployment and its programs, of the caller or of `deployment.project`; output-only fields are ignored.

    Args:
        request_id: if not empty, a repeated request with the same deployment returns the existing one, as it is now.

    Raises:
        AlreadyExists: the request id was used for another deployment.
        NotFound: the project does not exist.
    """
    new = prepare(caller, deployment, owner=owner_for(caller, deployment.project))
    if request_id:
        fingerprint = hashlib.sha256(deployment.SerializeToString(deterministic=True)).digest()
        new = new._replace(request_id=checked_text("request_id", request_id), fingerprint=fingerprint)
    return db.write(_CREATE, new)


def get(db: Database, scope: Scope, deployment_id: int) -> Deployment:
    """Return one deployment with its programs. Raises NotFound."""
    if is_id(deployment_id):
        with db.read() as connection:
            if (row := _VISIBLE.execute(connection, scope, {"id": deployment_id}).first()) is not None:
                return messages(connection, [row])[0]
    raise NotFound("deployment", deployment_id)


def update(
    db: Database,
    scope: Scope,
    deployment: Deployment,
    paths: Sequence[str] = (),
    check: CheckChange = permit_all,
) -> Deployment:
    """Change the name of a deployment, or replace its programs or its labels.

    Args:
        db: the database.
        scope: the owners whose deployments may be changed.
        deployment: the new values; `check` may change them.
        paths: some of "name", "programs" and "labels"; empty means the fields that are set in `deployment`.
        check: called with the owner of the deployment before the change.

    Raises:
        NotFound: the deployment does not exist.
        InvalidArgument: a path cannot be changed, or no program is given.
        CallError: that of `check`.
    """
    unknown = [path for path in paths if path not in CHANGEABLE]
    if unknown:
        raise InvalidArgument.of(
            "update_mask",
            "update_mask.path",
            f"update_mask: {unknown[0]!r:.100} cannot be changed; {', '.join(CHANGEABLE)} can",
        )
    changes_programs = "programs" in paths if paths else bool(deployment.programs)
    if changes_programs and not deployment.programs:
        raise InvalidArgument.of(
            "deployment.programs",
            "deployment.programs.required",
            "deployment.programs: must contain at least one program",
        )
    deployment_id = deployment.id
    caller = owner(db, scope, deployment_id)
    check(caller)
    new = prepare(caller, deployment)
    return db.write(
        _UPDATE,
        _Update(
            caller=caller,
            deployment_id=deployment_id,
            changes_name="name" in paths if paths else deployment.HasField("name"),
            name=new.name,
            programs=new.programs if changes_programs else None,
            labels=new.labels if ("labels" in paths if paths else new.labels) else None,
        ),
    )


def delete(db: Database, scope: Scope, deployment_id: int, check: CheckChange = permit_all) -> None:
    """Delete a deployment.

    Raises:
        NotFound: the deployment does not exist in the scope.
        FailedPrecondition: jobs refer to it.
        CallError: that of `check`.
    """
    caller = owner(db, scope, deployment_id)
    check(caller)
    db.write(_DELETE, _DeploymentKey(caller, deployment_id))


def owner(db: Database, scope: Scope, deployment_id: int) -> str:
    """Return the owner of a deployment in a scope. Raises NotFound."""
    if is_id(deployment_id):
        with db.read() as connection:
            if (row := _VISIBLE.execute(connection, scope, {"id": deployment_id}).first()) is not None:
                return str(row.caller)
    raise NotFound("deployment", deployment_id)


def prepare(caller: str, deployment: Deployment, *, owner: str = "", is_inline: bool = False) -> NewDeployment:
    """Prepare a deployment for writing.

    Args:
        caller: the user who creates it.
        deployment: the source of the name and the programs.
        owner: the owner; empty for the caller.
        is_inline: whether it is part of a job. Without a name, it is then deleted with its last job.

    Raises:
        InvalidArgument: a text column cannot hold a value.
    """
    named = deployment.HasField("name")
    return NewDeployment(
        owner=checked_text("owner", owner or caller),
        principal=checked_text("caller", caller),
        name=checked_text("deployment.name", deployment.name) if named else None,
        programs=[_bytes(program) for program in deployment.programs],
        is_inline=is_inline and not named,
        labels=label_rows.checked("deployment.labels", deployment.labels),
    )


def _bytes(program: QuantumProgram) -> bytes:
    if program.id or program.deployment_id:
        bare = QuantumProgram()
        bare.CopyFrom(program)
        bare.ClearField("id")
        bare.ClearField("deployment_id")
        return bare.SerializeToString()
    return program.SerializeToString()


def insert_many(
    transaction: Transaction, new: Sequence[NewDeployment], ids: Sequence[int], program_ids: Iterable[int]
) -> list[Sequence[int]]:
    """Insert deployments under reserved ids; return the program ids of each, in order."""
    if not new:
        return []
    for one in new:
        transaction.usage.stored(one.owner, one.size)
    _INSERT(
        transaction.connection,
        [
            (
                *(key, one.owner, one.name, transaction.now, one.request_id, one.fingerprint, one.size, one.is_inline),
                one.principal if one.principal != one.owner else None,
            )
            for key, one in zip(ids, new, strict=True)
        ],
    )
    label_rows.insert_of_deployments(
        transaction.connection, ((key, one.owner, one.labels) for key, one in zip(ids, new, strict=True))
    )
    unused = iter(program_ids)
    owned = [list(islice(unused, len(one.programs))) for one in new]
    _insert_programs(transaction, [(key, keys, one.programs) for key, keys, one in zip(ids, owned, new, strict=True)])
    return list(owned)


def count_programs(new: Sequence[NewDeployment]) -> int:
    """Return the total number of programs of deployments."""
    return sum(len(one.programs) for one in new)


def _insert_programs(transaction: Transaction, new: Sequence[tuple[int, Sequence[int], Sequence[bytes]]]) -> None:
    """Insert programs, given as (deployment id, program ids, programs)."""
    rows = [
        (key, deployment_id, position, True, source)
        for deployment_id, ids, sources in new
        for position, (key, source) in enumerate(zip(ids, sources, strict=True))
    ]
    if rows:
        _INSERT_PROGRAMS(transaction.connection, rows)


def messages(connection: Connection, rows: Sequence[Sequence[Any]]) -> list[Deployment]:
    """Return deployments with their programs from rows of `COLUMNS`."""
    found: dict[int, Deployment] = {}
    for row in rows:
        deployment = Deployment(id=row[0], deployed_by=row[4] or row[1], name=row[2], project=project_of(row[1]))
        set_time(deployment.deployed_at, row[3])
        if row[5] is not None:
            deployment.server_program.ParseFromString(row[5])
            # An adoption may have renamed it.
            deployment.server_program.name = row[2]
        found[row[0]] = deployment
    if found:
        for program_id, deployment_id, source in connection.execute(_SELECT_PROGRAMS, {"ids": list(found)}):
            program = found[deployment_id].programs.add()
            program.ParseFromString(source)
            program.id = program_id
            program.deployment_id = deployment_id
        for deployment_id, key, value in label_rows.of_deployments(connection, found):
            found[deployment_id].labels[key] = value
    return list(found.values())


def _create(transaction: Transaction, new: Sequence[NewDeployment]) -> list[Deployment | CallError]:
    connection = transaction.connection
    requests = [one.request_id for one in new if one.request_id]
    known: dict[tuple[str, str], tuple[int, bytes]] = {}
    if requests:
        for deployment_id, owner, principal, request, fingerprint in connection.execute(
            _SELECT_REQUESTS, {"requests": requests}
        ):
            known[principal or owner, request] = (deployment_id, fingerprint)
    deleted = project_rows.missing(connection, (one.owner for one in new))
    # Of equal requests in the same transaction, the first one creates the deployment.
    first: dict[object, NewDeployment] = {}
    refused: dict[object, CallError] = {}
    quotas = SubmissionQuotas(transaction, [one.owner for one in new])
    for one in new:
        key = _key(one)
        if key not in known and key not in first:
            if one.owner in deleted:
                refused[key] = NotFound("project", project_of(one.owner))
            elif (refusal := quotas.take_bytes(one.owner, one.size)) is not None:
                refused[key] = refusal
            else:
                first[key] = one
    unwritten = list(first.values())
    ids, program_ids = new_ids(transaction, (deployments, len(first)), (programs, count_programs(unwritten)))
    insert_many(transaction, unwritten, ids, program_ids)
    made = dict(zip(first, ids, strict=True))
    answers: list[int | CallError] = []
    for one in new:
        key = _key(one)
        if key in refused and key not in first:
            answers.append(refused[key])
            continue
        deployment_id, fingerprint = known.get(key) or (made[key], first[key].fingerprint)  # type: ignore[call-overload]
        if fingerprint == one.fingerprint:
            answers.append(deployment_id)
        else:
            answers.append(
                AlreadyExists(f"request_id {one.request_id} was used for another deployment; use a new UUID")
            )
    wanted = [answer for answer in answers if isinstance(answer, int)]
    rows = connection.execute(select(*COLUMNS).where(deployments.c.id.in_(wanted))).all()
    found = {deployment.id: deployment for deployment in messages(connection, rows)}
    return [found[answer] if isinstance(answer, int) else answer for answer in answers]


def _key(one: NewDeployment) -> object:
    return (one.principal, one.request_id) if one.request_id else id(one)


def _update(transaction: Transaction, updates: Sequence[_Update]) -> list[Deployment | CallError]:
    connection = transaction.connection
    answers: list[Deployment | CallError] = []
    quotas = SubmissionQuotas(transaction, [wanted.caller for wanted in updates])
    for wanted in updates:
        parameters = {"id": wanted.deployment_id, "caller": wanted.caller}
        if (stored := connection.execute(_SELECT_LOCKED, parameters).first()) is None:
            answers.append(NotFound("deployment", wanted.deployment_id))
            continue
        if stored.server_program is not None and (wanted.changes_name or wanted.programs is not None):
            answers.append(_immutable(wanted))
            continue
        size = sum(map(len, wanted.programs or ()))
        if (refusal := quotas.take_bytes(wanted.caller, size)) is not None:
            answers.append(refusal)
            continue
        # A caller that updates an inline deployment intends to keep it.
        values: dict[str, Any] = {"deployed_at": transaction.now, "is_inline": False}
        if wanted.changes_name:
            values["name"] = wanted.name
        if wanted.programs is not None:
            connection.execute(_RETIRE, {"deployment": wanted.deployment_id})
            (ids,) = new_ids(transaction, (programs, len(wanted.programs)))
            _insert_programs(transaction, [(wanted.deployment_id, ids, wanted.programs)])
            values["size"] = size
            transaction.usage.stored(wanted.caller, size)
        if wanted.labels is not None:
            label_rows.replace_of_deployment(connection, wanted.deployment_id, wanted.caller, wanted.labels)
        connection.execute(sa.update(deployments).where(deployments.c.id == wanted.deployment_id).values(values))
        answers.append(messages(connection, [connection.execute(_SELECT, parameters).one()])[0])
    return answers


def _immutable(wanted: _Update) -> FailedPrecondition:
    what = "name" if wanted.programs is None else "program"
    return FailedPrecondition(
        f"deployment {wanted.deployment_id} is a version of a server program, whose {what} never changes: upload the "
        "next version with an IBM_UPLOAD job",
        subject=f"deployments/{wanted.deployment_id}",
        kind="SERVER_PROGRAM",
        reason="IMMUTABLE_PROGRAM",
    )


def _delete(transaction: Transaction, calls: Sequence[_DeploymentKey]) -> list[CallError | None]:
    connection = transaction.connection
    answers: list[CallError | None] = []
    for caller, deployment_id in calls:
        if connection.execute(_SELECT_LOCKED, {"id": deployment_id, "caller": caller}).first() is None:
            answers.append(NotFound("deployment", deployment_id))
        elif connection.execute(_SELECT_USE, {"deployment": deployment_id}).first() is not None:
            answers.append(
                FailedPrecondition(
                    f"jobs refer to deployment {deployment_id}; delete them first",
                    subject=f"deployments/{deployment_id}",
                    kind="IN_USE",
                )
            )
        else:
            owner, size = stored_bytes.of_deployments(connection, [deployment_id]).get(deployment_id, (caller, 0))
            transaction.usage.stored(owner, -size)
            connection.execute(sa.delete(deployments).where(deployments.c.id == deployment_id))
            answers.append(None)
    return answers


def _name(_: object, deployment: Deployment) -> Sequence[str]:
    return (f"deployments/{deployment.id}",)


_CREATE: Final = Operation(_create, objects=_name)
_UPDATE: Final = Operation(_update, objects=_name)
_DELETE: Final = Operation(_delete, objects=lambda key, _: (f"deployments/{key.deployment_id}",))
