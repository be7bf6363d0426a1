# SPDX-License-Identifier: Apache-2.0
"""Metrics count what happens to jobs, calls and transactions, with a bounded number of labels."""

from __future__ import annotations

import pytest
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from qonduit.v1.failure_pb2 import Failure, FailureCategory
from qonduit.v1.job_pb2 import Job, JobState
from qonduit_server.job_log import JobLog
from qonduit_server.lifecycle import CANCELLED, FAILED, QUEUED, RUNNING, SUCCEEDED
from qonduit_server.store.database import open_database
from qonduit_server.store.jobs import queue
from qonduit_server.telemetry.metrics import MOST_DEVICES, MOST_REASONS, Metrics
from tests import store_fixture

NEW = JobState.JOB_STATE_UNSPECIFIED


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(owners=2)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"qonduit_{name}", labels)


def at(seconds: float) -> Timestamp:
    return Timestamp(seconds=int(seconds), nanos=int(seconds % 1 * 1e9))


def job(state: JobState, device: str = "IBM/a", **fields: object) -> Job:
    return Job(state=state, device=device, executed_by="anna", attempt=1, created_at=at(100), **fields)  # type: ignore[arg-type]


def test_a_job_is_counted_at_each_step_and_its_times_are_those_of_its_timestamps(metrics: Metrics) -> None:
    metrics.job_changed(job(QUEUED), NEW)
    metrics.job_changed(job(RUNNING, started_at=at(102.5)), QUEUED)
    metrics.job_changed(job(SUCCEEDED, started_at=at(102.5), finished_at=at(103)), RUNNING)
    assert value(metrics, "jobs_submitted_total", device="IBM/a") == 1
    assert value(metrics, "jobs_started_total", device="IBM/a") == 1
    assert value(metrics, "jobs_ended_total", device="IBM/a", state="succeeded") == 1
    assert value(metrics, "job_queue_seconds_sum", device="IBM/a") == 2.5
    assert value(metrics, "job_run_seconds_sum", device="IBM/a") == 0.5
    assert value(metrics, "owner_jobs_ended_total", owner="anna", state="succeeded") == 1
    assert value(metrics, "owner_run_seconds_total", owner="anna") == 0.5
    assert value(metrics, "jobs_requeued_total", device="IBM/a") is None


def test_a_job_that_waits_for_its_own_time_does_not_wait_for_a_worker(metrics: Metrics) -> None:
    metrics.job_changed(job(RUNNING, not_before=at(200), started_at=at(201)), QUEUED)
    assert value(metrics, "job_queue_seconds_sum", device="IBM/a") == 1


def test_only_the_first_start_of_a_job_ends_its_wait(metrics: Metrics) -> None:
    metrics.job_changed(job(QUEUED, started_at=at(101)), RUNNING)
    again = job(RUNNING, started_at=at(101))
    again.attempt = 2
    metrics.job_changed(again, QUEUED)
    assert value(metrics, "jobs_requeued_total", device="IBM/a") == 1
    assert value(metrics, "jobs_started_total", device="IBM/a") == 1
    assert value(metrics, "job_queue_seconds_count", device="IBM/a") is None


def test_a_job_that_never_started_has_no_run_time(metrics: Metrics) -> None:
    metrics.job_changed(job(CANCELLED, finished_at=at(130)), QUEUED)
    assert value(metrics, "jobs_ended_total", device="IBM/a", state="cancelled") == 1
    assert value(metrics, "job_run_seconds_count", device="IBM/a") is None
    assert value(metrics, "owner_run_seconds_total", owner="anna") == 0


def test_failures_are_counted_by_category_and_reason(metrics: Metrics) -> None:
    failure = Failure(category=FailureCategory.FAILURE_CATEGORY_WORKER, reason="WORKER_DIED")
    metrics.job_changed(job(FAILED, started_at=at(101), finished_at=at(102), failure=failure), RUNNING)
    assert value(metrics, "job_failures_total", category="worker", reason="WORKER_DIED") == 1


def test_the_number_of_labels_is_bounded(metrics: Metrics) -> None:
    for number in range(MOST_DEVICES + 50):
        ended = job(FAILED, f"IBM/{number}", finished_at=at(130), failure=Failure(reason=f"REASON_{number}"))
        ended.executed_by = f"user{number}"
        metrics.job_changed(ended, QUEUED)
        metrics.call_ended("JobService/GetJob", "NOT_FOUND", f"CODE_{number}", 0.1, streamed=False)
    labels: dict[str, set[str]] = {}
    for family in metrics.registry.collect():
        for sample in family.samples:
            for name, label in sample.labels.items():
                labels.setdefault(name, set()).add(label)
    assert len(labels["device"]) == MOST_DEVICES + 1
    assert len(labels["reason"]) == MOST_REASONS + 1
    assert labels["owner"] == {"user0", "user1", "other"}
    others = value(metrics, "jobs_ended_total", device="other", state="failed")
    assert others == 50
    assert value(metrics, "owner_jobs_ended_total", owner="other", state="failed") == MOST_DEVICES + 48


