# SPDX-License-Identifier: Apache-2.0
"""Every RPC works as its proto documents it, over a real server and a real store."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from grpc_health.v1 import health_pb2, health_pb2_grpc

from qonduit.v1 import deployment_service_pb2 as deployment_service
from qonduit.v1 import device_service_pb2 as device_service
from qonduit.v1 import job_service_pb2 as job_service
from qonduit.v1 import provider_service_pb2 as provider_service
from qonduit.v1 import result_service_pb2 as result_service
from qonduit.v1.deployment_pb2 import Deployment
from qonduit.v1.job_pb2 import Job, JobState, JobType
from qonduit.v1.system_service_pb2 import GetServerInfoRequest
from qonduit_server.errors import CallError, FailedPrecondition, StartError, Unavailable
from qonduit_server.process.release import installed_release
from qonduit_server.rpc import request_receiver
from qonduit_server.rpc import server as rpc_server
from qonduit_server.rpc.server import MAX_CONCURRENT_STREAMS
from qonduit_server.rpc.server_limits import Limits
from tests.contract.rpc_fixture import (
    BELL,
    CALIBRATION,
    CALLER_KEY,
    WAIT,
    RpcFixture,
    bell,
    by_name,
    programs,
    refused,
    rpc_fixture,
)


@pytest.fixture(scope="module")
def rpc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RpcFixture]:
    with rpc_fixture(tmp_path_factory.mktemp("rpc"), features=["watching"], limits=Limits(max_shots=50_000)) as it:
        yield it


def create(rpc: RpcFixture, **fields: object) -> Job:
    """Queue a Bell job."""
    request = job_service.CreateJobRequest(job=Job(shots=10), device="IBM/aer_simulator", deployment=programs(BELL))
    request.MergeFrom(job_service.CreateJobRequest(**fields))  # type: ignore[arg-type]
    return rpc.jobs.CreateJob(request, timeout=WAIT).job


def test_a_calibration_is_returned_as_described(rpc: RpcFixture) -> None:
    ids = {device.name: device.id for device in rpc.devices.ListDevices(device_service.ListDevicesRequest()).devices}
    request = device_service.GetDeviceCalibrationRequest(id=ids["few_shots"])
    assert rpc.devices.GetDeviceCalibration(request, timeout=WAIT).calibration == CALIBRATION
    request.id = ids["aer_simulator"]
    code, details = refused(lambda: rpc.devices.GetDeviceCalibration(request, timeout=WAIT))
    assert (code, details["ErrorInfo"].reason) == ("FAILED_PRECONDITION", "UNSUPPORTED_BY_DEVICE")
    (violation,) = details["PreconditionFailure"].violations
    assert violation.subject == "IBM/aer_simulator"
    assert "IBM/aer_simulator has no calibration" in violation.description
    request.id = 10**6
    code, details = refused(lambda: rpc.devices.GetDeviceCalibration(request, timeout=WAIT))
    assert code == "NOT_FOUND"


def test_a_refresh_returns_the_devices_of_a_provider(rpc: RpcFixture) -> None:
    listed = rpc.devices.ListDevices(device_service.ListDevicesRequest()).devices
    one = listed[0].provider_id
    request = device_service.RefreshDevicesRequest(provider_id=one)
    found = rpc.devices.RefreshDevices(request, timeout=WAIT).devices
    assert [device.id for device in found] == sorted(device.id for device in listed if device.provider_id == one)
    request.provider_id = 10**6
    assert refused(lambda: rpc.devices.RefreshDevices(request, timeout=WAIT))[0] == "NOT_FOUND"


def test_a_refresh_that_fails_keeps_the_devices(tmp_path: Path) -> None:
    errors: list[CallError] = [
        Unavailable("IBM did not describe itself within 5 s", reason="PROVIDER_UNAVAILABLE"),
        FailedPrecondition("IBM cannot be described", subject="IBM", kind="PROVIDER"),
    ]
    refreshed: list[str] = []

    def refresh(name: str, credential: str, credential_id: int) -> None:
        refreshed.append(name)
        raise errors[len(refreshed) - 1]

    with rpc_fixture(tmp_path, refresh_devices=refresh) as rpc:
        listed = rpc.devices.ListDevices(device_service.ListDevicesRequest()).devices
        provider_id = next(device.provider_id for device in listed if device.name == "aer_simulator")
        request = device_service.RefreshDevicesRequest(provider_id=provider_id)
        code, details = refused(lambda: rpc.devices.RefreshDevices(request, timeout=WAIT))
        assert (code, details["ErrorInfo"].reason) == ("UNAVAILABLE", "PROVIDER_UNAVAILABLE")
        assert details["RetryInfo"].retry_delay.seconds == 1
        code, details = refused(lambda: rpc.devices.RefreshDevices(request, timeout=WAIT))
        assert (code, details["ErrorInfo"].reason) == ("FAILED_PRECONDITION", "FAILED_PRECONDITION")
        assert rpc.devices.ListDevices(device_service.ListDevicesRequest()).devices == listed
    assert refreshed == ["IBM", "IBM"]


def test_providers_and_devices(rpc: RpcFixture) -> None:
    listed = rpc.providers.ListProviders(provider_service.ListProvidersRequest()).providers
    assert {provider.name for provider in listed} == {"IBM", "OTHER"}
    one = rpc.providers.GetProvider(provider_service.GetProviderRequest(id=listed[0].id)).provider
    assert one == listed[0]

    devices = rpc.devices.ListDevices(device_service.ListDevicesRequest()).devices
    by_name = {device.name: device for device in devices}
    assert set(by_name) == {"aer_simulator", "few_shots", "away", "sampler"}
    assert all(device.HasField("queue_depth") for device in devices)
    device = rpc.devices.GetDevice(device_service.GetDeviceRequest(id=by_name["away"].id)).device
    assert (device.available, device.status_message) == (False, "on holiday")

    before = rpc.devices.GetDeviceStatus(device_service.GetDeviceStatusRequest(id=by_name["few_shots"].id)).queue_depth
    job = create(rpc, device="IBM/few_shots")
    status = rpc.devices.GetDeviceStatus(device_service.GetDeviceStatusRequest(id=by_name["few_shots"].id))
    assert status.available
    assert status.queue_depth == before + 1
    assert status.checked_at.seconds > 0
    rpc.run(job.id)


def test_a_deployment_is_created_run_and_cannot_be_deleted_while_a_job_refers_to_it(rpc: RpcFixture) -> None:
    given = programs(BELL, BELL)
    given.name = "pair"
    given.id = 77
    given.deployed_by = "another caller"
    request_id = str(uuid.uuid4())
    request = deployment_service.CreateDeploymentRequest(deployment=given, request_id=request_id)
    made = rpc.deployments.CreateDeployment(request).deployment
    assert made.id != 77
    assert made.deployed_by == "anonymous"
    assert rpc.deployments.CreateDeployment(request).deployment.id == made.id
    got = rpc.deployments.GetDeployment(deployment_service.GetDeploymentRequest(id=made.id)).deployment
    assert got == made

    renamed = rpc.deployments.UpdateDeployment(
        deployment_service.UpdateDeploymentRequest(
            deployment=Deployment(id=made.id, name="two"), update_mask=FieldMask(paths=["name"])
        )
    ).deployment
    assert (renamed.name, len(renamed.programs)) == ("two", 2)
    page = rpc.deployments.ListDeployments(deployment_service.ListDeploymentsRequest(filter='name = "two"'))
    assert [one.id for one in page.deployments] == [made.id]

    request_job = job_service.CreateJobRequest(job=Job(shots=5, deployment_id=made.id), device="IBM/aer_simulator")
    job = rpc.jobs.CreateJob(request_job).job
    assert len(job.program_runs) == 2
    code, details = refused(
        lambda: rpc.deployments.DeleteDeployment(deployment_service.DeleteDeploymentRequest(id=made.id))
    )
    assert code == "FAILED_PRECONDITION"
    assert details["PreconditionFailure"].violations[0].subject
    rpc.run(job.id)
    rpc.jobs.DeleteJob(job_service.DeleteJobRequest(id=job.id))
    rpc.deployments.DeleteDeployment(deployment_service.DeleteDeploymentRequest(id=made.id))
    assert refused(lambda: rpc.deployments.GetDeployment(deployment_service.GetDeploymentRequest(id=made.id)))[0] == (
        "NOT_FOUND"
    )


def test_a_job_from_submit_to_result(rpc: RpcFixture) -> None:
    given = Job(shots=10, name="bell", seed=7, id=999, state=JobState.JOB_STATE_FAILED, progress=0.5)
    job = create(rpc, job=given)
    assert (job.state, job.shots, job.name, job.seed) == (JobState.JOB_STATE_QUEUED, 10, "bell", 7)
    assert job.type == JobType.JOB_TYPE_RUNNER
    assert job.id != 999
    assert job.executed_by == "anonymous"
    found = rpc.jobs.GetJob(job_service.GetJobRequest(id=job.id)).job
    assert found.queue.HasField("position")
    found.ClearField("queue")
    assert found == job
    listed = rpc.jobs.ListJobs(job_service.ListJobsRequest(filter='state = "QUEUED"')).jobs
    assert job.id in [one.id for one in listed]

    rpc.run(job.id)
    done = rpc.jobs.GetJob(job_service.GetJobRequest(id=job.id)).job
    assert done.state == JobState.JOB_STATE_SUCCEEDED
    results = rpc.results.ListResults(result_service.ListResultsRequest(job_id=job.id)).results
    assert [result.counts_and_probabilities.counts["0x0"] for result in results] == [10]
    assert rpc.results.GetResult(result_service.GetResultRequest(id=results[0].id)).result == results[0]

    events = rpc.jobs.ListJobEvents(job_service.ListJobEventsRequest(job_id=job.id)).events
    assert [event.sequence for event in events] == list(range(1, done.last_sequence + 1))
    first = rpc.jobs.ListJobEvents(job_service.ListJobEventsRequest(job_id=job.id, page_size=2))
    rest = rpc.jobs.ListJobEvents(
        job_service.ListJobEventsRequest(job_id=job.id, page_size=50, page_token=first.next_page_token)
    )
    assert [event.sequence for event in (*first.events, *rest.events)] == [event.sequence for event in events]

    again = rpc.jobs.RerunJob(job_service.RerunJobRequest(id=job.id)).job
    assert again.id != job.id
    assert (again.shots, again.seed, again.deployment_id) == (10, 7, job.deployment_id)
    cancelled = rpc.jobs.CancelJob(job_service.CancelJobRequest(id=again.id)).job
    assert cancelled.state == JobState.JOB_STATE_CANCELLED
    rpc.jobs.DeleteJob(job_service.DeleteJobRequest(id=again.id))
    assert refused(lambda: rpc.jobs.GetJob(job_service.GetJobRequest(id=again.id)))[0] == "NOT_FOUND"


def test_the_same_request_id_gives_the_same_job(rpc: RpcFixture) -> None:
    request = job_service.CreateJobRequest(
        job=Job(shots=10), device="IBM/aer_simulator", deployment=programs(BELL), request_id=str(uuid.uuid4())
    )
    first = rpc.jobs.CreateJob(request)
    # Output-only fields are ignored, so the request with them counts as the same one.
    request.job.progress = 0.3
    request.deployment.programs[0].id = 12
    second = rpc.jobs.CreateJob(request)
    assert (first.deduplicated, second.deduplicated) == (False, True)
    assert first.job.id == second.job.id
    request.job.shots = 11
    code, details = refused(lambda: rpc.jobs.CreateJob(request))
    assert (code, details["ErrorInfo"].reason) == ("ALREADY_EXISTS", "REQUEST_ID_REUSED")
    rpc.run(first.job.id)

    rerun = job_service.RerunJobRequest(id=first.job.id, request_id=str(uuid.uuid4()))
    made = [rpc.jobs.RerunJob(rerun) for _ in range(2)]
    assert [one.deduplicated for one in made] == [False, True]
    assert made[0].job.id == made[1].job.id
    rpc.run(made[0].job.id)


def test_validate_only_stores_nothing(rpc: RpcFixture) -> None:
    def newest() -> list[int]:
        return [job.id for job in rpc.jobs.ListJobs(job_service.ListJobsRequest(page_size=1)).jobs]

    before = newest()
    request = job_service.CreateJobRequest(
        job=Job(shots=10, name="dry"), device="IBM/aer_simulator", deployment=programs(BELL), validate_only=True
    )
    job = rpc.jobs.CreateJob(request).job
    assert (job.id, job.name, job.shots, job.state) == (0, "dry", 10, JobState.JOB_STATE_QUEUED)
    assert job.device == "IBM/aer_simulator"
    assert len(job.program_runs) == 1
    events = [response.event for response in rpc.jobs.RunJob(bell(validate_only=True), timeout=WAIT)]
    assert [event.WhichOneof("event") for event in events] == ["created"]
    assert newest() == before


def test_server_info(rpc: RpcFixture) -> None:
    info = rpc.system.GetServerInfo(GetServerInfoRequest())
    assert info.version == installed_release()
    assert info.limits.max_shots == 50_000
    assert list(info.features) == ["watching"]
    assert info.store == "sqlite"


def test_a_request_id_is_returned(rpc: RpcFixture) -> None:
    info = rpc.system.GetServerInfo
    _, call = info.with_call(GetServerInfoRequest(), metadata=[("x-request-id", "abc-1")])
    assert dict(call.trailing_metadata())["x-request-id"] == "abc-1"
    _, call = info.with_call(GetServerInfoRequest(), metadata=[("x-request-id", "not sane " * 20)])
    assert len(dict(call.trailing_metadata())["x-request-id"]) == 16


def test_health_of_each_service(tmp_path: Path) -> None:
    with rpc_fixture(tmp_path) as rpc:
        health = health_pb2_grpc.HealthStub(rpc.channel)
        for service in ("", *rpc_server.SERVICES):
            status = health.Check(health_pb2.HealthCheckRequest(service=service)).status
            assert status == health_pb2.HealthCheckResponse.SERVING
        assert refused(lambda: health.Check(health_pb2.HealthCheckRequest(service="unknown")))[0] == "NOT_FOUND"
        unknown = health.Watch(health_pb2.HealthCheckRequest(service="unknown"))
        assert next(unknown).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        unknown.cancel()
        watch = health.Watch(health_pb2.HealthCheckRequest(service="qonduit.v1.JobService"), timeout=WAIT)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        rpc.server.drain()
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert list(watch) == []
        assert health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        # Clients that wait for results are still served; load balancers send new jobs elsewhere.
        rpc.system.GetServerInfo(GetServerInfoRequest())
        code, details = refused(lambda: list(rpc.jobs.RunJob(bell())))
        assert (code, details["ErrorInfo"].reason) == ("UNAVAILABLE", "DRAINING")
        assert details["RetryInfo"].retry_delay.ToNanoseconds() > 0


def test_an_address_in_use_is_reported(rpc: RpcFixture) -> None:
    with pytest.raises(StartError, match="in use"):
        rpc_server.serve(rpc.db, rpc_server.RpcOptions(listen=rpc.target))
    with pytest.raises(StartError):
        rpc_server.serve(rpc.db, rpc_server.RpcOptions(listen="no such address"))


def test_resources_of_other_callers_are_not_found(tmp_path: Path) -> None:
    with rpc_fixture(tmp_path, authenticate=by_name("anna")) as rpc:
        job = create(rpc)
        rpc.run(job.id)
        result = rpc.results.ListResults(result_service.ListResultsRequest(job_id=job.id)).results[0]
        other = [(CALLER_KEY, "ben")]
        calls = (
            lambda: rpc.jobs.GetJob(job_service.GetJobRequest(id=job.id), metadata=other),
            lambda: rpc.jobs.CancelJob(job_service.CancelJobRequest(id=job.id), metadata=other),
            lambda: rpc.jobs.RerunJob(job_service.RerunJobRequest(id=job.id), metadata=other),
            lambda: rpc.jobs.DeleteJob(job_service.DeleteJobRequest(id=job.id), metadata=other),
            lambda: list(rpc.jobs.WatchJob(job_service.WatchJobRequest(job_id=job.id), metadata=other)),
            lambda: rpc.jobs.ListJobEvents(job_service.ListJobEventsRequest(job_id=job.id), metadata=other),
            lambda: rpc.results.GetResult(result_service.GetResultRequest(id=result.id), metadata=other),
            lambda: rpc.results.ListResults(result_service.ListResultsRequest(job_id=job.id), metadata=other),
            lambda: rpc.deployments.GetDeployment(
                deployment_service.GetDeploymentRequest(id=job.deployment_id), metadata=other
            ),
            lambda: list(
                rpc.jobs.RunJob(
                    job_service.RunJobRequest(
                        job=Job(shots=1, deployment_id=job.deployment_id), device="IBM/aer_simulator"
                    ),
                    metadata=other,
                )
            ),
        )
        for call in calls:
            code, details = refused(call)
            assert code == "NOT_FOUND"
            assert details["ResourceInfo"].resource_type
        assert not rpc.jobs.ListJobs(job_service.ListJobsRequest(), metadata=other).jobs
        assert rpc.jobs.GetJob(job_service.GetJobRequest(id=job.id)).job.executed_by == "anna"


def test_a_burst_of_opens_loses_none(rpc: RpcFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    # On a busy machine this many calls may exceed the default timeout for receiving requests.
    monkeypatch.setattr(request_receiver, "HURRY", WAIT)
    job = create(rpc)
    rpc.run(job.id)
    request = job_service.WatchJobRequest(job_id=job.id)
    last = rpc.jobs.GetJob(job_service.GetJobRequest(id=job.id)).job.last_sequence
    streams = [rpc.jobs.WatchJob(request, timeout=3 * WAIT) for _ in range(MAX_CONCURRENT_STREAMS)]
    for stream in streams:
        assert [response.event.sequence for response in stream] == list(range(1, last + 1))
        assert stream.code() is grpc.StatusCode.OK
