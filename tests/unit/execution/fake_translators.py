# SPDX-License-Identifier: Apache-2.0
"""A fork server whose translation workers execute the commands in a program, without any SDK."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from qonduit.execution.v1.task_pb2 import (
    ProgramFailed,
    ProgramFeatures,
    ProgramNeeds,
    ProgramTranslated,
    Task,
    TaskEvent,
    TaskFinished,
)
from qonduit.v1.failure_pb2 import Failure
from qonduit.v1.job_service_pb2 import CompiledProgram
from qonduit.v1.result_pb2 import Register
from qonduit_server.providers.provider import SimulatorProvider
from qonduit_server.worker import forkserver, loop


def run_all(tasks: Sequence[Task], emit: loop.Emit) -> None:
    """Execute the commands in the tasks' programs."""
    for task in tasks:
        _run(task, emit)


def _run(task: Task, emit: loop.Emit) -> None:
    def event(**what: object) -> None:
        emit(TaskEvent(job_id=task.job_id, attempt=task.attempt, **what))  # type: ignore[arg-type]

    program = task.programs[0]
    word, _, rest = (program.text or program.binary.decode()).partition(" ")
    done = ProgramTranslated(
        text=f"{rest} in {task.translate_to} with {dict(program.inputs.items())}",
        warnings=["it was bent a little"],
        registers=[Register(name="b", size=2), Register(name="a", size=1)],
        read_seconds=0.25,
        write_seconds=0.5,
    )
    if word == "wait":  # prints its process id, and continues when the test opens the pipe for writing
        Path(rest).with_suffix(".pid").write_text(str(os.getpid()))
        Path(rest).open("rb").close()
    elif word == "fail":
        category, reason, message = rest.split(" ", 2)
        failure = Failure(category=f"FAILURE_CATEGORY_{category}", reason=reason, message=message, line=3, column=5)
        event(program_failed=ProgramFailed(failure=failure))
        event(finished=TaskFinished())
        return
    elif word == "grow":
        done.text = "x" * int(rest)
    elif word == "forget":
        event(finished=TaskFinished())
        return
    if task.analyze_only:
        needs = ProgramNeeds(num_qubits=len(rest), noise=bool(task.provider or task.device))
        event(program_analyzed=ProgramFeatures(index=0, needs=needs))
    elif task.compile_only:
        found = f"{rest} for {task.provider}/{task.device} with {dict(program.inputs.items())}"
        event(program_compiled=CompiledProgram(index=0, num_qubits=2, warnings=[found]))
    else:
        event(program_translated=done)
    event(finished=TaskFinished())


def _runner_of(provider: SimulatorProvider | None) -> tuple[loop.Run, int]:
    if os.environ.get("TRANSLATING_LACKS"):
        raise ModuleNotFoundError(f"No module named {os.environ['TRANSLATING_LACKS']!r}")
    return run_all, 1


if __name__ == "__main__":
    sys.exit(forkserver.main(runner_of=_runner_of))
