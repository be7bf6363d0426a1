# SPDX-License-Identifier: Apache-2.0
"""Jobs for callers: create, read, cancel, delete, rerun."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from sqlalchemy import bindparam

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.v1.deployment_pb2 import Deployment, QuantumProgram
from qonduit.v1.device_pb2 import Device
from qonduit.v1.job_pb2 import Job, JobState, JobType
from qonduit_server.errors import FailedPrecondition, NotFound, Unavailable
from qonduit_server.lifecycle import is_terminal
from qonduit_server.store import catalogue, deployments, labels
from qonduit_server.store.column_limits import checked_text, is_id
from qonduit_server.store.database import Database
from qonduit_server.store.event_log import require_job
from qonduit_server.store.jobs import submission_settlement
from qonduit_server.store.jobs.cancellation import cancel_loaded
from qonduit_server.store.jobs.deletion import erase
from qonduit_server.store.jobs.exact_reruns import required_provenance
from qonduit_server.store.jobs.job_creation import CREATE, Created, Submission
from qonduit_server.store.jobs.job_spec import pack, whole_specs
from qonduit_server.store.jobs.pinned_jobs import check_served
from qonduit_server.store.jobs.unit_of_work import SELECT_JOBS, UnitOfWork, job_message
from qonduit_server.store.jobs.upload_recording import CheckedUpload
from qonduit_server.store.owned_queries import Owned, principal_of
from qonduit_server.store.ownership import CheckChange, Scope, contains, including, owner_for, owner_of, permit_all
from qonduit_server.store.recent_deployments import StoredDeployment, content_hash
from qonduit_server.store.results import buffers
from qonduit_server.store.schema import jobs
from qonduit_server.store.writer import Operation, Transaction

__all__ = ["Created", "NewJob", "cancel", "create", "delete", "get", "repeated", "rerun"]


@dataclass(frozen=True)
class NewJob:
    """A job to create.

    Attributes:
        caller: the caller that submits it.
        project: the project that owns it; empty for the caller.
        readable: the owners whose deployments it may run; empty for the caller alone.
        spec: its type, options and inputs.
        device_id: the device to run on.
        name: an optional display name.
        device: the device's name as "PROVIDER/device", for a preview; the stored name is looked up by id.
        deployment: the inline programs; None to use `deployment_id`.
        deployment_id: the stored deployment to run.
        request_id: makes a retry safe; may be empty. Unique per caller and method.
        method: "CreateJob", "RunJob" or "RerunJob".
        fingerprint: a hash of the request, compared if the request id is repeated.
        older_fingerprints: the hashes of the same request by other keys of the server.
        secret: the credential that the request contains; a stored one is in the spec.
        max_queued: the maximum number of queued jobs; 0 means no limit.
        server_program: the program of an upload or of a run, to check.
        program_name: of an upload, the name of the server program.
        upload: of an upload, the outcome of its check: the job is created with its end. It has no device.
        max_children: the maximum number of jobs of the server program that submits it; 0 means no limit.
    """

    caller: str
    spec: JobSpec
    device_id: int
    name: str | None = None
    device: str = ""
    deployment: Deployment | None = None
    deployment_id: int = 0
    request_id: str = ""
    method: str = "CreateJob"
    fingerprint: bytes = b""
    older_fingerprints: Sequence[bytes] = ()
    secret: str = field(default="", repr=False)
    max_queued: int = 0
    max_children: int = 0
    project: str = ""
    readable: frozenset[str] = frozenset()
    server_program: QuantumProgram | None = None
    program_name: str = ""
    upload: CheckedUpload | None = None


@dataclass(frozen=True)
class RerunCredential:
    """The credential of a rerun.

    Attributes:
        secret: the credential that the request contains.
        hashes: what distinguishes it from other credentials in the hash of the request, by each key of the server.
        check: checks it for the user who executes the new job and for the job to run again, and sets the fields of
            the new job's spec that describe it.
    """

    secret: str = field(default="", repr=False)
    hashes: Sequence[str] = ("",)
    check: Callable[[str, Job, JobSpec], None] = lambda executor, source, spec: None


class _JobKey(NamedTuple):
    owner: str
    job_id: int


_GET: Final = Owned(SELECT_JOBS.where(jobs.c.id == bindparam("id")), jobs.c.caller)
_GET_REPEATED: Final = SELECT_JOBS.where(
    principal_of(jobs) == bindparam("caller"),
    jobs.c.method == bindparam("method"),
    jobs.c.request_id == bindparam("request"),
    jobs.c.fingerprint == bindparam("fingerprint"),
)
_RERUN: Final = "RerunJob"
_RESOLVE: Final = "ResolveSubmission"


def create(db: Database, new: NewJob) -> Created:
    """Queue a job: programs, job and first event in one durable transaction.

    Raises:
        NotFound: the device or the deployment does not exist.
        AlreadyExists: the request id was used for another request.
        FailedPrecondition: the device is not available.
        ResourceExhausted: too many jobs are queued.
    """
    device = catalogue.device(db, new.device_id) if new.device_id else Device()
    if new.deployment is None and not is_id(new.deployment_id):
        raise NotFound("deployment", new.deployment_id)
    labels.checked("job.labels", new.spec.labels)
    owner = owner_for(new.caller, new.project)
    deployment = content = None
    if new.deployment is not None:
        deployment = deployments.prepare(new.caller, new.deployment, owner=owner, is_inline=True)
        if deployment.is_inline:
            content = content_hash(deployment.owner, deployment.programs, deployment.labels)
    created = db.write(
        CREATE,
        Submission(
            caller=checked_text("caller", new.caller),
            owner=checked_text("job.project", owner),
            readable=new.readable | {new.caller},
            method=new.method,
            request_id=checked_text("request_id", new.request_id) or None,
            fingerprint=new.fingerprint,
            older_fingerprints=new.older_fingerprints,
            sealer=db.sealer,
            secret=new.secret,
            max_queued=new.max_queued,
            max_children=new.max_children,
            device=device,
            device_name=catalogue.name_of(db, device) if new.device_id else "",
            upload=new.upload,
            deployment=deployment,
            equal=db.recent_deployments.find(content) if content is not None else None,
            deployment_id=new.deployment_id,
            name=checked_text("job.name", new.name) if new.name is not None else None,
            packed=pack(new.spec),
        ),
    )
    if content is not None and not created.deduplicated:
        program_ids = [run.program_id for run in created.job.program_runs]
        db.recent_deployments.add(content, StoredDeployment(created.job.deployment_id, program_ids))
    return created


def rerun(
    db: Database,
    caller: str,
    job_id: int,
    request_id: str = "",
    max_queued: int = 0,
    *,
    exact: bool = False,
    credential: RerunCredential | None = None,
    scope: Scope = frozenset(),
    check: CheckChange = permit_all,
    traceparent: str = "",
    vendor_id: str = "",
) -> Created:
    """Queue a new job with the programs, device and options of another.

    Args:
        db: the database.
        caller: the caller.
        job_id: the other job.
        request_id: makes a retry safe; may be empty.
        max_queued: the maximum number of queued jobs; 0 means no limit.
        exact: whether the new job must return the same counts and values.
        credential: checks the credential of the new job; by default, it has the stored one of the other job.
        scope: the other owners to whom the other job may belong. Its owner owns the new one.
        check: raises an error if the caller may not create jobs of an owner.
        traceparent: the context of the trace of the new job.
        vendor_id: the vendor's id of the other job's unknown submission: the new job adopts it, and does not submit it.

    Raises:
        FailedPrecondition: as `create`, or the job cannot be repeated exactly.
        NotFound: the other job does not exist.
    """
    credential = credential or RerunCredential()
    method, adopts = (_RESOLVE, submission_settlement.Adoption(job_id, vendor_id)) if vendor_id else (_RERUN, None)
    what = " exact" if exact else f" adopts {vendor_id}" if vendor_id else ""
    fingerprints = [f"{job_id}{what}{each}".encode() for each in credential.hashes]
    try:
        source = get(db, including(scope, caller), job_id)
        check(owner_of(source))
        if source.type == JobType.JOB_TYPE_IBM_UPLOAD:
            raise FailedPrecondition(
                f"job {job_id} is an upload: create another IBM_UPLOAD job to store the next version",
                subject=f"jobs/{job_id}",
            )
        # A job of a user is always executed by that user, also if an admin requests it.
        executor = caller if source.project else source.executed_by
        device = catalogue.device(db, source.executed_on_id)
        with db.read() as connection:
            # Read whole, because the other job and its large options may be deleted before the new job is written.
            (spec,) = whole_specs(connection, [source])
            if adopts is None and submission_settlement.is_unknown(connection, job_id):
                raise unresolved(job_id)
            # The times of the other job are in the past.
            for field in ("required_provenance", "not_before", "expires_at", "parent_job_id"):
                spec.ClearField(field)
            spec.traceparent = traceparent
            credential.check(executor, source, spec)
            if exact:
                required = required_provenance(connection, source, device)
                spec.required_provenance.CopyFrom(required)
                spec.seed = required.seed
        check_served(db, source.device, spec)
    except (NotFound, FailedPrecondition):
        created = repeated(db, caller, method, request_id, fingerprints, scope) if request_id else None
        if created is None:
            raise
        return created
    return db.write(
        CREATE,
        Submission(
            caller=executor,
            owner=owner_of(source),
            readable=owner_of(source),
            method=method,
            request_id=checked_text("request_id", request_id) or None,
            fingerprint=fingerprints[0],
            older_fingerprints=fingerprints[1:],
            sealer=db.sealer,
            secret=credential.secret,
            max_queued=max_queued,
            device=device,
            device_name=source.device,
            # The programs that the other job ran, which may differ from those of its deployment now.
            program_ids=[run.program_id for run in source.program_runs],
            adopts=adopts,
            deployment_id=source.deployment_id,
            name=source.name if source.HasField("name") else None,
            packed=pack(spec),
        ),
    )


def unresolved(job_id: int) -> FailedPrecondition:
    """Return the error of a rerun of a job that its vendor may have."""
    return FailedPrecondition(
        f"it is not known whether the vendor has job {job_id}, so a rerun could be charged twice: look into the "
        f"vendor's list of jobs, then run `qonduit resolve {job_id}` with --vendor-id ID or with --not-submitted",
        subject=f"jobs/{job_id}",
        kind="SUBMISSION",
        reason="SUBMISSION_UNKNOWN",
    )


def resolve_as_not_submitted(db: Database, scope: Scope, job_id: int, check: CheckChange = permit_all) -> Job:
    """Record that the vendor does not have a job; return the job. Raises NotFound, FailedPrecondition, as `check`."""
    submission_settlement.state_not_submitted(db, *_key(db, scope, job_id, check))
    return get(db, scope, job_id)


def repeated(
    db: Database,
    caller: str,
    method: str,
    request_id: str,
    fingerprints: Sequence[bytes],
    scope: Scope = frozenset(),
) -> Created | None:
    """Return the job of an earlier request with one of these hashes, as it is now; None if there is no such job.

    A job of a project is only returned if the scope contains it: the caller may have left the project.
    """
    request = {"caller": checked_text("caller", caller), "method": method}
    request["request"] = checked_text("request_id", request_id)
    with db.read() as connection:
        for fingerprint in fingerprints:
            values = {**request, "fingerprint": fingerprint}
            row = connection.execute(_GET_REPEATED, values).first()
            if row is not None:
                visible = contains(including(scope, caller), row.caller)
                return Created(job_message(row), deduplicated=True) if visible else None
    return None


def get(db: Database, scope: Scope, job_id: int) -> Job:
    """Return one job. Raises NotFound."""
    if is_id(job_id):
        with db.read() as connection:
            row = _GET.execute(connection, scope, {"id": job_id}).first()
        if row is not None:
            return job_message(row)
    raise NotFound("job", job_id)


def cancel(db: Database, scope: Scope, job_id: int, check: CheckChange = permit_all) -> Job:
    """Request the cancel of a job; return it as CANCELLED, CANCELLING, or ended. Raises NotFound and as `check`."""
    return db.write(_CANCEL, _key(db, scope, job_id, check))


def delete(db: Database, scope: Scope, job_id: int, check: CheckChange = permit_all) -> None:
    """Delete a job with its events and results.

    Raises:
        NotFound: the job does not exist in the scope.
        FailedPrecondition: the job has not ended.
        CallError: that of `check`.
    """
    with_buffers = db.write(_DELETE, _key(db, scope, job_id, check))
    with suppress(Unavailable):  # the job is deleted; retention deletes the orphaned chunks
        for result_id in with_buffers:
            buffers.erase(db, result_id)


def _key(db: Database, scope: Scope, job_id: int, check: CheckChange) -> _JobKey:
    """Return the key of a job to change. Raises NotFound and as `check`."""
    owner = require_job(db, scope, job_id)
    check(owner)
    return _JobKey(owner, job_id)


def _cancel(transaction: Transaction, calls: Sequence[_JobKey]) -> list[Job | NotFound]:
    unit = UnitOfWork(transaction)
    unit.load({job_id for _, job_id in calls})
    answers: list[Job | NotFound] = []
    for owner, job_id in calls:
        entry = unit.entries.get(job_id)
        if entry is None or owner_of(entry.job) != owner:
            answers.append(NotFound("job", job_id))
            continue
        cancel_loaded(unit, entry)
        answers.append(entry.job)
    unit.flush()
    return answers


def _delete(transaction: Transaction, calls: Sequence[_JobKey]) -> list[NotFound | FailedPrecondition | list[int]]:
    """Delete jobs without their buffers; return the ids of the results that have buffers."""
    unit = UnitOfWork(transaction)
    unit.load({job_id for _, job_id in calls})
    answers: list[NotFound | FailedPrecondition | list[int]] = []
    for owner, job_id in calls:
        entry = unit.entries.get(job_id)
        if entry is None or owner_of(entry.job) != owner:
            answers.append(NotFound("job", job_id))
        elif not is_terminal(entry.job.state):
            answers.append(
                FailedPrecondition(
                    f"job {job_id} is {JobState.Name(entry.job.state)}; only a job that has ended can be deleted",
                    subject=f"jobs/{job_id}",
                )
            )
        else:
            answers.append(buffers.of_jobs(transaction.connection, [job_id]))
            erase(transaction, [job_id], with_buffers=False)
            del unit.entries[job_id]
    return answers


def _name(key: _JobKey, _: object) -> Sequence[str]:
    return (f"jobs/{key.job_id}",)


_CANCEL: Final = Operation(_cancel, objects=_name)
_DELETE: Final = Operation(_delete, objects=_name)
