# SPDX-License-Identifier: Apache-2.0
"""A job of a primitive, and its `PrimitiveResult`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from qiskit.circuit import QuantumCircuit
from qiskit.primitives import BasePrimitiveJob, PrimitiveResult

from qonduit_client.adapter_data import packed
from qonduit_client.batch import Batch
from qonduit_client.job_labels import labels_of
from qonduit_client.job_parts import Part, by_part, submit
from qonduit_client.qiskit.backend import QonduitBackend, RunOptions
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


def submitted(
    backend: QonduitBackend,
    kind: str,
    circuits: Sequence[QuantumCircuit],
    layouts: Sequence[PubLayout],
    parts: Sequence[Part],
    options: RunOptions,
) -> QonduitPrimitiveJob:
    """Submit pubs and return their job.

    Args:
        backend: the device.
        kind: of the job, for its label.
        circuits: of the pubs.
        layouts: of the pubs.
        parts: of all pubs.
        options: of all pubs.

    Raises:
        QiskitError: the server rejected the job.
    """
    send = partial(
        submit,
        backend.client,
        parts,
        device=backend.device.path,
        seed=options.seed,
        labels=labels_of(kind, options.tags),
        client_data=packed([layout.to_list() for layout in layouts], [circuit.metadata for circuit in circuits]),
        **options.arguments,
    )
    job = QonduitPrimitiveJob(send, layouts, lambda: circuits)
    job.submit()
    return job


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
