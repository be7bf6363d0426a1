# SPDX-License-Identifier: Apache-2.0
"""Tasks that an executor loses without a report: their jobs run again or fail, and no other job does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from qonduit_server.errors import Unavailable
from qonduit_server.execution.dispatcher.lease_keeper import LeaseKeeper
from qonduit_server.execution.dispatcher.running_jobs import RunningJobs
from qonduit_server.execution.executor import Loss, LossKind
from qonduit_server.execution.local.pool import ProcessPool
from qonduit_server.lifecycle import FAILED, RUNNING, SUCCEEDED
from qonduit_server.store.database import Database
from qonduit_server.store.jobs import queue
from tests.unit.execution.pool_fixture import PATIENCE, Gate
from tests.unit.execution.test_dispatcher import StoreFixture, dispatching, dispatching_to_fake, finished

#: Three checks in this time, in seconds.
LEASE = 0.3


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StoreFixture]:
    made = StoreFixture(tmp_path)
    yield made
    made.db.close()


def test_a_task_that_its_executor_lost_is_run_again(store: StoreFixture) -> None:
    with dispatching_to_fake(store, lease=LEASE) as (_, executor, listener):
        executor.held = lambda: {(task.job_id, task.attempt) for task in executor.submitted if task.attempt == 2}
        job_id = store.create()
        executor.wait(lambda: len(executor.submitted) == 2)
        assert executor.cancelled == [(job_id, 1)]
        listener.events([finished(job_id, 2)])
        (job,) = store.wait_ended(job_id)
    assert job.attempt == 2
    logs = [event.log.message for event in store.history(job_id) if event.HasField("log")]
    assert len(logs) == 1
    assert "its executor no longer has the task" in logs[0]


def test_a_job_whose_task_is_always_lost_fails_after_max_attempts(store: StoreFixture) -> None:
    with dispatching_to_fake(store, lease=LEASE, max_attempts=2) as (_, executor, _listener):
        executor.held = set
        (job,) = store.wait_ended(store.create())
    assert (job.state, job.attempt, job.failure.reason) == (FAILED, 2, "WORKER_DIED")
    assert job.failure.retryable
    assert "started 2 times (max_attempts) and no attempt ended; last: its executor no longer" in job.failure.message


def test_a_task_that_ends_during_the_check_is_not_lost(store: StoreFixture) -> None:
    with dispatching_to_fake(store, lease=LEASE) as (dispatcher, executor, listener):

        def end_all() -> set[tuple[int, int]]:
            expected = dispatcher._running.expected()
            if (ends, 1) in expected:
                listener.events([finished(ends)])
            if (stops, 1) in expected:
                listener.lost(stops, 1, Loss(LossKind.CANCELLED, "cancelled while it ran"))
            return set()

        ends, stops = store.create(), store.create()
        executor.wait(lambda: len(executor.submitted) == 2)
        executor.held = end_all
        jobs = store.wait_ended(ends, stops)
        # A dispatcher that stops cancels the tasks whose ends are stored but not forgotten yet.
        assert not executor.cancelled
    assert [(job.attempt, job.failure.reason) for job in jobs] == [(1, "PROGRAM_NOT_RUN"), (1, "CANCELLED")]
    assert len(executor.submitted) == 2


def test_an_end_that_waits_for_the_database_is_not_a_lost_task(
    store: StoreFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, checks, ended = queue.record, threading.Semaphore(0), threading.Event()

    def record_late(db: Database, owner: str, batch: object) -> set[tuple[int, int]]:
        assert all(checks.acquire(timeout=PATIENCE) for _ in range(3))
        return record(db, owner, batch)  # type: ignore[arg-type]

    def check(keeper: object) -> None:
        real(keeper)  # type: ignore[arg-type]
        if ended.is_set():
            checks.release()

    real = LeaseKeeper._find_lost_tasks
    monkeypatch.setattr(LeaseKeeper, "_find_lost_tasks", check)
    monkeypatch.setattr(queue, "record", record_late)
    with dispatching_to_fake(store, lease=LEASE) as (_, executor, listener):
        job_id = store.create()
        executor.wait(lambda: bool(executor.submitted))
        listener.events([finished(job_id)])
        executor.held = set
        ended.set()
        (job,) = store.wait_ended(job_id)
        assert job.attempt == 1
        assert not executor.cancelled


def test_a_task_is_expected_only_after_its_submission_returned(tmp_path: Path) -> None:
    running = RunningJobs("server")
    running.add([(1, 1), (2, 1), (3, 1)], "server")
    assert running.expected() == set()
    running.ended([(1, 1)])  # it ends during the submission
    running.submitted([(1, 1), (2, 1), (3, 1), (4, 1)])
    assert running.expected() == {(2, 1), (3, 1)}
    running.remove([(2, 1)])
    running.ended([(3, 1)])
    assert running.expected() == set()
    assert len(running) == 2


def test_while_an_executor_does_not_know_its_tasks_none_is_lost(store: StoreFixture) -> None:
    with dispatching_to_fake(store, lease=LEASE) as (dispatcher, executor, listener):
        asked = threading.Semaphore(0)

        def unknown() -> set[tuple[int, int]]:
            asked.release()
            raise Unavailable("the engine does not answer")

        executor.held = unknown
        job_id = store.create()
        assert all(asked.acquire(timeout=PATIENCE) for _ in range(3))
        assert store.get(job_id).state == RUNNING
        assert dispatcher.alive()
        listener.events([finished(job_id)])
        assert store.wait_ended(job_id)[0].attempt == 1


def test_a_task_that_the_pool_loses_is_run_again(
    store: StoreFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, running = Gate(tmp_path, "lost"), Gate(tmp_path, "running")
    with dispatching(store, lease=LEASE) as (_, pool):
        job_id, neighbour = store.create(f"wait {lost.path}"), store.create(f"wait {running.path}")
        for each in (job_id, neighbour):
            store.wait(lambda each=each: any(e.HasField("program_run") for e in store.history(each)))  # type: ignore[misc]
        _lose(pool, (job_id, 1))
        store.wait(lambda: store.get(job_id).attempt == 2)
        # The worker of the first attempt also has the second one, which must not wait.
        renamed = lost.path.rename(tmp_path / "renamed")
        lost.path.touch()
        renamed.open("wb").close()
        running.open()
        jobs = store.wait_ended(job_id, neighbour)
    assert [(job.state, job.attempt) for job in jobs] == [(SUCCEEDED, 2), (SUCCEEDED, 1)]


def test_no_job_of_the_pool_is_taken_for_lost(store: StoreFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a check every millisecond."""
    with dispatching(store, lease=LEASE) as (dispatcher, _):
        stop = threading.Event()

        def check() -> None:
            while not stop.wait(0.001):
                dispatcher._lease_keeper._find_lost_tasks()

        checker = threading.Thread(target=check)
        checker.start()
        jobs = store.wait_ended(*[store.create() for _ in range(100)])
        stop.set()
        checker.join(PATIENCE)
    assert {(job.state, job.attempt) for job in jobs} == {(SUCCEEDED, 1)}


def _lose(pool: ProcessPool, key: tuple[int, int]) -> None:
    """Remove a task from the pool, as a fault of its bookkeeping would."""
    with pool._lock:
        (worker,) = [worker for worker in pool._providers["TEST"].ready if key in worker.held]
        del worker.held[key]
