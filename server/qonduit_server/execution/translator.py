# SPDX-License-Identifier: Apache-2.0
"""Translates single programs for callers that wait, in worker processes that only translate."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.struct_pb2 import Struct

from qonduit.execution.v1.task_pb2 import ProgramTranslated, Task, TaskEvent, TaskProgram
from qonduit.v1.deployment_pb2 import QuantumProgram
from qonduit.v1.failure_pb2 import Failure, FailureCategory
from qonduit.v1.program_service_pb2 import TranslateProgramResponse
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_server.errors import Unavailable
from qonduit_server.execution.executor import Loss, LossKind
from qonduit_server.execution.pool import ProcessPool

#: The name of no provider: the pool's processes that only translate.
_NO_PROVIDER: Final = ""
#: A call whose time is up is ended by gRPC; only where that does not happen, this much later.
_LATE_SECONDS: Final = 1.0
_CANCELLED: Final = "CANCELLED"
_DIED: Final = "WORKER_DIED"


@dataclass(eq=False, slots=True)
class _Waiting:
    """A caller that waits, and what it will be told."""

    deadline: float
    #: Whether the caller waits no more.
    over: bool = False
    attempt: int = 0
    ended: threading.Event = field(default_factory=threading.Event)
    translated: ProgramTranslated | None = None
    failure: Failure | None = None
    loss: Loss | None = None

    def begin(self, attempt: int) -> None:
        """Forget an earlier attempt."""
        self.translated = self.failure = self.loss = None
        self.ended.clear()
        self.attempt = attempt


class Translator:
    """Translates programs; safe to use from several threads. Costs nothing until the first program comes.

    Args:
        workers: how many programs are translated at once, at most.
        python: the Python of its processes; default: this process's.
        memory_limit_bytes: what one process may add to its address space; 0 means no limit.
        max_seconds: how long one program may take; then the process that has it is killed.
        patience: how long a program may take with all waiting for its turn, in seconds.
        program: arguments that make a Python a nursery.
        show_errors: let its processes write to this process's stderr.
        environment: variables for its processes; default: those of this process.
    """

    def __init__(
        self,
        workers: int = 2,
        *,
        python: str | None = None,
        memory_limit_bytes: int = 0,
        max_seconds: float = 20.0,
        patience: float = 60.0,
        program: Sequence[str] = ("-m", "qonduit_server.nursery"),
        show_errors: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._max_seconds = max_seconds
        self._patience = patience

        def make_pool() -> ProcessPool:
            return ProcessPool(
                [_NO_PROVIDER],
                workers,
                pythons={} if python is None else {_NO_PROVIDER: python},
                memory_limit_bytes=memory_limit_bytes,
                program=program,
                show_errors=show_errors,
                environment=environment,
            )

        self._make_pool = make_pool
        self._lock = threading.Lock()
        self._pool: ProcessPool | None = None
        self._stopped = False
        self._numbers = itertools.count(1)
        self._waiting: dict[int, _Waiting] = {}

    def translate(
        self,
        program: QuantumProgram,
        target: AssemblerLanguage,
        inputs: Struct,
        seconds: float,
        when_over: Callable[[Callable[[], None]], bool],
    ) -> TranslateProgramResponse | Failure:
        """Translate a program, and wait for it.

        Args:
            program: its text or bytes, and its language; nothing else is looked at.
            target: the language to write it in.
            inputs: values for its inputs.
            seconds: how long the caller waits; infinity for ever.
            when_over: has something done when the caller waits no more; false: it does not wait now.

        Returns:
            The translation, or why there is none. Reason CANCELLED: the caller waits no more.

        Raises:
            Unavailable: the server is stopping.
        """
        number = next(self._numbers)
        task = _task(number, program, target, inputs, self._max_seconds)
        waiting = self._waiting[number] = _Waiting(time.monotonic() + min(seconds + _LATE_SECONDS, self._patience))
        try:
            if not when_over(lambda: self._give_up(number)):
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
        if failure is None:
            return _answer(waiting.translated, target)
        if failure.reason == _CANCELLED and not waiting.over and self._patience < seconds:
            return self._no_time()
        return failure

    def _attempt(self, task: Task, waiting: _Waiting) -> Failure | None:
        """Have a program translated once; returns what went wrong."""
        pool = self._started()
        waiting.begin(task.attempt)
        pool.submit([task])
        if waiting.over or not waiting.ended.wait(waiting.deadline - time.monotonic()):
            pool.cancel(task.job_id, task.attempt)
            waiting.ended.wait(self._patience)
        if waiting.loss is None:
            return waiting.failure
        if waiting.loss.kind is LossKind.STOPPED:
            raise _stopping()
        return self._failure_of(waiting.loss)

    def processes(self) -> list[int]:
        """Ids of its processes: the nursery's, then its workers'; none before the first program."""
        pool = self._pool
        return [] if pool is None else pool.processes().get(_NO_PROVIDER, [])

    def stop(self, grace: float) -> None:
        """End everything; callers that wait are told that the server is stopping."""
        with self._lock:
            self._stopped = True
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.stop(grace)

    # What the pool calls.

    def events(self, events: Sequence[TaskEvent]) -> None:
        """Something happened to tasks."""
        for event in events:
            waiting = self._waiting.get(event.job_id)
            if waiting is None:
                continue
            match event.WhichOneof("event"):
                case "program_translated":
                    waiting.translated = event.program_translated
                case "program_failed":
                    waiting.failure = event.program_failed.failure
                case "finished":
                    if event.finished.HasField("failure"):
                        waiting.failure = event.finished.failure
                    waiting.ended.set()

    def lost(self, job_id: int, attempt: int, loss: Loss) -> None:
        """A task ended without saying so."""
        waiting = self._waiting.get(job_id)
        if waiting is not None:
            waiting.loss = loss
            waiting.ended.set()

    def capacity_changed(self) -> None:
        """Programs are handed over when they come, however many wait."""

    def _started(self) -> ProcessPool:
        with self._lock:
            if self._stopped:
                raise _stopping()
            if self._pool is None:
                self._pool = self._make_pool()
                self._pool.launch()
                self._pool.start(self)
            return self._pool

    def _give_up(self, number: int) -> None:
        """A caller waits no more: its program is taken back, or its process killed if it has begun."""
        pool, waiting = self._pool, self._waiting.get(number)
        if waiting is not None:
            waiting.over = True
            if pool is not None:
                pool.cancel(number, waiting.attempt)

    def _no_time(self) -> Failure:
        return Failure(
            category=FailureCategory.FAILURE_CATEGORY_LIMIT,
            reason="NO_TIME",
            message=f"the server had no time to translate the program within {self._patience:g} s",
        )

    def _failure_of(self, loss: Loss) -> Failure:
        if loss.kind is LossKind.TIME_LIMIT:
            return Failure(
                category=FailureCategory.FAILURE_CATEGORY_LIMIT,
                reason="TIME_LIMIT",
                message=f"translating the program takes longer than {self._max_seconds:g} s: make it smaller",
            )
        if loss.kind is LossKind.CANCELLED:
            return Failure(
                category=FailureCategory.FAILURE_CATEGORY_WORKER,
                reason=_CANCELLED,
                message=f"the translation was {loss.message}",
            )
        return Failure(
            category=FailureCategory.FAILURE_CATEGORY_WORKER,
            reason=_DIED,
            message=f"the program was given to two processes, and none of them ended well: at last {loss.message}",
        )


def _task(number: int, program: QuantumProgram, target: AssemblerLanguage, inputs: Struct, seconds: float) -> Task:
    one = TaskProgram(
        language=program.assembler_language,
        text=program.quantum_circuit,
        binary=program.quantum_circuit_binary,
        inputs=inputs,
    )
    return Task(job_id=number, attempt=1, programs=[one], translate_to=target, time_limit_seconds=seconds)


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
