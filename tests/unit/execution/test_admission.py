# SPDX-License-Identifier: Apache-2.0
"""Memory admission, with workers that have no process."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from qonduit_server.execution.local.admission import Admission
from qonduit_server.execution.local.worker_processes import PendingTask, Worker
from tests.unit.execution.fake_workers import FakePool
from tests.unit.execution.pool_fixture import task

GIB = 1024**3
MIB = 1024**2


@pytest.fixture
def stage(request: pytest.FixtureRequest) -> Iterator[FakePool]:
    """Yield a pool with the slots and memory of the parameter; by default four slots that share 10 GiB."""
    made = FakePool(*getattr(request, "param", (4, 10 * GIB)))
    yield made
    made.close()


def learn(stage: FakePool, **needs: int) -> None:
    """Add tasks `j<number>=bytes`, one after another, and have each declined as soon as it is handed out."""
    for name, need in needs.items():
        stage.add(int(name[1:]))
        stage.schedule.place(0.0)
        stage.decline(worker_of(stage, int(name[1:])), need)


def running(stage: FakePool) -> list[int]:
    return sorted(key for held in stage.holds() for key in held)


def worker_of(stage: FakePool, job_id: int) -> Worker:
    workers = [w for p in (stage.one, stage.two) for w in p.workers.values()]
    return next(worker for worker in workers if (job_id, 1) in worker.held)


def warned(stage: FakePool) -> list[int]:
    return [held.key[0] for held in stage.schedule.short_of_memory()]


@pytest.mark.parametrize(
    ("budget", "slots", "unasked"),
    [(0, 4, 0), (10 * GIB, 4, 128 * MIB), (GIB, 4, 64 * MIB), (64 * GIB, 1024, 16 * MIB), (1, 64, 1)],
)
def test_default_grants_leave_most_of_the_budget(budget: int, slots: int, unasked: int) -> None:
    assert Admission(budget, slots).default_bytes == unasked


def test_a_task_is_granted_the_default_memory_and_then_its_requirement(stage: FakePool) -> None:
    stage.add(1)
    (worker,) = stage.schedule.place(0.0)
    (held,) = worker.held.values()
    assert (held.task.memory_granted_bytes, held.task.declined_before) == (128 * MIB, False)
    stage.decline(worker, GIB)
    assert not worker.held
    assert stage.schedule.free() == 4
    assert stage.schedule.place(0.0) == [worker]
    assert list(worker.held.values()) == [held]
    assert (held.task.memory_granted_bytes, held.task.declined_before) == (GIB, True)


@pytest.mark.parametrize("stage", [(4, 0)], indirect=True)
def test_without_a_budget_no_task_requests_memory(stage: FakePool) -> None:
    stage.add(1)
    (worker,) = stage.schedule.place(0.0)
    assert [held.task.memory_granted_bytes for held in worker.held.values()] == [0]


def test_large_tasks_run_together_as_far_as_they_fit_and_small_ones_flow_past(stage: FakePool) -> None:
    learn(stage, j1=4 * GIB, j2=4 * GIB, j3=4 * GIB)
    stage.schedule.place(0.0)
    assert running(stage) == [1, 2]
    assert warned(stage) == [3]
    stage.add(4, 5, 6)
    stage.schedule.place(0.0)
    assert running(stage) == [1, 2, 4, 5, 6]
    assert warned(stage) == []  # once is enough
    stage.end(worker_of(stage, 1), 0.0)
    stage.schedule.place(0.0)
    assert running(stage) == [2, 3, 4, 5, 6]


def test_the_default_grants_of_all_slots_stay_free(stage: FakePool) -> None:
    # 10 GiB are 80 default grants: four slots leave 76 of them, and a large task has one already.
    learn(stage, j1=5 * GIB, j2=4 * GIB + 768 * MIB, j3=5 * GIB - 256 * MIB + 1)
    stage.schedule.place(0.0)
    assert running(stage) == [1, 2]
    stage.end(worker_of(stage, 2), 0.0)
    stage.schedule.place(0.0)
    assert running(stage) == [1]
    assert warned(stage) == [3]


def test_a_smaller_large_task_does_not_pass_a_larger_one(stage: FakePool) -> None:
    learn(stage, j1=6 * GIB, j2=8 * GIB, j3=GIB)
    stage.schedule.place(0.0)
    assert running(stage) == [1]
    assert warned(stage) == [2, 3]
    stage.end(worker_of(stage, 1), 0.0)
    stage.schedule.place(0.0)
    assert running(stage) == [2, 3]


def test_places_are_those_of_submitting_and_not_of_declining(stage: FakePool) -> None:
    stage.add(1, 2, 3)
    workers = stage.schedule.place(0.0)
    for worker in reversed(workers):
        stage.decline(worker, 6 * GIB)
    stage.schedule.place(0.0)
    assert running(stage) == [1]


def test_a_task_that_needs_more_than_the_budget_runs_when_no_other_large_one_does(stage: FakePool) -> None:
    learn(stage, j1=GIB, j2=64 * GIB, j3=GIB)
    stage.schedule.place(0.0)
    assert running(stage) == [1]
    stage.end(worker_of(stage, 1), 0.0)
    stage.add(4)
    stage.schedule.place(0.0)
    assert running(stage) == [2, 4]
    stage.end(worker_of(stage, 2), 0.0)
    stage.schedule.place(0.0)
    assert running(stage) == [3, 4]


def test_it_has_its_worker_for_itself_and_prefers_the_one_that_knows_it(stage: FakePool) -> None:
    stage.add(1, 2, 3, 4)
    first, *others = stage.schedule.place(0.0)
    for worker in others:
        stage.begin(worker)
        stage.end(worker, 0.001)
    stage.decline(first, GIB, 0.001)
    assert stage.schedule.place(0.001) == [first]
    stage.add(*range(5, 200))
    stage.schedule.place(0.001)
    assert [held.key[0] for held in first.held.values()] == [1]
    assert all(len(worker.held) > 1 for worker in others)


def test_an_admitted_task_gets_the_next_slot_before_younger_ones(stage: FakePool) -> None:
    stage.add(1, 2, 3, 4)
    workers = stage.schedule.place(0.0)
    for worker in workers[1:]:
        stage.begin(worker)
        stage.end(worker, 0.001)
    stage.add(*range(5, 20))
    stage.schedule.place(0.001)
    stage.decline(workers[0], GIB, 0.001)
    stage.add(*range(20, 200))
    assert stage.schedule.place(0.001)[0] is workers[0]
    assert [held.key[0] for held in workers[0].held.values()] == [1]


@pytest.mark.parametrize("stage", [(1, 10 * GIB)], indirect=True)
def test_while_it_waits_for_a_slot_no_task_is_queued_ahead_or_reported_to_wait(stage: FakePool) -> None:
    stage.add(1)
    (worker,) = stage.schedule.place(0.0)
    stage.begin(worker)
    stage.end(worker, 0.001)  # quick: it is queued several tasks ahead
    stage.add(2, 3, 4)
    stage.schedule.place(0.001)
    assert running(stage) == [2, 3, 4]
    stage.decline(worker, GIB, 0.001)
    stage.add(5, 6)
    assert stage.schedule.place(0.001) == []
    assert warned(stage) == []
    for _ in range(2):
        stage.begin(worker)
        stage.end(worker, 0.002)
    stage.schedule.place(0.002)
    assert running(stage) == [2]
    stage.end(worker, 0.003)
    stage.schedule.place(0.003)
    assert running(stage) == [5, 6]


def test_memory_is_freed_when_the_process_has_ended_and_not_before(stage: FakePool) -> None:
    learn(stage, j1=8 * GIB, j2=8 * GIB)
    stage.schedule.place(0.0)
    worker = worker_of(stage, 1)
    worker.pid = 0
    worker.kill()
    stage.schedule.place(0.0)
    assert running(stage) == [1]
    stage.discard(worker)
    stage.schedule.place(0.0)
    assert running(stage) == [2]


def test_tasks_returned_unstarted_by_a_worker_keep_their_place(stage: FakePool) -> None:
    learn(stage, j1=6 * GIB, j2=6 * GIB)
    stage.schedule.place(0.0)
    worker = worker_of(stage, 1)
    stage.schedule.requeue(stage.one, worker.reclaim())
    stage.schedule.place(0.0)
    assert running(stage) == [1]


def test_a_waiting_task_can_be_removed_and_the_next_one_follows(stage: FakePool) -> None:
    learn(stage, j1=8 * GIB, j2=8 * GIB, j3=GIB)
    stage.schedule.place(0.0)
    held = stage.schedule.remove((2, 1))
    assert held is not None
    assert stage.schedule.remove((2, 1)) is None
    stage.schedule.place(0.0)
    assert running(stage) == [1, 3]
    learn(stage, j4=8 * GIB)
    stage.add(5)
    assert stage.schedule.waits_for(stage.one)
    assert [each.key[0] for each in stage.schedule.clear(stage.one)] == [5, 4]
    assert not stage.schedule.waits_for(stage.one)
    assert stage.schedule.remove((4, 1)) is None


def test_no_task_waits_behind_a_provider_without_workers(stage: FakePool) -> None:
    learn(stage, j1=8 * GIB, j2=8 * GIB)
    stage.schedule.place(0.0)
    stage.add(3, provider=stage.two)
    (worker,) = stage.schedule.place(0.0)
    stage.decline(worker, 2 * GIB - 256 * MIB)
    assert stage.schedule.place(0.0) == []
    stage.one.state = "starting"
    assert stage.schedule.place(0.0) == [worker]


def test_more_tasks_are_wanted_while_some_wait_for_memory_but_not_without_bound(stage: FakePool) -> None:
    learn(stage, j1=8 * GIB)
    stage.schedule.place(0.0)
    number = 2
    while stage.schedule.wanted(0.0).get("ONE"):
        assert stage.schedule.wanted(0.0)["ONE"] >= 3  # waiting tasks hold no slot
        learn(stage, **{f"j{number}": 8 * GIB})
        number += 1
    assert number == 34
    assert stage.schedule.wanted(0.0)["TWO"] >= 1  # small tasks of the other provider pass
    stage.schedule.remove((7, 1))
    assert stage.schedule.wanted(0.0)["ONE"] >= 3


def test_large_messages_that_wait_are_bounded_too() -> None:
    admission = Admission(10 * GIB, 2)
    for job_id in range(4):
        assert not admission.full("ANY")
        held = PendingTask((job_id, 1), task(job_id, "x" * 16 * MIB), job_id)
        held.declined(GIB, 1, 0.0)
        admission.wait(held)
    assert admission.full("ANY")
    assert admission.remove((2, 1)) is not None
    assert not admission.full("ANY")


def test_the_time_limit_counts_running_time_and_not_waiting_time(stage: FakePool) -> None:
    stage.schedule.add(stage.one, task(1, provider="ONE", seconds=10.0))
    (worker,) = stage.schedule.place(100.0)
    (held,) = worker.held.values()
    held.started_at = 100.0
    stage.decline(worker, GIB, 103.0)
    assert stage.schedule.next_deadline(200.0) == float("inf")
    stage.schedule.place(500.0)
    held.started_at = 500.0
    assert stage.schedule.next_deadline(500.0) == 507.0


@pytest.mark.parametrize("seed", range(60))
def test_random_tasks_keep_the_budget_and_all_end(seed: int) -> None:
    chance = random.Random(seed)
    slots, budget = chance.randint(1, 5), chance.randint(1, 20) * GIB
    stage = FakePool(slots, budget)
    unasked = Admission(budget, slots).default_bytes
    needs = {job_id: chance.choice((0, 0, chance.randint(unasked + 1, budget * 9 // 8))) for job_id in range(1, 80)}
    first_asked: list[int] = []
    admitted: list[int] = []
    coming, ended = list(needs), set[int]()
    try:
        for step in range(4000):
            now = step * 0.001
            workers = [w for p in (stage.one, stage.two) for w in p.workers.values()]
            busy = [w for w in workers if w.held]
            if coming and chance.random() < 0.3:
                stage.add(coming.pop(0), provider=chance.choice((stage.one, stage.two)))
            elif busy:
                worker = chance.choice(busy)
                (job_id, _), held = next(iter(worker.held.items()))
                if needs[job_id] > held.task.memory_granted_bytes:
                    first_asked.append(job_id)
                    stage.decline(worker, needs[job_id], now)
                elif held.need and chance.random() < 0.2:  # its process dies
                    stage.discard(worker)
                    ended.add(job_id)
                else:
                    stage.begin(worker)
                    stage.end(worker, now)
                    ended.add(job_id)
            for worker in stage.schedule.place(now):
                admitted += [held.key[0] for held in worker.held.values() if held.need]
            large = [held for w in workers if (held := w.large) is not None]
            small = slots - len(large)
            together = sum(held.need for held in large) + small * unasked
            assert together <= budget or len(large) <= 1
            assert all(len(w.held) == 1 for w in workers if w.large is not None)
            assert stage.schedule.free() >= 0
            if len(ended) == len(needs):
                break
        assert ended == set(needs)
        assert sorted(admitted) == sorted(first_asked) == sorted(job_id for job_id, need in needs.items() if need)
    finally:
        stage.close()
