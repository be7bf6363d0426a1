# SPDX-License-Identifier: Apache-2.0
"""Emits the events of a running task: progress, phases, log lines and failures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from qonduit.execution.v1.task_pb2 import ProgramFailed, Task, TaskEvent, TaskPhase, TaskProgress
from qonduit.v1.event_pb2 import LogLevel, LogLine
from qonduit.v1.failure_pb2 import Failure, FailureCategory
from qonduit_server.ir.circuit import Circuit
from qonduit_server.ir.requirements import requirements_of
from qonduit_server.process.redaction import Redaction
from qonduit_server.providers.provider import CompiledCircuit
from qonduit_server.worker.failures import NO_SECRET, failure_of, traceback_of

#: Names a point in a message.
_AT_POINT: Final = "at point"

Emit = Callable[[TaskEvent], None]

#: Maximum number of tracebacks that a task sends.
_DIAGNOSTICS: Final = 4
#: Categories of failures that the server or an SDK may have caused.
_DIAGNOSED: Final = frozenset((FailureCategory.FAILURE_CATEGORY_INTERNAL, FailureCategory.FAILURE_CATEGORY_PROVIDER))


class Reporter:
    """Emits events of one task, without its credential.

    Args:
        task: the task.
        emit: receives the events.
    """

    def __init__(self, task: Task, emit: Emit) -> None:
        self._task = task
        self._emit = emit
        self._redaction = Redaction(task.credential) if task.credential else NO_SECRET
        self._progress = -1.0
        self._diagnostics = 0
        self._muted = False

    def mute(self) -> None:
        """Emit only the end of the task from now on: what follows depends on outcomes that are not known."""
        self._muted = True

    def send(self, **event: object) -> None:
        """Emit an event; `event` is the member of TaskEvent to set."""
        if self._muted and "finished" not in event:
            return
        made = TaskEvent(job_id=self._task.job_id, attempt=self._task.attempt, **event)  # type: ignore[arg-type]
        if self._redaction:
            self._redaction.message(made)
        self._emit(made)

    def progress(self, progress: float, message: str) -> None:
        """Report progress if it grew by at least a hundredth, and always its end."""
        progress = min(1.0, progress)
        if progress >= self._progress + 0.01 or (progress >= 1.0 > self._progress):
            self._progress = progress
            self.send(progress=TaskProgress(progress=progress, message=message))

    def phase(self, what: str, index: int, compiled: CompiledCircuit | None = None) -> None:
        """Report the current phase of a program; phases are not stored."""
        note = " (one evolution, no progress)" if compiled is not None and compiled.sliceable is False else ""
        self.send(phase=TaskPhase(message=f"{what} program {index + 1} of {len(self._task.programs)}{note}"))

    def warn(self, index: int, warnings: Iterable[str]) -> None:
        """Log the warnings about a program."""
        for warning in warnings:
            line = LogLine(
                level=LogLevel.LOG_LEVEL_WARNING, message=warning, program_id=self._task.programs[index].program_id
            )
            self.send(log=line)

    def fail(self, index: int, error: Exception, circuit: Circuit | None, point: int | None = None) -> None:
        """Report a program that failed, at a point; the circuit, if known, shows which devices would run it."""
        failure = self.failure_of(error)
        if point is not None and _AT_POINT not in failure.message:
            failure.message += f" ({_AT_POINT} {point})"
        failed = ProgramFailed(index=index, failure=failure, diagnostic=self.diagnostic(error, failure))
        device = failed.failure.category == FailureCategory.FAILURE_CATEGORY_DEVICE
        if circuit is not None and (device or failed.failure.reason == "MEMORY_LIMIT"):
            failed.needs.CopyFrom(requirements_of(circuit.quantum))
            from qonduit_server.ir.clifford import is_clifford

            failed.needs.clifford = not circuit.parameters and is_clifford(circuit.quantum)
        self.send(program_failed=failed)

    def diagnostic(self, error: BaseException, failure: Failure) -> str:
        """Return the traceback of an error, for the server's log; empty where the program is at fault."""
        if failure.category not in _DIAGNOSED or self._diagnostics >= _DIAGNOSTICS:
            return ""
        self._diagnostics += 1
        return traceback_of(error, self._task.programs, self._redaction)

    def failure_of(self, error: BaseException) -> Failure:
        """Return the failure for an error."""
        return failure_of(error, self._redaction)
