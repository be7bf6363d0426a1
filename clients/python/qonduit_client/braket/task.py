# SPDX-License-Identifier: Apache-2.0
"""Tasks and batches of tasks that run on a server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from braket.tasks import QuantumTask, QuantumTaskBatch
from google.protobuf.json_format import MessageToDict

from qonduit.v1.job_pb2 import Job
from qonduit_client.batch import last_place
from qonduit_client.braket.braket_errors import as_braket_has_it
from qonduit_client.braket.braket_results import timestamp
from qonduit_client.braket.task_submission import ProgramOutcome, Running
from qonduit_client.formatting import queue_text
from qonduit_client.job import JobHandle
from qonduit_client.job_labels import users_labels

if TYPE_CHECKING:
    from braket.aws.queue_information import QuantumTaskQueueInfo

#: The state of several programs: the first of these states that any of them has.
_ORDER: Final = ("FAILED", "CANCELLED", "CANCELLING", "RUNNING", "QUEUED", "CREATED", "COMPLETED")


class QonduitTask(QuantumTask):  # type: ignore[misc]
    """A task on a server's device.

    Args:
        running: its program, or those of a set.
        device: "PROVIDER/device".
        shots: the requested number of shots.
        build_result: builds the task's result from its programs' outcomes, the task's id and the device.
        timeout: the default timeout of `result` in seconds; None: unlimited.
    """

    def __init__(
        self,
        running: Sequence[Running],
        device: str,
        shots: int,
        build_result: Callable[[Sequence[ProgramOutcome], str, str], Any],
        timeout: float | None = None,
    ) -> None:
        self._running = list(running)
        self._device = device
        self._shots = shots
        self._build_result = build_result
        self._timeout = timeout
        self._result: Any = None
        self._metadata: dict[str, Any] | None = None

    @property
    def id(self) -> str:
        """The server, the job and the index of the (first) program: "HOST:PORT/jobs/7/programs/0".

        Large sets of programs have several jobs: "HOST:PORT/jobs/7,8/programs/0".
        """
        first = self._running[0]
        jobs = ",".join(str(handle.id) for handle in self.jobs)
        return f"{first.run.target}/jobs/{jobs}/programs/{first.place}"

    @property
    def jobs(self) -> list[JobHandle]:
        """The jobs of this task: one, or several for large program sets. Tasks of one batch share jobs."""
        return list({id(each.run): each.run.handle for each in self._running}.values())

    def state(self, use_cached_value: bool = False) -> str:
        """Return the current state of the task: QUEUED, RUNNING, COMPLETED, FAILED, CANCELLING or CANCELLED.

        Args:
            use_cached_value: return the last known value.

        Raises:
            RuntimeError: the server is unreachable.
        """
        status: str = self.metadata(use_cached_value)["status"]
        return status

    def metadata(self, use_cached_value: bool = False) -> dict[str, Any]:
        """Return the metadata of the task.

        Args:
            use_cached_value: return the last known value.

        Returns:
            `id`, `status`, `shots`, `deviceId`, `createdAt`, `tags`, `jobs` (the server's messages) and, if known,
            `endedAt` and `failureReason`. While the task waits, `queueInfo` as AWS returns it: `queue`,
            `queuePriority`, `position` and `message`, the reason and the estimated start.

        Raises:
            RuntimeError: the server is unreachable.
        """
        if self._metadata is None or not use_cached_value:
            with as_braket_has_it():
                jobs = {handle.id: handle.job() for handle in self.jobs}
            self._metadata = self._described(jobs)
        return dict(self._metadata)

    def queue_position(self) -> QuantumTaskQueueInfo:
        """Return the place of the task in the server's queue, in the form of amazon-braket-sdk 1.127.

        `metadata()["queueInfo"]` also contains the reason for the wait and the estimated start.

        Returns:
            `queue_position`, the number of jobs that run before it, as text; None with a `message` if it does not wait.

        Raises:
            RuntimeError: the server is unreachable.
        """
        from braket.aws.queue_information import QuantumTaskQueueInfo, QueueType  # loads the client of AWS

        with as_braket_has_it():
            jobs = [handle.job() for handle in self.jobs]
        place = last_place(jobs)
        if place is not None and place.HasField("position"):
            return QuantumTaskQueueInfo(QueueType.NORMAL, str(place.position))
        if place is not None:
            return QuantumTaskQueueInfo(QueueType.NORMAL, None, queue_text(place))
        state = self._described({job.id: job for job in jobs})["status"]
        return QuantumTaskQueueInfo(QueueType.NORMAL, None, f"The task is {state}: it does not wait in a queue.")

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
            "tags": users_labels(next(iter(jobs.values())).labels),
        }
        if all(job.HasField("finished_at") for job in jobs.values()):
            described["endedAt"] = max(timestamp(job.finished_at) for job in jobs.values())
        if status == "FAILED":
            failed = next(each for each, state in states.items() if state == "FAILED")
            failure = failed.failure(jobs[failed.run.handle.id])
            described["failureReason"] = f"{failure.reason}: {failure.message}"
        if (place := last_place(jobs.values())) is not None:
            described["queueInfo"] = {
                "queue": "QUANTUM_TASKS_QUEUE",
                "queuePriority": "Normal",
                "position": str(place.position) if place.HasField("position") else "None",
                "message": queue_text(place),
            }
        return described | {"jobs": [MessageToDict(job) for job in jobs.values()]}

    def cancel(self) -> None:
        """Cancel the task and all tasks of the same job; an ended task does not change.

        Raises:
            RuntimeError: the server is unreachable.
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
            RuntimeError: the task failed (see the message) or was cancelled, or the server is unreachable.
            TimeoutError: the task has not ended in time; it continues.
        """
        if self._result is None:
            with as_braket_has_it():
                self._result = self._wait_for_result(self._timeout if timeout is None else timeout)
        return self._result

    def async_result(self) -> asyncio.Task[Any]:
        """Return an `asyncio.Task` with the result: await it, or run it with `get_loop()`."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = asyncio.new_event_loop()
        return loop.create_task(asyncio.to_thread(self.result))

    def _wait_for_result(self, timeout: float | None) -> Any:
        outcomes: list[ProgramOutcome] = []
        deadline = None if timeout is None else time.monotonic() + timeout
        for each in self._running:
            outcomes.append(each.outcome(None if deadline is None else max(0.0, deadline - time.monotonic())))
        return self._build_result(outcomes, self.id, self._device)

    def __eq__(self, other: object) -> bool:
        return self.id == other.id if isinstance(other, QonduitTask) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"QonduitTask('id':{self.id})"


class QonduitTaskBatch(QuantumTaskBatch):  # type: ignore[misc]
    """Tasks submitted together.

    Attributes:
        tasks: in the order of submission.
    """

    def __init__(self, tasks: Sequence[QonduitTask]) -> None:
        self.tasks = list(tasks)

    @property
    def size(self) -> int:
        """The number of tasks."""
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
            RuntimeError: a task failed or was cancelled; the other tasks keep their results.
            TimeoutError: the tasks have not ended in time; they continue.
        """
        return [task.result() for task in self.tasks]

    def cancel(self) -> None:
        """Cancel all tasks; tasks that have ended do not change."""
        for task in self.tasks:
            task.cancel()

    def __len__(self) -> int:
        return len(self.tasks)
