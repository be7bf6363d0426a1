# SPDX-License-Identifier: Apache-2.0
"""IBM's machines: IBM's SDK against IBM's service on loopback, with the requests counted on the wire."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import pytest
from google.protobuf.json_format import MessageToDict

from qonduit.execution.v1.vendor_pb2 import Submission, VendorJobState
from qonduit.v1.simulation_pb2 import SimulationOptions
from qonduit_server.errors import DeviceError
from qonduit_server.languages import openqasm2_reader
from qonduit_server.languages.openqasm3 import openqasm3_reader
from qonduit_server.providers.provider import CompileOptions
from qonduit_server.providers.remote_provider import CallRefused, CredentialRefused, NotSent, VendorBusy, VendorError
from qonduit_server.providers.vendors.ibm_access import read_credential
from qonduit_server.providers.vendors.ibm_machines import URL, IBMMachines
from qonduit_server.providers.vendors.ibm_session import IBMSession
from tests.vendor_cloud.fake_vendor import PRICE, Behavior, FakeVendor, fake_vendor
from tests.vendor_cloud.ibm_provider import INSTANCE, MACHINE, STATIC
from tests.vendor_cloud.served_vendor import ASYMMETRIC, IBM

KEY = "an-api-key-of-the-lab"
DYNAMIC = """OPENQASM 3.0; include "stdgates.inc";
qubit[2] q; bit[2] c; x q[0]; c[0] = measure q[0]; if (c[0]) x q[1]; c[1] = measure q[1];
"""
#: A branch, a gate of its own, a controlled gate with an unusual control, and a gate without a name in QPY.
CUSTOM = """OPENQASM 3.0; include "stdgates.inc";
gate own(a) p, q { rx(a) p; cx p, q; }
qubit[4] q; bit[4] c; c[0] = measure q[0]; if (c[0]) { x q[1]; } else { own(0.1) q[0], q[1]; }
own(0.5) q[0], q[1]; negctrl @ x q[0], q[1]; ctrl(3) @ x q[0], q[1], q[2], q[3]; c = measure q;
"""
#: Qubits 0 and 4 of the machine, which is shaped like a T, are not coupled.
DISTANT = """OPENQASM 2.0; include "qelib1.inc";
qreg q[5]; creg a[2]; creg b[3]; x q[0]; cx q[0],q[4]; cx q[4],q[2]; measure q[0]->a[0]; measure q[1]->a[1];
measure q[2]->b[0]; measure q[3]->b[1]; measure q[4]->b[2];
"""


@pytest.fixture(scope="module")
def started() -> Iterator[FakeVendor]:
    with fake_vendor(IBM.service) as vendor:
        yield vendor


@pytest.fixture
def vendor(started: FakeVendor, monkeypatch: pytest.MonkeyPatch) -> FakeVendor:
    started.control(**vars(Behavior()))
    for name, value in IBM.variables(started).items():
        monkeypatch.setenv(name, value)
    return started


@pytest.fixture
def session(vendor: FakeVendor) -> IBMSession:
    return connected()


def connected(credential: str = "") -> IBMSession:
    session = IBMMachines().connect(credential or IBM.credential(KEY))
    assert isinstance(session, IBMSession)
    return session


def submission(*texts: str, device: str = MACHINE, level: int = 1) -> Submission:
    """Return the submission of programs."""
    options = CompileOptions(simulation=SimulationOptions(optimization_level=level))
    wanted = Submission(key="key", device=device, shots=20)
    for text in texts or (ASYMMETRIC,):
        read = openqasm3_reader.read if text.startswith("OPENQASM 3") else openqasm2_reader.read
        wanted.circuits.append(IBMMachines().compile(read(text), device, options).native)
    return wanted


def outcomes(session: IBMSession, wanted: Submission) -> list[dict[int, int]]:
    """Run a submission; return the counts of each circuit by outcome."""
    vendor_id = session.submit("tag", wanted).vendor_id
    (job,) = session.poll([vendor_id])
    assert job.state == VendorJobState.VENDOR_JOB_STATE_DONE, job
    return [
        {int.from_bytes(key, "little"): count for key, count in zip(each.keys, each.counts, strict=True)}
        for each in session.fetch(vendor_id, wanted).outcomes
    ]


def requests(vendor: FakeVendor) -> Counter[str]:
    return Counter(vendor.control()["requests"])


def test_bits_are_those_of_the_program_wherever_the_compiler_places_its_qubits(session: IBMSession) -> None:
    assert outcomes(session, submission(ASYMMETRIC, DISTANT)) == [{0b010: 20}, {0b10101: 20}]


@pytest.mark.parametrize("level", [0, 3])
def test_each_level_of_optimization_gives_a_circuit_that_the_machine_accepts(session: IBMSession, level: int) -> None:
    assert outcomes(session, submission(DISTANT, level=level)) == [{0b10101: 20}]


def test_operations_on_measured_bits_run_where_the_machine_has_them(session: IBMSession, vendor: FakeVendor) -> None:
    assert outcomes(session, submission(DYNAMIC)) == [{0b11: 20}]
    before = vendor.accepted
    with pytest.raises(CallRefused, match=r"IBM/static does not support if_else") as refused:
        session.submit("tag", submission(DYNAMIC, device=STATIC))
    assert (refused.value.code, vendor.accepted) == ("UNSUPPORTED_CONSTRUCT", before)


def test_results_contain_the_layout_and_the_calibration(session: IBMSession) -> None:
    wanted = submission(DISTANT)
    found = session.fetch(session.submit("tag", wanted).vendor_id, wanted)
    facts = MessageToDict(found.outcomes[0].meta_data)
    assert sorted(facts["layout"]) == [0, 1, 2, 3, 4]
    assert facts["two_qubit_gates"] == 2
    assert (facts["vendor"], facts["calibration_id"]) == ("IBM", "calibration-7")
    assert json.loads(found.raw)["__type__"] == "PrimitiveResult"


def test_the_same_program_gives_the_same_bytes_in_another_process() -> None:
    code = """
