# SPDX-License-Identifier: Apache-2.0
"""The dispatcher with a real store and real workers: every job ends once, whichever process dies."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.execution.v1.task_pb2 import ProgramFailed, ProgramNeeds, Task, TaskEvent, TaskFinished, TaskProgress
from qonduit.v1.deployment_pb2 import Deployment, QuantumProgram
from qonduit.v1.event_pb2 import JobEvent
from qonduit.v1.failure_pb2 import Failure, FailureCategory
from qonduit.v1.job_pb2 import Job, JobState, JobType, RequiredVersions
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_server.errors import StoreFault, Unavailable
from qonduit_server.execution.dispatcher import claimer
from qonduit_server.execution.dispatcher.dispatcher import Dispatcher
from qonduit_server.execution.executor import Listener, Loss, LossKind
from qonduit_server.execution.local.pool import ProcessPool
from qonduit_server.lifecycle import CANCELLED, FAILED, QUEUED, RUNNING, SUCCEEDED, is_terminal
from qonduit_server.store import catalogue, event_log
from qonduit_server.store.database import Database, open_database, utc_now
from qonduit_server.store.jobs import job_rows, pinned_jobs, queue
from qonduit_server.store.jobs.standing_claim import StandingClaim
from qonduit_server.store.notification_bus import ANY_PROVIDER, Notification
from qonduit_server.store.writer import FollowUp
from qonduit_server.version_requirements import Environment
from tests.sqlite_template import new_sqlite
from tests.unit.execution.fake_forkserver import FakeProvider
from tests.unit.execution.pool_fixture import PATIENCE, PROGRAM, Gate, environment


class StoreFixture:
    """A real store, and the calls that a gRPC server makes on it."""

    def __init__(self, folder: Path) -> None:
        self.db: Database = open_database(new_sqlite(folder / "store.sqlite3"))
        catalogue.sync(self.db, [FakeProvider("TEST").describe()])
        self._changed = threading.Condition()
        self.db.notifications.subscribe(self._woken)

    def _woken(self, wake: Notification) -> None:
        with self._changed:
            self._changed.notify_all()

    def create(self, text: str = "noop", caller: str = "me", **options: Any) -> int:
        program = QuantumProgram(quantum_circuit=text, assembler_language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2)
        new = job_rows.NewJob(
            caller=caller,
            spec=JobSpec(type=JobType.JOB_TYPE_RUNNER, shots=1, **options),
            device_id=catalogue.device_by_name(self.db, "TEST/stage").id,
            deployment=Deployment(programs=[program]),
        )
        return job_rows.create(self.db, new).job.id

    def get(self, job_id: int) -> Job:
        return job_rows.get(self.db, "me", job_id)

    def history(self, job_id: int) -> list[JobEvent]:
        stored = event_log.read_after(self.db, job_id, 0, 1000)
        assert [event.sequence for event in stored] == list(range(1, len(stored) + 1))
        return [JobEvent.FromString(event.payload) for event in stored]

    def wait(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, timeout=PATIENCE)

    def wait_state(self, job_id: int, *states: JobState) -> Job:
        self.wait(lambda: self.get(job_id).state in states)
        return self.get(job_id)

    def wait_ended(self, *job_ids: int) -> list[Job]:
        for job_id in job_ids:
            self.wait(lambda job_id=job_id: is_terminal(self.get(job_id).state))  # type: ignore[misc]
        return [self.get(job_id) for job_id in job_ids]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StoreFixture]:
    made = StoreFixture(tmp_path)
    yield made
    made.db.close()


@contextmanager
def dispatching(
    store: StoreFixture,
    *,
    workers: int = 2,
    max_attempts: int = 3,
    seconds: float = 0.0,
    drain: float = 0.0,
    lease: float = 30.0,
) -> Iterator[tuple[Dispatcher, ProcessPool]]:
    pool = ProcessPool(("TEST",), workers, program=PROGRAM, environment=environment(), show_errors=True)
    dispatcher = Dispatcher(
        store.db,
        pool,
        owner=f"test-{time.monotonic_ns()}",
        lease=timedelta(seconds=lease),
        max_attempts=max_attempts,
        time_limit_seconds=seconds,
    )
    pool.launch()
    dispatcher.start()
    try:
        yield dispatcher, pool
        assert dispatcher.alive()
    finally:
        dispatcher.drain(drain)
        dispatcher.stop()
        pool.stop(PATIENCE)


def kinds(history: Sequence[JobEvent]) -> list[str | None]:
    return [event.WhichOneof("event") for event in history]


def test_a_job_runs_and_its_history_is_complete(store: StoreFixture) -> None:
    with dispatching(store):
        (job,) = store.wait_ended(store.create())
    assert job.state == SUCCEEDED
    assert job.progress == 1.0
    recorded = kinds(store.history(job.id))
    assert recorded[:2] == ["created", "state_change"]
    assert [kind for kind in recorded[2:] if kind != "program_run"] == ["result_ready", "state_change"]


def test_jobs_created_before_the_start_and_after_it_all_run(store: StoreFixture) -> None:
    before = [store.create() for _ in range(20)]
    with dispatching(store) as (dispatcher, _):
        after = [store.create() for _ in range(100)]
        ended = store.wait_ended(*before, *after)
        until = time.monotonic() + PATIENCE
        assert dispatcher._running.wait_until_empty(lambda: time.monotonic() >= until)
    assert {job.state for job in ended} == {SUCCEEDED}
    assert {job.attempt for job in ended} == {1}


def test_a_job_whose_worker_dies_is_run_again(store: StoreFixture) -> None:
    with dispatching(store):
        (job,) = store.wait_ended(store.create("die 2"))
    assert job.state == SUCCEEDED
    assert job.attempt == 3
    logs = [event.log.message for event in store.history(job.id) if event.HasField("log")]
    assert len(logs) == 2
    assert "SIGKILL" in logs[0]


def test_a_job_that_kills_every_worker_fails_with_that_reason(store: StoreFixture) -> None:
    with dispatching(store, max_attempts=2):
        bad = store.create("kill SIGSEGV")
        good = [store.create() for _ in range(20)]
        failed, *others = store.wait_ended(bad, *good)
    assert failed.state == FAILED
    assert failed.failure.reason == "WORKER_DIED"
    assert failed.failure.retryable
    assert "SIGSEGV" in failed.failure.message
    assert {job.state for job in others} == {SUCCEEDED}


def test_cancel_ends_a_running_job_and_harms_no_other(store: StoreFixture, tmp_path: Path) -> None:
    gate, other = Gate(tmp_path), Gate(tmp_path, "other")
    with dispatching(store):
        job_id, neighbour = store.create(f"hold {gate.path}"), store.create(f"wait {other.path}")
        store.wait_state(job_id, RUNNING)
        store.wait_state(neighbour, RUNNING)
        job_rows.cancel(store.db, "me", job_id)
        assert store.wait_ended(job_id)[0].state == CANCELLED
        other.open()
        assert store.wait_ended(neighbour)[0].state == SUCCEEDED


def test_the_time_limit_is_named(store: StoreFixture, tmp_path: Path) -> None:
    with dispatching(store, seconds=0.3):
        (job,) = store.wait_ended(store.create(f"hold {Gate(tmp_path).path}"))
    assert job.state == FAILED
    assert job.failure.reason == "TIME_LIMIT"
    assert "0.3 s" in job.failure.message


def test_the_first_job_of_a_caller_runs_after_one_task_of_another(store: StoreFixture, tmp_path: Path) -> None:
    gates = [Gate(tmp_path, f"gate {number}") for number in range(6)]
    with dispatching(store, workers=1):
        many = [store.create(f"wait {gate.path}") for gate in gates]
        store.wait_state(many[0], RUNNING)
        other = store.create(caller="other")
        gates[0].open()
        store.wait(lambda: is_terminal(job_rows.get(store.db, "other", other).state))
        # No gate but the first one is open: every other task would have kept it waiting.
        assert not any(is_terminal(store.get(job_id).state) for job_id in many[1:])
        for gate in gates[1:]:
            gate.open()
        assert {job.state for job in store.wait_ended(*many)} == {SUCCEEDED}


def test_jobs_start_at_their_time_and_expire_at_it(store: StoreFixture, tmp_path: Path) -> None:
    gate, soon = Gate(tmp_path), Timestamp()
    with dispatching(store, workers=1):
        store.wait_state(store.create(f"wait {gate.path}"), RUNNING)
        soon.FromDatetime(utc_now() + timedelta(seconds=0.3))
        expiring, delayed = store.create(expires_at=soon), store.create(not_before=soon)
        assert store.wait_ended(expiring)[0].failure.reason == "EXPIRED"
        gate.open()
        (job,) = store.wait_ended(delayed)
    assert job.state == SUCCEEDED
    assert job.started_at.ToDatetime() >= soon.ToDatetime()


def test_drain_lets_running_jobs_end_and_claims_no_more(store: StoreFixture, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    with dispatching(store, workers=1) as (dispatcher, _):
        job_id = store.create(f"wait {gate.path}")
        store.wait_state(job_id, RUNNING)
        drained = threading.Thread(target=dispatcher.drain, args=(PATIENCE,))
        drained.start()
        gate.open()
        drained.join(PATIENCE)
        late = store.create()
        assert store.get(job_id).state == SUCCEEDED
        assert dispatcher.running() == 0
    assert store.get(late).state == QUEUED


def test_jobs_still_running_after_the_drain_are_requeued_without_an_attempt(
    store: StoreFixture, tmp_path: Path
) -> None:
    gate = Gate(tmp_path)
    job_id = store.create(f"hold {gate.path}")
    for _ in range(5):
        with dispatching(store, workers=1):
            store.wait_state(job_id, RUNNING)
        job = store.get(job_id)
        assert (job.state, job.attempt, job.server) == (QUEUED, 0, "")
    gate.path.unlink()
    gate.path.write_bytes(b"")
    with dispatching(store, workers=1):
        (job,) = store.wait_ended(job_id)
    assert (job.state, job.attempt) == (SUCCEEDED, 1)
    assert [event.log.message for event in store.history(job_id) if event.HasField("log")][4:]


def test_stopping_without_grace_does_not_wait_for_running_jobs(store: StoreFixture, tmp_path: Path) -> None:
    gate, hurry = Gate(tmp_path), threading.Event()
    with dispatching(store, workers=1) as (dispatcher, _):
        job_id = store.create(f"hold {gate.path}")
        store.wait_state(job_id, RUNNING)
        drained = threading.Thread(target=dispatcher.drain, args=(10 * PATIENCE, hurry))
        drained.start()
        hurry.set()
        drained.join(PATIENCE)
        assert not drained.is_alive()
        assert store.get(job_id).state == QUEUED


def test_many_jobs_while_workers_and_fork_servers_are_killed(store: StoreFixture) -> None:
    with dispatching(store, workers=2, max_attempts=50) as (_, pool):
        ids = []
        for number in range(200):
            ids.append(store.create())
            if number % 20 == 10:
                family = pool.processes().get("TEST", [])
                victim = 0 if number == 110 else len(family) - 1
                if family and (victim or number == 110):
                    try:
                        os.kill(family[victim], signal.SIGKILL)
                    except ProcessLookupError:
                        continue
        ended = store.wait_ended(*ids)
    assert {job.state for job in ended} == {SUCCEEDED}
    for job in ended:
        recorded = kinds(store.history(job.id))
        assert recorded.count("result_ready") == 1


@dataclass
class FakeExecutor:
    """An executor that does nothing unless the test acts."""

    room: int = 10
    submitted: list[Task] = field(default_factory=list)
    cancelled: list[tuple[int, int]] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)
    listener: Listener | None = None
    #: The environments of its workers.
    versions: Sequence[Mapping[str, str]] = ({"numpy": "2.3.5"},)
    #: Returns the tasks that it has; by default all that were submitted.
    held: Callable[[], set[tuple[int, int]]] | None = None

    def start(self, listener: Listener) -> None:
        self.listener = listener

    def capacity(self) -> Mapping[str, int]:
        return {"TEST": self.room - len(self.submitted)}

    def environments(self) -> Mapping[str, Sequence[Environment]]:
        return {"TEST": [Environment(versions) for versions in self.versions]}

    def submit(self, tasks: Sequence[Task]) -> None:
        with self.changed:
            self.submitted += tasks
            self.changed.notify_all()

    def tasks(self) -> set[tuple[int, int]]:
        return self.held() if self.held else {(task.job_id, task.attempt) for task in self.submitted}

    def cancel(self, job_id: int, attempt: int) -> None:
        with self.changed:
            self.cancelled.append((job_id, attempt))
            self.changed.notify_all()

    def stop(self, grace: float) -> None:
        pass

    def wait(self, condition: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, PATIENCE)


@contextmanager
def dispatching_to_fake(
    store: StoreFixture, *, owner: str = "owner", lease: float = 30.0, max_attempts: int = 3
) -> Iterator[tuple[Dispatcher, FakeExecutor, Listener]]:
    executor = FakeExecutor()
    dispatcher = Dispatcher(
        store.db,
        executor,
        owner=owner,
        lease=timedelta(seconds=lease),
        max_attempts=max_attempts,
        memory_limit_bytes=77,
    )
    dispatcher.start()
    assert executor.listener is not None
    try:
        yield dispatcher, executor, executor.listener
    finally:
        dispatcher.drain(0)
        dispatcher.stop()


def finished(job_id: int, attempt: int = 1) -> TaskEvent:
    return TaskEvent(job_id=job_id, attempt=attempt, finished=TaskFinished())


def test_limits_are_filled_in(store: StoreFixture) -> None:
    with dispatching_to_fake(store) as (_, executor, _listener):
        store.create()
        executor.wait(lambda: len(executor.submitted) == 1)
    assert executor.submitted[0].memory_limit_bytes == 77


def test_a_job_starts_when_a_worker_with_its_versions_comes(store: StoreFixture) -> None:
    with dispatching_to_fake(store) as (_, executor, listener):
        waiting = store.create(required_versions=RequiredVersions(requirements=["numpy>=2.4"]))
        other = store.create()
        executor.wait(lambda: len(executor.submitted) == 1)
        assert executor.submitted[0].job_id == other
        executor.versions = ({"numpy": "2.3.5"}, {"numpy": "2.4.0"})
        listener.capacity_changed()
        executor.wait(lambda: len(executor.submitted) == 2)
        assert executor.submitted[1].job_id == waiting
        # From now on such jobs start by a standing claim, too.
        third = store.create(required_versions=RequiredVersions(requirements=["numpy==2.4.*"]))
        executor.wait(lambda: len(executor.submitted) == 3)
        assert executor.submitted[2].job_id == third


def test_a_job_starts_behind_more_requirements_than_a_claim_compares(
    store: StoreFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pinned_jobs, "_MOST", 3)
    for number in range(20):
        store.create(required_versions=RequiredVersions(requirements=[f"numpy=={number + 3}.*"]))
    served = [store.create(required_versions=RequiredVersions(requirements=[f"numpy>=2.0.{n}"])) for n in range(3)]
    with dispatching_to_fake(store) as (_, executor, _listener):
        executor.wait(lambda: len(executor.submitted) == 3)
        assert sorted(task.job_id for task in executor.submitted) == served
        last = store.create(required_versions=RequiredVersions(requirements=["numpy>=2.1"]))
        executor.wait(lambda: len(executor.submitted) == 4)
        assert executor.submitted[3].job_id == last


def test_an_unsupported_feature_failure_lists_compatible_devices(store: StoreFixture) -> None:
    with dispatching_to_fake(store) as (_, executor, listener):
        job_id = store.create()
        executor.wait(lambda: len(executor.submitted) == 1)
        failure = Failure(
            category=FailureCategory.FAILURE_CATEGORY_DEVICE, reason="UNSUPPORTED_CONSTRUCT", message="no"
        )
        failed = ProgramFailed(failure=failure, needs=ProgramNeeds(num_qubits=1, loops=True))
        listener.events([TaskEvent(job_id=job_id, attempt=1, program_failed=failed), finished(job_id)])
        (job,) = store.wait_ended(job_id)
    assert job.failure.message == "no; this server has no compatible device"


def test_a_job_owned_by_another_server_is_ended_here(store: StoreFixture) -> None:
    with dispatching_to_fake(store) as (dispatcher, executor, listener):
        job_id = store.create()
        executor.wait(lambda: len(executor.submitted) == 1)
        queue.release(store.db, "owner", {(job_id, 1): None}, "as if the lease had run out")
        executor.wait(lambda: len(executor.submitted) == 2)
        listener.events([TaskEvent(job_id=job_id, attempt=1, progress=TaskProgress(progress=0.5))])
        executor.wait(lambda: (job_id, 1) in executor.cancelled)
        assert (job_id, 2) not in executor.cancelled
        listener.lost(job_id, 1, Loss(LossKind.CANCELLED, "cancelled while it ran"))
        assert dispatcher.running() == 1
        assert store.get(job_id).state == RUNNING


@pytest.mark.parametrize("most", [1, 2, 3])
def test_a_job_whose_worker_always_dies_is_started_max_attempts_times_and_not_once_more(
    store: StoreFixture, most: int
) -> None:
    with dispatching_to_fake(store, max_attempts=most) as (_, executor, listener):
        job_id = store.create()
        for attempt in range(1, most + 1):
            executor.wait(lambda attempt=attempt: len(executor.submitted) == attempt)  # type: ignore[misc]
            assert store.get(job_id).state == RUNNING
            listener.lost(job_id, attempt, Loss(LossKind.DIED, "the process that ran it was killed by SIGKILL"))
        (job,) = store.wait_ended(job_id)
    assert [task.attempt for task in executor.submitted] == list(range(1, most + 1))
    assert (job.state, job.attempt, job.failure.reason) == (FAILED, most, "WORKER_DIED")
    assert f"started {most} times" in job.failure.message


def test_a_job_that_was_lost_with_its_servers_max_attempts_times_fails(store: StoreFixture) -> None:
    job_id, other = store.create(), store.create()
    for attempt in (1, 2):
        (task,) = queue.claim(store.db, f"lost {attempt}", {"TEST": 1}, timedelta(0))
        assert (task.job_id, task.attempt) == (job_id, attempt)
        if attempt == 1:
            assert queue.expire(store.db, max_attempts=2) == 1
    with dispatching_to_fake(store, max_attempts=2, lease=0.3) as (_, executor, listener):
        (job,) = store.wait_ended(job_id)
        executor.wait(lambda: bool(executor.submitted))
        listener.events([finished(other)])
        store.wait_ended(other)
    assert (job.state, job.attempt, job.failure.reason) == (FAILED, 2, "SERVER_LOST")
    assert {task.job_id for task in executor.submitted} == {other}


def test_a_task_that_was_stopped_does_not_count_as_having_killed_its_worker(store: StoreFixture) -> None:
    with dispatching_to_fake(store) as (_, executor, listener):
        job_id = store.create()
        for attempt in range(1, 6):
            executor.wait(lambda attempt=attempt: len(executor.submitted) == attempt)  # type: ignore[misc]
            listener.lost(job_id, attempt, Loss(LossKind.STOPPED, "the engine was stopped"))
        # Attempts 6 to 8 count: max_attempts is 3.
        for attempt in range(6, 9):
            executor.wait(lambda attempt=attempt: len(executor.submitted) == attempt)  # type: ignore[misc]
            listener.lost(job_id, attempt, Loss(LossKind.DIED, "the process died"))
        (job,) = store.wait_ended(job_id)
        assert (job.state, job.attempt, job.returned_attempts, job.failure.reason) == (FAILED, 8, 5, "WORKER_DIED")
        assert "started 3 times" in job.failure.message


def test_while_the_database_is_down_no_ended_job_is_lost(store: StoreFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    record, away, failures = queue.record, threading.Event(), threading.Semaphore(0)

    def recording(db: Database, owner: str, batch: Sequence[TaskEvent]) -> set[tuple[int, int]]:
        if away.is_set():
            failures.release()
            raise Unavailable("the database does not answer")
        return record(db, owner, batch)

    monkeypatch.setattr(queue, "record", recording)
    with dispatching(store):
        away.set()
        ids = [store.create() for _ in range(10)]
        assert all(failures.acquire(timeout=PATIENCE) for _ in range(3))
        assert {store.get(job_id).state for job_id in ids} <= {RUNNING, QUEUED}
        away.clear()
        ended = store.wait_ended(*ids)
    assert {(job.state, job.attempt) for job in ended} == {(SUCCEEDED, 1)}


def test_leases_are_renewed_and_those_of_silent_servers_taken_over(
    store: StoreFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewed, expired, renew, expire = threading.Semaphore(0), threading.Semaphore(0), queue.renew, queue.expire

    def renewing(db: Database, owner: str, lease: timedelta) -> None:
        renew(db, owner, lease)
        renewed.release()

    def expiring(db: Database, *, max_attempts: int) -> int:
        expired.release()
        return expire(db, max_attempts=max_attempts)

    monkeypatch.setattr(queue, "renew", renewing)
    monkeypatch.setattr(queue, "expire", expiring)
    job_id = store.create()
    (lost,) = queue.claim(store.db, "a server that was lost", {"TEST": 1}, timedelta(0))
    # A busy machine delays a renewal, which comes every second, by less than two.
    with dispatching_to_fake(store, lease=3.0) as (_, executor, listener):
        executor.wait(lambda: bool(executor.submitted))
        assert (executor.submitted[0].job_id, executor.submitted[0].attempt) == (job_id, lost.attempt + 1)
        with dispatching_to_fake(store, owner="another", lease=3.0) as (_, other, _listener):
            # Four checks for expired leases, one second apart by two servers: longer than the first one's lease.
            assert all(renewed.acquire(timeout=PATIENCE) and expired.acquire(timeout=PATIENCE) for _ in range(8))
            assert not other.submitted
        listener.events([finished(job_id, lost.attempt + 1)])
        store.wait_ended(job_id)


def test_a_claim_whose_answer_was_lost_does_not_keep_its_jobs_for_ever(
    store: StoreFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, claimed = queue.claim, threading.Event()

    def claiming(db: Database, owner: str, capacity: Mapping[str, int], *rest: Any) -> list[Task]:
        tasks = claim(db, owner, capacity, *rest)
        if tasks and not claimed.is_set():
            claimed.set()
            raise Unavailable("the connection broke after the commit")
        return tasks

    monkeypatch.setattr(queue, "claim", claiming)
    job_id = store.create()
    with dispatching_to_fake(store, lease=0.3) as (_, executor, listener):
        executor.wait(lambda: bool(executor.submitted))
        assert (executor.submitted[0].job_id, executor.submitted[0].attempt) == (job_id, 2)
        listener.events([finished(job_id, 2)])
        store.wait_ended(job_id)


def standing(store: StoreFixture, monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """Return a semaphore that each standing claim releases."""
    follow, stands = store.db.follow, threading.Semaphore(0)

    def following(follow_up: FollowUp[Any]) -> None:
        follow(follow_up)
        stands.release()

    monkeypatch.setattr(store.db, "follow", following)
    return stands


def test_a_standing_claim_starts_a_job_and_is_withdrawn_by_a_drain(
    store: StoreFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    stands = standing(store, monkeypatch)
    monkeypatch.setattr(queue, "claim", lambda *_: [])
    with dispatching_to_fake(store) as (dispatcher, executor, listener):
        for number in range(3):
            assert stands.acquire(timeout=PATIENCE)
            job_id = store.create()
            executor.wait(lambda number=number: len(executor.submitted) == number + 1)
            assert executor.submitted[-1].job_id == job_id
            listener.events([finished(job_id)])
            store.wait_ended(job_id)
        assert stands.acquire(timeout=PATIENCE)
        dispatcher.drain(0)
        assert store.get(store.create()).state == QUEUED


def test_a_standing_claim_whose_answer_was_lost_is_found_by_its_owner(
    store: StoreFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    stands, tasks, lost = standing(store, monkeypatch), StandingClaim.tasks, threading.Event()

    def losing(standing: StandingClaim, *rest: Any) -> list[Task] | None:
        found = tasks(standing, *rest)
        if not lost.is_set():
            lost.set()
            raise Unavailable("the connection broke after the commit")
        return found

    with dispatching_to_fake(store) as (_, executor, listener):
        running = store.create()
        executor.wait(lambda: bool(executor.submitted))
        # A job that is claimed later: this claim's answer arrives.
        follow_up = store.create()
        executor.wait(lambda: len(executor.submitted) == 2)
        monkeypatch.setattr(StandingClaim, "tasks", losing)
        while not lost.is_set():
            assert stands.acquire(timeout=PATIENCE)
            found = store.create()
            executor.wait(lambda found=found: found in {task.job_id for task in executor.submitted})
        # The same owner has the jobs that run already: they are not submitted again.
        assert {running, follow_up} < {task.job_id for task in executor.submitted}
        assert len(executor.submitted) == len({task.job_id for task in executor.submitted})
        assert {task.attempt for task in executor.submitted} == {1}
        ids = [task.job_id for task in executor.submitted]
        listener.events([finished(job_id) for job_id in ids])
        store.wait_ended(*ids)


def test_jobs_of_providers_without_workers_here_cause_no_claim(
    store: StoreFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    stands, claims, claim = standing(store, monkeypatch), [], queue.claim

    def counting(*arguments: Any) -> list[Task]:
        claims.append(arguments)
        return claim(*arguments)

    monkeypatch.setattr(queue, "claim", counting)
    with dispatching_to_fake(store) as (_, executor, listener):
        assert stands.acquire(timeout=PATIENCE)
        before = len(claims)
        for _ in range(5):
            store.db.notifications.deliver(Notification(queued=frozenset(("OTHER",))))
        job_id = store.create()
        executor.wait(lambda: bool(executor.submitted))
        assert stands.acquire(timeout=PATIENCE)
        assert len(claims) == before
        # A notification of any provider causes one, as a lost connection does.
        store.db.notifications.deliver(Notification(queued=frozenset((ANY_PROVIDER,))))
        assert stands.acquire(timeout=PATIENCE)
        assert len(claims) == before + 1
        listener.events([finished(job_id)])
        store.wait_ended(job_id)


def test_a_job_that_is_queued_after_a_standing_claim_was_made_starts(
    store: StoreFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unannounced(StandingClaim):
        """Its answer wakes no claimer: the job that is queued next does."""

        def __init__(self, *options: Any, on_result: Callable[[], None], environments: Any) -> None:
            super().__init__(*options, on_result=lambda: None, environments=environments)

    stands = standing(store, monkeypatch)
    monkeypatch.setattr(claimer, "StandingClaim", Unannounced)
    with dispatching_to_fake(store) as (_, executor, listener):
        assert stands.acquire(timeout=PATIENCE)
        ids = [store.create(), store.create()]
        executor.wait(lambda: len(executor.submitted) == 2)
        listener.events([finished(job_id) for job_id in ids])
        store.wait_ended(*ids)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_after_a_fault_no_standing_claim_remains(store: StoreFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    stands = standing(store, monkeypatch)

    def recording(*_: object) -> set[tuple[int, int]]:
        raise AssertionError("a fault of the store")

    with dispatching_to_fake(store) as (dispatcher, executor, listener):
        assert stands.acquire(timeout=PATIENCE)
        job_id = store.create()
        executor.wait(lambda: bool(executor.submitted))
        assert stands.acquire(timeout=PATIENCE)
        with monkeypatch.context() as patch:
            patch.setattr(queue, "record", recording)
            listener.events([finished(job_id)])
            for thread in dispatcher._threads:
                thread.join(PATIENCE)
        assert store.get(store.create()).state == QUEUED


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_after_a_fault_no_job_is_claimed_and_no_lease_renewed(
    store: StoreFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def recording(db: Database, owner: str, batch: Sequence[TaskEvent]) -> set[tuple[int, int]]:
        raise AssertionError("a fault of the store")

    with dispatching_to_fake(store, lease=0.3) as (dispatcher, executor, listener):
        job_id = store.create()
        executor.wait(lambda: bool(executor.submitted))
        with monkeypatch.context() as patch:
            patch.setattr(queue, "record", recording)
            listener.events([finished(job_id)])
            for thread in dispatcher._threads[1:]:
                thread.join(PATIENCE)
            assert not dispatcher.alive()
        with dispatching_to_fake(store, owner="another", lease=0.3) as (_, other, _listener):
            other.wait(lambda: bool(other.submitted))
            assert other.submitted[0].attempt == 2


def test_a_job_that_cannot_be_recorded_fails_alone(store: StoreFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    really_record = queue.record

    def recording(db: Database, owner: str, batch: Sequence[TaskEvent]) -> set[tuple[int, int]]:
        if any(event.job_id == bad and event.finished.failure.reason != "NOT_STORED" for event in batch):
            raise StoreFault("as if a value did not fit its column")
        return really_record(db, owner, batch)

    with dispatching_to_fake(store) as (dispatcher, executor, listener):
        bad, good = store.create(), store.create()
        executor.wait(lambda: len(executor.submitted) == 2)
        monkeypatch.setattr(queue, "record", recording)
        listener.events([finished(bad), finished(good)])
        assert store.wait_ended(bad)[0].failure.reason == "NOT_STORED"
        assert store.wait_ended(good)[0].failure.reason == "PROGRAM_NOT_RUN"
        assert dispatcher.alive()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_fault_is_reported_so_that_the_server_can_exit(store: StoreFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    def claiming(*_: object) -> list[Task]:
        raise AssertionError("a fault of the store")

    reported = threading.Event()
    monkeypatch.setattr(queue, "claim", claiming)
    dispatcher = Dispatcher(store.db, FakeExecutor(), owner="me", on_fault=reported.set)
    dispatcher.start()
    assert reported.wait(PATIENCE)
    dispatcher.stop()
