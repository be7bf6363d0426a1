# SPDX-License-Identifier: Apache-2.0
"""While a large result is written, later events of its task wait; events of other tasks do not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from qonduit.execution.v1.task_pb2 import ProgramSucceeded, TaskEvent, TaskFinished
from qonduit.v1.event_pb2 import LogLine
from qonduit.v1.result_pb2 import Result
from qonduit_server.errors import StoreFault, Unavailable
from qonduit_server.execution.dispatcher.dispatcher import Dispatcher
from qonduit_server.execution.dispatcher.large_result_writer import Item, LargeResultWriter, Requeue, key_of
from qonduit_server.lifecycle import CANCELLED, SUCCEEDED, is_terminal
from qonduit_server.store.database import Database, open_database
from qonduit_server.store.jobs import job_rows, queue
from qonduit_server.store.results import result_rows
from tests.sqlite_template import new_sqlite
from tests.store_fixture import CALLER, submit
from tests.unit.execution.pool_fixture import PATIENCE
from tests.unit.execution.test_dispatcher import FakeExecutor

DATA = bytes(3_000_000)


def large(job_id: int, data: bytes = DATA, attempt: int = 1) -> TaskEvent:
    given = Result(shots=1)
    given.buffer.size_bytes = len(data)
    return TaskEvent(job_id=job_id, attempt=attempt, program_succeeded=ProgramSucceeded(result=given, buffer=data))


def line(job_id: int, text: str = "") -> TaskEvent:
    return TaskEvent(job_id=job_id, attempt=1, log=LogLine(message=text))


def finished(job_id: int) -> TaskEvent:
    return TaskEvent(job_id=job_id, attempt=1, finished=TaskFinished())


class Gate:
    """Replaces the writing of large results: reports each, and blocks it until the test opens it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached = threading.Semaphore(0)
        self.open = threading.Event()
        self.error: Exception | None = None
        self._write = queue.write_ahead
        monkeypatch.setattr(queue, "write_ahead", self)

    def __call__(self, db: Database, event: TaskEvent) -> None:
        if event.HasField("program_succeeded"):
            self.reached.release()
            assert self.open.wait(PATIENCE)
            if self.error is not None:
                raise self.error
            self._write(db, event)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    made = open_database(new_sqlite(tmp_path / "store.sqlite3"))
    yield made
    made.close()


class RunningWriter:
    """Collects the output of a running `LargeResultWriter` until it has ended."""

    def __init__(self, db: Database) -> None:
        self.out: list[Item] = []
        self.ahead = LargeResultWriter(db, self.out.extend)
        self.thread = threading.Thread(target=self.ahead.write)
        self.thread.start()

    def end(self) -> list[Item]:
        self.ahead.stop()
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()
        return self.out


@pytest.mark.parametrize("error", [None, Unavailable("away"), StoreFault("never")])
def test_later_events_of_a_task_follow_its_large_result(db: Database, gate: Gate, error: Exception | None) -> None:
    writer = RunningWriter(db)
    gate.error = error
    small = [line(1), line(2), Requeue((3, 1), "tests", counts=True)]
    assert writer.ahead.accept(small) == small
    held: list[Item] = [large(1), line(1, "a"), finished(1), Requeue((1, 1), "tests", counts=True)]
    assert writer.ahead.accept([*held[:2], line(2)]) == [line(2)]
    assert gate.reached.acquire(timeout=PATIENCE)
    assert writer.ahead.accept([finished(2), *held[2:]]) == [finished(2)]
    assert writer.out == []
    assert writer.ahead.holds()
    gate.open.set()
    out = writer.end()
    assert [(key_of(item), type(item)) for item in out] == [(key_of(item), type(item)) for item in held]
    assert out[1:] == held[1:]
    assert not writer.ahead.holds()
    assert writer.ahead.accept(small) == small


def test_ids_that_a_worker_made_up_are_not_taken(db: Database) -> None:
    ahead = LargeResultWriter(db, lambda items: None)
    event = large(1)
    event.program_succeeded.result.id = 4711
    assert ahead.accept([event]) == []
    assert event.program_succeeded.result.id == 0


