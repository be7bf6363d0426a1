# SPDX-License-Identifier: Apache-2.0
"""The calls of the client for projects and their members: `client.projects`."""

from __future__ import annotations

from qonduit.v1.project_pb2 import Project, ProjectMember
from qonduit_client import project_requests
from qonduit_client.listing import Table
from qonduit_client.transport import Transport


class StoredProjects:
    """Groups of users that own jobs and deployments. Projects of which you are not a member do not exist for you."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, name: str, description: str = "") -> Project:
        """Create a project, of which you become an owner.

        Args:
            name: a lower-case letter, then up to 62 lower-case letters, digits and "-". It never changes.
            description: a text for the members, of at most 1,024 bytes.

        Raises:
            AlreadyExists: the name is taken, perhaps by a project of others.
            Refused: only admins create projects on this server.
        """
        return self._transport.call(project_requests.create(name, description)).project

    def get(self, name: str) -> Project:
        """Return one project, with your role in it. Raises NotFound."""
        return self._transport.call(project_requests.get(name)).project

    def list(self) -> Table[Project]:
        """Return your projects, in the order of their names; for operators, all projects."""
        return Table(self._transport.items(project_requests.list_all()), "Project")

    def update(self, name: str, description: str) -> Project:
        """Replace the description of a project, as an owner. Raises NotFound and Refused."""
        return self._transport.call(project_requests.update(name, description)).project

    def delete(self, name: str) -> None:
        """Delete a project, as an owner.

        Raises:
            PreconditionFailed: it owns jobs, deployments or credentials; the message contains their number.
        """
        self._transport.call(project_requests.delete(name))

    def members(self, project: str) -> Table[ProjectMember]:
        """Return the members of a project, in the order of their names. Raises NotFound."""
        return Table(self._transport.items(project_requests.members(project)), "ProjectMember")

    def set_member(
        self, project: str, user: str, role: str = "member", *, weight: float | None = None
    ) -> ProjectMember:
        """Add a user to a project, or change the role and the weight of a member, as an owner.

        Args:
            project: the name of the project.
            user: the name of the user, as in `executed_by` of the user's jobs.
            role: "viewer" reads, "member" also creates and changes jobs and deployments, "owner" also changes members.
            weight: from 0.01 to 100; twice the weight is twice the time of workers while other members wait. By default
                it does not change; a new member has 1.

        Raises:
            ValueError: the role is unknown.
            Refused: you are no owner.
            PreconditionFailed: the last owner would lose its role.
        """
        return self._transport.call(project_requests.set_member(project, user, role, weight)).member

    def remove_member(self, project: str, user: str) -> None:
        """Remove a user from a project, as an owner; every member may remove itself.

        Raises:
            NotFound: the user is not a member.
            PreconditionFailed: the user is the last owner.
        """
        self._transport.call(project_requests.remove_member(project, user))
