# SPDX-License-Identifier: Apache-2.0
"""Compare devices for a job: read its programs in a worker, then apply `device_fit`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from qonduit.execution.v1.task_pb2 import ProgramFailed, ProgramFeatures, Task
from qonduit.v1.failure_pb2 import Failure
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_server.cost_estimates import Estimates
from qonduit_server.device_fit import AnalyzedJob, Candidate, Fit, fit, ranked
from qonduit_server.errors import FailedPrecondition, InvalidArgument
from qonduit_server.rpc.caller_budget import CallerBudget, Charge
from qonduit_server.rpc.job_validation import PROGRAMS, AddCallback, failure_error
from qonduit_server.rpc.program_errors import is_fault_of_program, violation
from qonduit_server.rpc.server_limits import Limits
from qonduit_server.rpc.server_program_checks import is_server_program
from qonduit_server.rpc.submission_checks import UnplacedJob
from qonduit_server.store import catalogue
from qonduit_server.store.database import Database
from qonduit_server.store.jobs.task_messages import task_program
from qonduit_server.store.notification_bus import Notification
from qonduit_server.store.ownership import cache_scope

#: The reasons of failures of programs that are not read in time.
_NOT_READ: Final = ("TIME_LIMIT", "NO_TIME")


class AnalyzeRequest(Protocol):
    """Reads the programs of a job in a worker."""

    def __call__(
        self, task: Task, seconds: float, add_callback: AddCallback, charge: Charge
    ) -> tuple[Sequence[ProgramFeatures], Sequence[ProgramFailed]] | Failure:
        """Read programs; arguments, results and errors are those of `CompileRequest`, with features of programs."""


class Caller(NamedTuple):
    """Whose call it is, the seconds until its deadline, and the registration of a callback for its end."""

    name: str
    seconds: float
    add_callback: AddCallback


class DeviceComparison:
    """Compares devices. Thread-safe; its callers limit the number of concurrent calls.

    Args:
        db: the database with the catalogue, the queue and the times of finished runs.
        limits: the limits of a job.
        analyze: reads programs; None if this server does not.
        budget: of each caller.
    """

    def __init__(self, db: Database, limits: Limits, analyze: AnalyzeRequest | None, budget: CallerBudget) -> None:
        self._db = db
        self._limits = limits
        self._analyze = analyze
        self._budget = budget
        self._estimates = Estimates()
        db.notifications.subscribe(self._learn)

    def compare(self, job: UnplacedJob, caller: Caller | None, *, unread: bool = False) -> list[Fit]:
        """Return all devices, in the order of preference for a job.

        Args:
            job: the job.
            caller: pays for the worker; None if the programs are not read.
            unread: whether programs that are not read in time are compared by the options of the job alone.

        Raises:
            InvalidArgument: reason INVALID_PROGRAM, with a violation for each invalid program; or a server program,
                which has no circuit to compare.
            FailedPrecondition: this server does not analyze programs, or cannot read one of them.
            ResourceExhausted: the programs take too much time.
            Abandoned: the call ended.
        """
        if is_server_program(job.spec):
            message = "job.type: a server program has no circuit by which devices are compared: name its device"
            raise InvalidArgument.of("job.type", "job.type.compared", message)
        analyzed = AnalyzedJob(
            job.spec,
            self._features(job, caller, unread) if caller is not None else (),
            frozenset(program.assembler_language for program in job.programs),
            self._limits.max_task_memory_bytes,
            self._limits.max_result_bytes,
        )
        return ranked(fit(each, analyzed, self._estimates) for each in self._candidates())

    def _learn(self, notification: Notification) -> None:
        if notification.run_times:
            self._estimates.add(notification.run_times)

    def _candidates(self) -> list[Candidate]:
        depths = catalogue.queue_depths(self._db)
        languages: dict[int, frozenset[AssemblerLanguage]] = {}
        found = []
        for name, device in catalogue.devices_by_name(self._db).items():
            if device.provider_id not in languages:
                provider = catalogue.provider(self._db, device.provider_id)
                languages[device.provider_id] = frozenset(
                    line.supported_language for line in provider.supported_languages
                )
            found.append(Candidate(name, device, languages[device.provider_id], depths.get(device.id, 0)))
        return found

    def _features(self, job: UnplacedJob, caller: Caller, unread: bool) -> Sequence[ProgramFeatures]:
        """Return the features of the programs; none if they are not read in time and `unread` allows that."""
        if self._analyze is None:
            raise FailedPrecondition("this server does not analyze programs", subject="device", kind="DEVICE")
        programs = [task_program(program.id, program) for program in job.programs]
        task = Task(spec=job.spec, programs=programs, cache_scope=cache_scope(caller.name))
        outcome = self._analyze(task, caller.seconds, caller.add_callback, self._budget.charge(caller.name))
        if isinstance(outcome, Failure):
            if unread and outcome.reason in _NOT_READ:
                return ()
            raise failure_error(outcome, "", PROGRAMS)
        features, failed = outcome
        violations = [
            violation(each.failure, job.programs[each.index], f"{PROGRAMS}[{each.index}]", "job.inputs")
            for each in failed
            if is_fault_of_program(each.failure)
        ]
        if violations:
            raise InvalidArgument(violations, reason="INVALID_PROGRAM")
        if failed:
            raise failure_error(failed[0].failure, "", f"{PROGRAMS}[{failed[0].index}]")
        return features
