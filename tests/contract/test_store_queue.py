# SPDX-License-Identifier: Apache-2.0
"""The contract of the store, on every database: leases, and the recovery of running jobs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.execution.v1.task_pb2 import TaskEvent, TaskFinished, TaskStarted
from qonduit.v1.event_pb2 import LOG_LEVEL_INFO, JobEvent, LogLine
from qonduit.v1.failure_pb2 import FAILURE_CATEGORY_WORKER
from qonduit.v1.job_pb2 import JOB_TYPE_RUNNER
from qonduit_server.errors import NotFound
from qonduit_server.lifecycle import CANCELLED, CANCELLING, FAILED, QUEUED, RUNNING, SUCCEEDED
from qonduit_server.store import catalogue, event_log
from qonduit_server.store.database import Database, open_database, utc_now
from qonduit_server.store.jobs import job_rows, queue
from qonduit_server.store.results import result_rows
from tests.postgresql import PostgresqlServer
from tests.store_fixture import (
    CALLER,
    Clock,
    claim,
    deployment,
    description,
    failed,
    finished,
    history,
    kinds,
    known_device,
    progressed,
    result,
    started,
    submit,
    succeed,
    succeeded,
)


@pytest.fixture
def clock() -> Clock:
    return Clock(utc_now())


@pytest.fixture
def timed(database_url: str, clock: Clock) -> Iterator[Database]:
    """A database whose time the test controls."""
    database = open_database(database_url, clock=clock)
    yield database
    database.close()


def test_a_small_job_from_start_to_finish(db: Database) -> None:
    job = submit(db)
    (task,) = claim(db)
    assert (task.job_id, task.attempt, task.provider, task.device) == (job.id, 1, "IBM", "aer_simulator")
    assert (task.spec.shots, task.spec.seed) == (1000, 7)
    assert task.programs[0].program_id == job.program_runs[0].program_id
    running = job_rows.get(db, CALLER, job.id)
    assert (running.state, running.attempt, running.server) == (RUNNING, 1, "me")
    assert running.HasField("started_at")

    assert queue.record(db, "me", [started(task), succeeded(task), finished(task)]) == set()
    assert kinds(db, job.id) == [
        "created",
        "state_change",
        "program_run",
        "result_ready",
        "state_change",
    ]
    events = history(db, job.id)
    assert [event.sequence for event in events] == [1, 2, 3, 4, 5]
    ended = job_rows.get(db, CALLER, job.id)
    assert events[-1].state_change.job == ended
    assert (ended.state, ended.progress, ended.last_sequence) == (SUCCEEDED, 1.0, 5)
    assert ended.finished_at.ToMicroseconds() >= ended.started_at.ToMicroseconds()
    result_id = events[3].result_ready.result_id
    assert list(ended.program_runs[0].result_ids) == [result_id]
    stored = result_rows.get(db, CALLER, result_id)
    assert (stored.id, stored.job_id, stored.program_id) == (result_id, job.id, task.programs[0].program_id)
    assert stored.counts_and_probabilities == result().counts_and_probabilities
    stored_events = event_log.read_after(db, job.id, 0, 100)
    assert [event.terminal for event in stored_events] == [False] * 4 + [True]


def test_a_job_has_the_id_of_the_message_that_carried_its_current_attempt(db: Database) -> None:
    job = submit(db)
    (task,) = claim(db)
    carried = TaskEvent(job_id=job.id, attempt=1, started=TaskStarted(message_id="one"))
    queue.record(db, "me", [carried, progressed(task, 0.5)])
    assert job_rows.get(db, CALLER, job.id).celery_id == "one"
    queue.release(db, "me", {(job.id, 1): None}, "its worker died")
    (task,) = claim(db)
    running = job_rows.get(db, CALLER, job.id)
    assert (running.attempt, running.HasField("celery_id")) == (2, False)
    queue.record(db, "me", [TaskEvent(job_id=job.id, attempt=2, started=TaskStarted(message_id="two"))])
    queue.record(db, "me", [succeeded(task), finished(task)])
    ended = job_rows.get(db, CALLER, job.id)
    assert (ended.state, ended.celery_id) == (SUCCEEDED, "two")
    assert history(db, job.id)[-1].state_change.job.celery_id == "two"


def test_a_jobs_inputs_reach_its_programs_and_stay_with_it(db: Database) -> None:
    programs = deployment(2)
    programs.programs[1].python_file_inputs.update({"theta": 0.1, "phi": [1.0, 2.0]})
    new = job_rows.NewJob(CALLER, JobSpec(shots=10, type=JOB_TYPE_RUNNER), known_device(db).id, deployment=programs)
    new.spec.inputs.update({"theta": 0.7, "flag": True})
    job = job_rows.create(db, new).job
    (task,) = claim(db)
    # The worker merges them: the job's inputs before the program's.
    assert dict(task.spec.inputs) == {"theta": 0.7, "flag": True}
    assert [set(each.inputs) for each in task.programs] == [set(), {"phi", "theta"}]
    queue.record(db, "me", [started(task), succeeded(task), succeeded(task, 1), finished(task)])
    ended = job_rows.get(db, CALLER, job.id)
    assert (ended.state, dict(ended.inputs)) == (SUCCEEDED, {"theta": 0.7, "flag": True})
    again = job_rows.rerun(db, CALLER, job.id).job
    assert again.inputs == ended.inputs


def test_oldest_first_by_provider_and_no_more_than_requested(db: Database) -> None:
    catalogue.sync(db, [description("IBM"), description("AWS", ["braket_sv"])])
    made = [submit(db, device=catalogue.device_by_name(db, "IBM/aer_simulator")) for _ in range(4)]
    other = submit(db, device=catalogue.device_by_name(db, "AWS/braket_sv"))
    assert queue.claim(db, "me", {"IBM": 0, "GOOGLE": 5}, timedelta(seconds=30)) == []
    tasks = queue.claim(db, "me", {"IBM": 2, "AWS": 2}, timedelta(seconds=30))
    assert [task.job_id for task in tasks] == [made[0].id, made[1].id, other.id]
    assert [task.job_id for task in claim(db)] == [made[2].id, made[3].id]
    assert claim(db) == []


def test_programs_fail_and_the_others_keep_their_results(db: Database) -> None:
    job = submit(db, programs=3)
    (task,) = claim(db)
    batch = [succeeded(task, 0), failed(task, 1, "TOO_WIDE"), succeeded(task, 2), finished(task)]
    assert queue.record(db, "me", batch) == set()
    ended = job_rows.get(db, CALLER, job.id)
    assert ended.state == FAILED
    assert ended.failure.reason == "TOO_WIDE"
    assert [run.state for run in ended.program_runs] == [SUCCEEDED, FAILED, SUCCEEDED]
    assert ended.program_runs[1].failure.message
    assert len(result_rows.list_page(db, CALLER, job.id).items) == 2


def test_a_task_that_fails_as_a_whole(db: Database) -> None:
    job = submit(db, programs=2)
    (task,) = claim(db)
    queue.record(db, "me", [succeeded(task, 0), finished(task, "WORKER_DIED")])
    ended = job_rows.get(db, CALLER, job.id)
    assert (ended.state, ended.failure.reason) == (FAILED, "WORKER_DIED")
    assert [run.state for run in ended.program_runs] == [SUCCEEDED, FAILED]
    assert ended.program_runs[1].failure == ended.failure
    assert ended.failure.message


def test_a_task_that_omits_a_program_has_failed(db: Database) -> None:
    job = submit(db, programs=2)
    (task,) = claim(db)
    queue.record(db, "me", [succeeded(task, 0), succeeded(task, 17), finished(task)])
    ended = job_rows.get(db, CALLER, job.id)
    assert (ended.state, ended.failure.reason) == (FAILED, "PROGRAM_NOT_RUN")


def test_program_and_log_events_are_stored_as_they_happen(db: Database) -> None:
    job = submit(db)
    (task,) = claim(db)
    queue.record(db, "me", [started(task)])
    assert history(db, job.id)[-1].program_run.state == RUNNING
    line = LogLine(level=LOG_LEVEL_INFO, message="rounded a \0 bit", program_id=task.programs[0].program_id)
    queue.record(db, "me", [TaskEvent(job_id=job.id, attempt=1, log=line)])
    assert history(db, job.id)[-1].log == line


def test_progress_only_grows(db: Database) -> None:
    job = submit(db)
    (task,) = claim(db)
    queue.record(db, "me", [progressed(task, share) for share in (0.25, 0.25, 0.1, 0.5, float("nan"), 7.0, -1.0)])
    assert [event.progress.progress for event in history(db, job.id) if event.HasField("progress")] == [0.25, 0.5]
    assert job_rows.get(db, CALLER, job.id).progress == 0.5


def test_a_cancelled_task_ends_as_cancelled(db: Database) -> None:
    job = submit(db, programs=2)
    (task,) = claim(db)
    assert queue.cancelling(db, "me") == []
    job_rows.cancel(db, CALLER, job.id)
    assert queue.cancelling(db, "me") == [(job.id, 1)]
    assert queue.cancelling(db, "you") == []
    queue.record(db, "me", [succeeded(task, 0), finished(task, "CANCELLED")])
    ended = job_rows.get(db, CALLER, job.id)
    assert ended.state == CANCELLED
    assert not ended.HasField("failure")
    assert [run.state for run in ended.program_runs] == [SUCCEEDED, CANCELLED]
    assert queue.cancelling(db, "me") == []


def test_a_job_without_a_cancel_request_cannot_be_recorded_as_cancelled(db: Database) -> None:
    job = submit(db)
    (task,) = claim(db)
    queue.record(db, "me", [finished(task, "CANCELLED")])
    assert job_rows.get(db, CALLER, job.id).state == FAILED


def test_events_without_the_lease_are_refused_and_change_nothing(db: Database) -> None:
    job, other = submit(db), submit(db)
    (task, second) = claim(db)
    before = history(db, job.id)
    assert queue.record(db, "you", [succeeded(task), finished(task)]) == {(job.id, 1)}
    stale = TaskEvent(job_id=job.id, attempt=2, progress=progressed(task, 0.5).progress)
    assert queue.record(db, "me", [stale, *[succeeded(second), finished(second)]]) == {(job.id, 2)}
    assert queue.record(db, "me", [TaskEvent(job_id=4711, attempt=1)]) == {(4711, 1)}
    assert history(db, job.id) == before
    assert job_rows.get(db, CALLER, other.id).state == SUCCEEDED
    assert queue.record(db, "me", [finished(second)]) == {(other.id, 1)}


def test_a_released_job_is_run_again_and_first_outcomes_stand(db: Database) -> None:
    job = submit(db, programs=2)
    (task,) = claim(db)
    queue.record(db, "me", [started(task, 0), succeeded(task, 0), started(task, 1)])
    (first,) = result_rows.list_page(db, CALLER, job.id).items
    began = job_rows.get(db, CALLER, job.id).started_at
    queue.release(db, "you", {(job.id, 1): None}, "not mine")
    queue.release(db, "me", {(job.id, 9): None}, "not this attempt")
    assert job_rows.get(db, CALLER, job.id).state == RUNNING
    queue.release(db, "me", {(job.id, 1): None}, "the worker died")
    waiting = job_rows.get(db, CALLER, job.id)
    assert waiting.state == QUEUED
    assert [run.state for run in waiting.program_runs] == [SUCCEEDED, QUEUED]
    assert kinds(db, job.id)[-2:] == ["log", "state_change"]
    assert "the worker died" in history(db, job.id)[-2].log.message
    assert queue.record(db, "me", [succeeded(task, 1)]) == {(job.id, 1)}

    (again,) = claim(db, "you")
    assert again.attempt == 2
    assert not succeed(db, [again], "you")
    ended = job_rows.get(db, CALLER, job.id)
    assert (ended.state, ended.attempt, ended.started_at) == (SUCCEEDED, 2, began)
    kept = result_rows.list_page(db, CALLER, job.id).items
    assert kept[0].id == first.id
    assert len(kept) == 2
    sequences = [event.sequence for event in history(db, job.id)]
    assert sequences == list(range(1, len(sequences) + 1))


def test_a_released_job_with_a_cancel_request_is_cancelled(db: Database) -> None:
    job = submit(db)
    claim(db)
    job_rows.cancel(db, CALLER, job.id)
    queue.release(db, "me", {(job.id, 1): None}, "draining")
    assert job_rows.get(db, CALLER, job.id).state == CANCELLED
    assert claim(db) == []


def assert_in_order(db: Database, job_id: int) -> None:
    """Check that no event is earlier than the one before, and that the job's times are those of its events."""
    events = history(db, job_id)
    times = [event.event_time.ToDatetime() for event in events]
    assert times == sorted(times)
    job = job_rows.get(db, CALLER, job_id)
    assert [job.created_at, job.finished_at] == [events[0].event_time, events[-1].event_time]
    assert job.created_at.ToDatetime() <= job.started_at.ToDatetime() <= job.finished_at.ToDatetime()