def test_the_owner_of_a_job_of_a_project_is_the_project(metrics: Metrics) -> None:
    metrics.job_changed(job(SUCCEEDED, project="lab", started_at=at(101), finished_at=at(102)), RUNNING)
    assert value(metrics, "owner_jobs_ended_total", owner="projects/lab", state="succeeded") == 1
    assert value(metrics, "owner_jobs_ended_total", owner="anna", state="succeeded") is None


def test_no_metric_contains_an_owner_if_none_may() -> None:
    metrics = Metrics(owners=0)
    metrics.job_changed(job(SUCCEEDED, started_at=at(101), finished_at=at(102)), RUNNING)
    samples = [sample for family in metrics.registry.collect() for sample in family.samples]
    assert value(metrics, "jobs_ended_total", device="IBM/a", state="succeeded") == 1
    assert not [sample for sample in samples if "owner" in sample.labels or "anna" in sample.labels.values()]


def test_the_time_of_a_stream_is_not_observed(metrics: Metrics) -> None:
    metrics.call_ended("JobService/WatchJob", "OK", "", 100.0, streamed=True)
    metrics.call_ended("JobService/GetJob", "OK", "", 0.25, streamed=False)
    assert value(metrics, "calls_total", method="JobService/WatchJob", code="OK") == 1
    assert value(metrics, "call_seconds_sum", method="JobService/GetJob") == 0.25
    assert value(metrics, "call_seconds_count", method="JobService/WatchJob") is None


def test_phases_are_those_that_the_metadata_contain(metrics: Metrics) -> None:
    metadata = Struct()
    metadata.update({"parse_seconds": 0.5, "run_seconds": 2.0, "seed": 1})
    metrics.program_succeeded(metadata)
    assert value(metrics, "program_phase_seconds_sum", phase="parse") == 0.5
    assert value(metrics, "program_phase_seconds_sum", phase="run") == 2.0
    assert value(metrics, "program_phase_seconds_count", phase="compile") is None


def test_rare_faults_begin_with_zero(metrics: Metrics) -> None:
    """Without a first value, Prometheus sees no increase when the first fault occurs."""
    metrics.declare_providers(["IBM"])
    assert value(metrics, "call_errors_total", reason="INTERNAL") == 0
    assert value(metrics, "worker_ends_total", provider="IBM", cause="died") == 0


def test_the_jobs_and_transactions_of_a_store_are_counted(metrics: Metrics, database_url: str) -> None:
    db = open_database(database_url, observer=metrics)
    log = JobLog(db.notifications, [metrics.job_changed])
    for _ in range(3):
        store_fixture.submit(db)
    first, second, third = store_fixture.claim(db)
    store_fixture.succeed(db, [first])
    queue.record(db, "me", [store_fixture.failed(second), store_fixture.finished(second)])
    queue.release(db, "me", {(third.job_id, third.attempt): None}, "lost")
    log.close()
    db.close()
    device = "IBM/aer_simulator"
    assert value(metrics, "jobs_submitted_total", device=device) == 3
    assert value(metrics, "jobs_started_total", device=device) == 3
    assert value(metrics, "jobs_requeued_total", device=device) == 1
    assert value(metrics, "jobs_ended_total", device=device, state="succeeded") == 1
    assert value(metrics, "job_failures_total", category="program", reason="SYNTAX_ERROR") == 1
    transactions = value(metrics, "store_commit_seconds_count")
    assert transactions is not None
    assert transactions >= 7
    assert value(metrics, "store_commit_calls_sum") == transactions
    assert value(metrics, "store_failed_commits_total") == 0


def test_a_transaction_that_is_rolled_back_is_counted_as_failed(metrics: Metrics, database_url: str) -> None:
    from qonduit_server.store.writer import Operation

    def fail(transaction: object, arguments: object) -> list[None]:
        raise ValueError("a fault")

    db = open_database(database_url, observer=metrics)
    before = value(metrics, "store_commit_seconds_count")
    with pytest.raises(ValueError, match="a fault"):
        db.write(Operation(fail), None)
    assert value(metrics, "store_failed_commits_total") == 1
    assert value(metrics, "store_commit_seconds_count") == before
    db.close()
