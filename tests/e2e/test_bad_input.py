# SPDX-License-Identifier: Apache-2.0
"""Bad input gets a clear error within a second, and the next job runs normally."""

from __future__ import annotations

import time
from collections.abc import Iterator

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from qonduit.v1 import deployment_service_pb2, job_service_pb2
from qonduit.v1.deployment_service_pb2_grpc import DeploymentServiceStub
from qonduit.v1.failure_pb2 import Failure, FailureCategory
from qonduit.v1.job_pb2 import Job, JobState
from qonduit.v1.job_service_pb2_grpc import JobServiceStub
from qonduit.v1.provider_pb2 import AssemblerLanguage
from tests.benchmarks.programs import BELL
from tests.server_process import Server

QASM2 = AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2
QASM3 = AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3
HEADER = 'OPENQASM 2.0;\ninclude "qelib1.inc";\n'
#: The time limit for an answer. The machine may be busy, so it is looser than the documented one.
SOON = 5.0


@pytest.fixture(scope="module")
def jobs(server: Server) -> Iterator[JobServiceStub]:
    """The job service of a server whose first job has run."""
    with grpc.insecure_channel(server.target, options=[("grpc.max_send_message_length", -1)]) as channel:
        stub = JobServiceStub(channel)
        outcome(stub, request(BELL))
        yield stub


def request(
    text: str, language: AssemblerLanguage = QASM2, shots: int = 10, **fields: object
) -> job_service_pb2.RunJobRequest:
    """Return a request for a job of one program on Aer."""
    message = job_service_pb2.RunJobRequest(job=Job(shots=shots), **{"device": "IBM/aer_simulator"} | fields)
    message.deployment.programs.add(quantum_circuit=text, assembler_language=language)
    return message


def outcome(jobs: JobServiceStub, message: job_service_pb2.RunJobRequest) -> Job:
    """Run a job, return it as it ended."""
    *_, last = jobs.RunJob(message, timeout=90)
    return last.event.state_change.job


def refused(call: grpc.RpcError) -> tuple[grpc.StatusCode, dict[str, object]]:
    """Return the status of a refused call and its details by name."""
    status = status_pb2.Status.FromString(dict(call.trailing_metadata())["grpc-status-details-bin"])
    details: dict[str, object] = {}
    for packed in status.details:
        name = packed.type_url.rpartition(".")[2]
        message = getattr(error_details_pb2, name)()
        packed.Unpack(message)
        details[name] = message
    return call.code(), details


FORTY = HEADER + "qreg q[40];\ncreg c[40];\nh q;\nrz(0.3) q[1];\ncx q[0],q[1];\nmeasure q -> c;\n"

