# SPDX-License-Identifier: Apache-2.0
"""Change the options of queued jobs that do not concern their results: name, labels, priority and times."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from sqlalchemy import bindparam, select, update

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.v1.job_pb2 import Job, JobState
from qonduit_server.errors import CallError, FailedPrecondition, InvalidArgument, NotFound
from qonduit_server.lifecycle import QUEUED
from qonduit_server.store import labels
from qonduit_server.store.column_limits import checked_text
from qonduit_server.store.database import Database
from qonduit_server.store.event_log import require_job
from qonduit_server.store.job_pools import IS_LOCAL
from qonduit_server.store.jobs import large_options
from qonduit_server.store.jobs.held_jobs import HELD
from qonduit_server.store.jobs.job_sizes import shorten_runs
from qonduit_server.store.jobs.job_spec import leave_out_large, pack
from qonduit_server.store.jobs.pinned_jobs import queue_of
from qonduit_server.store.jobs.unit_of_work import JobChange, UnitOfWork
from qonduit_server.store.ownership import CheckChange, Scope, owner_of, permit_all
from qonduit_server.store.program_queue import queue_name
from qonduit_server.store.schema import jobs
from qonduit_server.store.timestamps import microseconds
from qonduit_server.store.writer import Operation, Transaction

#: The fields of a job that an update can change.
CHANGEABLE: Final = ("name", "labels", "priority", "not_before", "expires_at")
#: Those that the spec of a job contains.
_OF_SPEC: Final = ("labels", "priority", "not_before", "expires_at")

_SELECT_ROW: Final = select(jobs.c.spec, jobs.c.not_before, jobs.c.created_at, IS_LOCAL).where(
    jobs.c.id == bindparam("job")
)
_UPDATE_ROW: Final = (
    update(jobs)
    .where(jobs.c.id == bindparam("job"))
    .values({name: bindparam(f"new_{name}") for name in ("name", "spec", "rank", "not_before", "expires_at")})
)


class _Update(NamedTuple):
    owner: str
    job: Job
    paths: Collection[str]


def change(db: Database, scope: Scope, job: Job, paths: Sequence[str] = (), check: CheckChange = permit_all) -> Job:
    """Change a queued job; return it.

    Args:
        db: the database.
        scope: whose jobs.
        job: the id and the new values.
        paths: the fields to change, of `CHANGEABLE`; empty means those that are set in `job`.
        check: raises an error if the caller may not change jobs of an owner.

    Raises:
        InvalidArgument: a field cannot be changed.
        NotFound: the job does not exist.
        FailedPrecondition: the job does not wait in the queue.
    """
    owner = require_job(db, scope, job.id)
    check(owner)
    for index, path in enumerate(paths):
        if path not in CHANGEABLE:
            field = f"update_mask.paths[{index}]"
            message = f"{field}: only {', '.join(CHANGEABLE)} can be changed, got {path!r:.100}"
            raise InvalidArgument.of(field, "update_mask.unknown", message)
    checked_text("job.name", job.name)
    labels.checked("job.labels", job.labels)
    changed = paths or [field.name for field, _ in job.ListFields() if field.name in CHANGEABLE]
    return db.write(_CHANGE, _Update(owner, job, frozenset(changed)))


def _change(transaction: Transaction, calls: Sequence[_Update]) -> list[Job | CallError]:
    unit = UnitOfWork(transaction)
    unit.load({call.job.id for call in calls})
    answers: list[Job | CallError] = []
    for call in calls:
        entry = unit.entries.get(call.job.id)
        if entry is None or owner_of(entry.job) != call.owner:
            answers.append(NotFound("job", call.job.id))
        elif entry.job.state != QUEUED:
            message = f"job {entry.job.id} is {JobState.Name(entry.job.state)}; only a queued job can be changed"
            answers.append(FailedPrecondition(message, subject=f"jobs/{entry.job.id}"))
        elif not entry.has_spec:
            message = f"job {entry.job.id} was created by an older version; cancel it and create it again"
            answers.append(FailedPrecondition(message, subject=f"jobs/{entry.job.id}"))
        else:
            answer = Job()
            answer.CopyFrom(_apply(unit, entry, call).job)
            answers.append(answer)
    unit.flush()
    return answers


def _apply(unit: UnitOfWork, entry: JobChange, call: _Update) -> JobChange:
    """Change the row of a loaded job, and append the event; if no value is new, do nothing. Return the job."""
    job, connection = entry.job, unit.transaction.connection
    row = connection.execute(_SELECT_ROW, {"job": job.id}).one()
    before, spec = JobSpec.FromString(row.spec), JobSpec.FromString(row.spec)
    for field in _OF_SPEC:
        if field in call.paths:
            _replace(spec, field, call.job)
    named = call.job if "name" in call.paths else job
    name = named.name if named.HasField("name") else None
    if spec == before and name == (job.name if job.HasField("name") else None):
        return entry
    packed = pack(spec)
    if packed.options:  # more labels leave less space for other options
        large_options.insert(unit.transaction, {job.id: packed.options})
    not_before = microseconds(spec.not_before) if spec.HasField("not_before") else 0
    if not_before <= unit.transaction.now:
        not_before = row.not_before if row.not_before >= HELD else queue_of(spec, is_local=row.is_local)
    values = {
        "job": job.id,
        "new_name": name,
        "new_spec": packed.spec.SerializeToString(),
        "new_rank": -spec.priority,
        "new_not_before": not_before,
        "new_expires_at": microseconds(spec.expires_at) if spec.HasField("expires_at") else None,
    }
    connection.execute(_UPDATE_ROW, values)
    if "labels" in call.paths:
        connection.execute(labels.DELETE_JOB_LABELS, {"ids": [job.id]})
        labels.insert_of_jobs(connection, [(job.id, owner_of(job), row.created_at, spec.labels)])
    unit.flush()
    unit.load({job.id})
    changed = unit.entries[job.id]
    shown = Job()
    shown.CopyFrom(changed.job)
    unit.advance(shown)
    leave_out_large(shown)
    shorten_runs(shown)
    unit.append(changed, updated=shown)
    unit.transaction.queued.add(queue_name(changed.job))
    unit.transaction.times = True
    return changed


def _replace(spec: JobSpec, field: str, given: Job) -> None:
    """Replace a field of a spec by that of a job, which may be unset."""
    spec.ClearField(field)
    if field == "labels":
        spec.labels.update(given.labels)
    elif field == "priority":
        spec.priority = given.priority
    elif given.HasField(field):
        getattr(spec, field).CopyFrom(getattr(given, field))


_CHANGE: Final = Operation(_change)
