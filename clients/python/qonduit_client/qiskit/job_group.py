# SPDX-License-Identifier: Apache-2.0
"""Base class of the adapter's jobs and primitive jobs: several server jobs as one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import Lock
from time import monotonic
from typing import Any, Final, Generic, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp
from qiskit.providers import JobError, JobStatus
from qiskit.providers.jobstatus import JOB_FINAL_STATES

from qonduit.v1.job_pb2 import Job, QueuePlace
from qonduit_client.batch import Batch, last_place
from qonduit_client.formatting import queue_text
from qonduit_client.job import state_name
from qonduit_client.job_labels import users_labels
from qonduit_client.qiskit.qiskit_errors import JobTimedOut, as_qiskit_has_it
from qonduit_client.result import Result

Made = TypeVar("Made")

_STATUS: Final = {
    "QUEUED": JobStatus.QUEUED,
    "RUNNING": JobStatus.RUNNING,
    "CANCELLING": JobStatus.RUNNING,
    "SUCCEEDED": JobStatus.DONE,
    "FAILED": JobStatus.ERROR,
    "CANCELLED": JobStatus.CANCELLED,
}


class JobGroup(Generic[Made]):
    """Submitted programs, and the function that builds the job's result.

    Args:
        send: submits them.
        finish: builds the job's result from one result per program.
    """

    def __init__(self, send: Callable[[], Batch], finish: Callable[[list[Result]], Made]) -> None:
        self._send = send
        self._finish = finish
        self._batch: Batch | None = None
        self._made: Made | None = None
        self._lock = Lock()

    def submit(self) -> None:
        """Submit the programs and set the job's id.

        Raises:
            JobError: the job was submitted before.
            QiskitError: the server rejected the job.
        """
        with self._lock:
            if self._batch is not None:
                raise JobError("the job has been submitted already")
            with as_qiskit_has_it():
                self._batch = self._send()

    @property
    def ids(self) -> list[int]:
        """The ids of the server's jobs."""
        return [handle.id for handle in self._submitted().handles]

    def result(self, timeout: float | None = None) -> Made:
        """Wait for the job and return its result.

        Args:
            timeout: seconds.

        Raises:
            JobTimedOut: the job has not ended in time (also a `TimeoutError`); it continues.
            JobError: the job failed, was cancelled, or was not submitted.
            QiskitError: the server is unreachable.
        """
        batch = self._submitted()
        if self._made is None:
            with as_qiskit_has_it():
                self._made = self._finish(batch.results(timeout))
        return self._made

    def status(self) -> JobStatus:
        """Return the job's current status from the server."""
        batch = self._submitted()
        if self._made is not None:
            return JobStatus.DONE
        with as_qiskit_has_it():
            return _STATUS.get(batch.state(), JobStatus.RUNNING)

    def cancel(self) -> bool:
        """Cancel the job; return whether a job was cancelled."""
        with as_qiskit_has_it():
            jobs = [handle.cancel() for handle in self._submitted().handles]
        return any(state_name(job.state) in ("CANCELLING", "CANCELLED") for job in jobs)

    def error_message(self) -> str | None:
        """Return the failure message of the job; None if it has not failed."""
        jobs = self._jobs()
        return next((job.failure.message for job in jobs if state_name(job.state) == "FAILED"), None)

    def done(self) -> bool:
        """Return whether the job has succeeded."""
        return bool(self.status() == JobStatus.DONE)

    def running(self) -> bool:
        """Whether the job is running."""
        return bool(self.status() == JobStatus.RUNNING)

    def cancelled(self) -> bool:
        """Whether the job was cancelled."""
        return bool(self.status() == JobStatus.CANCELLED)

    def in_final_state(self) -> bool:
        """Whether the job has ended."""
        return self.status() in JOB_FINAL_STATES

    def wait_for_final_state(
        self, timeout: float | None = None, wait: float = 5, callback: Callable[..., object] | None = None
    ) -> None:
        """Wait until the job has ended, in any state.

        Args:
            timeout: seconds.
            wait: seconds between two calls of `callback`; the method returns as soon as the job ends.
            callback: called with the job's id, its status and the job until it has ended.

        Raises:
            JobTimedOut: the job has not ended in time; it continues.
        """
        batch = self._submitted()
        deadline = None if timeout is None else monotonic() + timeout
        while True:
            left = None if deadline is None else max(0.0, deadline - monotonic())
            step = left if callback is None else wait if left is None else min(wait, left)
            try:
                with as_qiskit_has_it():
                    return batch.wait(step)
            except JobTimedOut:
                if callback is not None:
                    callback(self.job_id(), self.status(), self)
                if deadline is not None and monotonic() >= deadline:
                    raise

    def queue_position(self) -> int | None:
        """Return the number of jobs before this one in the server's queue; None if it does not wait."""
        with as_qiskit_has_it():
            return self._submitted().queue_position()

    def usage(self) -> float:
        """Return the seconds for which the job ran; 0 before it has ended."""
        return sum(
            (job.finished_at.ToNanoseconds() - job.started_at.ToNanoseconds()) / 1e9
            for job in self._jobs()
            if job.HasField("started_at") and job.HasField("finished_at")
        )

    def metrics(self) -> dict[str, Any]:
        """Return times, usage and the place in the queue, in the form of qiskit-ibm-runtime 0.51.

        Returns:
            `timestamps` (`created`, `running`, `finished`; UTC, ISO 8601) and `usage`. While the job waits, also
            `position_in_queue`, `queue` (the reason, as text), `estimated_start_time` and `estimated_completion_time`:
            half of such jobs start and end earlier. None if they are not known.
        """
        jobs = self._jobs()
        place = last_place(jobs) or QueuePlace()
        times = {
            "created": [job.created_at for job in jobs],
            "running": [job.started_at for job in jobs if job.HasField("started_at")],
            "finished": [job.finished_at for job in jobs if job.HasField("finished_at")],
        }
        complete = len(times["finished"]) == len(jobs) > 0
        return {
            "timestamps": {
                "created": _earliest(times["created"]),
                "running": _earliest(times["running"]),
                "finished": max(each.ToDatetime() for each in times["finished"]).isoformat() if complete else None,
            },
            "usage": {"seconds": self.usage()},
            "position_in_queue": place.position if place.HasField("position") else None,
            "queue": queue_text(place) or None,
            "estimated_start_time": _from_now(place, "estimated_start_seconds_p50"),
            "estimated_completion_time": _from_now(place, "estimated_end_seconds_p50"),
        }

    def tags(self) -> list[str]:
        """Return the tags that the job was submitted with (`job_tags`), sorted."""
        return sorted({tag for job in self._jobs() for tag in users_labels(job.labels)})

    def name(self) -> str:
        """Return the name that the job was submitted with (`job_name`); "" without."""
        return next((job.name for job in self._jobs() if job.name), "")

    def job_id(self) -> str:
        """Return the ids of the server's jobs, separated by commas."""
        return ",".join(map(str, self.ids))

    def ended(self) -> str | None:
        """Wait for the job and return its end time (UTC, ISO 8601); None without programs."""
        times = [handle.wait().finished_at.ToDatetime() for handle in self._submitted().handles]
        return max(times).isoformat() if times else None

    def _jobs(self) -> list[Job]:
        with as_qiskit_has_it():
            return [handle.job() for handle in self._submitted().handles]

    def _submitted(self) -> Batch:
        if self._batch is None:
            raise JobError("the job has not been submitted yet")
        return self._batch


def _from_now(place: QueuePlace, estimate: str) -> str | None:
    """Return the time of an estimate, which is in seconds from now."""
    if not place.HasField(estimate):
        return None
    return (datetime.now(UTC).replace(tzinfo=None) + timedelta(seconds=getattr(place, estimate))).isoformat()


def _earliest(times: list[Timestamp]) -> str | None:
    return min(each.ToDatetime() for each in times).isoformat() if times else None
