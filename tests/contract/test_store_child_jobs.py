# SPDX-License-Identifier: Apache-2.0
"""Server programs and their jobs in the store: queues of their own, quotas, limits, and ends."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.v1.deployment_pb2 import Deployment, QuantumProgram
from qonduit.v1.job_pb2 import JOB_TYPE_IBM_RUNNER, Job, JobState
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit.v1.quota_pb2 import QuotaValues
from qonduit_server.errors import FailedPrecondition, NotFound, ResourceExhausted
from qonduit_server.store import catalogue
from qonduit_server.store.database import Database, open_database
from qonduit_server.store.jobs import child_jobs, job_list, job_rows, queue
from qonduit_server.store.notification_bus import Notification
from qonduit_server.store.program_queue import PROGRAMS
from qonduit_server.store.users import quota_rows
from tests.store_fixture import Clock, claim, description, finished, known_device, submit, succeeded

CANCELLED, FAILED, QUEUED = JobState.JOB_STATE_CANCELLED, JobState.JOB_STATE_FAILED, JobState.JOB_STATE_QUEUED


@pytest.fixture
def clock() -> Clock:
    return Clock(datetime(2026, 11, 29, 15, 0, tzinfo=UTC))


@pytest.fixture
def db(database_url: str, clock: Clock) -> Iterator[Database]:
    database = open_database(database_url, clock=clock)
    yield database
    database.close()


def program(db: Database, **options: Any) -> Job:
    """Queue a server program."""
    known_device(db)
    return job_rows.create(db, job_rows.NewJob(**_fields(db, **options))).job


def _fields(db: Database, caller: str = "anna", device: str = "IBM/aer_simulator", **options: Any) -> dict[str, Any]:
    source = QuantumProgram(quantum_circuit="x = 1", assembler_language=AssemblerLanguage.ASSEMBLER_LANGUAGE_PYTHON)
    return {
        "caller": caller,
        "spec": JobSpec(type=JOB_TYPE_IBM_RUNNER),
        "device_id": catalogue.device_by_name(db, device).id,
        "deployment": Deployment(programs=[source]),
        **options,
    }


def child(db: Database, parent: Job, **options: Any) -> Job:
    return submit(db, caller=parent.executed_by, parent_job_id=parent.id, **options)


def state(db: Database, job: Job) -> JobState:
    return job_rows.get(db, None, job.id).state


def test_programs_are_claimed_apart_from_the_jobs_of_their_device(db: Database) -> None:
    first = program(db)
    other = submit(db, caller="anna")
    assert [task.job_id for task in claim(db)] == [other.id]
    (task,) = claim(db, provider=PROGRAMS)
    assert (task.job_id, task.provider, task.device) == (first.id, PROGRAMS, "IBM/aer_simulator")
    assert [each.name for each in catalogue.list_providers(db).items] == ["IBM"]
    assert not queue.record(db, "me", [succeeded(task), finished(task)])
    assert state(db, first) == JobState.JOB_STATE_SUCCEEDED


def test_children_start_whatever_the_quota_of_running_jobs(db: Database) -> None:
    quota_rows.set_quota(db, "anna", QuotaValues(running_jobs=1), ["running_jobs"])
    parent = program(db)
    second = program(db)
    assert [task.job_id for task in claim(db, provider=PROGRAMS)] == [parent.id]
    waiting = submit(db, caller="anna")
    children = [child(db, parent) for _ in range(3)]
    others = submit(db, caller="ben")
    claimed = {task.job_id for task in claim(db)}
    assert claimed == {*(each.id for each in children), others.id}
    assert quota_rows.get(db, "anna").used.running_jobs == 1
    assert (state(db, waiting), state(db, second)) == (QUEUED, QUEUED)


def test_a_quota_with_room_counts_jobs_beside_children(db: Database) -> None:
    quota_rows.set_quota(db, "anna", QuotaValues(running_jobs=3), ["running_jobs"])
    parent = program(db)
    claim(db, provider=PROGRAMS)
    own = [submit(db, caller="anna") for _ in range(4)]
    children = [child(db, parent) for _ in range(4)]
    claimed = [task.job_id for task in claim(db)]
    assert set(claimed) == {each.id for each in [*own[:2], *children]}


def test_children_are_listed_by_their_parent(db: Database) -> None:
    parent = program(db)
    claim(db, provider=PROGRAMS)
    children = [child(db, parent) for _ in range(3)]
    submit(db, caller="anna")
    found = job_list.list_page(db, "anna", filter=f"parent_job_id = {parent.id}").items
    assert [each.id for each in found] == [each.id for each in reversed(children)]
    assert {each.parent_job_id for each in found} == {parent.id}
    assert not job_list.list_page(db, "ben", filter=f"parent_job_id = {parent.id}").items


def test_only_a_running_program_has_children_and_not_too_many(db: Database) -> None:
    parent = program(db)
    with pytest.raises(FailedPrecondition, match="does not run"):
        child(db, parent)
    claim(db, provider=PROGRAMS)
    new = _fields(db)
    spec = new["spec"]
    spec.type, spec.shots, spec.parent_job_id = 1, 1, parent.id
    for _ in range(2):
        job_rows.create(db, job_rows.NewJob(**{**new, "max_children": 2}))
    with pytest.raises(ResourceExhausted, match="max_program_jobs"):
        job_rows.create(db, job_rows.NewJob(**{**new, "max_children": 2}))
    assert len(child_jobs.active(db, parent.id)) == 2


def test_a_child_does_not_make_servers_read_the_times_of_queued_jobs(db: Database) -> None:
    parent = program(db)
    claim(db, provider=PROGRAMS)
    found: list[Notification] = []
    db.notifications.subscribe(found.append)
    child(db, parent)
    submit(db, caller="anna", not_before=Timestamp(seconds=2**33))
    of_child, with_time = (each for each in found if each.jobs)
    assert (of_child.times, with_time.times) == (False, True)


@pytest.mark.parametrize("end", ["succeeded", "cancelled", "deleted"])
def test_children_end_with_their_program(end: str, db: Database) -> None:
    parent = program(db)
    (task,) = claim(db, provider=PROGRAMS)
    running, waiting = child(db, parent), child(db, parent)
    (child_task,) = claim(db, capacity=1)
    assert child_task.job_id == running.id
    child_jobs.end_orphans(db)
    assert state(db, waiting) == QUEUED
    if end == "cancelled":
        job_rows.cancel(db, frozenset({"anna"}), parent.id)
        queue.release(db, "me", {(task.job_id, task.attempt): None}, "ended")
    else:
        assert not queue.record(db, "me", [succeeded(task), finished(task)])
    if end == "deleted":
        job_rows.delete(db, frozenset({"anna"}), parent.id)
        with pytest.raises(NotFound):
            state(db, parent)
    child_jobs.end_orphans(db)
    assert state(db, waiting) == CANCELLED
    assert state(db, running) == JobState.JOB_STATE_CANCELLING
    assert queue.cancelling(db, "me") == [(running.id, 1)]


@pytest.mark.parametrize("has_children", [False, True])
def test_a_lost_program_of_a_paid_device_runs_again_only_without_children(
    has_children: bool, db: Database, clock: Clock
) -> None:
    paid = description("CLOUD", ["machine"])
    paid.devices[0].is_simulator = False
    catalogue.sync(db, [description(), paid])
    parent = program(db, device="CLOUD/machine")
    claim(db, provider=PROGRAMS)
    if has_children:
        child(db, parent, device=known_device(db, "CLOUD/machine"))
    clock.now += timedelta(minutes=5)
    queue.expire(db)
    assert state(db, parent) == (FAILED if has_children else QUEUED)
    if has_children:
        assert job_rows.get(db, None, parent.id).failure.reason == "PROGRAM_INTERRUPTED"
    else:
        assert [task.attempt for task in claim(db, provider=PROGRAMS)] == [2]