import sys
from qonduit_server.languages.openqasm3 import openqasm3_reader
from qonduit_server.providers.vendors.ibm_machines import IBMMachines
from qonduit_server.providers.provider import DEFAULTS
compiled = IBMMachines().compile(openqasm3_reader.read(sys.argv[1]), "machine", DEFAULTS)
print(compiled.native.SerializeToString(deterministic=True).hex())
"""
    command = [sys.executable, "-c", code, CUSTOM]
    other = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
    (own,) = submission(CUSTOM).circuits
    assert own.SerializeToString(deterministic=True).hex() == other.strip()


def test_a_submission_is_one_request_whatever_the_service_answers(vendor: FakeVendor) -> None:
    wanted = submission()
    for mode in ("fail", "accept-fail", "accept-cut", "cut", "accept-half", "busy", "refuse"):
        session = connected()
        vendor.control(submits=[mode])
        before = requests(vendor)["submit"]
        with pytest.raises(VendorError) as failed:
            session.submit("tag", wanted)
        assert requests(vendor)["submit"] == before + 1, mode
        expected = {"busy": VendorBusy, "refuse": CallRefused}.get(mode, VendorError)
        assert type(failed.value) is expected, mode


def test_reads_are_not_repeated_either(session: IBMSession, vendor: FakeVendor) -> None:
    (vendor_id,) = [session.submit("tag", submission()).vendor_id]
    vendor.control(polls=["fail"], fetches=["busy"], retry_after=3)
    before = requests(vendor)
    with pytest.raises(VendorError, match="status 500"):
        session.poll([vendor_id])
    with pytest.raises(VendorBusy) as busy:
        session.fetch(vendor_id, submission())
    assert busy.value.retry_after == 3
    assert requests(vendor) - before == Counter(poll=1, results=1)


def test_what_fails_before_the_submission_has_changed_nothing(
    session: IBMSession, vendor: FakeVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = requests(vendor)["submit"]
    vendor.control(machines="fail")
    with pytest.raises(NotSent, match="status 500"):
        session.submit("tag", submission())
    vendor.control(machines="ok")
    with pytest.raises(CallRefused, match="backend nowhere not found"):
        session.submit("tag", submission(device="nowhere"))
    for name in (URL, "IAM_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with pytest.raises(NotSent, match="cannot be reached"):
        connected().submit("tag", submission())
    assert requests(vendor)["submit"] == before


def test_a_job_is_found_by_its_tag(session: IBMSession, vendor: FakeVendor) -> None:
    vendor.control(submits=["accept-cut"])
    with pytest.raises(VendorError, match="no answer"):
        session.submit("the tag of this job", submission())
    found = session.find("the tag of this job", MACHINE)
    assert found is not None
    assert found.state == VendorJobState.VENDOR_JOB_STATE_DONE
    assert session.find("the tag of another job", MACHINE) is None


def test_states_costs_and_cancellations_are_those_of_the_service(session: IBMSession, vendor: FakeVendor) -> None:
    vendor.control(hold=True)
    vendor_id = session.submit("tag", submission()).vendor_id
    (queued, unknown) = session.poll([vendor_id, "another"])
    assert (queued.state, queued.word) == (VendorJobState.VENDOR_JOB_STATE_ACTIVE, "Queued")
    assert unknown.state == VendorJobState.VENDOR_JOB_STATE_MISSING
    vendor.control(cancel="refuse")
    with pytest.raises(CallRefused, match="on the machine"):
        session.cancel(vendor_id)
    vendor.control(hold=False, cancel="ok")
    (done,) = session.poll([vendor_id])
    assert (done.cost, done.cost_unit, done.HasField("started_at")) == (PRICE, "IBM seconds", True)
    assert session.cancel(vendor_id).state == VendorJobState.VENDOR_JOB_STATE_DONE
    vendor.control(hold=True)
    waiting = session.submit("tag", submission()).vendor_id
    cancelled = session.cancel(waiting)
    assert (cancelled.state, cancelled.may_be_charged) == (VendorJobState.VENDOR_JOB_STATE_CANCELLED, False)


def test_ibm_stops_a_job_that_would_cost_more_than_its_price(session: IBMSession, vendor: FakeVendor) -> None:
    wanted = submission(*[ASYMMETRIC] * 3)
    wanted.shots = 1000
    vendor_id = session.submit("tag", wanted).vendor_id
    price = IBMMachines().price(wanted)
    assert (price.amount, price.unit) == (19, "IBM seconds")
    assert vendor.control()["jobs"][vendor_id]["most_seconds"] == price.amount
    wanted.shots = 10_000_000
    assert IBMMachines().price(wanted).amount == 10_800


def test_an_access_token_that_is_no_json_web_token_is_refused_at_once(vendor: FakeVendor) -> None:
    vendor.control(opaque=True)
    before = requests(vendor)
    with pytest.raises(CredentialRefused, match=r"no JSON Web Token.*IAM_URL") as refused:
        connected().submit("tag", submission())
    assert requests(vendor) - before == Counter(token=1)
    assert KEY not in refused.value.message


def test_a_token_that_the_service_rejects_is_requested_again_and_in_no_message(vendor: FakeVendor) -> None:
    session = connected()
    session.poll(["another"])
    vendor.control(tokens=["another-key"])
    with pytest.raises(CredentialRefused) as refused:
        session.poll(["another"])
    assert "eyJ" not in refused.value.message
    vendor.control(tokens=[KEY])
    before = requests(vendor)["token"]
    session.poll(["another"])
    session.poll(["another"])
    assert requests(vendor)["token"] == before + 1


def test_a_clock_that_differs_from_that_of_ibm_requests_no_more_tokens(vendor: FakeVendor) -> None:
    for skew in (-7200.0, 7200.0):
        vendor.control(skew=skew)
        session = connected()
        before = requests(vendor)["token"]
        for _ in range(3):
            session.poll(["another"])
        assert requests(vendor)["token"] == before + 1


def test_results_of_another_form_are_no_outcomes(session: IBMSession, vendor: FakeVendor) -> None:
    wanted = submission()
    vendor_id = session.submit("tag", wanted).vendor_id
    vendor.control(unreadable=True)
    found = session.fetch(vendor_id, wanted)
    # The engine counts these, and fails the job after several reads.
    assert not found.outcomes
    assert b"quasi_dists" in found.raw


def test_a_key_alone_uses_the_only_instance_of_its_account(vendor: FakeVendor) -> None:
    assert outcomes(connected(KEY), submission()) == [{0b010: 20}]
    vendor.control(instances=2)
    with pytest.raises(CredentialRefused, match=r"2 instances.*Name one in the credential"):
        connected(KEY).poll(["another"])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no API key"),
        ("{", "no valid JSON"),
        ('{"apikey": ""}', "no API key"),
        ('{"token": "a"}', "unknown fields"),
        ("a key", "spaces"),
        ('{"apikey": "a", "instance": "lab"}', "no CRN"),
    ],
)
def test_a_credential_in_a_wrong_form_is_refused_with_what_to_do(text: str, why: str) -> None:
    with pytest.raises(CredentialRefused, match=why):
        read_credential(text)
    assert read_credential(f" {KEY}\n") == (KEY, "")
    assert read_credential(IBM.credential(KEY)) == (KEY, INSTANCE)


def test_devices_are_those_of_the_account(session: IBMSession, vendor: FakeVendor) -> None:
    found = session.devices()
    machine, static = found.devices
    assert (machine.name, static.name) == (MACHINE, STATIC)
    assert (machine.num_qubits, machine.is_simulator, machine.is_local) == (5, False, False)
    assert machine.status_message == "online; 3 jobs wait at IBM"
    assert list(machine.basis_gates) == ["id", "rz", "sx", "x", "cx"]
    assert (machine.capabilities.conditionals, static.capabilities.conditionals) == (True, False)
    assert (machine.available, static.available) == (True, True)
    (calibrated, _) = found.calibrations
    assert calibrated.device == MACHINE
    assert len(calibrated.calibration.qubits) == 5
    assert len(calibrated.calibration.coupling_map) == 8
    assert calibrated.calibration.calibrated_at.seconds > 0
    vendor.control(machines="paused")
    paused = session.devices().devices[0]
    assert (paused.available, paused.status_message) == (False, "paused: calibrating; 3 jobs wait at IBM")


def test_a_program_without_measurements_or_with_noise_is_refused() -> None:
    machines = IBMMachines()
    bare = openqasm2_reader.read('OPENQASM 2.0; include "qelib1.inc"; qreg q[1]; x q[0];')
    with pytest.raises(DeviceError, match="measures nothing"):
        machines.compile(bare, MACHINE, CompileOptions())
