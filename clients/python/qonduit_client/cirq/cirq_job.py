# SPDX-License-Identifier: Apache-2.0
"""Jobs of samplers: those that a sampler just submitted, and those that another process submitted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import chain, islice
from typing import Final, overload

import cirq

from qonduit.v1.job_pb2 import Job, JobState
from qonduit_client.batch import Batch, joint_state
from qonduit_client.cirq.coroutines import awaited
from qonduit_client.cirq.job_submission import as_cirq_errors
from qonduit_client.cirq.result_layout import STORED, ResultLayout, is_stored, stored_layout
from qonduit_client.client import Client
from qonduit_client.job_filters import both, quoted
from qonduit_client.job_labels import ids_of, users_labels
from qonduit_client.job_parts import grouped
from qonduit_client.states import state_name

_STATES: Final = [state_name(number) for number in JobState.values() if number]


class QonduitJob:
    """Circuits that a sampler submitted. It is iterable: over the results, for which it waits.

    Every method calls the server, and raises `QonduitError` if it is unreachable.

    Args:
        batch: the server's jobs.
        layout: of their results; by default that of the jobs' client data.
    """

    def __init__(self, batch: Batch, layout: ResultLayout | None = None) -> None:
        self._batch = batch
        self._layout = layout
        self._results: list[list[cirq.Result]] | None = None

    def id(self) -> str:
        """Return the ids of the server's jobs, separated by commas: one, or several for many or large circuits."""
        return ",".join(str(handle.id) for handle in self._batch.handles)

    def job_id(self) -> str:
        """Return `id()`."""
        return self.id()

    def status(self) -> str:
        """Return the state: "QUEUED", "RUNNING", "CANCELLING", "SUCCEEDED", "FAILED" or "CANCELLED"."""
        with as_cirq_errors():
            return self._batch.state()

    def name(self) -> str:
        """Return the name that the job was submitted with; "" without."""
        return self._first().name

    def labels(self) -> dict[str, str]:
        """Return the labels that the job was submitted with."""
        return users_labels(self._first().labels)

    def device(self) -> str:
        """Return the device: "PROVIDER/device"."""
        return self._first().device

    def create_time(self) -> datetime:
        """Return the time at which the server stored the job (UTC)."""
        return self._first().created_at.ToDatetime(UTC)

    def failure(self) -> tuple[str, str] | None:
        """Return the reason and the message of the failure; None if the job has not failed."""
        failed = (job.failure for job in self._jobs() if job.state == JobState.JOB_STATE_FAILED)
        return next(((failure.reason, failure.message) for failure in failed), None)

    def queue_position(self) -> int | None:
        """Return the number of jobs before this one in the server's queue; None if it does not wait."""
        with as_cirq_errors():
            return self._batch.queue_position()

    def cancel(self) -> None:
        """Cancel the job; a job that has ended does not change."""
        with as_cirq_errors():
            self._batch.cancel()

    def results(self, timeout: float | None = None) -> list[cirq.Result]:
        """Wait for the job and return the results of all circuits at all points, in order.

        Args:
            timeout: seconds.

        Raises:
            ValueError: the device does not support a circuit; see the message.
            RuntimeError: the job failed for other reasons, or was cancelled.
            TimedOut: the job has not ended in time (also a `TimeoutError`); it continues.
            QonduitError: the server is unreachable, or reported an internal error.
        """
        return list(chain.from_iterable(self.batched_results(timeout)))

    def batched_results(self, timeout: float | None = None) -> list[list[cirq.Result]]:
        """Do the same, with a list for each circuit."""
        if self._results is None:
            with as_cirq_errors():
                found = self._batch.results(timeout)
                self._results = (self._layout or stored_layout(self._batch)).results(found)
        return list(map(list, self._results))

    async def results_async(self, timeout: float | None = None) -> list[cirq.Result]:
        """Do as `results` without blocking the event loop of asyncio or duet."""
        thread = ThreadPoolExecutor(1, thread_name_prefix="qonduit-job")
        try:
            return await awaited(thread.submit(self.results, timeout))
        finally:
            thread.shutdown(wait=False)

    def __iter__(self) -> Iterator[cirq.Result]:
        return iter(self.results())

    def __len__(self) -> int:
        return len(self.results())

    @overload
    def __getitem__(self, index: int) -> cirq.Result: ...

    @overload
    def __getitem__(self, index: slice) -> list[cirq.Result]: ...

    def __getitem__(self, index: int | slice) -> cirq.Result | list[cirq.Result]:
        return self.results()[index]

    def __repr__(self) -> str:
        return f"<QonduitJob {self.id()}>"

    def _first(self) -> Job:
        with as_cirq_errors():
            return self._batch.handles[0].job()

    def _jobs(self) -> list[Job]:
        with as_cirq_errors():
            return [handle.job() for handle in self._batch.handles]


def stored_job(client: Client, job_id: str | int) -> QonduitJob:
    """Return a job by its id.

    Args:
        client: the connection.
        job_id: as `QonduitJob.id` returned it.

    Raises:
        ValueError: the job does not exist, no sampler submitted it, or its client data do not contain its layout.
        QonduitError: the server is unreachable.
    """
    with as_cirq_errors():
        batch = Batch([client.job(each) for each in ids_of(job_id)])
        for handle in batch.handles:
            if not is_stored(handle.job().labels):
                raise ValueError(
                    f"job {handle.id} was not submitted by a sampler of Cirq: read it with Client(...).job({handle.id})"
                )
        return QonduitJob(batch, stored_layout(batch))


def stored_jobs(
    client: Client,
    limit: int | None,
    *,
    device: str | None,
    status: str | None,
    name: str | None,
    labels: Mapping[str, str],
    project: str | None,
) -> list[QonduitJob]:
    """Return jobs, the latest first; see `QonduitSampler.jobs`."""
    if status is not None and status not in _STATES:
        raise ValueError(f"status must be one of {', '.join(_STATES)}, got {status!r}")

    parts = [f"{field} = {quoted(text)}" for field, text in (("device", device), ("name", name)) if text is not None]

    def chosen() -> Iterator[Sequence[Job]]:
        # Not by state: that of a submission follows from the states of all its jobs.
        for jobs in grouped(client.jobs(both(*parts, STORED), labels=labels, project=project)):
            if status is None or joint_state(state_name(job.state) for job in jobs) == status:
                yield jobs

    with as_cirq_errors():
        return [QonduitJob(Batch([client.job(job.id) for job in jobs])) for jobs in islice(chosen(), limit)]
