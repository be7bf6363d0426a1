# SPDX-License-Identifier: Apache-2.0
"""Translate and compile programs for waiting calls, in processes of this machine or on worker machines."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.struct_pb2 import Struct

from qonduit.execution.v1.task_pb2 import (
    ProgramChecked,
    ProgramFailed,
    ProgramFeatures,
    ProgramTranslated,
    Task,
    TaskEvent,
    TaskFinished,
    TaskProgram,
)
from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.deployment_pb2 import QuantumProgram
from qonduit.v1.failure_pb2 import Failure, FailureCategory
from qonduit.v1.job_service_pb2 import CompiledProgram
from qonduit.v1.program_service_pb2 import TranslateProgramResponse
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_server.errors import Unavailable
from qonduit_server.execution.executor import NO_WORKER, Executor, InteractiveTasks, Loss, LossKind
from qonduit_server.execution.local.interactive_pools import InteractivePools
from qonduit_server.execution.tracebacks import log_traceback

#: gRPC ends a call at its deadline; otherwise the translator ends it this many seconds later.
_LATE_SECONDS: Final = 1.0
_CANCELLED: Final = "CANCELLED"
_DIED: Final = "WORKER_DIED"
#: The machine has returned the task, because it stops.
_RETURNED: Final = "RETURNED"
#: After it, a client may find a worker machine again.
_RETRY_SECONDS: Final = 5.0
#: The advice if a task takes too long, by its verb.
_HINT: Final = {
    "translate the program": "make it smaller",
    "compile the programs": "check fewer or smaller programs at once",
    "analyze the programs": "compare fewer programs at once",
    "check the server program": "write a smaller source, or simpler schemas",
}

#: Registers a callback for the end of a call; returns False if the call has ended.
AddCallback = Callable[[Callable[[], None]], bool]
#: Receives the seconds for which a call occupied a worker.
Charge = Callable[[float], None]


def _free(seconds: float) -> None:
    """Charge nothing."""


@dataclass(eq=False, slots=True)
class _Waiting:
    """A waiting call and its outcome."""

    deadline: float
    #: What runs the task.
    place: InteractiveTasks
    #: Whether the call has ended.
    over: bool = False
    attempt: int = 0
    ended: threading.Event = field(default_factory=threading.Event)
    translated: ProgramTranslated | None = None
    #: By index: a task that runs again with more memory reports the same programs again.
    compiled: dict[int, CompiledProgram] = field(default_factory=dict)
    analyzed: dict[int, ProgramFeatures] = field(default_factory=dict)
    checked: dict[int, ProgramChecked] = field(default_factory=dict)
    failed: dict[int, ProgramFailed] = field(default_factory=dict)
    finished: TaskFinished = field(default_factory=TaskFinished)
    failure: Failure | None = None
    loss: Loss | None = None
    #: The time at which the worker began; None before that.
    started: float | None = None

    def begin(self, attempt: int) -> None:
        """Begin an attempt: clear the outcome of an earlier one."""
        self.translated = self.failure = self.loss = self.started = None
        self.finished = TaskFinished()
        self.compiled, self.analyzed, self.checked, self.failed = {}, {}, {}, {}
        self.ended.clear()
        self.attempt = attempt


class Translator:
    """Translates and compiles programs. Thread-safe.

    Programs whose SDK this machine lacks go to the worker machines of the executor.

    Args:
        pools: the processes of this machine.
        executor: has the worker machines; by default the server uses its own processes only.
        max_seconds: the time limit of the translation of one program; then its process is killed.
        compile_seconds: the time limit of the compilation of all programs of a job; likewise.
        analyze_seconds: the time limit of the analysis of all programs of a job; likewise.
        check_seconds: the time limit of the check of a server program; likewise.
        patience: the time limit of a call including the wait for a worker, in seconds.
        analyze_patience: likewise, of an analysis.
        remote_patience: likewise, of a call to worker machines.
    """

    def __init__(
        self,
        pools: InteractivePools,
        executor: Executor | None = None,
        *,
        max_seconds: float = 20.0,
        compile_seconds: float = 40.0,
        analyze_seconds: float = 2.0,
        check_seconds: float = 10.0,
        patience: float = 60.0,
        analyze_patience: float = 20.0,
        remote_patience: float = 20.0,
    ) -> None:
        self._max_seconds = max_seconds
        self._compile_seconds = compile_seconds
        self._analyze_seconds = analyze_seconds
        self._check_seconds = check_seconds
        self._patience = patience
        self._analyze_patience = analyze_patience
        self._remote_patience = remote_patience
        self._pools = pools
        self._stopped = False
        self._waiting: dict[int, _Waiting] = {}
        pools.start(self)
        self._machines = executor.interactive(self) if executor is not None else None

    def translate(
        self,
        program: QuantumProgram,
        target: AssemblerLanguage,
        inputs: Struct,
        seconds: float,
        add_callback: AddCallback,
        charge: Charge = _free,
        scope: str = "",
    ) -> TranslateProgramResponse | Failure:
        """Translate a program and wait for the result.

        Args:
            program: the program; only its text or bytes and its language are used.
            target: the target language.
            inputs: values of its inputs.
            seconds: the time until the caller's deadline; infinity without a deadline.
            add_callback: registers a callback for the end of the call; returns False if the call has ended.
            charge: receives the time of the worker.
            scope: keeps cached programs of callers apart.

        Returns:
            The translation, or the failure. Its reason is CANCELLED if the call ended.

        Raises:
            Unavailable: the server is stopping, or no worker machine can do it.
        """
        task = _translation(program, target, inputs, self._max_seconds)
        task.memory_limit_bytes = self._pools.memory_limit_bytes
        task.cache_scope = scope
        waiting, failure = self._finish(task, seconds, add_callback, charge)
        if failure is None and waiting.failed:
            failure = next(iter(waiting.failed.values())).failure
        return _response(waiting.translated, target) if failure is None else failure

    def compile(
        self, task: Task, seconds: float, add_callback: AddCallback, charge: Charge = _free
    ) -> tuple[Sequence[CompiledProgram], Sequence[ProgramFailed], TaskFinished] | Failure:
        """Compile the programs of a job for its device and wait for the result, without running them.

        Args:
            task: the job, without id and attempt.
            seconds: the time until the caller's deadline; infinity without a deadline.
            add_callback: as for `translate`.
            charge: receives the time of the worker.

        Returns:
            The properties of the programs that can run, the failures of the others, and the end of the task, which
            contains the estimated cost at a vendor; or the failure of the task.

        Raises:
            Unavailable: the server is stopping, or no worker machine can do it.
        """
        compilation = _first_attempt(task, "compile_only", self._compile_seconds)
        waiting, failure = self._finish(compilation, seconds, add_callback, charge)
        if failure is not None:
            return failure
        return list(waiting.compiled.values()), list(waiting.failed.values()), waiting.finished

    def analyze(
        self, task: Task, seconds: float, add_callback: AddCallback, charge: Charge = _free
    ) -> tuple[Sequence[ProgramFeatures], Sequence[ProgramFailed]] | Failure:
        """Read the programs of a job and wait for their features, without compiling or running them.

        Args:
            task: the job, without id, attempt, provider and device.
            seconds: the time until the caller's deadline; infinity without a deadline.
            add_callback: as for `translate`.
            charge: receives the time of the worker.

        Returns:
            The features of the programs that could be read, and the failures of the others; or the failure of the
            task.

        Raises:
            Unavailable: the server is stopping, or no worker machine can do it.
        """
        analysis = _first_attempt(task, "analyze_only", self._analyze_seconds)
        analysis.memory_limit_bytes = self._pools.memory_limit_bytes
        waiting, failure = self._finish(analysis, seconds, add_callback, charge)
        if failure is not None:
            return failure
        return list(waiting.analyzed.values()), list(waiting.failed.values())

    def check(
        self, task: Task, seconds: float, add_callback: AddCallback, charge: Charge = _free
    ) -> tuple[Sequence[ProgramChecked], Sequence[ProgramFailed]] | Failure:
        """Check the server program of a job and wait for the result, without running it.

        Args:
            task: the job, without id, attempt, provider and device.
            seconds: the time until the caller's deadline; infinity without a deadline.
            add_callback: as for `translate`.
            charge: receives the time of the worker.

        Returns:
            What was found, or the failure of the program; or the failure of the task.

        Raises:
            Unavailable: the server is stopping, or no worker machine can do it.
        """
        check = _first_attempt(task, "check_only", self._check_seconds)
        check.memory_limit_bytes = self._pools.memory_limit_bytes
        waiting, failure = self._finish(check, seconds, add_callback, charge)
        if failure is not None:
            return failure
        return list(waiting.checked.values()), list(waiting.failed.values())

    def _finish(
        self, task: Task, seconds: float, add_callback: AddCallback, charge: Charge
    ) -> tuple[_Waiting, Failure | None]:
        """Run a task, again in a second process if the first one dies; return the failure of the whole task."""
        began = time.monotonic()
        number = task.job_id = -1 - secrets.randbits(62)
        place, patience = self._place(task)
        task.time_limit_seconds = min(task.time_limit_seconds, patience)
        waiting = _Waiting(began + min(seconds + _LATE_SECONDS, patience), place)
        self._waiting[number] = waiting
        try:
            if not add_callback(lambda: self._cancel(number)):
                waiting.over = True
            failure = self._attempt(task, waiting, charge)
            if failure is not None and failure.reason in (_DIED, _RETURNED):
                # Perhaps another program is at fault: retry once, alone in a process.
                retry = Task()
                retry.CopyFrom(task)
                retry.attempt = 2
                failure = self._attempt(retry, waiting, charge)
        finally:
            del self._waiting[number]
        if failure is not None and failure.reason == _CANCELLED and not waiting.over and patience < seconds:
            if place is self._machines and waiting.started is None and not task.analyze_only:
                failure = Failure(reason=NO_WORKER, message=f"no worker machine began it within {patience:g} s")
            else:
                failure = _no_time(task, patience)
        if failure is not None and failure.reason in (NO_WORKER, _RETURNED):
            raise Unavailable(
                f"this server cannot {_verb(task)} now: {failure.message}",
                reason="PROVIDER_UNAVAILABLE",
                retry_after=_RETRY_SECONDS,
            )
        return waiting, failure

    def _place(self, task: Task) -> tuple[InteractiveTasks, float]:
        """Return what runs a task, and the time limit of its call: this machine if it has the SDK."""
        patience = self._analyze_patience if task.analyze_only else self._patience
        if self._machines is None or self._pools.has_sdk(task.provider):
            return self._pools, patience
        return self._machines, min(patience, self._remote_patience)

    def _attempt(self, task: Task, waiting: _Waiting, charge: Charge) -> Failure | None:
        """Run a task once, and charge the time since a worker began it; return its failure."""
        waiting.begin(task.attempt)
        if self._stopped:
            raise _stopping()
        waiting.place.submit([task])
        if waiting.over or not waiting.ended.wait(waiting.deadline - time.monotonic()):
            waiting.place.cancel(task.job_id, task.attempt)
            # A lost machine does not confirm it: the caller does not wait for that.
            waiting.ended.wait(self._patience if waiting.place is self._pools else _LATE_SECONDS)
        if waiting.started is not None:
            charge(time.monotonic() - waiting.started)
        if not waiting.ended.is_set():
            return _failure_of(Loss(LossKind.CANCELLED, "cancelled"), task)
        if waiting.loss is None:
            return waiting.failure
        if waiting.loss.kind is LossKind.STOPPED and (self._stopped or waiting.place is self._pools):
            raise _stopping()
        return _failure_of(waiting.loss, task)

    def adopt(self, description: ProviderDescription) -> None:
        """Replace the processes that compile for a provider, if its description has changed."""
        self._pools.adopt(description)

    def processes(self) -> list[int]:
        """Return process ids: of each fork server, then of its workers; empty before the first program."""
        return self._pools.processes()

    def stop(self, grace: float) -> None:
        """End all processes; waiting calls fail because the server is stopping."""
        self._stopped = True
        self._pools.stop(grace)
        for waiting in list(self._waiting.values()):
            if not waiting.ended.is_set():
                waiting.loss = Loss(LossKind.STOPPED, "the server stopped")
                waiting.ended.set()

    # The listener of the pools and of the machines.

    def events(self, events: Sequence[TaskEvent]) -> None:
        """Handle events of tasks."""
        for event in events:
            waiting = self._waiting.get(event.job_id)
            if waiting is None:
                continue
            log_traceback(event, translation=event.job_id)
            match event.WhichOneof("event"):
                case "started":
                    waiting.started = time.monotonic()
                case "program_translated":
                    waiting.translated = event.program_translated
                case "program_compiled":
                    waiting.compiled[event.program_compiled.index] = event.program_compiled
                case "program_analyzed":
                    waiting.analyzed[event.program_analyzed.index] = event.program_analyzed
                case "program_checked":
                    waiting.checked[event.program_checked.index] = event.program_checked
                case "program_failed":
                    waiting.failed[event.program_failed.index] = event.program_failed
                case "finished":
                    if event.finished.HasField("failure"):
                        waiting.failure = event.finished.failure
                    waiting.finished = event.finished
                    waiting.ended.set()

    def lost(self, job_id: int, attempt: int, loss: Loss) -> None:
        """Handle a task that ended without a `finished` event."""
        waiting = self._waiting.get(job_id)
        if waiting is not None:
            waiting.loss = loss
            waiting.ended.set()

    def capacity_changed(self) -> None:
        """Do nothing: programs are submitted on arrival, at any capacity."""

    def _cancel(self, number: int) -> None:
        """Cancel the task of a call that has ended: drop it, or kill its process if it has started."""
        waiting = self._waiting.get(number)
        if waiting is not None:
            waiting.over = True
            waiting.place.cancel(number, waiting.attempt)


def _no_time(task: Task, patience: float) -> Failure:
    return Failure(
        category=FailureCategory.FAILURE_CATEGORY_LIMIT,
        reason="NO_TIME",
        message=f"the server had no time to {_verb(task)} within {patience:g} s",
    )


def _failure_of(loss: Loss, task: Task) -> Failure:
    if loss.kind is LossKind.TIME_LIMIT:
        return Failure(
            category=FailureCategory.FAILURE_CATEGORY_LIMIT,
            reason="TIME_LIMIT",
            message=f"it takes longer than {task.time_limit_seconds:g} s to {_verb(task)}: {_HINT[_verb(task)]}",
        )
    if loss.kind is LossKind.STOPPED:
        return Failure(category=FailureCategory.FAILURE_CATEGORY_WORKER, reason=_RETURNED, message=loss.message)
    if loss.kind is LossKind.CANCELLED:
        return Failure(category=FailureCategory.FAILURE_CATEGORY_WORKER, reason=_CANCELLED, message=loss.message)
    return Failure(
        category=FailureCategory.FAILURE_CATEGORY_WORKER,
        reason=_DIED,
        message=f"two processes died while they processed the program: the last time, {loss.message}",
    )


def _first_attempt(task: Task, kind: str, seconds: float) -> Task:
    """Return a copy of a task that only does one thing: "compile_only", "analyze_only" or "check_only"."""
    copy = Task()
    copy.CopyFrom(task)
    copy.attempt = 1
    copy.time_limit_seconds = seconds
    setattr(copy, kind, True)
    return copy


def _verb(task: Task) -> str:
    if task.analyze_only:
        return "analyze the programs"
    if task.check_only:
        return "check the server program"
    return "compile the programs" if task.compile_only else "translate the program"


def _translation(program: QuantumProgram, target: AssemblerLanguage, inputs: Struct, seconds: float) -> Task:
    one = TaskProgram(
        language=program.assembler_language,
        text=program.quantum_circuit,
        binary=program.quantum_circuit_binary,
        inputs=inputs,
    )
    return Task(attempt=1, programs=[one], translate_to=target, time_limit_seconds=seconds)


def _response(done: ProgramTranslated | None, target: AssemblerLanguage) -> TranslateProgramResponse | Failure:
    if done is None:
        return Failure(category=FailureCategory.FAILURE_CATEGORY_INTERNAL, message="the task ended without a result")
    return TranslateProgramResponse(
        program=QuantumProgram(
            quantum_circuit=done.text, quantum_circuit_binary=done.binary, assembler_language=target
        ),
        warnings=done.warnings,
        registers=done.registers,
        read_seconds=done.read_seconds,
        write_seconds=done.write_seconds,
    )


def _stopping() -> Unavailable:
    return Unavailable("the server is stopping", reason="DRAINING")
