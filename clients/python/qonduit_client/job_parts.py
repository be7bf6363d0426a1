# SPDX-License-Identifier: Apache-2.0
"""Submit programs with options of their own (observables, parameter sets, shots) in few jobs. For adapters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from qonduit.v1.deployment_pb2 import QuantumProgram
from qonduit.v1.estimator_pb2 import EstimatorOptions
from qonduit.v1.job_pb2 import Job, JobType, ProgramOptions
from qonduit.v1.sampler_pb2 import SamplerOptions
from qonduit.v1.sweep_pb2 import ParameterSets
from qonduit.v1.system_service_pb2 import ServerLimits
from qonduit_client import requests
from qonduit_client.adapter_data import room
from qonduit_client.batch import RESERVED_BYTES, Batch, derived_seed
from qonduit_client.client import Client
from qonduit_client.errors import QonduitError
from qonduit_client.job import JobHandle
from qonduit_client.result import Result

#: The label of jobs that were submitted together: a text that is equal for all of them, "/", and their number.
GROUP: Final = "qonduit.group"
#: The server's limits of one job: points of a program, and bytes of all observables.
_MAX_POINTS: Final = 100_000
_MAX_OBSERVABLE_BYTES: Final = 4 * 1024**2
#: What a number or the frame of a message takes at most.
_NUMBER_BYTES: Final = 8
_FRAME_BYTES: Final = 64


@dataclass(frozen=True)
class Part:
    """One program with its options.

    Attributes:
        program: the program.
        shots: for each circuit; 0 for exact values or a precision.
        estimator: of an ESTIMATOR job.
        sampler: of a SAMPLER job.
        parameter_sets: the points; None for a program without points.
    """

    program: QuantumProgram
    shots: int = 0
    estimator: EstimatorOptions | None = None
    sampler: SamplerOptions | None = None
    parameter_sets: ParameterSets | None = None

    @property
    def points(self) -> int:
        """The number of points; 1 without parameter sets."""
        sets = self.parameter_sets
        return 1 if sets is None else len(sets.values) // len(sets.names)


def by_part(results: Iterable[Result], points: Sequence[int]) -> list[list[Result]]:
    """Return the results of each part, in the order of its points.

    Args:
        results: of all jobs of the parts, in order.
        points: the number of points of each part.
    """
    left = iter(results)
    found: list[list[Result]] = []
    for number in points:
        own: list[Result] = []
        while number > 0:
            own.append(next(left))
            number -= own[-1].message.expectation_values.num_points or 1
        found.append(own)
    return found


def grouped(jobs: Iterable[Job]) -> Iterator[list[Job]]:
    """Yield the jobs of each submission together, in the order of their submission.

    Args:
        jobs: the latest first, as the server lists them. Submissions of which jobs are missing come last.
    """
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        group = job.labels.get(GROUP, "/1")
        own = groups.setdefault(group, [])
        own.insert(0, job)
        if len(own) == int(group.rpartition("/")[2]):
            yield groups.pop(group)
    yield from groups.values()


def submit(
    client: Client,
    parts: Sequence[Part],
    *,
    device: str,
    seed: int | None = None,
    labels: Mapping[str, str] | None = None,
    client_data: bytes = b"",
    **options: Any,
) -> Batch:
    """Run parts in as few jobs as the server's limits allow. Their samples are independent, also with a seed.

    Args:
        client: the connection.
        parts: any number, including none; all of them for the same type of job.
        device: "PROVIDER/device".
        seed: the seed of simulators, for all parts together; a non-negative integer.
        labels: of each job.
        client_data: of each job; they are omitted if the server's limit of requests leaves no room for them.
        options: further arguments of `Client.run`.

    Raises:
        QonduitError: the server rejected a job; the jobs submitted before are cancelled.
    """
    handles: list[JobHandle] = []
    if not parts:
        return Batch(handles)
    limits = client.server_limits()
    pieces = list(chunks([piece for part in parts for piece in _pieces(part, limits)], limits))
    given = dict(labels or {})
    if len(pieces) > 1:
        given[GROUP] = f"{requests.new_request_id()}/{len(pieces)}"
    try:
        for chunk in pieces:
            own = None if seed is None else derived_seed(seed, len(handles))
            request = requests.submit(
                [part.program for part in chunk],
                device,
                chunk[0].shots,
                own,
                options.get("name"),
                None,
                deployment_id=None,
                inputs=None,
                statevector=False,
                labels=given or None,
                client_data=client_data if len(client_data) <= room(limits) else b"",
                **{key: value for key, value in options.items() if key != "name"},
            )
            _add_options(request.message.job, chunk)
            handles.append(client.submit_prepared(request))
    except QonduitError:
        with suppress(QonduitError):
            Batch(handles).cancel()
        raise
    return Batch(handles)


def _add_options(job: Job, parts: Sequence[Part]) -> None:
    """Set the options of the parts: those of the first one for the job, and those that differ for each program."""
    first = parts[0]
    if first.estimator is not None:
        job.type = JobType.JOB_TYPE_ESTIMATOR
    elif first.sampler is not None:
        job.type = JobType.JOB_TYPE_SAMPLER
    if first.estimator is not None:
        job.estimator.CopyFrom(first.estimator)
    if first.sampler is not None:
        job.sampler.CopyFrom(first.sampler)
    # An option of a program can replace that of the job, but not remove it.
    common = all(part.parameter_sets is not None for part in parts)
    if common and first.parameter_sets is not None:
        job.parameter_sets.CopyFrom(first.parameter_sets)
    for index, part in enumerate(parts):
        own = ProgramOptions()
        if part.shots != first.shots:
            own.shots = part.shots
        if part.estimator is not None and part.estimator != first.estimator:
            own.estimator.CopyFrom(part.estimator)
        if part.sampler is not None and part.sampler != first.sampler:
            own.sampler.CopyFrom(part.sampler)
        if part.parameter_sets is not None and not (common and part.parameter_sets == first.parameter_sets):
            own.parameter_sets.CopyFrom(part.parameter_sets)
        if own.ByteSize():
            own.index = index
            job.program_options.append(own)


def _pieces(part: Part, limits: ServerLimits) -> Iterator[Part]:
    """Yield a part, or parts of its points, that each fit into a job."""
    sets = part.parameter_sets
    if sets is None:
        yield part
        return
    room = (limits.max_request_bytes - RESERVED_BYTES) // 2
    row = len(sets.names)
    most = max(1, min(_MAX_POINTS, room // (row * _NUMBER_BYTES)))
    if part.points <= most:
        yield part
        return
    for first in range(0, part.points, most):
        own = ParameterSets(names=sets.names, values=sets.values[first * row : (first + most) * row])
        yield replace(part, parameter_sets=own)


def chunks(parts: Sequence[Part], limits: ServerLimits) -> Iterator[list[Part]]:
    """Yield parts in order, in chunks that each fit into one job."""
    chunk: list[Part] = []
    size = observables = 0
    for part in parts:
        own = 0 if part.estimator is None else part.estimator.ByteSize()
        whole = own + part.program.ByteSize() + _FRAME_BYTES
        whole += 0 if part.parameter_sets is None else part.parameter_sets.ByteSize()
        if chunk and (
            len(chunk) >= limits.max_programs
            or size + whole > limits.max_request_bytes - RESERVED_BYTES - room(limits)
            or observables + own > _MAX_OBSERVABLE_BYTES
            # The shots of a program replace those of the job, unless they are 0.
            or (part.shots == 0) != (chunk[0].shots == 0)
        ):
            yield chunk
            chunk, size, observables = [], 0, 0
        chunk.append(part)
        size, observables = size + whole, observables + own
    if chunk:
        yield chunk
