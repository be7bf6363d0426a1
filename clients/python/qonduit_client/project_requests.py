# SPDX-License-Identifier: Apache-2.0
"""Build the requests of both clients for projects, without a connection."""

from __future__ import annotations

from typing import Final

from qonduit.v1 import project_service_pb2 as rpc
from qonduit.v1.project_pb2 import Project, ProjectMember
from qonduit_client.requests import Pages, Request

#: The roles of members; each includes the ones before it.
ROLES: Final = ("viewer", "member", "owner")


def create(name: str, description: str) -> Request[rpc.CreateProjectResponse]:
    """Create a project; not retried, since a second call would report ALREADY_EXISTS."""
    request = rpc.CreateProjectRequest(project=Project(name=name, description=description))
    return Request("ProjectService/CreateProject", request, rpc.CreateProjectResponse, safe=False)


def get(name: str) -> Request[rpc.GetProjectResponse]:
    """Read one project."""
    return Request("ProjectService/GetProject", rpc.GetProjectRequest(name=name), rpc.GetProjectResponse)


def list_all() -> Pages[Project]:
    """List projects, in the order of their names."""
    request = Request("ProjectService/ListProjects", rpc.ListProjectsRequest(), rpc.ListProjectsResponse)
    return Pages(request, "projects")


def update(name: str, description: str) -> Request[rpc.UpdateProjectResponse]:
    """Replace the description; a second call changes nothing."""
    request = rpc.UpdateProjectRequest(project=Project(name=name, description=description))
    return Request("ProjectService/UpdateProject", request, rpc.UpdateProjectResponse)


def delete(name: str) -> Request[rpc.DeleteProjectResponse]:
    """Delete a project; not retried, since a second call would report NOT_FOUND."""
    request = rpc.DeleteProjectRequest(name=name)
    return Request("ProjectService/DeleteProject", request, rpc.DeleteProjectResponse, safe=False)


def members(project: str) -> Pages[ProjectMember]:
    """List the members of a project, in the order of their names."""
    request = rpc.ListProjectMembersRequest(project=project)
    return Pages(Request("ProjectService/ListProjectMembers", request, rpc.ListProjectMembersResponse), "members")


def set_member(project: str, user: str, role: str, weight: float | None) -> Request[rpc.SetProjectMemberResponse]:
    """Add a member, or change its role, and its weight if one is passed; a second call changes nothing.

    Raises:
        ValueError: the role is not one of `ROLES`.
    """
    if role not in ROLES:
        raise ValueError(f"role must be one of {', '.join(ROLES)}, got {role!r}")
    member = ProjectMember(user=user, role=f"PROJECT_ROLE_{role.upper()}", weight=weight)
    request = rpc.SetProjectMemberRequest(project=project, member=member)
    return Request("ProjectService/SetProjectMember", request, rpc.SetProjectMemberResponse)


def remove_member(project: str, user: str) -> Request[rpc.RemoveProjectMemberResponse]:
    """Remove a member; not retried, since a second call would report NOT_FOUND."""
    request = rpc.RemoveProjectMemberRequest(project=project, user=user)
    return Request("ProjectService/RemoveProjectMember", request, rpc.RemoveProjectMemberResponse, safe=False)
