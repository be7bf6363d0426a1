# SPDX-License-Identifier: Apache-2.0
"""The contract of the store, on every database: changes of queued jobs."""

from __future__ import annotations

import math

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from qonduit.v1.job_pb2 import Job
from qonduit_server.errors import FailedPrecondition, InvalidArgument, NotFound
from qonduit_server.store import catalogue, pauses
from qonduit_server.store.database import Database
from qonduit_server.store.jobs import job_list, job_rows, job_updates, queue_positions, queue_times
from qonduit_server.store.pauses import Paused
from tests.contract.test_store_queue_times import after
from tests.store_fixture import CALLER, claim, history, kinds, known_device, submit, succeed


def test_a_new_priority_moves_a_job_to_the_front(db: Database) -> None:
    first, second = submit(db), submit(db)
    changed = job_updates.change(db, CALLER, Job(id=second.id, priority=5))
    assert (changed.priority, changed.last_sequence) == (5, 2)
    assert job_rows.get(db, CALLER, second.id) == changed
    assert kinds(db, second.id) == ["created", "updated"]
    event = history(db, second.id)[1]
    assert (event.updated.priority, event.updated.last_sequence) == (5, event.sequence)
    places = queue_positions.of_jobs(db, [first.id, second.id])
    assert [places[job.id].position for job in (first, second)] == [1, 0]
    tasks = claim(db)
    assert [task.job_id for task in tasks] == [second.id, first.id]
    assert tasks[0].spec.priority == 5
    assert not succeed(db, tasks)


def test_name_labels_and_times_change_and_are_found_by_filters(db: Database) -> None:
    job = submit(db, name="old", labels={"a": "1", "b": "2"})
    job_updates.change(db, CALLER, Job(id=job.id, name="new", labels={"a": "3"}, not_before=after(3600)))
    found = job_rows.get(db, CALLER, job.id)
    assert (found.name, dict(found.labels)) == ("new", {"a": "3"})
    for filter, count in (("label.a = 3", 1), ("label.b = 2", 0), ("name = new", 1), ("name = old", 0)):
        assert len(job_list.list_page(db, CALLER, filter=filter).items) == count, filter
    assert claim(db) == []
    assert 3500 < queue_times.apply_due(db) <= 3600
    # A field of the mask that is not set is cleared.
    job_updates.change(db, CALLER, Job(id=job.id), ["name", "labels", "not_before"])
    cleared = job_rows.get(db, CALLER, job.id)
    assert not cleared.labels
    assert not any(cleared.HasField(field) for field in ("name", "not_before"))
    assert queue_times.apply_due(db) == math.inf
    assert [task.job_id for task in claim(db)] == [job.id]


def test_an_expiry_can_be_added_and_ends_the_job(db: Database) -> None:
    job = submit(db)
    job_updates.change(db, CALLER, Job(id=job.id, expires_at=Timestamp(seconds=5)))
    queue_times.apply_due(db)
    assert job_rows.get(db, CALLER, job.id).failure.reason == "EXPIRED"


def test_a_change_without_a_new_value_adds_no_event(db: Database) -> None:
    job = submit(db, priority=2)
    for update in (Job(id=job.id), Job(id=job.id, priority=2)):
        assert job_updates.change(db, CALLER, update) == job_rows.get(db, CALLER, job.id)
    assert kinds(db, job.id) == ["created"]


def test_only_queued_jobs_of_the_scope_change(db: Database) -> None:
    job = submit(db, caller="anna")
    with pytest.raises(NotFound):
        job_updates.change(db, "ben", Job(id=job.id, priority=1))
    assert job_updates.change(db, None, Job(id=job.id, priority=1)).executed_by == "anna"
    claim(db)
    with pytest.raises(FailedPrecondition, match="is JOB_STATE_RUNNING; only a queued job can be changed"):
        job_updates.change(db, "anna", Job(id=job.id, priority=2))
    with pytest.raises(InvalidArgument, match="only name, labels, priority"):
        job_updates.change(db, "anna", Job(id=job.id, shots=2), ["shots"])


def test_large_labels_leave_a_job_within_its_bound(db: Database) -> None:
    job = submit(db, include_statevector=True, inputs={"x": "y" * 3500})
    labels = {f"key-{place}": "v" * 250 for place in range(32)}
    job_updates.change(db, CALLER, Job(id=job.id, labels=labels))
    found = job_rows.get(db, CALLER, job.id)
    assert dict(found.labels) == labels
    assert found.ByteSize() < 16 * 1024
    (task,) = claim(db)
    assert task.spec.inputs["x"] == "y" * 3500


def test_a_job_that_waits_for_a_paused_device_keeps_waiting(db: Database) -> None:
    device = known_device(db)
    pauses.pause(db, Paused(device.provider_id, device.id), "", "olga")
    job = submit(db, device=catalogue.device(db, device.id))
    job_updates.change(db, CALLER, Job(id=job.id, priority=5))
    assert claim(db) == []
    assert queue_times.apply_due(db) == math.inf
    pauses.resume(db, Paused(device.provider_id, device.id))
    queue_times.apply_due(db)
    assert [task.job_id for task in claim(db)] == [job.id]
