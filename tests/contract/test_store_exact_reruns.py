# SPDX-License-Identifier: Apache-2.0
"""Exact reruns in the store: the new job has the seed of the results, or is refused with the reason."""

from __future__ import annotations

import uuid

import pytest

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.execution.v1.task_pb2 import Task
from qonduit.execution.v1.worker_pb2 import CalibratedDevice
from qonduit.v1.calibration_pb2 import DeviceCalibration
from qonduit.v1.job_pb2 import JOB_TYPE_RUNNER, Job
from qonduit.v1.provenance_pb2 import Provenance
from qonduit.v1.result_pb2 import Result
from qonduit_server.errors import AlreadyExists, FailedPrecondition
from qonduit_server.store import calibrations, catalogue
from qonduit_server.store.database import Database
from qonduit_server.store.jobs import job_rows, queue
from tests import store_fixture as data
from tests.store_fixture import CALLER, claim

LABELS = {"project": "h2", "owner": "lab"}
VERSIONS = {"qonduit-quantum": "1.0", "numpy": "2.0"}


def submitted(db: Database, **spec: object) -> Job:
    given = JobSpec(shots=1000, type=JOB_TYPE_RUNNER, labels=LABELS)
    given.MergeFrom(JobSpec(**spec))  # type: ignore[arg-type]
    new = job_rows.NewJob(
        caller=CALLER, spec=given, device_id=data.known_device(db).id, deployment=data.deployment(2), method="RunJob"
    )
    return job_rows.create(db, new).job


def seed_of(spec: JobSpec) -> int:
    return spec.seed if spec.HasField("seed") else spec.drawn_seed


def result_of(task: Task, **changed: object) -> Result:
    result = data.result()
    result.provenance.MergeFrom(
        Provenance(program_sha256="ab", device="IBM/aer_simulator", versions=VERSIONS, seed=seed_of(task.spec))
    )
    result.provenance.MergeFrom(Provenance(**changed))  # type: ignore[arg-type]
    return result


def succeed(db: Database, task: Task, *results: Result) -> None:
    done = [data.succeeded(task, index, result) for index, result in enumerate(results)]
    assert not queue.record(db, "me", [*done, data.finished(task)])


def ran(db: Database, **spec: object) -> tuple[Job, Task]:
    """Return a job that ran, and its task."""
    job = submitted(db, **spec)
    (task,) = claim(db)
    succeed(db, task, result_of(task), result_of(task))
    return job, task


def refusal(db: Database, job: Job) -> str:
    with pytest.raises(FailedPrecondition) as caught:
        job_rows.rerun(db, CALLER, job.id, exact=True)
    assert (caught.value.reason, caught.value.subject) == ("NOT_REPRODUCIBLE", f"jobs/{job.id}")
    return str(caught.value)


def test_each_job_without_a_seed_has_one_drawn_and_keeps_it_over_attempts(db: Database) -> None:
    job, other = submitted(db), submitted(db)
    assert not job.HasField("seed")
    assert job.drawn_seed != other.drawn_seed
    task, _ = claim(db)
    assert task.spec.drawn_seed == job.drawn_seed
    queue.release(db, "me", {(task.job_id, task.attempt): None}, "the worker was lost")
    (again,) = claim(db)
    assert (again.attempt, again.spec) == (2, task.spec)
    assert not submitted(db, seed=3).HasField("drawn_seed")


def test_an_exact_rerun_has_the_seed_of_the_results_and_requires_their_provenance(db: Database) -> None:
    job, task = ran(db)
    again = job_rows.rerun(db, CALLER, job.id, exact=True).job
    assert again.seed == task.spec.drawn_seed
    assert not again.HasField("drawn_seed")
    assert again.required_provenance == Provenance(
        device="IBM/aer_simulator", versions=VERSIONS, seed=task.spec.drawn_seed
    )
    (repeated,) = claim(db)
    assert repeated.spec.required_provenance == again.required_provenance
    assert job_rows.get(db, CALLER, again.id).required_provenance == again.required_provenance


