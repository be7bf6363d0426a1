# SPDX-License-Identifier: Apache-2.0
"""The provider AWS on a server: its simulators, and Amazon Braket's devices. Braket and S3 are those of the tests."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace

import grpc
import pytest

from qonduit.v1 import job_service_pb2 as calls
from qonduit.v1.device_pb2 import Device
from qonduit.v1.device_service_pb2 import (
    GetDeviceCalibrationRequest,
    ListDevicesRequest,
    RefreshDevicesRequest,
)
from qonduit.v1.device_service_pb2_grpc import DeviceServiceStub
from qonduit.v1.job_pb2 import Job, JobState
from qonduit.v1.provider_pb2 import AssemblerLanguage
from tests.vendor_cloud.aws_provider import REGION, credential
from tests.vendor_cloud.fake_vendor import Behavior
from tests.vendor_cloud.served_vendor import ASYMMETRIC, AWS, PATIENCE, TOKEN, ServedVendor, served_vendor

SUCCEEDED, FAILED = JobState.JOB_STATE_SUCCEEDED, JobState.JOB_STATE_FAILED
RIGHT = [{"0x1 0x0": 10}]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedVendor]:
    folder = tmp_path_factory.mktemp("aws")
    kind = replace(AWS, listed=False)
    with served_vendor(folder, kind=kind, providers="AWS", preload="AWS", workers="1") as served:
        yield served


@pytest.fixture(scope="module")
def devices(served: ServedVendor) -> dict[str, Device]:
    """Return the devices, after Braket was asked for those of the account."""
    stub = DeviceServiceStub(served.channel)
    before = stub.ListDevices(ListDevicesRequest(), timeout=PATIENCE).devices
    assert {each.name for each in before} == {"local_simulator", "braket_dm"}
    request = RefreshDevicesRequest(provider_id=before[0].provider_id, credential=credential(TOKEN))
    found = stub.RefreshDevices(request, timeout=PATIENCE).devices
    return {each.name: each for each in found}


def run(served: ServedVendor, device: str, token: str = TOKEN, **options: object) -> Job:
    request = served.request("AWS", credential=token, device=device, **options)
    job: Job = served.end(served.jobs.CreateJob(request, timeout=PATIENCE).job.id)
    return job


def test_the_devices_of_an_account_are_described_by_braket(served: ServedVendor, devices: dict[str, Device]) -> None:
    forte, ankaa, sv1 = devices["ionq_Forte-1"], devices["rigetti_Ankaa-3"], devices["amazon_sv1"]
    assert (forte.num_qubits, forte.is_simulator, forte.is_local, forte.available) == (36, False, False, True)
    assert (forte.max_shots, forte.capabilities.coupling_map) == (5000, False)
    assert {"cx", "sx", "rz"} <= set(forte.basis_gates)
    assert (forte.price.job, forte.price.shot, forte.price.unit) == (0.3, 0.08, "USD")
    assert (sv1.price.minute, sv1.price.max_minutes, sv1.price.unit) == (0.075, 360, "USD")
    assert "12 tasks wait, 0.08 USD a shot, Everyday 09:00-17:30 UTC" in forte.status_message
    assert (sv1.is_simulator, sv1.is_local, sv1.num_qubits) == (True, False, 34)
    assert (ankaa.available, ankaa.capabilities.coupling_map) == (False, True)
    request = GetDeviceCalibrationRequest(id=ankaa.id)
    measured = DeviceServiceStub(served.channel).GetDeviceCalibration(request, timeout=PATIENCE).calibration
    assert [(pair.first, pair.second) for pair in measured.coupling_map] == [(0, 1), (1, 0)]
    assert measured.qubits[0].t1 == pytest.approx(28.9e-6)
    assert measured.qubits[0].prob_1_given_0 == pytest.approx(0.097)
    (gate,) = measured.gates
    assert (gate.gate, list(gate.qubits), gate.error) == ("cx", [0, 1], pytest.approx(0.123))


def test_jobs_run_on_a_processor_and_on_simulators(served: ServedVendor, devices: dict[str, Device]) -> None:
    before = served.vendor.requests("submit")
    job = run(served, "ionq_Forte-1")
    assert (job.state, served.counts(job)) == (SUCCEEDED, RIGHT), job.failure
    assert job.provider_specific_id.startswith(f"arn:aws:braket:{REGION}:")
    assert (served.cost(job).amount, served.cost(job).unit) == (pytest.approx(1.1), "USD")
    (result,) = served.list_results(job)
    assert result.meta_data["device_arn"] == f"arn:aws:braket:{REGION}::device/qpu/ionq/Forte-1"
    managed = run(served, "amazon_sv1")
    assert (managed.state, served.counts(managed)) == (SUCCEEDED, RIGHT), managed.failure
    # The cost of a simulator depends on its time, here 8 s, which only the results contain.
    assert (served.cost(managed).amount, served.cost(managed).unit) == (0.01, "USD")
    assert not managed.provider_status.HasField("reserved")
    assert served.vendor.requests("submit") == before + 2
    local = run(served, "local_simulator", token="")
    assert (local.state, served.counts(local), local.provider_specific_id) == (SUCCEEDED, RIGHT, ""), local.failure
    assert served.vendor.requests("submit") == before + 2


def test_the_cost_is_estimated_before_and_limited(served: ServedVendor, devices: dict[str, Device]) -> None:
    request = served.request("AWS", device="ionq_Forte-1", shots=100)
    request.validate_only = True
    cost = served.jobs.CreateJob(request, timeout=PATIENCE).cost
    assert (cost.amount, cost.unit) == (pytest.approx(8.3), "USD")
    before = served.vendor.requests("submit")
    request.validate_only = False
    request.job.max_cost.amount, request.job.max_cost.unit = 8.2, "USD"
    job = served.end(served.jobs.CreateJob(request, timeout=PATIENCE).job.id)
    assert (job.state, job.failure.reason) == (FAILED, "COST_LIMIT")
    assert served.vendor.requests("submit") == before


SWEEP = 'OPENQASM 3.0; include "stdgates.inc"; input float t; qubit[2] q; bit[2] c; rx(t) q[1]; c = measure q;'


@pytest.mark.parametrize("files", [False, True], ids=["one file", "many files"])
def test_points_of_a_sweep_are_programs_of_few_tasks(
    served: ServedVendor, devices: dict[str, Device], files: bool
) -> None:
    limits = devices["ionq_Forte-1"].vendor_job
    assert (limits.circuits, limits.shots) == (3, 5000)
    served.vendor.control(files=files)
    before, submits = set(served.vendor.control()["jobs"]), served.vendor.requests("submit")
    request = served.request("AWS", SWEEP, device="ionq_Forte-1", shots=20)
    request.deployment.programs[0].assembler_language = AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3
    request.job.parameter_sets.names.append("t")
    request.job.parameter_sets.values.extend([math.pi, 0.0] * 4)
    request.validate_only = True
    cost = served.jobs.CreateJob(request, timeout=PATIENCE).cost
    assert cost.amount == pytest.approx(3 * 0.3 + 8 * 20 * 0.08)
    request.validate_only = False
    job = served.end(served.jobs.CreateJob(request, timeout=PATIENCE).job.id)
    served.vendor.control(**vars(Behavior()))
    assert (job.state, served.counts(job)) == (SUCCEEDED, [{"0x2": 20}, {"0x0": 20}] * 4), job.failure
    assert served.cost(job).amount == pytest.approx(cost.amount)
    after = served.vendor.control()["jobs"]
    # 3 programs, 3 and 2: each task was sent once.
    assert (len(after.keys() - before), served.vendor.requests("submit") - submits) == (3, 3)


@pytest.mark.parametrize("outcome", ["partial", "partial-failed"])
def test_a_program_of_a_set_that_fails_keeps_the_others(
    served: ServedVendor, devices: dict[str, Device], outcome: str
) -> None:
    served.vendor.control(outcome=outcome)
    request = served.request("AWS", ASYMMETRIC, ASYMMETRIC, ASYMMETRIC, device="ionq_Forte-1")
    job = served.end(served.jobs.CreateJob(request, timeout=PATIENCE).job.id)
    served.vendor.control(**vars(Behavior()))
    assert [run.state for run in job.program_runs] == [FAILED, SUCCEEDED, SUCCEEDED]
    failure = job.program_runs[0].failure
    assert (failure.reason, failure.provider_code, failure.retryable) == ("VENDOR_FAILED", "DEVICE", True)
    assert "calibration lost" in failure.message
    assert served.counts(job) == RIGHT * 2
    # The shots of two programs.
    assert served.cost(job).amount == pytest.approx(0.3 + 20 * 0.08)


def test_devices_without_sets_get_one_task_for_each_program(served: ServedVendor, devices: dict[str, Device]) -> None:
    before = served.vendor.requests("submit")
    assert not devices["amazon_sv1"].HasField("vendor_job")
    request = served.request("AWS", ASYMMETRIC, ASYMMETRIC, device="amazon_sv1")
    job = served.end(served.jobs.CreateJob(request, timeout=PATIENCE).job.id)
    assert (job.state, served.counts(job)) == (SUCCEEDED, RIGHT * 2), job.failure
    assert served.vendor.requests("submit") == before + 2


def test_counts_from_probabilities_are_named_as_such(served: ServedVendor, devices: dict[str, Device]) -> None:
    served.vendor.control(outcome="probabilities")
    job = run(served, "ionq_Forte-1")
    served.vendor.control(**vars(Behavior()))
    assert (job.state, served.counts(job)) == (SUCCEEDED, RIGHT), job.failure
    (result,) = served.list_results(job)
    assert result.meta_data["counts_from"] == "probabilities"


def test_a_failed_request_is_sent_once(served: ServedVendor, devices: dict[str, Device]) -> None:
    """The SDK repeats requests up to four times by default: each request of the server is one on the wire."""
    served.vendor.control(polls=["fail"], fetches=["fail"], hold=True)
    before = served.vendor.control()["requests"]
    job_id = served.jobs.CreateJob(served.request("AWS", device="ionq_Forte-1"), timeout=PATIENCE).job.id
    served.until(job_id, lambda event: event.provider_status.state == "QUEUED")
    served.vendor.control(**vars(Behavior()) | {"polls": [], "fetches": ["fail"]})
    assert served.end(job_id).state == SUCCEEDED
    after = served.vendor.control()["requests"]
    assert after["submit"] - before.get("submit", 0) == 1
    assert after["results"] - before.get("results", 0) == 2


@pytest.mark.parametrize(
    ("secret", "why"),
    [
        (json.dumps(json.loads(credential(TOKEN)) | {"bucket": "amazon-braket-other"}), "is not yours"),
        (json.dumps(json.loads(credential(TOKEN)) | {"aws_secret_access_key": "another secret"}), "signature"),
    ],
    ids=["foreign bucket", "secret"],
)
def test_a_credential_that_cannot_be_used_is_refused_with_the_reason(
    served: ServedVendor, devices: dict[str, Device], secret: str, why: str
) -> None:
    request = served.request("AWS", device="ionq_Forte-1")
    request.credential = secret
    job = served.end(served.jobs.CreateJob(request, timeout=PATIENCE).job.id)
    assert (job.state, job.failure.reason) == (FAILED, "CREDENTIAL_REJECTED")
    assert why in job.failure.message
    assert "another secret" not in str(job)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("qreg q[1]; creg c[1]; measure q[0] -> c[0]; x q[0];", "no measurements within a circuit"),
        ("qreg q[1]; creg c[1]; x q[0]; reset q[0]; measure q[0] -> c[0];", "reset"),
        ("qreg q[1]; creg c[1]; x q[0];", "measures nothing"),
    ],
)
def test_programs_that_no_device_of_braket_runs_are_refused_before_they_cost(
    served: ServedVendor, devices: dict[str, Device], text: str, why: str
) -> None:
    request = served.request("AWS", f'OPENQASM 2.0; include "qelib1.inc"; {text}', device="ionq_Forte-1")
    request.validate_only = True
    with pytest.raises(grpc.RpcError) as refused:
        served.jobs.CreateJob(request, timeout=PATIENCE)
    assert why in str(refused.value)


def test_the_cost_of_a_simulator_is_bounded_by_its_longest_time(
    served: ServedVendor, devices: dict[str, Device]
) -> None:
    before = served.vendor.requests("submit")
    request = served.request("AWS", device="amazon_sv1")
    request.job.max_cost.amount, request.job.max_cost.unit = 26.9, "USD"
    refused = served.end(served.jobs.CreateJob(request, timeout=PATIENCE).job.id)
    assert (refused.state, refused.failure.reason) == (FAILED, "COST_LIMIT")
    assert served.vendor.requests("submit") == before
    # Six hours at 0.075 USD a minute.
    request.job.max_cost.amount = 27.0
    job = served.end(served.jobs.CreateJob(request, timeout=PATIENCE).job.id)
    assert job.state == SUCCEEDED, job.failure
    assert served.cost(job).amount == 0.01


def test_more_shots_than_a_device_runs_are_refused(served: ServedVendor, devices: dict[str, Device]) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        served.jobs.CreateJob(served.request("AWS", device="ionq_Forte-1", shots=5001), timeout=PATIENCE)
    assert "5000" in str(refused.value)


def test_a_device_that_is_offline_takes_no_jobs(served: ServedVendor, devices: dict[str, Device]) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        served.jobs.CreateJob(served.request("AWS", device="rigetti_Ankaa-3"), timeout=PATIENCE)
    assert "Ankaa-3: offline" in str(refused.value)


def test_a_task_that_has_ended_is_not_cancelled(served: ServedVendor, devices: dict[str, Device]) -> None:
    served.vendor.control(hold=True)
    job_id = served.jobs.CreateJob(served.request("AWS", device="ionq_Forte-1"), timeout=PATIENCE).job.id
    served.until(job_id, lambda event: event.provider_status.state == "QUEUED")
    served.vendor.control(**vars(Behavior()))
    served.jobs.CancelJob(calls.CancelJobRequest(id=job_id), timeout=PATIENCE)
    assert served.counts(served.end(job_id)) == RIGHT
