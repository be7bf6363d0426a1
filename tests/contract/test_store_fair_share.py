# SPDX-License-Identifier: Apache-2.0
"""The contract of the store, on every database: callers share the workers of a provider."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from qonduit.execution.v1.task_pb2 import Task
from qonduit.v1.job_pb2 import QueueReason
from qonduit_server.lifecycle import SUCCEEDED
from qonduit_server.store import catalogue
from qonduit_server.store.database import Database, open_database
from qonduit_server.store.jobs import fair_share, job_list, queue, queue_positions, waiting_lanes
from tests.postgresql import PostgresqlServer
from tests.store_fixture import LEASE, claim, description, finished, submit, succeeded


def submit_many(db: Database, caller: str, count: int, project: str = "", priority: int = 0) -> list[int]:
    """Queue a job and copies of its row; return them."""
    first = submit(db, caller=caller, project=project, priority=priority).id
    columns = (
        "caller, principal, method, fingerprint, provider_id, device_id, deployment_id, type, shots, created_at, "
        "state, progress, attempt, last_sequence, program_runs, spec, rank"
    )
    numbers = "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :count) "
    insert = f"INSERT INTO jobs ({columns}) "
    select = f"SELECT {columns} FROM jobs CROSS JOIN numbers WHERE jobs.id = :first AND n <= :count"
    statement = numbers + insert + select if db.kind == "sqlite" else insert + numbers + select
    with db._engine.connect() as connection:
        connection.execute(text(statement), {"count": count - 1, "first": first})
        rows = connection.execute(text("SELECT id FROM jobs WHERE id >= :first ORDER BY id"), {"first": first})
        return list(rows.scalars())


def callers(db: Database, tasks: Sequence[Task]) -> list[str]:
    """Return who created the jobs of tasks."""
    with db._engine.connect() as connection:
        rows = connection.execute(text("SELECT id, coalesce(principal, caller) AS name FROM jobs")).all()
    known = {row.id: row.name for row in rows}
    return [known[task.job_id] for task in tasks]


def end(db: Database, tasks: Sequence[Task], seconds: float, owner: str = "me") -> None:
    """Record that each task occupied a worker for these seconds."""
    batch = []
    for task in tasks:
        last = finished(task)
        last.finished.seconds = seconds
        batch += [succeeded(task), last]
    assert not queue.record(db, owner, batch)


def virtual_times(db: Database) -> dict[str, float]:
    with db._engine.connect() as connection:
        rows = connection.execute(text("SELECT owner, virtual_time FROM lanes")).all()
    return {row.owner: row.virtual_time for row in rows}


def test_the_first_job_of_another_caller_passes_ten_thousand(db: Database) -> None:
    many = submit_many(db, "a", 10_000)
    for job_id in many[:3]:
        (task,) = claim(db, capacity=1)
        assert task.job_id == job_id  # in the order of submission
        end(db, [task], 4.0)
    (running,) = claim(db, capacity=1)
    other = submit(db, caller="b")
    end(db, [running], 4.0)
    (task,) = claim(db, capacity=1)
    assert task.job_id == other.id
    # Both have jobs: the time is shared, although those of one caller are eighty times as long.
    submit_many(db, "b", 200)
    end(db, [task], 0.05)
    used: Counter[str] = Counter()
    for _ in range(170):
        tasks = claim(db, capacity=1)
        (caller,) = callers(db, tasks)
        seconds = 4.0 if caller == "a" else 0.05
        used[caller] += int(seconds * 100)
        end(db, tasks, seconds)
    assert 0.4 < used["b"] / used.total() < 0.6, used


def test_an_idle_caller_has_no_credit(db: Database) -> None:
    submit(db, caller="b")
    end(db, claim(db), 1.0)
    submit_many(db, "a", 200)
    for _ in range(20):
        end(db, claim(db, capacity=1), 1.0)
    submit_many(db, "b", 200)
    found: Counter[str] = Counter()
    for _ in range(20):
        tasks = claim(db, capacity=1)
        found.update(callers(db, tasks))
        end(db, tasks, 1.0)
    assert abs(found["a"] - found["b"]) <= 2, found


def test_a_caller_that_used_hours_alone_waits_for_minutes_of_others(db: Database) -> None:
    submit(db, caller="a")
    end(db, claim(db), 36_000.0)
    submit_many(db, "b", 2000)
    submit_many(db, "a", 2)
    found: list[str] = []
    while len(found) < 900 and found.count("a") < 2:
        tasks = claim(db, capacity=1)
        found += callers(db, tasks)
        end(db, tasks, 1.0)
    assert fair_share.MOST_DEBT - 20 < found.index("a") < fair_share.MOST_DEBT + 20
    assert found[-1] == "a"
    assert len(found) - found.index("a") < 20


def test_a_new_caller_does_not_get_every_slot_of_a_claim(db: Database) -> None:
    submit_many(db, "a", 100)
    submit_many(db, "b", 100)
    assert Counter(callers(db, claim(db, capacity=10))) == {"a": 5, "b": 5}
    # The claimed jobs are charged before they end.
    assert all(time > 0 for time in virtual_times(db).values())


def test_a_claim_returns_as_many_jobs_as_there_are(db: Database) -> None:
    submit_many(db, "a", 7)
    submit_many(db, "b", 2)
    submit(db, caller="c")
    assert Counter(callers(db, claim(db, capacity=9))) == {"a": 6, "b": 2, "c": 1}
    assert callers(db, claim(db, capacity=9)) == ["a"]
    assert claim(db) == []


def test_a_caller_with_twice_the_weight_gets_twice_the_time(db: Database) -> None:
    submit_many(db, "a", 300)
    submit_many(db, "b", 300)
    with db._engine.connect() as connection:
        provider = connection.execute(text("SELECT id FROM providers WHERE id > 0")).scalar_one()
    fair_share.set_weight(db, provider, "a", 2.0)
    found: Counter[str] = Counter()
    for _ in range(20):
        tasks = claim(db, capacity=3)
        found.update(callers(db, tasks))
        end(db, tasks, 0.5)
    assert 1.7 < found["a"] / found["b"] < 2.3, found


def test_more_callers_than_a_claim_compares_are_all_served(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_lanes, "MAX_LANES", 3)
    names = [f"caller {number}" for number in range(10)]
    for name in names:
        submit_many(db, name, 3)
    found: Counter[str] = Counter()
    for _ in range(10):
        tasks = claim(db, capacity=2)
        found.update(callers(db, tasks))
        end(db, tasks, 1.0)
    assert len(found) == 10, found
    assert len(claim(db)) == 10


def test_positions_are_those_of_the_next_claims(db: Database) -> None:
    submit_many(db, "a", 6)
    end(db, claim(db, capacity=1), 3.0)
    claim(db, capacity=1)  # writes the cost of the first
    ids = submit_many(db, "b", 5)
    with db._engine.connect() as connection:
        waiting = list(connection.execute(text("SELECT id FROM jobs WHERE state = 1")).scalars())
    places = queue_positions.of_jobs(db, waiting)
    assert {job_id: queue_positions.of_job(db, job_id) for job_id in waiting} == places
    assert sorted(place.position for place in places.values()) == list(range(9))
    reasons = {job_id: place.reason for job_id, place in places.items()}
    assert reasons.pop(ids[0]) == QueueReason.QUEUE_REASON_NO_WORKER
    assert reasons.pop(ids[1]) == QueueReason.QUEUE_REASON_EARLIER_JOBS
    assert QueueReason.QUEUE_REASON_SHARE in reasons.values()
    assert QueueReason.QUEUE_REASON_NO_WORKER not in reasons.values()
    claimed = [task.job_id for task in claim(db)]
    assert claimed == sorted(waiting, key=lambda job_id: places[job_id].position)
    assert queue_positions.of_jobs(db, waiting) == {}


def test_positions_are_bounded(db: Database) -> None:
    submit_many(db, "a", 10_100)
    submit_many(db, "b", 2)
    other = submit_many(db, "b", 1)[-1]
    place = queue_positions.of_job(db, other)
    assert place is not None
    assert (place.position, place.reason) == (5, QueueReason.QUEUE_REASON_SHARE)
    with db._engine.connect() as connection:
        last = connection.execute(text("SELECT max(id) FROM jobs WHERE caller = 'a'")).scalar_one()
    place = queue_positions.of_job(db, last)
    assert place is not None
    assert place.position == queue_positions.MAX_POSITION


def test_a_job_waits_for_a_device_that_is_not_available(db: Database) -> None:
    job = submit(db)
    catalogue.sync(db, [description(unavailable="no SDK")])
    place = queue_positions.of_job(db, job.id)
    assert place is not None
    assert place.reason == QueueReason.QUEUE_REASON_DEVICE_UNAVAILABLE
    assert not place.HasField("position")


@pytest.fixture
def shared(postgresql: PostgresqlServer, postgresql_template: str) -> Iterator[tuple[Database, Database]]:
    """Two servers' databases, which are the same one."""
    name = postgresql.new_database(postgresql_template)
    first, second = open_database(postgresql.url(name)), open_database(postgresql.url(name))
    yield first, second
    first.close()
    second.close()
    postgresql.drop_database(name)