def test_once_stopped_it_passes_on_the_rest_and_writes_nothing(db: Database, gate: Gate) -> None:
    writer = RunningWriter(db)
    writer.ahead.accept([large(1), finished(1), large(2), finished(2)])
    assert gate.reached.acquire(timeout=PATIENCE)
    writer.ahead.stop()
    gate.open.set()
    assert [key_of(item) for item in writer.end()] == [(1, 1), (1, 1), (2, 1), (2, 1)]
    assert not gate.reached.acquire(blocking=False)


class Running:
    """A dispatcher with its own jobs, whose tasks the test controls."""

    def __init__(self, db: Database, number: int) -> None:
        self.db = db
        self._changed = threading.Condition()
        db.notifications.subscribe(self._woken)
        self.ids = [submit(db).id for _ in range(number)]
        self.executor = FakeExecutor()
        self.executor.capacity = lambda: {"IBM": 10}  # type: ignore[method-assign]
        self.dispatcher = Dispatcher(db, self.executor, owner="me")
        self.dispatcher.start()
        self.executor.wait(lambda: len(self.executor.submitted) >= number)

    def _woken(self, wake: object) -> None:
        with self._changed:
            self._changed.notify_all()

    def wait_ended(self, job_id: int, after: float = PATIENCE) -> int:
        with self._changed:
            ended = self._changed.wait_for(lambda: is_terminal(job_rows.get(self.db, CALLER, job_id).state), after)
        assert ended
        return job_rows.get(self.db, CALLER, job_id).state


@pytest.fixture
def running(db: Database) -> Iterator[Running]:
    made = Running(db, 2)
    yield made
    made.dispatcher.drain(0)
    made.dispatcher.stop()


def test_others_are_recorded_while_a_large_result_is_written(running: Running, gate: Gate) -> None:
    slow, quick = running.ids
    running.dispatcher.events([large(slow), finished(slow)])
    assert gate.reached.acquire(timeout=PATIENCE)
    running.dispatcher.events([finished(quick)])
    running.wait_ended(quick)
    assert not is_terminal(job_rows.get(running.db, CALLER, slow).state)
    gate.open.set()
    assert running.wait_ended(slow) == SUCCEEDED
    (stored,) = result_rows.list_page(running.db, CALLER, slow).items
    assert stored.buffer.size_bytes == len(DATA)


def test_a_result_that_was_not_written_ahead_is_written_when_recorded(running: Running, gate: Gate) -> None:
    job_id = running.ids[0]
    gate.error = Unavailable("the database does not answer")
    gate.open.set()
    running.dispatcher.events([large(job_id), finished(job_id)])
    assert running.wait_ended(job_id) == SUCCEEDED
    assert result_rows.list_page(running.db, CALLER, job_id).items[0].buffer.size_bytes == len(DATA)


def test_a_result_that_cannot_be_stored_fails_its_job(running: Running) -> None:
    job_id = running.ids[0]
    short = large(job_id)
    short.program_succeeded.buffer = b"what there is of it"
    running.dispatcher.events([short, finished(job_id)])
    running.wait_ended(job_id)
    assert job_rows.get(running.db, CALLER, job_id).failure.reason == "NOT_STORED"


def test_pieces_of_a_task_that_is_over_are_deleted(running: Running, gate: Gate) -> None:
    job_id, other = running.ids
    running.dispatcher.events([large(job_id)])
    assert gate.reached.acquire(timeout=PATIENCE)
    # It ends before its large result is written, as if another server had claimed it.
    job_rows.cancel(running.db, CALLER, job_id)
    queue.expire(running.db, all_owners=True)
    gate.open.set()
    running.dispatcher.events([finished(other)])
    assert running.wait_ended(job_id) == CANCELLED
    running.dispatcher.drain(0)
    running.dispatcher.stop()
    with running.db.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM buffers").scalar() == 0
