# SPDX-License-Identifier: Apache-2.0
"""The metrics that the server counts while it works, in a registry of their own; `docs/metrics.md` explains each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from prometheus_client import CollectorRegistry
from prometheus_client.process_collector import ProcessCollector

from qonduit.v1.failure_pb2 import FailureCategory
from qonduit.v1.job_pb2 import Job, JobState
from qonduit_server.lifecycle import FAILED, QUEUED, RUNNING, is_terminal
from qonduit_server.observer import CallTrace, Metadata, Observer
from qonduit_server.store.ownership import owner_of
from qonduit_server.telemetry.bounded_labels import BoundedLabels
from qonduit_server.telemetry.tallies import Counter, Histogram, Observations

if TYPE_CHECKING:
    from qonduit_server.telemetry.traces import Traces

#: The maximum number of devices, and of reasons, with time series of their own. IBM offers 68 fake backends.
MOST_DEVICES: Final = 100
MOST_REASONS: Final = 100
#: The bounds of times, in seconds.
_CALL_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_JOB_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)
_BATCH_SIZES: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
#: The phases of a program, and the metadata of results that contain their seconds.
_PHASES: Final = {"parse": "parse_seconds", "compile": "compile_seconds", "run": "run_seconds"}

#: The names of states in labels.
_STATES: Final = {state: name.removeprefix("JOB_STATE_").lower() for name, state in JobState.items()}


class Metrics(Observer):
    """Counts what the server does. Thread-safe.

    Args:
        owners: the maximum number of owners with time series of their own; 0: no metrics of owners.
    """

    #: Traces calls as well, if it is set.
    traces: Traces | None = None

    def __init__(self, owners: int) -> None:
        self.registry: Final = CollectorRegistry()
        self._observations = Observations()
        self.devices: Final = BoundedLabels(MOST_DEVICES)
        self._reasons = BoundedLabels(MOST_REASONS)
        self._owners = BoundedLabels(owners)
        self._shows_owners = owners > 0
        ProcessCollector(registry=self.registry)

        self._calls = self._counter("calls", "Calls that ended.", "method", "code")
        self._call_errors = self._counter("call_errors", "Calls that ended with an error.", "reason")
        self._call_seconds = self._histogram("call_seconds", "Time of unary calls.", _CALL_SECONDS, "method")
        self._event_delay = self._histogram(
            "event_delay_seconds", "Time from the notification of an event until a stream sends it.", _CALL_SECONDS
        )

        self._submitted = self._counter("jobs_submitted", "Jobs that were created.", "device")
        self._started = self._counter("jobs_started", "Starts of jobs, repeated ones included.", "device")
        self._requeued = self._counter("jobs_requeued", "Jobs that were queued again.", "device")
        self._ended = self._counter("jobs_ended", "Jobs that ended.", "device", "state")
        self._failures = self._counter("job_failures", "Jobs that failed.", "category", "reason")
        self._queue_seconds = self._histogram(
            "job_queue_seconds", "Time from the creation of a job until its first start.", _JOB_SECONDS, "device"
        )
        self._run_seconds = self._histogram(
            "job_run_seconds", "Time from the first start of a job until its end.", _JOB_SECONDS, "device"
        )
        self._phase_seconds = self._histogram(
            "program_phase_seconds", "Time of a phase of a program that succeeded.", _JOB_SECONDS, "phase"
        )
        self._owner_ended = self._counter("owner_jobs_ended", "Jobs of an owner that ended.", "owner", "state")
        self._owner_seconds = self._counter("owner_run_seconds", "Run time of an owner's jobs.", "owner")

        self._commit_seconds = self._histogram("store_commit_seconds", "Time of a transaction.", _CALL_SECONDS)
        self._commit_calls = self._histogram("store_commit_calls", "Calls in a transaction.", _BATCH_SIZES)
        self._failed_commits = self._counter("store_failed_commits", "Transactions that were rolled back.")

        self._claim_seconds = self._histogram(
            "claim_seconds", "Time of a claim in a transaction of its own.", _CALL_SECONDS
        )
        self._claimed = self._counter("claimed_jobs", "Jobs that this server claimed.", "provider")
        self._lost_tasks = self._counter("lost_tasks", "Tasks that ended without a report of their worker.", "kind")
        self._worker_ends = self._counter("worker_ends", "Worker processes that ended.", "provider", "cause")

        self._failed_sweeps = self._counter(
            "retention_failures", "Sweeps of retention that the database or the archive did not take."
        )
        self._telemetry_lost = self._counter(
            "telemetry_lost", "Spans, log lines and requests of metrics that the collector did not take.", "signal"
        )
        # Prometheus sees no increase in the first value of a counter, so rare faults begin with 0.
        self._call_errors.add(0, self._reasons.of("INTERNAL"))

    def declare_providers(self, names: Iterable[str]) -> None:
        """Begin the counters of providers with 0."""
        for name in names:
            self._claimed.add(0, name)
            self._worker_ends.add(0, name, "died")

    def _counter(self, name: str, help: str, *labels: str) -> Counter:
        counter = Counter(f"qonduit_{name}", help, labels, self._observations)
        self.registry.register(counter)
        return counter

    def _histogram(self, name: str, help: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        histogram = Histogram(f"qonduit_{name}", help, labels, buckets, self._observations)
        self.registry.register(histogram)
        return histogram

    def telemetry_lost(self, signal: str) -> Callable[[int], None]:
        """Return the counter of lost items of a signal, which begins with 0."""
        self._telemetry_lost.add(0, signal)
        return lambda number: self._telemetry_lost.add(number, signal)

    def call_began(self, method: str, metadata: Metadata) -> CallTrace | None:
        """Begin the trace of a call."""
        return None if self.traces is None else self.traces.begin_call(method, metadata)

    def call_ended(
        self,
        method: str,
        code: str,
        reason: str,
        seconds: float,
        *,
        streamed: bool,
        trace: CallTrace | None = None,
        job_id: int = 0,
    ) -> None:
        """Count a call; the time of a stream is its client's choice and is not observed."""
        if trace is not None and self.traces is not None:
            self.traces.end_call(trace, code, reason, job_id)
        self._observations.add(self._count_call, method, code, reason, None if streamed else seconds)

    def _count_call(self, method: str, code: str, reason: str, seconds: float | None) -> None:
        self._calls.count(1, method, code)
        if reason:
            self._call_errors.count(1, self._reasons.of(reason))
        if seconds is not None:
            self._call_seconds.count(seconds, method)

    def events_delivered(self, seconds: float) -> None:
        """Observe the delay of events."""
        self._event_delay.add(seconds)

    def committed(self, calls: int, seconds: float) -> None:
        """Observe a transaction."""
        self._observations.add(self._count_commit, calls, seconds)

    def _count_commit(self, calls: int, seconds: float) -> None:
        self._commit_seconds.count(seconds)
        self._commit_calls.count(calls)

    def commit_failed(self) -> None:
        """Count a transaction that was rolled back."""
        self._failed_commits.add(1)

    def claimed(self, jobs: Mapping[str, int], seconds: float | None) -> None:
        """Observe a claim."""
        if seconds is not None:
            self._claim_seconds.add(seconds)
        for provider, count in jobs.items():
            self._claimed.add(count, provider)

    def program_succeeded(self, metadata: Struct) -> None:
        """Observe the phases of a program that succeeded."""
        # Not the metadata itself, which would keep a whole result in memory.
        self._observations.add(self._count_phases, metadata.SerializeToString())

    def _count_phases(self, metadata: bytes) -> None:
        fields = Struct.FromString(metadata).fields
        for phase, name in _PHASES.items():
            if name in fields:
                self._phase_seconds.count(fields[name].number_value, phase)

    def task_lost(self, kind: str) -> None:
        """Count a task that ended without a report of its worker."""
        self._lost_tasks.add(1, kind)

    def worker_ended(self, provider: str, cause: str, count: int = 1) -> None:
        """Count worker processes that ended."""
        self._worker_ends.add(count, provider, cause)

    def retention_failed(self) -> None:
        """Count a sweep of retention that failed."""
        self._failed_sweeps.add(1)

    def job_changed(self, job: Job, before: JobState) -> None:
        """Observe a transition of a job that this server committed.

        Args:
            job: after the transition.
            before: its state before; UNSPECIFIED for a new job.
        """
        self._observations.add(self._count_transition, job, before)

    def _count_transition(self, job: Job, before: JobState) -> None:
        device = self.devices.of(job.device)
        if job.state == RUNNING:
            self._started.count(1, device)
            if job.attempt == 1:
                self._queue_seconds.count(_seconds(job.started_at, _waiting_since(job)), device)
        elif job.state == QUEUED:
            (self._requeued if before else self._submitted).count(1, device)
        elif is_terminal(job.state):
            self._job_ended(job, device)

    def _job_ended(self, job: Job, device: str) -> None:
        state = _STATES[job.state]
        seconds = _seconds(job.finished_at, job.started_at) if job.HasField("started_at") else None
        self._ended.count(1, device, state)
        if job.state == FAILED:
            category = FailureCategory.Name(job.failure.category).removeprefix("FAILURE_CATEGORY_").lower()
            self._failures.count(1, category, self._reasons.of(job.failure.reason))
        if seconds is not None:
            self._run_seconds.count(seconds, device)
        if self._shows_owners:
            owner = self._owners.of(owner_of(job))
            self._owner_ended.count(1, owner, state)
            self._owner_seconds.count(seconds or 0.0, owner)


def _waiting_since(job: Job) -> Timestamp:
    """Return the time from which a job could start: its creation, or its own start time."""
    if job.HasField("not_before") and job.not_before.ToNanoseconds() > job.created_at.ToNanoseconds():
        return job.not_before
    return job.created_at


def _seconds(until: Timestamp, since: Timestamp) -> float:
    return max(0.0, until.seconds - since.seconds + (until.nanos - since.nanos) / 1e9)
