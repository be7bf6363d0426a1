# SPDX-License-Identifier: Apache-2.0
"""The contract of the store, on every database: jobs that require versions start on workers that have them alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pytest
from sqlalchemy import Engine, event

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.v1.job_pb2 import Job, QueueReason, RequiredVersions
from qonduit.v1.project_pb2 import Project
from qonduit.v1.provenance_pb2 import Provenance
from qonduit.v1.provider_pb2 import Environment as EnvironmentMessage
from qonduit_server.errors import FailedPrecondition
from qonduit_server.lifecycle import QUEUED
from qonduit_server.store import catalogue, pauses, projects
from qonduit_server.store.database import Database
from qonduit_server.store.jobs import (
    job_rows,
    job_updates,
    pinned_jobs,
    queue,
    queue_positions,
    queue_times,
    waiting_lanes,
)
from qonduit_server.store.pauses import Paused
from qonduit_server.version_requirements import Environment
from tests.contract.test_store_queue_times import after, turn_back
from tests.store_fixture import CALLER, LEASE, description, submit, succeed

OLD = {"qiskit-aer": "0.17.2", "numpy": "2.3.5"}
NEW = {"qiskit-aer": "0.18.0", "numpy": "2.3.5"}


def offer(db: Database, *environments: Mapping[str, str]) -> None:
    """Store that the workers of a server have these environments."""
    described = description()
    described.environments.extend(EnvironmentMessage(versions=each) for each in environments)
    catalogue.sync(db, [described])


def pinned(db: Database, *requirements: str, **options: object) -> Job:
    return submit(db, required_versions=RequiredVersions(requirements=requirements), **options)  # type: ignore[arg-type]


def claimed(
    db: Database, *environments: Mapping[str, str], capacity: int = 100, room: float = math.inf, owner: str = "me"
) -> list[int]:
    """Claim for workers with these environments; return the jobs."""
    offered: Mapping[str, Sequence[Environment]] = {"IBM": [Environment(each, room) for each in environments]}
    return [task.job_id for task in queue.claim(db, owner, {"IBM": capacity}, LEASE, environments=offered)]


def test_a_job_starts_only_where_its_versions_are(db: Database) -> None:
    old, new, any_numpy = pinned(db, "qiskit-aer==0.17.2"), pinned(db, "qiskit-aer>=0.18"), pinned(db, "numpy>=2")
    free = submit(db)
    assert claimed(db, OLD) == [old.id, any_numpy.id, free.id]
    assert claimed(db, OLD) == []
    assert job_rows.get(db, CALLER, new.id).state == QUEUED
    assert claimed(db, OLD, NEW) == [new.id]


def test_without_known_environments_every_version_is_there(db: Database) -> None:
    job = pinned(db, "qiskit-aer==9")
    assert [task.job_id for task in queue.claim(db, "me", {"IBM": 9}, LEASE)] == [job.id]


def test_jobs_of_a_caller_start_in_their_order_with_and_without_versions(db: Database) -> None:
    made = [pinned(db, "numpy>=2"), submit(db), pinned(db, "qiskit-aer<1"), submit(db), pinned(db, "numpy>=2")]
    first = pinned(db, "numpy>=2", priority=5)
    expected = [first.id, *(job.id for job in made)]
    offer(db, OLD)
    places = queue_positions.of_jobs(db, expected)
    assert places[first.id].position == 0
    assert places[made[4].id].position == 4  # those without versions, and those with the same ones
    found = [job_id for _ in expected for job_id in claimed(db, OLD, capacity=1)]
    assert found == expected


def test_many_requirements_of_one_caller_cost_the_claims_of_others_little(db: Database) -> None:
    for number in range(20):
        pinned(db, f"numpy>=1.0.{number}", caller="many")
    others = [submit(db, caller=f"other{number}") for number in range(20)]
    statements: list[str] = []

    def note(*arguments: object) -> None:
        statements.append(str(arguments[2]))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        found = claimed(db, OLD, capacity=22)
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert {job.id for job in others} < set(found)
    # A few for each queue, and not one for each queue of each caller.
    assert len([each for each in statements if "not_before" in each and each.startswith("SELECT")]) < 100


def test_callers_share_workers_whether_their_jobs_require_versions_or_not(db: Database) -> None:
    for _ in range(4):
        pinned(db, "numpy>=2", caller="a")
        submit(db, caller="b")
    jobs = {job.id: job.executed_by for job in (job_rows.get(db, None, each) for each in claimed(db, OLD, capacity=4))}
    assert sorted(jobs.values()) == ["a", "a", "b", "b"]


def test_members_of_a_project_share_workers_whether_their_jobs_require_versions_or_not(db: Database) -> None:
    projects.create(db, "a", Project(name="lab"))
    pinned_ids = [pinned(db, "numpy>=2", caller="a", project="lab").id for _ in range(4)]
    for name in ("b", "c"):
        for _ in range(3):
            submit(db, caller=name, project="lab")
    mixed = submit(db, caller="a", project="lab").id
    assert claimed(db, {"numpy": "1.0"}, capacity=1) == [mixed]
    taken = claimed(db, OLD, capacity=6)
    assert [job for job in taken if job in pinned_ids] == pinned_ids[:2]
    jobs = [job_rows.get(db, None, each).executed_by for each in taken]
    assert sorted(jobs) == ["a", "a", "b", "b", "c", "c"]
    offer(db, OLD)
    places = queue_positions.of_jobs(db, pinned_ids[2:])
    assert {job_id: queue_positions.of_job(db, job_id) for job_id in pinned_ids[2:]} == places
    assert places[pinned_ids[2]].position < places[pinned_ids[3]].position


def test_a_claim_takes_no_more_jobs_than_the_workers_with_their_versions_take(db: Database) -> None:
    made = [pinned(db, "qiskit-aer==0.17.2").id for _ in range(3)]
    free = submit(db).id
    assert claimed(db, OLD, room=2) == [*made[:2], free]
    assert claimed(db, OLD, room=0) == []
    assert claimed(db, OLD, room=2) == made[2:]


def test_a_requeued_job_waits_for_its_versions_again(db: Database) -> None:
    job = pinned(db, "qiskit-aer==0.17.2")
    assert claimed(db, OLD) == [job.id]
    queue.release(db, "me", {(job.id, 1): None}, "its worker died", counts=True)
    assert claimed(db, NEW) == []
    assert claimed(db, OLD) == [job.id]


def test_a_scheduled_job_waits_for_its_versions_when_its_time_has_come(db: Database) -> None:
    job = pinned(db, "qiskit-aer==0.17.2", not_before=after(3600))
    assert claimed(db, OLD) == []
    turn_back(db, "not_before", job.id)
    assert queue_times.apply_due(db) < 1
    assert claimed(db, NEW) == []
    assert claimed(db, OLD) == [job.id]


def test_a_job_whose_start_time_is_removed_waits_for_its_versions(db: Database) -> None:
    job = pinned(db, "qiskit-aer==0.17.2", not_before=after(3600))
    job_updates.change(db, frozenset({CALLER}), Job(id=job.id), ["not_before"])
    assert claimed(db, NEW) == []
    assert claimed(db, OLD) == [job.id]


def test_a_paused_device_holds_its_own_jobs_alone(db: Database) -> None:
    catalogue.sync(db, [description(devices=("aer_simulator", "two"))])
    one, two = (catalogue.device_by_name(db, f"IBM/{name}") for name in ("aer_simulator", "two"))
    held, free = pinned(db, "numpy>=2", device=one), pinned(db, "numpy>=2", device=two)
    pauses.pause(db, Paused(one.provider_id, one.id), "", "olga")
    assert claimed(db, OLD) == [free.id]
    pauses.resume(db, Paused(one.provider_id, one.id))
    assert claimed(db, OLD) == [held.id]


def _claimed_by_all_claims(db: Database, most: int) -> list[int]:
    """Claim as a dispatcher does, until all queues are examined."""
    found = claimed(db, OLD)
    for _ in range(most):
        if not db.lane_accounts.unexamined:
            return found
        found += claimed(db, OLD)
    raise AssertionError("the claims have no end")


def test_claims_find_their_versions_among_a_thousand_queues_at_a_bounded_cost(db: Database) -> None:
    for number in range(1000):
        pinned(db, f"numpy=={number + 3}.*", caller=f"c{number % 20}")
    assert _claimed_by_all_claims(db, 4) == []
    served = [pinned(db, f"numpy>=2.0.{number}").id for number in range(5)]
    statements: list[str] = []

    def note(*arguments: object) -> None:
        statements.append(str(arguments[2]))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        assert sorted(_claimed_by_all_claims(db, 4)) == served
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    # Four claims, and no query for each queue.
    assert len(statements) < 100


def test_no_queue_waits_for_ever_behind_others_although_jobs_come_all_the_time(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pinned_jobs, "_MOST", 4)
    for number in range(20):
        pinned(db, f"numpy=={number + 3}.*")
    served = {pinned(db, f"numpy>=2.0.{number}").id for number in range(10)}
    for _ in range(8):
        db.lane_accounts.examine_all(db.lane_accounts.unexamined)  # a job was queued
        served -= set(claimed(db, OLD))
    assert not served


def test_a_claim_that_takes_all_it_can_examines_the_same_queues_again_later(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pinned_jobs, "_MOST", 4)
    for number in range(20):
        pinned(db, f"numpy=={number + 3}.*")
    served = [pinned(db, "numpy>=2").id for _ in range(3)]
    found: list[int] = []
    while (got := claimed(db, OLD, capacity=1)) or db.lane_accounts.unexamined:
        found += got
    assert found == served


def test_each_of_many_callers_with_the_same_versions_has_a_turn(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_lanes, "MAX_LANES", 3)
    made = {pinned(db, "numpy>=2", caller=f"c{number}").id for number in range(8) for _ in range(3)}
    made |= {pinned(db, "numpy>=2.1", caller=f"c{number}").id for number in range(4, 9)}
    made |= {submit(db, caller=f"c{number}").id for number in (2, 7)}
    owners = [job_rows.get(db, None, job).executed_by for _ in range(9) for job in claimed(db, OLD, capacity=1)]
    assert sorted(owners) == [f"c{number}" for number in range(9)]
    found = {job for job in made if job_rows.get(db, None, job).state != QUEUED}
    assert found | set(claimed(db, OLD)) == made


def test_a_job_waits_with_the_versions_that_workers_have(db: Database) -> None:
    offer(db, NEW, OLD)
    waiting, served = pinned(db, "qiskit-aer==0.16.0"), pinned(db, "qiskit-aer==0.17.2")
    places = queue_positions.of_jobs(db, [waiting.id, served.id])
    assert places[waiting.id].reason == QueueReason.QUEUE_REASON_VERSIONS
    assert "qiskit-aer==0.16.0; workers have qiskit-aer 0.17.2; or qiskit-aer 0.18.0" in places[waiting.id].message
    assert not places[waiting.id].HasField("position")
    assert places[served.id].reason == QueueReason.QUEUE_REASON_NO_WORKER


def test_versions_that_no_worker_has_are_refused_unless_the_job_waits(db: Database) -> None:
    offer(db, OLD)
    spec = JobSpec(required_versions=RequiredVersions(requirements=["qiskit-aer==0.18.*"]))
    with pytest.raises(FailedPrecondition, match=r"workers have qiskit-aer 0\.17\.2; set .*wait") as caught:
        pinned_jobs.check_served(db, "IBM/aer_simulator", spec)
    assert caught.value.reason == "VERSION_UNAVAILABLE"
    spec.required_versions.wait = True
    pinned_jobs.check_served(db, "IBM/aer_simulator", spec)
    pinned_jobs.check_served(db, "IBM/aer_simulator", JobSpec())


def test_an_exact_rerun_is_refused_if_no_worker_has_the_versions_of_the_first_run(db: Database) -> None:
    spec = JobSpec(required_provenance=Provenance(versions=OLD))
    pinned_jobs.check_served(db, "IBM/aer_simulator", spec)  # no worker has described itself: it waits
    offer(db, NEW)
    with pytest.raises(FailedPrecondition, match=r"differs in qiskit-aer===0\.17\.2 \(has 0\.18\.0\)") as caught:
        pinned_jobs.check_served(db, "IBM/aer_simulator", spec)
    assert caught.value.reason == "NOT_REPRODUCIBLE"


def test_an_exact_rerun_runs_where_its_versions_are(db: Database) -> None:
    job = submit(db, required_provenance=Provenance(versions=OLD))
    assert claimed(db, NEW) == []
    (task,) = queue.claim(db, "me", {"IBM": 1}, LEASE, environments={"IBM": [Environment({**OLD, "python": "3.11.7"})]})
    assert task.job_id == job.id
    succeed(db, [task])
