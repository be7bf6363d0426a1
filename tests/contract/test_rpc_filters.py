# SPDX-License-Identifier: Apache-2.0
"""Filters, orders and labels of lists, and changes of all matching jobs, over a real server and a real store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from qonduit.v1 import deployment_service_pb2 as deployment_service
from qonduit.v1 import job_service_pb2 as job_service
from qonduit.v1.deployment_pb2 import Deployment
from qonduit.v1.event_pb2 import JobEvent
from qonduit.v1.job_pb2 import Job, JobState
from tests.contract.rpc_fixture import BELL, CALLER_KEY, WAIT, RpcFixture, by_name, programs, refused, rpc_fixture


@pytest.fixture(scope="module")
def rpc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RpcFixture]:
    with rpc_fixture(tmp_path_factory.mktemp("rpc"), authenticate=by_name("anna")) as it:
        yield it


def create(rpc: RpcFixture, name: str, caller: str = "anna", **labels: str) -> int:
    """Queue a Bell job; return its id."""
    request = job_service.CreateJobRequest(
        job=Job(shots=10, name=name, labels=labels), device="IBM/aer_simulator", deployment=programs(BELL)
    )
    return rpc.jobs.CreateJob(request, timeout=WAIT, metadata=[(CALLER_KEY, caller)]).job.id


def listed(rpc: RpcFixture, filter: str, order_by: str = "", caller: str = "anna") -> list[int]:
    """Return the ids of matching jobs."""
    request = job_service.ListJobsRequest(filter=filter, order_by=order_by)
    return [job.id for job in rpc.jobs.ListJobs(request, timeout=WAIT, metadata=[(CALLER_KEY, caller)]).jobs]


def test_jobs_are_listed_by_label_and_in_an_order(rpc: RpcFixture) -> None:
    first, second = create(rpc, "b", project="one", stage="x"), create(rpc, "a", project="one")
    foreign = create(rpc, "c", "ben", project="one")
    assert listed(rpc, "label.project = one") == [second, first]
    assert listed(rpc, "label.project = one", "name desc") == [first, second]
    assert listed(rpc, "label.project = one AND NOT label:stage") == [second]
    assert listed(rpc, "mine = true AND label.project = one AND owner = ben", caller="ben") == [foreign]
    assert listed(rpc, "label.project = one", caller="ben") == [foreign]


def test_labels_of_deployments(rpc: RpcFixture) -> None:
    given = Deployment(programs=programs(BELL).programs, labels={"project": "two"})
    made = rpc.deployments.CreateDeployment(
        deployment_service.CreateDeploymentRequest(deployment=given), timeout=WAIT
    ).deployment
    assert dict(made.labels) == {"project": "two"}
    request = deployment_service.ListDeploymentsRequest(filter="label.project = two", order_by="name")
    assert list(rpc.deployments.ListDeployments(request, timeout=WAIT).deployments) == [made]
    update = deployment_service.UpdateDeploymentRequest(
        deployment=Deployment(id=made.id), update_mask=FieldMask(paths=["labels"])
    )
    assert not rpc.deployments.UpdateDeployment(update, timeout=WAIT).deployment.labels
    assert not rpc.deployments.ListDeployments(request, timeout=WAIT).deployments


@pytest.mark.parametrize(
    "labels", [{f"k{n}": "" for n in range(33)}, {"": "x"}, {"k" * 64: ""}, {"k": "v" * 256}, {"k": "\0"}]
)
def test_labels_are_bounded(rpc: RpcFixture, labels: dict[str, str]) -> None:
    job = job_service.CreateJobRequest(
        job=Job(shots=10, labels=labels), device="IBM/aer_simulator", deployment=programs(BELL)
    )
    code, details = refused(lambda: rpc.jobs.CreateJob(job, timeout=WAIT))
    assert code == "INVALID_ARGUMENT"
    assert "labels" in details["BadRequest"].field_violations[0].field
    deployment = deployment_service.CreateDeploymentRequest(
        deployment=Deployment(programs=programs(BELL).programs, labels=labels)
    )
    code, details = refused(lambda: rpc.deployments.CreateDeployment(deployment, timeout=WAIT))
    assert code == "INVALID_ARGUMENT"
    assert "labels" in details["BadRequest"].field_violations[0].field


def test_matching_jobs_are_cancelled_and_deleted(rpc: RpcFixture) -> None:
    made = [create(rpc, "sweep", run=str(number)) for number in range(3)]
    other, foreign = create(rpc, "other"), create(rpc, "sweep", "ben")
    watched: list[JobEvent] = []
    stream = rpc.jobs.WatchJob(job_service.WatchJobRequest(job_id=made[0]), timeout=WAIT)
    watched.append(next(stream).event)
    cancel = job_service.CancelJobsRequest(filter="name = sweep AND NOT label.run = 2", validate_only=True)
    preview = rpc.jobs.CancelJobs(cancel, timeout=WAIT)
    assert (preview.count, list(preview.job_ids), preview.next_page_token) == (2, [made[1], made[0]], "")
    assert listed(rpc, "name = sweep AND state = QUEUED") == made[::-1]
    cancel.validate_only = False
    assert rpc.jobs.CancelJobs(cancel, timeout=WAIT) == preview
    watched += [reply.event for reply in stream]
    assert watched[-1].state_change.to_state == JobState.JOB_STATE_CANCELLED

    delete = job_service.DeleteJobsRequest(filter="name = sweep")
    assert sorted(rpc.jobs.DeleteJobs(delete, timeout=WAIT).job_ids) == made[:2]
    assert listed(rpc, "name = sweep") == [made[2]]
    assert listed(rpc, "name = sweep", caller="ben") == [foreign]
    assert listed(rpc, f"id = {other}") == [other]


def test_wrong_filters_and_orders_are_refused(rpc: RpcFixture) -> None:
    for call in (
        lambda: rpc.jobs.ListJobs(job_service.ListJobsRequest(filter="colour = 3"), timeout=WAIT),
        lambda: rpc.jobs.CancelJobs(job_service.CancelJobsRequest(filter="colour = 3"), timeout=WAIT),
        lambda: rpc.jobs.DeleteJobs(job_service.DeleteJobsRequest(filter="((("), timeout=WAIT),
    ):
        code, details = refused(call)
        assert (code, details["ErrorInfo"].reason) == ("INVALID_ARGUMENT", "INVALID_FILTER")
        assert "label.KEY" in details["BadRequest"].field_violations[0].description
    for call in (
        lambda: rpc.jobs.CancelJobs(job_service.CancelJobsRequest(), timeout=WAIT),
        lambda: rpc.jobs.DeleteJobs(job_service.DeleteJobsRequest(filter=" "), timeout=WAIT),
    ):
        code, details = refused(call)
        assert (code, details["BadRequest"].field_violations[0].field) == ("INVALID_ARGUMENT", "filter")
    for order_by in ("colour", "x" * 65):
        code, details = refused(
            lambda order_by=order_by: rpc.jobs.ListJobs(job_service.ListJobsRequest(order_by=order_by), timeout=WAIT)  # type: ignore[misc]
        )
        assert (code, details["BadRequest"].field_violations[0].field) == ("INVALID_ARGUMENT", "order_by")


def test_long_names_fit_into_page_tokens(tmp_path: Path) -> None:
    with rpc_fixture(tmp_path) as rpc:
        for name in ("\x01" * 255, "\U0001f642" * 63):
            create(rpc, name)
        request = job_service.ListJobsRequest(order_by="name", page_size=1)
        page = rpc.jobs.ListJobs(request, timeout=WAIT)
        request.page_token = page.next_page_token
        (last,) = rpc.jobs.ListJobs(request, timeout=WAIT).jobs
        assert last.name.startswith("\U0001f642")
