# SPDX-License-Identifier: Apache-2.0
"""The contract of the store, on every database: large results are written before their events, in small steps."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import select

from qonduit.execution.v1.task_pb2 import ProgramSucceeded, Task, TaskEvent
from qonduit.v1.result_pb2 import Result
from qonduit_server.errors import NotFound, StoreFault, Unavailable
from qonduit_server.lifecycle import SUCCEEDED
from qonduit_server.store import schema
from qonduit_server.store.admin.retention import Retention
from qonduit_server.store.database import Database, open_database
from qonduit_server.store.jobs import job_rows, queue
from qonduit_server.store.results import buffers, result_rows
from qonduit_server.store.results.orphaned_chunks import OrphanedChunks
from qonduit_server.store.writer import Operation
from tests.store_fixture import CALLER, claim, finished, kinds, submit, succeeded

#: Chunks of the buffers here; the last one is short.
PIECES = 19
DATA = b"".join(bytes([number % 251]) * buffers.CHUNK_BYTES for number in range(PIECES - 1)) + b"the end"
HOUR = 3600.0


def large(task: Task, data: bytes = DATA) -> TaskEvent:
    """Return the event of a program with a large result."""
    given = Result(shots=1)
    given.buffer.size_bytes = len(data)
    done = ProgramSucceeded(index=0, result=given, buffer=data)
    return TaskEvent(job_id=task.job_id, attempt=task.attempt, program_succeeded=done)


def pieces(db: Database) -> dict[int, int]:
    """Return the number of chunks, by result."""
    found: dict[int, list[int]] = {}
    with db.read() as connection:
        for result_id, piece in connection.execute(select(schema.buffers.c.result_id, schema.buffers.c.piece)):
            found.setdefault(result_id, []).append(piece)
    return {result_id: len(numbers) for result_id, numbers in found.items()}


def rows(db: Database) -> list[int]:
    """Return the ids of all results."""
    with db.read() as connection:
        return list(connection.execute(select(schema.results.c.id).order_by(schema.results.c.id)).scalars())


def read(db: Database, job_id: int) -> bytes:
    """Read a job's only result, as ReadBuffer does."""
    (stored,) = result_rows.list_page(db, CALLER, job_id).items
    result_id, size = buffers.find(db, CALLER, stored.buffer.name)
    found = [buffers.read(db, result_id, number) or b"" for number in range(buffers.count_of(size))]
    return b"".join(found)