REFUSED = {
    "zero shots": (request(BELL, shots=0), "INVALID_ARGUMENT", "job.shots"),
    "negative shots": (request(BELL, shots=-5), "INVALID_ARGUMENT", "job.shots"),
    "absurd shots": (request(BELL, shots=2**62), "INVALID_ARGUMENT", "job.shots"),
    "unknown device": (request(BELL, device="IBM/no_such_device"), "NOT_FOUND", "IBM/no_such_device"),
    "unknown provider": (request(BELL, device="UNKNOWN/x"), "NOT_FOUND", "UNKNOWN/x"),
    "no device": (request(BELL, device=""), "INVALID_ARGUMENT", "device"),
    "unknown deployment": (
        job_service_pb2.RunJobRequest(job=Job(shots=1, deployment_id=999_999_999), device="IBM/aer_simulator"),
        "NOT_FOUND",
        "999999999",
    ),
    "no programs": (
        job_service_pb2.RunJobRequest(
            job=Job(shots=1),
            device="IBM/aer_simulator",
            deployment=deployment_service_pb2.CreateDeploymentRequest().deployment,
        ),
        "INVALID_ARGUMENT",
        "deployment.programs",
    ),
    "no language": (
        request(BELL, AssemblerLanguage.ASSEMBLER_LANGUAGE_UNSPECIFIED),
        "INVALID_ARGUMENT",
        "assembler_language",
    ),
    "empty program": (request(""), "INVALID_ARGUMENT", "quantum_circuit"),
    "2 MB of text": (request(BELL + "// " + "x" * 2_000_000), "INVALID_ARGUMENT", "quantum_circuit"),
    "40 qubits on Braket": (request(FORTY, device="AWS/local_simulator"), "FAILED_PRECONDITION", "40 qubits"),
    "a bad request id": (request(BELL, request_id="not a uuid"), "INVALID_ARGUMENT", "request_id"),
    "an empty request": (job_service_pb2.RunJobRequest(), "INVALID_ARGUMENT", "job.shots"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_request_is_refused_at_submit(case: str, jobs: JobServiceStub) -> None:
    message, code, named = REFUSED[case]
    begun = time.perf_counter()
    with pytest.raises(grpc.RpcError) as raised:
        list(jobs.RunJob(message, timeout=100))
    assert time.perf_counter() - begun < SOON
    status, details = refused(raised.value)
    assert status.name == code
    info = details["ErrorInfo"]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert info.domain == "qonduit"
    assert named in str(details)
    assert outcome(jobs, request(BELL)).state == JobState.JOB_STATE_SUCCEEDED


def test_a_thousand_programs_are_refused_naming_the_limit(jobs: JobServiceStub) -> None:
    message = request(BELL)
    for _ in range(999):
        message.deployment.programs.add(quantum_circuit=BELL, assembler_language=QASM2)
    with pytest.raises(grpc.RpcError) as raised:
        list(jobs.RunJob(message, timeout=100))
    status, details = refused(raised.value)
    assert status.name == "INVALID_ARGUMENT"
    assert "deployment.programs" in str(details["BadRequest"])
    assert "500" in str(details["BadRequest"])


def test_an_unknown_job_is_not_found(jobs: JobServiceStub) -> None:
    for call in (
        lambda: jobs.GetJob(job_service_pb2.GetJobRequest(id=999_999_999), timeout=100),
        lambda: list(jobs.WatchJob(job_service_pb2.WatchJobRequest(job_id=999_999_999), timeout=100)),
        lambda: jobs.CancelJob(job_service_pb2.CancelJobRequest(id=999_999_999), timeout=100),
        lambda: jobs.DeleteJob(job_service_pb2.DeleteJobRequest(id=999_999_999), timeout=100),
    ):
        with pytest.raises(grpc.RpcError) as raised:
            call()
        status, details = refused(raised.value)
        assert status.name == "NOT_FOUND"
        assert isinstance(details["ResourceInfo"], error_details_pb2.ResourceInfo)


def test_a_malformed_request_is_refused(server: Server) -> None:
    with grpc.insecure_channel(server.target) as channel:
        call = channel.unary_unary("/qonduit.v1.JobService/CreateJob", lambda b: b, lambda b: b)
        with pytest.raises(grpc.RpcError) as raised:
            call(b"\xff\xfe\xfd nonsense", timeout=100)
    assert refused(raised.value)[0].name == "INVALID_ARGUMENT"


def test_a_deployment_without_programs_is_refused(server: Server) -> None:
    with grpc.insecure_channel(server.target) as channel, pytest.raises(grpc.RpcError) as raised:
        DeploymentServiceStub(channel).CreateDeployment(deployment_service_pb2.CreateDeploymentRequest(), timeout=100)
    assert refused(raised.value)[0].name == "INVALID_ARGUMENT"


FAILING = {
    "a missing semicolon": (
        request(HEADER + "qreg q[1];\ncreg c[1];\nh q[0]\nmeasure q -> c;\n"), "PROGRAM", "SYNTAX_ERROR", ""),
    "a gate that does not exist": (request(HEADER + "qreg q[1];\nfoo q[0];\n"), "PROGRAM", "", "foo"),
    "OpenQASM 3 declared as 2": (request("OPENQASM 3.0;\nqubit q;\n"), "PROGRAM", "WRONG_LANGUAGE", "QASM3"),
    "OpenQASM 2 declared as 3": (request(BELL, QASM3), "PROGRAM", "WRONG_LANGUAGE", "QASM2"),
    "a register bomb": (request(HEADER + "qreg q[1000000000];\n"), "PROGRAM", "TOO_LARGE", "qubits"),
    "a register bomb in disguise": (
        request(HEADER + "/* a */ qreg /* b */ q[1000000000];\n"), "PROGRAM", "TOO_LARGE", "qubits"),
    "a 40-qubit statevector, its size computed": (
        request("OPENQASM 3.0;\nconst int n = 40;\nqubit[n] q;\nU(1, 2, 3) q[0];\n", QASM3),
        "LIMIT", "MEMORY_LIMIT", "no compatible device"),
    "a local file": (request('OPENQASM 2.0;\ninclude "/etc/passwd";\n'), "PROGRAM", "", "include"),
}  # fmt: skip


@pytest.mark.parametrize("case", FAILING)
def test_a_bad_program_fails_with_a_reason(case: str, jobs: JobServiceStub) -> None:
    message, category, reason, named = FAILING[case]
    job = outcome(jobs, message)
    assert job.state == JobState.JOB_STATE_FAILED
    failure: Failure = job.failure
    assert failure == job.program_runs[0].failure
    assert not category or failure.category == FailureCategory.Value(f"FAILURE_CATEGORY_{category}"), failure
    assert not reason or failure.reason == reason, failure
    assert named in failure.message
    assert "root:" not in failure.message
    assert failure.category != FailureCategory.FAILURE_CATEGORY_INTERNAL
    assert outcome(jobs, request(BELL)).state == JobState.JOB_STATE_SUCCEEDED


def test_a_syntax_error_names_line_and_column(jobs: JobServiceStub) -> None:
    failure = outcome(jobs, request(HEADER + "qreg q[2];\ncreg c[2];\ncx q[0] q[1];\n")).failure
    assert (failure.line, failure.column) == (5, 1)
