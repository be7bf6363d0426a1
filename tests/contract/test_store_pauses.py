# SPDX-License-Identifier: Apache-2.0
"""The contract of the store, on every database: jobs of paused devices wait, all others run."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import select, text

from qonduit.v1.device_pb2 import Device
from qonduit.v1.job_pb2 import QueueReason
from qonduit_server.store import catalogue, pauses
from qonduit_server.store.database import Database, open_database, utc_now
from qonduit_server.store.jobs import held_jobs, queue, queue_positions, queue_times
from qonduit_server.store.notification_bus import Notification
from qonduit_server.store.pauses import Paused
from tests.contract.test_store_fair_share import submit_many
from tests.store_fixture import claim, description, submit, succeed

PAUSED = QueueReason.QUEUE_REASON_PAUSED


@pytest.fixture
def two(db: Database) -> tuple[Device, Device]:
    """Return two devices of one provider."""
    catalogue.sync(db, [description(devices=("aer_simulator", "two")), description("AWS", ("three",))])
    return catalogue.device_by_name(db, "IBM/aer_simulator"), catalogue.device_by_name(db, "IBM/two")


def pause(db: Database, device: Device, message: str = "") -> None:
    pauses.pause(db, Paused(device.provider_id, device.id), message, "olga")


def resume(db: Database, device: Device) -> None:
    pauses.resume(db, Paused(device.provider_id, device.id))


def claimed(db: Database) -> list[int]:
    return [task.job_id for task in claim(db)]


def settle(db: Database) -> None:
    """Move all jobs that a pause or its end concerns, as a server does."""
    while queue_times.apply_due(db) < 1:
        pass


def age_pauses(db: Database) -> None:
    """Make the pauses old enough that no claim that began before them can be open."""
    with db._engine.connect() as connection:
        connection.execute(text("UPDATE pauses SET paused_at = paused_at - 2000000"))


def test_a_paused_device_keeps_its_jobs_and_another_one_runs_its_own(db: Database, two: tuple[Device, Device]) -> None:
    one, other = two
    waiting = [submit(db, device=one).id for _ in range(3)]
    behind = submit(db, device=other).id
    pause(db, one, "until six")
    # The next job of the only lane is for the paused device: the lane is left.
    assert claim(db, capacity=1) == []
    settle(db)
    assert claimed(db) == [behind]
    late = submit(db, device=one).id
    assert not db._engine.connect().scalar(select(held_jobs.MUST_MOVE))  # a new job of a paused device is not moved
    assert claimed(db) == []
    for place in queue_positions.of_jobs(db, [*waiting, late]).values():
        assert (place.reason, place.HasField("position")) == (PAUSED, False)
        assert place.message == "IBM/aer_simulator is paused: until six"
    resume(db, one)
    settle(db)
    assert queue_times.apply_due(db) == math.inf
    assert [queue_positions.of_jobs(db, waiting)[job_id].position for job_id in waiting] == [0, 1, 2]
    assert claimed(db) == [*waiting, late]


def test_other_callers_do_not_wait_for_jobs_of_a_paused_device(db: Database, two: tuple[Device, Device]) -> None:
    one, other = two
    submit(db, caller="anna", device=one)
    submit(db, caller="anna", device=other)
    theirs = submit(db, caller="ben", device=other).id
    pause(db, one)
    assert [task.job_id for task in claim(db, capacity=1)] == [theirs]


@pytest.mark.parametrize("whole", ["provider", "server"])
def test_a_paused_provider_or_server_claims_nothing(db: Database, two: tuple[Device, Device], whole: str) -> None:
    one, other = two
    jobs = [submit(db, device=one).id, submit(db, device=other).id]
    aws = submit(db, device=catalogue.device_by_name(db, "AWS/three")).id
    subject = Paused(one.provider_id) if whole == "provider" else Paused()
    pauses.pause(db, subject, "", "olga")
    assert claimed(db) == []
    assert [task.job_id for task in claim(db, provider="AWS")] == ([aws] if whole == "provider" else [])
    places = queue_positions.of_jobs(db, jobs).values()
    assert [place.message for place in places] == 2 * [
        "IBM is paused" if whole == "provider" else "the server is paused"
    ]
    assert not db._engine.connect().scalar(select(held_jobs.MUST_MOVE))
    pauses.resume(db, subject)
    assert claimed(db) == jobs


def test_a_device_stays_paused_when_the_pause_of_its_server_ends(db: Database, two: tuple[Device, Device]) -> None:
    one, _ = two
    pauses.pause(db, Paused(), "all", "olga")
    pause(db, one, "own")
    job = submit(db, device=one).id
    assert catalogue.device(db, one.id).pause.message == "own"
    pauses.resume(db, Paused())
    settle(db)
    assert claimed(db) == []
    resume(db, one)
    assert catalogue.pause_of(db, one.id) is None
    settle(db)
    assert claimed(db) == [job]


def test_a_job_with_a_time_and_a_requeued_one_wait_for_a_paused_device(
    db: Database, two: tuple[Device, Device]
) -> None:
    one, _ = two
    scheduled = submit(db, device=one, not_before=_later()).id
    running = submit(db, device=one).id
    assert claimed(db) == [running]
    pause(db, one)
    with db._engine.connect() as connection:
        connection.execute(text("UPDATE jobs SET not_before = 1 WHERE id = :id"), {"id": scheduled})
    queue.release(db, "me", {(running, 1): None}, "lost")
    assert claimed(db) == []
    settle(db)
    assert claimed(db) == []
    places = queue_positions.of_jobs(db, [scheduled, running])
    assert [places[job_id].reason for job_id in (scheduled, running)] == [PAUSED, PAUSED]
    resume(db, one)
    settle(db)
    assert claimed(db) == [scheduled, running]


def _later() -> Timestamp:
    time = Timestamp()
    time.FromDatetime(utc_now() + timedelta(hours=1))
    return time


def test_a_drain_counts_the_jobs_that_still_run(db: Database, two: tuple[Device, Device]) -> None:
    one, other = two
    submit(db, device=one)
    submit(db, device=other)
    tasks = {task.device: task for task in claim(db)}
    pause(db, one, "maintenance")
    pauses.pause(db, Paused(one.provider_id), "", "olga")
    pauses.pause(db, Paused(), "", "olga")
    age_pauses(db)

    def counts() -> dict[str, tuple[int, bool]]:
        return {each.subject: (each.running_jobs, each.drained) for each in pauses.for_operators(db)}

    assert counts() == {"IBM/aer_simulator": (1, False), "IBM": (2, False), "server": (2, False)}
    assert pauses.running_jobs(db, one.id) == 1
    succeed(db, [tasks["aer_simulator"]])
    assert counts() == {"IBM/aer_simulator": (0, True), "IBM": (1, False), "server": (1, False)}
    succeed(db, [tasks["two"]])
    assert counts() == {"IBM/aer_simulator": (0, True), "IBM": (0, True), "server": (0, True)}
    assert {each.paused_by for each in pauses.for_operators(db)} == {"olga"}
    assert catalogue.device(db, one.id).pause.paused_by == ""  # only for operators


def test_a_new_pause_is_not_drained_before_the_claims_that_began_before_it_end(
    db: Database, two: tuple[Device, Device]
) -> None:
    pause(db, two[0])
    (found,) = pauses.for_operators(db)
    assert (found.running_jobs, found.drained) == (0, False)


def test_a_repeated_pause_replaces_the_message_and_keeps_the_time(db: Database, two: tuple[Device, Device]) -> None:
    subject = Paused(two[0].provider_id, two[0].id)
    first = pauses.pause(db, subject, "one", "olga")
    second = pauses.pause(db, subject, "two", "adam")
    assert (second.message, second.paused_at, second.paused_by) == ("two", first.paused_at, "olga")
    assert catalogue.device(db, two[0].id).pause.message == "two"


def test_a_pause_survives_a_restart_and_a_new_description_of_the_provider(
    database_url: str, db: Database, two: tuple[Device, Device]
) -> None:
    one, _ = two
    job = submit(db, device=one).id
    pause(db, one, "kept")
    settle(db)
    db.close()
    again = open_database(database_url)
    try:
        catalogue.sync(again, [description(devices=("aer_simulator", "two"))])
        assert catalogue.device(again, one.id).pause.message == "kept"
        assert [device.name for device in catalogue.list_devices(again, filter="paused = true").items] == [
            "aer_simulator"
        ]
        assert claimed(again) == []
        resume(again, one)
        settle(again)
        assert claimed(again) == [job]
    finally:
        again.close()


def test_a_claim_that_leaves_a_job_has_it_moved(db: Database, two: tuple[Device, Device]) -> None:
    one, _ = two
    submit(db, device=one)
    pause(db, one)
    seen: list[Notification] = []
    db.notifications.subscribe(seen.append)
    assert claimed(db) == []
    assert [notification.times for notification in seen] == [True]


def test_many_jobs_of_a_paused_device_do_not_slow_the_claims_of_others(
    db: Database, two: tuple[Device, Device]
) -> None:
    """Each job is moved once, and a claim reads none of the moved ones."""
    one, other = two
    paused = submit_many(db, "a", 5000)  # of the first device
    pause(db, one)
    steps = 0
    while queue_times.apply_due(db) < 1:
        steps += 1
    assert steps == 5
    with db._engine.connect() as connection:
        query = "SELECT count(*) FROM jobs WHERE not_before = 0"
        assert connection.execute(text(query)).scalar() == 0
    own = submit(db, caller="a", device=other).id
    assert claimed(db) == [own]
    resume(db, one)
    settle(db)
    assert [task.job_id for task in claim(db, capacity=3)] == paused[:3]
