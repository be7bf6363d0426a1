# SPDX-License-Identifier: Apache-2.0
"""Translates and compiles programs for callers that wait, in worker processes that run nothing."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.struct_pb2 import Struct

from qonduit.execution.v1.task_pb2 import ProgramFailed, ProgramTranslated, Task, TaskEvent, TaskProgram
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

#: The name of no provider: processes that only translate.
_NO_PROVIDER: Final = ""
#: A call whose time is up is ended by gRPC; only where that does not happen, this much later.
_LATE_SECONDS: Final = 1.0
_CANCELLED: Final = "CANCELLED"
_DIED: Final = "WORKER_DIED"
#: What helps where a task takes too long, by whether its programs are compiled.
_LESS: Final = {False: "make it smaller", True: "check fewer or smaller programs at once"}

#: Has something done when a call is over; false: it is over already.
AddCallback = Callable[[Callable[[], None]], bool]


@dataclass(eq=False, slots=True)
class _Waiting:
    """A caller that waits, and what it will be told."""

    deadline: float
    pool: ProcessPool
    #: Whether the caller waits no more.
    over: bool = False
    attempt: int = 0
    ended: threading.Event = field(default_factory=threading.Event)
    translated: ProgramTranslated | None = None
    #: By place. A task that is handed out again, with more memory, reports what it reported before.
    compiled: dict[int, CompiledProgram] = field(default_factory=dict)
    failed: dict[int, ProgramFailed] = field(default_factory=dict)
    failure: Failure | None = None
    loss: Loss | None = None

    def begin(self, attempt: int) -> None:
        """Forget an earlier attempt."""
        self.translated = self.failure = self.loss = None
        self.compiled, self.failed = {}, {}
        self.ended.clear()
        self.attempt = attempt


class Translator:
    """Translates and compiles programs; safe to use from several threads. Costs nothing until the first program comes.

    Programs are translated in processes that load no SDK of a provider. They are compiled in processes of the device's
    provider, which are started, and load its SDK, when the first program for it comes.

    Args:
        workers: how many programs are translated at once, at most; and for each provider, how many jobs are compiled.
        python: the Python of the processes that translate; default: this process's.
        pythons: another Python for the processes that compile for a provider, by provider name.
        memory_limit_bytes: what one process may add to its address space, and what Python source may use that is run
            for the processes of one provider, together; 0 means no limit.
        max_seconds: how long one program may take to translate; then the process that has it is killed.
        compile_seconds: how long all programs of a job may take to compile together; likewise.
        patience: how long a program may take with all waiting for its turn, in seconds.
        program: arguments that make a Python a fork server.
        show_errors: let its processes write to this process's stderr.
        stderr: logs what its processes write to theirs.
        environment: variables for its processes; default: those of this process.
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
        patience: float = 60.0,
        program: Sequence[str] = ("-m", "qonduit_server.worker.forkserver"),
        show_errors: bool = False,
        stderr: StderrLog | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._max_seconds = max_seconds
        self._compile_seconds = compile_seconds
        self._patience = patience
        self._memory_limit_bytes = memory_limit_bytes
        in_use = dict(pythons or {}) | ({} if python is None else {_NO_PROVIDER: python})

        def make_pool(provider: str) -> ProcessPool:
            return ProcessPool(
                [provider],
                workers,
                pythons=in_use,
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
    ) -> TranslateProgramResponse | Failure:
        """Translate a program, and wait for it.

        Args:
            program: its text or bytes, and its language; nothing else is looked at.
            target: the language to write it in.
            inputs: values for its inputs.
            seconds: how long the caller waits; infinity for ever.
            add_callback: has something done when the caller waits no more; false: it does not wait now.

        Returns:
            The translation, or why there is none. Reason CANCELLED: the caller waits no more.

        Raises:
            Unavailable: the server is stopping.
        """
        task = _translation(program, target, inputs, self._max_seconds)
        task.memory_limit_bytes = self._memory_limit_bytes
        waiting, failure = self._finish(task, seconds, add_callback)
        if failure is None and waiting.failed:
            failure = next(iter(waiting.failed.values())).failure
        return _answer(waiting.translated, target) if failure is None else failure

    def compile(
        self, task: Task, seconds: float, add_callback: AddCallback
    ) -> tuple[Sequence[CompiledProgram], Sequence[ProgramFailed]] | Failure:
        """Compile the programs of a job for its device, and wait for it. Nothing is run.

        Args:
            task: the job, without number and attempt.
            seconds: how long the caller waits; infinity for ever.
            add_callback: as for `translate`.

        Returns:
            What was found of each program that can be run, and why the others cannot; or why nothing was found.

        Raises:
            Unavailable: the server is stopping.
        """
        asked = Task()
        asked.CopyFrom(task)
        asked.attempt = 1
        asked.compile_only = True
        asked.time_limit_seconds = self._compile_seconds
        waiting, failure = self._finish(asked, seconds, add_callback)
        if failure is not None:
            return failure
        return list(waiting.compiled.values()), list(waiting.failed.values())

    def _finish(self, task: Task, seconds: float, add_callback: AddCallback) -> tuple[_Waiting, Failure | None]:
        """Have a task done, in a second process where the first one dies; returns what went wrong as a whole."""
        number = task.job_id = next(self._numbers)
        deadline = time.monotonic() + min(seconds + _LATE_SECONDS, self._patience)
        waiting = self._waiting[number] = _Waiting(deadline, self._started(task.provider))
        try:
            if not add_callback(lambda: self._give_up(number)):
                waiting.over = True
            failure = self._attempt(task, waiting)
            if failure is not None and failure.reason == _DIED:
                # Perhaps it was not the program's fault. Alone in its process, and once more only.
                again = Task()
                again.CopyFrom(task)
                again.attempt = 2
                failure = self._attempt(again, waiting)
        finally:
            del self._waiting[number]
        if failure is not None and failure.reason == _CANCELLED and not waiting.over and self._patience < seconds:
            failure = self._no_time(task)
        return waiting, failure

    def _attempt(self, task: Task, waiting: _Waiting) -> Failure | None:
        """Have a task done once; returns what went wrong."""
        waiting.begin(task.attempt)
        waiting.pool.submit([task])
        if waiting.over or not waiting.ended.wait(waiting.deadline - time.monotonic()):
            waiting.pool.cancel(task.job_id, task.attempt)
            waiting.ended.wait(self._patience)
        if waiting.loss is None:
            return waiting.failure
        if waiting.loss.kind is LossKind.STOPPED:
            raise _stopping()
        return _failure_of(waiting.loss, task)

    def processes(self) -> list[int]:
        """Ids of its processes: of each fork server, then its workers'; none before the first program."""
        with self._lock:
            pools = list(self._pools.values())
        return [pid for pool in pools for pids in pool.processes().values() for pid in pids]

    def stop(self, grace: float) -> None:
        """End everything; callers that wait are told that the server is stopping."""
        with self._lock:
            self._stopped = True
            pools, self._pools = self._pools, {}
        for pool in pools.values():
            pool.stop(grace)

    # What the pools call.

    def events(self, events: Sequence[TaskEvent]) -> None:
        """Something happened to tasks."""
        for event in events:
            waiting = self._waiting.get(event.job_id)
            if waiting is None:
                continue
            log_traceback(event, translation=event.job_id)
            match event.WhichOneof("event"):
                case "program_translated":
                    waiting.translated = event.program_translated
                case "program_compiled":
                    waiting.compiled[event.program_compiled.index] = event.program_compiled
                case "program_failed":
                    waiting.failed[event.program_failed.index] = event.program_failed
                case "finished":
                    if event.finished.HasField("failure"):
                        waiting.failure = event.finished.failure
                    waiting.ended.set()

    def lost(self, job_id: int, attempt: int, loss: Loss) -> None:
        """Handle a task that ended without an event."""
        waiting = self._waiting.get(job_id)
        if waiting is not None:
            waiting.loss = loss
            waiting.ended.set()

    def capacity_changed(self) -> None:
        """Programs are handed over when they come, however many wait."""

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

    def _give_up(self, number: int) -> None:
        """Drop the program of a caller that waits no more, or kill its process if it has begun."""
        waiting = self._waiting.get(number)
        if waiting is not None:
            waiting.over = True
            waiting.pool.cancel(number, waiting.attempt)

    def _no_time(self, task: Task) -> Failure:
        return Failure(
            category=FailureCategory.FAILURE_CATEGORY_LIMIT,
            reason="NO_TIME",
            message=f"the server had no time to {_verb(task)} within {self._patience:g} s",
        )


