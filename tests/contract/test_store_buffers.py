# SPDX-License-Identifier: Apache-2.0
"""The contract of the store, on every database: results that are too large for a message."""

from __future__ import annotations

import hashlib

import pytest
from sqlalchemy import func, select

from qonduit.execution.v1.task_pb2 import ProgramSucceeded, Task, TaskEvent
from qonduit_server.errors import NotFound, StoreFault
from qonduit_server.lifecycle import SUCCEEDED
from qonduit_server.store import schema
from qonduit_server.store.database import Database
from qonduit_server.store.jobs import job_rows, queue
from qonduit_server.store.results import buffers, result_rows
from tests.large_result_samples import further, noise, packed, unpacked
from tests.store_fixture import CALLER, claim, finished, history, kinds, result, submit, succeeded

#: Several chunks, the last of them short.
LARGE = noise(127, 12_000)


def success(task: Task, what: ProgramSucceeded) -> TaskEvent:
    return TaskEvent(job_id=task.job_id, attempt=task.attempt, program_succeeded=what)


def pieces(db: Database) -> int:
    with db.read() as connection:
        return int(connection.execute(select(func.count()).select_from(schema.buffers)).scalar_one())


def read(db: Database, name: str) -> bytes:
    result_id, size = buffers.find(db, CALLER, name)
    data = b""
    while len(data) < size:
        piece = buffers.read(db, result_id, len(data) // buffers.CHUNK_BYTES)
        assert piece
        data += piece
    assert buffers.read(db, result_id, -(-size // buffers.CHUNK_BYTES)) is None
    return data


def test_a_large_result_is_stored_with_its_event_and_its_rows(db: Database) -> None:
    job = submit(db)
    (task,) = claim(db)
    assert queue.record(db, "me", [success(task, packed(LARGE, 127)), finished(task)]) == set()
    ended = job_rows.get(db, CALLER, job.id)
    assert ended.state == SUCCEEDED
    (result_id,) = ended.program_runs[0].result_ids
    stored = result_rows.get(db, CALLER, result_id)
    assert stored.buffer.name == f"results/{result_id}"
    data = read(db, stored.buffer.name)
    assert (len(data), hashlib.sha256(data).hexdigest()) == (stored.buffer.size_bytes, stored.buffer.sha256)
    assert unpacked(data, 127) == LARGE
    assert result_rows.list_page(db, CALLER, job.id).items == [stored]


def test_further_results_have_ids_events_and_buffers_of_their_own(db: Database) -> None:
    job = submit(db, programs=2)
    (task,) = claim(db)
    small, large = succeeded(task), packed(LARGE, 127)
    small.program_succeeded.further.append(further(large))
    other = packed(noise(100, 13_000), 100, index=1)
    other.further.append(further(succeeded(task).program_succeeded))
    assert queue.record(db, "me", [small, success(task, other), finished(task)]) == set()
    ended = job_rows.get(db, CALLER, job.id)
    ids = [list(run.result_ids) for run in ended.program_runs]
    assert [len(of_program) for of_program in ids] == [2, 2]
    ready = [event.result_ready for event in history(db, job.id) if event.HasField("result_ready")]
    assert [(each.result_id, each.program_id) for each in ready] == [
        (result_id, run.program_id) for run in ended.program_runs for result_id in run.result_ids
    ]
    stored = result_rows.list_page(db, CALLER, job.id).items
    assert [each.id for each in stored] == ids[0] + ids[1]
    assert [each.HasField("buffer") for each in stored] == [False, True, True, False]
    assert stored[0].counts_and_probabilities == result().counts_and_probabilities
    assert unpacked(read(db, f"results/{ids[0][1]}"), 127) == LARGE
    assert unpacked(read(db, f"results/{ids[1][0]}"), 100) == noise(100, 13_000)


def test_the_first_outcome_is_kept_with_the_only_rows(db: Database) -> None:
    job = submit(db, programs=2)
    (task,) = claim(db)
    queue.record(db, "me", [success(task, packed(LARGE, 127))])
    before = pieces(db)
    queue.release(db, "me", {(job.id, 1): None}, "tests")
    (again,) = claim(db)
    second = packed(noise(127, 12_000, seed=12), 127)
    # A late event of the first attempt, then the second attempt from the start.
    assert queue.record(db, "me", [success(task, second)]) == {(job.id, 1)}
    queue.record(db, "me", [success(again, second), success(again, second)])
    assert pieces(db) == before
    (stored,) = result_rows.list_page(db, CALLER, job.id).items
    assert unpacked(read(db, stored.buffer.name), 127) == LARGE
    assert kinds(db, job.id).count("result_ready") == 1


def test_incomplete_rows_are_not_stored(db: Database) -> None:
    job = submit(db)
    (task,) = claim(db)
    short = packed(LARGE, 127)
    short.buffer = short.buffer[:-1]
    with pytest.raises(StoreFault):
        queue.record(db, "me", [success(task, short)])
    assert pieces(db) == 0
    assert result_rows.list_page(db, CALLER, job.id).items == []


def test_a_deleted_job_leaves_no_chunks(db: Database) -> None:
    first, second = submit(db), submit(db)
    tasks = claim(db)
    for task in tasks:
        queue.record(db, "me", [success(task, packed(LARGE, 127)), finished(task)])
    both = pieces(db)
    (kept,) = result_rows.list_page(db, CALLER, second.id).items
    (gone,) = result_rows.list_page(db, CALLER, first.id).items
    job_rows.delete(db, CALLER, first.id)
    assert pieces(db) == both / 2
    assert unpacked(read(db, kept.buffer.name), 127) == LARGE
    assert buffers.read(db, gone.id, 0) is None
    with pytest.raises(NotFound):
        buffers.find(db, CALLER, gone.buffer.name)
    job_rows.delete(db, CALLER, second.id)
    assert pieces(db) == 0


def test_only_the_exact_name_and_the_owner_find_a_buffer(db: Database) -> None:
    job = submit(db, programs=2)
    (task,) = claim(db)
    queue.record(db, "me", [success(task, packed(LARGE, 127)), succeeded(task, 1), finished(task)])
    large, small = result_rows.list_page(db, CALLER, job.id).items
    assert buffers.find(db, CALLER, f"results/{large.id}") == (large.id, large.buffer.size_bytes)
    for name in (
        f"results/{small.id}",
        f"results/0{large.id}",
        f"results/{large.id}/",
        f"results/+{large.id}",
        f"result/{large.id}",
        str(large.id),
        "results/",
        "results/٣",
        "results/" + "9" * 19,
        "results/" + "9" * 200,
    ):
        with pytest.raises(NotFound):
            buffers.find(db, CALLER, name)
    with pytest.raises(NotFound):
        buffers.find(db, "another caller", f"results/{large.id}")
