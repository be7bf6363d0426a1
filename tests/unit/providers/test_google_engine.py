# SPDX-License-Identifier: Apache-2.0
"""Google's processors: Google's client against Quantum Engine on loopback, with the requests counted on the wire."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.protobuf.json_format import MessageToDict

from qonduit.execution.v1.vendor_pb2 import Submission, VendorJobState
from qonduit.v1.simulation_pb2 import SimulationOptions
from qonduit_server.errors import DeviceError
from qonduit_server.languages import openqasm2_reader
from qonduit_server.languages.cirq import cirq_reader
from qonduit_server.languages.openqasm3 import openqasm3_reader
from qonduit_server.providers import registry
from qonduit_server.providers.provider import CompileOptions
from qonduit_server.providers.remote_provider import CallRefused, CredentialRefused, NotSent, VendorBusy, VendorError
from qonduit_server.providers.vendors import google_session
from qonduit_server.providers.vendors.google_engine import ENDPOINT, GoogleEngine
from qonduit_server.providers.vendors.google_session import GoogleSession
from tests.vendor_cloud.fake_vendor import Behavior, FakeVendor, fake_vendor
from tests.vendor_cloud.google_provider import MACHINE, PROJECT
from tests.vendor_cloud.served_vendor import ASYMMETRIC, GOOGLE

TOKEN = "ya29.a-token-of-the-lab"
HEADER = 'OPENQASM 2.0; include "qelib1.inc";\n'
#: All pairs of five qubits: no place on a grid has them.
DENSE = HEADER + (
    "qreg q[5]; creg a[2]; creg b[3]; x q[0]; cx q[0],q[4]; cx q[4],q[2]; cx q[1],q[3]; cx q[3],q[0]; cx q[2],q[1];"
    "cx q[1],q[4]; measure q[0]->a[0]; measure q[1]->a[1]; measure q[2]->b[0]; measure q[3]->b[1]; measure q[4]->b[2];"
)


@pytest.fixture(scope="module")
def started() -> Iterator[FakeVendor]:
    with fake_vendor(GOOGLE.service) as vendor:
        yield vendor


@pytest.fixture
def vendor(started: FakeVendor, monkeypatch: pytest.MonkeyPatch) -> FakeVendor:
    started.control(**vars(Behavior()))
    for name, value in GOOGLE.variables(started).items():
        monkeypatch.setenv(name, value)
    return started


@pytest.fixture
def session(vendor: FakeVendor) -> GoogleSession:
    return connected()


def connected(credential: str = "") -> GoogleSession:
    session = GoogleEngine().connect(credential or GOOGLE.credential(TOKEN))
    assert isinstance(session, GoogleSession)
    return session


def submission(text: str = ASYMMETRIC, device: str = f"engine_{MACHINE}", level: int = 1) -> Submission:
    read = openqasm3_reader.read if text.startswith("OPENQASM 3") else openqasm2_reader.read
    options = CompileOptions(simulation=SimulationOptions(optimization_level=level))
    native = GoogleEngine().compile(read(text), device, options).native
    return Submission(key="key", device=device, shots=20, circuits=[native])


def token() -> str:
    return f"t{time.monotonic_ns()}"


def counts(session: GoogleSession, wanted: Submission) -> dict[int, int]:
    """Run a submission; return the counts."""
    job = session.submit(token(), wanted)
    (found,) = session.poll([job.vendor_id])
    assert found.state == VendorJobState.VENDOR_JOB_STATE_DONE, found
    (outcome,) = session.fetch(job.vendor_id, wanted).outcomes
    return {int.from_bytes(key, "little"): number for key, number in zip(outcome.keys, outcome.counts, strict=True)}


def requests(vendor: FakeVendor) -> Counter[str]:
    return Counter(vendor.control()["requests"])


@pytest.mark.parametrize("level", [0, 1, 3])
def test_programs_are_placed_and_measured_in_the_order_of_their_bits(session: GoogleSession, level: int) -> None:
    assert counts(session, submission(level=level)) == {0b010: 20}
    # By hand: x0; q4 = q2 = 1; q3 = q1 = 0; q0 stays 1; q1 = 1; q4 = 0.
    assert counts(session, submission(DENSE, level=level)) == {0b00111: 20}


def test_a_bit_that_is_measured_twice_has_its_last_value(session: GoogleSession) -> None:
    text = (
        HEADER + "qreg q[2]; creg c[2]; x q[0]; measure q[0]->c[1]; barrier q; measure q[1]->c[1]; measure q[0]->c[0];"
    )
    assert counts(session, submission(text)) == {0b01: 20}


def test_qubits_that_the_program_names_are_those_of_the_processor(session: GoogleSession) -> None:
    import cirq

    qubits = cirq.GridQubit(0, 6), cirq.GridQubit(1, 6)
    program = cirq.Circuit(cirq.X(qubits[1]), cirq.CZ(*qubits), cirq.measure(*qubits, key="m"))
    native = GoogleEngine().compile(cirq_reader.read(cirq.to_json(program)), MACHINE, CompileOptions()).native
    assert json.loads(native.text)["names"] == ["0_6", "1_6"]
    assert list(counts(session, Submission(device=MACHINE, shots=20, circuits=[native])).values()) == [20]


def test_the_same_circuit_is_lowered_to_the_same_text() -> None:
    assert submission(DENSE) == submission(DENSE)


def test_a_repeated_submission_returns_the_first_job(session: GoogleSession, vendor: FakeVendor) -> None:
    before, accepted, own = requests(vendor), vendor.accepted, token()
    first, again = (session.submit(own, submission()) for _ in range(2))
    assert first.vendor_id == again.vendor_id == f"projects/{PROJECT}/programs/qonduit-{own}/jobs/qonduit-{own}"
    assert vendor.accepted == accepted + 1
    # The service answered ALREADY_EXISTS to the second program and to the second job.
    made = requests(vendor) - before
    assert (made["program"], made["submit"]) == (2, 2)


@pytest.mark.parametrize("mode", ["busy", "fail", "accept-fail", "accept-cut", "accept-half", "cut", "refuse"])
def test_no_request_is_repeated(session: GoogleSession, vendor: FakeVendor, mode: str) -> None:
    before = requests(vendor)
    vendor.control(submits=[mode])
    with pytest.raises(VendorError):
        session.submit(token(), submission())
    assert (requests(vendor) - before)["submit"] == 1


def test_errors_are_those_of_the_service(session: GoogleSession, vendor: FakeVendor) -> None:
    vendor.control(submits=["busy"], retry_after=1.5)
    with pytest.raises(VendorBusy) as busy:
        session.submit(token(), submission())
    assert (busy.value.code, busy.value.retry_after) == ("RESOURCE_EXHAUSTED", 1.5)
    vendor.control(submits=["refuse"])
    with pytest.raises(CallRefused) as refused:
        session.submit(token(), submission())
    assert (refused.value.code, refused.value.message) == ("INVALID_ARGUMENT", "the machine has no such gate")
    vendor.control(submits=["accept-fail"])
    with pytest.raises(VendorError) as failed:
        session.submit(token(), submission())
    assert type(failed.value) is VendorError
    vendor.control(tokens=["another"])
    with pytest.raises(CredentialRefused) as unauthenticated:
        session.poll([f"projects/{PROJECT}/programs/a/jobs/b"])
    assert unauthenticated.value.code == "UNAUTHENTICATED"
    vendor.control(tokens=[])
    with pytest.raises(CredentialRefused) as denied:
        connected(json.dumps({"project_id": "foreign", "access_token": TOKEN})).submit(token(), submission())
    assert denied.value.code == "PERMISSION_DENIED"


def test_a_program_that_does_not_fit_is_not_submitted(session: GoogleSession, vendor: FakeVendor) -> None:
    before = requests(vendor)
    wide = submission(HEADER + "qreg q[200]; creg c[1]; measure q[7]->c[0];")
    with pytest.raises(CallRefused, match="has 105 qubits, got 200"):
        session.submit(token(), wide)
    with pytest.raises(CallRefused, match="does not exist") as unknown:
        session.submit(token(), submission(device="engine_none"))
    assert unknown.value.code == "NOT_FOUND"
    made = requests(vendor) - before
    assert (made["program"], made["submit"]) == (0, 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER + "qreg q[1]; x q[0];", "measure at least one qubit"),
        ("OPENQASM 3.0; qubit q; bit c; c = measure q; if (c) { reset q; }", "conditioned on measured bits"),
    ],
)
def test_programs_that_no_processor_runs_are_refused_by_the_worker(text: str, message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        submission(text)


def test_polls_report_each_job_and_those_that_do_not_exist(session: GoogleSession, vendor: FakeVendor) -> None:
    vendor.control(hold=True)
    first = session.submit(token(), submission()).vendor_id
    unknown = f"{first}-unknown"
    before = requests(vendor)
    found = session.poll([first, "no name of a job", unknown, first])
    assert [job.word for job in found] == ["READY", "missing", "missing", "READY"]
    assert [job.vendor_id for job in found] == [first, "no name of a job", unknown, first]
    # One for each name, and none for the text that is no name.
    assert (requests(vendor) - before)["poll"] == 3


def test_a_job_of_another_project_does_not_stop_the_polls_of_others(session: GoogleSession) -> None:
    own, foreign = session.submit(token(), submission()).vendor_id, "projects/foreign/programs/a/jobs/b"
    assert [job.word for job in session.poll([own, foreign])] == ["SUCCESS", "missing"]
    # If the account has access to none, its credential may be the cause.
    with pytest.raises(CredentialRefused, match="no access to the project foreign"):
        session.poll([foreign])


def test_a_failed_job_reports_its_code_its_start_and_its_charge(session: GoogleSession, vendor: FakeVendor) -> None:
    vendor.control(outcome="failed")
    job = session.submit(token(), submission())
    (found,) = session.poll([job.vendor_id])
    assert found.state == VendorJobState.VENDOR_JOB_STATE_FAILED
    assert (found.error_code, found.error, found.may_be_charged) == ("SYSTEM_ERROR", "the cryostat is warm", True)
    assert found.started_at.seconds > 0


def test_a_job_is_cancelled_unless_it_has_ended(session: GoogleSession, vendor: FakeVendor) -> None:
    vendor.control(hold=True)
    first, second = (session.submit(token(), submission()).vendor_id for _ in range(2))
    before = requests(vendor)
    assert session.cancel(first).word == "READY"
    assert [job.word for job in session.poll([first])] == ["CANCELLED"]
    vendor.control(cancel="refuse")
    with pytest.raises(CallRefused, match="on the machine") as refused:
        session.cancel(second)
    assert refused.value.code == "FAILED_PRECONDITION"
    vendor.control(hold=False)
    assert session.cancel(second).word == "SUCCESS"
    assert (requests(vendor) - before)["cancel"] == 2


def test_results_name_processor_and_calibration_and_are_kept_as_they_are(session: GoogleSession) -> None:
    wanted = submission()
    job = session.submit(token(), wanted)
    session.poll([job.vendor_id])
    fetched = session.fetch(job.vendor_id, wanted)
    assert job.vendor_id.encode() in fetched.raw
    facts = MessageToDict(fetched.outcomes[0].meta_data)
    assert (facts["processor"], facts["calibration_id"], facts["sdk"]) == (MACHINE, "1723795877", "cirq-google")
    # Those of another submission are not read.
    wanted.shots = 21
    assert not session.fetch(job.vendor_id, wanted).outcomes


def test_a_service_that_cannot_be_reached_receives_nothing(vendor: FakeVendor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(google_session, "_CONNECT_SECONDS", 0.2)
    monkeypatch.setenv(ENDPOINT, "localhost:9")
    with pytest.raises(NotSent, match="localhost:9 cannot be reached"):
        connected().submit(token(), submission())


def key_of(account: str) -> tuple[str, str]:
    """Return the key of a service account as JSON text, and its public key."""
    key = rsa.generate_private_key(65537, 2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    # The address is another one than Google's: the SDK would send a signed assertion to it.
    text = {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": "1",
        "private_key": private,
        "client_email": account,
        "token_uri": "http://127.0.0.1:9/token",
        "universe_domain": "example.com",
    }
    return json.dumps(text), public.decode()


def test_a_service_account_signs_its_own_tokens(vendor: FakeVendor) -> None:
    text, public = key_of("lab@lab-project.iam.gserviceaccount.com")
    vendor.control(tokens=["none"], public_key=public)
    assert counts(connected(text), submission()) == {0b010: 20}
    other, _ = key_of("lab@lab-project.iam.gserviceaccount.com")
    with pytest.raises(CredentialRefused, match="is not valid"):
        connected(other).submit(token(), submission())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ya29.token", "not JSON"),
        ('{"access_token": "ya29.token"}', "project_id is missing"),
        ('{"project_id": "lab"}', "contains neither"),
        ('{"project_id": "lab", "access_token": "two\\nlines"}', "contains neither"),
        ('{"project_id": "lab", "type": "service_account", "private_key": "none"}', "the key cannot be used"),
        # The SDK would run the program, and read the file.
        (
            '{"project_id": "lab", "type": "external_account", "credential_source": {"executable": {"command": "id"}}}',
            "contains neither",
        ),
    ],
)
def test_other_credentials_are_refused(text: str, message: str) -> None:
    with pytest.raises(CredentialRefused, match=message):
        connected(text)


def test_the_processors_of_a_project_are_those_that_google_lists(session: GoogleSession) -> None:
    described = session.devices()
    machine, away = described.devices
    assert (machine.name, machine.num_qubits, machine.available, machine.is_local) == (
        "engine_machine",
        105,
        True,
        False,
    )
    assert list(machine.basis_gates) == ["rz", "u", "cz"]
    assert machine.status_message == "health OK, MAINTENANCE from 2030-01-02 03:04 UTC"
    assert machine.queue_depth == 7
    assert (away.num_qubits, away.available, away.capabilities.reset) == (23, False, False)
    assert "back at 2030-01-02 03:04 UTC" in away.status_message
    calibration = described.calibrations[0].calibration
    assert (calibration.calibrated_at.seconds, len(calibration.qubits)) == (1723795877, 105)
    assert len(calibration.coupling_map) == 364
    assert 0 < calibration.qubits[0].t1 < 1e-3
    assert all(0 < gate.error < 0.1 for gate in calibration.gates if gate.gate == "cz")


def test_the_provider_has_simulators_and_the_processors_of_projects() -> None:
    google = registry.get("GOOGLE")
    devices = {device.name: device for device in google.describe().devices}
    assert devices["willow_pink"].is_local
    assert not devices["willow_pink"].with_token
    # A processor is not described before a project lists it, and a worker compiles for it nevertheless.
    assert "engine_willow_pink" not in devices
    circuit = openqasm2_reader.read(ASYMMETRIC)
    native = google.compile(circuit, "engine_willow_pink").native
    assert native == submission(device="engine_willow_pink").circuits[0]
