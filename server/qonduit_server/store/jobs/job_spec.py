# SPDX-License-Identifier: Apache-2.0
"""JobSpec: the type, options and inputs of a job in one message, stored in one column and sent in tasks.

JobSpec and Job have the same fields under the same numbers, so each can be parsed from the bytes of the other. An
option larger than `INLINE_BYTES` is stored by its SHA-256 (see large_options); except in a task, a reference replaces
it. So are the largest of the others, where the options together would exceed the bound of a spec (see job_sizes), and
client data of any size, which no task contains.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from sqlalchemy import Connection

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.v1.job_pb2 import Job, JobType, OptionReference
from qonduit.v1.sweep_pb2 import ParameterSets
from qonduit_server.errors import NotFound
from qonduit_server.store.jobs import large_options
from qonduit_server.store.jobs.job_sizes import SPEC_BYTES

#: A larger option is stored by its SHA-256. Inputs take about 25 bytes per number, so about 150 numbers fit.
INLINE_BYTES: Final = 4096
#: The options that may be large. Each has a field "NAME_reference" beside it, in JobSpec and in Job.
LARGE: Final = ("inputs", "noise_model", "estimator", "parameter_sets", "program_options", "client_data")
#: Those that a task needs.
_RUN: Final = LARGE[:-1]
#: An option that a reference would not make smaller.
_SMALLEST_STORED: Final = 96
_NAMES_BYTES: Final = 1024


class PackedSpec(NamedTuple):
    """A spec as stored, its large options by SHA-256, and the numbers of points and shots of its programs.

    `points` and `shots` have the numbers for programs without own ones under -1.
    """

    spec: JobSpec
    options: dict[str, bytes]
    points: Mapping[int, int]
    shots: Mapping[int, int]

    def points_of(self, index: int) -> int:
        """Return the number of points of a program, by its index; 0 without parameter sets."""
        return self.points.get(index, self.points[-1])

    def total_shots(self, programs: int) -> int:
        """Return the shots of a job with this number of programs, at all their points."""
        if len(self.points) == len(self.shots) == 1:  # most jobs
            return programs * self.shots[-1] * max(1, self.points[-1])
        own = {index for index in (*self.points, *self.shots) if 0 <= index < programs}
        rest = (programs - len(own)) * self.shots[-1] * max(1, self.points[-1])
        return rest + sum(self.shots.get(index, self.shots[-1]) * max(1, self.points_of(index)) for index in own)


def spec_of(job: Job) -> JobSpec:
    """Return the spec of a job, with the type RUNNER if none is set; references are copied."""
    spec = JobSpec.FromString(job.SerializeToString())
    spec.DiscardUnknownFields()
    spec.type = spec.type or JobType.JOB_TYPE_RUNNER
    return spec


def job_of(spec: JobSpec) -> Job:
    """Return a job with only the fields of a spec."""
    return Job.FromString(spec.SerializeToString())


def pack(spec: JobSpec) -> PackedSpec:
    """Replace large options with references, so that the spec has at most `SPEC_BYTES`."""
    points = {-1: _points(spec.parameter_sets)} | {
        options.index: _points(options.parameter_sets)
        for options in spec.program_options
        if options.HasField("parameter_sets")
    }
    shots = {-1: spec.shots} | {options.index: options.shots for options in spec.program_options if options.shots}
    if spec.ByteSize() <= INLINE_BYTES and not spec.client_data:  # most specs
        return PackedSpec(spec, {}, points, shots)
    packed = JobSpec()
    packed.CopyFrom(spec)
    options: dict[str, bytes] = {}
    references: list[tuple[OptionReference, list[str]]] = []
    sizes = sorted(((_size(spec, field), field) for field in _RUN), reverse=True)
    if spec.client_data:
        sizes.insert(0, (INLINE_BYTES + 1, "client_data"))
    for size, field in sizes:
        if size <= INLINE_BYTES and (size <= _SMALLEST_STORED or packed.ByteSize() <= SPEC_BYTES):
            break
        data = _data(spec, field)
        reference = getattr(packed, f"{field}_reference")
        names = _describe(reference, data, spec, field)
        options[reference.sha256] = data
        references.append((reference, names))
        packed.ClearField(field)
    for reference, names in references:
        reference.names.extend(_fitting(names, min(_NAMES_BYTES, SPEC_BYTES - packed.ByteSize())))
    return PackedSpec(packed, options, points, shots)


def whole_specs(connection: Connection, jobs: Iterable[Job], *, for_tasks: bool = False) -> list[JobSpec]:
    """Return the specs of jobs with their large options inserted.

    Args:
        connection: to the database.
        jobs: with references.
        for_tasks: leave out what workers do not need.

    Raises:
        NotFound: a job was deleted after it was read, and an option with it.
    """
    specs = {job.id: spec_of(job) for job in jobs}
    places = [
        (job_id, spec, field, reference.sha256)
        for job_id, spec in specs.items()
        for field in (_RUN if for_tasks else LARGE)
        if (reference := getattr(spec, f"{field}_reference")).sha256
    ]
    if places:
        data = large_options.read_many(connection, {sha256 for *_, sha256 in places})
        for job_id, spec, field, sha256 in places:
            if sha256 not in data:
                raise NotFound("job", job_id)
            _merge(spec, field, data[sha256])
            spec.ClearField(f"{field}_reference")
    if for_tasks:
        for spec in specs.values():
            spec.ClearField("client_data_reference")
    return list(specs.values())


def name_buffers(job: Job) -> None:
    """Set the names for ReadBuffer in a job's references; they contain the job's id and are not stored."""
    for field in LARGE:
        if job.HasField(f"{field}_reference"):
            getattr(job, f"{field}_reference").name = large_options.name_of(job.id, field)


def leave_out_large(job: Job) -> None:
    """Clear large options and their references, which events that contain a job do not need."""
    for field in LARGE:
        job.ClearField(field)
        job.ClearField(f"{field}_reference")


def _points(sets: ParameterSets) -> int:
    return len(sets.values) // len(sets.names) if sets.names else 0


def _is_repeated(field: str) -> bool:
    return bool(JobSpec.DESCRIPTOR.fields_by_name[field].is_repeated)


def _size(spec: JobSpec, field: str) -> int:
    value = getattr(spec, field)
    return JobSpec(**{field: value}).ByteSize() if _is_repeated(field) else int(value.ByteSize())


def _data(spec: JobSpec, field: str) -> bytes:
    """Return the bytes of an option: of its message, or of a spec with this repeated field only."""
    value = getattr(spec, field)
    if isinstance(value, bytes):
        return value
    if _is_repeated(field):
        value = JobSpec(**{field: value})
    return bytes(value.SerializeToString(deterministic=True))


def _merge(spec: JobSpec, field: str, data: bytes) -> None:
    if _is_repeated(field):
        spec.MergeFromString(data)
    elif field == "client_data":
        spec.client_data = data
    else:
        getattr(spec, field).ParseFromString(data)


def _describe(reference: OptionReference, data: bytes, spec: JobSpec, field: str) -> list[str]:
    """Set the fields of a reference, except its names; return these."""
    reference.size_bytes = len(data)
    reference.sha256 = hashlib.sha256(data).hexdigest()
    names: list[str] = []
    match field:
        case "noise_model":
            model = spec.noise_model
            reference.count = len(model.gate_errors) + len(model.readout_errors)
        case "estimator":
            reference.count = len(spec.estimator.observables)
        case "program_options":
            reference.count = len(spec.program_options)
        case "parameter_sets":
            names = list(spec.parameter_sets.names)
            reference.points = _points(spec.parameter_sets)
        case "inputs":
            names = sorted(spec.inputs.fields)
    reference.count = reference.count or len(names)
    return names


def _fitting(names: Iterable[str], size: int) -> Iterator[str]:
    """Yield the first names that fit into a size in bytes, with the tag and the length of each."""
    for name in names:
        size -= len(name.encode()) + 4
        if size < 0:
            return
        yield name
