# SPDX-License-Identifier: Apache-2.0
"""A gRPC server with the real descriptions of the built-in devices, and a reader of programs in this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from qonduit.execution.v1.task_pb2 import (
    ProgramFailed,
    ProgramFeatures,
    ProgramSucceeded,
    Task,
    TaskEvent,
    TaskFinished,
)
from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.failure_pb2 import Failure
from qonduit.v1.job_service_pb2 import CompiledProgram
from qonduit.v1.result_pb2 import CountsAndProbabilities, Result, ResultType
from qonduit_server.providers import registry
from qonduit_server.rpc.caller_budget import Charge
from qonduit_server.rpc.job_validation import AddCallback
from qonduit_server.store import catalogue
from qonduit_server.worker.assembly import describe_provider, make_runner
from tests.contract.rpc_fixture import RpcFixture, rpc_fixture


class Analysis:
    """Reads programs in this process, as a worker does, and records the threads of its calls."""

    def __init__(self) -> None:
        self._run = make_runner(None)
        self.reset()

    def reset(self) -> None:
        """Forget all calls and settings."""
        self.threads: list[str] = []
        #: The response in place of an analysis.
        self.failure: Failure | None = None
        #: The worker seconds of a call.
        self.seconds = 0.0
        #: Called in each call, with the registration of a callback for its end.
        self.during: Callable[[AddCallback], object] = lambda add_callback: None

    def __call__(
        self, task: Task, seconds: float, add_callback: AddCallback, charge: Charge
    ) -> tuple[Sequence[ProgramFeatures], Sequence[ProgramFailed]] | Failure:
        self.threads.append(threading.current_thread().name)
        charge(self.seconds)
        self.during(add_callback)
        if self.failure is not None:
            return self.failure
        events: list[TaskEvent] = []
        analysis = Task(attempt=1, analyze_only=True)
        analysis.MergeFrom(task)
        self._run([analysis], events.append)
        return (
            [event.program_analyzed for event in events if event.HasField("program_analyzed")],
            [event.program_failed for event in events if event.HasField("program_failed")],
        )


class Compilation:
    """Records the devices that programs are compiled for, and compiles nothing."""

    def __init__(self) -> None:
        self.devices: list[str] = []

    def __call__(
        self, task: Task, seconds: float, add_callback: AddCallback, charge: Charge
    ) -> tuple[Sequence[CompiledProgram], Sequence[ProgramFailed], TaskFinished]:
        self.devices.append(f"{task.provider}/{task.device}")
        return [CompiledProgram(index=index, num_qubits=2) for index in range(len(task.programs))], [], TaskFinished()


@cache
def built_in_descriptions() -> list[ProviderDescription]:
    """Return the descriptions of all built-in devices as available ones, also if their SDKs are not installed here."""
    described = [describe_provider(registry.get(name)) for name in registry.PROVIDERS]
    for description in described:
        description.unavailable = ""
        for device in description.devices:
            device.available = True
    return described


@contextmanager
def built_in_devices(store: Path, **options: Any) -> Iterator[RpcFixture]:
    """Serve all built-in devices."""
    with rpc_fixture(store, **options) as it:
        catalogue.sync(it.db, built_in_descriptions())
        yield it


def finish(rpc: RpcFixture, job_id: int, **meta_data: Any) -> None:
    """Finish a claimed job with a result that has these metadata."""
    result = Result(
        result_type=ResultType.RESULT_TYPE_COUNTS_AND_PROBABILITIES,
        counts_and_probabilities=CountsAndProbabilities(counts={"0x0": 1000}, probabilities={"0x0": 1.0}),
        shots=1000,
    )
    result.meta_data.update(meta_data)
    rpc.record(job_id, program_succeeded=ProgramSucceeded(index=0, result=result))
    rpc.record(job_id, finished=TaskFinished())
