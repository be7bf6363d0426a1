# SPDX-License-Identifier: Apache-2.0
"""The contract of retention, on every database: expired jobs are deleted with all their rows, and nothing else is."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from sqlalchemy import func, insert, select

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.v1.deployment_pb2 import Deployment
from qonduit.v1.job_pb2 import JOB_TYPE_RUNNER, Job
from qonduit_server.errors import NotFound
from qonduit_server.store import deployments, event_log, schema
from qonduit_server.store.admin.retention import Retention, SweepCounts, sweep
from qonduit_server.store.database import Database, open_database, utc_now
from qonduit_server.store.jobs import job_rows, queue
from qonduit_server.store.notification_bus import Notification
from qonduit_server.store.results import result_rows
from tests.store_fixture import BELL, CALLER, claim, deployment, history, known_device, submit, succeed

DAY = timedelta(days=1)
NEVER = threading.Event()


class Times:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = utc_now()

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def times() -> Times:
    """The time of the database `old`."""
    return Times()


@pytest.fixture
def old(database_url: str, times: Times) -> Database:
    """An open database, whose clock starts a hundred days ago."""
    times.now -= 100 * DAY
    database = open_database(database_url, clock=times)
    try:
        yield database  # type: ignore[misc]
    finally:
        database.close()


def go(db: Database, times: Times, days: float = 30) -> SweepCounts:
    """Sweep the jobs that ended this many days before the database's own time."""
    return sweep(db, int((times.now - timedelta(days=days)).timestamp() * 1e6), NEVER)


def run(db: Database, job: Job) -> None:
    """Run the only queued job to SUCCEEDED."""
    (task,) = claim(db)
    assert task.job_id == job.id
    assert not succeed(db, [task])


def on(db: Database, deployment_id: int) -> Job:
    """Queue a job on a stored deployment."""
    new = job_rows.NewJob(
        caller=CALLER,
        spec=JobSpec(shots=10, type=JOB_TYPE_RUNNER),
        device_id=known_device(db).id,
        deployment_id=deployment_id,
    )
    return job_rows.create(db, new).job


def rows(db: Database) -> dict[str, int]:
    """Return the number of rows in each table of jobs."""
    tables = [schema.jobs, schema.events, schema.results, schema.buffers, schema.deployments, schema.programs]
    counts = {one.name: select(func.count()).select_from(one) for one in tables}
    with db.read() as connection:
        return {name: connection.execute(count).scalar_one() for name, count in counts.items()}


def add_buffer(db: Database, result_id: int, pieces: int) -> None:
    """Add a buffer to a result."""
    with db._engine.begin() as connection:
        connection.execute(
            insert(schema.buffers), [{"result_id": result_id, "piece": k, "data": b"x" * 10} for k in range(pieces)]
        )


def test_expired_jobs_are_deleted_and_the_others_are_kept(old: Database, times: Times) -> None:
    request = str(uuid.uuid4())
    gone = submit(old, request_id=request)
    run(old, gone)
    add_buffer(old, result_rows.list_page(old, CALLER, gone.id).items[0].id, 3)
    cancelled = submit(old)
    job_rows.cancel(old, CALLER, cancelled.id)
    waits = submit(old, name="waits")
    times.now += 90 * DAY
    ended_late = waits
    queue.expire(old)
    run(old, ended_late)
    young = submit(old)
    run(old, young)
    queued = submit(old)
    times.now += 10 * DAY
    assert rows(old)["buffers"] == 3
    assert go(old, times) == SweepCounts(jobs=2, deployments=2)
    for job_id in (gone.id, cancelled.id):
        with pytest.raises(NotFound):
            job_rows.get(old, CALLER, job_id)
        with pytest.raises(NotFound):
            event_log.read_after(old, job_id, 0, 10)
    for kept in (ended_late, young, queued):
        assert job_rows.get(old, CALLER, kept.id).id == kept.id
        assert history(old, kept.id)
        assert deployments.get(old, CALLER, kept.deployment_id).programs[0].quantum_circuit.startswith(BELL)
    assert rows(old) == {
        "jobs": 3,
        "events": len(history(old, ended_late.id)) + len(history(old, young.id)) + 1,
        "results": 2,
        "buffers": 0,
        "deployments": 3,
        "programs": 3,
    }
    # Its request id was deleted with it: the same request creates a new job.
    assert submit(old, request_id=request).id > queued.id
    assert not go(old, times)


def test_running_jobs_are_kept_at_any_age(old: Database, times: Times) -> None:
    running, cancelling = submit(old), submit(old)
    claim(old)
    job_rows.cancel(old, CALLER, cancelling.id)
    times.now += 1000 * DAY
    assert not go(old, times, 0)
    assert job_rows.get(old, CALLER, running.id).id == running.id


