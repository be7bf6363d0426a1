# SPDX-License-Identifier: Apache-2.0
"""Jobs and deployments of a project over the wire: an owner, a member, a viewer, an outsider."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from qonduit.v1 import project_service_pb2_grpc
from qonduit.v1.deployment_service_pb2 import CreateDeploymentRequest, DeleteDeploymentRequest, GetDeploymentRequest
from qonduit.v1.job_pb2 import Job
from qonduit.v1.job_service_pb2 import (
    CancelJobRequest,
    CancelJobsRequest,
    CreateJobRequest,
    GetJobRequest,
    ListJobsRequest,
    RerunJobRequest,
    UpdateJobRequest,
    WatchJobRequest,
)
from qonduit.v1.project_pb2 import Project, ProjectMember, ProjectRole
from qonduit.v1.project_service_pb2 import (
    CreateProjectRequest,
    RemoveProjectMemberRequest,
    SetProjectMemberRequest,
)
from tests.contract.rpc_fixture import BELL, CALLER_KEY, WAIT, RpcFixture, by_name, programs, refused, rpc_fixture

_CODES = grpc.StatusCode


@pytest.fixture
def rpc(tmp_path: Path) -> Iterator[RpcFixture]:
    """Yield a server with the project lab: Anna owns it, Ben is a member, Vera a viewer, Carl is not in it."""
    with rpc_fixture(tmp_path, authenticate=by_name()) as served:
        projects = project_service_pb2_grpc.ProjectServiceStub(served.channel)
        call(projects.CreateProject, "anna", CreateProjectRequest(project=Project(name="lab")))
        for user, role in (("ben", ProjectRole.PROJECT_ROLE_MEMBER), ("vera", ProjectRole.PROJECT_ROLE_VIEWER)):
            member = SetProjectMemberRequest(project="lab", member=ProjectMember(user=user, role=role))
            call(projects.SetProjectMember, "anna", member)
        yield served


def call(method: Any, name: str, request: Any) -> Any:
    """Call a method as a user."""
    return method(request, metadata=[(CALLER_KEY, name)], timeout=WAIT)


def code(method: Any, name: str, request: Any) -> grpc.StatusCode:
    """Return the status of a call."""
    try:
        call(method, name, request)
    except grpc.RpcError as error:
        found: grpc.StatusCode = error.code()
        return found
    return _CODES.OK


def new_job(**fields: Any) -> CreateJobRequest:
    """Return the request of a job of the project."""
    request = CreateJobRequest(job=Job(shots=10, project="lab", **fields), device="IBM/aer_simulator")
    if not request.job.deployment_id:
        request.deployment.CopyFrom(programs(BELL))
    return request


def test_the_roles_of_a_project(rpc: RpcFixture) -> None:
    jobs = rpc.jobs
    codes = {name: code(jobs.CreateJob, name, new_job()) for name in ("anna", "ben", "vera", "carl")}
    denied, hidden = _CODES.PERMISSION_DENIED, _CODES.NOT_FOUND
    assert codes == {"anna": _CODES.OK, "ben": _CODES.OK, "vera": denied, "carl": hidden}
    job = call(jobs.CreateJob, "ben", new_job()).job
    assert (job.project, job.executed_by) == ("lab", "ben")
    read = {name: code(jobs.GetJob, name, GetJobRequest(id=job.id)) for name in codes}
    assert read == {"anna": _CODES.OK, "ben": _CODES.OK, "vera": _CODES.OK, "carl": hidden}
    for method, request in (
        (jobs.RerunJob, RerunJobRequest(id=job.id)),
        (jobs.UpdateJob, UpdateJobRequest(job=Job(id=job.id, name="x", labels={"k": "v"}))),
        (jobs.CancelJob, CancelJobRequest(id=job.id)),
        (rpc.deployments.DeleteDeployment, DeleteDeploymentRequest(id=job.deployment_id)),
    ):
        changed = {name: code(method, name, request) for name in ("carl", "vera", "anna")}
        assert (changed["carl"], changed["vera"]) == (hidden, denied)
        assert changed["anna"] in (_CODES.OK, _CODES.FAILED_PRECONDITION)


def test_lists_contain_the_jobs_of_projects(rpc: RpcFixture) -> None:
    shared = call(rpc.jobs.CreateJob, "ben", new_job()).job.id
    own = new_job()
    own.job.project = ""
    private = call(rpc.jobs.CreateJob, "ben", own).job.id

    def listed(name: str, filter: str = "") -> list[int]:
        return [job.id for job in call(rpc.jobs.ListJobs, name, ListJobsRequest(filter=filter)).jobs]

    assert listed("ben") == [private, shared]
    assert listed("anna") == listed("vera") == [shared]
    assert listed("carl") == []
    assert listed("ben", 'project = "lab"') == [shared]
    renamed = UpdateJobRequest(job=Job(id=shared, labels={"group": "pulse"}))
    call(rpc.jobs.UpdateJob, "anna", renamed)
    assert listed("vera", 'label.group = "pulse"') == [shared]
    everything = CancelJobsRequest(filter="*", validate_only=True)
    assert [call(rpc.jobs.CancelJobs, name, everything).count for name in ("ben", "anna", "vera")] == [2, 1, 0]


def test_members_run_a_deployment_of_the_project(rpc: RpcFixture) -> None:
    made = programs(BELL)
    made.project = "lab"
    stored = call(rpc.deployments.CreateDeployment, "anna", CreateDeploymentRequest(deployment=made)).deployment
    assert (stored.project, stored.deployed_by) == ("lab", "anna")
    assert code(rpc.deployments.GetDeployment, "carl", GetDeploymentRequest(id=stored.id)) is _CODES.NOT_FOUND
    assert call(rpc.jobs.CreateJob, "ben", new_job(deployment_id=stored.id)).job.deployment_id == stored.id


def test_a_removed_member_loses_access_and_open_streams(rpc: RpcFixture) -> None:
    job = call(rpc.jobs.CreateJob, "anna", new_job()).job.id
    stream = call(rpc.jobs.WatchJob, "vera", WatchJobRequest(job_id=job))
    kept = call(rpc.jobs.WatchJob, "ben", WatchJobRequest(job_id=job))
    assert next(stream).event.sequence == next(kept).event.sequence == 1
    projects = project_service_pb2_grpc.ProjectServiceStub(rpc.channel)
    call(projects.RemoveProjectMember, "anna", RemoveProjectMemberRequest(project="lab", user="vera"))
    assert code(rpc.jobs.GetJob, "vera", GetJobRequest(id=job)) is _CODES.NOT_FOUND
    with pytest.raises(grpc.RpcError) as caught:
        next(stream)
    assert caught.value.code() is _CODES.UNAVAILABLE
    assert "permissions of the caller have changed" in str(caught.value.details())
    assert refused(lambda: next(call(rpc.jobs.WatchJob, "vera", WatchJobRequest(job_id=job))))[0] == "NOT_FOUND"
    call(rpc.jobs.CancelJob, "anna", CancelJobRequest(id=job))
    assert next(kept).event.sequence == 2