def test_the_times_of_a_jobs_events_never_go_backwards(timed: Database, clock: Clock) -> None:
    ended, cancelled, begun_again = submit(timed), submit(timed), submit(timed)
    clock.now -= timedelta(seconds=10)  # set back, as when a wrong clock is corrected
    tasks = claim(timed)
    clock.now -= timedelta(seconds=10)
    succeed(timed, tasks[:1])
    job_rows.cancel(timed, CALLER, cancelled.id)
    queue.release(timed, "me", {(begun_again.id, 1): None, (cancelled.id, 1): None}, "draining")
    clock.now -= timedelta(seconds=10)
    succeed(timed, claim(timed))
    for job in (ended, cancelled, begun_again):
        assert_in_order(timed, job.id)
    # Other jobs are not affected.
    assert submit(timed).created_at.ToDatetime() < ended.created_at.ToDatetime()


def test_the_times_of_a_jobs_events_never_go_backwards_on_two_servers(
    postgresql: PostgresqlServer, postgresql_template: str
) -> None:
    name = postgresql.new_database(postgresql_template)
    behind, ahead = Clock(utc_now()), Clock(utc_now())
    behind.now -= timedelta(seconds=10)
    here = open_database(postgresql.url(name), clock=ahead)
    there = open_database(postgresql.url(name), clock=behind)
    job = submit(here)
    tasks = claim(there)
    queue.record(there, "me", [started(tasks[0])])
    job_rows.cancel(here, CALLER, job.id)
    succeed(there, tasks)
    assert_in_order(here, job.id)
    here.close()
    there.close()
    postgresql.drop_database(name)


