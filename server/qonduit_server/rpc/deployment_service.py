# SPDX-License-Identifier: Apache-2.0
"""DeploymentService: store programs for jobs."""

from __future__ import annotations

from qonduit.v1.deployment_service_pb2 import (
    CreateDeploymentRequest,
    CreateDeploymentResponse,
    DeleteDeploymentRequest,
    DeleteDeploymentResponse,
    GetDeploymentRequest,
    GetDeploymentResponse,
    ListDeploymentsRequest,
    ListDeploymentsResponse,
    UpdateDeploymentRequest,
    UpdateDeploymentResponse,
)
from qonduit_server.errors import InvalidArgument
from qonduit_server.rpc import submission_checks
from qonduit_server.rpc.call_context import CallContext
from qonduit_server.rpc.server_limits import Limits
from qonduit_server.store import deployment_list, deployments
from qonduit_server.store.database import Database


class DeploymentService:
    """Checks deployments and stores them."""

    def __init__(self, db: Database, limits: Limits) -> None:
        self._db = db
        self._limits = limits

    def create_deployment(self, request: CreateDeploymentRequest, call: CallContext) -> CreateDeploymentResponse:
        """Store a deployment."""
        submission_checks.check_programs(request.deployment, self._limits)
        submission_checks.check_project(call.memberships, request.deployment.project)
        created = deployments.create(self._db, call.principal.name, request.deployment, request.request_id)
        return CreateDeploymentResponse(deployment=created)

    def get_deployment(self, request: GetDeploymentRequest, call: CallContext) -> GetDeploymentResponse:
        """Return one deployment."""
        return GetDeploymentResponse(deployment=deployments.get(self._db, call.scope, request.id))

    def list_deployments(self, request: ListDeploymentsRequest, call: CallContext) -> ListDeploymentsResponse:
        """Return a page of the caller's deployments."""
        page = deployment_list.list_page(
            self._db, call.readable, request.page_size, request.page_token, request.filter, request.order_by
        )
        return ListDeploymentsResponse(deployments=page.items, next_page_token=page.next_page_token)

    def update_deployment(self, request: UpdateDeploymentRequest, call: CallContext) -> UpdateDeploymentResponse:
        """Change the name, or replace the programs or the labels."""
        paths = list(request.update_mask.paths)
        for index, path in enumerate(paths):
            if path not in deployments.CHANGEABLE:
                field = f"update_mask.paths[{index}]"
                raise InvalidArgument.of(
                    field, "update_mask.unknown", f"{field}: only {', '.join(deployments.CHANGEABLE)} can be changed"
                )
        if "programs" in paths and not request.deployment.programs:
            raise InvalidArgument.of(
                "deployment.programs",
                "deployment.programs.required",
                "deployment.programs: must contain at least one program",
            )

        def check(owner: str) -> None:
            call.check_change(owner)
            submission_checks.check_programs(request.deployment, self._limits)

        changed = deployments.update(self._db, call.scope, request.deployment, paths, check)
        return UpdateDeploymentResponse(deployment=changed)

    def delete_deployment(self, request: DeleteDeploymentRequest, call: CallContext) -> DeleteDeploymentResponse:
        """Delete a deployment that no job refers to."""
        deployments.delete(self._db, call.scope, request.id, call.check_change)
        return DeleteDeploymentResponse()
