# SPDX-License-Identifier: Apache-2.0
"""IQM's machines on a server that finds their environment by itself, beyond the contract of vendors."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import grpc
import pytest

from qonduit.v1.calibration_pb2 import DeviceCalibration
from qonduit.v1.device_pb2 import Device
from qonduit.v1.device_service_pb2 import GetDeviceCalibrationRequest, ListDevicesRequest
from qonduit.v1.device_service_pb2_grpc import DeviceServiceStub
from qonduit.v1.job_pb2 import JobState
from qonduit.v1.result_pb2 import Result
from tests.contract.rpc_fixture import until
from tests.vendor_cloud.environments import FOLDER, environment_python
from tests.vendor_cloud.fake_vendor import Behavior
from tests.vendor_cloud.served_vendor import IQM, PATIENCE, TOKEN, ServedVendor, list_with_command, served_vendor

HEADER = 'OPENQASM 2.0; include "qelib1.inc";'
#: A Fourier transform and its inverse around a shift by 5: all qubits interact, and each angle matters.
SHIFT = """
gate fourier a, b, c { h c; cu1(pi/2) b, c; cu1(pi/4) a, c; h b; cu1(pi/2) a, b; h a; }
gate inverse a, b, c { h a; cu1(-pi/2) a, b; h b; cu1(-pi/4) a, c; cu1(-pi/2) b, c; h c; }
qreg q[3]; creg c[3];
x q[0]; fourier q[0], q[1], q[2];
u1(2*pi*5/8) q[2]; u1(2*pi*5/4) q[1]; u1(2*pi*5/2) q[0];
inverse q[0], q[1], q[2]; measure q -> c;
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedVendor]:
    environment_python("IQM")
    folder = tmp_path_factory.mktemp("iqm")
    netrc = folder / "netrc"
    netrc.write_text("machine 127.0.0.1 login operator password of-the-operator\n")
    netrc.chmod(0o600)
    # The client would use these in place of the credential of the caller, or refuse it.
    others = {"IQM_TOKEN": "of-the-operator", "IQM_QUANTUM_COMPUTER": "sirius", "NETRC": str(netrc)}
    settings = {"providers": "IQM,IQM_CLOUD", "provider_environments": str(FOLDER), "vendor_probes": "all"}
    with served_vendor(folder, kind=IQM, environment=others, **settings) as served:
        list_with_command(served, "IQM")
        yield served


