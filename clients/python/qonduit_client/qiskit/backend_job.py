# SPDX-License-Identifier: Apache-2.0
"""A job of a backend, and its Qiskit `Result`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from qiskit.circuit import QuantumCircuit
from qiskit.providers import BackendV2, JobV1
from qiskit.result import Result

from qonduit_client import result as client_result
from qonduit_client.batch import Batch, derived_seed
from qonduit_client.qiskit.counts import experiment
from qonduit_client.qiskit.job_group import JobGroup

#: The kind of its jobs.
BACKEND: Final = "qiskit.backend"


class QonduitJob(JobGroup[Result], JobV1):  # type: ignore[misc]
    """Circuits submitted together.

    Args:
        backend: where they run.
        send: submits their programs.
        circuits: one per program.
        seed: the seed of all circuits.
        memory: whether single shots are returned too.
    """

    def __init__(
        self,
        backend: BackendV2,
        send: Callable[[], Batch],
        circuits: Sequence[QuantumCircuit],
        *,
        seed: int | None = None,
        memory: bool = False,
    ) -> None:
        JobGroup.__init__(self, send, self._result)
        JobV1.__init__(self, backend, "")
        self._circuits = list(circuits)
        self._seed = seed
        self._memory = memory

    def circuits(self) -> list[QuantumCircuit]:
        """Return the circuits, one for each entry of the result."""
        return list(self._circuits)

    def _result(self, results: list[client_result.Result]) -> Result:
        seeds = [None if self._seed is None else derived_seed(self._seed, place + 1) for place in range(len(results))]
        experiments = [
            experiment(circuit, result, self._memory, seed)
            for circuit, result, seed in zip(self._circuits, results, seeds, strict=True)
        ]
        return Result(
            backend_name=self._backend.name,
            backend_version=self._backend.backend_version,
            job_id=self.job_id(),
            success=True,
            results=experiments,
            date=self.ended(),
            status="COMPLETED",
            time_taken=sum(each.time_taken for each in experiments),
        )
