# SPDX-License-Identifier: Apache-2.0
"""Checks of jobs with server programs: uploads before they are stored, and the inputs of runs before they are queued.

Workers read sources and apply JSON Schemas, so that neither can occupy a thread of the server.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Protocol

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.execution.v1.task_pb2 import ProgramChecked, ProgramFailed, SchemaViolation, Task
from qonduit.v1.deployment_pb2 import Deployment, QuantumProgram
from qonduit.v1.failure_pb2 import Failure, FailureCategory
from qonduit.v1.job_pb2 import JobType
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_server import program_metadata
from qonduit_server.errors import FailedPrecondition, InvalidArgument, Violation
from qonduit_server.program_metadata import MetadataError
from qonduit_server.rpc.caller_budget import CallerBudget, Charge
from qonduit_server.rpc.job_validation import PROGRAMS, AddCallback, failure_error
from qonduit_server.rpc.program_errors import is_fault_of_program, violation
from qonduit_server.rpc.server_limits import Limits
from qonduit_server.store import deployments, program_versions
from qonduit_server.store.database import Database
from qonduit_server.store.jobs.job_rows import NewJob
from qonduit_server.store.jobs.task_messages import task_program
from qonduit_server.store.jobs.upload_recording import CheckedUpload
from qonduit_server.store.ownership import cache_scope, owner_for
from qonduit_server.store.program_versions import NewVersion

UPLOAD: Final = JobType.JOB_TYPE_IBM_UPLOAD
RUN: Final = JobType.JOB_TYPE_IBM_RUNNER
_PROGRAM: Final = f"{PROGRAMS}[0]"
#: Failures of a check that do not concern the program: the caller may repeat the request.
_NOT_CHECKED: Final = (FailureCategory.FAILURE_CATEGORY_WORKER, FailureCategory.FAILURE_CATEGORY_INTERNAL)


class CheckRequest(Protocol):
    """Checks the server program of a job in a worker without running it."""

    def __call__(
        self, task: Task, seconds: float, add_callback: AddCallback, charge: Charge
    ) -> tuple[Sequence[ProgramChecked], Sequence[ProgramFailed]] | Failure:
        """Check a program; arguments and errors are those of `CompileRequest`.

        Returns:
            The findings, or the failure of the program; or the failure of the task.
        """


def is_server_program(spec: JobSpec) -> bool:
    """Return whether a job uploads or runs a server program."""
    return spec.type in (UPLOAD, RUN)


def check_form(spec: JobSpec, programs: Sequence[QuantumProgram], limits: Limits) -> None:
    """Check a job with a server program as far as that needs no worker.

    Raises:
        FailedPrecondition: the server does not run Python programs.
        InvalidArgument: it has not one program, that is not in Python, or its metadata or options are invalid.
    """
    if not limits.python_environments:
        raise FailedPrecondition(
            "job.type: this server runs no Python programs: ask its operator to add PYTHON to the setting "
            "enable_python_source",
            subject="job.type",
            kind="SERVER_PROGRAMS",
            reason="PROGRAMS_DISABLED",
        )
    kind = JobType.Name(spec.type).removeprefix("JOB_TYPE_")
    if len(programs) != 1:
        message = f"{PROGRAMS}: must contain one program in a job of type {kind}, got {len(programs)}"
        raise InvalidArgument.of(PROGRAMS, "deployment.programs.one", message)
    violations = list(program_metadata.broken(programs[0], _PROGRAM, limits.python_environments))
    if programs[0].assembler_language != AssemblerLanguage.ASSEMBLER_LANGUAGE_PYTHON:
        field = f"{_PROGRAM}.assembler_language"
        named = AssemblerLanguage.Name(programs[0].assembler_language).removeprefix("ASSEMBLER_LANGUAGE_")
        message = f"{field}: must be PYTHON in a job of type {kind}, got {named}"
        violations.append(Violation(field, "program.language.python", message))
    if spec.type == UPLOAD and spec.shots:
        violations.append(Violation("job.shots", "job.shots.upload", "job.shots: must be unset for an upload"))
    if violations:
        raise InvalidArgument(violations)


def check_name(program: QuantumProgram, deployment: str) -> str:
    """Return the name of an upload. Raises InvalidArgument if it has none.

    Args:
        program: the program.
        deployment: the name of its deployment, for metadata without a name.
    """
    try:
        return program_metadata.named(program_metadata.name_of(program, deployment))
    except MetadataError as error:
        field = f"{_PROGRAM}.python_file_metadata.name"
        raise InvalidArgument.of(field, "program.name", f"{field}: {error.message}") from None


def find(db: Database, owners: Sequence[str], named: str) -> int:
    """Return the deployment of "NAME" or "NAME@VERSION", of the first owner that has it.

    Raises:
        InvalidArgument: the version is not a number.
        NotFound: no owner has it.
    """
    name, separator, number = named.rpartition("@")
    if not separator:
        return program_versions.find(db, owners, named, None)
    if not (number.isascii() and number.isdigit() and 0 < len(number) < 10):
        message = f"program: the version must be a number, as in NAME@3, got {number[:40]!r}"
        raise InvalidArgument.of("program", "program.version", message)
    return program_versions.find(db, owners, name, int(number))


class ServerProgramChecker:
    """Checks server programs in workers.

    Args:
        check: checks a program; None if this server does not.
        budget: of each caller.
    """

    def __init__(self, check: CheckRequest | None, budget: CallerBudget) -> None:
        self._check = check
        self._budget = budget

    def needs_worker(self, new: NewJob) -> bool:
        """Return whether a job must be checked in a worker: an upload, or a run whose program states its parameters."""
        if new.server_program is None or new.spec.type == UPLOAD:
            return new.server_program is not None
        return "parameters" in program_metadata.read_metadata(new.server_program.python_file_metadata).schemas

    def checked(self, new: NewJob, seconds: float, add_callback: AddCallback, *, validate_only: bool) -> NewJob:
        """Check a job, and return it with the outcome if it is an upload.

        Args:
            new: the job, which has passed all other checks.
            seconds: the time until the caller's deadline; infinity without a deadline.
            add_callback: registers a callback for the end of the call; returns False if the call has ended.
            validate_only: whether an upload that fails is refused, and not stored with its failure.

        Raises:
            InvalidArgument: the metadata or the inputs are invalid; or the source, with `validate_only`.
            CallError: the program cannot be checked now.
        """
        program = new.server_program
        if program is None:
            return new
        began = time.monotonic()
        checked = self._run(new, program, seconds, add_callback)
        if isinstance(checked, Failure):
            if new.spec.type == UPLOAD and not validate_only:
                return replace(new, upload=CheckedUpload(None, checked, time.monotonic() - began))
            raise InvalidArgument([violation(checked, program, _PROGRAM, "job.inputs")], reason="INVALID_PROGRAM")
        if new.spec.type != UPLOAD:
            if checked.violations:
                raise InvalidArgument(
                    [_of_input(each, new.spec, program) for each in checked.violations], reason="INVALID_INPUTS"
                )
            return new
        if checked.violations:
            raise InvalidArgument([_of_metadata(each) for each in checked.violations])
        version = Deployment(name=new.program_name, programs=[program])
        stored = deployments.prepare(new.caller, version, owner=owner_for(new.caller, new.project))
        upload = CheckedUpload(NewVersion(stored, checked.found), None, time.monotonic() - began)
        return replace(new, upload=upload)

    def _run(
        self, new: NewJob, program: QuantumProgram, seconds: float, add_callback: AddCallback
    ) -> ProgramChecked | Failure:
        """Return what a worker found, or the failure of the program."""
        if self._check is None:
            raise FailedPrecondition("this server does not check programs", subject="job.type", kind="SERVER_PROGRAMS")
        task = Task(
            spec=new.spec,
            programs=[task_program(program.id, program)],
            cache_scope=cache_scope(owner_for(new.caller, new.project)),
        )
        outcome = self._check(task, seconds, add_callback, self._budget.charge(new.caller))
        if isinstance(outcome, Failure):
            if outcome.reason == "TIME_LIMIT" and new.spec.type == UPLOAD:
                return outcome
            raise failure_error(outcome, "", _PROGRAM)
        checked, failed = outcome
        if not failed:
            return checked[0]
        failure = failed[0].failure
        if failure.category in _NOT_CHECKED or not (
            is_fault_of_program(failure) or failure.category == FailureCategory.FAILURE_CATEGORY_LIMIT
        ):
            raise failure_error(failure, "", _PROGRAM)
        return failure


def _of_metadata(each: SchemaViolation) -> Violation:
    field = f"{_PROGRAM}.python_file_metadata.{each.path}"
    return Violation(field, "program.schema", f"{field}: {each.message}")


def _of_input(each: SchemaViolation, spec: JobSpec, program: QuantumProgram) -> Violation:
    name = each.path.partition(".")[0].partition("[")[0]
    own = name and name not in spec.inputs.fields and name in program.python_file_inputs.fields
    base = f"{_PROGRAM}.python_file_inputs" if own else "job.inputs"
    field = f"{base}.{each.path}" if each.path else base
    return Violation(field, "inputs.schema", f"{field}: {each.message}")
