# SPDX-License-Identifier: Apache-2.0
"""Translate and compile programs for waiting calls, in worker processes that run no jobs."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.struct_pb2 import Struct

from qonduit.execution.v1.task_pb2 import (
    ProgramFailed,
    ProgramFeatures,
    ProgramTranslated,
    Task,
    TaskEvent,
    TaskProgram,
)
from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.deployment_pb2 import QuantumProgram
from qonduit.v1.failure_pb2 import Failure, FailureCategory
from qonduit.v1.job_service_pb2 import CompiledProgram
from qonduit.v1.program_service_pb2 import TranslateProgramResponse
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_server.errors import Unavailable
from qonduit_server.execution.executor import Loss, LossKind
from qonduit_server.execution.local.pool import ProcessPool
from qonduit_server.execution.stderr_log import StderrLog
from qonduit_server.execution.tracebacks import log_traceback

#: The provider name of processes that only translate.
_NO_PROVIDER: Final = ""
#: gRPC ends a call at its deadline; otherwise the translator ends it this many seconds later.
_LATE_SECONDS: Final = 1.0
_CANCELLED: Final = "CANCELLED"
_DIED: Final = "WORKER_DIED"
#: The advice if a task takes too long, by its verb.
_HINT: Final = {
    "translate the program": "make it smaller",
    "compile the programs": "check fewer or smaller programs at once",
    "analyze the programs": "compare fewer programs at once",
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
    pool: ProcessPool
    #: Whether the call has ended.
    over: bool = False
    attempt: int = 0
    ended: threading.Event = field(default_factory=threading.Event)
    translated: ProgramTranslated | None = None
    #: By index: a task that runs again with more memory reports the same programs again.
    compiled: dict[int, CompiledProgram] = field(default_factory=dict)
    analyzed: dict[int, ProgramFeatures] = field(default_factory=dict)
    failed: dict[int, ProgramFailed] = field(default_factory=dict)
    failure: Failure | None = None
    loss: Loss | None = None
    #: The time at which the worker began; None before that.
    started: float | None = None

    def begin(self, attempt: int) -> None:
        """Begin an attempt: clear the outcome of an earlier one."""
        self.translated = self.failure = self.loss = self.started = None
        self.compiled, self.analyzed, self.failed = {}, {}, {}
        self.ended.clear()
        self.attempt = attempt


class Translator:
    """Translates and compiles programs. Thread-safe. It starts no process before the first program.

    Programs are translated in processes that load no provider's SDK. They are compiled in processes of the device's
    provider, which start and load its SDK for the first program.

    Args:
        workers: the maximum of concurrent translations, and for each provider, of concurrently compiled jobs.
        python: the Python executable of the processes that translate; default: the one of this process.
        pythons: the Python executables of the processes that compile, by provider name; default: this one.
        memory_limit_bytes: the limit of the address space that one process may add, and of the memory of all Python
            source that runs for the processes of one provider; 0 means no limit.
        max_seconds: the time limit of the translation of one program; then its process is killed.
        compile_seconds: the time limit of the compilation of all programs of a job; likewise.
        analyze_seconds: the time limit of the analysis of all programs of a job; likewise.
        patience: the time limit of a call including the wait for a worker, in seconds.
        analyze_patience: likewise, of an analysis.
        program: the arguments with which Python runs a fork server.
        show_errors: whether its processes write to the stderr of this process.
        stderr: logs the stderr of its processes.
        environment: the environment of its processes; default: the one of this process.
    """

    def __init__(
        self,
        workers: int = 2,
        *,
        python: str | None = None,
        pythons: Mapping[str, str] | None = None,
        memory_limit_bytes: int = 0,
        max_seconds: float = 20.0,
        compile_seconds: float = 40.0,
        analyze_seconds: float = 2.0,
        patience: float = 60.0,
        analyze_patience: float = 20.0,
        program: Sequence[str] = ("-m", "qonduit_server.worker.forkserver"),
        show_errors: bool = False,
        stderr: StderrLog | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._max_seconds = max_seconds
        self._compile_seconds = compile_seconds
        self._analyze_seconds = analyze_seconds
        self._patience = patience
        self._analyze_patience = analyze_patience
        self._memory_limit_bytes = memory_limit_bytes
        executables = dict(pythons or {}) | ({} if python is None else {_NO_PROVIDER: python})

        def make_pool(provider: str) -> ProcessPool:
            return ProcessPool(
                [provider],
                workers,
                pythons=executables,
                memory_limit_bytes=memory_limit_bytes,
                memory_bytes=memory_limit_bytes,
                program=program,
                show_errors=show_errors,
                stderr=stderr,
                environment=environment,
                thread_name=f"compiler-{provider}" if provider else "translator",
            )

        self._make_pool = make_pool
        self._lock = threading.Lock()
        self._pools: dict[str, ProcessPool] = {}
        self._stopped = False
        self._numbers = itertools.count(1)
        self._waiting: dict[int, _Waiting] = {}

    def translate(
        self,
        program: QuantumProgram,
        target: AssemblerLanguage,
        inputs: Struct,
        seconds: float,
        add_callback: AddCallback,
        charge: Charge = _free,
    ) -> TranslateProgramResponse | Failure:
        """Translate a program and wait for the result.

        Args:
            program: the program; only its text or bytes and its language are used.
            target: the target language.
            inputs: values of its inputs.
            seconds: the time until the caller's deadline; infinity without a deadline.
            add_callback: registers a callback for the end of the call; returns False if the call has ended.
            charge: receives the time of the worker.

        Returns:
            The translation, or the failure. Its reason is CANCELLED if the call ended.

        Raises:
            Unavailable: the server is stopping.
        """
        task = _translation(program, target, inputs, self._max_seconds)
        task.memory_limit_bytes = self._memory_limit_bytes
        waiting, failure = self._finish(task, seconds, add_callback, charge)
        if failure is None and waiting.failed:
            failure = next(iter(waiting.failed.values())).failure
        return _response(waiting.translated, target) if failure is None else failure

    def compile(
        self, task: Task, seconds: float, add_callback: AddCallback, charge: Charge = _free
    ) -> tuple[Sequence[CompiledProgram], Sequence[ProgramFailed]] | Failure:
        """Compile the programs of a job for its device and wait for the result, without running them.

        Args:
            task: the job, without id and attempt.
            seconds: the time until the caller's deadline; infinity without a deadline.
            add_callback: as for `translate`.
            charge: receives the time of the worker.

        Returns:
            The properties of the programs that can run, and the failures of the others; or the failure of the task.

        Raises:
            Unavailable: the server is stopping.
        """
        compilation = Task()
        compilation.CopyFrom(task)
        compilation.attempt = 1
        compilation.compile_only = True
        compilation.time_limit_seconds = self._compile_seconds
        waiting, failure = self._finish(compilation, seconds, add_callback, charge)
        if failure is not None:
            return failure
        return list(waiting.compiled.values()), list(waiting.failed.values())

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
            Unavailable: the server is stopping.
        """
        analysis = Task()
        analysis.CopyFrom(task)
        analysis.attempt = 1
        analysis.analyze_only = True
        analysis.memory_limit_bytes = self._memory_limit_bytes
        analysis.time_limit_seconds = self._analyze_seconds
        waiting, failure = self._finish(analysis, seconds, add_callback, charge)
        if failure is not None:
            return failure
        return list(waiting.analyzed.values()), list(waiting.failed.values())

    def _finish(
        self, task: Task, seconds: float, add_callback: AddCallback, charge: Charge
    ) -> tuple[_Waiting, Failure | None]:
        """Run a task, again in a second process if the first one dies; return the failure of the whole task."""
        number = task.job_id = next(self._numbers)
        patience = self._analyze_patience if task.analyze_only else self._patience
        deadline = time.monotonic() + min(seconds + _LATE_SECONDS, patience)
        waiting = self._waiting[number] = _Waiting(deadline, self._started(task.provider))
        try:
            if not add_callback(lambda: self._cancel(number)):
                waiting.over = True
            failure = self._attempt(task, waiting, charge)
            if failure is not None and failure.reason == _DIED:
                # Perhaps another program is at fault: retry once, alone in a process.
                retry = Task()
                retry.CopyFrom(task)
                retry.attempt = 2
                failure = self._attempt(retry, waiting, charge)
        finally:
            del self._waiting[number]
        if failure is not None and failure.reason == _CANCELLED and not waiting.over and patience < seconds:
            failure = _no_time(task, patience)
        return waiting, failure

    def _attempt(self, task: Task, waiting: _Waiting, charge: Charge) -> Failure | None:
        """Run a task once, and charge the time since a worker began it; return its failure."""
        waiting.begin(task.attempt)
        waiting.pool.submit([task])
        if waiting.over or not waiting.ended.wait(waiting.deadline - time.monotonic()):
            waiting.pool.cancel(task.job_id, task.attempt)
            waiting.ended.wait(self._patience)
        if waiting.started is not None:
            charge(time.monotonic() - waiting.started)
        if waiting.loss is None:
            return waiting.failure
        if waiting.loss.kind is LossKind.STOPPED:
            raise _stopping()
        return _failure_of(waiting.loss, task)

    def adopt(self, description: ProviderDescription) -> None:
        """Replace the processes that compile for a provider, if its description has changed."""
        with self._lock:
            pool = self._pools.get(description.provider.name)
        if pool is not None:
            pool.adopt(description)

    def processes(self) -> list[int]:
        """Return process ids: of each fork server, then of its workers; empty before the first program."""
        with self._lock:
            pools = list(self._pools.values())
        return [pid for pool in pools for pids in pool.processes().values() for pid in pids]

    def stop(self, grace: float) -> None:
        """End all processes; waiting calls fail because the server is stopping."""
        with self._lock:
            self._stopped = True
            pools, self._pools = self._pools, {}
        for pool in pools.values():
            pool.stop(grace)

    # The pools' listener.

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
                case "program_failed":
                    waiting.failed[event.program_failed.index] = event.program_failed
                case "finished":
                    if event.finished.HasField("failure"):
                        waiting.failure = event.finished.failure
                    waiting.ended.set()

    def lost(self, job_id: int, attempt: int, loss: Loss) -> None:
        """Handle a task that ended without a `finished` event."""
        waiting = self._waiting.get(job_id)
        if waiting is not None:
            waiting.loss = loss
            waiting.ended.set()

    def capacity_changed(self) -> None:
        """Do nothing: programs are submitted on arrival, at any capacity."""

    def _started(self, provider: str) -> ProcessPool:
        with self._lock:
            if self._stopped:
                raise _stopping()
            pool = self._pools.get(provider)
            if pool is None:
                pool = self._pools[provider] = self._make_pool(provider)
                pool.launch()
                pool.start(self)
            return pool

    def _cancel(self, number: int) -> None:
        """Cancel the task of a call that has ended: drop it, or kill its process if it has started."""
        waiting = self._waiting.get(number)
        if waiting is not None:
            waiting.over = True
            waiting.pool.cancel(number, waiting.attempt)


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
    if loss.kind is LossKind.CANCELLED:
        return Failure(category=FailureCategory.FAILURE_CATEGORY_WORKER, reason=_CANCELLED, message=loss.message)
    return Failure(
        category=FailureCategory.FAILURE_CATEGORY_WORKER,
        reason=_DIED,
        message=f"two processes died while they processed the program: the last time, {loss.message}",
    )


def _verb(task: Task) -> str:
    if task.analyze_only:
        return "analyze the programs"
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