def test_leases_expire_unless_renewed(timed: Database, clock: Clock) -> None:
    lost, kept, cancelled = submit(timed), submit(timed), submit(timed)
    claim(timed, "lost", capacity=1)
    claim(timed, "kept", capacity=1)
    claim(timed, "lost", capacity=1)
    job_rows.cancel(timed, CALLER, cancelled.id)
    clock.now += timedelta(seconds=20)
    queue.renew(timed, "kept", timedelta(seconds=30))
    assert queue.expire(timed) == 0
    clock.now += timedelta(seconds=20)
    assert queue.expire(timed) == 2
    assert job_rows.get(timed, CALLER, lost.id).state == QUEUED
    assert job_rows.get(timed, CALLER, kept.id).state == RUNNING
    assert job_rows.get(timed, CALLER, cancelled.id).state == CANCELLED
    assert [task.attempt for task in claim(timed)] == [2]


@pytest.mark.parametrize("most", [1, 3])
def test_a_job_is_lost_with_its_server_max_attempts_times_and_then_fails(
    timed: Database, clock: Clock, most: int
) -> None:
    job = submit(timed, programs=2)
    for attempt in range(1, most + 1):
        (task,) = claim(timed, f"server {attempt}")
        assert (task.job_id, task.attempt) == (job.id, attempt)
        if attempt == 1:
            queue.record(timed, "server 1", [started(task), succeeded(task)])
        clock.now += timedelta(minutes=1)
        assert job_rows.get(timed, CALLER, job.id).state == RUNNING
        assert queue.expire(timed, max_attempts=most) == 1
    ended = job_rows.get(timed, CALLER, job.id)
    assert (ended.state, ended.attempt, ended.failure.reason) == (FAILED, most, "SERVER_LOST")
    assert (ended.failure.category, ended.failure.retryable) == (FAILURE_CATEGORY_WORKER, True)
    assert f"started {most} times" in ended.failure.message
    # Programs that ended before keep their outcomes.
    assert [run.state for run in ended.program_runs] == [SUCCEEDED, FAILED]
    last = event_log.read_after(timed, job.id, 0, 100)[-1]
    assert last.terminal
    assert JobEvent.FromString(last.payload).state_change.job == ended
    assert claim(timed) == []
    # A requested cancel still decides how the job ends.
    cancelled = submit(timed)
    claim(timed, "another")
    job_rows.cancel(timed, CALLER, cancelled.id)
    clock.now += timedelta(minutes=1)
    assert queue.expire(timed, max_attempts=1) == 1
    assert job_rows.get(timed, CALLER, cancelled.id).state == CANCELLED


