# SPDX-License-Identifier: Apache-2.0
"""The commands `qonduit project`: create, list, show, update and delete projects, and change their members."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

from qonduit_client.cli.completion import projects
from qonduit_client.cli.error_messages import OK
from qonduit_client.cli.output import Column, act_on, moment, remove_each, write_rows
from qonduit_client.cli.session import Session, session, shared_options

if TYPE_CHECKING:
    from qonduit.v1.project_pb2 import Project, ProjectMember

_name = click.argument("name", shell_complete=projects)


@click.group()
def project() -> None:
    """Create, list, show, update and delete projects, groups of users that own jobs, and change their members.

    A viewer reads the project's jobs, a member also creates and changes them, an owner also changes the members.
    """


@project.command()
@click.argument("name")
@click.option("--description", default="", metavar="TEXT", help="A text for the members.")
@shared_options()
def create(name: str, description: str) -> int:
    """Create the project NAME, of which you become an owner."""
    here = session()
    with here.client() as client:
        made = client.projects.create(name, description)
    if here.output == "table":
        click.echo(f"project {made.name}: create its jobs with `qonduit run --project {made.name}{here.server_hint()}`")
        return OK
    return _write_projects(here, [made])


@project.command("list")
@shared_options()
def list_projects() -> int:
    """List your projects; for operators, all projects."""
    here = session()
    with here.client() as client:
        return _write_projects(here, client.projects.list())


@project.command()
@_name
@shared_options()
def show(name: str) -> int:
    """Show the project NAME and its members."""
    here = session()
    with here.client() as client:
        found = client.projects.get(name)
        members = client.projects.members(name) if here.output == "table" else []
    _write_projects(here, [found])
    if here.output == "table":
        click.echo()
        _write_members(here, members)
    return OK


@project.command()
@_name
@click.option("--description", required=True, metavar="TEXT", help="The new text for the members.")
@shared_options()
def update(name: str, description: str) -> int:
    """Replace the description of the project NAME. For owners."""
    here = session()
    with here.client() as client:
        return _write_projects(here, [client.projects.update(name, description)])


@project.command()
@_name
@shared_options()
def members(name: str) -> int:
    """List the members of the project NAME."""
    here = session()
    with here.client() as client:
        return _write_members(here, client.projects.members(name))


@project.command()
@_name
@click.argument("users", nargs=-1, required=True, metavar="USER...")
@click.option(
    "--role", type=click.Choice(["viewer", "member", "owner"]), default="member", show_default=True, help="The role."
)
@click.option(
    "--weight",
    type=float,
    metavar="NUMBER",
    help="Twice the weight is twice the time of workers while other members wait; from 0.01 to 100, 1 by default.",
)
@shared_options()
def add(name: str, users: Sequence[str], role: str, weight: float | None) -> int:
    """Add users to the project NAME, or change the roles and weights of its members. For owners."""
    here = session()
    with here.client() as client:
        return act_on(
            here,
            users,
            lambda user: client.projects.set_member(name, user, role, weight=weight),
            _member_columns(),
            line=lambda member: member,
            outcome=lambda member: f"{member.user}: {role} of project {name}",
        )


@project.command()
@_name
@click.argument("users", nargs=-1, required=True, metavar="USER...")
@shared_options()
def remove(name: str, users: Sequence[str]) -> int:
    """Remove users from the project NAME. For owners; every member may remove itself."""
    here = session()
    with here.client() as client:

        def remove_one(user: str) -> None:
            client.projects.remove_member(name, user)

        return remove_each(here, "removed", users, remove_one, lambda user: f"{user}: no longer in project {name}")


@project.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=projects)
@shared_options()
def delete(names: Sequence[str]) -> int:
    """Delete projects that own nothing. For owners."""
    here = session()
    with here.client() as client:
        return remove_each(here, "deleted", names, client.projects.delete, lambda name: f"project {name}: deleted")


def _write_projects(here: Session, found: Iterable[Project]) -> int:
    from qonduit_client.formatting import local_time, role_name

    columns = [
        Column("project", lambda each: each.name, "PROJECT"),
        Column("role", lambda each: role_name(each.role), "ROLE"),
        Column("created_at", lambda each: moment(each.created_at), "CREATED", lambda each: local_time(each.created_at)),
        Column("created_by", lambda each: each.created_by, "BY"),
        Column("description", lambda each: each.description, "DESCRIPTION"),
    ]
    empty = "no projects; create one with `qonduit project create NAME`"
    write_rows(here, columns, found, line=lambda each: each, empty=empty)
    return OK


def _write_members(here: Session, found: Iterable[ProjectMember]) -> int:
    write_rows(here, _member_columns(), found, line=lambda each: each)
    return OK


def _member_columns() -> list[Column]:
    from qonduit_client.formatting import local_time, role_name

    return [
        Column("user", lambda each: each.user, "USER"),
        Column("role", lambda each: role_name(each.role), "ROLE"),
        Column("weight", lambda each: each.weight, "WEIGHT", lambda each: f"{each.weight:g}", right=True),
        Column("added_at", lambda each: moment(each.added_at), "ADDED", lambda each: local_time(each.added_at)),
    ]
