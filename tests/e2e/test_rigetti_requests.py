# SPDX-License-Identifier: Apache-2.0
"""Rigetti's devices on a server that finds their environment by itself, beyond the contract of vendors."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from qonduit.v1 import job_service_pb2 as calls
from qonduit.v1.device_service_pb2 import GetDeviceCalibrationRequest, ListDevicesRequest
from qonduit.v1.device_service_pb2_grpc import DeviceServiceStub
from qonduit.v1.job_pb2 import JobState
from qonduit.v1.provider_service_pb2 import ListProvidersRequest
from qonduit.v1.provider_service_pb2_grpc import ProviderServiceStub
from tests.vendor_cloud.environments import FOLDER, environment_python
from tests.vendor_cloud.fake_vendor import Behavior, FakeVendor
from tests.vendor_cloud.rigetti_provider import AWAY, MACHINE
from tests.vendor_cloud.served_vendor import PATIENCE, RIGETTI, TOKEN, ServedVendor, list_with_command, served_vendor

pytestmark = pytest.mark.long
BELL: Final = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0], q[1]; measure q -> c;'
#: A session in the environment of RIGETTI.
SESSION: Final = """
import json, os, sys
from qonduit.execution.v1.vendor_pb2 import Submission
from qonduit_server.providers.remote_provider import VendorError
from qonduit_server.providers.vendors.rigetti_access import endpoints, read_credential
from qonduit_server.providers.vendors.rigetti_session import RigettiSession
session = RigettiSession(read_credential("a-refresh-token"), endpoints(), compile_seconds=1.0, step_seconds=1.0)
"""
#: A submission, whose error is printed.
CALLS: Final = (
    SESSION
    + """
wanted = Submission(device=sys.argv[1], shots=10)
circuit = wanted.circuits.add(text="DECLARE ro BIT[1]\\nX 0\\nMEASURE 0 ro[0]\\n")
circuit.layout.update({"bits": [[0, 0]]})
try:
    session.submit("a-token", wanted)
except VendorError as error:
    print(json.dumps([type(error).__name__, error.code, error.message]))
sys.stdout.flush()
os._exit(0)
"""
)
#: The states of a job that the processor does not know, of one at a processor without a gateway, and of no job.
STATES: Final = (
    SESSION
    + """
found = session.poll([sys.argv[1] + "/job-unknown/q*:1,2", "Aspen-X/job-1", "job-1"])
print(json.dumps([[job.vendor_id, job.word] for job in found]))
"""
)
#: The same submission with pyQuil's own call.
PYQUIL: Final = """
import base64, json, os, sys
from pyquil.api import QPU, EncryptedProgram
from qcs_sdk.client import AuthServer, OAuthSession, QCSClient, RefreshToken
issuer, api = os.environ["QONDUIT_RIGETTI_ISSUER"], os.environ["QCS_SETTINGS_API_URL"]
session = OAuthSession(RefreshToken("a-refresh-token"), AuthServer("id", issuer))
client = QCSClient(oauth_session=session, api_url=api)
job = base64.b64encode(b'{"quil": "DECLARE ro BIT[1]\\\\nMEASURE 0 ro[0]", "shots": 1}').decode()
program = json.dumps({"job": job, "encryption": {"keyId": "key-1", "nonce": "AG5vbmNl"}})
executable = EncryptedProgram(program=program, memory_descriptors={}, ro_sources={})
QPU(quantum_processor_id=sys.argv[1], client_configuration=client).execute(executable)
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedVendor]:
    environment_python("RIGETTI")
    providers = {"providers": "RIGETTI,RIGETTI_CLOUD", "provider_environments": str(FOLDER)}
    with served_vendor(tmp_path_factory.mktemp("rigetti"), kind=RIGETTI, **providers) as served:
        list_with_command(served, "RIGETTI")
        yield served


@pytest.fixture
def served(shared: ServedVendor) -> ServedVendor:
    shared.vendor.control(**vars(Behavior()), compilations=[], translations=[], life=3600.0)
    return shared


def run(vendor: FakeVendor, code: str, **variables: str) -> Any:
    """Run code in the environment of RIGETTI; return what it prints as JSON."""
    command = [environment_python("RIGETTI"), "-W", "ignore", "-c", code, MACHINE]
    environment = dict(RIGETTI.variables(vendor)) | variables
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environment, cwd=Path("/"))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout or "null")


def test_the_devices_are_those_that_qcs_lists(served: ServedVendor) -> None:
    stub = DeviceServiceStub(served.channel)
    providers = ListProvidersRequest(filter="name = RIGETTI")
    (provider,) = ProviderServiceStub(served.channel).ListProviders(providers, timeout=PATIENCE).providers
    listed = ListDevicesRequest(filter=f"provider_id = {provider.id}")
    found = {device.name: device for device in stub.ListDevices(listed, timeout=PATIENCE).devices}
    assert {name: device.available for name, device in found.items()} == {MACHINE: True, AWAY: False}
    machine = found[MACHINE]
    assert (machine.num_qubits, list(machine.basis_gates)) == (9, ["cz", "rx", "rz"])
    assert "no gateway" in found[AWAY].status_message
    calibration = stub.GetDeviceCalibration(GetDeviceCalibrationRequest(id=machine.id), timeout=PATIENCE).calibration
    assert [qubit.qubit for qubit in calibration.qubits] == [0, 1, 4, 7, 11, 12, 20, 21, 23]
    first = calibration.qubits[0]
    assert (first.t1, first.t2, first.prob_1_given_0) == pytest.approx((30e-6, 20e-6, 0.05))
    errors = {gate.gate: gate.error for gate in calibration.gates}
    assert errors == pytest.approx({"rx": 0.001, "cz": 0.02})


