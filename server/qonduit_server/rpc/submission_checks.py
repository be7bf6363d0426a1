# SPDX-License-Identifier: Apache-2.0
"""Check jobs and deployments at submission against the server's limits and the device catalogue."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.v1.deployment_pb2 import Deployment, QuantumProgram
from qonduit.v1.device_pb2 import Device
from qonduit.v1.device_service_pb2 import CompareDevicesRequest
from qonduit.v1.job_pb2 import Job, JobType
from qonduit.v1.job_service_pb2 import CreateJobRequest, RunJobRequest
from qonduit.v1.provider_pb2 import AssemblerLanguage, Provider
from qonduit_server import job_type_rules, lifecycle, noise_rules, program_metadata, version_requirements
from qonduit_server.capabilities import (
    FLOATING_POINT,
    JOB_TYPE,
    METHOD,
    NOISE,
    STATEVECTOR,
    VENDOR_ESTIMATOR,
    VENDOR_MODE,
    Requirements,
    missing_features,
    requirements_of_job,
)
from qonduit_server.errors import FailedPrecondition, InvalidArgument, Violation
from qonduit_server.rpc import server_program_checks, struct_limits
from qonduit_server.rpc.credential_checks import check_credential, hashed
from qonduit_server.rpc.program_errors import BINARY_LANGUAGES
from qonduit_server.rpc.program_requirements import check_qubits, unsupported
from qonduit_server.rpc.server_limits import Limits
from qonduit_server.rpc.server_program_checks import is_server_program
from qonduit_server.store import catalogue, deployments
from qonduit_server.store.database import Database
from qonduit_server.store.jobs import job_rows
from qonduit_server.store.jobs.job_rows import Created, NewJob
from qonduit_server.store.jobs.job_spec import LARGE, job_of, pack, spec_of
from qonduit_server.store.jobs.pinned_jobs import check_served
from qonduit_server.store.memberships import Memberships
from qonduit_server.store.ownership import owner_for
from qonduit_server.store.schema import NO_DEVICE_ID

_FIELD = "deployment.programs"
#: The request field and the precondition kind that report a missing feature.
_FIELD_AND_KIND: Final = {
    JOB_TYPE: ("job.type", "JOB_TYPE"),
    STATEVECTOR: ("job.include_statevector", "STATEVECTOR"),
    METHOD: ("job.simulation.method", "METHOD"),
    FLOATING_POINT: ("job.simulation.floating_point", "METHOD"),
    NOISE: ("job.noise_model", "NOISE"),
    VENDOR_ESTIMATOR: ("job.vendor_options.resilience_level", "METHOD"),
    VENDOR_MODE: ("job.vendor_options.mode", "VENDOR_MODE"),
}
#: The fields of a spec that requests do not set, beside references.
_OUTPUT_ONLY: Final = (
    "device_choice",
    "drawn_seed",
    "required_provenance",
    "credential_id",
    "one_time_credential",
    "traceparent",
    "parent_job_id",
)
#: Upper bound, per program, of the bytes that the store adds to a deployment (ids, times, the caller's name).
_ADDED_BYTES = 64


def new_job(
    db: Database,
    caller: Memberships,
    request: CreateJobRequest | RunJobRequest,
    method: str,
    limits: Limits,
    chosen: Device | None = None,
) -> NewJob:
    """Check a submission and return it in the store's form. Clears the output-only fields of `request`.

    Args:
        db: the database.
        caller: the caller.
        request: the submission.
        method: the RPC, for request ids.
        limits: of the server.
        chosen: the device in place of the one that the request names.

    Raises:
        InvalidArgument: a limit or a rule is violated.
        NotFound: no such device or deployment.
        FailedPrecondition: the device is not available, lacks a feature that the job requires, or has other versions.
    """
    job = unplaced_job(db, caller, request, limits)
    fingerprints = _fingerprints(db, request, job.spec)
    is_upload = job.spec.type == JobType.JOB_TYPE_IBM_UPLOAD
    if is_upload:
        _check_upload(request)
        device, name = Device(id=NO_DEVICE_ID), ""
    else:
        device, name = _device(db, caller, request, job, chosen)
    return NewJob(
        caller=caller.name,
        project=request.job.project,
        readable=caller.readable,
        spec=job.spec,
        name=request.job.name if request.job.HasField("name") else None,
        device_id=device.id,
        device=name,
        deployment=request.deployment if request.HasField("deployment") else None,
        deployment_id=job.deployment_id,
        request_id=request.request_id,
        method=method,
        fingerprint=fingerprints[0],
        older_fingerprints=fingerprints[1:],
        secret=request.credential,
        max_queued=limits.max_queued_jobs,
        server_program=job.programs[0] if is_server_program(job.spec) else None,
        program_name=server_program_checks.check_name(job.programs[0], job.name) if is_upload else "",
    )


def _device(
    db: Database,
    caller: Memberships,
    request: CreateJobRequest | RunJobRequest,
    job: UnplacedJob,
    chosen: Device | None,
) -> tuple[Device, str]:
    """Return the device of a job, which can run it, and its name. Raises the errors of `new_job`."""
    spec = job.spec
    device = chosen or (
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
    check_served(db, name, spec)
    if device.max_shots:
        _check_shots(spec, "job.shots.device_max", device.max_shots, f"on {name}")
    if is_server_program(spec):
        _check_device_size(job.programs[0], device, name)
    else:
        requirements = requirements_of_job(spec)
        _check_capabilities(db, requirements, device, name)
        _check_languages(job.programs, provider)
        check_qubits(db, job.programs, _FIELD, requirements, device, name)
    # The last check: the caller may have to store a credential first.
    owners = frozenset({caller.name, owner_for(caller.name, request.job.project)})
    check_credential(db, owners, device, spec, request.credential, request.credential_id)
    return device, name


def _check_upload(request: CreateJobRequest | RunJobRequest) -> None:
    """Refuse what an upload does not use. Raises InvalidArgument."""
    for field in ("credential", "credential_id", "program"):
        if getattr(request, field):
            raise InvalidArgument.of(field, "upload.unused", f"{field}: must be unset for an upload")


def _check_device_size(program: QuantumProgram, device: Device, name: str) -> None:
    """Refuse a device with fewer qubits than the metadata of a server program require."""
    least = program_metadata.read_metadata(program.python_file_metadata).min_num_qubits
    if device.num_qubits < least:
        raise FailedPrecondition(
            f"the server program requires a device with at least {least} qubits (backend_requirements), {name} has "
            f"{device.num_qubits}",
            subject=f"device/{name}",
            kind="QUBITS",
            reason="UNSUPPORTED_BY_DEVICE",
        )


@dataclass(frozen=True)
class UnplacedJob:
    """A job without a device, checked as far as that needs none.

    Args:
        spec: its options.
        programs: its programs.
        deployment_id: the stored deployment that contains them; 0 for inline programs.
        name: of the deployment; may be empty.
    """

    spec: JobSpec
    programs: Sequence[QuantumProgram]
    deployment_id: int = 0
    name: str = ""


def unplaced_job(
    db: Database,
    caller: Memberships,
    request: CreateJobRequest | RunJobRequest | CompareDevicesRequest,
    limits: Limits,
) -> UnplacedJob:
    """Check a request that names no device; raises InvalidArgument and NotFound as `new_job`."""
    check_project(caller, request.job.project)
    spec = _requested_spec(request.job)
    _check_shots(spec, "job.shots.max", limits.max_shots, "(max_shots)")
    if request.HasField("deployment"):
        # The owner of the job owns its programs too.
        request.deployment.ClearField("project")
        check_programs(request.deployment, limits)
        deployment = request.deployment
    else:
        deployment = deployments.get(db, caller.readable, _deployment_id(db, caller, request))
    programs = deployment.programs
    if violations := list(job_type_rules.broken(spec, len(programs))):
        raise InvalidArgument(violations)
    if is_server_program(spec):
        server_program_checks.check_form(spec, programs, limits)
    return UnplacedJob(spec, programs, deployment.id, deployment.name)


def _deployment_id(
    db: Database, caller: Memberships, request: CreateJobRequest | RunJobRequest | CompareDevicesRequest
) -> int:
    """Return the stored deployment that a request names, by its id or as a server program."""
    if isinstance(request, CompareDevicesRequest) or not request.program:
        return request.job.deployment_id
    if request.job.type != JobType.JOB_TYPE_IBM_RUNNER:
        message = "program: only jobs of type IBM_RUNNER run server programs"
        raise InvalidArgument.of("program", "program.type", message)
    owners = (owner_for(caller.name, request.job.project), caller.name)
    return server_program_checks.find(db, owners, request.program)


def repeated(
    db: Database, caller: Memberships, request: CreateJobRequest | RunJobRequest, method: str
) -> Created | None:
    """Return the job that an equal request created before, if there is one.

    Call it when a request is rejected: a repeated request gets its first response, even if the device, the deployment
    or the limits have changed since.
    """
    if not request.request_id or request.validate_only:
        return None
    if request.HasField("deployment"):
        request.deployment.ClearField("project")
        _clear_output_only(request.deployment)
    fingerprints = _fingerprints(db, request, _requested_spec(request.job))
    return job_rows.repeated(db, caller.name, method, request.request_id, fingerprints, caller.readable)


def check_project(caller: Memberships, project: str) -> None:
    """Check that the caller may create objects of a project; empty for its own. Raises NotFound, PermissionDenied."""
    caller.check_change(owner_for(caller.name, project))


def preview(new: NewJob) -> Job:
    """Return the job that would be created, for `validate_only`: without ids and times, which the store assigns."""
    job = Job(
        executed_by=new.caller,
        project=new.project,
        state=lifecycle.QUEUED,
        progress=0.0,
        executed_on_id=new.device_id,
        device=new.device,
        deployment_id=new.deployment_id,
        name=new.name,
    )
    packed = pack(new.spec)
    job.MergeFrom(job_of(packed.spec))
    for index in range(len(new.deployment.programs) if new.deployment is not None else 0):
        job.program_runs.add(index=index, state=lifecycle.QUEUED, points=packed.points_of(index))
    return job


def check_programs(deployment: Deployment, limits: Limits) -> None:
    """Check programs independently of a device, and clear their output-only fields.

    Raises:
        InvalidArgument: too many or too large programs, a missing or misplaced text, no language; or a deployment
            larger than a response, which could be stored but not read.
    """
    count = len(deployment.programs)
    if count > limits.max_programs:
        raise InvalidArgument.of(
            _FIELD,
            "deployment.programs.max_items",
            f"{_FIELD}: must contain at most {limits.max_programs} programs (max_programs), got {count}",
        )
    _clear_output_only(deployment)
    violations: list[Violation] = []
    for index, program in enumerate(deployment.programs):
        violations += program_violations(program, f"{_FIELD}[{index}]", limits)
    if violations:
        raise InvalidArgument(violations)
    size = deployment.ByteSize() + _ADDED_BYTES * (count + 4)
    if size > limits.max_response_bytes:
        raise InvalidArgument.of(
            _FIELD,
            "deployment.programs.max_bytes",
            f"{_FIELD}: must have at most {limits.max_response_bytes} bytes (max_response_bytes), got {size}",
        )


def _clear_output_only(deployment: Deployment) -> None:
    for output_only in ("id", "deployed_at", "deployed_by", "server_program"):
        deployment.ClearField(output_only)
    for program in deployment.programs:
        program.ClearField("id")
        program.ClearField("deployment_id")


def program_violations(program: QuantumProgram, path: str, limits: Limits) -> Iterable[Violation]:
    """Return the violations of a program in the field `path` that can be detected without parsing it."""

    def violation(field: str, rule: str, message: str) -> Violation:
        return Violation(f"{path}.{field}", f"program.{rule}", f"{path}.{field}: {message}")

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
        # Encode the text only if it may exceed the limit.
        size = len(text) if len(text) * 4 <= limits.max_program_bytes else len(text.encode())
        misplaced = bool(binary)
        empty = not text or text.isspace()
    if misplaced:
        message = f"{named} is {kind}: use {right}"
        if language in BINARY_LANGUAGES and named not in limits.python_source:
            message += "; Python source in this language is disabled (enable_python_source)"
        yield violation(wrong, "form", message)
    if empty and not misplaced:
        yield violation(right, "required", "must not be empty")
    if size > limits.max_program_bytes:
        yield violation(
            right, "max_bytes", f"must have at most {limits.max_program_bytes} bytes (max_program_bytes), got {size}"
        )
    yield from struct_limits.violations(program.python_file_inputs, f"{path}.python_file_inputs")
    yield from struct_limits.violations(program.python_file_options, f"{path}.python_file_options")


def _check_shots(spec: JobSpec, rule: str, most: int, why: str) -> None:
    """Reject a job, or options of one of its programs, with too many shots."""
    numbers = [("job.shots", spec.shots)] + [
        (f"job.program_options[{place}].shots", options.shots) for place, options in enumerate(spec.program_options)
    ]
    for field, shots in numbers:
        if shots > most:
            raise InvalidArgument.of(field, rule, f"{field}: must be at most {most} {why}, got {shots}")


def _check_languages(programs: Iterable[QuantumProgram], provider: Provider) -> None:
    known = {line.supported_language for line in provider.supported_languages}
    for index, program in enumerate(programs):
        if program.assembler_language not in known:
            requested = AssemblerLanguage.Name(program.assembler_language).removeprefix("ASSEMBLER_LANGUAGE_")
            supported = ", ".join(
                AssemblerLanguage.Name(language).removeprefix("ASSEMBLER_LANGUAGE_") for language in sorted(known)
            )
            raise FailedPrecondition(
                f"{_FIELD}[{index}].assembler_language: {provider.name} does not support {requested}; "
                f"supported: {supported or 'none'}",
                subject=f"{_FIELD}[{index}].assembler_language",
                kind="LANGUAGE",
                reason="UNSUPPORTED_BY_DEVICE",
            )


def _check_capabilities(db: Database, requirements: Requirements, device: Device, name: str) -> None:
    """Reject a job that requires a feature, independent of its programs, that the device lacks."""
    if requirements.statevector and requirements.job_type != JobType.JOB_TYPE_RUNNER:
        field = "job.include_statevector"
        raise InvalidArgument.of(
            field, "job.include_statevector.type", f"{field}: only RUNNER jobs return statevectors"
        )
    for missing in missing_features(device, name, requirements):
        field, kind = _FIELD_AND_KIND[missing.name]
        raise unsupported(db, field, kind, missing.message, requirements)


def _requested_spec(job: Job) -> JobSpec:
    """Return the spec of a requested job. Raises InvalidArgument."""
    spec = spec_of(job)
    for field in LARGE:
        spec.ClearField(f"{field}_reference")  # output only
    for field in _OUTPUT_ONLY:
        spec.ClearField(field)
    violations = [
        *struct_limits.violations(spec.inputs, "job.inputs"),
        *noise_rules.broken(spec.noise_model, "job.noise_model"),
        *version_requirements.broken(spec),
    ]
    if violations:
        raise InvalidArgument(violations)
    return spec


def _fingerprints(db: Database, request: CreateJobRequest | RunJobRequest, spec: JobSpec) -> list[bytes]:
    """Return hashes that distinguish requests with the same request id; `after_sequence` is not part of them.

    A request has one for each key of the server if it contains a credential, otherwise one.
    """
    if not request.request_id:
        return [b""]
    # The store keeps the hash as long as the job, so the hashed format must not change: a Job with all its options.
    same = CreateJobRequest(job=job_of(spec), device=request.device, credential_id=request.credential_id)
    if request.job.HasField("name"):
        same.job.name = request.job.name
    same.job.project = request.job.project
    same.program = request.program
    same.job.executed_on_id = request.job.executed_on_id
    same.job.deployment_id = request.job.deployment_id
    if request.HasField("deployment"):
        same.deployment.CopyFrom(request.deployment)
    fingerprints = []
    for same.credential in hashed(db.sealer, request.credential):
        fingerprints.append(hashlib.sha256(same.SerializeToString(deterministic=True)).digest())
    return fingerprints
