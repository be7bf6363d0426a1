# SPDX-License-Identifier: Apache-2.0
"""Read all that is stored of jobs and deployments, for exports: a few rows at a time, and no secret."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple, TypeAlias

from google.protobuf.message import Message
from sqlalchemy import bindparam, select

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.v1.deployment_pb2 import Deployment, QuantumProgram
from qonduit.v1.event_pb2 import JobEvent
from qonduit.v1.job_pb2 import Job
from qonduit.v1.result_pb2 import Result
from qonduit_server.store.admin.row_pages import rows_of
from qonduit_server.store.database import Database
from qonduit_server.store.deployments import messages
from qonduit_server.store.jobs import submissions
from qonduit_server.store.jobs.job_spec import LARGE, whole_specs
from qonduit_server.store.jobs.submission_rows import REQUEST
from qonduit_server.store.jobs.unit_of_work import job_message
from qonduit_server.store.results import buffers as chunks
from qonduit_server.store.schema import events, programs, results
from qonduit_server.store.submission_tables import submission_payloads

#: The number of rows that are read at once.
PAGE: Final = 100
_EVENTS: Final = (
    select(events.c.sequence, events.c.payload)
    .where(events.c.job_id == bindparam("job"), events.c.sequence > bindparam("after"))
    .order_by(events.c.sequence)
    .limit(PAGE)
)
_RESULTS: Final = (
    select(results.c.id, results.c.result)
    .where(results.c.job_id == bindparam("job"), results.c.id > bindparam("after"))
    .order_by(results.c.id)
    .limit(PAGE)
)
# With the replaced programs, which jobs ran.
_PROGRAMS: Final = select(programs.c.id, programs.c.program).where(programs.c.deployment_id == bindparam("id"))
_PAYLOADS: Final = (
    select(*(submission_payloads.c[name] for name in ("stage", "part", "kind", "sha256")))
    .where(submission_payloads.c.job_id == bindparam("job"), submission_payloads.c.data.is_not(None))
    .order_by(submission_payloads.c.stage, submission_payloads.c.part, submission_payloads.c.kind)
)
_KINDS: Final = {REQUEST: "request", submissions.OUTCOMES: "outcomes", submissions.RAW: "response"}


class BufferChunk(NamedTuple):
    """A part of the data of a large result."""

    result_id: int
    number: int
    data: bytes


class VendorPayload(NamedTuple):
    """What a vendor received or sent for a submission of a job. `kind` is "request", "outcomes" or "response".

    The first two are messages; a response, which the vendor sent, is bytes.
    """

    stage: int
    part: int
    kind: str
    sha256: str
    data: Message | bytes


#: What belongs to a job.
Part: TypeAlias = Job | JobEvent | Result | BufferChunk | VendorPayload


def of_job(db: Database, row: Any) -> Iterator[Part]:
    """Yield a job with its whole options, its events, and its results, each followed by the chunks of its buffer.

    Args:
        db: the database.
        row: of `SELECT_JOBS`.

    Raises:
        NotFound: the job was deleted after its row was read.
    """
    job = job_message(row)
    with db.read() as connection:
        (spec,) = whole_specs(connection, [job])
    for field in LARGE:
        if job.HasField(f"{field}_reference"):
            job.ClearField(f"{field}_reference")
            job.MergeFromString(JobSpec(**{field: getattr(spec, field)}).SerializeToString())
    yield job
    for event in rows_of(db, _EVENTS, "sequence", PAGE, job=job.id):
        yield JobEvent.FromString(event.payload)
    for found in rows_of(db, _RESULTS, "id", PAGE, job=job.id):
        result = Result.FromString(found.result)
        result.id = found.id
        yield result
        if result.HasField("buffer"):
            number = 0
            while (data := chunks.read(db, found.id, number)) is not None:
                yield BufferChunk(found.id, number, data)
                number += 1
    with db.read() as connection:
        places = connection.execute(_PAYLOADS, {"job": job.id}).all()
    for stage, part, kind, sha256 in places:
        # One at a time: they may be large.
        payload = submissions.payload(db, job.id, stage, part, kind)
        if payload is not None:
            yield VendorPayload(stage, part, _KINDS[kind], sha256, payload)


def of_deployment(db: Database, row: Any) -> Deployment:
    """Return a deployment with all programs that it ever had.

    Args:
        db: the database.
        row: of the columns `deployments.COLUMNS`.
    """
    with db.read() as connection:
        (deployment,) = messages(connection, [row])
        del deployment.programs[:]
        for program_id, source in connection.execute(_PROGRAMS, {"id": row.id}):
            program = QuantumProgram.FromString(source)
            program.id, program.deployment_id = program_id, row.id
            deployment.programs.append(program)
    return deployment