def test_explicitly_created_deployments_are_kept(old: Database, times: Times) -> None:
    made = deployments.create(old, CALLER, deployment())
    run(old, on(old, made.id))
    named = submit(old)
    run(old, named)
    deployments.update(old, CALLER, Deployment(id=named.deployment_id, name="mine"))
    given = job_rows.create(
        old,
        job_rows.NewJob(
            caller=CALLER,
            spec=JobSpec(shots=1, type=JOB_TYPE_RUNNER),
            device_id=known_device(old).id,
            deployment=deployment(name="given a name at once"),
        ),
    ).job
    run(old, given)
    times.now += 100 * DAY
    assert go(old, times) == SweepCounts(jobs=3)
    for kept in (made.id, named.deployment_id, given.deployment_id):
        assert deployments.get(old, CALLER, kept).programs


def test_an_inline_deployment_is_deleted_with_its_last_job(old: Database, times: Times) -> None:
    first = submit(old)
    run(old, first)
    times.now += 50 * DAY
    again = job_rows.rerun(old, CALLER, first.id).job
    run(old, again)
    other = submit(old)
    run(old, other)
    job_rows.delete(old, CALLER, other.id)
    assert go(old, times) == SweepCounts(jobs=1)
    assert deployments.get(old, CALLER, again.deployment_id).programs
    times.now += 50 * DAY
    # The deployment of the job that a call deleted is deleted as well.
    assert go(old, times) == SweepCounts(jobs=1, deployments=2)
    assert set(rows(old).values()) == {0}


def test_a_deployment_that_jobs_share_is_deleted_with_the_last_of_them(old: Database, times: Times) -> None:
    first = submit(old, inline=deployment())
    run(old, first)
    times.now += 50 * DAY
    second = submit(old, inline=deployment())
    assert second.deployment_id == first.deployment_id
    assert go(old, times, days=40) == SweepCounts(jobs=1)
    run(old, second)
    assert deployments.get(old, CALLER, second.deployment_id).programs
    times.now += 50 * DAY
    assert go(old, times, days=40) == SweepCounts(jobs=1, deployments=1)
    assert set(rows(old).values()) == {0}
    third = submit(old, inline=deployment())
    assert third.deployment_id > second.deployment_id
    run(old, third)


def test_replaced_programs_are_deleted_when_no_job_ran_them(old: Database, times: Times) -> None:
    made = deployments.create(old, CALLER, deployment(programs=2))
    used = on(old, made.id)
    run(old, used)
    for _ in range(2):
        deployments.update(old, CALLER, Deployment(id=made.id, programs=deployment(programs=3).programs))
    times.now += 10 * DAY
    assert not go(old, times)  # replaced recently
    times.now += 50 * DAY
    again = job_rows.rerun(old, CALLER, used.id).job
    assert go(old, times) == SweepCounts(jobs=1, programs=3)
    # The other job still refers to its programs, since it was rerun.
    run(old, again)
    assert len(deployments.get(old, CALLER, made.id).programs) == 3
    times.now += 50 * DAY
    assert go(old, times) == SweepCounts(jobs=1, programs=2)
    assert rows(old)["programs"] == 3


def test_a_job_with_deleted_programs_cannot_be_rerun(
    old: Database, times: Times, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = submit(old)
    run(old, first)
    read = job_rows.get

    def get_then_sweep(db: Database, caller: str, job_id: int) -> Job:
        found = read(db, caller, job_id)
        times.now += 100 * DAY
        assert go(old, times) == SweepCounts(jobs=1, deployments=1)
        return found

    monkeypatch.setattr(job_rows, "get", get_then_sweep)
    with pytest.raises(NotFound):
        job_rows.rerun(old, CALLER, first.id)
    assert claim(old) == []


def test_many_jobs_are_deleted_in_small_transactions(
    old: Database, times: Times, monkeypatch: pytest.MonkeyPatch
) -> None:
    known_device(old)
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda _: submit(old), range(520)))
    succeed(old, claim(old, capacity=1000))
    heavy = result_rows.list_page(old, CALLER, made[510].id).items[0].id
    add_buffer(old, heavy, 100)
    times.now += 100 * DAY
    notifications: list[Notification] = []
    old.notifications.subscribe(notifications.append)
    assert go(old, times) == SweepCounts(jobs=520, deployments=520)
    assert max(len(notification.jobs) for notification in notifications) <= 100
    assert set().union(*(notification.jobs for notification in notifications)) == {job.id for job in made}
    assert set(rows(old).values()) == {0}