def test_two_servers_claim_every_job_once(shared: tuple[Database, Database]) -> None:
    for caller in "abcde":
        submit_many(shared[0], caller, 200)
    claimed: dict[str, list[Task]] = {"first": [], "second": []}
    both = threading.Barrier(2)

    def work(db: Database, owner: str) -> None:
        both.wait(60)
        while tasks := queue.claim(db, owner, {"IBM": 16}, LEASE):
            claimed[owner] += tasks
            end(db, tasks, 0.01, owner)

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(work, *each) for each in zip(shared, claimed, strict=True)]:
            done.result()
    # The last jobs may have been locked by the other server at the last claim.
    rest = claim(shared[0], "rest", capacity=1000)
    end(shared[0], rest, 0.01, "rest")
    ids = [task.job_id for tasks in (*claimed.values(), rest) for task in tasks]
    assert len(ids) == len(set(ids)) == 1000
    assert all(len(tasks) > 100 for tasks in claimed.values())
    for caller in "abcde":
        assert {job.state for job in job_list.list_page(shared[0], caller, 1000).items} == {SUCCEEDED}


def test_a_claim_does_not_wait_for_a_lane_that_another_server_has_locked(shared: tuple[Database, Database]) -> None:
    first, second = shared
    submit_many(first, "a", 20)
    end(first, claim(first, capacity=1), 1.0)
    claim(first, capacity=1)  # writes the debt
    before = virtual_times(first)["a"]
    with second._engine.connect() as other:
        locking = other.execution_options(isolation_level="READ COMMITTED")
        locking.execute(text("SELECT 1 FROM lanes FOR UPDATE"))
        (task,) = claim(first, capacity=1)  # fails after the timeout of locks if it waits
        assert virtual_times(first)["a"] == before
        locking.rollback()
    end(first, [task], 5.0)
    claim(first, capacity=1)
    # The costs of the locked claim, and of this one, whose estimate is the mean of jobs of 1 s and 5 s.
    assert virtual_times(first)["a"] == pytest.approx(before + 5.0 + 1.8)
