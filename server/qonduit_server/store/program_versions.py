# SPDX-License-Identifier: Apache-2.0
"""Versions of server programs: deployments with one program that never change, numbered for each owner and name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy import bindparam, select
from sqlalchemy.dialects import postgresql, sqlite

from qonduit.v1.server_program_pb2 import ServerProgram
from qonduit_server.errors import NotFound
from qonduit_server.store import deployments as deployment_rows
from qonduit_server.store.database import Database
from qonduit_server.store.deployments import NewDeployment
from qonduit_server.store.id_allocation import new_ids
from qonduit_server.store.program_tables import program_versions
from qonduit_server.store.schema import deployments, programs
from qonduit_server.store.writer import Transaction

_LATEST: Final = (
    select(deployments.c.id)
    .where(
        deployments.c.caller == bindparam("owner"),
        deployments.c.name == bindparam("name"),
        deployments.c.version.is_not(None),
    )
    .order_by(deployments.c.version.desc())
    .limit(1)
)
_ONE: Final = _LATEST.where(deployments.c.version == bindparam("version"))
_SET: Final = (
    sa.update(deployments)
    .where(deployments.c.id == bindparam("deployment"))
    .values(version=bindparam("number"), server_program=bindparam("message"))
)


@dataclass(frozen=True)
class NewVersion:
    """A version to store.

    Attributes:
        deployment: the deployment, with the name of the server program.
        found: what the upload found.
    """

    deployment: NewDeployment
    found: ServerProgram


def find(db: Database, owners: Sequence[str], name: str, version: int | None) -> int:
    """Return the deployment of a version, of the first owner that has it.

    Args:
        db: the database.
        owners: the owners, in the order of preference.
        name: of the server program.
        version: the number; None for the latest version.

    Raises:
        NotFound: no owner has it.
    """
    with db.read() as connection:
        for owner in dict.fromkeys(owners):
            values = {"owner": owner, "name": name}
            query = _LATEST if version is None else _ONE
            if version is not None:
                values = {**values, "version": version}  # type: ignore[dict-item]
            found = connection.execute(query, values).scalar()
            if found is not None:
                return int(found)
    shown = name if version is None else f"{name}@{version}"
    raise NotFound("server program", shown[:300], "; `qonduit program list` lists them")


def insert_many(transaction: Transaction, new: Sequence[NewVersion], job_ids: Sequence[int]) -> list[ServerProgram]:
    """Store versions, uploaded by these jobs; return each with its number and ids."""
    wanted = [version.deployment for version in new]
    ids, program_ids = new_ids(
        transaction, (deployments, len(wanted)), (programs, deployment_rows.count_programs(wanted))
    )
    owned = deployment_rows.insert_many(transaction, wanted, ids, program_ids)
    stored = []
    for version, deployment_id, (program_id,), job_id in zip(new, ids, owned, job_ids, strict=True):
        program = ServerProgram()
        program.CopyFrom(version.found)
        program.name = version.deployment.name or ""
        program.version = _next(transaction, version.deployment.owner, program.name)
        program.program_id = program_id
        program.deployment_id = deployment_id
        program.upload_job_id = job_id
        values = {"deployment": deployment_id, "number": program.version, "message": program.SerializeToString()}
        transaction.connection.execute(_SET, values)
        stored.append(program)
    return stored


def _next(transaction: Transaction, owner: str, name: str) -> int:
    """Return the next number of a server program. Other servers that upload the same wait for the commit."""
    insert = (postgresql if transaction.kind == "postgresql" else sqlite).insert(program_versions)
    query = (
        insert.values(owner=owner, name=name, last_version=1)
        .on_conflict_do_update(
            index_elements=[program_versions.c.owner, program_versions.c.name],
            set_={"last_version": program_versions.c.last_version + 1},
        )
        .returning(program_versions.c.last_version)
    )
    return int(transaction.connection.execute(query).scalar_one())
