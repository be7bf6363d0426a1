# SPDX-License-Identifier: Apache-2.0
"""The jobs of one execution: submitted together, awaited together, cancelled together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from types import TracebackType

from pennylane.exceptions import DeviceError

from qonduit.v1.deployment_pb2 import QuantumProgram
from qonduit_client import batch, job_parts
from qonduit_client.batch import Batch
from qonduit_client.client import Client
from qonduit_client.errors import QonduitError, ServerUnavailable
from qonduit_client.job_parts import Part
from qonduit_client.result import Result
from qonduit_client.simulation_options import Simulation


class ExecutionJobs:
    """A context manager that cancels its jobs after an error, and raises the client's errors as `DeviceError`.

    Args:
        client: the connection.
        device: "PROVIDER/device".
        seed: returns the seed of the next job.
        timeout: seconds for all jobs.
        simulation: options of the simulation.
        hint: returns what to do about an error.
    """

    def __init__(
        self,
        client: Client,
        device: str,
        seed: Callable[[], int | None],
        *,
        timeout: float | None,
        simulation: Simulation | None,
        hint: Callable[[QonduitError], str],
    ) -> None:
        self._client = client
        self._device = device
        self._seed = seed
        self._timeout = timeout
        self._simulation = simulation
        self._hint = hint
        self._batch = Batch([])
        self._points: list[int] = []

    def __enter__(self) -> ExecutionJobs:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None:
            return
        if not isinstance(error, ServerUnavailable):
            with suppress(QonduitError):
                self._batch.cancel()
        if isinstance(error, QonduitError):
            raise DeviceError(f"{self._device}: {error}{self._hint(error)}") from error

    def submit_states(self, programs: Sequence[QuantumProgram]) -> None:
        """Submit programs whose exact states are wanted. Raises QonduitError."""
        if programs:
            self._batch.handles += batch.submit(
                self._client,
                programs,
                device=self._device,
                shots=1,
                seed=self._seed(),
                statevector=True,
                simulation=self._simulation,
            ).handles
            self._points += [1] * len(programs)

    def submit_parts(self, parts: Sequence[Part]) -> None:
        """Submit the parts of a job. Raises QonduitError."""
        if parts:
            self._batch.handles += job_parts.submit(
                self._client, parts, device=self._device, seed=self._seed(), simulation=self._simulation
            ).handles
            self._points += [part.points for part in parts]

    def results(self) -> Iterator[list[Result]]:
        """Wait for all jobs; yield the results of each program and part, in the order of submission.

        Raises:
            QonduitError: a job failed, or the timeout expired.
        """
        return iter(job_parts.by_part(self._batch.results(self._timeout), self._points))
