# SPDX-License-Identifier: Apache-2.0
"""Hand the memberships of one user in projects to another, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from sqlalchemy import Connection, select

from qonduit_server.errors import ResourceExhausted
from qonduit_server.store.database import Database
from qonduit_server.store.project_tables import project_members, projects
from qonduit_server.store.projects import MAX_PROJECTS, too_many_projects
from qonduit_server.store.writer import Operation, Transaction


def adopt(db: Database, source: str, target: str) -> int:
    """Make a user a member in place of another; return the number of projects.

    In a project of both, the user gets the higher of the two roles.

    Raises:
        ResourceExhausted: the new member would be in too many projects.
    """
    return len(db.write(_ADOPT, (source, target)))


def _adopt(transaction: Transaction, calls: Sequence[tuple[str, str]]) -> list[list[str] | ResourceExhausted]:
    return [_adopted(transaction.connection, source, target) for source, target in calls]


def _adopted(connection: Connection, source: str, target: str) -> list[str] | ResourceExhausted:
    table = project_members.c
    # A project always has an owner: its members change one after the other.
    names = select(table.project).where(table.member == source)
    connection.execute(
        select(projects.c.name).where(projects.c.name.in_(names)).order_by(projects.c.name).with_for_update()
    )
    query = select(table.project, table.role).order_by(table.project)
    moved, known = (
        {row.project: row.role for row in connection.execute(query.where(table.member == user))}
        for user in (source, target)
    )
    if len(moved.keys() | known.keys()) > MAX_PROJECTS:
        return too_many_projects(target)
    for project, role in moved.items():
        member = target if project in known else source
        row = sa.update(project_members).where(table.project == project, table.member == member)
        connection.execute(row.values(member=target, role=max(role, known.get(project, role))))
    connection.execute(sa.delete(project_members).where(table.member == source))
    return list(moved)


_ADOPT: Final[Operation[tuple[str, str], list[str]]] = Operation(
    _adopt, objects=lambda _, names: [f"projects/{name}" for name in names]
)
