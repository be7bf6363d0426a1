# SPDX-License-Identifier: Apache-2.0
"""Unit of work: the jobs of a transaction, locked and read at once, changed in memory, written in bulk with events."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import Select, and_, select

from qonduit.v1.event_pb2 import JobEvent, StateChange
from qonduit.v1.failure_pb2 import Failure
from qonduit.v1.job_pb2 import Job, JobState, JobType
from qonduit_server.lifecycle import QUEUED, RUNNING, is_terminal, may
from qonduit_server.store.bulk_statements import BulkInsert, BulkUpdate, among
from qonduit_server.store.jobs import job_credentials, submission_rows, vendor_costs
from qonduit_server.store.jobs.job_sizes import shorten_runs
from qonduit_server.store.jobs.job_spec import leave_out_large, name_buffers
from qonduit_server.store.jobs.submission_entries import show_reserved
from qonduit_server.store.notification_bus import ANY_PROVIDER, StoredEvent
from qonduit_server.store.ownership import owner_of, project_of
from qonduit_server.store.program_queue import queue_name
from qonduit_server.store.queries import Query
from qonduit_server.store.schema import devices, events, jobs, providers
from qonduit_server.store.timestamps import microseconds, set_time
from qonduit_server.store.usage_ledger import UsageKey
from qonduit_server.store.writer import Transaction

_JOB_COLUMNS: Final = (
    jobs.c.id,
    jobs.c.caller,
    jobs.c.device_id,
    jobs.c.deployment_id,
    jobs.c.name,
    jobs.c.type,
    jobs.c.shots,
    jobs.c.seed,
    jobs.c.created_at,
    jobs.c.state,
    jobs.c.progress,
    jobs.c.started_at,
    jobs.c.finished_at,
    jobs.c.attempt,
    jobs.c.last_sequence,
    jobs.c.provider_specific_id,
    jobs.c.failure,
    jobs.c.program_runs,
    jobs.c.spec,
    jobs.c.owner,
    # A subquery instead of a join, so that a row lock does not lock the device.
    select(providers.c.name.concat("/").concat(devices.c.name))
    .join_from(devices, providers)
    .where(devices.c.id == jobs.c.device_id)
    .correlate(jobs)
    .scalar_subquery()
    .label("device"),
    jobs.c.principal,
)

#: The columns of a Job message.
SELECT_JOBS: Final[Select[Any]] = select(*_JOB_COLUMNS)
#: The same, the end of the lease, and the memory that the job needs.
SELECT_ENTRIES: Final[Select[Any]] = select(*_JOB_COLUMNS, jobs.c.lease_until, jobs.c.memory_bytes)

_SELECT_BY_IDS: Final = Query(SELECT_ENTRIES.where(among(jobs.c.id, "ids")).order_by(jobs.c.id).with_for_update())
_SELECT_LAST_EVENTS: Final = Query(
    select(events.c.payload)
    .join_from(jobs, events, and_(events.c.job_id == jobs.c.id, events.c.sequence == jobs.c.last_sequence))
    .where(among(jobs.c.id, "ids"))
)
_INSERT_EVENTS: Final = BulkInsert(events, ("job_id", "sequence", "is_terminal", "payload"))
_UPDATE_JOBS: Final = BulkUpdate(
    jobs,
    (
        *("state", "progress", "started_at", "finished_at", "attempt", "last_sequence"),
        *("owner", "lease_until", "failure", "program_runs"),
    ),
)


def job_message(row: Sequence[Any]) -> Job:
    """Return the Job message of a row of SELECT_JOBS."""
    (job_id, caller, device_id, deployment_id, name, kind, shots, seed, created_at) = row[:9]
    (state, progress, started_at, finished_at, attempt, last_sequence, provider_specific_id, failure, runs) = row[9:18]
    spec, owner, device, principal = row[18:22]
    if spec is not None:
        # Concatenated bytes of two messages parse as the merged message.
        job = Job.FromString(spec + runs)
    else:
        job = Job.FromString(runs)
        job.type = kind
        job.shots = shots
        if seed is not None:
            job.seed = seed
    job.id = job_id
    name_buffers(job)
    job.executed_by = principal or caller
    job.project = project_of(caller)
    job.executed_on_id = device_id
    job.device = device if device_id else ""  # an upload has none
    job.deployment_id = deployment_id
    if name is not None:
        job.name = name
    set_time(job.created_at, created_at)
    job.state = state
    job.progress = progress
    if started_at is not None:
        set_time(job.started_at, started_at)
    if finished_at is not None:
        set_time(job.finished_at, finished_at)
    if attempt:
        job.attempt = attempt
    if owner is not None:
        job.server = server_of(owner)
    job.last_sequence = last_sequence
    if provider_specific_id is not None:
        job.provider_specific_id = provider_specific_id
    if failure is not None:
        job.failure.ParseFromString(failure)
    return job


def usage_key(job: Job) -> UsageKey:
    """Return the key under which the usage of a job is recorded."""
    return UsageKey(owner_of(job), job.executed_by, job.device)


def server_of(owner: str) -> str:
    """Return the server of an owner; after a lost answer, a server claims under "SERVER/NUMBER"."""
    return owner.partition("/")[0]


def program_runs(job: Job, *, has_spec: bool = True) -> bytes:
    """Return the value of the column program_runs; without a spec, it includes inputs and include_statevector."""
    kept = Job(program_runs=job.program_runs, log_epoch=job.log_epoch, returned_attempts=job.returned_attempts)
    if job.HasField("celery_id"):
        kept.celery_id = job.celery_id
    if job.HasField("provider_status"):
        kept.provider_status.CopyFrom(job.provider_status)
    kept.resolved_from = job.resolved_from
    if not has_spec:
        kept.include_statevector = job.include_statevector
        if job.HasField("inputs"):
            kept.inputs.CopyFrom(job.inputs)
    return kept.SerializeToString()


class JobChange:
    """A job, its lease, and the time of its events in this transaction."""

    __slots__ = ("changed", "has_spec", "job", "lease_until", "owner", "time")

    def __init__(
        self, job: Job, owner: str | None, lease_until: int | None, time: Timestamp, *, has_spec: bool = True
    ) -> None:
        self.job = job
        #: False for a job created before the column spec existed.
        self.has_spec = has_spec
        self.time = time
        self.owner = owner
        self.lease_until = lease_until
        self.changed = False


class UnitOfWork:
    """The jobs of one transaction; `flush` writes the changes."""

    def __init__(self, transaction: Transaction) -> None:
        self.transaction = transaction
        self.entries: dict[int, JobChange] = {}
        self._events: list[tuple[int, int, bool, bytes]] = []
        #: The ended jobs whose requests contained a credential.
        self._with_credential: list[int] = []

    def load(self, ids: Collection[int]) -> None:
        """Read jobs and lock them until the transaction ends; missing jobs are left out."""
        if ids:
            self.add_rows(_SELECT_BY_IDS(self.transaction.connection, {"ids": list(ids)}))

    def add_rows(self, rows: Sequence[Sequence[Any]]) -> list[JobChange]:
        """Add jobs from rows of SELECT_ENTRIES, read with a lock."""
        found = [
            JobChange(job_message(row), row[19], row[22], self.transaction.timestamp, has_spec=row[18] is not None)
            for row in rows
        ]
        self.entries.update((entry.job.id, entry) for entry in found)
        if found:
            self._keep_times_ordered(found)
        return found

    def add_created(self, jobs: Iterable[Job]) -> list[JobChange]:
        """Add jobs that this transaction has created; these messages stay unchanged."""
        found = []
        for created in jobs:
            job = Job()
            job.CopyFrom(created)
            found.append(JobChange(job, None, None, self.transaction.timestamp))
        self.entries.update((entry.job.id, entry) for entry in found)
        return found

    def _keep_times_ordered(self, entries: Sequence[JobChange]) -> None:
        """Ensure that event times of a job do not decrease.

        The clock of another server may be ahead, this server's clock may be set back, and a transaction reads the clock
        before it waits for locks. A separate statement sees events committed before the jobs were locked.
        """
        unknown: list[int] = []
        for entry in entries:
            last = self.transaction.known_event(entry.job.id, entry.job.last_sequence)
            if last is None:
                unknown.append(entry.job.id)
            else:
                self._keep_after(last.payload)
        if unknown:
            for (payload,) in _SELECT_LAST_EVENTS(self.transaction.connection, {"ids": unknown}):
                self._keep_after(payload)

    def _keep_after(self, payload: bytes) -> None:
        last = JobEvent.FromString(payload)
        if microseconds(last.event_time) > self.transaction.now:
            self.entries[last.job_id].time = last.event_time

    def append(self, entry: JobChange, **event: Any) -> None:
        """Append an event to a job; `event` is the member of JobEvent to set."""
        job = entry.job
        entry.changed = True
        self.advance(job)
        self.queue_event(job, entry.time, is_terminal=False, **event)

    def advance(self, job: Job) -> None:
        """Give a job the sequence and the epoch of its next event."""
        job.last_sequence += 1
        job.log_epoch = self.transaction.log_epoch

    def queue_event(self, job: Job, time: Timestamp, *, is_terminal: bool, **event: Any) -> None:
        """Queue an event with the current sequence and epoch of the job."""
        message = JobEvent(job_id=job.id, sequence=job.last_sequence, event_time=time, log_epoch=job.log_epoch, **event)
        self._events.append((job.id, job.last_sequence, is_terminal, message.SerializeToString()))

    def move(self, entry: JobChange, state: JobState) -> None:
        """Change the state of a job and append the event. A queued or ended job has no lease."""
        job = entry.job
        before = job.state
        if not may(before, state):
            raise ValueError(f"job {job.id} cannot change from {JobState.Name(before)} to {JobState.Name(state)}")
        ended = is_terminal(state)
        entry.changed = True
        job.state = state
        self.advance(job)
        if ended:
            job.finished_at.CopyFrom(entry.time)
            is_left = job.provider_status.group.id != "" and submission_rows.leave_group(
                self.transaction.connection, job.id, self.transaction.now
            )
            if job.one_time_credential and not is_left:  # what closes the batch or the session needs it
                self._with_credential.append(job.id)
        if ended and job.type == JobType.JOB_TYPE_IBM_RUNNER:
            # Its children are cancelled next (child_jobs.py).
            self.transaction.cancels = True
        if state == QUEUED:
            self.transaction.fresh_jobs = None
        if ended or state == QUEUED:
            entry.owner = entry.lease_until = None
            job.server = ""
        if ended and (job.provider_status.HasField("reserved") or job.resolved_from):
            self._end_reservations(job)
        if ended and before != QUEUED:
            self.transaction.usage.ran(usage_key(job), jobs=1)
        # The end of a job may let others start, which quotas of its owner held.
        if ended and before != QUEUED and self._may_hold(owner_of(job)):
            self.transaction.queued.add(ANY_PROVIDER)
        elif state == QUEUED:
            self.transaction.queued.add(queue_name(job))
        change = StateChange(from_state=before, to_state=state, job=job)
        leave_out_large(change.job)
        shorten_runs(change.job)
        self.queue_event(job, entry.time, is_terminal=ended, state_change=change)

    def _end_reservations(self, job: Job) -> None:
        """End the reservations of a job that ends."""
        connection = self.transaction.connection
        known = submission_rows.entries_of(connection, [job.id]).get(job.id, ())
        entries = {(entry.stage, entry.part): entry for entry in known}
        for entry in vendor_costs.end(self.transaction, job, list(entries.values())):
            submission_rows.update(connection, job.id, entry)
            entries[entry.stage, entry.part] = entry
        show_reserved(job.provider_status, list(entries.values()))

    def _may_hold(self, owner: str) -> bool:
        """Return whether quotas may hold jobs of an owner."""
        return self.transaction.quotas().of(owner).limits_claims

    def start(self, entry: JobChange, owner: str, lease_until: int) -> None:
        """Lease a queued job and start its next attempt."""
        job = entry.job
        job.attempt += 1
        job.ClearField("celery_id")
        job.server = server_of(owner)
        if not job.HasField("started_at"):
            job.started_at.CopyFrom(entry.time)
        self.move(entry, RUNNING)
        entry.owner = owner
        entry.lease_until = lease_until

    def uncount_attempt(self, entry: JobChange, *, reuses_number: bool) -> None:
        """Record that an attempt does not count: by its number, which the next one gets, or beside it."""
        if reuses_number:
            entry.job.attempt -= 1
        else:
            entry.job.returned_attempts += 1

    def set_open_programs(self, entry: JobChange, state: JobState, failure: Failure | None = None) -> None:
        """Set the state of all programs that have not ended.

        Args:
            entry: the job.
            state: the new state.
            failure: the failure of each; short enough that the job with all of them fits in a response.
        """
        for run in entry.job.program_runs:
            if not is_terminal(run.state):
                run.state = state
                if failure is not None:
                    run.failure.CopyFrom(failure)

    def flush(self, results: Mapping[int, Sequence[bytes]] = MappingProxyType({})) -> None:
        """Write all unwritten changes.

        Args:
            results: the results of jobs that end, by job, to keep with the last event.
        """
        connection = self.transaction.connection
        if self._events:
            _INSERT_EVENTS(connection, self._events)
            for job_id, sequence, is_terminal, payload in self._events:
                own = results.get(job_id) if is_terminal else None
                self.transaction.add_event(job_id, StoredEvent(sequence, payload, is_terminal, own))
            self._events = []
        job_credentials.erase(connection, self._with_credential)
        self._with_credential = []
        changed = [entry for entry in self.entries.values() if entry.changed]
        if changed:
            _UPDATE_JOBS(connection, [_changes(entry) for entry in changed])
            for entry in changed:
                entry.changed = False


def _changes(entry: JobChange) -> tuple[Any, ...]:
    job = entry.job
    return (
        job.state,
        job.progress,
        microseconds(job.started_at) if job.HasField("started_at") else None,
        microseconds(job.finished_at) if job.HasField("finished_at") else None,
        job.attempt,
        job.last_sequence,
        entry.owner,
        entry.lease_until,
        job.failure.SerializeToString() if job.HasField("failure") else None,
        program_runs(job, has_spec=entry.has_spec),
        job.id,
    )
