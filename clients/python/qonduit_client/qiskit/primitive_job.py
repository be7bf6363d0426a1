# SPDX-License-Identifier: Apache-2.0
"""A job of a primitive: pubs on their way, and the `PrimitiveResult` of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

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
    """What one pub takes: programs, and how often each is run (or that its exact state is wanted)."""

    programs: Sequence[QuantumProgram]
    shots: int
    statevector: bool = False


class QonduitPrimitiveJob(JobGroup[PrimitiveResult], BasePrimitiveJob):  # type: ignore[misc]
    """Pubs that were submitted together; they run on the server, and no thread waits for them here.

    Args:
        backend: where they run.
        parts: what each pub takes; those that are run equally often become one job.
        seed: fixes the randomness of all of them together.
        finish: makes a pub's result, given its place and those of its programs.
    """

    def __init__(
        self,
        backend: QonduitBackend,
        parts: Sequence[Part],
        seed: int | None,
        finish: Callable[[int, list[Result]], PubResult],
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
