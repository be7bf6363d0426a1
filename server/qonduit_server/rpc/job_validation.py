# SPDX-License-Identifier: Apache-2.0
"""`validate_only`: the programs of a job are compiled for its device, and what that found is the answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.execution.v1.task_pb2 import ProgramFailed, Task
from qonduit.v1.deployment_pb2 import QuantumProgram
from qonduit.v1.device_pb2 import Device
from qonduit.v1.failure_pb2 import Failure, FailureCategory
from qonduit.v1.job_service_pb2 import CompiledProgram
from qonduit_server.capabilities import requirements_of_job
from qonduit_server.errors import Abandoned, CallError, FailedPrecondition, InvalidArgument, ResourceExhausted
from qonduit_server.rpc.program_errors import is_fault_of_program, source_field, violation
from qonduit_server.rpc.program_requirements import unsupported
from qonduit_server.rpc.server_limits import Limits
from qonduit_server.store import catalogue, deployments
from qonduit_server.store.database import Database
from qonduit_server.store.jobs.job_rows import NewJob
from qonduit_server.store.jobs.queue import task_program

_PATH: Final = "deployment.programs"
_QUOTA: Final = "validations"
#: Warnings of all programs of one answer, in bytes: the job and what was found of 500 programs must fit beside them.
_WARNINGS_BYTES: Final = 512 * 1024

WhenOver = Callable[[Callable[[], None]], bool]


class CompileRequest(Protocol):
    """Compiles the programs of a job somewhere else, and runs nothing."""

    def __call__(
        self, task: Task, seconds: float, when_over: WhenOver
    ) -> tuple[Sequence[CompiledProgram], Sequence[ProgramFailed]] | Failure:
        """Compile programs.

        Args:
            task: the job, without number and attempt.
            seconds: how long the caller waits; infinity for ever.
            when_over: has something done when the caller waits no more; false: it does not wait now.

        Returns:
            What was found of each program that can be run, and why the others cannot; or why nothing was found.
            Reason CANCELLED: the caller waits no more.

        Raises:
            CallError: nothing can be compiled now.
        """


class JobValidator:
    """Compiles jobs that are only validated, a few at once.

    Args:
        db: knows devices and deployments.
        limits: what a job may use.
        run: compiles; None where nothing does, then validating ends with the checks that need no compiling.
        most: how many calls may wait for it at once; each holds a thread.
    """

    def __init__(self, db: Database, limits: Limits, run: CompileRequest | None, most: int) -> None:
        self._db = db
        self._limits = limits
        self._run = run
        self._most = most
        self._turns = threading.BoundedSemaphore(most)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold one of the turns; `compile` is called within.

        Raises:
            ResourceExhausted: all are taken.
        """
        self.take_turn()
        try:
            yield
        finally:
            self.end_turn()

    def take_turn(self) -> None:
        """Take a turn that another thread may end; raises as `turn` does."""
        if not self._turns.acquire(blocking=False):
            raise ResourceExhausted(
                f"limit of concurrent validations reached ({self._most}); retry later", subject=_QUOTA
            )

    def end_turn(self) -> None:
        """Let others have it."""
        self._turns.release()

    def compile(self, new: NewJob, seconds: float, when_over: WhenOver) -> list[CompiledProgram]:
        """Compile the programs of a job that passed all other checks, and wait for it.

        Raises:
            InvalidArgument: reason INVALID_PROGRAM, one violation for each program that is at fault.
            FailedPrecondition: the device cannot run a program.
            ResourceExhausted: a program takes too much time.
        """
        if self._run is None:
            return []
        device = catalogue.device(self._db, new.device_id)
        provider = catalogue.provider(self._db, device.provider_id).name
        programs = (
            new.deployment.programs
            if new.deployment is not None
            else deployments.get(self._db, new.caller, new.deployment_id).programs
        )
        answer = self._run(self._task(new.spec, programs, provider, device.name), seconds, when_over)
        if isinstance(answer, Failure):
            raise _refusal(answer, f"{provider}/{device.name}", _PATH)
        compiled, failed = answer
        if failed:
            raise self._refused(new.spec, failed, programs, device, f"{provider}/{device.name}")
        _bound_warnings(compiled)
        return list(compiled)

    def _task(self, spec: JobSpec, programs: Iterable[QuantumProgram], provider: str, device: str) -> Task:
        return Task(
            provider=provider,
            device=device,
            spec=spec,
            programs=[task_program(program.id, program) for program in programs],
            memory_limit_bytes=self._limits.max_task_memory_bytes,
            max_result_bytes=self._limits.max_result_bytes,
        )

    def _refused(
        self,
        spec: JobSpec,
        failed: Sequence[ProgramFailed],
        programs: Sequence[QuantumProgram],
        device: Device,
        name: str,
    ) -> CallError:
        """Return the error of a job some of whose programs cannot run: all that are at fault, else the first."""
        wrong = [
            violation(each.failure, programs[each.index], f"{_PATH}[{each.index}]", "job.inputs")
            for each in failed
            if is_fault_of_program(each.failure)
        ]
        if wrong:
            return InvalidArgument(wrong, reason="INVALID_PROGRAM")
        first = failed[0]
        field = f"{_PATH}[{first.index}].{source_field(programs[first.index])}"
        if first.HasField("needs"):
            requirements = requirements_of_job(spec, first.needs)
            kind = "MEMORY" if first.failure.reason == "MEMORY_LIMIT" else "PROGRAM"
            return unsupported(
                self._db,
                field,
                kind,
                first.failure.message,
                requirements,
                exclude_id=device.id,
            )
        return _refusal(first.failure, name, field)


def _refusal(failure: Failure, device: str, field: str) -> CallError:
    """Return the error of a job that cannot be compiled, where no program is at fault."""
    reason, message = failure.reason, failure.message
    match failure.category:
        case FailureCategory.FAILURE_CATEGORY_DEVICE:
            return FailedPrecondition(
                f"{field}: {message}", subject=field, kind="PROGRAM", reason="UNSUPPORTED_BY_DEVICE"
            )
        case FailureCategory.FAILURE_CATEGORY_LIMIT if reason == "MEMORY_LIMIT":
            return ResourceExhausted(f"{field}: {message}", subject="max_task_memory_bytes", retry_after=None)
        case FailureCategory.FAILURE_CATEGORY_LIMIT if reason == "NO_TIME":
            return ResourceExhausted(message, subject=_QUOTA)
        case FailureCategory.FAILURE_CATEGORY_LIMIT:
            return ResourceExhausted(f"{field}: {message}", subject=_QUOTA, retry_after=None)
        case FailureCategory.FAILURE_CATEGORY_WORKER if reason == "CANCELLED":
            return Abandoned("the client cancelled the call")
        case FailureCategory.FAILURE_CATEGORY_WORKER:
            return ResourceExhausted(message, subject="max_task_memory_bytes")
        case FailureCategory.FAILURE_CATEGORY_PROVIDER:
            return FailedPrecondition(message, subject=f"device/{device}", kind="DEVICE_UNAVAILABLE")
        case _:
            raise RuntimeError(f"compiling failed: {message}")  # a fault of ours: into the log, under the request id


def _bound_warnings(compiled: Iterable[CompiledProgram]) -> None:
    """Leave out warnings that would make the answer too large."""
    left = _WARNINGS_BYTES
    for program in compiled:
        kept: list[str] = []
        for warning in program.warnings:
            left -= len(warning.encode())
            if left < 0:
                break
            kept.append(warning)
        del program.warnings[len(kept) :]
