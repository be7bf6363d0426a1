# SPDX-License-Identifier: Apache-2.0
"""Errors: each RPC refuses invalid input the same way, with details that fit into trailers, and leaks no secrets."""

from __future__ import annotations

import json
import logging
import math
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import structlog
from google.protobuf.struct_pb2 import Struct

from qonduit.v1 import deployment_service_pb2 as deployment_service
from qonduit.v1 import job_service_pb2 as job_service
from qonduit.v1.deployment_pb2 import Deployment, QuantumProgram
from qonduit.v1.error_reason_pb2 import ErrorReason
from qonduit.v1.job_pb2 import Job, JobType
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_server import errors, logs
from qonduit_server.rpc.auth.principal import Principal
from qonduit_server.rpc.server import SERVICES
from qonduit_server.rpc.server_limits import Limits
from qonduit_server.store.jobs import job_rows as jobs_store
from tests.contract.rpc_fixture import BELL, QASM2, WAIT, RpcFixture, bell, details_of, programs, refused, rpc_fixture

LIMITS = Limits(max_request_bytes=300_000, max_program_bytes=2_000, max_programs=5, max_shots=1_000, max_queued_jobs=50)
METHODS = sorted(
    (service.full_name, method.name, method.server_streaming)
    for service in SERVICES.values()
    for method in service.methods
)


@pytest.fixture(scope="module")
def rpc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RpcFixture]:
    with rpc_fixture(tmp_path_factory.mktemp("rpc"), limits=LIMITS) as it:
        yield it


def raw(rpc: RpcFixture, service: str, method: str, streaming: bool, data: bytes) -> tuple[str, dict[str, Any]]:
    """Send raw bytes to a method that must refuse them."""
    name = f"/{service}/{method}"
    if streaming:
        return refused(lambda: list(rpc.channel.unary_stream(name)(data, timeout=WAIT)))
    return refused(lambda: rpc.channel.unary_unary(name)(data, timeout=WAIT))


@pytest.mark.parametrize(("service", "method", "streaming"), METHODS)
def test_every_rpc_refuses_bytes_it_cannot_parse(rpc: RpcFixture, service: str, method: str, streaming: bool) -> None:
    code, details = raw(rpc, service, method, streaming, b"\xff\xff\xff\xff garbage")
    assert (code, details["ErrorInfo"].reason) == ("INVALID_ARGUMENT", "INVALID_FIELD")
    assert details["BadRequest"].field_violations[0].reason == "request.encoding"


@pytest.mark.parametrize(("service", "method", "streaming"), METHODS)
def test_every_rpc_names_the_broken_rule_of_an_empty_request(
    rpc: RpcFixture, service: str, method: str, streaming: bool
) -> None:
    fields = {field.name for field in SERVICES[service].methods_by_name[method].input_type.fields}
    lists = ("ListProviders", "ListDevices", "ListDeployments", "ListJobs", "ListLanguages", "ListWorkers")
    others = ("GetServerInfo", "ListProjects", "ListPauses", "ListShares", "PauseServer", "ResumeServer")
    if method in (*lists, *others, "ListUsage", "ListQuotas", "GetQuota", "ListCredentials", "ListAuditEntries"):
        rpc.channel.unary_unary(f"/{service}/{method}")(b"", timeout=WAIT)
        return
    code, details = raw(rpc, service, method, streaming, b"")
    assert code == "INVALID_ARGUMENT"
    violations = details["BadRequest"].field_violations
    assert violations
    for violation in violations:
        assert violation.field.partition(".")[0].partition("[")[0] in fields
        assert violation.reason
        assert violation.description


