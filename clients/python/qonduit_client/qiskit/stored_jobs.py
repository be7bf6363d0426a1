# SPDX-License-Identifier: Apache-2.0
"""Jobs of the server as jobs of Qiskit, also those that another process submitted."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from qiskit import qpy
from qiskit.circuit import QuantumCircuit
from qiskit.exceptions import QiskitError

from qonduit.v1.job_pb2 import Job
from qonduit_client.adapter_data import unpacked
from qonduit_client.batch import Batch
from qonduit_client.client import Client
from qonduit_client.job import JobHandle
from qonduit_client.job_filters import both
from qonduit_client.job_labels import ids_of, kind_of, of_kind
from qonduit_client.job_parts import grouped
from qonduit_client.qiskit.backend import QonduitBackend
from qonduit_client.qiskit.backend_job import BACKEND, QonduitJob
from qonduit_client.qiskit.estimator import ESTIMATOR
from qonduit_client.qiskit.primitive_job import QonduitPrimitiveJob
from qonduit_client.qiskit.pub_layouts import EstimatorLayout, PubLayout, SamplerLayout
from qonduit_client.qiskit.qiskit_errors import as_qiskit_has_it
from qonduit_client.qiskit.sampler import SAMPLER

#: What `QonduitProvider.job` returns.
StoredJob = QonduitJob | QonduitPrimitiveJob

_LAYOUTS: Final[dict[str, Callable[..., PubLayout]]] = {SAMPLER: SamplerLayout, ESTIMATOR: EstimatorLayout}


def stored_job(client: Client, job_id: str | int, backend: Callable[[str], QonduitBackend]) -> StoredJob:
    """Return a job by its id.

    Args:
        client: the connection.
        job_id: as `job_id()` returned it.
        backend: returns a backend by name.

    Raises:
        QiskitError: the job does not exist, the server is unreachable, or Qiskit did not submit the job.
    """
    try:
        ids = ids_of(job_id)
    except ValueError as error:
        raise QiskitError(str(error)) from error
    with as_qiskit_has_it():
        jobs = [client.job(each).job() for each in ids]
    if not kind_of(jobs[0].labels).startswith("qiskit."):
        raise QiskitError(f"job {job_id} was not submitted by Qiskit: read it with Client(...).job({job_id})")
    return _opened(client, jobs, backend)


def stored_jobs(client: Client, filter: str, backend: Callable[[str], QonduitBackend]) -> Iterator[StoredJob]:
    """Yield Qiskit's jobs, the latest first. The server's jobs of one job of Qiskit are joined.

    Args:
        client: the connection.
        filter: as of `Client.jobs`.
        backend: returns a backend by name.

    Raises:
        QiskitError: the server is unreachable.
    """
    groups = grouped(client.jobs(both(filter, of_kind("qiskit.", begins=True))))
    while True:
        with as_qiskit_has_it():
            jobs = next(groups, None)
        if jobs is None:
            return
        yield _opened(client, jobs, backend)


def _opened(client: Client, jobs: Sequence[Job], backend: Callable[[str], QonduitBackend]) -> StoredJob:
    handles = [client.job(job.id) for job in jobs]
    batch = Batch(handles)
    kind = kind_of(jobs[0].labels)
    with as_qiskit_has_it():
        data, metadata = unpacked(handles[0].client_data())
    if data is None:
        raise QiskitError(f"job {jobs[0].id} has too many circuits to be read by another object than its own")
    job: StoredJob
    if kind == BACKEND:
        memory, seed, *points = data
        circuits = _circuits(client, handles, [[each] for each in points], metadata)
        pairs = zip(circuits, points, strict=True)
        run = [circuit for circuit, number in pairs if circuit is not None for _ in range(number)]
        job = QonduitJob(backend(jobs[0].device), lambda: batch, run, seed=seed, memory=memory)
    else:
        layouts = [_LAYOUTS[kind](*map(_plain, each)) for each in data]
        points = [layout.points for layout in layouts]
        job = QonduitPrimitiveJob(lambda: batch, layouts, lambda: _circuits(client, handles, points, metadata))
    job.submit()
    return job


def _circuits(
    client: Client, handles: Sequence[JobHandle], points: Sequence[Sequence[int]], metadata: Sequence[Any]
) -> list[QuantumCircuit | None]:
    """Return a circuit for each list of numbers of points; None for a list without points."""
    programs = _programs(client, handles)
    found: list[QuantumCircuit | None] = []
    for place, numbers in enumerate(points):
        circuit = None
        for number in numbers:
            left = number
            while left > 0:
                circuit, own = next(programs)
                left -= own
        if circuit is not None and place < len(metadata):
            circuit.metadata = metadata[place]
        found.append(circuit)
    return found


def _programs(client: Client, handles: Sequence[JobHandle]) -> Iterator[tuple[QuantumCircuit, int]]:
    """Yield the programs of jobs as circuits, with their numbers of points."""
    with as_qiskit_has_it():
        for handle in handles:
            job = handle.job()
            programs = client.deployment(job.deployment_id).programs
            for program, run in zip(programs, job.program_runs, strict=True):
                (circuit,) = qpy.load(io.BytesIO(program.quantum_circuit_binary))
                yield circuit, run.points or 1


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