def test_a_rerun_keeps_labels_and_draws_a_seed_of_its_own(db: Database) -> None:
    job, _ = ran(db)
    again = job_rows.rerun(db, CALLER, job.id).job
    assert dict(again.labels) == LABELS == dict(job_rows.get(db, CALLER, again.id).labels)
    assert dict(job_rows.rerun(db, CALLER, job.id, exact=True).job.labels) == LABELS
    assert again.drawn_seed != job.drawn_seed
    assert not again.HasField("seed")
    assert not again.HasField("required_provenance")


def test_a_rerun_of_an_exact_rerun_requires_nothing(db: Database) -> None:
    job, _ = ran(db, seed=5)
    exact = job_rows.rerun(db, CALLER, job.id, exact=True).job
    again = job_rows.rerun(db, CALLER, exact.id).job
    assert (again.seed, again.HasField("required_provenance")) == (5, False)


def test_a_request_id_is_for_either_kind_of_rerun(db: Database) -> None:
    job, _ = ran(db)
    request = str(uuid.uuid4())
    first = job_rows.rerun(db, CALLER, job.id, request, exact=True)
    assert job_rows.rerun(db, CALLER, job.id, request, exact=True).job.id == first.job.id
    with pytest.raises(AlreadyExists):
        job_rows.rerun(db, CALLER, job.id, request)


def test_a_job_without_complete_results_is_not_repeated(db: Database) -> None:
    job = submitted(db)
    assert "it is JOB_STATE_QUEUED and has no complete results" in refusal(db, job)
    (task,) = claim(db)
    assert "it is JOB_STATE_RUNNING" in refusal(db, job)
    succeed(db, task, data.result(), data.result())
    assert "its results have no provenance" in refusal(db, job)
    waiting = submitted(db)
    job_rows.cancel(db, CALLER, waiting.id)
    assert "it is JOB_STATE_CANCELLED" in refusal(db, waiting)


def test_a_job_whose_device_has_another_calibration_now_is_not_repeated(db: Database) -> None:
    description = data.description()
    first = CalibratedDevice(device="aer_simulator", calibration=DeviceCalibration(dt=1e-9))
    description.calibrations.append(first)
    catalogue.sync(db, [description])
    job = submitted(db)
    (task,) = claim(db)
    with db.read() as connection:
        before = calibrations.sha256(connection, job.executed_on_id)
    succeed(db, task, *(result_of(task, calibration_sha256=before) for _ in range(2)))
    job_rows.rerun(db, CALLER, job.id, exact=True)
    first.calibration.dt = 2e-9
    del description.calibrations[:]
    description.calibrations.append(first)
    catalogue.sync(db, [description])
    with db.read() as connection:
        now = calibrations.sha256(connection, job.executed_on_id)
    assert f"the hash of the calibration of IBM/aer_simulator was {before} and is {now} now" in refusal(db, job)


def test_a_job_on_hardware_is_not_repeated(db: Database) -> None:
    description = data.description()
    description.devices[0].is_simulator = False
    catalogue.sync(db, [description])
    job, _ = ran(db)
    assert not job.HasField("drawn_seed")
    assert "IBM/aer_simulator is not a simulator" in refusal(db, job)


def test_a_job_whose_attempts_ran_on_different_versions_is_not_repeated(db: Database) -> None:
    job = submitted(db)
    (task,) = claim(db)
    assert not queue.record(db, "me", [data.succeeded(task, 0, result_of(task))])
    queue.release(db, "me", {(task.job_id, task.attempt): None}, "the worker was lost")
    (task,) = claim(db)
    other = result_of(task)
    other.provenance.versions["numpy"] = "2.1"
    assert not queue.record(db, "me", [data.succeeded(task, 1, other), data.finished(task)])
    assert "its results come from attempts on different versions" in refusal(db, job)