@pytest.mark.parametrize(("service", "method", "streaming"), METHODS)
def test_every_rpc_hides_a_fault_and_logs_it(
    rpc: RpcFixture, service: str, method: str, streaming: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(_metadata: object, _peer: object) -> Principal:
        raise ZeroDivisionError("a secret of the server")

    logs.configure("json", "info")
    try:
        with rpc_fixture(tmp_path, authenticate=broken) as faulty:
            code, details = raw(faulty, service, method, streaming, b"")
    finally:
        structlog.reset_defaults()
        logging.getLogger().handlers.clear()
    assert (code, details["ErrorInfo"].reason) == ("INTERNAL", "INTERNAL")
    assert "secret" not in str(details)
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    fault = next(line for line in lines if line["event"] == "fault")
    assert fault["request_id"] == details["RequestInfo"].request_id
    assert "ZeroDivisionError" in fault["exception"]


def test_every_reason_is_one_of_the_contract() -> None:
    known = {name.removeprefix("ERROR_REASON_") for name in ErrorReason.DESCRIPTOR.values_by_name}
    for error in (
        errors.InvalidArgument,
        errors.NotFound,
        errors.AlreadyExists,
        errors.FailedPrecondition,
        errors.ResourceExhausted,
        errors.Unavailable,
    ):
        assert error.reason in known


def test_an_unknown_method_is_unimplemented(rpc: RpcFixture) -> None:
    for method in ("/qonduit.v1.JobService/Nope", "/no.such.Service/Nope"):
        code, details = refused(lambda method=method: rpc.channel.unary_unary(method)(b"", timeout=WAIT))
        assert (code, details["ErrorInfo"].reason) == ("UNIMPLEMENTED", "UNIMPLEMENTED")


def create(**fields: Any) -> job_service.CreateJobRequest:
    """Return a request for a Bell job, with changes."""
    request = job_service.CreateJobRequest(job=Job(shots=10))
    if "device" not in fields and not (fields.get("job") and fields["job"].executed_on_id):
        request.device = "IBM/aer_simulator"
    if "deployment" not in fields and not (fields.get("job") and fields["job"].deployment_id):
        request.deployment.CopyFrom(programs(BELL))
    if "job" in fields:
        request.job.CopyFrom(fields.pop("job"))
    request.MergeFrom(job_service.CreateJobRequest(**fields))
    return request


def struct(**values: Any) -> Struct:
    made = Struct()
    made.update(values)
    return made


def one(**fields: Any) -> Deployment:
    """Return a request for a deployment with a valid program, and one made of `fields`."""
    return Deployment(
        programs=[
            QuantumProgram(quantum_circuit=BELL, assembler_language=QASM2),
            QuantumProgram(**{"quantum_circuit": BELL, "assembler_language": QASM2} | fields),
        ]
    )


QISKIT = AssemblerLanguage.ASSEMBLER_LANGUAGE_QISKIT
INVALID: dict[str, tuple[job_service.CreateJobRequest, str]] = {
    "no shots": (create(job=Job(shots=0)), "job.shots"),
    "negative shots": (create(job=Job(shots=-3)), "job.shots"),
    "shots over the server's limit": (create(job=Job(shots=1_001)), "job.shots"),
    "shots over the device's limit": (create(job=Job(shots=11), device="IBM/few_shots"), "job.shots"),
    "no job": (job_service.CreateJobRequest(device="IBM/aer_simulator", deployment=programs(BELL)), "job.shots"),
    "no device": (create(device=""), "device"),
    "two devices": (create(job=Job(shots=1, executed_on_id=1), device="IBM/aer_simulator"), "device"),
    "two deployments": (create(job=Job(shots=1, deployment_id=1), deployment=programs(BELL)), "deployment"),
    "no programs": (create(deployment=Deployment(name="empty")), "deployment.programs"),
    "too many programs": (create(deployment=programs(*[BELL] * 6)), "deployment.programs"),
    "an empty program": (create(deployment=one(quantum_circuit=" \n")), "deployment.programs[1].quantum_circuit"),
    "no language": (create(deployment=one(assembler_language=0)), "deployment.programs[1].assembler_language"),
    "no such language": (create(deployment=one(assembler_language=99)), "deployment.programs[1].assembler_language"),
    "a program that is too large": (
        create(deployment=one(quantum_circuit="é" * 1_001)),
        "deployment.programs[1].quantum_circuit",
    ),
    "text for a binary language": (
        create(deployment=one(assembler_language=QISKIT)),
        "deployment.programs[1].quantum_circuit",
    ),
    "bytes for a text language": (
        create(deployment=one(quantum_circuit="", quantum_circuit_binary=b"QPY")),
        "deployment.programs[1].quantum_circuit_binary",
    ),
    "no bytes": (
        create(deployment=one(quantum_circuit="", assembler_language=QISKIT)),
        "deployment.programs[1].quantum_circuit_binary",
    ),
    "an invalid request id": (create(request_id="one"), "request_id"),
    "an unexpected credential": (create(credential="s3cret-of-mine"), "credential"),
    "a name that is too long": (create(job=Job(shots=1, name="n" * 256)), "job.name"),
    "an input that is not a number": (create(job=Job(shots=1, inputs=struct(theta=math.nan))), "job.inputs.theta"),
    "inputs that are too large": (create(job=Job(shots=1, inputs=struct(s="1" * 70_000))), "job.inputs"),
    "an input of a program that is not a number": (
        create(deployment=one(python_file_inputs=struct(a=[1.0, [math.inf]]))),
        "deployment.programs[1].python_file_inputs.a",
    ),
    "a negative seed": (create(job=Job(shots=1, seed=-1)), "job.seed"),
}


@pytest.mark.parametrize("case", INVALID)
def test_a_request_that_breaks_a_rule_is_refused_and_names_the_field(rpc: RpcFixture, case: str) -> None:
    request, field = INVALID[case]
    run = job_service.RunJobRequest.FromString(request.SerializeToString())
    calls: tuple[Callable[[], Any], ...] = (
        lambda: rpc.jobs.CreateJob(request, timeout=WAIT),
        lambda: list(rpc.jobs.RunJob(run, timeout=WAIT)),
    )
    for call in calls:
        code, details = refused(call)
        assert (code, details["ErrorInfo"].reason) == ("INVALID_ARGUMENT", "INVALID_FIELD")
        violations = details["BadRequest"].field_violations
        assert field in [violation.field for violation in violations], violations
        assert all(violation.reason for violation in violations)
        assert "s3cret-of-mine" not in str(details)


MESSAGES = {
    "no shots": "job.shots: must be at least 1",
    "shots over the server's limit": "job.shots: must be at most 1000 (max_shots), got 1001",
    "shots over the device's limit": "job.shots: must be at most 10 on IBM/few_shots, got 11",
    "too many programs": "deployment.programs: must contain at most 5 programs (max_programs), got 6",
    "an empty program": "deployment.programs[1].quantum_circuit: must not be empty",
    "a program that is too large": "must have at most 2000 bytes (max_program_bytes), got 2002",
    "an input that is not a number": "job.inputs: 'theta' must contain finite numbers only",
}


@pytest.mark.parametrize("case", MESSAGES)
def test_a_message_has_the_field_the_allowed_values_the_value_and_the_setting(rpc: RpcFixture, case: str) -> None:
    _, details = refused(lambda: rpc.jobs.CreateJob(INVALID[case][0], timeout=WAIT))
    descriptions = [violation.description for violation in details["BadRequest"].field_violations]
    assert any(MESSAGES[case] in description for description in descriptions), descriptions


def test_more_qubits_than_the_device_has_are_refused_at_once(rpc: RpcFixture) -> None:
    text = 'OPENQASM 2.0;\ninclude "qelib1.inc";\n// qreg q[40];\nqreg q[{}];'
    code, details = refused(
        lambda: rpc.jobs.CreateJob(create(deployment=one(quantum_circuit=text.format(40))), timeout=WAIT)
    )
    assert (code, details["ErrorInfo"].reason) == ("FAILED_PRECONDITION", "UNSUPPORTED_BY_DEVICE")
    violation = details["PreconditionFailure"].violations[0]
    assert violation.subject == "deployment.programs[1].quantum_circuit"
    assert "line 4: the program declares 40 qubits, IBM/aer_simulator has 20" in violation.description
    assert "this server has no compatible device" in violation.description
    rpc.jobs.CreateJob(create(deployment=one(quantum_circuit=text.format(20))), timeout=WAIT)


def test_an_unsupported_feature_error_lists_the_devices_that_support_it(rpc: RpcFixture) -> None:
    code, details = refused(
        lambda: rpc.jobs.CreateJob(create(job=Job(shots=1, type=JobType.JOB_TYPE_SAMPLER)), timeout=WAIT)
    )
    assert (code, details["ErrorInfo"].reason) == ("FAILED_PRECONDITION", "UNSUPPORTED_BY_DEVICE")
    violation = details["PreconditionFailure"].violations[0]
    assert violation.subject == "job.type"
    assert "OTHER/sampler" in violation.description

    program = one(assembler_language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QUIL)
    code, details = refused(lambda: rpc.jobs.CreateJob(create(deployment=program), timeout=WAIT))
    assert (code, details["ErrorInfo"].reason) == ("FAILED_PRECONDITION", "UNSUPPORTED_BY_DEVICE")
    assert details["PreconditionFailure"].violations[0].subject == "deployment.programs[1].assembler_language"

    code, details = refused(lambda: rpc.jobs.CreateJob(create(device="IBM/away"), timeout=WAIT))
    assert code == "FAILED_PRECONDITION"
    assert "on holiday" in details["PreconditionFailure"].violations[0].description


def test_a_missing_resource_is_named(rpc: RpcFixture) -> None:
    code, details = refused(lambda: rpc.jobs.CreateJob(create(device="IBM/nope"), timeout=WAIT))
    assert code == "NOT_FOUND"
    assert details["ResourceInfo"].resource_name == "IBM/nope"
    for request in (create(job=Job(shots=1, executed_on_id=10**9)), create(job=Job(shots=1, deployment_id=10**9))):
        code, details = refused(lambda request=request: rpc.jobs.CreateJob(request, timeout=WAIT))
        assert code == "NOT_FOUND"
        assert details["ResourceInfo"].resource_name == str(10**9)


def test_lists_refuse_bad_filters_and_tokens(rpc: RpcFixture) -> None:
    code, details = refused(lambda: rpc.jobs.ListJobs(job_service.ListJobsRequest(filter="colour = 3")))
    assert (code, details["ErrorInfo"].reason) == ("INVALID_ARGUMENT", "INVALID_FILTER")
    code, details = refused(lambda: rpc.jobs.ListJobs(job_service.ListJobsRequest(page_token="made up")))
    assert (code, details["ErrorInfo"].reason) == ("INVALID_ARGUMENT", "INVALID_PAGE_TOKEN")


def test_an_update_of_an_immutable_field_names_it(rpc: RpcFixture) -> None:
    request = deployment_service.UpdateDeploymentRequest(deployment=Deployment(id=1))
    request.update_mask.paths.extend(["name", "deployed_by"])
    code, details = refused(lambda: rpc.deployments.UpdateDeployment(request))
    assert code == "INVALID_ARGUMENT"
    assert details["BadRequest"].field_violations[0].field == "update_mask.paths[1]"


def test_a_hundred_mistakes_still_fit_into_the_trailers(rpc: RpcFixture) -> None:
    request = job_service.CreateJobRequest(job=Job(shots=1), device="IBM/aer_simulator")
    for _ in range(100):
        request.deployment.programs.add(assembler_language=77)  # type: ignore[arg-type]
    code, details = refused(lambda: rpc.jobs.CreateJob(request, timeout=WAIT))
    assert code == "INVALID_ARGUMENT"
    violations = details["BadRequest"].field_violations
    assert 3 < len(violations) < 100
    assert "more)" in violations[-1].description


def test_a_request_that_is_too_large_is_refused_with_the_limit(rpc: RpcFixture) -> None:
    code, details = refused(lambda: rpc.jobs.CreateJob(create(deployment=programs(*["x" * 100_000] * 4))))
    assert (code, details["ErrorInfo"].reason) == ("RESOURCE_EXHAUSTED", "LIMIT_EXCEEDED")
    assert details["QuotaFailure"].violations[0].subject == "max_request_bytes"
    # gRPC refuses a request far over the limit before it is received.
    with pytest.raises(grpc.RpcError) as raised:
        rpc.jobs.CreateJob(create(deployment=programs("x" * 2_000_000)), timeout=WAIT)
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_deployment_too_large_to_be_listed_is_refused(tmp_path: Path) -> None:
    with rpc_fixture(tmp_path, limits=Limits(max_response_bytes=10_000)) as small:
        request = deployment_service.CreateDeploymentRequest(deployment=programs("x" * 6_000, "y" * 6_000))
        code, details = refused(lambda: small.deployments.CreateDeployment(request))
        assert code == "INVALID_ARGUMENT"
        assert details["BadRequest"].field_violations[0].field == "deployment.programs"


def test_a_full_queue_is_reported(tmp_path: Path) -> None:
    with rpc_fixture(tmp_path, limits=Limits(max_queued_jobs=2)) as full:
        for _ in range(2):
            full.jobs.CreateJob(create(), timeout=WAIT)
        code, details = refused(lambda: full.jobs.CreateJob(create(), timeout=WAIT))
        assert code == "RESOURCE_EXHAUSTED"
        assert details["QuotaFailure"].violations
        assert details["RetryInfo"].retry_delay.ToNanoseconds() > 0


def test_an_unresponsive_store_is_reported_as_unavailable(rpc: RpcFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> Job:
        raise errors.Unavailable("the database does not answer")

    monkeypatch.setattr(jobs_store, "get", away)
    code, details = refused(lambda: rpc.jobs.GetJob(job_service.GetJobRequest(id=1)))
    assert (code, details["ErrorInfo"].reason) == ("UNAVAILABLE", "STORE_UNAVAILABLE")
    assert details["RetryInfo"].retry_delay.ToNanoseconds() > 0


def test_the_log_names_calls_and_no_secrets(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure("json", "info")
    try:
        with rpc_fixture(tmp_path) as rpc:
            stream = rpc.jobs.RunJob(
                bell(request_id=str(uuid.uuid4()), heartbeat_interval={"seconds": 5}), metadata=[("x-request-id", "r1")]
            )
            job_id = next(stream).event.job_id
            rpc.run(job_id)
            assert list(stream)
            refused(lambda: rpc.jobs.CreateJob(create(credential="s3cret-of-mine"), metadata=[("x-request-id", "r2")]))
    finally:
        structlog.reset_defaults()
        logging.getLogger().handlers.clear()
    output = capfd.readouterr().err
    assert "OPENQASM" not in output
    assert "s3cret-of-mine" not in output
    calls = {line["request_id"]: line for line in map(json.loads, output.splitlines()) if line["event"] == "call"}
    assert calls["r1"]["job_id"] == job_id
    assert (calls["r1"]["method"], calls["r1"]["code"]) == ("JobService/RunJob", "OK")
    assert (calls["r2"]["code"], calls["r2"]["reason"]) == ("INVALID_ARGUMENT", "INVALID_FIELD")


def test_an_error_on_a_stream_has_the_same_details(rpc: RpcFixture) -> None:
    stream = rpc.jobs.WatchJob(job_service.WatchJobRequest(job_id=10**9), timeout=WAIT)
    with pytest.raises(grpc.RpcError) as raised:
        next(stream)
    code, details = details_of(raised.value)
    assert code == "NOT_FOUND"
    assert details["ResourceInfo"].resource_name == str(10**9)
