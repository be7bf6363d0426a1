# SPDX-License-Identifier: Apache-2.0
"""A provider with simulators and with a machine at a vendor, on a server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest

from qonduit.v1 import job_service_pb2 as calls
from qonduit.v1.device_service_pb2 import ListDevicesRequest
from qonduit.v1.device_service_pb2_grpc import DeviceServiceStub
from qonduit.v1.job_pb2 import Job, JobState
from tests.contract.rpc_fixture import until
from tests.rabbitmq import RabbitmqBroker
from tests.server_process import working
from tests.vendor_cloud import local_half
from tests.vendor_cloud.fake_vendor import Behavior
from tests.vendor_cloud.provider import install
from tests.vendor_cloud.served_vendor import CLOUD, PATIENCE, TERMS, TOKEN, ServedVendor, served_vendor

RIGHT = [{"0x1 0x0": 10}]
SIMULATOR = f"{local_half.NAME}/aer_simulator"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedVendor]:
    folder = tmp_path_factory.mktemp("mixed")
    local_half.install(folder / "packages")
    with served_vendor(folder, providers=local_half.NAME, workers="1") as served:
        yield served


def local(served: ServedVendor, device: str = SIMULATOR, credential: str = "", validate_only: bool = False) -> Job:
    request = served.request(local_half.NAME, credential=credential)
    request.device, request.validate_only = device, validate_only
    job: Job = served.jobs.CreateJob(request, timeout=PATIENCE).job
    return job if validate_only else served.end(job.id)


def test_the_simulator_takes_no_credential_and_the_machine_requires_one(served: ServedVendor) -> None:
    job = local(served)
    assert (job.state, served.counts(job)) == (JobState.JOB_STATE_SUCCEEDED, RIGHT), job.failure
    with pytest.raises(grpc.RpcError) as refused:
        local(served, credential=TOKEN)
    assert f"{SIMULATOR} uses no credential" in str(refused.value)
    with pytest.raises(grpc.RpcError) as required:
        served.create(local_half.NAME, credential="")
    assert f"{local_half.NAME} requires a credential" in str(required.value)


def test_jobs_of_the_simulator_run_while_others_wait_at_the_vendor(served: ServedVendor) -> None:
    served.vendor.control(hold=True)
    waiting = [served.create(local_half.NAME) for _ in range(5)]
    for job_id in waiting:
        served.at_vendor(job_id)
    job = local(served)
    assert (job.state, job.provider_specific_id) == (JobState.JOB_STATE_SUCCEEDED, "")
    served.vendor.control(**vars(Behavior()))
    for job_id in waiting:
        job = served.end(job_id)
        assert (job.state, served.counts(job)) == (JobState.JOB_STATE_SUCCEEDED, RIGHT), job.failure
        assert job.provider_specific_id


def test_programs_are_compiled_for_either_kind_without_a_submission(served: ServedVendor) -> None:
    before = served.vendor.accepted
    local(served, validate_only=True)
    local(served, f"{local_half.NAME}/machine", TOKEN, validate_only=True)
    assert served.vendor.accepted == before


def test_an_automatic_choice_is_never_a_machine_that_costs(served: ServedVendor) -> None:
    assert local(served, f"{local_half.NAME}/AUTO").device == SIMULATOR


def test_the_catalogue_lists_both_kinds(served: ServedVendor) -> None:
    stub = DeviceServiceStub(served.channel)
    found = {each.name: each for each in stub.ListDevices(ListDevicesRequest(), timeout=PATIENCE).devices}
    assert (found["machine"].is_local, found["machine"].with_token) == (False, True)
    assert (found["aer_simulator"].is_local, found["aer_simulator"].with_token) == (True, False)
    assert found["aer_simulator"].HasField("with_token")


def test_devices_of_an_account_are_listed_by_its_vendor_and_run_jobs(served: ServedVendor) -> None:
    command = [sys.executable, "-m", "qonduit_client.cli", "--server", served.server.target]
    refresh = ["devices", "--refresh", local_half.NAME, "--credential-file", "-", "--output", "json"]

    def refreshed(token: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *refresh], input=token, capture_output=True, text=True, timeout=PATIENCE)

    served.vendor.control(tokens=[TOKEN])
    wrong = refreshed("not-the-token")
    assert wrong.returncode
    assert "has not listed its devices" in wrong.stderr
    assert "not-the-token" not in wrong.stderr
    done = refreshed(TOKEN)
    assert done.returncode == 0, done.stderr
    found = {each["name"]: each for each in map(json.loads, done.stdout.splitlines())}
    assert found["of_the_lab"]["num_qubits"] == 4
    assert found["of_the_lab"]["listed_at"]
    request = served.request(local_half.NAME)
    request.device = f"{local_half.NAME}/of_the_lab"
    job = served.end(served.jobs.CreateJob(request, timeout=PATIENCE).job.id)
    assert (job.state, served.counts(job)) == (JobState.JOB_STATE_SUCCEEDED, RIGHT), job.failure
    # The description of the workers, which do not know it, does not withdraw it.
    again = subprocess.run([*command, *refresh[:3]], capture_output=True, text=True, timeout=PATIENCE)
    assert "of_the_lab" in again.stdout
    request.request_id = ""
    assert served.end(served.jobs.CreateJob(request, timeout=PATIENCE).job.id).state == JobState.JOB_STATE_SUCCEEDED
    served.vendor.control(**vars(Behavior()))


def test_a_job_of_either_kind_is_cancelled(served: ServedVendor) -> None:
    served.vendor.control(hold=True)
    job_id = served.create(local_half.NAME)
    served.at_vendor(job_id)
    served.jobs.CancelJob(calls.CancelJobRequest(id=job_id), timeout=PATIENCE)
    assert served.end(job_id).state == JobState.JOB_STATE_CANCELLED
    served.vendor.control(**vars(Behavior()))


def test_a_worker_machine_prepares_jobs_for_the_vendor_and_runs_others(
    rabbitmq: RabbitmqBroker, tmp_path: Path
) -> None:
    local_half.install(tmp_path / "packages")
    broker = {"executor": "celery", "broker": rabbitmq.url()}
    with ExitStack() as ends:
        served = ends.enter_context(served_vendor(tmp_path, providers=local_half.NAME, **broker))
        variables = install(tmp_path / "packages", CLOUD.classes, **TERMS)
        ends.enter_context(working(rabbitmq.url(), local_half.NAME, environment=variables))
        stub = DeviceServiceStub(served.channel)
        wanted = ListDevicesRequest(filter="available = true")
        until(lambda: len(stub.ListDevices(wanted, timeout=PATIENCE).devices) == 2)
        served.vendor.control(hold=True)
        job_id = served.create(local_half.NAME)
        served.at_vendor(job_id)
        job = local(served)
        assert (job.state, served.counts(job)) == (JobState.JOB_STATE_SUCCEEDED, RIGHT), job.failure
        served.vendor.control(hold=False)
        job = served.end(job_id)
        assert (job.state, served.counts(job), job.attempt) == (JobState.JOB_STATE_SUCCEEDED, RIGHT, 1), job.failure
        assert served.vendor.accepted == 1