def refresh(served: ServedVendor) -> None:
    """List the devices again with a command of the client."""
    command = [sys.executable, "-m", "qonduit_client.cli", "--server", served.server.target]
    command += ("devices", "--refresh", "IQM", "--credential", "lab")
    done = subprocess.run(command, input=TOKEN, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def served(shared: ServedVendor) -> ServedVendor:
    shared.vendor.control(**vars(Behavior()))
    return shared


def devices(served: ServedVendor) -> dict[str, Device]:
    """Return the devices of IQM by name."""
    found = DeviceServiceStub(served.channel).ListDevices(ListDevicesRequest(page_size=100)).devices
    provider = next(device.provider_id for device in found if device.name == "sirius" and device.listed_at.seconds)
    return {device.name: device for device in found if device.provider_id == provider}


def only_result(served: ServedVendor, device: str, text: str, shots: int = 10) -> Result:
    job = served.run("IQM", HEADER + text, device=device, shots=shots)
    assert job.state == JobState.JOB_STATE_SUCCEEDED, job.failure
    (result,) = served.list_results(job)
    return result


def counts(served: ServedVendor, device: str, text: str, shots: int = 10) -> dict[str, int]:
    return dict(only_result(served, device, text, shots).counts_and_probabilities.counts)


def test_a_call_uses_the_credential_of_its_caller_alone(served: ServedVendor) -> None:
    served.vendor.control(tokens=[TOKEN])
    job = served.run("IQM", device="garnet")
    assert job.state == JobState.JOB_STATE_SUCCEEDED, job.failure


@pytest.mark.parametrize("device", ["garnet", "sirius"])
def test_each_bit_of_each_register_has_its_place_on_each_machine(served: ServedVendor, device: str) -> None:
    text = """qreg q[4]; creg a[2]; creg b[3];
    x q[3]; x q[1]; measure q[3] -> a[1]; measure q[0] -> b[0]; measure q[1] -> b[2]; measure q[2] -> a[0];"""
    assert counts(served, device, text) == {"0x4 0x2": 10}


@pytest.mark.parametrize("device", ["garnet", "sirius"])
@pytest.mark.parametrize("level", [0, 1, 3])
def test_circuits_are_placed_and_routed_on_each_machine(served: ServedVendor, device: str, level: int) -> None:
    request = served.request("IQM", HEADER + SHIFT, device=device)
    request.job.simulation.optimization_level = level
    job = served.end(served.jobs.CreateJob(request, timeout=PATIENCE).job.id)
    assert job.state == JobState.JOB_STATE_SUCCEEDED, job.failure
    assert served.counts(job) == [{"0x6": 10}]  # 1 + 5


def test_a_bit_that_is_measured_again_has_its_last_value(served: ServedVendor) -> None:
    text = "qreg q[1]; creg c[2]; x q[0]; measure q[0] -> c[0]; x q[0]; measure q[0] -> c[0]; measure q[0] -> c[1];"
    assert counts(served, "garnet", text) == {"0x0": 10}


def test_resets_run_where_the_machine_has_them(served: ServedVendor) -> None:
    text = "qreg q[1]; creg c[1]; x q[0]; reset q[0]; x q[0]; measure q[0] -> c[0];"
    assert counts(served, "garnet", text) == {"0x1": 10}
    before = served.vendor.requests("submit")
    refused = served.run("IQM", HEADER + text, device="sirius")
    assert (refused.state, served.vendor.requests("submit")) == (JobState.JOB_STATE_FAILED, before)
    assert "has no resets within a circuit" in refused.failure.message


def test_a_program_of_more_qubits_than_are_calibrated_is_refused_before_it_is_sent(served: ServedVendor) -> None:
    before = served.vendor.requests("submit")
    with pytest.raises(grpc.RpcError, match="IQM/garnet has 4"):
        served.run("IQM", HEADER + "qreg q[5]; creg c[5]; h q; measure q -> c;", device="garnet")
    assert served.vendor.requests("submit") == before


def test_the_client_of_iqm_repeats_no_request(served: ServedVendor) -> None:
    before = served.vendor.requests("submit")
    served.vendor.control(submits=["fail"])
    job = served.run("IQM_CLOUD")
    assert job.failure.reason == "SUBMISSION_UNKNOWN"
    assert served.vendor.requests("submit") - before == 1


def test_a_failure_before_the_submission_is_repeated_and_submits_once(served: ServedVendor) -> None:
    before = served.vendor.accepted
    served.vendor.control(lists=["fail", "half", "busy", "cut"], retry_after=0.1)
    job = served.run("IQM_CLOUD")
    assert job.state == JobState.JOB_STATE_SUCCEEDED, job.failure
    assert served.vendor.accepted - before == 1
    assert not served.vendor.control()["requests"].get("find")


def test_results_contain_the_calibration_and_the_time_of_the_execution(served: ServedVendor) -> None:
    result = only_result(served, "garnet", "qreg q[1]; creg c[1]; h q[0]; measure q[0] -> c[0];", shots=1000)
    assert (result.meta_data["vendor"], result.meta_data["execution_seconds"]) == ("IQM", 1.0)
    assert 400 < result.counts_and_probabilities.counts["0x0"] < 600


def test_the_machines_that_iqm_lists_are_devices_with_their_calibrations(served: ServedVendor) -> None:
    found = devices(served)
    assert {name: device.num_qubits for name, device in found.items()} == {"garnet": 4, "sirius": 4}
    garnet = found["garnet"]
    assert (garnet.available, garnet.is_local, garnet.is_simulator) == (True, False, False)
    assert list(garnet.basis_gates) == ["cz", "r"]
    assert garnet.capabilities.reset
    assert not found["sirius"].capabilities.reset
    measured = calibration(served, garnet)
    assert measured.calibrated_at.ToJsonString() == "2026-11-01T06:00:00Z"
    assert [qubit.name for qubit in measured.qubits] == ["QB1", "QB2", "QB3", "QB5"]
    first = measured.qubits[0]
    assert (first.t1, first.t2, first.prob_1_given_0, first.prob_0_given_1) == (4.5e-5, 2.5e-5, 0.02, 0.03)
    assert not measured.qubits[1].HasField("t1")
    errors = {(gate.gate, *gate.qubits): gate.error for gate in measured.gates}
    assert errors == {("r", 0): pytest.approx(0.001), ("cz", 0, 2): pytest.approx(0.009)}
    pairs = {(pair.first, pair.second) for pair in measured.coupling_map}
    assert pairs == {(0, 2), (2, 0), (1, 2), (2, 1), (3, 2), (2, 3)}
    # All pairs with one qubit that moves into the resonator.
    assert len(calibration(served, found["sirius"]).coupling_map) == 12


def calibration(served: ServedVendor, device: Device) -> DeviceCalibration:
    found: DeviceCalibration = (
        DeviceServiceStub(served.channel).GetDeviceCalibration(GetDeviceCalibrationRequest(id=device.id)).calibration
    )
    return found


def test_a_probe_verifies_the_order_of_bits_on_each_machine(served: ServedVendor) -> None:
    until(lambda: all(device.HasField("verified_at") for device in devices(served).values()))


def test_a_machine_that_is_not_healthy_is_not_available(served: ServedVendor) -> None:
    served.vendor.control(machines="paused")
    refresh(served)
    assert devices(served)["garnet"].status_message.endswith("IQM reports that the machine is not healthy")
    assert not devices(served)["garnet"].available
    served.vendor.control(machines="ok")
    refresh(served)
    assert devices(served)["garnet"].available