def test_a_program_is_compiled_by_quilc_and_runs(served: ServedVendor) -> None:
    job = served.run("RIGETTI", BELL, shots=1000)
    assert job.state == JobState.JOB_STATE_SUCCEEDED, job.failure
    (counts,) = served.counts(job)
    assert set(counts) == {"0x0", "0x3"}
    assert 400 < counts["0x0"] < 600
    # The id contains the readouts of the bits.
    assert job.provider_specific_id.startswith(f"{MACHINE}/job-")
    assert job.provider_specific_id.endswith("/q2*_classified:3,1")


def test_an_access_token_that_has_expired_is_replaced(served: ServedVendor) -> None:
    served.vendor.control(life=-100.0)
    assert served.run("RIGETTI", BELL).state == JobState.JOB_STATE_SUCCEEDED


def test_a_service_logs_in_with_its_id_and_secret(served: ServedVendor) -> None:
    request = served.request("RIGETTI", BELL, credential="")
    request.credential = json.dumps({"client_id": "service-of-the-lab", "client_secret": "secret-of-the-lab"})
    served.vendor.control(tokens=["secret-of-the-lab"])
    job = served.end(served.jobs.CreateJob(request, timeout=PATIENCE).job.id)
    assert job.state == JobState.JOB_STATE_SUCCEEDED, job.failure


@pytest.mark.parametrize("mode", ["away", "accept-away"])
def test_a_submission_is_one_request_although_pyquil_would_repeat_it(served: ServedVendor, mode: str) -> None:
    vendor = served.vendor
    before = vendor.requests("submit")
    vendor.control(submits=[mode])
    kind, code, message = run(vendor, CALLS)
    assert (kind, code) == ("VendorError", "UNAVAILABLE")
    assert f"here, the id of the job is {MACHINE}/JOB/*:q23_classified" in message
    assert vendor.requests("submit") == before + 1
    # The reason for a call of our own: pyQuil's has two jobs if the first request was accepted.
    vendor.control(submits=[mode])
    accepted = vendor.accepted
    run(vendor, PYQUIL)
    assert vendor.requests("submit") == before + 3
    assert vendor.accepted == accepted + (2 if mode == "accept-away" else 1)


def test_a_job_whose_submission_had_no_answer_is_adopted_by_the_id_of_its_event(served: ServedVendor) -> None:
    served.vendor.control(submits=["accept-cut"])
    job_id = served.create("RIGETTI_CLOUD", BELL, shots=1000)
    messages = " ".join(event.provider_status.message for event in served.events(job_id))
    assert served.get(job_id).failure.reason == "SUBMISSION_UNKNOWN"
    (named,) = set(re.findall(rf"the id of the job is ({MACHINE}/JOB/\S+), with", messages))
    own = list(served.vendor.control()["jobs"])[-1].split("/")[1]
    known = calls.ResolveSubmissionRequest(id=job_id, vendor_id=named.replace("JOB", own), credential=TOKEN)
    job = served.end(served.jobs.ResolveSubmission(known, timeout=PATIENCE).job.id)
    assert job.state == JobState.JOB_STATE_SUCCEEDED, job.failure
    assert set(served.counts(job)[0]) == {"0x0", "0x3"}


@pytest.mark.parametrize(
    ("behavior", "words"),
    [
        ({"compilations": ["hang"]}, "quilc did not answer in 1 s"),
        ({"compilations": ["ok", "hang"]}, "quilc did not answer in 1 s"),
        ({"translations": ["hang"]}, "the translation did not answer in 1 s"),
        ({"translations": ["away"] * 100}, "the translation did not answer in 1 s"),
        ({"translations": ["fail"]}, "internal error"),
        ({"translations": ["busy"]}, "slow down"),
    ],
)
def test_a_step_before_the_submission_that_fails_is_no_submission(
    served: ServedVendor, behavior: dict[str, Any], words: str
) -> None:
    before = served.vendor.requests("submit")
    served.vendor.control(**behavior)
    kind, _, message = run(served.vendor, CALLS)
    assert kind == ("VendorBusy" if "busy" in str(behavior) else "NotSent")
    assert words in message
    assert served.vendor.requests("submit") == before


def test_a_processor_without_a_gateway_does_not_stop_the_polls_of_others(served: ServedVendor) -> None:
    found = run(served.vendor, STATES)
    assert found == [[f"{MACHINE}/job-unknown/q*:1,2", "missing"], [f"{AWAY}/job-1", "UNKNOWN"], ["job-1", "missing"]]


def test_without_quilc_nothing_is_submitted(served: ServedVendor) -> None:
    kind, _, message = run(served.vendor, CALLS, QCS_SETTINGS_APPLICATIONS_QUILC_URL="tcp://127.0.0.1:1")
    assert (kind, "quilc does not run at tcp://127.0.0.1:1" in message) == ("NotSent", True)


def test_a_program_that_quilc_refuses_fails_with_its_text(served: ServedVendor) -> None:
    program = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[3]; creg c[1]; ccx q[0], q[1], q[2]; measure q[2] -> c[0];'
    job = served.run("RIGETTI", program)
    assert (job.failure.reason, job.failure.provider_code) == ("VENDOR_REFUSED", "QUILC")
    assert "no rule to compile CCNOT 0 1 2" in job.failure.message
