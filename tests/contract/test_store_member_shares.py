# SPDX-License-Identifier: Apache-2.0
"""The contract of the store, on every database: the members of a project share what their project gets."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from qonduit.execution.v1.task_pb2 import Task
from qonduit.v1.project_pb2 import Project, ProjectMember
from qonduit.v1.quota_pb2 import QuotaValues
from qonduit_server.store import projects
from qonduit_server.store.database import Database, open_database
from qonduit_server.store.jobs import claim_selection, queue, queue_positions, waiting_lanes
from qonduit_server.store.users import quota_rows
from tests.contract import test_store_fair_share as fair_share
from tests.contract.queue_simulation import Arrival, simulated_queue
from tests.contract.test_store_fair_share import callers, end
from tests.postgresql import PostgresqlServer
from tests.store_fixture import LEASE, claim, known_device

LAB = "projects/lab"
submit_many = partial(fair_share.submit_many, project="lab")


def make_lab(db: Database, **weights: float) -> None:
    """Create a project of anna with other members."""
    projects.create(db, "anna", Project(name="lab"))
    for user, weight in weights.items():
        projects.set_member(db, "anna", "lab", ProjectMember(user=user, role=projects.MEMBER, weight=weight))
    known_device(db)


def run(db: Database, count: int, seconds: dict[str, float], capacity: int = 1) -> Counter[str]:
    """Run jobs one claim after another; return the milliseconds that each user got."""
    used: Counter[str] = Counter()
    for _ in range(count):
        tasks = claim(db, capacity=capacity)
        for task, user in zip(tasks, callers(db, tasks), strict=True):
            end(db, [task], seconds[user])
            used[user] += round(seconds[user] * 1000)
    return used


def member_times(db: Database) -> dict[str, float]:
    with db._engine.connect() as connection:
        rows = connection.execute(text("SELECT member, virtual_time FROM member_lanes")).all()
    return {row.member: row.virtual_time for row in rows}


def test_members_share_time_and_not_jobs(db: Database) -> None:
    make_lab(db, ben=1)
    submit_many(db, "anna", 40)
    submit_many(db, "ben", 200)
    run(db, 4, {"anna": 4.0, "ben": 0.1})  # until the means are known
    used = run(db, 90, {"anna": 4.0, "ben": 0.1})
    assert 0.35 < used["ben"] / used.total() < 0.65, used


def test_a_member_with_twice_the_weight_gets_twice_the_time(db: Database) -> None:
    make_lab(db, ben=2)
    submit_many(db, "anna", 100)
    submit_many(db, "ben", 100)
    used = run(db, 20, {"anna": 0.5, "ben": 0.5}, capacity=3)
    assert 1.7 < used["ben"] / used["anna"] < 2.3, used
    # The next claim uses a changed weight.
    projects.set_member(db, "anna", "lab", ProjectMember(user="ben", role=projects.MEMBER, weight=0.5))
    used = run(db, 20, {"anna": 0.5, "ben": 0.5}, capacity=3)
    assert 1.7 < used["anna"] / used["ben"] < 2.3, used


def test_members_and_their_weights_do_not_change_the_part_of_the_project(db: Database) -> None:
    make_lab(db, ben=100, carl=1)
    for user in ("anna", "ben", "carl"):
        submit_many(db, user, 40)
    submit_many(db, "dora", 100, project="")
    used = run(db, 80, dict.fromkeys(("anna", "ben", "carl", "dora"), 1.0))
    assert abs(used["dora"] - used.total() / 2) <= 3000, used


def test_many_jobs_of_one_member_do_not_delay_the_first_job_of_another(db: Database) -> None:
    make_lab(db, ben=1, carl=1)
    submit_many(db, "ben", 1000)
    assert callers(db, claim(db, capacity=10)) == ["ben"] * 10
    first, second = submit_many(db, "anna", 2)
    (other,) = submit_many(db, "carl", 1)
    claimed = [task.job_id for task in claim(db, capacity=6)]
    assert {first, other} <= set(claimed[:3])
    assert second in claimed


def test_a_member_that_was_idle_has_no_credit(db: Database) -> None:
    make_lab(db, ben=1)
    submit_many(db, "ben", 1)
    run(db, 1, {"ben": 1.0})
    submit_many(db, "anna", 200)
    run(db, 20, {"anna": 1.0})
    submit_many(db, "ben", 200)
    used = run(db, 20, {"anna": 1.0, "ben": 1.0})
    assert abs(used["anna"] - used["ben"]) <= 2000, used


def test_priority_orders_the_jobs_of_a_member_alone(db: Database) -> None:
    make_lab(db, ben=1)
    usual = submit_many(db, "ben", 4)
    urgent = submit_many(db, "ben", 2, priority=5)
    other = submit_many(db, "anna", 3)
    claimed = [task.job_id for task in claim(db, capacity=6)]
    assert [job for job in claimed if job not in other] == [*urgent, usual[0]]
    assert [job for job in claimed if job in other] == other


def test_a_quota_of_the_project_limits_all_members(db: Database) -> None:
    make_lab(db, ben=1)
    submit_many(db, "anna", 5)
    submit_many(db, "ben", 5)
    quota_rows.set_quota(db, LAB, QuotaValues(running_jobs=4), ["running_jobs"])
    assert Counter(callers(db, claim(db, capacity=10))) == {"anna": 2, "ben": 2}
    assert claim(db, capacity=10) == []


def test_a_claim_returns_as_many_jobs_of_members_as_there_are(db: Database) -> None:
    make_lab(db, ben=1)
    submit_many(db, "anna", 2)
    submit_many(db, "ben", 7)
    submit_many(db, "dora", 3, project="")
    assert Counter(callers(db, claim(db, capacity=20))) == {"anna": 2, "ben": 7, "dora": 3}
    assert claim(db) == []


def test_more_members_than_a_claim_compares_are_all_served(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_lanes, "MAX_LANES", 3)
    monkeypatch.setattr(claim_selection, "_LEAST_MEMBERS", 3)
    names = [f"member{number}" for number in range(10)]
    make_lab(db, **dict.fromkeys(names, 1.0))
    for name in names:
        submit_many(db, name, 3)
    found: Counter[str] = Counter()
    for _ in range(10):
        tasks = claim(db, capacity=2)
        found.update(callers(db, tasks))
        end(db, tasks, 1.0)
    assert len(found) == 10, found
    assert len(claim(db)) == 10
    assert claim(db) == []


def test_positions_are_those_of_the_next_claims(db: Database) -> None:
    db.lane_accounts._clock = lambda: 0.0  # a running job costs its estimate, however long the test takes
    make_lab(db, ben=3, carl=1)
    for user, count in (("anna", 5), ("ben", 9), ("carl", 4)):
        submit_many(db, user, count)
    submit_many(db, "dora", 12, project="")
    run(db, 6, {"anna": 1.93, "ben": 0.47, "carl": 1.13, "dora": 1.09})
    claim(db, capacity=1)  # writes the cost of the last one
    with db._engine.connect() as connection:
        waiting = list(connection.execute(text("SELECT id FROM jobs WHERE state = 1")).scalars())
    places = queue_positions.of_jobs(db, waiting)
    assert {job_id: queue_positions.of_job(db, job_id) for job_id in waiting} == places
    assert sorted(place.position for place in places.values()) == list(range(len(waiting)))
    expected = [places[task.job_id].position for task in claim(db)]
    assert expected == list(range(len(waiting)))


def test_a_member_who_left_is_still_served(db: Database) -> None:
    make_lab(db, ben=1)
    submit_many(db, "ben", 2)
    projects.remove_member(db, "anna", "lab", "ben")
    assert callers(db, claim(db, capacity=5)) == ["ben", "ben"]


@given(
    means=st.lists(st.sampled_from([0.05, 0.5, 3.0]), min_size=3, max_size=3),
    weights=st.lists(st.sampled_from([1.0, 2.0, 4.0]), min_size=3, max_size=3),
    workers=st.integers(1, 2),
)
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_while_all_members_wait_each_gets_the_time_of_its_weight(
    tmp_path_factory: pytest.TempPathFactory, means: list[float], weights: list[float], workers: int
) -> None:
    names = ("anna", "ben", "carl")
    length = 40 * max(mean / weight for mean, weight in zip(means, weights, strict=True)) / 4
    folder: Path = tmp_path_factory.mktemp("members")
    with simulated_queue(folder, workers) as simulation:
        make_lab(simulation.db, ben=1, carl=1)
        for name, weight in zip(names, weights, strict=True):
            member = ProjectMember(user=name, role=projects.OWNER, weight=weight)
            projects.set_member(simulation.db, "anna", "lab", member)
        arrivals = [
            Arrival(0.0, name, mean, "lab")
            for name, mean, weight in zip(names, means, weights, strict=True)
            for _ in range(min(60, 5 + int(length * weight / mean)))
        ]
        started = simulation.run(arrivals)
    ends = [max(each.wait for each in started if each.arrival.caller == name) for name in names]
    both = [each for each in started if each.wait < min(ends)]
    used = {name: sum(each.arrival.seconds for each in both if each.arrival.caller == name) for name in names}
    times = [used[name] / weight for name, weight in zip(names, weights, strict=True)]
    # Apart at most by the jobs of the start, whose means are not known, and by one that has just begun.
    slack = max(mean / weight for mean, weight in zip(means, weights, strict=True)) * (workers + 2)
    assert max(times) - min(times) <= slack, (used, weights, means, workers)


@pytest.fixture
def shared(postgresql: PostgresqlServer, postgresql_template: str) -> Iterator[tuple[Database, Database]]:
    """Two servers' databases, which are the same one."""
    name = postgresql.new_database(postgresql_template)
    first, second = open_database(postgresql.url(name)), open_database(postgresql.url(name))
    yield first, second
    first.close()
    second.close()
    postgresql.drop_database(name)


