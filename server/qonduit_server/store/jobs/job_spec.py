# SPDX-License-Identifier: Apache-2.0
"""JobSpec: the type, options and inputs of a job in one message, stored in one column and sent in tasks.

JobSpec and Job have the same fields under the same numbers, so each can be parsed from the bytes of the other. An
option larger than `INLINE_BYTES` is stored by its SHA-256 (see large_options); except in a task, a reference replaces
it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final, NamedTuple

from google.protobuf.struct_pb2 import Struct
from sqlalchemy import Connection

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.v1.job_pb2 import Job, JobType, OptionReference
from qonduit.v1.noise_pb2 import NoiseModel
from qonduit_server.errors import NotFound
from qonduit_server.store.jobs import large_options

#: A larger option is stored by its SHA-256. Inputs take about 25 bytes per number, so about 150 numbers fit.
INLINE_BYTES: Final = 4096
#: The options that may be large. Each has a field "NAME_reference" beside it, in JobSpec and in Job.
LARGE: Final = ("inputs", "noise_model")
_NAMES_BYTES: Final = 1024


class PackedSpec(NamedTuple):
    """A spec as stored, and its large options by SHA-256."""

    spec: JobSpec
    options: dict[str, bytes]


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
    """Replace each large option with a reference."""
    large = [field for field in LARGE if getattr(spec, field).ByteSize() > INLINE_BYTES]
    if not large:
        return PackedSpec(spec, {})
    packed = JobSpec()
    packed.CopyFrom(spec)
    options: dict[str, bytes] = {}
    for field in large:
        value = getattr(spec, field)
        data = value.SerializeToString(deterministic=True)
        reference = _reference(data, value)
        options[reference.sha256] = data
        packed.ClearField(field)
        getattr(packed, f"{field}_reference").CopyFrom(reference)
    return PackedSpec(packed, options)


def whole_specs(connection: Connection, jobs: Iterable[Job]) -> list[JobSpec]:
    """Return the specs of jobs with their large options inserted, as tasks need them.

    Raises:
        NotFound: a job was deleted after it was read, and an option with it.
    """
    specs = {job.id: spec_of(job) for job in jobs}
    places = [
        (job_id, spec, field, reference.sha256)
        for job_id, spec in specs.items()
        for field in LARGE
        if (reference := getattr(spec, f"{field}_reference")).sha256
    ]
    if places:
        data = large_options.read_many(connection, {sha256 for *_, sha256 in places})
        for job_id, spec, field, sha256 in places:
            if sha256 not in data:
                raise NotFound("job", job_id)
            getattr(spec, field).ParseFromString(data[sha256])
            spec.ClearField(f"{field}_reference")
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


def _reference(data: bytes, value: Struct | NoiseModel) -> OptionReference:
    reference = OptionReference(size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    if isinstance(value, NoiseModel):
        reference.count = len(value.gate_errors) + len(value.readout_errors)
        return reference
    reference.count = len(value.fields)
    left = _NAMES_BYTES
    for name in sorted(value.fields):
        left -= len(name.encode())
        if left < 0:
            break
        reference.names.append(name)
    return reference
