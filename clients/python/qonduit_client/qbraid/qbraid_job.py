# SPDX-License-Identifier: Apache-2.0
"""A job of a Qonduit server as a job of qBraid's runtime."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from google.protobuf.json_format import MessageToDict
from qbraid.runtime import JobStateError, JobStatus, QuantumDevice, QuantumJob, Result
from qbraid.runtime.result_data import GateModelResultData

from qonduit_client.client import Client, connect
from qonduit_client.job import state_name
from qonduit_client.qbraid.qbraid_errors import as_qbraid_has_it

_STATUS: Final = {
    "QUEUED": JobStatus.QUEUED,
    "RUNNING": JobStatus.RUNNING,
    "CANCELLING": JobStatus.CANCELLING,
    "SUCCEEDED": JobStatus.COMPLETED,
    "FAILED": JobStatus.FAILED,
    "CANCELLED": JobStatus.CANCELLED,
}


class QonduitJob(QuantumJob):  # type: ignore[misc]
    """A job of one program; `load_job(id, "qonduit")` loads it in any process.

    Args:
        job_id: the job's id on the server.
        device: the device, if known.
        client: the connection, or the server as "HOST:PORT" or by its name; by default that of the device, else that
            of `qonduit_client.Client`.
        details: further entries of `metadata()`.
    """

    def __init__(
        self,
        job_id: str | int,
        device: QuantumDevice | None = None,
        client: Client | str | None = None,
        **details: Any,
    ) -> None:
        super().__init__(int(job_id), device, **details)
        self._client = connect(getattr(device, "client", None) if client is None else client)
        self._handle = self._client.job(self.id)

    def status(self) -> JobStatus:
        """Return the job's current state.

        Raises:
            ResourceNotFoundError: the job does not exist.
        """
        with as_qbraid_has_it():
            return _STATUS.get(self._handle.state(), JobStatus.UNKNOWN)

    def metadata(self) -> dict[str, Any]:
        """Return the job's metadata: `job_id`, `status`, `shots`, `name`, and `job`, the server's own message."""
        with as_qbraid_has_it():
            job = self._handle.job()
        self._cache_metadata.update(
            status=_STATUS.get(state_name(job.state), JobStatus.UNKNOWN),
            shots=job.shots,
            name=job.name,
            job=MessageToDict(job),
        )
        known: dict[str, Any] = self._cache_metadata
        return known

    def wait_for_final_state(self, timeout: float | None = None, poll_interval: float = 5) -> None:
        """Wait until the job has ended in any state; the server notifies the client, without polling.

        Raises:
            TimeoutError: the job has not ended in time; it continues.
        """
        with as_qbraid_has_it():
            self._handle.wait(timeout)

    async def _wait_for_final_state(self, timeout: float | None = None, poll_interval: float = 5) -> None:
        await asyncio.to_thread(self.wait_for_final_state, timeout)

    def result(self, timeout: float | None = None) -> Result[GateModelResultData]:
        """Wait for the job and return its result.

        Keys are bits, classical bit 0 last, and the last declared register first, as everywhere in qBraid.

        Raises:
            QonduitJobError: the job failed.
            JobStateError: the job was cancelled.
            TimeoutError: the job has not ended in time; it continues.
        """
        with as_qbraid_has_it():
            result = self._handle.result(timeout)
            counts = {bits.replace(" ", ""): count for bits, count in result.bitstrings.items()}
        return Result(
            device_id=self._device.id if self._device is not None else self._device_id(),
            job_id=self.id,
            success=True,
            data=GateModelResultData(measurement_counts=counts),
            shots=result.shots,
            registers=[(register.name, register.size) for register in result.registers],
            meta_data=result.meta_data,
        )

    def _device_id(self) -> str:
        """Return the name of the device of a job that was looked up."""
        with as_qbraid_has_it():
            return self._handle.job().device

    def cancel(self) -> None:
        """Cancel the job.

        Raises:
            JobStateError: the job has ended.
        """
        if self.is_terminal_state():
            raise JobStateError(f"job {self.id} cannot be cancelled: it has ended")
        with as_qbraid_has_it():
            self._handle.cancel()
