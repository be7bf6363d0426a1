# SPDX-License-Identifier: Apache-2.0
"""Fixtures for tests of execution: a pool of fake workers, tasks for them, and a recording listener."""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.execution.v1.task_pb2 import Task, TaskEvent, TaskProgram
from qonduit.v1.job_pb2 import JobType
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_server.execution.executor import Loss
from qonduit_server.execution.local.pool import ProcessPool

ROOT = Path(__file__).parents[3]
PROGRAM = ("-m", "tests.unit.execution.fake_forkserver")
#: The longest wait of any test, in seconds.
PATIENCE = 100.0


def task(job_id: int, text: str = "noop", *, provider: str = "TEST", attempt: int = 1, seconds: float = 0.0) -> Task:
    """Return a task that executes the commands in `text` (see fake_forkserver)."""
    program = TaskProgram(program_id=job_id, language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2, text=text)
    return Task(
        job_id=job_id,
        attempt=attempt,
        provider=provider,
        device="stage",
        spec=JobSpec(type=JobType.JOB_TYPE_RUNNER, shots=1),
        programs=[program],
        time_limit_seconds=seconds,
    )


class RecordingListener:
    """A listener that records all events."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.received: dict[int, list[TaskEvent]] = defaultdict(list)
        self.finished: dict[int, TaskEvent] = {}
        self.losses: dict[int, Loss] = {}
        self.endings: list[int] = []
        self.more = threading.Event()
        #: Called with each task that ends, in the executor's thread.
        self.on_end: Callable[[tuple[int, int]], object] = lambda key: None

    def events(self, events: Sequence[TaskEvent]) -> None:
        for event in events:
            if event.HasField("finished"):
                self.on_end((event.job_id, event.attempt))
        with self._changed:
            for event in events:
                self.received[event.job_id].append(event)
                if event.HasField("finished"):
                    self.finished[event.job_id] = event
                    self.endings.append(event.job_id)
            self._changed.notify_all()

    def lost(self, job_id: int, attempt: int, loss: Loss) -> None:
        self.on_end((job_id, attempt))
        with self._changed:
            self.losses[job_id] = loss
            self.endings.append(job_id)
            self._changed.notify_all()

    def capacity_changed(self) -> None:
        self.more.set()
        with self._changed:
            self._changed.notify_all()

    def wait(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, timeout=PATIENCE), (self.endings, self.losses)

    def wait_ended(self, *job_ids: int) -> None:
        self.wait(lambda: all(job_id in self.finished or job_id in self.losses for job_id in job_ids))

    def wait_begun(self, *job_ids: int) -> None:
        self.wait(lambda: all(self.received[job_id] for job_id in job_ids))

    def wait_granted(self, *job_ids: int) -> None:
        """Wait until tasks were granted memory."""
        self.wait(lambda: all(any(e.progress.message == "granted" for e in self.received[i]) for i in job_ids))

    def wait_short(self, *job_ids: int) -> None:
        """Wait until tasks were reported to wait for memory."""
        self.wait(lambda: all(any(e.HasField("log") for e in self.received[i]) for i in job_ids))

    def pid(self, job_id: int, key: str = "pid") -> int:
        """Return the process id in a job's result; `parent` is that of the fork server."""
        results = [e.program_succeeded.result for e in self.received[job_id] if e.HasField("program_succeeded")]
        return int(results[0].meta_data[key])  # type: ignore[arg-type]


class Gate:
    """A named pipe that blocks a task until the test opens it."""

    def __init__(self, folder: Path, name: str = "gate") -> None:
        self.path = folder / name
        os.mkfifo(self.path)

    def open(self) -> None:
        """Wait until the task blocks, and unblock it."""
        self.path.open("wb").close()


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)} | more


@contextmanager
def pool(
    *providers: str,
    workers: int = 2,
    memory_limit_bytes: int = 0,
    memory_bytes: int = 0,
    server: str = "",
    slow_seconds: float = 30.0,
    **variables: str,
) -> Iterator[tuple[ProcessPool, RecordingListener]]:
    """Start a pool of fake workers with a recording listener."""
    made = ProcessPool(
        providers or ("TEST",),
        workers,
        memory_limit_bytes=memory_limit_bytes,
        memory_bytes=memory_bytes,
        server=server,
        slow_seconds=slow_seconds,
        program=PROGRAM,
        environment=environment(**variables),
        show_errors=True,
    )
    listener = RecordingListener()
    made.launch()
    try:
        made.start(listener)
        yield made, listener
    finally:
        made.stop(PATIENCE)


def wait_gone(pids: Sequence[int]) -> None:
    """Wait until processes have ended; they need not be children of this one."""
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            import select

            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            assert poll.poll(PATIENCE * 1000), f"process {pid} is still running"
        finally:
            os.close(descriptor)
