# SPDX-License-Identifier: Apache-2.0
"""A job of a primitive, and its `PrimitiveResult`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from qiskit.circuit import QuantumCircuit
from qiskit.primitives import BasePrimitiveJob, PrimitiveResult

from qonduit_client.batch import Batch
from qonduit_client.job_parts import by_part
from qonduit_client.qiskit.job_group import JobGroup
from qonduit_client.qiskit.pub_layouts import PubLayout
from qonduit_client.result import Result


class QonduitPrimitiveJob(JobGroup[PrimitiveResult], BasePrimitiveJob):  # type: ignore[misc]
    """Pubs submitted together; the client uses no thread to wait for them.

    Args:
        send: submits the parts of the pubs.
        layouts: how to read the results of each pub.
        circuits: returns the circuit of each pub, for its registers and metadata; None for a pub of no points.
    """

    def __init__(
        self,
        send: Callable[[], Batch],
        layouts: Sequence[PubLayout],
        circuits: Callable[[], Sequence[QuantumCircuit | None]],
    ) -> None:
        JobGroup.__init__(self, send, partial(_finished, layouts, circuits))
        BasePrimitiveJob.__init__(self, "")


def _finished(
    layouts: Sequence[PubLayout], circuits: Callable[[], Sequence[QuantumCircuit | None]], results: list[Result]
) -> PrimitiveResult:
    parts = iter(by_part(results, [points for layout in layouts for points in layout.points]))
    return PrimitiveResult(
        [
            layout.finish(circuit, [next(parts) for _ in layout.points])
            for layout, circuit in zip(layouts, circuits(), strict=True)
        ],
        metadata={"version": 2},
    )