def _failure_of(loss: Loss, task: Task) -> Failure:
    if loss.kind is LossKind.TIME_LIMIT:
        return Failure(
            category=FailureCategory.FAILURE_CATEGORY_LIMIT,
            reason="TIME_LIMIT",
            message=f"it takes longer than {task.time_limit_seconds:g} s to {_verb(task)}: {_LESS[task.compile_only]}",
        )
    if loss.kind is LossKind.CANCELLED:
        return Failure(category=FailureCategory.FAILURE_CATEGORY_WORKER, reason=_CANCELLED, message=loss.message)
    return Failure(
        category=FailureCategory.FAILURE_CATEGORY_WORKER,
        reason=_DIED,
        message=f"the program was given to two processes, and none of them ended well: at last {loss.message}",
    )


def _verb(task: Task) -> str:
    return "compile the programs" if task.compile_only else "translate the program"


def _translation(program: QuantumProgram, target: AssemblerLanguage, inputs: Struct, seconds: float) -> Task:
    one = TaskProgram(
        language=program.assembler_language,
        text=program.quantum_circuit,
        binary=program.quantum_circuit_binary,
        inputs=inputs,
    )
    return Task(attempt=1, programs=[one], translate_to=target, time_limit_seconds=seconds)


def _answer(done: ProgramTranslated | None, target: AssemblerLanguage) -> TranslateProgramResponse | Failure:
    if done is None:
        return Failure(category=FailureCategory.FAILURE_CATEGORY_INTERNAL, message="the task ended without a word")
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
