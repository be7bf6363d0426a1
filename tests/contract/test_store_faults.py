# SPDX-License-Identifier: Apache-2.0
"""The store when its database is unavailable, its process is killed, or other servers share it."""

from __future__ import annotations

import select
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, text

from qonduit_server.errors import StartError, Unavailable
from qonduit_server.lifecycle import RUNNING, SUCCEEDED
from qonduit_server.store import catalogue, event_log
from qonduit_server.store.database import Database, open_database
from qonduit_server.store.jobs import job_list, job_rows, queue
from qonduit_server.store.notification_bus import Notification
from qonduit_server.store.writer import Operation, Transaction
from tests.postgresql import PostgresqlServer, start_or_skip
from tests.store_fixture import CALLER, LEASE, claim, description, history, known_device, submit, succeed


class RecordingListener:
    """Collects notifications, and waits for one."""

    def __init__(self, db: Database) -> None:
        self._changed = threading.Condition()
        self.notifications: list[Notification] = []
        db.notifications.subscribe(self._note)

    def _note(self, notification: Notification) -> None:
        with self._changed:
            self.notifications.append(notification)
            self._changed.notify_all()

    def one(self, *, jobs: frozenset[int] = frozenset(), **flags: bool) -> bool:
        """Wait until a notification with all of these fields arrived."""

        def matches(notification: Notification) -> bool:
            return jobs <= notification.jobs and all(
                getattr(notification, name) == value for name, value in flags.items()
            )

        with self._changed:
            return self._changed.wait_for(lambda: any(map(matches, self.notifications)), 10)

    def all_of(self, jobs: set[int]) -> bool:
        """Wait until notifications have named these jobs, and no others."""
        with self._changed:
            return self._changed.wait_for(
                lambda: frozenset[int]().union(*(each.jobs for each in self.notifications)) == jobs, 10
            )


@pytest.fixture
def shared(postgresql: PostgresqlServer, postgresql_template: str) -> Iterator[tuple[Database, Database]]:
    """Two servers' databases, which are the same one."""
    name = postgresql.new_database(postgresql_template)
    first, second = open_database(postgresql.url(name)), open_database(postgresql.url(name))
    yield first, second
    first.close()
    second.close()
    postgresql.drop_database(name)


def test_servers_notify_each_other_once(shared: tuple[Database, Database]) -> None:
    first, second = shared
    here, there = RecordingListener(first), RecordingListener(second)
    catalogue.sync(first, [description()])
    assert there.one(catalogue=True)
    assert catalogue.device_by_name(second, "IBM/aer_simulator").name == "aer_simulator"
    job = submit(first)
    assert there.one(queued=frozenset({"IBM"}), jobs=frozenset({job.id}))
    (task,) = claim(second)
    assert here.one(jobs=frozenset({job.id}), queue=False)
    job_rows.cancel(first, CALLER, job.id)
    assert there.one(cancels=True)
    assert queue.cancelling(second, "me") == [(job.id, 1)]
    assert not succeed(second, [task])
    last = submit(second)
    assert here.one(queue=True, jobs=frozenset({last.id}))
    # All notifications have arrived: none returned to the server that sent it.
    assert len([notification for notification in here.notifications if notification.cancels]) == 1


def test_a_catalogue_that_another_server_changed_is_read_again(shared: tuple[Database, Database]) -> None:
    first, second = shared
    catalogue.sync(first, [description()])
    assert catalogue.list_devices(second).items[0].available
    there = RecordingListener(second)
    catalogue.sync(first, [description(unavailable="broken")])
    assert there.one(catalogue=True)
    assert not catalogue.device_by_name(second, "IBM/aer_simulator").available


@pytest.mark.parametrize("channel", ["qonduit", "qonduit_use"])
@pytest.mark.parametrize("payload", ["", "no JSON", "5", "null", '{"j": 5}', "[1, 2, 3, null, null]"])
def test_payloads_of_other_programs_are_ignored(
    postgresql: PostgresqlServer, postgresql_template: str, channel: str, payload: str
) -> None:
    url = postgresql.url(postgresql.new_database(postgresql_template))
    with closing(open_database(url)) as db, closing(open_database(url)) as another:
        there = RecordingListener(another)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SELECT pg_notify(%s, %s)", (channel, payload))
        catalogue.sync(db, [description()])
        assert there.one(catalogue=True)


