# SPDX-License-Identifier: Apache-2.0
"""Tasks that run in the background on a server, one by one and in batches."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from braket.tasks import QuantumTask, QuantumTaskBatch
from google.protobuf.json_format import MessageToDict

from qonduit.v1.job_pb2 import Job
from qonduit_client.braket.braket_errors import as_braket_has_it
from qonduit_client.braket.braket_results import timestamp
from qonduit_client.braket.task_submission import Given, Running
from qonduit_client.job import JobHandle

#: What several programs are as a whole: the first of these that any of them is.
_ORDER: Final = ("FAILED", "CANCELLED", "CANCELLING", "RUNNING", "QUEUED", "CREATED", "COMPLETED")


class QonduitTask(QuantumTask):  # type: ignore[misc]
    """A task that runs on a server's device, in the background.

    Args:
        running: its programs: one, or those of a set.
        device: "PROVIDER/device".
        shots: that were asked for.
        tell: makes the task's result of what its programs gave, the task's id and the device.
        patience: seconds that `result` waits where it is not told otherwise; None: until the task has ended.
    """

    def __init__(
        self,
        running: Sequence[Running],
        device: str,
        shots: int,
        tell: Callable[[Sequence[Given], str, str], Any],
        patience: float | None = None,
    ) -> None:
        self._running = list(running)
        self._device = device
        self._shots = shots
        self._tell = tell
        self._patience = patience
        self._result: Any = None
        self._metadata: dict[str, Any] | None = None

    @property
    def id(self) -> str:
        """Names the server, the job and the place of the (first) program in it: "HOST:PORT/jobs/7/programs/0"."""
        return self._running[0].name

    @property
    def jobs(self) -> list[JobHandle]:
        """The jobs that run this task: one, but for large sets of programs. Tasks of one batch share jobs."""
        return list({id(each.run): each.run.handle for each in self._running}.values())

    def state(self, use_cached_value: bool = False) -> str:
        """Return the state of the task now: QUEUED, RUNNING, COMPLETED, FAILED, CANCELLING or CANCELLED.

        Args:
            use_cached_value: returns what was found out the last time.

        Raises:
            RuntimeError: the server is not there.
        """
        status: str = self.metadata(use_cached_value)["status"]
        return status

    def metadata(self, use_cached_value: bool = False) -> dict[str, Any]:
        """Return the server's view of the task.

        Args:
            use_cached_value: returns what was found out the last time.

        Returns:
            `id`, `status`, `shots`, `deviceId`, `createdAt`, `endedAt` and `failureReason` where there are such, and
            `jobs` as the server describes them.

        Raises:
            RuntimeError: the server is not there.
        """
        if self._metadata is None or not use_cached_value:
            with as_braket_has_it():
                jobs = {handle.id: handle.job() for handle in self.jobs}
            self._metadata = self._described(jobs)
        return dict(self._metadata)

    def _described(self, jobs: Mapping[int, Job]) -> dict[str, Any]:
        states = {each: each.state(jobs[each.run.handle.id]) for each in self._running}
        status = next(state for state in _ORDER if state in states.values())
        if status in ("QUEUED", "CREATED") and "COMPLETED" in states.values():
            status = "RUNNING"
        described: dict[str, Any] = {
            "id": self.id,
            "status": status,
            "shots": self._shots,
            "deviceId": self._device,
            "createdAt": timestamp(next(iter(jobs.values())).created_at),
        }
        if all(job.HasField("finished_at") for job in jobs.values()):
            described["endedAt"] = max(timestamp(job.finished_at) for job in jobs.values())
        if status == "FAILED":
            failed = next(each for each, state in states.items() if state == "FAILED")
            failure = failed.failure(jobs[failed.run.handle.id])
            described["failureReason"] = f"{failure.reason}: {failure.message}"
        return described | {"jobs": [MessageToDict(job) for job in jobs.values()]}

    def cancel(self) -> None:
        """Asks for the task to be cancelled, and with it all that share its job; one that has ended stays as it is.

        Raises:
            RuntimeError: the server is not there.
        """
        with as_braket_has_it():
            for handle in self.jobs:
                handle.cancel()

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the task and return its result.

        Args:
            timeout: seconds to wait.

        Returns:
            A `GateModelQuantumTaskResult`; for a set of programs, a `ProgramSetQuantumTaskResult`.

        Raises:
            RuntimeError: the task failed or was cancelled; the message says why. Or the server is not there.
            TimeoutError: it had not ended by then. It goes on.
        """
        if self._result is None:
            with as_braket_has_it():
                self._result = self._told(self._patience if timeout is None else timeout)
        return self._result

    def async_result(self) -> asyncio.Task[Any]:
        """Return an `asyncio.Task` that gives the result: to be awaited, or to be run by `get_loop()`."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = asyncio.new_event_loop()
        return loop.create_task(asyncio.to_thread(self.result))

    def _told(self, timeout: float | None) -> Any:
        given: list[Given] = []
        deadline = None if timeout is None else time.monotonic() + timeout
        for each in self._running:
            given.append(each.given(None if deadline is None else max(0.0, deadline - time.monotonic())))
        return self._tell(given, self.id, self._device)

    def __eq__(self, other: object) -> bool:
        return self.id == other.id if isinstance(other, QonduitTask) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"QonduitTask('id':{self.id})"


class QonduitTaskBatch(QuantumTaskBatch):  # type: ignore[misc]
    """Tasks that were submitted together.

    Attributes:
        tasks: in the order in which they were handed in.
    """

    def __init__(self, tasks: Sequence[QonduitTask]) -> None:
        self.tasks = list(tasks)

    @property
    def size(self) -> int:
        """How many tasks there are."""
        return len(self.tasks)

    @property
    def unfinished(self) -> set[str]:
        """The ids of the tasks that have not ended."""
        ended = ("COMPLETED", "FAILED", "CANCELLED")
        return {task.id for task in self.tasks if task.state() not in ended}

    @property
    def unsuccessful(self) -> set[str]:
        """The ids of the tasks that failed or were cancelled."""
        return {task.id for task in self.tasks if task.state() in ("FAILED", "CANCELLED")}

    def results(self) -> list[Any]:
        """Wait for all tasks and return their results, in order.

        Raises:
            RuntimeError: a task failed or was cancelled. Those that did not have their results.
            TimeoutError: they had not ended in time. They go on.
        """
        return [task.result() for task in self.tasks]

    def cancel(self) -> None:
        """Asks for all tasks to be cancelled; those that have ended stay as they are."""
        for task in self.tasks:
            task.cancel()

    def __len__(self) -> int:
        return len(self.tasks)
