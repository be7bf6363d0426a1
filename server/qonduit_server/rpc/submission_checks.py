# SPDX-License-Identifier: Apache-2.0
"""Whether a job or a deployment can be taken: the checks that need the server's limits and the catalogue of devices."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.v1.deployment_pb2 import Deployment, QuantumProgram
from qonduit.v1.device_pb2 import Device
from qonduit.v1.job_pb2 import Job, JobType
from qonduit.v1.job_service_pb2 import CreateJobRequest, RunJobRequest
from qonduit.v1.provider_pb2 import AssemblerLanguage, Provider
from qonduit_server import lifecycle, noise_rules
from qonduit_server.capabilities import (
    FLOATING_POINT,
    JOB_TYPE,
    METHOD,
    NOISE,
    STATEVECTOR,
    Requirements,
    missing_features,
    requirements_of_job,
)
from qonduit_server.errors import FailedPrecondition, InvalidArgument, Violation
from qonduit_server.rpc import struct_limits
from qonduit_server.rpc.auth import Principal
from qonduit_server.rpc.program_errors import BINARY_LANGUAGES
from qonduit_server.rpc.program_requirements import check_qubits, unsupported
from qonduit_server.rpc.server_limits import Limits
from qonduit_server.store import catalogue, deployments
from qonduit_server.store.database import Database
from qonduit_server.store.jobs import job_rows
from qonduit_server.store.jobs.job_rows import Created, NewJob
from qonduit_server.store.jobs.job_spec import LARGE, job_of, pack, spec_of

_FIELD = "deployment.programs"
#: The field of a request and the kind of precondition that stand for a missing feature.
_FIELD_AND_KIND: Final = {
    JOB_TYPE: ("job.type", "JOB_TYPE"),
    STATEVECTOR: ("job.include_statevector", "STATEVECTOR"),
    METHOD: ("job.simulation.method", "METHOD"),
    FLOATING_POINT: ("job.simulation.floating_point", "METHOD"),
    NOISE: ("job.noise_model", "NOISE"),
}
#: What the store adds to a deployment (ids, times, the caller's name) takes less than this a program.
_ADDED_BYTES = 64


def new_job(
    db: Database, principal: Principal, request: CreateJobRequest | RunJobRequest, method: str, limits: Limits
) -> NewJob:
    """Check a submission and bring it into the store's form. Output-only fields of `request` are cleared.

    Raises:
        InvalidArgument: a limit or a rule is broken.
        NotFound: no such device or deployment.
        FailedPrecondition: the device is not available, or does not do what the job needs.
    """
    spec = _asked(request.job)
    if spec.shots > limits.max_shots:
        raise InvalidArgument.of(
            "job.shots", "job.shots.max", f"job.shots: must be at most {limits.max_shots} (max_shots), got {spec.shots}"
        )
    inline = request.deployment if request.HasField("deployment") else None
    if inline is not None:
        check_programs(inline, limits)

    device = (
        catalogue.device_by_name(db, request.device)
        if request.device
        else catalogue.device(db, request.job.executed_on_id)
    )
    provider = catalogue.provider(db, device.provider_id)
    name = f"{provider.name}/{device.name}"
    if not device.available:
        raise FailedPrecondition(
            f"device {name} is not available: {device.status_message or 'no reason is known'}",
            subject=f"device/{name}",
            kind="DEVICE_UNAVAILABLE",
        )
    if device.max_shots and spec.shots > device.max_shots:
        raise InvalidArgument.of(
            "job.shots",
            "job.shots.device_max",
            f"job.shots: must be at most {device.max_shots} on {name}, got {spec.shots}",
        )
    if request.credential:
        # Refused rather than dropped: the job would run without what its caller believes it runs with.
        raise InvalidArgument.of(
            "credential",
            "credential.unexpected",
            f"credential: must be empty: {provider.name} uses no credential in this version",
        )
    requirements = requirements_of_job(spec)
    _check_capabilities(db, requirements, device, name)
    deployment_id = request.job.deployment_id
    programs = inline.programs if inline is not None else deployments.get(db, principal.name, deployment_id).programs
    _check_languages(programs, provider)
    check_qubits(db, programs, _FIELD, requirements, device, name)

    return NewJob(
        caller=principal.name,
        spec=spec,
        name=request.job.name if request.job.HasField("name") else None,
        device_id=device.id,
        device=name,
        deployment=inline,
        deployment_id=deployment_id,
        request_id=request.request_id,
        method=method,
        fingerprint=_fingerprint(request, spec),
        max_queued=limits.max_queued_jobs,
    )


def repeated(
    db: Database, principal: Principal, request: CreateJobRequest | RunJobRequest, method: str
) -> Created | None:
    """Return what an equal request created before, if it did.

    To be asked where a request is refused: a repetition has its answer, whatever has become of the device, of the
    deployment or of the limits since.
    """
    if not request.request_id or request.validate_only:
        return None
    if request.HasField("deployment"):
        _clear_output_only(request.deployment)
    fingerprint = _fingerprint(request, _asked(request.job))
    return job_rows.repeated(db, principal.name, method, request.request_id, fingerprint)


def preview(new: NewJob) -> Job:
    """Return the job as it would be created, for `validate_only`: without ids and times, which only the store gives."""
    job = Job(
        executed_by=new.caller,
        state=lifecycle.QUEUED,
        progress=0.0,
        executed_on_id=new.device_id,
        device=new.device,
        deployment_id=new.deployment_id,
        name=new.name,
    )
    job.MergeFrom(job_of(pack(new.spec).spec))
    for index in range(len(new.deployment.programs) if new.deployment is not None else 0):
        job.program_runs.add(index=index, state=lifecycle.QUEUED)
    return job


def check_programs(deployment: Deployment, limits: Limits) -> None:
    """Check programs by themselves, whatever device they will run on; clear what only the server may set.

    Raises:
        InvalidArgument: too many or too large programs, a missing or wrong text, no language; or more in all than an
            answer can hold, so that the deployment could be stored but not read.
    """
    count = len(deployment.programs)
    if count > limits.max_programs:
        raise InvalidArgument.of(
            _FIELD,
            "deployment.programs.max_items",
            f"{_FIELD}: must contain at most {limits.max_programs} programs (max_programs), got {count}",
        )
    _clear_output_only(deployment)
    broken: list[Violation] = []
    for index, program in enumerate(deployment.programs):
        broken += broken_rules(program, f"{_FIELD}[{index}]", limits)
    if broken:
        raise InvalidArgument(broken)
    size = deployment.ByteSize() + _ADDED_BYTES * (count + 4)
    if size > limits.max_response_bytes:
        raise InvalidArgument.of(
            _FIELD,
            "deployment.programs.max_bytes",
            f"{_FIELD}: must have at most {limits.max_response_bytes} bytes (max_response_bytes), got {size}",
        )


def _clear_output_only(deployment: Deployment) -> None:
    for output_only in ("id", "deployed_at", "deployed_by"):
        deployment.ClearField(output_only)
    for program in deployment.programs:
        program.ClearField("id")
        program.ClearField("deployment_id")


def broken_rules(program: QuantumProgram, path: str, limits: Limits) -> Iterable[Violation]:
    """Return what is wrong with a program in a field of this path, as far as that is known without reading it."""

    def violation(field: str, rule: str, what: str) -> Violation:
        return Violation(f"{path}.{field}", f"program.{rule}", f"{path}.{field}: {what}")

    language = program.assembler_language
    if language == AssemblerLanguage.ASSEMBLER_LANGUAGE_UNSPECIFIED:
        yield violation("assembler_language", "language.required", "must name the language of the program")
        return
    named = AssemblerLanguage.Name(language).removeprefix("ASSEMBLER_LANGUAGE_")
    text, binary = program.quantum_circuit, program.quantum_circuit_binary
    if language in BINARY_LANGUAGES and not (text and named in limits.python_source):
        right, wrong, kind = "quantum_circuit_binary", "quantum_circuit", "binary"
        size, misplaced = len(binary), bool(text)
        empty = not binary
    else:
        right, wrong = "quantum_circuit", "quantum_circuit_binary"
        kind = "text" if language not in BINARY_LANGUAGES else "text or binary, not both"
        # Only a text that may be too long is worth counting in bytes.
        size = len(text) if len(text) * 4 <= limits.max_program_bytes else len(text.encode())
        misplaced = bool(binary)
        empty = not text or text.isspace()
    if misplaced:
        what = f"{named} is {kind}: use {right}"
        if language in BINARY_LANGUAGES and named not in limits.python_source:
            what += "; Python source in this language is disabled (enable_python_source)"
        yield violation(wrong, "form", what)
    if empty and not misplaced and not program.python_file_path:
        yield violation(right, "required", "must not be empty")
    if size > limits.max_program_bytes:
        yield violation(
            right, "max_bytes", f"must have at most {limits.max_program_bytes} bytes (max_program_bytes), got {size}"
        )
    yield from struct_limits.broken(program.python_file_inputs, f"{path}.python_file_inputs")
    yield from struct_limits.broken(program.python_file_options, f"{path}.python_file_options")


def _check_languages(programs: Iterable[QuantumProgram], provider: Provider) -> None:
    known = {line.supported_language for line in provider.supported_languages}
    for index, program in enumerate(programs):
        if program.assembler_language not in known:
            given = AssemblerLanguage.Name(program.assembler_language).removeprefix("ASSEMBLER_LANGUAGE_")
            takes = ", ".join(AssemblerLanguage.Name(one).removeprefix("ASSEMBLER_LANGUAGE_") for one in sorted(known))
            raise FailedPrecondition(
                f"{_FIELD}[{index}].assembler_language: {provider.name} does not support {given}; "
                f"supported: {takes or 'none'}",
                subject=f"{_FIELD}[{index}].assembler_language",
                kind="LANGUAGE",
                reason="UNSUPPORTED_BY_DEVICE",
            )


def _check_capabilities(db: Database, requirements: Requirements, device: Device, name: str) -> None:
    """Refuse a job for which the device lacks something, whatever its programs are."""
    if requirements.statevector and requirements.job_type != JobType.JOB_TYPE_RUNNER:
        field = "job.include_statevector"
        raise InvalidArgument.of(
            field, "job.include_statevector.type", f"{field}: only RUNNER jobs return statevectors"
        )
    for missing in missing_features(device, name, requirements):
        field, kind = _FIELD_AND_KIND[missing.name]
        raise unsupported(db, field, kind, missing.message, requirements)


def _asked(given: Job) -> JobSpec:
    """Return what a request asks of its job's run. Raises InvalidArgument."""
    spec = spec_of(given)
    for field in LARGE:
        spec.ClearField(f"{field}_reference")  # output only
    wrong = [
        *struct_limits.broken(spec.inputs, "job.inputs"),
        *noise_rules.broken(spec.noise_model, "job.noise_model"),
    ]
    if wrong:
        raise InvalidArgument(wrong)
    return spec


def _fingerprint(request: CreateJobRequest | RunJobRequest, spec: JobSpec) -> bytes:
    """Tell requests apart that come under one request id; where a watcher resumes makes no other request of it."""
    if not request.request_id:
        return b""
    # Kept as long as the job, so the bytes that are hashed never change their form: a Job with its options in full.
    same = CreateJobRequest(job=job_of(spec), device=request.device, credential=request.credential)
    if request.job.HasField("name"):
        same.job.name = request.job.name
    same.job.executed_on_id = request.job.executed_on_id
    same.job.deployment_id = request.job.deployment_id
    if request.HasField("deployment"):
        same.deployment.CopyFrom(request.deployment)
    return hashlib.sha256(same.SerializeToString(deterministic=True)).digest()
