# SPDX-License-Identifier: Apache-2.0
"""A job of a primitive, and its `PrimitiveResult`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from qiskit.primitives import BasePrimitiveJob, PrimitiveResult, PubResult

from qonduit.v1.deployment_pb2 import QuantumProgram
from qonduit_client.batch import Batch, submit
from qonduit_client.errors import QonduitError
from qonduit_client.job import JobHandle
from qonduit_client.qiskit.job_group import JobGroup
from qonduit_client.result import Result

if TYPE_CHECKING:
    from qonduit_client.qiskit.backend import QonduitBackend


@dataclass(frozen=True)
class Part:
    """The programs of one pub, with their shots, or a request for their exact states."""

    programs: Sequence[QuantumProgram]
    shots: int
    statevector: bool = False


class QonduitPrimitiveJob(JobGroup[PrimitiveResult], BasePrimitiveJob):  # type: ignore[misc]
    """Pubs submitted together; the client uses no thread to wait for them.

    Args:
        backend: where they run.
        parts: the programs of each pub; those with equal shots share a job.
        seed: the seed of all pubs.
        finish: builds a pub's result from its index and its programs' results.
        arguments: further arguments of `Client.run`.
    """

    def __init__(
        self,
        backend: QonduitBackend,
        parts: Sequence[Part],
        seed: int | None,
        finish: Callable[[int, list[Result]], PubResult],
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        def how(place: int) -> tuple[int, bool]:
            return parts[place].shots, parts[place].statevector

        order = sorted(range(len(parts)), key=how)

        def send() -> Batch:
            handles: list[JobHandle] = []
            try:
                for (shots, statevector), places in groupby(order, key=how):
                    programs = [program for place in places for program in parts[place].programs]
                    batch = submit(
                        backend.client,
                        programs,
                        device=backend.device.path,
                        shots=shots,
                        seed=seed,
                        statevector=statevector,
                        **(arguments or {}),
                    )
                    handles += batch.handles
            except QonduitError:
                Batch(handles).cancel()
                raise
            return Batch(handles)

        def finish_all(results: list[Result]) -> PrimitiveResult:
            left = iter(results)
            of_part = {place: [next(left) for _ in parts[place].programs] for place in order}
            return PrimitiveResult(
                [finish(place, of_part[place]) for place in range(len(parts))], metadata={"version": 2}
            )

        JobGroup.__init__(self, send, finish_all)
        BasePrimitiveJob.__init__(self, "")
