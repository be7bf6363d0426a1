# SPDX-License-Identifier: Apache-2.0
"""Projects and their members. A project owns jobs and deployments; its members use them by their roles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import sqlalchemy as sa
from sqlalchemy import Connection, bindparam, func, select, text

from qonduit.v1.project_pb2 import Project, ProjectMember, ProjectRole
from qonduit_server.errors import (
    AlreadyExists,
    CallError,
    FailedPrecondition,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
)
from qonduit_server.store.bulk_statements import among
from qonduit_server.store.column_limits import checked_text
from qonduit_server.store.database import Database
from qonduit_server.store.ownership import is_project, owner_of_project, project_of
from qonduit_server.store.paging import Cursor, Page
from qonduit_server.store.program_tables import program_versions
from qonduit_server.store.project_tables import project_members, projects
from qonduit_server.store.schema import credentials, deployments, jobs, lanes, member_lanes
from qonduit_server.store.timestamps import set_time
from qonduit_server.store.writer import Operation, Transaction

R = TypeVar("R")

VIEWER: Final = ProjectRole.PROJECT_ROLE_VIEWER
MEMBER: Final = ProjectRole.PROJECT_ROLE_MEMBER
OWNER: Final = ProjectRole.PROJECT_ROLE_OWNER
#: The maximum number of members of a project, and of projects of a user: each list merges one range for each project.
MAX_MEMBERS: Final = 1000
MAX_PROJECTS: Final = 32
#: The objects that a project still owns are counted up to this number.
_MOST_COUNTED: Final = 1000

_OF_CALLER: Final = (
    select(*projects.c, project_members.c.role)
    .select_from(
        projects.outerjoin(
            project_members,
            (project_members.c.project == projects.c.name) & (project_members.c.member == bindparam("caller")),
        )
    )
    .where(among(projects.c.name, "names"))
)
_LOCK: Final = (
    select(projects.c.name)
    .where(among(projects.c.name, "names"))
    .order_by(projects.c.name)
    .with_for_update(of=projects)
)
_EXIST: Final = (
    select(projects.c.name)
    .where(among(projects.c.name, "names"))
    .order_by(projects.c.name)
    .with_for_update(read=True, key_share=True)
)
_ROLES: Final = (
    select(project_members.c.project, project_members.c.role)
    .where(project_members.c.member == bindparam("caller"))
    .order_by(project_members.c.project)
    .limit(MAX_PROJECTS)
)
_STORE: Final = text(
    "INSERT INTO projects (name, description, created_at, created_by) "
    "VALUES (:name, :description, :created_at, :created_by) ON CONFLICT DO NOTHING RETURNING name"
)
_STORE_MEMBER: Final = text(
    "INSERT INTO project_members (project, member, role, added_at, weight) "
    "VALUES (:project, :member, :role, :added_at, coalesce(:weight, 1)) ON CONFLICT (project, member) "
    "DO UPDATE SET role = :role, weight = coalesce(:weight, project_members.weight)"
)


class _Change(NamedTuple):
    """A change of a project by a caller.

    `sees_all` is true for an admin, who is treated as an owner. An empty user is the project itself.
    """

    caller: str
    sees_all: bool
    project: str
    user: str = ""
    role: int = 0
    description: str = ""
    #: None leaves the weight of a member as it is.
    weight: float | None = None


def roles_of(db: Database, caller: str) -> dict[str, int]:
    """Return the roles of a user by project; at most `MAX_PROJECTS`, read by one index."""
    with db.read() as connection:
        found = connection.execute(_ROLES, {"caller": checked_text("caller", caller)})
        return {row.project: row.role for row in found}


def missing(connection: Connection, owners: Iterable[str]) -> set[str]:
    """Return those of some owners that are projects which do not exist.

    The other projects are locked until the transaction ends, so that they are not deleted before.
    """
    wanted = {project_of(owner) for owner in owners if is_project(owner)}
    if not wanted:
        return set()
    found = set(connection.execute(_EXIST, {"names": sorted(wanted)}).scalars())
    return {owner_of_project(name) for name in wanted - found}


def create(db: Database, caller: str, project: Project) -> Project:
    """Create a project with the caller as its owner.

    Raises:
        AlreadyExists: the name is taken.
        ResourceExhausted: the caller has too many projects.
    """
    change = _Change(caller, sees_all=False, project=project.name, description=_checked(project.description))
    return db.write(_CREATE, change)


def get(db: Database, caller: str, name: str, *, sees_all: bool = False) -> Project:
    """Return a project of the caller, or with `sees_all` any project. Raises NotFound."""
    with db.read() as connection:
        return _found(connection, _Change(caller, sees_all, name))


def list_page(
    db: Database, caller: str, page_size: int = 0, page_token: str = "", *, sees_all: bool = False
) -> Page[Project]:
    """Return a page of the projects of the caller, or of all projects, in the order of their names."""
    cursor = Cursor(("projects", caller, sees_all), page_size, page_token)
    (after,) = cursor.after(str) or ("",)
    is_member = (project_members.c.project == projects.c.name) & (project_members.c.member == caller)
    # The column of the index that yields the rows in order.
    name = projects.c.name if sees_all else project_members.c.project
    query = select(*projects.c, project_members.c.role).where(name > after)
    query = query.select_from(projects.join(project_members, is_member, isouter=sees_all))
    with db.read() as connection:
        rows = connection.execute(query.order_by(name).limit(cursor.size + 1)).all()
    kept, token = cursor.cut(list(rows), lambda row: (row.name,), lambda row: len(row.description) * 4 + 300)
    return Page([_message(row) for row in kept], token)


def update(db: Database, caller: str, project: Project, *, sees_all: bool = False) -> Project:
    """Change the description of a project. Raises NotFound, and PermissionDenied unless the caller is an owner."""
    return db.write(_UPDATE, _Change(caller, sees_all, project.name, description=_checked(project.description)))


def delete(db: Database, caller: str, name: str, *, sees_all: bool = False) -> None:
    """Delete a project.

    Raises:
        NotFound: the project does not exist for the caller.
        PermissionDenied: the caller is not an owner.
        FailedPrecondition: the project owns jobs, deployments or credentials.
    """
    db.write(_DELETE, _Change(caller, sees_all, name))


def set_member(
    db: Database, caller: str, project: str, member: ProjectMember, *, sees_all: bool = False
) -> ProjectMember:
    """Add a user to a project, or change the role and, if it is set, the weight of a member.

    Raises:
        NotFound: the project does not exist for the caller.
        PermissionDenied: the caller is not an owner.
        FailedPrecondition: the last owner would lose its role.
        ResourceExhausted: the project has too many members, or the user too many projects.
    """
    weight = member.weight if member.HasField("weight") else None
    return db.write(_SET_MEMBER, _Change(caller, sees_all, project, member.user, member.role, weight=weight))


def remove_member(db: Database, caller: str, project: str, user: str, *, sees_all: bool = False) -> None:
    """Remove a user from a project; every member may remove itself.

    Raises:
        NotFound: the project does not exist for the caller, or the user is not a member.
        PermissionDenied: the caller is not an owner.
        FailedPrecondition: the user is the last owner.
    """
    db.write(_REMOVE_MEMBER, _Change(caller, sees_all, project, user))


def list_members(
    db: Database, caller: str, project: str, page_size: int = 0, page_token: str = "", *, sees_all: bool = False
) -> Page[ProjectMember]:
    """Return a page of the members of a project, in the order of their names. Raises NotFound."""
    cursor = Cursor(("members", project), page_size, page_token)
    (after,) = cursor.after(str) or ("",)
    query = (
        select(project_members)
        .where(project_members.c.project == project, project_members.c.member > after)
        .order_by(project_members.c.member)
        .limit(cursor.size + 1)
    )
    with db.read() as connection:
        _found(connection, _Change(caller, sees_all, project))
        rows = connection.execute(query).all()
    kept, token = cursor.cut(list(rows), lambda row: (row.member,), lambda row: 200)
    return Page([_member(row) for row in kept], token)


def role_name(role: int) -> str:
    """Return the name of a role, for messages."""
    return ProjectRole.Name(role).removeprefix("PROJECT_ROLE_").lower()


def too_many_projects(user: str) -> ResourceExhausted:
    """Return the error of a user that cannot be in one more project."""
    return ResourceExhausted(
        f"{user} is in {MAX_PROJECTS} projects, the maximum; leave one", subject="max_projects", retry_after=None
    )


def _checked(description: str) -> str:
    return checked_text("project.description", description)


def _found(connection: Connection, change: _Change) -> Project:
    """Return a project with the role of the caller. Raises NotFound: one query, whether it exists or not."""
    row = connection.execute(_OF_CALLER, {"caller": change.caller, "names": [change.project]}).first()
    if row is None or (row.role is None and not change.sees_all):
        raise NotFound("project", change.project)
    return _message(row)


def _owned(connection: Connection, change: _Change) -> Project:
    """Return a project that the caller may change. Raises NotFound and PermissionDenied."""
    project = _found(connection, change)
    if project.role < OWNER and not change.sees_all:
        raise PermissionDenied(
            f"only an owner may change project {change.project}, and {change.caller} is {role_name(project.role)}: "
            "ask an owner"
        )
    return project


def _message(row: Any) -> Project:
    project = Project(name=row.name, description=row.description, created_by=row.created_by, role=row.role)
    set_time(project.created_at, row.created_at)
    return project


def _member(row: Any) -> ProjectMember:
    member = ProjectMember(user=row.member, role=row.role, weight=row.weight)
    set_time(member.added_at, row.added_at)
    return member


def _operation(apply: Callable[[Transaction, _Change], R]) -> Operation[_Change, R]:
    """Return the operation that applies changes one by one, with their projects locked in the order of the names."""

    def run(transaction: Transaction, changes: Sequence[_Change]) -> list[R | CallError]:
        transaction.connection.execute(_LOCK, {"names": sorted({change.project for change in changes})}).all()
        answers: list[R | CallError] = []
        for change in changes:
            try:
                answers.append(apply(transaction, change))
            except CallError as error:
                answers.append(error)
        return answers

    return Operation(run)


def _create(transaction: Transaction, change: _Change) -> Project:
    connection = transaction.connection
    _check_projects(connection, change.caller)
    values = {"name": change.project, "description": change.description, "created_by": change.caller}
    if connection.execute(_STORE, {**values, "created_at": transaction.now}).first() is None:
        raise AlreadyExists(f"project {change.project} exists; choose another name", reason="PROJECT_EXISTS")
    _write_member(transaction, change._replace(user=change.caller, role=OWNER))
    return _found(connection, change)


def _update(transaction: Transaction, change: _Change) -> Project:
    _owned(transaction.connection, change)
    statement = sa.update(projects).where(projects.c.name == change.project).values(description=change.description)
    transaction.connection.execute(statement)
    return _found(transaction.connection, change)


def _delete(transaction: Transaction, change: _Change) -> None:
    connection = transaction.connection
    _owned(connection, change)
    owner = owner_of_project(change.project)
    left = [
        (_count(connection, select(jobs.c.id).where(jobs.c.caller == owner)), "job"),
        (_count(connection, select(deployments.c.id).where(deployments.c.caller == owner)), "deployment"),
        (_count(connection, select(credentials.c.id).where(credentials.c.owner == owner)), "credential"),
    ]
    if any(count for count, _ in left):
        owned = " and ".join(_counted(count, noun) for count, noun in left if count)
        raise FailedPrecondition(
            f"project {change.project} still owns {owned}; delete them first",
            subject=f"projects/{change.project}",
            kind="IN_USE",
        )
    connection.execute(sa.delete(projects).where(projects.c.name == change.project))
    for table in (lanes, member_lanes, program_versions):
        connection.execute(sa.delete(table).where(table.c.owner == owner))


def _counted(count: int, noun: str) -> str:
    return f"{'at least ' if count == _MOST_COUNTED else ''}{count} {noun}{'' if count == 1 else 's'}"


def _set_member(transaction: Transaction, change: _Change) -> ProjectMember:
    connection = transaction.connection
    _owned(connection, change)
    row = connection.execute(_member_row(change)).first()
    if row is None:
        query = select(project_members.c.member).where(project_members.c.project == change.project)
        if _count(connection, query, MAX_MEMBERS) >= MAX_MEMBERS:
            raise ResourceExhausted(
                f"project {change.project} has {MAX_MEMBERS} members, the maximum; remove one",
                subject="max_project_members",
                retry_after=None,
            )
        _check_projects(connection, change.user)
    elif row.role == OWNER and change.role < OWNER:
        _check_owners(connection, change)
    _write_member(transaction, change)
    return _member(connection.execute(_member_row(change)).one())


def _remove_member(transaction: Transaction, change: _Change) -> None:
    connection = transaction.connection
    if change.user == change.caller:
        _found(connection, change)
    else:
        _owned(connection, change)
    row = connection.execute(_member_row(change)).first()
    if row is None:
        raise NotFound("member", change.user, f" in project {change.project}")
    if row.role == OWNER:
        _check_owners(connection, change)
    connection.execute(
        sa.delete(project_members).where(
            project_members.c.project == change.project, project_members.c.member == change.user
        )
    )


def _member_row(change: _Change) -> sa.Select[Any]:
    return select(project_members).where(
        project_members.c.project == change.project, project_members.c.member == change.user
    )


def _write_member(transaction: Transaction, change: _Change) -> None:
    values = {"project": change.project, "member": checked_text("member.user", change.user), "role": change.role}
    values["weight"] = change.weight
    transaction.connection.execute(_STORE_MEMBER, {**values, "added_at": transaction.now})


def _check_projects(connection: Connection, user: str) -> None:
    query = select(project_members.c.project).where(project_members.c.member == user)
    if _count(connection, query, MAX_PROJECTS) >= MAX_PROJECTS:
        raise too_many_projects(user)


def _check_owners(connection: Connection, change: _Change) -> None:
    query = select(project_members.c.member).where(
        project_members.c.project == change.project, project_members.c.role == int(OWNER)
    )
    if _count(connection, query, 2) < 2:
        raise FailedPrecondition(
            f"{change.user} is the last owner of project {change.project}; make another member an owner first",
            subject=f"projects/{change.project}",
            kind="LAST_OWNER",
        )


def _count(connection: Connection, query: sa.Select[Any], most: int = _MOST_COUNTED) -> int:
    """Return the number of rows of a query, at most `most`."""
    return int(connection.execute(select(func.count()).select_from(query.limit(most).subquery())).scalar_one())


_CREATE: Final = _operation(_create)
_UPDATE: Final = _operation(_update)
_DELETE: Final = _operation(_delete)
_SET_MEMBER: Final = _operation(_set_member)
_REMOVE_MEMBER: Final = _operation(_remove_member)