def test_notifications_about_thousands_of_jobs(shared: tuple[Database, Database]) -> None:
    first, second = shared
    known_device(first)
    with ThreadPoolExecutor(64) as pool:
        made = list(pool.map(lambda _: submit(first).id, range(400)))
    there = RecordingListener(second)
    assert len(claim(first, capacity=1000)) == 400
    assert there.all_of(set(made))


def test_servers_never_claim_the_same_job_nor_make_one_twice(shared: tuple[Database, Database]) -> None:
    device = known_device(shared[0])
    claimed: list[int] = []
    made: list[int] = []

    def submit_all(db: Database) -> None:
        for number in range(40):
            made.append(submit(db, device=device, request_id=f"same-{number}").id)

    def work(number: int) -> None:
        db = shared[number % 2]
        while len(claimed) < 40:
            tasks = queue.claim(db, f"owner{number}", {"IBM": 3}, LEASE)
            claimed.extend(task.job_id for task in tasks)
            assert not succeed(db, tasks, f"owner{number}")

    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(submit_all, db) for db in (*shared, *shared)]
        futures += [pool.submit(work, number) for number in range(4)]
        for future in futures:
            future.result(60)
    assert len(made) == 160
    assert len(set(made)) == 40
    assert sorted(claimed) == sorted(set(made))
    for job_id in set(made):
        assert [event.sequence for event in history(shared[1], job_id)] == [1, 2, 3, 4, 5]


def eventually(db: Database) -> None:
    """Submit until it succeeds, for a few seconds at most."""
    deadline = time.monotonic() + 100
    while True:
        try:
            submit(db)
        except Unavailable:
            assert time.monotonic() < deadline
        else:
            return


def test_postgresql_becomes_unavailable_and_recovers() -> None:
    server = start_or_skip()
    try:
        db = open_database(server.url(server.new_database()))
        job = submit(db)
        recording = RecordingListener(db)
        server.stop()
        began = time.monotonic()
        for _ in range(3):
            with pytest.raises(Unavailable):
                submit(db)
            with pytest.raises(Unavailable):
                job_rows.get(db, CALLER, job.id)
        assert time.monotonic() - began < 10
        with pytest.raises(StartError):
            open_database(server.url())
        server.start()
        # Missed notifications cannot be recovered: every subscriber is notified to recheck.
        assert recording.one(all_jobs=True, queue=True, cancels=True)
        eventually(db)
        assert len(claim(db)) >= 2
        db.close()
    finally:
        server.close()


def test_postgresql_restarts_between_two_writes() -> None:
    server = start_or_skip()
    try:
        db = open_database(server.url(server.new_database()))
        known_device(db)
        server.stop()
        server.start()
        assert submit(db).id
        db.close()
    finally:
        server.close()


_LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("statement_follows", [True, False])
def test_a_transaction_that_postgresql_ended_for_idling_is_retried_or_unavailable(
    shared: tuple[Database, Database], statement_follows: bool
) -> None:
    db, _ = shared
    known_device(db)
    ended: list[bool] = []

    def idle_once(transaction: Transaction, arguments: Sequence[str]) -> list[str]:
        if not ended:
            _idle_until_ended(transaction.connection)
            ended.append(True)
        if statement_follows:
            _add_provider(transaction, arguments)
        return list(arguments)

    def break_later(transaction: Transaction, arguments: Sequence[str]) -> list[str]:
        _add_provider(transaction, arguments)
        raise KeyError("a fault")

    if statement_follows:
        assert db.write(Operation(idle_once), "retried") == "retried"
    else:
        with pytest.raises(Unavailable):
            db.write(Operation(idle_once), "not retried")
        eventually(db)
    assert ended
    # The new connection is one for transactions, too.
    with pytest.raises(KeyError):
        db.write(Operation(break_later), "rolled back")
    with db.read() as connection:
        names = connection.execute(text("SELECT name FROM providers WHERE name LIKE '%r%ed%'")).scalars().all()
    assert names == (["retried"] if statement_follows else [])


def _idle_until_ended(connection: Connection) -> None:
    """Be idle in a transaction until PostgreSQL ends the session."""
    connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = '10ms'")
    driver: Any = connection.connection.driver_connection
    assert select.select([driver.fileno()], [], [], 10)[0]


def _add_provider(transaction: Transaction, names: Sequence[str]) -> None:
    for name in names:
        transaction.connection.execute(
            text("INSERT INTO providers (name, with_token) VALUES (:name, false)"), {"name": name}
        )


