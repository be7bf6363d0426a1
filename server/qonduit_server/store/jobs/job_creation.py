# SPDX-License-Identifier: Apache-2.0
"""Create queued jobs from submits in bulk; the request id of a submit identifies a repeated request."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import select

from qonduit.v1.device_pb2 import Device
from qonduit.v1.job_pb2 import Job, JobType, ProgramRun
from qonduit_server.encryption.sealing import Sealer
from qonduit_server.errors import AlreadyExists, CallError, FailedPrecondition, NotFound, ResourceExhausted
from qonduit_server.lifecycle import QUEUED
from qonduit_server.store import deployments, labels, program_lookup, program_queue, projects, queued_jobs
from qonduit_server.store.bulk_statements import BulkInsert, among
from qonduit_server.store.deployments import NewDeployment
from qonduit_server.store.fresh_jobs import FreshJob
from qonduit_server.store.id_allocation import expect_ids
from qonduit_server.store.job_pools import MAIN_QUEUES
from qonduit_server.store.jobs import (
    child_jobs,
    job_credentials,
    large_options,
    pinned_jobs,
    submission_settlement,
    upload_recording,
)
from qonduit_server.store.jobs.held_jobs import HELD
from qonduit_server.store.jobs.job_spec import PackedSpec, name_buffers
from qonduit_server.store.jobs.unit_of_work import SELECT_JOBS, UnitOfWork, job_message, program_runs
from qonduit_server.store.jobs.upload_recording import CheckedUpload
from qonduit_server.store.ownership import Scope, contains, owner_of, project_of
from qonduit_server.store.pauses import is_paused_itself
from qonduit_server.store.program_lookup import StoredPrograms
from qonduit_server.store.program_queue import queue_name
from qonduit_server.store.queries import Query
from qonduit_server.store.recent_deployments import StoredDeployment, ask_inline_programs
from qonduit_server.store.schema import deployments as stored_deployments
from qonduit_server.store.schema import jobs, programs
from qonduit_server.store.timestamps import microseconds
from qonduit_server.store.users.quota_checks import SubmissionQuotas
from qonduit_server.store.writer import Operation, Transaction


@dataclass(frozen=True)
class Created:
    """A new job, or (`deduplicated`) the job of an earlier equal request, as it is now.

    A new job that has uploaded a server program has the deployment of its version in `version_id`.
    """

    job: Job
    deduplicated: bool
    version_id: int = 0


@dataclass(frozen=True, eq=False)
class Submission:
    """A job to create, checked and ready to be written.

    The caller creates the job, for the owner, from deployments of the readable owners. `device_name` is
    "PROVIDER/device". `older_fingerprints` are those that the same request has by other keys of the server.
    `secret` is the credential that the request contains, which `sealer` encrypts. The programs are those of
    `deployment`, or `program_ids`, or the current ones of `deployment_id`. A job that `adopts` continues the
    submissions of another one, and a server program submits at most `max_children`. A checked `upload` ends in the same
    transaction. The inline `deployment` is written with the job, unless the job can use an `equal` stored one.
    """

    caller: str
    owner: str
    readable: Scope
    method: str
    request_id: str | None
    fingerprint: bytes
    max_queued: int
    device: Device
    device_name: str
    name: str | None
    packed: PackedSpec
    deployment_id: int
    sealer: Sealer
    older_fingerprints: Sequence[bytes] = ()
    secret: str = field(default="", repr=False)
    deployment: NewDeployment | None = None
    equal: StoredDeployment | None = None
    program_ids: Sequence[int] = field(default_factory=tuple)
    upload: CheckedUpload | None = None
    adopts: submission_settlement.Adoption | None = None
    max_children: int = 0


_Key = tuple[str, str, str | None]
#: The equal stored deployments that jobs use, in place of storing their own.
_Reused = Mapping[Submission, StoredDeployment]
#: Returns the ids of new jobs, deployments and programs; see `expect_ids`.
_NewIds = Callable[..., list[Sequence[int]]]

_SELECT_REQUESTS: Final = Query(
    select(jobs.c.id, jobs.c.caller, jobs.c.principal, jobs.c.method, jobs.c.request_id, jobs.c.fingerprint).where(
        among(jobs.c.request_id, "requests"), jobs.c.request_id.is_not(None)
    )
)
_SELECT_MANY: Final = SELECT_JOBS.where(among(jobs.c.id, "ids"))
_INSERT: Final = BulkInsert(
    jobs,
    (
        *("id", "caller", "method", "request_id", "fingerprint", "provider_id", "device_id", "deployment_id", "name"),
        *("type", "shots", "created_at", "state", "progress", "attempt", "last_sequence", "program_runs", "spec"),
        *("rank", "not_before", "expires_at", "principal", "parent_job_id"),
    ),
)


def _create(transaction: Transaction, new_jobs: Sequence[Submission]) -> list[Created | CallError]:
    answers: list[Created | CallError | None] = [None] * len(new_jobs)
    # Asked together: their answers depend on each other only here.
    requests = _ask_known_requests(transaction, new_jobs)
    slots = _ask_free_slots(transaction, new_jobs)
    of_deployments = _ask_stored_programs(transaction, new_jobs)
    equal = _ask_reused_deployments(transaction, new_jobs)
    new_ids = _expect_ids(transaction, new_jobs)
    known, free, stored, reused = requests(), slots(), of_deployments(), equal()
    rerun = {program_id for new in new_jobs for program_id in new.program_ids}
    deleted = rerun - program_lookup.programs_exist(transaction.connection, rerun) if rerun else rerun
    unknown = projects.missing(transaction.connection, (new.owner for new in new_jobs))
    adoptions = _adoptions(transaction, new_jobs)
    children = child_jobs.Admission(transaction, [new.packed.spec for new in new_jobs])
    accepted: list[int] = []
    quotas = SubmissionQuotas(transaction, [new.owner for new in new_jobs])
    for place, new in enumerate(new_jobs):
        key = _key(new)
        if new.request_id is not None and key in known:
            continue
        rejection = _rejection(new, free - len(accepted), stored, deleted, unknown)
        if rejection is None and new.adopts is not None:
            rejection = adoptions.pop(new.adopts, submission_settlement.not_unknown(new.adopts.job_id))
        if rejection is None and new.packed.spec.parent_job_id:
            rejection = children.admit(new.packed.spec.parent_job_id, new.max_children)
        if rejection is None and quotas:
            shots, size = new.packed.total_shots(_count(new, stored)), _stored_bytes(new, reused)
            rejection = quotas.take_job(new.owner, shots, size)
        if rejection is not None:
            answers[place] = rejection
            continue
        accepted.append(place)
        if new.request_id is not None:
            # An equal request in the same transaction finds this one.
            known[key] = (-1 - place, new.fingerprint)
    written = _write(transaction, [new_jobs[place] for place in accepted], stored, reused, new_ids)
    was_empty = free == max(new.max_queued for new in new_jobs)
    transaction.fresh_jobs = (
        _fresh(transaction, [new_jobs[place] for place in accepted], written) if was_empty else None
    )
    for place, created in zip(accepted, written, strict=True):
        answers[place] = created
    repeated = {place: known[_key(new_jobs[place])] for place, answer in enumerate(answers) if answer is None}
    earlier = _earlier(transaction, [job_id for job_id, _ in repeated.values() if job_id > 0])
    for place, (job_id, fingerprint) in repeated.items():
        submitted = new_jobs[place]
        if fingerprint not in (submitted.fingerprint, *submitted.older_fingerprints):
            answers[place] = AlreadyExists(
                f"request_id {submitted.request_id} was used for another request; use a new UUID"
            )
        elif job_id > 0:
            answers[place] = Created(earlier[job_id], deduplicated=True)
        else:
            first = answers[-1 - job_id]
            assert isinstance(first, Created)
            answers[place] = Created(first.job, deduplicated=True)
    return [answer for answer in answers if answer is not None]


def _adoptions(
    transaction: Transaction, new_jobs: Sequence[Submission]
) -> dict[submission_settlement.Adoption, CallError | None]:
    """Lock the failed jobs that new ones continue; return the first adoption of each, with its error."""
    wanted = {new.adopts.job_id: new.adopts for new in reversed(new_jobs) if new.adopts is not None}
    UnitOfWork(transaction).load(wanted)
    return {each: submission_settlement.adoption_error(transaction.connection, each) for each in wanted.values()}


def _key(new: Submission) -> _Key:
    return (new.caller, new.method, new.request_id)


def _ask_known_requests(
    transaction: Transaction, submissions: Sequence[Submission]
) -> Callable[[], dict[_Key, tuple[int, bytes]]]:
    requests = {new.request_id for new in submissions if new.request_id is not None}
    if not requests:
        return dict
    rows = _SELECT_REQUESTS.ask(transaction.connection, {"requests": sorted(requests)})
    return lambda: {
        (principal or owner, method, request): (job_id, fingerprint)
        for job_id, owner, principal, method, request, fingerprint in rows()
    }


def _ask_free_slots(transaction: Transaction, submissions: Sequence[Submission]) -> Callable[[], int]:
    """Ask how many more jobs may be queued; count up to the limit, on the index of queued jobs."""
    most = max(new.max_queued for new in submissions)
    if not most:
        return lambda: len(submissions)
    queued = queued_jobs.ask_of_all(transaction.connection, most)
    return lambda: most - queued()


def _ask_stored_programs(
    transaction: Transaction, submissions: Sequence[Submission]
) -> Callable[[], dict[int, StoredPrograms]]:
    """Ask for the programs of the stored deployments that submits refer to."""
    wanted = {new.deployment_id for new in submissions if new.deployment is None and not new.program_ids}
    return program_lookup.ask_program_ids(transaction.connection, wanted) if wanted else dict


def _expect_ids(transaction: Transaction, submissions: Sequence[Submission]) -> _NewIds:
    inline = [new.deployment for new in submissions if new.deployment is not None and new.equal is None]
    return expect_ids(
        transaction,
        (jobs, len(submissions)),
        (stored_deployments, len(inline)),
        (programs, deployments.count_programs(inline)),
    )


def _rejection(
    new: Submission,
    free: int,
    stored: dict[int, StoredPrograms],
    deleted: AbstractSet[int],
    unknown: AbstractSet[str],
) -> CallError | None:
    if new.owner in unknown:
        return NotFound("project", project_of(new.owner))
    if new.upload is None and not new.device.available:
        why = f": {new.device.status_message}" if new.device.status_message else ""
        return FailedPrecondition(
            f"device {new.device.name} is not available{why}", subject=f"devices/{new.device.id}", kind="AVAILABLE"
        )
    if new.deployment is None and not new.program_ids:
        found = stored.get(new.deployment_id)
        if found is None or not contains(new.readable, found.owner):
            return NotFound("deployment", new.deployment_id)
    if not deleted.isdisjoint(new.program_ids):
        # The job to rerun was deleted after it was read, and its programs with it.
        return NotFound("deployment", new.deployment_id)
    if new.max_queued and free <= 0 and new.upload is None:
        return ResourceExhausted(
            f"queue limit reached (max_queued_jobs = {new.max_queued}); retry later", subject="max_queued_jobs"
        )
    return None


def _count(new: Submission, stored: dict[int, StoredPrograms]) -> int:
    """Return the number of programs of a job."""
    if new.deployment is not None:
        return len(new.deployment.programs)
    return len(new.program_ids or stored[new.deployment_id].ids)


def _stored_bytes(new: Submission, reused: _Reused) -> int:
    """Return the bytes that a job stores: of its own programs and its large options."""
    programs = 0 if new.deployment is None or new in reused else new.deployment.size
    version = new.upload.version if new.upload is not None else None
    stored = version.deployment.size if version is not None else 0
    return programs + stored + sum(map(len, new.packed.options.values()))


def _write(
    transaction: Transaction,
    accepted: Sequence[Submission],
    stored: dict[int, StoredPrograms],
    reused: _Reused,
    new_ids: _NewIds,
) -> list[Created]:
    if not accepted:
        return []
    inline = [new.deployment for new in accepted if new.deployment is not None and new not in reused]
    job_ids, deployment_ids, program_ids = new_ids(len(accepted), len(inline), deployments.count_programs(inline))
    written = iter(
        zip(deployment_ids, deployments.insert_many(transaction, inline, deployment_ids, program_ids), strict=True)
    )
    unit = UnitOfWork(transaction)
    created: list[Job] = []
    rows: list[tuple[Any, ...]] = []
    for job_id, new in zip(job_ids, accepted, strict=True):
        if new in reused:
            deployment_id, sources = reused[new]
        elif new.deployment is not None:
            deployment_id, sources = next(written)
        else:
            deployment_id = new.deployment_id
            sources = new.program_ids or stored[deployment_id].ids
        spec = new.packed.spec
        spec.ClearField("drawn_seed")
        if new.device.is_simulator and not spec.HasField("seed"):
            # Drawn here, so that all attempts of a job have the same.
            spec.drawn_seed = secrets.randbits(32)
        data = spec.SerializeToString()
        transaction.usage.submitted(new.owner, new.packed.total_shots(len(sources)))
        if new.packed.options:
            transaction.usage.stored(new.owner, sum(map(len, new.packed.options.values())))
        job = Job(
            id=job_id,
            name=new.name,
            executed_by=new.caller,
            project=project_of(new.owner),
            progress=0.0,
            state=QUEUED,
            executed_on_id=new.device.id,
            device=new.device_name,
            deployment_id=deployment_id,
            created_at=transaction.timestamp,
            last_sequence=1,
            log_epoch=transaction.log_epoch,
            program_runs=[
                ProgramRun(program_id=program_id, index=index, state=QUEUED, points=new.packed.points_of(index))
                for index, program_id in enumerate(sources)
            ],
        )
        job.MergeFromString(data)
        if new.adopts is not None:
            job.resolved_from = new.adopts.job_id
            job.provider_specific_id = new.adopts.vendor_id
        name_buffers(job)
        unit.queue_event(job, transaction.timestamp, is_terminal=False, created=job)
        created.append(job)
        rows.append(
            (
                *(job_id, new.owner, new.method, new.request_id),
                new.fingerprint if new.request_id else None,
                *(_queue_id(transaction, new), new.device.id, deployment_id, new.name, spec.type, spec.shots),
                *(transaction.now, QUEUED, 0.0, 0, 1, program_runs(job), data),
                *_times(transaction, new),
                new.caller if new.caller != new.owner else None,
                spec.parent_job_id or None,
            )
        )
    _INSERT(transaction.connection, rows)
    labels.insert_of_jobs(
        transaction.connection, ((job.id, owner_of(job), transaction.now, job.labels) for job in created)
    )
    large_options.insert(
        transaction,
        {job.id: new.packed.options for job, new in zip(created, accepted, strict=True) if new.packed.options},
    )
    for job, new in zip(created, accepted, strict=True):
        if new.adopts is not None:
            submission_settlement.adopt(transaction, new.adopts, job)
        if new.secret:
            job_credentials.insert(transaction.connection, new.sealer, job, new.secret)
    unit.flush()
    uploads = {job.id: new.upload for job, new in zip(created, accepted, strict=True) if new.upload is not None}
    transaction.queued.update(queue_name(job) for job in created if job.id not in uploads)
    ended = upload_recording.record(transaction, uploads)
    return [
        Created(upload.job, deduplicated=False, version_id=upload.version_id)
        if (upload := ended.get(job.id)) is not None
        else Created(job, deduplicated=False)
        for job in created
    ]


def _fresh(
    transaction: Transaction, accepted: Sequence[Submission], written: Sequence[Created]
) -> list[FreshJob] | None:
    """Return jobs as the claim of their transaction needs them; None if one is an upload, which has ended."""
    if any(new.upload is not None for new in accepted):
        return None
    return [
        FreshJob(
            created.job,
            new.owner,
            _times(transaction, new)[1],
            new.device,
            new.deployment.programs if new.deployment is not None else (),
            bool(new.secret or new.packed.spec.credential_id),
        )
        for new, created in zip(accepted, written, strict=True)
    ]


def _queue_id(transaction: Transaction, new: Submission) -> int:
    """Return the id of the provider in whose queue a job waits, or of the queue of server programs."""
    if new.packed.spec.type == JobType.JOB_TYPE_IBM_RUNNER:
        return program_queue.queue_id(transaction.connection)
    return new.device.provider_id


def _ask_reused_deployments(transaction: Transaction, submissions: Sequence[Submission]) -> Callable[[], _Reused]:
    """Ask for the equal deployments that jobs can use: unchanged, inline, of the same owner, and locked."""
    equal = {new: new.equal for new in submissions if new.equal is not None}
    if not equal:
        return dict
    ids = {program_id for stored in equal.values() for program_id in stored.program_ids}
    answer = ask_inline_programs(transaction.connection, ids)

    def reused() -> _Reused:
        found = answer()
        # With the contents, because a database that was restored may have used the ids again.
        return {
            new: stored
            for new, stored in equal.items()
            if new.deployment is not None
            and [found.get(program_id) for program_id in stored.program_ids]
            == [(new.owner, stored.deployment_id, program) for program in new.deployment.programs]
        }

    return reused


def _times(transaction: Transaction, new: Submission) -> tuple[int, int, int | None]:
    """Return the values of rank, not_before and expires_at."""
    spec = new.packed.spec
    not_before = microseconds(spec.not_before) if spec.HasField("not_before") else 0
    # Something changes it while it waits: a time, or the end of the pause of its device.
    changes = spec.HasField("expires_at") or not_before > transaction.now
    if not_before <= transaction.now:
        # A program runs while its device is paused; its children wait.
        is_program = spec.type == JobType.JOB_TYPE_IBM_RUNNER
        not_before = pinned_jobs.queue_of(spec, is_local=is_program or new.device.is_local)
        if not_before in MAIN_QUEUES and not is_program and is_paused_itself(new.device, new.device_name):
            not_before, changes = HELD + new.device.id, True
    expires_at = microseconds(spec.expires_at) if spec.HasField("expires_at") else None
    transaction.times |= changes
    return (-spec.priority, not_before, expires_at)


def _earlier(transaction: Transaction, ids: Sequence[int]) -> dict[int, Job]:
    if not ids:
        return {}
    return {row.id: job_message(row) for row in transaction.connection.execute(_SELECT_MANY, {"ids": list(ids)})}


def _created(new: Submission, created: Created) -> Sequence[str]:
    if created.deduplicated:
        return ()
    version = (f"deployments/{created.version_id}",) if created.version_id else ()
    return (f"jobs/{created.job.id}", *version)


CREATE: Final = Operation(_create, objects=_created)
