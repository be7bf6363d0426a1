# SPDX-License-Identifier: Apache-2.0
"""Task assignment, with workers that have no process, on a fixed clock."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from qonduit_server.execution.local.worker_processes import MAX_AHEAD
from tests.unit.execution.fake_workers import FakePool


@pytest.fixture
def stage(request: pytest.FixtureRequest) -> Iterator[FakePool]:
    made = FakePool(getattr(request, "param", 2))
    yield made
    made.close()


def test_tasks_are_spread_before_they_are_queued(stage: FakePool) -> None:
    stage.add(1, 2, 3)
    stage.schedule.place(0.0)
    assert stage.holds() == [[1], [2]]
    assert stage.schedule.free() == 0
    assert [held.key[0] for held in stage.one.backlog] == [3]


def test_a_quick_worker_is_queued_several_tasks_ahead_and_a_slow_one_none(stage: FakePool) -> None:
    stage.add(*range(1, 101))
    quick, slow = stage.schedule.place(0.0)
    stage.begin(quick)
    stage.end(quick, 0.001)
    stage.begin(slow)
    stage.end(slow, 0.04)
    stage.schedule.place(0.04)
    assert [len(quick.held), len(slow.held)] == [MAX_AHEAD, 1]


@pytest.mark.parametrize("stage", [1], indirect=True)
def test_the_oldest_task_comes_first_over_all_providers(stage: FakePool) -> None:
    stage.add(1)
    (worker,) = stage.schedule.place(0.0)
    stage.add(2, provider=stage.two)
    stage.add(3, 4)
    stage.begin(worker)
    stage.end(worker, 0.001)
    stage.schedule.place(0.001)
    assert stage.holds() == [[], [2]]
    assert [held.key[0] for held in stage.one.backlog] == [3, 4]


def test_with_fewer_slots_busy_workers_keep_what_they_run_and_get_nothing_more(stage: FakePool) -> None:
    stage.add(1, 2)
    first, second = stage.schedule.place(0.0)
    for worker in (first, second):
        stage.begin(worker)
        stage.end(worker, 0.001)
    stage.add(3, 4, 5, 6, 7)
    stage.schedule.place(0.001)
    stage.begin(first)
    stage.begin(second)
    stage.schedule.resize(1)
    assert [held[:1] for held in stage.holds()] == stage.holds() == [[3], [6]]
    assert stage.schedule.place(0.002) == []
    assert stage.schedule.wanted(0.002) == {}
    stage.end(second, 0.002)
    stage.schedule.place(0.002)
    assert stage.holds() == [[3, 4, 5, 7], []]


def test_tasks_stuck_behind_a_slow_one_are_reclaimed_once_a_worker_is_idle(stage: FakePool) -> None:
    stage.add(1, 2)
    first, second = stage.schedule.place(0.0)
    for worker in (first, second):
        stage.begin(worker)
        stage.end(worker, 0.001)
    stage.add(3, 4, 5, 6)
    stage.schedule.place(0.001)
    assert stage.holds() == [[3, 4], [5, 6]]
    stage.begin(first)
    stage.begin(second)
    assert stage.schedule.next_deadline(0.01) < 0.06
    stage.schedule.reclaim_from_slow(0.06)
    assert stage.holds() == [[3, 4], [5, 6]]  # no worker is idle
    stage.end(second, 0.06)
    stage.begin(second)
    stage.end(second, 0.061)
    stage.schedule.reclaim_from_slow(0.061)
    assert stage.holds() == [[3], []]  # a running task stays with its worker
    stage.schedule.place(0.061)
    assert stage.holds() == [[3], [4]]


def test_returned_tasks_keep_their_order(stage: FakePool) -> None:
    stage.add(1, 2, 3)
    taken = [held for number in (1, 2, 3) if (held := stage.schedule.remove((number, 1))) is not None]
    stage.add(4)
    stage.schedule.requeue(stage.one, [taken[1], taken[2], taken[0]])
    assert [held.key[0] for held in stage.one.backlog] == [1, 2, 3, 4]


def test_a_task_that_was_with_a_dead_worker_is_alone(stage: FakePool) -> None:
    stage.add(1, 2)
    first, second = stage.schedule.place(0.0)
    for worker in (first, second):
        stage.begin(worker)
        stage.end(worker, 0.001)
    stage.add(3, attempt=2)
    stage.add(4, 5, 6)
    stage.schedule.place(0.001)
    assert stage.holds()[0] == [3]
    assert set(stage.holds()[1]) <= {4, 5, 6}
    stage.add(7, attempt=2)
    stage.end(first, 0.002)
    stage.schedule.place(0.002)
    assert not any(7 in held and len(held) > 1 for held in stage.holds())


def test_capacity_grows_with_short_tasks_and_never_starves_another_provider(stage: FakePool) -> None:
    assert stage.schedule.wanted(0.0) == {"ONE": 2, "TWO": 2}
    stage.add(1, 2)
    first, second = stage.schedule.place(0.0)
    assert stage.schedule.wanted(0.0) == {}
    for worker in (first, second):
        stage.begin(worker)
        stage.end(worker, 0.001)
    stage.add(3, 4)
    stage.schedule.place(0.001)
    wanted = stage.schedule.wanted(0.001)
    assert wanted["ONE"] == 4 * MAX_AHEAD - 2
    assert wanted["TWO"] == 1


def test_waiting_tasks_can_be_removed(stage: FakePool) -> None:
    stage.add(1, 2, 3, 4)
    stage.schedule.place(0.0)
    held = stage.schedule.remove((3, 1))
    assert held is not None
    assert stage.schedule.remove((3, 1)) is None
    assert [each.key[0] for each in stage.schedule.clear(stage.one)] == [4]
    assert stage.schedule.remove((4, 1)) is None