def test_a_sqlite_file_locked_by_another_process(tmp_path: Path) -> None:
    path = tmp_path / "locked.sqlite3"
    db = open_database(f"sqlite:///{path}")
    job = submit(db)
    with subprocess.Popen(
        [sys.executable, "-c", _LOCK, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == b"locked\n"
        began = time.monotonic()
        with pytest.raises(Unavailable):
            submit(db)
        assert time.monotonic() - began < 6
        # A writer does not block readers.
        assert job_rows.get(db, CALLER, job.id) == job
        # And no thread waits for a lock that is known to be held.
        began = time.monotonic()
        with pytest.raises(Unavailable):
            submit(db)
        assert time.monotonic() - began < 1
        holder.stdin.close()
    eventually(db)
    assert len(claim(db)) == 2
    db.close()


_WRITE_FOR_EVER = """
import os, sys
from concurrent.futures import ThreadPoolExecutor
from qonduit_server.store.database import open_database
from tests.store_fixture import claim, known_device, submit, succeed
db = open_database(sys.argv[1])
known_device(db)
def write(_):
    while True:
        os.write(1, b"%d\\n" % submit(db).id)
        succeed(db, claim(db, capacity=2))
with ThreadPoolExecutor(4) as pool:
    list(pool.map(write, range(4)))
"""


def test_no_acknowledged_write_is_lost_when_the_process_is_killed(database_url: str) -> None:
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", _WRITE_FOR_EVER, database_url], stdout=subprocess.PIPE, cwd=root
    ) as writer:
        assert writer.stdout is not None
        acknowledged = [int(writer.stdout.readline()) for _ in range(50)]
        writer.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in writer.stdout.read().splitlines(keepends=True) if line.endswith(b"\n")]
    db = open_database(database_url)
    for job_id in acknowledged:
        job = job_rows.get(db, CALLER, job_id)
        events = event_log.read_after(db, job_id, 0, 100)
        assert [event.sequence for event in events] == list(range(1, job.last_sequence + 1))
        assert events[-1].terminal == (job.state == SUCCEEDED)
    # A new server takes over the jobs that the killed one was running.
    queue.release(db, "me", dict.fromkeys((job.id, job.attempt) for job in _running(db)), "lost")
    assert not _running(db)
    db.close()


def _running(db: Database) -> list[job_rows.Job]:
    return [job for job in job_list.list_page(db, CALLER, 1000, filter="state = RUNNING").items if job.state == RUNNING]


def test_invalid_databases_are_refused(tmp_path: Path, postgresql: PostgresqlServer) -> None:
    no_database = tmp_path / "text.sqlite3"
    no_database.write_text("this is not a database, and long enough to look like one " * 20)
    for url in (
        "sqlite://",
        "sqlite:///:memory:",
        f"sqlite:///{tmp_path}/no/such/folder/x.sqlite3",
        f"sqlite:///{no_database}",
        f"sqlite:///{tmp_path}",
        "mysql://localhost/x",
        "nonsense",
        "",
        postgresql.url("no_such_database"),
        "postgresql://127.0.0.1:1/x",
    ):
        with pytest.raises(StartError):
            open_database(url)
    with pytest.raises(StartError) as caught:
        open_database("postgresql://user:secret@127.0.0.1:1/x")
    assert "secret" not in str(caught.value)


def test_a_closed_store_reports_that_it_is_closed(db: Database) -> None:
    job = submit(db)
    db.close()
    with pytest.raises(Unavailable):
        job_rows.cancel(db, CALLER, job.id)
    db.close()


def test_the_file_is_in_write_ahead_mode(tmp_path: Path) -> None:
    open_database(f"sqlite:///{tmp_path}/x.sqlite3").close()
    connection = sqlite3.connect(tmp_path / "x.sqlite3")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_a_role_that_may_not_read_the_timeline_writes_without_detecting_failovers(
    postgresql: PostgresqlServer, postgresql_template: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name = postgresql.new_database(postgresql_template)
    postgresql.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC", name)
    postgresql.execute("CREATE ROLE plain LOGIN")
    postgresql.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO plain", name)
    postgresql.execute("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO plain", name)
    try:
        with closing(open_database(postgresql.url(name).replace("test@", "plain@"))) as db:
            assert submit(db).id
            assert submit(db).id
    finally:
        postgresql.drop_database(name)
        postgresql.execute("DROP ROLE plain")
    assert capsys.readouterr().out.count("failovers of the database are not detected") == 1
