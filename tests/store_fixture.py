# SPDX-License-Identifier: Apache-2.0
"""Sample data and the steps of a job's life cycle, for tests of the store and its users."""

from __future__ import annotations

import itertools
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import datetime, timedelta
from typing import Any, TypeVar

import pytest

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.execution.v1.task_pb2 import (
    ProgramFailed,
    ProgramStarted,
    ProgramSucceeded,
    Task,
    TaskEvent,
    TaskFinished,
    TaskProgress,
)
from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.deployment_pb2 import Deployment, QuantumProgram
from qonduit.v1.device_pb2 import Device
from qonduit.v1.event_pb2 import JobEvent
from qonduit.v1.failure_pb2 import FAILURE_CATEGORY_PROGRAM, Failure
from qonduit.v1.job_pb2 import JOB_TYPE_RUNNER, Job
from qonduit.v1.provider_pb2 import AssemblerLanguage, Provider, ProviderAssemblerLanguage
from qonduit.v1.result_pb2 import CountsAndProbabilities, Register, Result, ResultType
from qonduit_server.store import catalogue, event_log
from qonduit_server.store.database import Database
from qonduit_server.store.jobs import job_rows, queue
from qonduit_server.store.writer import Operation, Transaction

BELL = 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[2];\ncreg c[2];\nh q[0];\ncx q[0], q[1];\nmeasure q -> c;\n'
CALLER = "anonymous"
LEASE = timedelta(seconds=30)
_NUMBERS = itertools.count(1)
T = TypeVar("T")


class Clock:
    """A clock that stands still until a test moves it."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


def description(
    name: str = "IBM", devices: Iterable[str] = ("aer_simulator",), unavailable: str = ""
) -> ProviderDescription:
    """Describe a provider with simulators of these names."""
    return ProviderDescription(
        provider=Provider(
            name=name,
            supported_languages=[
                ProviderAssemblerLanguage(supported_language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2),
                ProviderAssemblerLanguage(supported_language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3),
            ],
        ),
        devices=[
            Device(name=device, num_qubits=29, is_simulator=True, is_local=True, available=True, max_shots=1_000_000)
            for device in devices
        ],
        unavailable=unavailable,
    )


def deployment(programs: int = 1, name: str | None = None, project: str = "") -> Deployment:
    """Make a deployment of Bell programs."""
    return Deployment(
        name=name,
        project=project,
        programs=[
            QuantumProgram(quantum_circuit=BELL, assembler_language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2)
            for _ in range(programs)
        ],
    )


def known_device(db: Database, name: str = "IBM/aer_simulator") -> Device:
    """Return a device; add IBM's simulator to an empty catalogue."""
    if not catalogue.list_devices(db).items:
        catalogue.sync(db, [description()])
    return catalogue.device_by_name(db, name)


def submit(
    db: Database,
    *,
    caller: str = CALLER,
    programs: int = 1,
    inline: Deployment | None = None,
    name: str | None = None,
    request_id: str = "",
    device: Device | None = None,
    max_queued: int = 0,
    shots: int = 1000,
    labels: Mapping[str, str] | None = None,
    project: str = "",
    **options: Any,
) -> Job:
    """Queue a job with an inline deployment, by default one that no other job has."""
    if inline is None:
        inline = deployment(programs)
        inline.programs[0].quantum_circuit += f"// {next(_NUMBERS)}\n"
    new = job_rows.NewJob(
        caller=caller,
        spec=JobSpec(shots=shots, type=JOB_TYPE_RUNNER, seed=7, labels=labels, **options),
        name=name,
        device_id=(device or known_device(db)).id,
        deployment=inline,
        request_id=request_id or str(uuid.uuid4()),
        method="RunJob",
        fingerprint=b"one",
        max_queued=max_queued,
        project=project,
    )
    return job_rows.create(db, new).job


def claim(db: Database, owner: str = "me", capacity: int = 100, provider: str = "IBM") -> list[Task]:
    """Claim for one provider."""
    return queue.claim(db, owner, {provider: capacity}, LEASE)


def result(text: str = "0x0") -> Result:
    """Make a result as a worker sends it."""
    return Result(
        result_type=ResultType.RESULT_TYPE_COUNTS_AND_PROBABILITIES,
        counts_and_probabilities=CountsAndProbabilities(counts={text: 1000}, probabilities={text: 1.0}),
        shots=1000,
        registers=[Register(name="c", size=2)],
    )


def failure(reason: str = "SYNTAX_ERROR") -> Failure:
    """Make a failure as a worker sends it."""
    return Failure(category=FAILURE_CATEGORY_PROGRAM, reason=reason, message=f"it failed: {reason}")


def started(task: Task, index: int = 0) -> TaskEvent:
    """Make the event of a started program."""
    return TaskEvent(job_id=task.job_id, attempt=task.attempt, program_started=ProgramStarted(index=index))


def succeeded(task: Task, index: int = 0, of: Result | None = None) -> TaskEvent:
    """Make the event of a succeeded program."""
    done = ProgramSucceeded(index=index, result=of or result())
    return TaskEvent(job_id=task.job_id, attempt=task.attempt, program_succeeded=done)


def failed(task: Task, index: int = 0, reason: str = "SYNTAX_ERROR") -> TaskEvent:
    """Make the event of a failed program."""
    return TaskEvent(
        job_id=task.job_id, attempt=task.attempt, program_failed=ProgramFailed(index=index, failure=failure(reason))
    )


def progressed(task: Task, progress: float) -> TaskEvent:
    """Make a progress event."""
    return TaskEvent(job_id=task.job_id, attempt=task.attempt, progress=TaskProgress(progress=progress))


def finished(task: Task, reason: str = "") -> TaskEvent:
    """Make the event of a finished task; with a reason, it failed as a whole."""
    return TaskEvent(
        job_id=task.job_id, attempt=task.attempt, finished=TaskFinished(failure=failure(reason) if reason else None)
    )


def succeed(db: Database, tasks: Sequence[Task], owner: str = "me") -> set[tuple[int, int]]:
    """Record that tasks ran from start to finish."""
    batch: list[TaskEvent] = []
    for task in tasks:
        batch += [started(task), *(succeeded(task, index) for index in range(len(task.programs))), finished(task)]
    return queue.record(db, owner, batch)


def history(db: Database, job_id: int) -> list[JobEvent]:
    """Return all events of a job."""
    return [JobEvent.FromString(event.payload) for event in event_log.read_after(db, job_id, 0, 10_000)]


def kinds(db: Database, job_id: int) -> list[str]:
    """Return the kinds of a job's events, in order."""
    return [event.WhichOneof("event") or "" for event in history(db, job_id)]


def in_one_transaction(db: Database, calls: Sequence[Callable[[], T]]) -> list[Future[T]]:
    """Make calls that write, in order, in one transaction; return their ended futures."""
    busy, go, queued = threading.Event(), threading.Event(), threading.Semaphore(0)

    def hold(transaction: Transaction, arguments: Sequence[None]) -> list[None]:
        busy.set()
        assert go.wait(60)
        return [None] * len(arguments)

    db.write_later(Operation(hold, durable=False), None)
    assert busy.wait(60)
    writer = db._writer  # noqa: SLF001 - its queue shows that a call waits
    submit_call = writer.submit

    def submitting(*call: Any) -> Future[Any]:
        future = submit_call(*call)
        queued.release()
        return future

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(len(calls)) as pool:
        patch.setattr(writer, "submit", submitting)
        made = []
        for call in calls:
            made.append(pool.submit(call))
            assert queued.acquire(timeout=60)
        go.set()
        wait(made, 60)
    return made