def test_two_servers_claim_every_job_of_a_project_once(shared: tuple[Database, Database]) -> None:
    make_lab(shared[0], ben=1, carl=3)
    for user in ("anna", "ben", "carl"):
        submit_many(shared[0], user, 150)
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
    ids = [task.job_id for tasks in (*claimed.values(), rest) for task in tasks]
    assert len(ids) == len(set(ids)) == 450


def test_a_claim_does_not_wait_for_a_member_that_another_server_has_locked(shared: tuple[Database, Database]) -> None:
    first, second = shared
    make_lab(first, ben=1)
    submit_many(first, "ben", 20)
    end(first, claim(first, capacity=1), 1.0)
    claim(first, capacity=1)  # writes the debt
    before = member_times(first)["ben"]
    with second._engine.connect() as other:
        locking = other.execution_options(isolation_level="READ COMMITTED")
        locking.execute(text("SELECT 1 FROM member_lanes FOR UPDATE"))
        (task,) = claim(first, capacity=1)  # fails after the timeout of locks if it waits
        assert member_times(first)["ben"] == before
        locking.rollback()
    end(first, [task], 5.0)
    claim(first, capacity=1)
    # The costs of the locked claim, and of this one, whose estimate is the mean of jobs of 1 s and 5 s.
    assert member_times(first)["ben"] == pytest.approx(before + 5.0 + 1.8)
