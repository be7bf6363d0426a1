# SPDX-License-Identifier: Apache-2.0
"""The shared state of claimer, recorder and lease keeper: the running jobs, and the recorder's inbox."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from qonduit.execution.v1.task_pb2 import Task, TaskEvent, TaskFinished
from qonduit_server.execution.dispatcher.inbox import Inbox
from qonduit_server.execution.dispatcher.large_result_writer import LargeResultWriter, Requeue
from qonduit_server.execution.dispatcher.running_jobs import RunningJobs
from qonduit_server.lifecycle import QUEUED
from qonduit_server.store.database import Database
from qonduit_server.store.jobs import queue
from tests.unit.execution.pool_fixture import PATIENCE
from tests.unit.execution.test_dispatcher import StoreFixture, dispatching_to_fake


@pytest.fixture
def running() -> RunningJobs:
    return RunningJobs("server")


def test_leases_of_all_owners_are_renewed_until_their_last_job_ends(running: RunningJobs) -> None:
    assert running.owners() == {"server"}
    running.add([(1, 1)], running.claiming_owner)
    assert running.change_owner() == "server"
    assert running.claiming_owner == "server/1"
    running.add([(2, 1)], "server/1")
    assert running.owners() == {"server", "server/1"}
    assert (running.owner_of((1, 1)), running.owner_of((2, 1)), running.owner_of((2, 2))) == (
        "server",
        "server/1",
        None,
    )
    running.remove([(1, 1)])
    assert running.owners() == {"server/1"}


def test_an_owner_name_is_never_used_again(running: RunningJobs) -> None:
    names = [running.change_owner() for _ in range(5)]
    assert len({*names, running.claiming_owner}) == 6


def test_the_last_requested_cancels_count(running: RunningJobs) -> None:
    running.request_cancels([(1, 1), (2, 1)])
    running.request_cancels([(2, 1)])
    assert [running.cancel_requested((number, 1)) for number in (1, 2)] == [False, True]


@pytest.mark.parametrize("end", ["the last job ends", "a fault"])
def test_waiting_for_jobs_to_end_returns_when_they_have_ended(running: RunningJobs, end: str) -> None:
    running.add([(1, 1), (2, 1)], "server")
    waiting, empty = threading.Event(), []

    def enough() -> bool:
        waiting.set()
        return False

    waiter = threading.Thread(target=lambda: empty.append(running.wait_until_empty(enough)))
    waiter.start()
    assert waiting.wait(PATIENCE)
    if end == "a fault":
        running.abandon()
    else:
        running.remove([(1, 1)])
        running.remove([(2, 1), (3, 1)])
    waiter.join(PATIENCE)
    assert empty == [end != "a fault"]
    assert (running.closed, running.abandoned) == (end == "a fault", end == "a fault")


def test_a_claim_under_way_is_drained_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claim, close = queue.claim, RunningJobs.close
    claiming, closed = threading.Event(), threading.Event()

    def claim_late(db: Database, owner: str, capacity: Mapping[str, int], *rest: Any) -> list[Task]:
        claiming.set()
        assert closed.wait(PATIENCE)
        return claim(db, owner, capacity, *rest)

    def close_loudly(running: RunningJobs) -> None:
        close(running)
        closed.set()

    monkeypatch.setattr(queue, "claim", claim_late)
    monkeypatch.setattr(RunningJobs, "close", close_loudly)
    store = StoreFixture(tmp_path)
    job_id = store.create()
    with dispatching_to_fake(store) as (dispatcher, executor, _):
        assert claiming.wait(PATIENCE)
        dispatcher.drain(0)
        assert dispatcher.running() == 0
        assert [task.job_id for task in executor.submitted] == [job_id]
        assert (store.get(job_id).state, store.get(job_id).attempt) == (QUEUED, 0)
    store.db.close()


def test_an_inbox_is_not_exhausted_while_the_writer_hands_over_its_last_item(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = StoreFixture(tmp_path)
    inbox = Inbox(store.db)
    end = TaskEvent(job_id=1, attempt=1, finished=TaskFinished())

    def hand_over(writer: LargeResultWriter) -> bool:
        inbox.put([end])
        return False  # the writer has released it

    inbox.close()
    assert inbox.exhausted
    monkeypatch.setattr(LargeResultWriter, "holds", hand_over)
    assert not inbox.exhausted
    assert inbox.take() == [end]
    store.db.close()


def test_a_closed_inbox_still_accepts_items(tmp_path: Path) -> None:
    store = StoreFixture(tmp_path)
    inbox = Inbox(store.db)
    inbox.close()
    requeue = Requeue((1, 1), "the server is stopping", counts=False)
    inbox.put([requeue])
    inbox.wait(None)
    assert not inbox.exhausted
    assert inbox.take() == [requeue]
    assert inbox.exhausted
    store.db.close()