class Steps:
    """Records each step of a database, and fails a chosen one before or after it is executed."""

    def __init__(self, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        self._db = db
        self._write = db.write
        #: Each step's operation, and the chunks after it.
        self.made: list[tuple[Operation[Any, Any], int]] = []
        self.break_before = self.break_after = -1
        monkeypatch.setattr(db, "write", self)

    def __call__(self, operation: Operation[Any, Any], argument: Any) -> Any:
        if len(self.made) == self.break_before:
            self.break_before = -1
            raise Unavailable("the database does not answer")
        answer = self._write(operation, argument)
        self.made.append((operation, sum(pieces(self._db).values())))
        if len(self.made) == self.break_after:
            raise Unavailable("the connection broke after the commit")
        return answer

    def changes(self) -> list[int]:
        """Return how many chunks each step added or removed."""
        counts = [0, *(count for _, count in self.made)]
        return [after - before for before, after in pairwise(counts)]


@pytest.fixture
def steps(db: Database, monkeypatch: pytest.MonkeyPatch) -> Steps:
    """Return the steps of the database, from now on."""
    return Steps(db, monkeypatch)


def test_chunks_are_written_in_small_steps_and_none_with_the_event(db: Database, steps: Steps) -> None:
    job = submit(db)
    (task,) = claim(db)
    steps.made.clear()
    assert not queue.record(db, "me", [large(task), finished(task)])
    assert max(steps.changes()) * buffers.CHUNK_BYTES <= 2 * 1024**2
    assert steps.made[-1][0] is queue._RECORD_ENDS
    assert steps.changes()[-1] == 0
    assert sum(steps.changes()) == PIECES
    assert job_rows.get(db, CALLER, job.id).state == SUCCEEDED
    assert read(db, job.id) == DATA


def test_others_write_between_two_chunks(db: Database, steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    first = submit(db)
    (task,) = claim(db)
    made: list[int] = []
    write = steps._write

    def submitting(operation: Operation[Any, Any], argument: Any) -> Any:
        if operation is buffers._WRITE:
            with ThreadPoolExecutor(1) as pool:
                made.append(pool.submit(lambda: submit(db).id).result(100))
        return write(operation, argument)

    monkeypatch.setattr(steps, "_write", submitting)
    assert not queue.record(db, "me", [large(task), finished(task)])
    assert len(made) >= PIECES * buffers.CHUNK_BYTES / (2 * 1024**2)
    assert read(db, first.id) == DATA


def test_chunks_written_ahead_are_invisible_and_recorded_without_writing_them_again(db: Database, steps: Steps) -> None:
    job = submit(db)
    (task,) = claim(db)
    event = large(task)
    queue.write_ahead(db, event)
    ((reserved, count),) = pieces(db).items()
    assert count == PIECES
    assert rows(db) == []
    assert result_rows.list_page(db, CALLER, job.id).items == []
    with pytest.raises(NotFound):
        buffers.find(db, CALLER, f"results/{reserved}")
    assert "result_ready" not in kinds(db, job.id)
    # Meanwhile other results are stored: no id is assigned twice.
    other = submit(db)
    (second,) = claim(db)
    assert not queue.record(db, "me", [succeeded(second), finished(second)])
    steps.made.clear()
    assert not queue.record(db, "me", [event, finished(task)])
    assert [operation for operation, _ in steps.made] == [queue._RECORD_ENDS]
    assert job_rows.get(db, CALLER, job.id).program_runs[0].result_ids == [reserved]
    assert rows(db) == [reserved, *job_rows.get(db, CALLER, other.id).program_runs[0].result_ids]
    assert read(db, job.id) == DATA


@pytest.mark.parametrize("lost", ["the question", "the answer"])
@pytest.mark.parametrize("place", [1, 2, 6])
def test_a_retry_resumes_where_it_stopped(db: Database, steps: Steps, place: int, lost: str) -> None:
    job = submit(db)
    (task,) = claim(db)
    event = large(task)
    steps.made.clear()
    if lost == "the question":
        steps.break_before = place
    else:
        steps.break_after = place
    with pytest.raises(Unavailable):
        queue.record(db, "me", [event, finished(task)])
    steps.break_after = -1
    queue.record(db, "me", [event, finished(task)])
    assert read(db, job.id) == DATA
    # No chunk was written twice, under any id.
    assert pieces(db) == dict.fromkeys(rows(db), PIECES)
    writes = [change for change, (operation, _) in zip(steps.changes(), steps.made, strict=True) if change]
    assert len(writes) == -(-PIECES // 4)
    assert kinds(db, job.id).count("result_ready") == 1


def test_a_record_whose_answer_was_lost_keeps_its_chunks(db: Database, steps: Steps) -> None:
    job = submit(db)
    (task,) = claim(db)
    event = large(task)
    queue.write_ahead(db, event)
    steps.break_after = len(steps.made) + 1
    with pytest.raises(Unavailable):
        queue.record(db, "me", [event, finished(task)])
    steps.break_after = -1
    # It was recorded; a repeated event is refused, and none of its chunks is deleted.
    assert queue.record(db, "me", [event, finished(task)]) == {(job.id, 1)}
    assert job_rows.get(db, CALLER, job.id).state == SUCCEEDED
    assert read(db, job.id) == DATA


def test_chunks_of_a_refused_outcome_are_deleted_in_small_steps(db: Database, steps: Steps) -> None:
    job = submit(db, programs=2)
    (task,) = claim(db)
    first, second = large(task), large(task, DATA[:-1])
    assert not queue.record(db, "me", [first])
    queue.write_ahead(db, second)
    assert sum(pieces(db).values()) == 2 * PIECES
    steps.made.clear()
    assert not queue.record(db, "me", [second])
    assert min(steps.changes()[1:]) * buffers.CHUNK_BYTES >= -4 * 1024**2
    assert pieces(db) == dict.fromkeys(rows(db), PIECES)
    # The same holds for chunks of an attempt that is over, and for abandoned ones.
    late, given_up = large(task), large(task)
    queue.write_ahead(db, late)
    queue.write_ahead(db, given_up)
    queue.release(db, "me", {(job.id, 1): None}, "tests")
    assert queue.record(db, "me", [late]) == {(job.id, 1)}
    queue.discard(db, [given_up, finished(task)])
    assert pieces(db) == dict.fromkeys(rows(db), PIECES)
    assert read(db, job.id) == DATA


@pytest.mark.parametrize("how_much", ["all", "the end", "a gap"])
def test_chunks_that_were_deleted_meanwhile_are_written_again(db: Database, how_much: str) -> None:
    job = submit(db)
    (task,) = claim(db)
    event = large(task)
    queue.write_ahead(db, event)
    reserved = event.program_succeeded.result.id
    if how_much == "all":
        buffers.erase(db, reserved)
    elif how_much == "the end":
        assert db.write(buffers.ERASE, reserved)
    else:
        with db._engine.begin() as connection:
            connection.execute(schema.buffers.delete().where(schema.buffers.c.piece == 7))
    assert not queue.record(db, "me", [event, finished(task)])
    assert read(db, job.id) == DATA
    (stored,) = rows(db)
    assert pieces(db)[stored] == PIECES


def test_incomplete_rows_are_refused_before_anything_is_written(db: Database, steps: Steps) -> None:
    submit(db)
    (task,) = claim(db)
    short = large(task)
    short.program_succeeded.buffer = DATA[:-1]
    for write in (lambda: queue.write_ahead(db, short), lambda: queue.record(db, "me", [short, finished(task)])):
        with pytest.raises(StoreFault):
            write()
    assert pieces(db) == {}
    assert rows(db) == []


class Seconds:
    """A clock that tests set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_chunks_of_a_lost_server_are_found_when_no_server_can_own_them(database_url: str) -> None:
    db, seconds = open_database(database_url), Seconds()
    kept, lost = submit(db), submit(db)
    tasks = {task.job_id: task for task in claim(db)}
    assert not queue.record(db, "me", [large(tasks[kept.id]), finished(tasks[kept.id])])
    event = large(tasks[lost.id])
    queue.write_ahead(db, event)
    left = event.program_succeeded.result.id
    db.close()  # between the chunks and the event

    db = open_database(database_url)
    orphans = OrphanedChunks(db, clock=seconds)
    assert orphans.without_result() == ([left] if db.kind == "sqlite" else [])
    assert result_rows.list_page(db, CALLER, lost.id).items == []
    queue.expire(db, all_owners=True)
    (again,) = claim(db)
    fresh = large(again)
    queue.write_ahead(db, fresh)
    # A single server knows at once that they are orphans; with several servers, an hour has to pass.
    seconds.now += HOUR * 0.99
    assert orphans.without_result() == ([left] if db.kind == "sqlite" else [])
    seconds.now += HOUR * 0.99
    assert orphans.without_result() == [left]
    buffers.erase(db, left)
    assert not queue.record(db, "me", [fresh, finished(again)])
    seconds.now += 2 * HOUR
    assert orphans.without_result() == []
    assert pieces(db) == dict.fromkeys(rows(db), PIECES)
    assert read(db, lost.id) == read(db, kept.id) == DATA
    db.close()


def test_a_late_discovered_orphan_is_kept_for_an_hour(db: Database) -> None:
    seconds = Seconds()
    orphans = OrphanedChunks(db, clock=seconds)
    submit(db)
    (task,) = claim(db)
    seconds.now += 10 * HOUR
    event = large(task)
    queue.write_ahead(db, event)
    assert orphans.without_result() == []
    seconds.now += HOUR
    assert orphans.without_result() == [event.program_succeeded.result.id]


@pytest.fixture
def left_behind(database_url: str) -> Iterator[tuple[Database, int]]:
    """A reopened database with chunks that a lost server left."""
    db = open_database(database_url)
    submit(db)
    (task,) = claim(db)
    event = large(task)
    queue.write_ahead(db, event)
    db.close()
    db = open_database(database_url)
    yield db, event.program_succeeded.result.id
    db.close()


def test_a_starting_server_deletes_them_though_it_keeps_jobs_for_ever(left_behind: tuple[Database, int]) -> None:
    db, left = left_behind
    swept = threading.Event()
    retention = Retention(db, 0, lambda line, **fields: fields["orphans"] == 1 and swept.set())
    seconds = Seconds()
    if db.kind == "postgresql":
        seconds.now -= HOUR
        retention._orphans = OrphanedChunks(db, clock=seconds)
        assert retention._orphans.without_result() == []
        seconds.now += HOUR
    assert pieces(db) == {left: PIECES}
    retention.start()
    assert swept.wait(100)
    retention.stop()
    assert pieces(db) == {}


def test_a_pending_insert_of_a_result_keeps_its_chunks(database_url: str) -> None:
    first = open_database(database_url)
    second = open_database(database_url)
    submit(first)
    (task,) = claim(first)
    event = large(task)
    queue.write_ahead(first, event)
    reserved = event.program_succeeded.result.id
    holds, may_go = threading.Event(), threading.Event()

    def hold(transaction: Any, arguments: Any) -> list[bool]:
        whole = buffers.is_complete(transaction, {reserved: PIECES})
        holds.set()
        assert may_go.wait(100)
        return [whole]

    with ThreadPoolExecutor(2) as pool:
        holding = pool.submit(first.write, Operation(hold), None)
        assert holds.wait(100)
        erasing = pool.submit(second.write, buffers.ERASE, reserved)
        if first.kind == "postgresql":
            assert erasing.result(100) == 0  # it does not wait for a lock
            assert pieces(second) == {reserved: PIECES}
        may_go.set()
        assert holding.result(100)
        erasing.result(100)
    first.close()
    second.close()


def test_a_deleted_job_disappears_at_once_and_its_chunks_follow_in_small_steps(db: Database, steps: Steps) -> None:
    job, other = submit(db), submit(db)
    for task in claim(db):
        assert not queue.record(db, "me", [large(task), finished(task)])
    (stored,) = result_rows.list_page(db, CALLER, job.id).items
    steps.made.clear()
    steps.made.append((Operation(lambda transaction, arguments: []), 2 * PIECES))
    steps.break_before = 2
    job_rows.delete(db, CALLER, job.id)  # the job is deleted, so this is no failure
    assert steps.changes()[1:] == [0]
    with pytest.raises(NotFound):
        buffers.find(db, CALLER, stored.buffer.name)
    assert pieces(db) == dict.fromkeys([stored.id, *rows(db)], PIECES)
    job_rows.delete(db, CALLER, other.id)
    assert all(-4 * 1024**2 <= change * buffers.CHUNK_BYTES <= 0 for change in steps.changes()[1:])
    assert pieces(db) == {stored.id: PIECES}
    seconds = Seconds()
    orphans = OrphanedChunks(db, clock=seconds)
    orphans.without_result()
    seconds.now += HOUR
    assert orphans.without_result() == [stored.id]
