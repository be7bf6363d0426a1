# SPDX-License-Identifier: Apache-2.0
"""Device "AUTO" through the RPCs: one final choice from event 1, requests that repeat, devices that are passed over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qonduit.v1.job_pb2 import DeviceChoice, Job, JobType
from qonduit.v1.job_service_pb2 import (
    CreateJobRequest,
    CreateJobResponse,
    GetJobRequest,
    ListJobsRequest,
    RerunJobRequest,
)
from tests.contract.rpc_fixture import BELL, WAIT, RpcFixture, bell, programs, refused, rpc_fixture

REQUEST_ID = "0d5c1f0e-6a3b-4f4e-8f0b-6c1f9b3d7a11"


@pytest.fixture
def rpc(tmp_path: Path) -> Iterator[RpcFixture]:
    with rpc_fixture(tmp_path) as it:
        yield it


def create(rpc: RpcFixture, device: str = "AUTO", shots: int = 100, **fields: Any) -> CreateJobResponse:
    options = {key: fields.pop(key) for key in ("request_id", "validate_only") if key in fields}
    request = CreateJobRequest(job=Job(shots=shots, **fields), device=device, deployment=programs(BELL), **options)
    return rpc.jobs.CreateJob(request, timeout=WAIT)


def newest(rpc: RpcFixture) -> list[int]:
    return [job.id for job in rpc.jobs.ListJobs(ListJobsRequest(), timeout=WAIT).jobs]


def test_the_first_event_names_the_chosen_device(rpc: RpcFixture) -> None:
    stream = rpc.jobs.RunJob(bell(device="IBM/AUTO"), timeout=WAIT)
    created = next(stream).event.created
    assert (created.device, created.device_choice.requested) == ("IBM/aer_simulator", "IBM/AUTO")
    rpc.run(created.id)
    list(stream)
    job = rpc.jobs.GetJob(GetJobRequest(id=created.id), timeout=WAIT).job
    assert (job.device, job.executed_on_id) == (created.device, created.executed_on_id)
    assert job.device_choice == created.device_choice


def test_an_equal_request_returns_the_job_and_a_rerun_its_device(rpc: RpcFixture) -> None:
    first = create(rpc, request_id=REQUEST_ID).job
    # A new choice would be few_shots, since a job waits on the other device.
    assert create(rpc, shots=10).job.device == "IBM/few_shots"
    again = create(rpc, request_id=REQUEST_ID)
    assert (again.job, again.deduplicated) == (first, True)
    rerun = rpc.jobs.RerunJob(RerunJobRequest(id=first.id), timeout=WAIT).job
    assert (rerun.device, rerun.device_choice) == (first.device, first.device_choice)


def test_the_request_is_what_was_named_and_not_what_was_chosen(rpc: RpcFixture) -> None:
    first = create(rpc, request_id=REQUEST_ID).job
    assert refused(lambda: create(rpc, first.device, request_id=REQUEST_ID))[0] == "ALREADY_EXISTS"
    assert refused(lambda: create(rpc, "IBM/AUTO", request_id=REQUEST_ID))[0] == "ALREADY_EXISTS"


def test_a_choice_in_a_request_is_ignored(rpc: RpcFixture) -> None:
    sent = DeviceChoice(requested="AUTO", reason="invented")
    assert not create(rpc, "IBM/aer_simulator", device_choice=sent).job.HasField("device_choice")
    first = create(rpc, request_id=REQUEST_ID, device_choice=sent).job
    assert first.device_choice.reason != "invented"
    assert create(rpc, request_id=REQUEST_ID).job.id == first.id


def test_validation_shows_the_choice_and_stores_nothing(rpc: RpcFixture) -> None:
    job = create(rpc, validate_only=True).job
    assert (job.device, job.device_choice.requested) == ("IBM/aer_simulator", "AUTO")
    (message,) = rpc.jobs.RunJob(bell(device="AUTO", validate_only=True), timeout=WAIT)
    assert message.event.created.device_choice == job.device_choice
    assert not newest(rpc)


def test_a_device_that_takes_fewer_shots_is_passed_over(rpc: RpcFixture) -> None:
    for _ in range(3):
        create(rpc, "IBM/aer_simulator")
    assert create(rpc, shots=10).job.device == "IBM/few_shots"
    assert create(rpc, shots=11).job.device == "IBM/aer_simulator"


def test_each_device_that_does_not_fit_is_listed_with_its_reason(rpc: RpcFixture) -> None:
    code, details = refused(lambda: create(rpc, type=JobType.JOB_TYPE_ESTIMATOR))
    assert (code, details["ErrorInfo"].reason) == ("FAILED_PRECONDITION", "UNSUPPORTED_BY_DEVICE")
    (violation,) = details["PreconditionFailure"].violations
    for name in ("IBM/aer_simulator", "IBM/few_shots", "IBM/away is not available", "OTHER/sampler"):
        assert name in violation.description
    assert not newest(rpc)
