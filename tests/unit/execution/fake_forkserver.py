# SPDX-License-Identifier: Apache-2.0
"""A fork server whose workers execute the commands in a task's program, without any SDK."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from qonduit.execution.v1.task_pb2 import (
    FurtherResult,
    PointsDone,
    ProgramStarted,
    ProgramSucceeded,
    Task,
    TaskDeclined,
    TaskEvent,
    TaskFinished,
    TaskPhase,
    TaskProgress,
)
from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.device_pb2 import Device, DeviceCapabilities
from qonduit.v1.failure_pb2 import Failure, FailureCategory
from qonduit.v1.job_pb2 import JobType
from qonduit.v1.provider_pb2 import AssemblerLanguage, ProviderAssemblerLanguage
from qonduit.v1.provider_pb2 import Provider as ProviderMessage
from qonduit.v1.result_pb2 import CountsAndProbabilities, Result, ResultType
from qonduit_server.errors import ProviderError
from qonduit_server.providers.provider import SimulatorProvider
from qonduit_server.worker import forkserver, loop

#: The variable that names a file with the names of the devices; "hang" and a pipe, "crash" or "missing" instead.
DEVICES = "FAKE_DEVICES"


class FakeProvider:
    """A minimal provider for a fork server; its name selects how it misbehaves."""

    def __init__(self, name: str) -> None:
        self.name = name

    def describe(self) -> ProviderDescription:
        if self.name == "SILENT":
            time.sleep(60)
        names = ["stage"]
        if file := os.environ.get(DEVICES):
            names = Path(file).read_text().split()
        if names[0] == "hang":  # until the test opens the pipe for writing
            Path(names[1]).open("rb").close()
        if names[0] == "crash":
            os._exit(7)
        if names[0] == "missing":
            return ProviderDescription(provider=ProviderMessage(name=self.name), unavailable="install the SDK")
        devices = [
            Device(
                name=name,
                num_qubits=1,
                is_simulator=True,
                is_local=True,
                available=True,
                max_shots=10,
                capabilities=DeviceCapabilities(job_types=[JobType.JOB_TYPE_RUNNER]),
            )
            for name in names
        ]
        language = ProviderAssemblerLanguage(supported_language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2)
        return ProviderDescription(
            provider=ProviderMessage(name=self.name, supported_languages=[language]), devices=devices
        )

    def load(self) -> None:
        if self.name == "BROKEN":
            raise ProviderError("SDK_MISSING", 'install "qonduit-quantum[broken]"')
        if self.name == "DYING":
            os._exit(3)
        if self.name == "FRAIL":
            os.register_at_fork(after_in_child=lambda: os._exit(4))


def run_all(tasks: Sequence[Task], emit: loop.Emit) -> None:
    """Execute the commands in the tasks' programs."""
    for task in tasks:
        _run(task, emit)


def _run(task: Task, emit: loop.Emit) -> None:  # noqa: C901 - a table, one branch an order
    def event(**what: object) -> None:
        emit(TaskEvent(job_id=task.job_id, attempt=task.attempt, **what))  # type: ignore[arg-type]

    failure = None
    if not task.declined_before:
        event(program_started=ProgramStarted(index=0))
    word, _, rest = task.programs[0].text.partition(" ")
    if word == "need":
        need, _, then = rest.partition(" ")
        word, _, rest = then.partition(" ")
        if 0 < task.memory_granted_bytes < int(need):
            event(declined=TaskDeclined(memory_bytes=int(need)))
            return
        event(progress=TaskProgress(progress=0.01, message="granted"))
    if word == "phase":
        message, _, rest = rest.rpartition(" ")
        event(phase=TaskPhase(message=message))
        word = "wait"
    if word == "wait":  # until the test opens the pipe for writing
        Path(rest).open("rb").close()
    elif word == "hold":  # the same, as an SDK that holds Python's global lock
        libc = ctypes.PyDLL(None)
        os.close(libc.open(rest.encode(), os.O_RDONLY))
    elif word == "progress":
        for step in range(int(rest)):
            event(progress=TaskProgress(progress=(step + 1) / int(rest)))
    elif word == "kill":
        os.kill(os.getpid(), getattr(signal, rest))
        signal.pause()
    elif word == "exit":
        os._exit(int(rest))
    elif word == "allocate":
        try:
            bytearray(int(rest))
        except MemoryError:
            failure = Failure(category=FailureCategory.FAILURE_CATEGORY_LIMIT, reason="MEMORY_LIMIT")
    elif word == "large":  # a result of this many bytes
        event(points_done=PointsDone(index=0, results=[FurtherResult(buffer=bytes(int(rest)))]))
    elif word == "forget":
        return
    elif word == "die" and task.attempt <= int(rest):
        os.kill(os.getpid(), signal.SIGKILL)
    if failure is None:
        counts = CountsAndProbabilities(counts={"0x0": task.spec.shots}, probabilities={"0x0": 1.0})
        result = Result(
            program_id=task.programs[0].program_id,
            result_type=ResultType.RESULT_TYPE_COUNTS_AND_PROBABILITIES,
            counts_and_probabilities=counts,
            shots=task.spec.shots,
        )
        result.meta_data["pid"] = os.getpid()
        result.meta_data["parent"] = os.getppid()
        event(program_succeeded=ProgramSucceeded(index=0, result=result))
        event(progress=TaskProgress(progress=1.0))
    event(finished=TaskFinished(failure=failure))


def _runner_of(provider: SimulatorProvider) -> tuple[loop.Run, int]:
    provider.load()
    return run_all, int(os.environ.get("ACTING_FOLD", "1"))


if __name__ == "__main__":
    sys.exit(forkserver.main(provider_of=FakeProvider, runner_of=_runner_of))  # type: ignore[arg-type]