def test_a_returned_attempt_does_not_count_and_keeps_its_number(timed: Database, clock: Clock) -> None:
    job = submit(timed)
    claim(timed)
    queue.release(timed, "me", {(job.id, 1): None}, "its machine stopped", counts=False)
    (task,) = claim(timed)
    assert (task.attempt, task.returned_attempts) == (2, 1)
    # Output of the first attempt is not that of the second.
    assert queue.record(timed, "me", [TaskEvent(job_id=job.id, attempt=1, finished=TaskFinished())]) == {(job.id, 1)}
    clock.now += timedelta(minutes=1)
    assert queue.expire(timed, max_attempts=2) == 1
    (task,) = claim(timed)
    assert (task.attempt, task.returned_attempts) == (3, 1)
    clock.now += timedelta(minutes=1)
    assert queue.expire(timed, max_attempts=2) == 1
    ended = job_rows.get(timed, CALLER, job.id)
    assert (ended.state, ended.attempt, ended.returned_attempts) == (FAILED, 3, 1)
    assert "started 2 times" in ended.failure.message


def test_queue_depth_counts_waiting_and_running_jobs(db: Database) -> None:
    device = known_device(db)
    for _ in range(3):
        submit(db)
    succeed(db, claim(db, capacity=1))
    claim(db, capacity=1)
    assert catalogue.queue_depth(db, device.id) == 2
    assert catalogue.queue_depths(db) == {device.id: 2}
    assert catalogue.queue_depth(db, 4711) == 0