def test_a_stopped_sweep_ends_between_two_transactions(old: Database, times: Times) -> None:
    known_device(old)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: submit(old), range(250)))
    succeed(old, claim(old, capacity=1000))
    stop = threading.Event()
    old.notifications.subscribe(lambda notification: stop.set())
    swept = sweep(old, int(times.now.timestamp() * 1e6) + 1, stop)
    assert swept == SweepCounts(jobs=100)
    assert rows(old)["jobs"] == 150


def test_servers_that_sweep_together_delete_each_job_once(database_url: str, times: Times) -> None:
    first = open_database(database_url, clock=times)
    # A SQLite file has one server; there, two of its threads sweep.
    second = open_database(database_url, clock=times) if first.kind == "postgresql" else first
    try:
        known_device(first)
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda _: submit(first), range(300)))
        assert not succeed(first, claim(first, capacity=1000))
        times.now += 100 * DAY
        with ThreadPoolExecutor(3) as pool:
            new = pool.submit(lambda: [submit(second).id for _ in range(100)])
            one, other = pool.map(lambda db: go(db, times), [first, second])
            assert len(new.result()) == 100
        left = go(first, times)  # rows that one had locked while the other skipped them
        assert one.jobs + other.jobs + left.jobs == 300
        assert one.deployments + other.deployments + left.deployments == 300
        assert rows(first) == {**dict.fromkeys(rows(first), 0), "jobs": 100, "events": 100} | {
            "deployments": 100,
            "programs": 100,
        }
    finally:
        first.close()
        if second is not first:
            second.close()


class RecordingLog:
    """Collects log records, and waits for the next."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.lines: list[tuple[str, dict[str, object]]] = []

    def __call__(self, line: str, **fields: object) -> None:
        with self._changed:
            self.lines.append((line, fields))
            self._changed.notify_all()

    def wait(self, count: int) -> tuple[str, dict[str, object]]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.lines) >= count, 20)
            return self.lines[count - 1]


@pytest.fixture
def sweeping(old: Database, times: Times) -> Callable[[float], tuple[Retention, RecordingLog]]:
    """Starts retention of thirty days on the database's clock, with an interval; stops it afterwards."""
    made: list[Retention] = []

    def start(interval: float) -> tuple[Retention, RecordingLog]:
        log = RecordingLog()
        retention = Retention(old, 30, log, interval=interval, clock=times)
        made.append(retention)
        retention.start()
        return retention, log

    yield start  # type: ignore[misc]
    for retention in made:
        retention.stop()


def test_the_thread_sweeps_at_once_and_then_again(
    old: Database, times: Times, sweeping: Callable[[float], tuple[Retention, RecordingLog]]
) -> None:
    run(old, submit(old))
    times.now += 50 * DAY
    retention, log = sweeping(0.01)
    line, fields = log.wait(1)
    assert line == "retention"
    assert {"jobs": 1, "deployments": 1, "programs": 0}.items() <= fields.items()
    run(old, submit(old))
    times.now += 50 * DAY
    assert log.wait(2)[1]["jobs"] == 1
    retention.stop()
    assert not retention._thread.is_alive()
    assert len(log.lines) == 2


def test_a_shorter_retention_sweeps_at_once(
    old: Database, times: Times, sweeping: Callable[[float], tuple[Retention, RecordingLog]]
) -> None:
    run(old, submit(old))
    times.now += 50 * DAY
    retention, log = sweeping(3600)
    assert log.wait(1)[1]["jobs"] == 1
    run(old, submit(old))
    times.now += 20 * DAY
    retention.keep(10, 0)
    assert log.wait(2)[1]["jobs"] == 1


def test_the_thread_survives_an_unavailable_database(
    old: Database, times: Times, sweeping: Callable[[float], tuple[Retention, RecordingLog]]
) -> None:
    run(old, submit(old))
    times.now += 50 * DAY
    lock = old._engine.connect()
    if old.kind == "sqlite":
        lock.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        lock.execution_options(isolation_level="READ COMMITTED")
        lock.exec_driver_sql("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
    _, log = sweeping(0.01)
    line, fields = log.wait(1)
    assert "failed" in line
    assert fields["error"] == "the database does not answer"
    lock.exec_driver_sql("ROLLBACK")
    lock.close()
    with log._changed:
        assert log._changed.wait_for(lambda: log.lines[-1][0] == "retention", 20)
    assert log.lines[-1][1]["jobs"] == 1


def test_an_unlimited_retention_deletes_nothing(old: Database, times: Times) -> None:
    run(old, submit(old))
    for days in (1e12, float("inf")):
        retention = Retention(old, days, print, clock=times)
        retention.start()
        retention.stop()
    assert rows(old)["jobs"] == 1
