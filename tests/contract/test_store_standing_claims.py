# SPDX-License-Identifier: Apache-2.0
"""The contract of the store, on every database: a claim that waits for the jobs that are queued next."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.execution.v1.task_pb2 import Task
from qonduit.v1.job_pb2 import JOB_TYPE_RUNNER, RequiredVersions
from qonduit.v1.project_pb2 import Project
from qonduit.v1.quota_pb2 import QuotaValues
from qonduit_server.encryption.key_ring import Key, KeyRing
from qonduit_server.encryption.sealing import Sealer
from qonduit_server.errors import Unavailable
from qonduit_server.lifecycle import QUEUED, RUNNING, SUCCEEDED
from qonduit_server.store import catalogue, pauses, projects
from qonduit_server.store.database import Database, open_database
from qonduit_server.store.engines import connect_to_write
from qonduit_server.store.jobs import job_rows, queue
from qonduit_server.store.jobs.standing_claim import StandingClaim
from qonduit_server.store.notification_bus import Notification
from qonduit_server.store.pauses import Paused
from qonduit_server.store.users import quota_checks, quota_rows
from tests.postgresql import PostgresqlServer
from tests.store_fixture import (
    CALLER,
    LEASE,
    claim,
    deployment,
    description,
    finished,
    history,
    in_one_transaction,
    kinds,
    known_device,
    submit,
    succeeded,
)


@pytest.fixture(params=[0, 1000], ids=["searched", "fresh"], autouse=True)
def max_queued(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """With a limit, the queue is known to be empty: then jobs are claimed without a search."""
    monkeypatch.setattr(sys.modules[__name__], "submit", partial(submit, max_queued=request.param))
    return int(request.param)


def stand(db: Database, capacity: int = 10, provider: str = "IBM") -> tuple[StandingClaim, threading.Event]:
    """Return a standing claim, and the event that its answer sets."""
    answered = threading.Event()
    return StandingClaim(db, "me", {provider: capacity}, LEASE, 1, answered.set), answered


@pytest.fixture
def notifications(db: Database) -> Iterator[list[Notification]]:
    known_device(db)
    found: list[Notification] = []
    unsubscribe = db.notifications.subscribe(found.append)
    yield found
    unsubscribe()


def test_a_job_is_created_and_claimed_in_one_transaction(db: Database, notifications: list[Notification]) -> None:
    standing, answered = stand(db)
    job = submit(db)
    assert job.state == QUEUED
    assert answered.wait(100)
    (task,) = standing.tasks() or []
    assert (task.job_id, task.attempt, task.provider, task.device) == (job.id, 1, "IBM", "aer_simulator")
    assert [sorted(each.events) for each in notifications if each.jobs] == [[job.id]]
    assert not any(each.queue for each in notifications)
    running = job_rows.get(db, CALLER, job.id)
    assert (running.state, running.attempt, running.server) == (RUNNING, 1, "me")
    assert queue.record(db, "me", [succeeded(task), finished(task)]) == set()
    assert kinds(db, job.id) == ["created", "state_change", "program_run", "result_ready", "state_change"]
    assert [event.sequence for event in history(db, job.id)] == [1, 2, 3, 4, 5]
    assert job_rows.get(db, CALLER, job.id).state == SUCCEEDED


def test_a_standing_claim_claims_once(db: Database, notifications: list[Notification]) -> None:
    standing, _ = stand(db)
    first, second = submit(db), submit(db)
    assert [task.job_id for task in standing.tasks() or []] == [first.id]
    assert [task.job_id for task in claim(db)] == [second.id]
    assert not standing.withdraw()


def test_claimers_are_notified_of_jobs_that_a_standing_claim_leaves(
    db: Database, notifications: list[Notification]
) -> None:
    catalogue.sync(db, [description(), description("AWS", ["local"])])
    other = catalogue.device_by_name(db, "AWS/local")
    notifications.clear()
    standing, answered = stand(db, capacity=1)
    submit(db, device=other)
    # No job that it could claim was queued.
    assert [each.queued for each in notifications] == [{"AWS"}]
    assert not answered.is_set()
    submit(db)
    # Another job may wait, because the claim took as many as it wanted.
    assert [each.queued for each in notifications] == [{"AWS"}, {"IBM", "AWS"}]
    assert len(standing.tasks() or []) == 1


def test_a_job_is_claimed_alike_with_and_without_a_search(db: Database, notifications: list[Notification]) -> None:
    made = []
    for limit in (0, 1000):
        standing, _ = stand(db)
        job = submit(db, max_queued=limit, inline=deployment(2), labels={"a": "b"}, priority=3)
        (task,) = standing.tasks() or []
        found, events = job_rows.get(db, CALLER, job.id), history(db, job.id)
        for each in (task, found, *events):
            each.ClearField("job_id" if each is not found else "id")
        for time in ("created_at", "started_at"):
            found.ClearField(time)
        made.append((task, found, [event.WhichOneof("event") for event in events]))
        queue.record(db, "me", [finished(Task(job_id=job.id, attempt=1))])
    assert made[0] == made[1]
    assert made[0][1].state == RUNNING


@pytest.mark.parametrize("how", ["device", "provider", "server", "time", "versions", "elsewhere", "project"])
def test_a_standing_claim_starts_no_job_that_must_wait(
    db: Database, notifications: list[Notification], how: str
) -> None:
    device = known_device(db)
    options: dict[str, Any] = {}
    match how:
        case "device" | "provider" | "server":
            parts = {"device": (device.provider_id, device.id), "provider": (device.provider_id,), "server": ()}
            pauses.pause(db, Paused(*parts[how]), "", "olga")
            options["device"] = catalogue.device(db, device.id)
        case "time":
            options["not_before"] = Timestamp(seconds=4_000_000_000)
    standing, answered = stand(db, provider="AWS" if how == "elsewhere" else "IBM")
    if how == "versions":
        standing.withdraw()
        standing = StandingClaim(db, "me", {"IBM": 10}, LEASE, 1, answered.set, environments={"IBM": []})
        options["required_versions"] = RequiredVersions(requirements=["qiskit==0.1"])
    if how == "project":
        projects.create(db, CALLER, Project(name="team"))
        options["project"] = "team"
    job = submit(db, **options)
    if how == "project":  # found by a search
        assert [task.job_id for task in standing.tasks() or []] == [job.id]
        return
    assert answered.is_set() is False or standing.tasks() == []
    assert job_rows.get(db, CALLER, job.id).state == QUEUED


@pytest.mark.parametrize(
    ("options", "start"),
    [
        ([{}, {"not_before": Timestamp(seconds=4_000_000_000)}, {}], [0, 2]),
        ([{}, {"caller": "another"}], [0, 1]),
        ([{}, {}], [0, 1]),
    ],
    ids=["a time", "two owners", "alike"],
)
def test_of_several_jobs_of_a_transaction_those_start_that_may(
    db: Database,
    notifications: list[Notification],
    options: list[dict[str, Any]],
    start: list[int],
) -> None:
    standing, _ = stand(db)
    jobs = [each.result().id for each in in_one_transaction(db, [partial(submit, db, **each) for each in options])]
    assert sorted(task.job_id for task in standing.tasks() or []) == [jobs[place] for place in start]


def test_a_withdrawn_claim_claims_nothing(db: Database, notifications: list[Notification]) -> None:
    standing, answered = stand(db)
    assert standing.withdraw()
    job = submit(db)
    assert job_rows.get(db, CALLER, job.id).state == QUEUED
    assert [each.queue for each in notifications] == [True]
    assert not answered.is_set()


def test_the_lane_of_a_standing_claim_is_charged(db: Database, notifications: list[Notification]) -> None:
    standing, _ = stand(db)
    submit(db)
    (task,) = standing.tasks() or []
    assert sum(each.long + 1 for each in db.lane_accounts.running().values()) == 1
    queue.record(db, "me", [succeeded(task), finished(task)])
    assert not db.lane_accounts.running()
    ((_, owed),) = db.lane_accounts.take().items()
    assert owed.ended == 1


def test_a_standing_claim_decrypts_the_credentials_of_its_jobs(db: Database) -> None:
    db.sealer = Sealer(KeyRing(keys=[Key("key", b"k" * 32)]))  # type: ignore[misc]
    device = known_device(db)
    standing, _ = stand(db)
    spec = JobSpec(shots=10, type=JOB_TYPE_RUNNER, one_time_credential=True)
    job_rows.create(db, job_rows.NewJob(CALLER, spec, device.id, deployment=deployment(), secret="of this job"))
    assert [task.credential for task in standing.tasks() or []] == ["of this job"]


def test_a_standing_claim_leaves_the_jobs_that_a_quota_holds(db: Database, notifications: list[Notification]) -> None:
    quota_rows.set_quota(db, CALLER, QuotaValues(running_jobs=1), ["running_jobs"])
    first, second = stand(db), submit(db)
    assert [task.job_id for task in first[0].tasks() or []] == [second.id]
    notifications.clear()
    standing, _ = stand(db)
    held, other = submit(db), submit(db, caller="another")
    assert standing.tasks() == []
    assert [each.queue for each in notifications] == [False, True]
    assert [task.job_id for task in claim(db)] == [other.id]
    assert job_rows.get(db, CALLER, held.id).state == QUEUED


def test_claimers_are_notified_of_jobs_whose_quota_another_server_uses(
    postgresql: PostgresqlServer, postgresql_template: str
) -> None:
    name = postgresql.new_database(postgresql_template)
    db = open_database(postgresql.url(name))
    try:
        known_device(db)
        quota_rows.set_quota(db, CALLER, QuotaValues(running_jobs=1), ["running_jobs"])
        found: list[Notification] = []
        db.notifications.subscribe(found.append)
        standing, _ = stand(db)
        with connect_to_write(db._engine) as another:
            another.execute(quota_checks._LOCK, {"owners": [CALLER]})
            job = submit(db)
            assert standing.tasks() == []
            assert [each.queue for each in found if each.jobs] == [True]
            another.rollback()
        assert [task.job_id for task in claim(db)] == [job.id]
    finally:
        db.close()
        postgresql.drop_database(name)


def test_an_owner_finds_the_jobs_of_a_standing_claim_whose_answer_was_lost(
    db: Database, notifications: list[Notification]
) -> None:
    stand(db)
    job = submit(db)
    assert [task.job_id for task in queue.claimed(db, ["me"])["me"]] == [job.id]


def test_a_claim_that_is_not_answered_in_time_is_unavailable(db: Database) -> None:
    standing, _ = stand(db)
    with pytest.raises(Unavailable, match="in time"):
        standing.tasks(0.0)


def test_a_standing_claim_of_a_restarted_server_is_requeued(database_url: str) -> None:
    first = open_database(database_url)
    known_device(first)
    stand(first)
    job = submit(first)
    first.close()  # as a crash: its lease remains
    second = open_database(database_url)
    assert queue.expire(second, all_owners=True) == 1
    assert job_rows.get(second, CALLER, job.id).state == QUEUED
    assert [task.attempt for task in claim(second, "another")] == [2]
    second.close()
