# SPDX-License-Identifier: Apache-2.0
"""The contract of the store, on every database: a restored database begins a new log, and sends nothing again."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import create_engine, text

from qonduit.execution.v1.task_pb2 import Task, TaskEvent
from qonduit.v1.event_pb2 import LogLevel, LogLine
from qonduit.v1.job_pb2 import Job, JobState
from qonduit_server.encryption.key_ring import KeyRing
from qonduit_server.errors import FailedPrecondition, StartError, Unavailable
from qonduit_server.store import catalogue, event_log, log_epoch
from qonduit_server.store.admin import backup, restoration
from qonduit_server.store.audit_list import list_page as list_audit
from qonduit_server.store.database import Database, open_database
from qonduit_server.store.engines import parse_url
from qonduit_server.store.job_pools import AtVendor
from qonduit_server.store.jobs import job_rows, queue
from qonduit_server.store.schema import metadata
from qonduit_server.store.server_database import open_for_server
from tests.contract.rpc_fixture import until
from tests.postgresql import PostgresqlServer
from tests.store_fixture import CALLER, LEASE, claim, description, history, kinds, submit, succeed

R = TypeVar("R")
Copy = Callable[[], str]


@pytest.fixture
def copy(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> Iterator[Copy]:
    """Return a function that copies the closed database as it is, and returns the URL of the copy."""
    parsed, made = parse_url(database_url), list[str]()
    server: PostgresqlServer | None = None
    if parsed.drivername != "sqlite":
        server = request.getfixturevalue("postgresql")

    def copied() -> str:
        if server is None:
            target = tmp_path / f"copy{len(made)}.sqlite3"
            shutil.copyfile(str(parsed.database), target)
            made.append(str(target))
            return f"sqlite:///{target}"
        made.append(server.new_database(str(parsed.database)))
        return server.url(made[-1])

    yield copied
    if server is not None:
        for name in made:
            server.drop_database(name)


@contextmanager
def opened(url: str) -> Iterator[Database]:
    db = open_database(url)
    try:
        yield db
    finally:
        db.close()


def log(db: Database, task: Task, message: str, owner: str = "me") -> None:
    line = LogLine(level=LogLevel.LOG_LEVEL_INFO, message=message)
    assert not queue.record(db, owner, [TaskEvent(job_id=task.job_id, attempt=task.attempt, log=line)])


def job_of(db: Database, job_id: int) -> Job:
    return job_rows.get(db, CALLER, job_id)


def after(db: Database, job: Job | int, sequence: int, epoch: int = 0) -> list[int]:
    """Return the sequences of the events after a cursor."""
    job_id = job if isinstance(job, int) else job.id
    page = event_log.list_page(db, CALLER, job_id, after_sequence=sequence, after_epoch=epoch)
    return [event.sequence for event in page.items]


def refused(db: Database, job_id: int, sequence: int, epoch: int = 0) -> bool:
    """Return whether a cursor is refused because of its log."""
    try:
        after(db, job_id, sequence, epoch)
    except FailedPrecondition as error:
        return (error.reason, error.subject) == ("LOG_RESTORED", f"jobs/{job_id}")
    return False


def test_a_cursor_of_the_lost_log_is_refused_and_one_of_the_backup_continues(database_url: str, copy: Copy) -> None:
    with opened(database_url) as db:
        job = submit(db)
        (task,) = claim(db)
    restored_url = copy()
    with opened(database_url) as db:
        for remark in ("three", "four", "five", "six"):
            log(db, task, remark)
        assert {event.log_epoch for event in history(db, job.id)} == {0}
    with opened(restored_url) as db:
        epoch = restoration.begin_log(db).log_epoch
        assert epoch > 0
        # The lease ended: a log line, and the change to QUEUED.
        assert [event.log_epoch for event in history(db, job.id)] == [0, 0, epoch, epoch]
        assert after(db, job, 2) == [3, 4]
        assert refused(db, job.id, 3)
        assert refused(db, job.id, 6)
        assert after(db, job, 3, epoch) == [4]
        assert after(db, job, 4, epoch) == []
        assert refused(db, job.id, 2, epoch)
        # Not there yet, in the log of the client: as on a server that was never restored.
        assert after(db, job, 9, epoch) == []
        known = job_of(db, job.id)
        assert after(db, job, known.last_sequence, known.log_epoch) == []
    with opened(restored_url) as db:
        # The next start continues the same log.
        (task,) = claim(db, "next")
        log(db, task, "after a restart", "next")
        assert {event.log_epoch for event in history(db, job.id)[2:]} == {epoch}
        new = submit(db)
        assert (new.log_epoch, job_of(db, new.id).log_epoch) == (epoch, epoch)


def test_two_restores_of_one_backup_have_different_logs_and_ids(database_url: str, copy: Copy) -> None:
    with opened(database_url) as db:
        job = submit(db)
    seen: set[int] = set()
    epochs = set()
    for url in (copy(), copy()):
        with opened(url) as db:
            epochs.add(restoration.begin_log(db).log_epoch)
            new = submit(db)
            seen.add(new.id)
            assert new.id > job.id + 1_000_000
            assert new.deployment_id > job.deployment_id + 1_000_000
            claim(db)
            assert [event.log_epoch > 0 for event in history(db, job.id)] == [False, True]
    assert len(epochs) == len(seen) == 2


def test_no_table_gives_a_lost_id_to_a_new_row(database_url: str, copy: Copy) -> None:
    opened_once = open_database(database_url)
    opened_once.close()
    url = copy()
    with opened(database_url) as db:
        lost = [submit(db) for _ in range(3)][-1]
        succeed(db, claim(db))
    with opened(url) as db:
        restoration.begin_log(db)
        new = submit(db)
        succeed(db, claim(db))
    assert new.id > lost.id
    with create_engine(parse_url(url)).connect() as connection:
        for name in ("jobs", "deployments", "programs", "results", "devices", "providers"):
            assert name in metadata.tables
            # Provider and device 0 are those of server programs, in every database.
            lowest = connection.execute(text(f"SELECT min(id) FROM {name} WHERE id > 0")).scalar_one()
            assert int(lowest) > 1_000_000, name


def test_jobs_of_vendors_fail_and_local_ones_are_queued_again(database_url: str, copy: Copy) -> None:
    with opened(database_url) as db:
        described = description(devices=("aer_simulator", "remote"))
        described.devices[1].is_local = False
        catalogue.sync(db, [described])
        remote = catalogue.device_by_name(db, "IBM/remote")
        ended, running, cancelling = submit(db, device=remote), submit(db, device=remote), submit(db, device=remote)
        local, cancelled = submit(db), submit(db)
        claimed = queue.claim(db, "me", {"IBM": 100, AtVendor("IBM"): 100}, LEASE)
        tasks = {task.job_id: task for task in claimed}
        succeed(db, [tasks[ended.id]])
        for job in (cancelling, cancelled):
            job_rows.cancel(db, CALLER, job.id)
        waiting, local_waiting = submit(db, device=remote), submit(db)
    with opened(copy()) as db:
        done = restoration.begin_log(db)
        assert (done.requeued, done.failed) == (2, 3)
        for job in (running, cancelling, waiting):
            found = job_of(db, job.id)
            assert found.state == JobState.JOB_STATE_FAILED
            assert found.failure.reason == "SUBMISSION_UNKNOWN"
            assert not found.failure.retryable
            assert [run.state for run in found.program_runs] == [JobState.JOB_STATE_FAILED]
            assert kinds(db, job.id)[-1] == "state_change"
        assert job_of(db, ended.id).state == JobState.JOB_STATE_SUCCEEDED
        assert job_of(db, cancelled.id).state == JobState.JOB_STATE_CANCELLED
        assert len(history(db, local_waiting.id)) == 1
        # No job of a vendor runs again before a user states that the vendor does not have it.
        for job in (running, waiting):
            with pytest.raises(FailedPrecondition, match="could be charged twice"):
                job_rows.rerun(db, CALLER, job.id)
            with pytest.raises(FailedPrecondition, match="does not contain what job"):
                job_rows.rerun(db, CALLER, job.id, vendor_id="v-1")
            job_rows.resolve_as_not_submitted(db, frozenset({CALLER}), job.id)
            again = job_rows.rerun(db, CALLER, job.id).job
            job_rows.cancel(db, CALLER, again.id)
        # Nothing of the lost owner is recorded, and only local jobs start.
        assert queue.record(db, "me", [TaskEvent(job_id=local.id, attempt=1, log=LogLine(message="late"))])
        assert {(task.job_id, task.attempt) for task in claim(db, "next")} == {(local.id, 2), (local_waiting.id, 1)}


def test_a_new_log_needs_the_database_for_itself(postgresql: PostgresqlServer, postgresql_template: str) -> None:
    url = postgresql.url(postgresql.new_database(postgresql_template))
    with opened(url) as db, opened(url) as other:
        job = submit(other)
        with pytest.raises(StartError, match="other servers or commands use the database: stop them"):
            restoration.begin_log(db)
        assert [event.log_epoch for event in history(db, job.id)] == [0]
        other.close()
        epoch = begun(db)
        with opened(url) as late:
            assert submit(late).log_epoch == epoch
            # Both write now.
            assert submit(db).log_epoch == epoch


def test_a_server_whose_session_ended_continues_in_the_new_log(
    postgresql: PostgresqlServer, postgresql_template: str
) -> None:
    """It was away, for example frozen, while another server began the log."""
    url = postgresql.url(postgresql.new_database(postgresql_template))
    with opened(url) as away:
        submit(away)
        with create_engine(parse_url(url)).connect() as connection:
            connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid != pg_backend_pid()"
                )
            )
        with opened(url) as db:
            epoch = begun(db)
        assert submitted(away).log_epoch == epoch


def begun(db: Database) -> int:
    """Begin a log, once the session of the other server has ended."""
    return repeated(lambda: restoration.begin_log(db).log_epoch, StartError)


def submitted(db: Database) -> Job:
    """Submit a job at a server that notices only then that its session has ended."""
    return repeated(lambda: submit(db), Unavailable)


def repeated(call: Callable[[], R], refusal: type[Exception]) -> R:
    """Return the result of a call that is repeated until it is not refused."""
    results: list[R] = []

    def attempt() -> bool:
        with suppress(refusal):
            results.append(call())
        return bool(results)

    until(attempt)
    return results[0]


def test_a_copy_begins_its_log_at_its_first_start(tmp_path: Path) -> None:
    url, target = f"sqlite:///{tmp_path / 'q.sqlite3'}", tmp_path / "copy.sqlite3"
    with opened(url) as db:
        job = submit(db)
        claim(db)
    backup.copy(url, target)
    epochs = []
    for restored in (False, False, True):
        with ExitStack() as stack:
            db, _ = open_for_server(
                f"sqlite:///{target}", stack, KeyRing(), restored=restored, audited=True, max_attempts=3
            )
            with db.read() as connection:
                state = log_epoch.read(connection)
            assert not state.is_copy
            epochs.append(state.epoch)
            assert job_of(db, job.id).state == JobState.JOB_STATE_QUEUED
            entries = list_audit(db).items
    assert 0 < epochs[0] == epochs[1] < epochs[2]
    assert [entry.method for entry in entries] == ["qonduit serve --restored"] * 2
    with opened(url) as db, db.read() as connection:
        assert log_epoch.read(connection) == (0, False)


def test_a_copy_of_an_older_schema_is_made(tmp_path: Path) -> None:
    sample = Path(__file__).parents[1] / "upgrade" / "0012.sqlite3"
    backup.copy(f"sqlite:///{sample}", tmp_path / "copy.sqlite3")
    with opened(f"sqlite:///{tmp_path / 'copy.sqlite3'}") as db, db.read() as connection:
        assert log_epoch.read(connection) == (0, False)