def test_no_job_is_claimed_twice_and_sequences_have_no_gaps_under_load(db: Database) -> None:
    known_device(db)
    total, threads = 120, 8
    claimed: list[int] = []
    lock = threading.Lock()
    submitted = threading.Event()

    def work(owner: str) -> None:
        while True:
            done = submitted.is_set()
            tasks = queue.claim(db, owner, {"IBM": 5}, timedelta(seconds=30))
            with lock:
                claimed.extend(task.job_id for task in tasks)
            assert not succeed(db, tasks, owner)
            if done and not tasks:
                return

    def request_cancel(job_id: int) -> None:
        try:
            job_rows.cancel(db, CALLER, job_id)
        except NotFound:
            raise AssertionError("a job was lost") from None

    with ThreadPoolExecutor(threads + 4) as pool:
        workers = [pool.submit(work, f"owner{n}") for n in range(4)]
        made = list(pool.map(lambda _: submit(db).id, range(total)))
        cancels = [pool.submit(request_cancel, job_id) for job_id in made[::10]]
        for cancel in cancels:
            cancel.result()
        submitted.set()
        for worker in workers:
            worker.result()
    assert len(claimed) == len(set(claimed))
    for job_id in made:
        events = event_log.read_after(db, job_id, 0, 1000)
        assert [event.sequence for event in events] == list(range(1, len(events) + 1))
        assert [event.terminal for event in events] == [False] * (len(events) - 1) + [True]
        assert job_rows.get(db, CALLER, job_id).state in (SUCCEEDED, CANCELLED)
    assert CANCELLING not in {job_rows.get(db, CALLER, job_id).state for job_id in made}


def test_a_claim_whose_answer_was_lost_is_found_again(db: Database) -> None:
    first, second = submit(db), submit(db)
    (task,) = claim(db, "heard", capacity=1)
    (lost,) = claim(db, "lost", capacity=1)
    assert (task.job_id, lost.job_id) == (first.id, second.id)
    assert queue.claimed(db, ["lost", "never"]) == {"lost": [lost]}
    assert not succeed(db, [lost], "lost")
    assert queue.claimed(db, ["lost", "never"]) == {}


def test_an_uncounted_attempt_passes_its_number_to_the_next_and_is_still_refused(db: Database) -> None:
    job = submit(db)
    (task,) = claim(db, "stopped")
    queue.release(
        db, "stopped", {(job.id, 1): None}, "the server that ran it is stopping", counts=False, reuses_number=True
    )
    (again,) = claim(db, "next")
    assert (task.attempt, again.attempt) == (1, 1)
    assert succeed(db, [task], "stopped") == {(job.id, 1)}
    assert not succeed(db, [again], "next")
