# SPDX-License-Identifier: Apache-2.0
"""`validate_only`: compile the programs of a job for its device, and return the properties or the errors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.execution.v1.task_pb2 import ProgramFailed, Task, TaskFinished
from qonduit.execution.v1.vendor_pb2 import Submission
from qonduit.v1.deployment_pb2 import QuantumProgram
from qonduit.v1.device_pb2 import Device
from qonduit.v1.failure_pb2 import Failure, FailureCategory
from qonduit.v1.job_pb2 import Job, VendorCost
from qonduit.v1.job_service_pb2 import CompiledProgram
from qonduit_server.capabilities import requirements_of_job
from qonduit_server.device_prices import total_cost
from qonduit_server.errors import Abandoned, CallError, FailedPrecondition, InvalidArgument, ResourceExhausted
from qonduit_server.rpc.caller_budget import CallerBudget, Charge
from qonduit_server.rpc.program_errors import is_fault_of_program, source_field, violation
from qonduit_server.rpc.program_requirements import unsupported
from qonduit_server.rpc.server_limits import Limits
from qonduit_server.store import catalogue, credentials, deployments
from qonduit_server.store.database import Database
from qonduit_server.store.jobs import vendor_costs
from qonduit_server.store.jobs.job_rows import NewJob
from qonduit_server.store.jobs.task_messages import task_program
from qonduit_server.store.ownership import cache_scope, owner_for

#: The path of the programs of a job.
PROGRAMS: Final = "deployment.programs"
_QUOTA: Final = "validations"
#: Limit of all warnings of one response, in bytes: the job and the properties of 500 programs must fit beside them.
_WARNINGS_BYTES: Final = 512 * 1024

AddCallback = Callable[[Callable[[], None]], bool]
EstimateRequest = Callable[[str, str, Sequence[Submission]], str]


class CompileRequest(Protocol):
    """Compiles the programs of a job in a worker without running them."""

    def __call__(
        self, task: Task, seconds: float, add_callback: AddCallback, charge: Charge
    ) -> tuple[Sequence[CompiledProgram], Sequence[ProgramFailed], TaskFinished] | Failure:
        """Compile programs.

        Args:
            task: the job, without id and attempt.
            seconds: the time until the caller's deadline; infinity without a deadline.
            add_callback: registers a callback for the end of the call; returns False if the call has ended.
            charge: receives the time of the worker.

        Returns:
            The properties of the programs that can run, the failures of the others, and the end of the task; or the
            failure of the task. The end contains the estimated cost at a vendor if it is known, or the submissions of
            which the vendor estimates it. The failure's reason is CANCELLED if the call ended.

        Raises:
            CallError: the server cannot compile now.
        """


class JobValidator:
    """Compiles the programs of `validate_only` jobs, with a limit of concurrent calls.

    Args:
        db: the database with devices and deployments.
        limits: the limits of a job.
        run: compiles the programs; None skips compilation and leaves the checks that do not need it.
        most: the maximum number of concurrent calls; each holds a thread.
        budget: of each caller.
        estimate: adds the estimates of a vendor to submissions, by the provider and the credential; returns why costs
            are not known. None if no vendor estimates costs.
    """

    def __init__(
        self,
        db: Database,
        limits: Limits,
        run: CompileRequest | None,
        most: int,
        budget: CallerBudget,
        estimate: EstimateRequest | None = None,
    ) -> None:
        self._db = db
        self._limits = limits
        self._run = run
        self._most = most
        self._budget = budget
        self._estimate = estimate
        self._slots = threading.BoundedSemaphore(most)

    @contextmanager
    def slot(self, caller: str) -> Iterator[None]:
        """Hold a slot for a call of `compile`.

        Raises:
            ResourceExhausted: all slots are in use, or the caller's share of them, or its budget.
        """
        self.acquire_slot(caller)
        try:
            yield
        finally:
            self.release_slot(caller)

    def acquire_slot(self, caller: str) -> None:
        """Acquire a slot that any thread may release; raises as `slot` does."""
        if not self.try_slot(caller):
            raise ResourceExhausted(
                f"limit of concurrent validations reached ({self._most}); retry later", subject=_QUOTA
            )

    def try_slot(self, caller: str) -> bool:
        """Acquire a slot and return whether one was free.

        Raises:
            ResourceExhausted: the caller's share is used, or its budget.
        """
        self._budget.acquire(caller)
        if not self._slots.acquire(blocking=False):
            self._budget.release(caller)
            return False
        return True

    def release_slot(self, caller: str) -> None:
        """Release a slot."""
        self._slots.release()
        self._budget.release(caller)

    def compile(
        self, new: NewJob, seconds: float, add_callback: AddCallback
    ) -> tuple[list[CompiledProgram], VendorCost | None]:
        """Compile the programs of a job that passed all other checks; return them, and the estimated cost at a vendor.

        Raises:
            InvalidArgument: reason INVALID_PROGRAM, with a violation for each invalid program.
            FailedPrecondition: the device cannot run a program, or the cost exceeds that of the job.
            ResourceExhausted: a program takes too much time, or the cost exceeds the quota of the owner.
        """
        if self._run is None:
            return [], None
        device = catalogue.device(self._db, new.device_id)
        provider = catalogue.provider(self._db, device.provider_id).name
        programs = (
            new.deployment.programs
            if new.deployment is not None
            else deployments.get(self._db, new.caller, new.deployment_id).programs
        )
        task = self._task(new.spec, programs, provider, device)
        task.cache_scope = cache_scope(owner_for(new.caller, new.project))
        outcome = self._run(task, seconds, add_callback, self._budget.charge(new.caller))
        if isinstance(outcome, Failure):
            raise failure_error(outcome, f"{provider}/{device.name}", PROGRAMS)
        compiled, failed, finished = outcome
        if failed:
            raise self._program_error(new.spec, failed, programs, device, f"{provider}/{device.name}")
        cost, why = finished.cost if finished.HasField("cost") else None, ""
        if device.HasField("is_local") and not device.is_local:
            if self._estimate is not None and finished.submissions:
                why = self._estimate(provider, self._secret(new, device, provider), finished.submissions)
                cost = total_cost(finished.submissions)
            job = Job(device=f"{provider}/{device.name}")
            if new.spec.HasField("max_cost"):
                job.max_cost.CopyFrom(new.spec.max_cost)
            vendor_costs.check_estimate(self._db, owner_for(new.caller, new.project), job, cost, why)
        _bound_warnings(compiled)
        return list(compiled), cost

    def _secret(self, new: NewJob, device: Device, provider: str) -> str:
        """Return the credential of a job."""
        if not new.spec.credential_id:
            return new.secret
        owners = frozenset({new.caller, owner_for(new.caller, new.project)})
        return credentials.check_usable(self._db, owners, new.spec.credential_id, device.provider_id, provider)

    def _task(self, spec: JobSpec, programs: Iterable[QuantumProgram], provider: str, device: Device) -> Task:
        return Task(
            provider=provider,
            device=device.name,
            vendor_device=None if device.is_local else device,
            spec=spec,
            programs=[task_program(program.id, program) for program in programs],
            memory_limit_bytes=self._limits.max_task_memory_bytes,
            max_result_bytes=self._limits.max_result_bytes,
        )

    def _program_error(
        self,
        spec: JobSpec,
        failed: Sequence[ProgramFailed],
        programs: Sequence[QuantumProgram],
        device: Device,
        name: str,
    ) -> CallError:
        """Return the error of a job with failed programs: of all invalid programs, or else of the first failed one."""
        violations = [
            violation(each.failure, programs[each.index], f"{PROGRAMS}[{each.index}]", "job.inputs")
            for each in failed
            if is_fault_of_program(each.failure)
        ]
        if violations:
            return InvalidArgument(violations, reason="INVALID_PROGRAM")
        first = failed[0]
        field = f"{PROGRAMS}[{first.index}].{source_field(programs[first.index])}"
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
        return failure_error(first.failure, name, field)


def failure_error(failure: Failure, device: str, field: str) -> CallError:
    """Return the error of a job that cannot be compiled although no program is invalid."""
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
            # A fault of the server: the interceptor logs it with the request id.
            raise RuntimeError(f"compilation failed: {message}")


def _bound_warnings(compiled: Iterable[CompiledProgram]) -> None:
    """Drop the warnings that exceed the limit of a response."""
    left = _WARNINGS_BYTES
    for program in compiled:
        kept: list[str] = []
        for warning in program.warnings:
            left -= len(warning.encode())
            if left < 0:
                break
            kept.append(warning)
        del program.warnings[len(kept) :]
