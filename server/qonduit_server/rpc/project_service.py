# SPDX-License-Identifier: Apache-2.0
"""ProjectService: projects and their members."""

from __future__ import annotations

from qonduit.v1.project_service_pb2 import (
    CreateProjectRequest,
    CreateProjectResponse,
    DeleteProjectRequest,
    DeleteProjectResponse,
    GetProjectRequest,
    GetProjectResponse,
    ListProjectMembersRequest,
    ListProjectMembersResponse,
    ListProjectsRequest,
    ListProjectsResponse,
    RemoveProjectMemberRequest,
    RemoveProjectMemberResponse,
    SetProjectMemberRequest,
    SetProjectMemberResponse,
    UpdateProjectRequest,
    UpdateProjectResponse,
)
from qonduit_server.errors import InvalidArgument, PermissionDenied
from qonduit_server.rpc.auth.principal import Role, is_name
from qonduit_server.rpc.call_context import CallContext
from qonduit_server.store import projects
from qonduit_server.store.database import Database
from qonduit_server.store.memberships import MembershipCache


class ProjectService:
    """Reads and changes projects.

    Args:
        db: the database.
        memberships: the cache to empty after a change.
        everyone_creates: whether every caller may create projects, or only admins.
    """

    def __init__(self, db: Database, memberships: MembershipCache, *, everyone_creates: bool = True) -> None:
        self._db = db
        self._memberships = memberships
        self._everyone_creates = everyone_creates

    def create_project(self, request: CreateProjectRequest, call: CallContext) -> CreateProjectResponse:
        """Create a project."""
        if not self._everyone_creates and Role.ADMIN not in call.principal.roles:
            raise PermissionDenied(
                f"only admins create projects on this server (project_creation = admin); {call.principal.name} has "
                "another role: ask the operator"
            )
        project = projects.create(self._db, call.principal.name, request.project)
        self._memberships.changed()
        return CreateProjectResponse(project=project)

    def get_project(self, request: GetProjectRequest, call: CallContext) -> GetProjectResponse:
        """Return one project."""
        project = projects.get(self._db, call.principal.name, request.name, sees_all=call.scope is None)
        return GetProjectResponse(project=project)

    def list_projects(self, request: ListProjectsRequest, call: CallContext) -> ListProjectsResponse:
        """Return a page of projects."""
        page = projects.list_page(
            *(self._db, call.principal.name, request.page_size, request.page_token), sees_all=call.scope is None
        )
        return ListProjectsResponse(projects=page.items, next_page_token=page.next_page_token)

    def update_project(self, request: UpdateProjectRequest, call: CallContext) -> UpdateProjectResponse:
        """Change the description."""
        project = projects.update(self._db, call.principal.name, request.project, sees_all=call.scope is None)
        return UpdateProjectResponse(project=project)

    def delete_project(self, request: DeleteProjectRequest, call: CallContext) -> DeleteProjectResponse:
        """Delete a project that owns nothing."""
        projects.delete(self._db, call.principal.name, request.name, sees_all=call.scope is None)
        self._memberships.changed()
        return DeleteProjectResponse()

    def set_project_member(self, request: SetProjectMemberRequest, call: CallContext) -> SetProjectMemberResponse:
        """Add a member, or change its role."""
        if not is_name(request.member.user):
            raise InvalidArgument.of(
                "member.user",
                "member.user.name",
                "member.user: must be 1 to 128 visible ASCII characters that do not begin with projects/, "
                f"got {request.member.user[:100]!r}",
            )
        member = projects.set_member(
            *(self._db, call.principal.name, request.project, request.member), sees_all=call.scope is None
        )
        self._memberships.changed()
        return SetProjectMemberResponse(member=member)

    def remove_project_member(
        self, request: RemoveProjectMemberRequest, call: CallContext
    ) -> RemoveProjectMemberResponse:
        """Remove a member."""
        projects.remove_member(
            *(self._db, call.principal.name, request.project, request.user), sees_all=call.scope is None
        )
        self._memberships.changed()
        return RemoveProjectMemberResponse()

    def list_project_members(self, request: ListProjectMembersRequest, call: CallContext) -> ListProjectMembersResponse:
        """Return a page of members."""
        page = projects.list_members(
            *(self._db, call.principal.name, request.project, request.page_size, request.page_token),
            sees_all=call.scope is None,
        )
        return ListProjectMembersResponse(members=page.items, next_page_token=page.next_page_token)
