# SPDX-License-Identifier: Apache-2.0
"""IonQ's devices on a server that finds their environment by itself, beyond the contract of vendors."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from qonduit.v1 import job_service_pb2 as calls
from qonduit.v1.device_service_pb2 import GetDeviceCalibrationRequest, ListDevicesRequest
from qonduit.v1.device_service_pb2_grpc import DeviceServiceStub
from qonduit.v1.job_pb2 import JobState, VendorCost
from qonduit.v1.result_pb2 import Result
from qonduit_server.providers.vendors.ionq_devices import SIMULATORS
from tests.contract.rpc_fixture import until
from tests.vendor_cloud.environments import FOLDER, environment_python
from tests.vendor_cloud.fake_vendor import PRICE, Behavior
from tests.vendor_cloud.served_vendor import IONQ, PATIENCE, ServedVendor, list_with_command, served_vendor

#: Of the service, in dollars, of a gate on one qubit and on two.
GATE_PRICES = (0.001, 0.004)
BELL = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0], q[1]; measure q -> c;'


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedVendor]:
    environment_python("IONQ")
    providers = {"providers": "IONQ,IONQ_CLOUD", "provider_environments": str(FOLDER)}
    with served_vendor(tmp_path_factory.mktemp("ionq"), kind=IONQ, **providers) as served:
        list_with_command(served, "IONQ")
        # Requests of the probes would be counted by tests, and meet the failures that tests order.
        until(lambda: verified(served) == set(SIMULATORS))
        yield served


def verified(served: ServedVendor) -> set[str]:
    """Return the names of the devices whose order of bits was verified."""
    devices = DeviceServiceStub(served.channel).ListDevices(ListDevicesRequest(page_size=100)).devices
    return {device.name for device in devices if device.HasField("verified_at")}


@pytest.fixture
def served(shared: ServedVendor) -> ServedVendor:
    shared.vendor.control(**vars(Behavior()))
    return shared


def only_result(served: ServedVendor, device: str, text: str = BELL, shots: int = 1000) -> Result:
    job = served.run("IONQ", text, device=device, shots=shots)
    assert job.state == JobState.JOB_STATE_SUCCEEDED, job.failure
    (result,) = served.list_results(job)
    assert sum(result.counts_and_probabilities.counts.values()) == shots
    return result


def test_the_counts_of_the_ideal_simulator_say_that_they_were_drawn(served: ServedVendor) -> None:
    result = only_result(served, "simulator")
    assert (result.meta_data["counts_origin"], result.meta_data["noise_model"]) == ("drawn", "ideal")
    assert result.meta_data["draw_seed"] > 0
    counts = result.counts_and_probabilities.counts
    assert set(counts) == {"0x0", "0x3"}
    assert 400 < counts["0x0"] < 600


@pytest.mark.parametrize("histograms", [False, True])
def test_the_counts_of_a_machine_say_that_they_are_the_vendors(served: ServedVendor, histograms: bool) -> None:
    served.vendor.control(histograms=histograms)
    before = served.vendor.requests("histogram")
    result = only_result(served, "forte_1")
    assert result.meta_data["counts_origin"] == "vendor"
    assert "draw_seed" not in result.meta_data
    assert result.meta_data["calibration_id"]
    assert set(result.counts_and_probabilities.counts) == {"0x0", "0x3"}
    assert served.vendor.requests("histogram") - before == int(histograms)


@pytest.mark.parametrize("device", [*SIMULATORS, "forte_1", "tempo_1"])
def test_each_bit_of_each_register_has_its_place_on_each_device(served: ServedVendor, device: str) -> None:
    text = """OPENQASM 2.0; include "qelib1.inc"; qreg q[4]; creg a[2]; creg b[3];
    x q[3]; x q[1]; measure q[3] -> a[1]; measure q[0] -> b[0]; measure q[1] -> b[2]; measure q[2] -> a[0];"""
    result = only_result(served, device, text, shots=10)
    assert dict(result.counts_and_probabilities.counts) == {"0x4 0x2": 10}


def test_the_client_of_ionq_repeats_no_request(served: ServedVendor) -> None:
    before = served.vendor.control()["requests"]
    served.vendor.control(submits=["fail"], polls=["fail"], fetches=["fail"], hold=True)
    job = served.run("IONQ_CLOUD")
    assert job.failure.reason == "SUBMISSION_UNKNOWN"
    assert served.vendor.requests("submit") - before.get("submit", 0) == 1
    assert job.failure.message.count("with the tag") == 1


def priced(served: ServedVendor, *texts: str, shots: int = 1000, device: str = "forte_1") -> calls.CreateJobRequest:
    request = served.request("IONQ", *texts, shots=shots, device=device)
    request.validate_only = True
    return request


def test_the_cost_is_asked_of_ionq_before_the_job_is_submitted(served: ServedVendor) -> None:
    one, two = GATE_PRICES
    before, accepted = served.vendor.requests("estimate"), served.vendor.accepted
    request = priced(served, BELL, BELL, "OPENQASM 2.0; qreg q[2]; creg c[2]; swap q[0], q[1]; measure q -> c;")
    # Equal circuits are asked for once; a swap counts as the three gates of which IonQ makes it.
    cost = served.jobs.CreateJob(request, timeout=PATIENCE).cost
    assert (cost.amount, cost.unit) == (pytest.approx(2 * 1000 * (one + two) + 1000 * 3 * two), "USD")
    assert served.vendor.requests("estimate") - before == 2
    previews = served.jobs.RunJob(
        calls.RunJobRequest(
            job=request.job,
            deployment=request.deployment,
            device=request.device,
            credential=request.credential,
            validate_only=True,
        ),
        timeout=PATIENCE,
    )
    (preview,) = previews
    assert (preview.cost, len(preview.compiled), preview.event.HasField("created")) == (cost, 3, True)
    request.job.max_cost.amount, request.job.max_cost.unit = cost.amount - 0.01, "USD"
    with pytest.raises(grpc.RpcError, match=r"estimated cost of the job is 22 USD, and max_cost is 21\.99 USD"):
        served.jobs.CreateJob(request, timeout=PATIENCE)
    request.validate_only = False
    job = served.end(served.jobs.CreateJob(request, timeout=PATIENCE).job.id)
    assert (job.failure.reason, served.vendor.accepted - accepted) == ("COST_LIMIT", 0)
    free = served.jobs.CreateJob(priced(served, device="simulator"), timeout=PATIENCE).cost
    assert (free.amount, free.unit) == (0, "USD")


def test_the_command_line_shows_the_estimate_by_a_stored_credential(served: ServedVendor, tmp_path: Path) -> None:
    (tmp_path / "bell.qasm").write_text(BELL)
    command = [sys.executable, "-m", "qonduit_client.cli", "--server", served.server.target, "run", "bell.qasm"]
    command += ["--device", "IONQ/forte_1", "--credential", "lab", "--shots", "1000", "--validate-only"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "estimated cost: 5 USD" in done.stdout


def test_an_estimate_is_reserved_and_settled_by_ionqs_own_figure(served: ServedVendor) -> None:
    served.vendor.control(hold=True)
    request = priced(served, BELL)
    request.validate_only, request.job.max_cost.amount, request.job.max_cost.unit = False, 5.0, "USD"
    job_id = served.jobs.CreateJob(request, timeout=PATIENCE).job.id
    reserved = served.at_vendor(job_id).provider_status.reserved
    assert (reserved.amount, reserved.unit) == (pytest.approx(5.0), "USD")
    served.vendor.control(hold=False)
    status = served.end(job_id).provider_status
    assert (status.cost.amount, status.cost.unit) == (PRICE, "USD")
    assert not status.HasField("reserved")
    assert not status.HasField("computed_cost")


@pytest.mark.parametrize("modes", [["busy", "fail", "half"], ["cut"]])
def test_a_job_waits_for_an_estimate(served: ServedVendor, modes: list[str]) -> None:
    served.vendor.control(estimates=modes, retry_after=0.1)
    before = served.vendor.requests("estimate")
    job = served.run("IONQ_CLOUD", max_cost=VendorCost(amount=1.0, unit="USD"))
    assert job.state == JobState.JOB_STATE_SUCCEEDED, job.failure
    assert served.vendor.requests("estimate") - before == len(modes) + 1


def test_a_job_whose_cost_is_limited_names_its_wrong_token(served: ServedVendor) -> None:
    accepted = served.vendor.accepted
    served.vendor.control(tokens=["the-token"])
    job = served.run("IONQ_CLOUD", max_cost=VendorCost(amount=1.0, unit="USD"), credential="another-token")
    assert (job.failure.reason, served.vendor.accepted - accepted) == ("CREDENTIAL_REJECTED", 0)
    assert "store a valid credential, and rerun the job with it" in job.failure.message


def test_a_job_whose_cost_is_limited_is_not_submitted_without_an_estimate(served: ServedVendor) -> None:
    accepted = served.vendor.accepted
    served.vendor.control(estimates=["refuse"] * 2)
    job = served.run("IONQ_CLOUD", max_cost=VendorCost(amount=1.0, unit="USD"))
    assert (job.failure.reason, served.vendor.accepted - accepted) == ("COST_LIMIT", 0)
    assert "IONQ_CLOUD has not estimated it: the machine has no such gate" in job.failure.message
    assert "no price of IONQ_CLOUD/forte_1 in vendor_prices" in job.failure.message
    assert served.run("IONQ_CLOUD").state == JobState.JOB_STATE_SUCCEEDED  # without a limit, it needs none


def test_a_wrong_api_key_is_refused_before_the_submission(served: ServedVendor) -> None:
    served.vendor.control(tokens=["another"])
    with pytest.raises(grpc.RpcError, match="does not accept the API key"):
        served.jobs.CreateJob(priced(served), timeout=PATIENCE)


def test_the_simulators_and_the_machines_that_ionq_lists_are_devices(served: ServedVendor) -> None:
    devices = DeviceServiceStub(served.channel).ListDevices(ListDevicesRequest(page_size=100)).devices
    provider = next(device.provider_id for device in devices if device.name == "tempo_1")
    found = {device.name: device for device in devices if device.provider_id == provider}
    assert set(found) == {*SIMULATORS, "forte_1", "forte_enterprise_1", "tempo_1"}
    assert all(not device.is_local and device.is_simulator == (name in SIMULATORS) for name, device in found.items())
    assert found["tempo_1"].num_qubits == 100
    assert (found["forte_1"].available, found["forte_enterprise_1"].available) == (True, False)
    assert found["forte_1"].status_message == (
        "IonQ reports that it is degraded; the average wait in its queue is 1.5 min"
    )


def test_a_probe_verifies_the_order_of_bits_on_the_simulators_alone(served: ServedVendor) -> None:
    assert verified(served) == set(SIMULATORS)


def test_the_calibration_of_a_machine_is_ionqs_characterization(served: ServedVendor) -> None:
    stub = DeviceServiceStub(served.channel)
    devices = stub.ListDevices(ListDevicesRequest(page_size=100)).devices
    machine = next(device for device in devices if device.name == "tempo_1")
    calibration = stub.GetDeviceCalibration(GetDeviceCalibrationRequest(id=machine.id)).calibration
    assert calibration.calibrated_at.ToJsonString() == "2026-11-01T00:00:00Z"
    assert len(calibration.qubits) == 36
    assert calibration.qubits[0].prob_1_given_0 == pytest.approx(1 - 0.9962)
    assert [(each.first, each.second) for each in calibration.coupling_map] == [(0, 1), (1, 0)]


def test_a_program_that_measures_within_the_circuit_is_refused_before_it_is_sent(served: ServedVendor) -> None:
    text = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[1]; creg c[1]; measure q[0] -> c[0]; if (c == 1) x q[0];'
    before = served.vendor.requests("submit")
    try:
        job = served.run("IONQ", text)
        message = job.failure.message or job.program_runs[0].failure.message
    except grpc.RpcError as refused:
        message = str(refused)
    assert "conditioned on measured bits" in message
    assert served.vendor.requests("submit") == before
