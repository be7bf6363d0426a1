# SPDX-License-Identifier: Apache-2.0
"""The jobs that a transaction changes: read and locked at once, changed in memory, written back in bulk with events."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import Select, and_, select

from qonduit.v1.event_pb2 import JobEvent, StateChange
from qonduit.v1.failure_pb2 import Failure
from qonduit.v1.job_pb2 import Job, JobState
from qonduit_server.lifecycle import QUEUED, RUNNING, is_terminal, may
from qonduit_server.store.bulk_statements import BulkInsert, BulkUpdate, among
from qonduit_server.store.jobs.job_spec import leave_out_large, name_buffers
from qonduit_server.store.notification_bus import StoredEvent
from qonduit_server.store.schema import devices, events, jobs, providers
from qonduit_server.store.timestamps import microseconds, set_time
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
    # A subquery and no join, so that a lock on the row locks no device.
    select(providers.c.name.concat("/").concat(devices.c.name))
    .join_from(devices, providers)
    .where(devices.c.id == jobs.c.device_id)
    .correlate(jobs)
    .scalar_subquery()
    .label("device"),
)

#: What makes a Job message.
SELECT_JOBS: Final[Select[Any]] = select(*_JOB_COLUMNS)
#: The same, and until when it is leased.
SELECT_ENTRIES: Final[Select[Any]] = select(*_JOB_COLUMNS, jobs.c.lease_until)

_SELECT_BY_IDS: Final = SELECT_ENTRIES.where(among(jobs.c.id, "ids")).order_by(jobs.c.id).with_for_update()
_SELECT_LAST_EVENTS: Final = (
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
    """Make a Job of a row of SELECT_JOBS."""
    (job_id, caller, device_id, deployment_id, name, kind, shots, seed, created_at) = row[:9]
    (state, progress, started_at, finished_at, attempt, last_sequence, provider_specific_id, failure, runs) = row[9:18]
    spec, owner, device = row[18:21]
    if spec is not None:
        # One after the other, the bytes of two messages are those of both merged.
        job = Job.FromString(spec + runs)
    else:
        job = Job.FromString(runs)
        job.type = kind
        job.shots = shots
        if seed is not None:
            job.seed = seed
    job.id = job_id
    name_buffers(job)
    job.executed_by = caller
    job.executed_on_id = device_id
    job.device = device
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


def server_of(owner: str) -> str:
    """Return the server that an owner of leases belongs to: one that lost an answer claims under "SERVER/NUMBER"."""
    return owner.partition("/")[0]


def program_runs(job: Job, *, has_spec: bool = True) -> bytes:
    """Return what the column program_runs holds of a job; without a spec, some of what it asks for as well."""
    kept = Job(program_runs=job.program_runs)
    if not has_spec:
        kept.include_statevector = job.include_statevector
        if job.HasField("inputs"):
            kept.inputs.CopyFrom(job.inputs)
    return kept.SerializeToString()


class JobChange:
    """A job, the lease on it, and the time of what this transaction does to it."""

    __slots__ = ("changed", "has_spec", "job", "lease_until", "owner", "time")

    def __init__(
        self, job: Job, owner: str | None, lease_until: int | None, time: Timestamp, *, has_spec: bool = True
    ) -> None:
        self.job = job
        #: False for a job that was made before the column spec was.
        self.has_spec = has_spec
        self.time = time
        self.owner = owner
        self.lease_until = lease_until
        self.changed = False


class UnitOfWork:
    """The jobs of one transaction. Nothing is written before `flush`."""

    def __init__(self, transaction: Transaction) -> None:
        self.transaction = transaction
        self.entries: dict[int, JobChange] = {}
        self._events: list[tuple[int, int, bool, bytes]] = []

    def load(self, ids: Collection[int]) -> None:
        """Read jobs and lock them until the transaction ends; those that do not exist are left out."""
        if ids:
            self.enter(self.transaction.connection.execute(_SELECT_BY_IDS, {"ids": list(ids)}).all())

    def enter(self, rows: Sequence[Sequence[Any]]) -> list[JobChange]:
        """Take jobs from rows of SELECT_ENTRIES, read with a lock."""
        found = [
            JobChange(job_message(row), row[19], row[21], self.transaction.timestamp, has_spec=row[18] is not None)
            for row in rows
        ]
        self.entries.update((entry.job.id, entry) for entry in found)
        if found:
            self._keep_order([entry.job.id for entry in found])
        return found

    def _keep_order(self, ids: list[int]) -> None:
        """Have no event of a job be earlier than the one before.

        Another server's clock may be ahead, this one's may have been set back, and a transaction that waited for a lock
        took its time before. A statement of its own: it sees what was committed before the jobs were locked.
        """
        now = self.transaction.now
        for payload in self.transaction.connection.execute(_SELECT_LAST_EVENTS, {"ids": ids}).scalars():
            last = JobEvent.FromString(payload)
            if microseconds(last.event_time) > now:
                self.entries[last.job_id].time = last.event_time

    def append(self, entry: JobChange, **event: Any) -> None:
        """Add an event to a job's history; `event` is the one member of JobEvent to set."""
        job = entry.job
        entry.changed = True
        job.last_sequence += 1
        self.note(job, entry.time, is_terminal=False, **event)

    def note(self, job: Job, time: Timestamp, *, is_terminal: bool, **event: Any) -> None:
        """Write down an event under the sequence that the job has now."""
        message = JobEvent(job_id=job.id, sequence=job.last_sequence, event_time=time, **event)
        self._events.append((job.id, job.last_sequence, is_terminal, message.SerializeToString()))

    def move(self, entry: JobChange, state: JobState) -> None:
        """Bring a job into another state and tell so. Leaving the hands of a dispatcher ends its lease."""
        job = entry.job
        before = job.state
        if not may(before, state):
            raise ValueError(f"job {job.id} cannot go from {JobState.Name(before)} to {JobState.Name(state)}")
        ended = is_terminal(state)
        entry.changed = True
        job.state = state
        job.last_sequence += 1
        if ended:
            job.finished_at.CopyFrom(entry.time)
        if ended or state == QUEUED:
            entry.owner = entry.lease_until = None
            job.server = ""
        if state == QUEUED:
            self.transaction.queue = True
        change = StateChange(from_state=before, to_state=state, job=job)
        leave_out_large(change.job)
        self.note(job, entry.time, is_terminal=ended, state_change=change)

    def start(self, entry: JobChange, owner: str, lease_until: int) -> None:
        """Lease a queued job: its next attempt begins."""
        job = entry.job
        job.attempt += 1
        job.server = server_of(owner)
        if not job.HasField("started_at"):
            job.started_at.CopyFrom(entry.time)
        self.move(entry, RUNNING)
        entry.owner = owner
        entry.lease_until = lease_until

    def forgive(self, entry: JobChange) -> None:
        """Take back the number of an attempt that is not to be counted."""
        entry.job.attempt -= 1

    def settle_programs(self, entry: JobChange, state: JobState, failure: Failure | None = None) -> None:
        """Bring the programs that have not ended into another state.

        Args:
            entry: the job.
            state: theirs from now on.
            failure: why, for each of them; short enough that all of them fit into the job.
        """
        for run in entry.job.program_runs:
            if not is_terminal(run.state):
                run.state = state
                if failure is not None:
                    run.failure.CopyFrom(failure)

    def flush(self) -> None:
        """Write every change that was not written before."""
        connection = self.transaction.connection
        if self._events:
            _INSERT_EVENTS(connection, self._events)
            for job_id, sequence, is_terminal, payload in self._events:
                self.transaction.tell(job_id, StoredEvent(sequence, payload, is_terminal))
            self._events = []
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
