# SPDX-License-Identifier: Apache-2.0
"""The database becomes unavailable under load and returns: no call hangs, no write is lost, no job runs twice."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2

from qonduit_client import Client
from tests.e2e.load import Load, health
from tests.postgresql import PostgresqlServer, start_or_skip
from tests.rabbitmq import START_SECONDS, RabbitmqBroker
from tests.server_process import Server, serving, working

#: Seconds without the database; `make away` uses more.
AWAY = float(os.environ.get("SECONDS_AWAY", "2.5"))
#: The bound of every answer in seconds: a few for the first call to detect the outage, and some room.
ANSWER = 8.0
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def own_postgresql() -> Iterator[PostgresqlServer]:
    """A PostgreSQL for this test alone."""
    server = start_or_skip()
    yield server
    server.close()


def go_through(server: Server, log: Path, take_away: object, start_database: object, *, refused: bool = True) -> Load:
    """Load a server, stop its database for a while, restore it, and check everything."""
    assert callable(take_away)
    assert callable(start_database)
    with Load(server.target) as load:
        load.wait_until_busy()
        before = server.resident()
        take_away()
        try:
            if refused:
                load.wait_until_refused()
            load.keep_running(AWAY)
            if refused:
                assert health(server.target, "") == SERVING, "a server is not to be restarted for its database"
        finally:
            start_database()
        back = time.monotonic()
        load.wait_until_served()
        print(f"away {AWAY:g} s; served {time.monotonic() - back:.2f} s after; {load.summary()}")
        # Work that arrived during the outage did not pile up.
        assert server.resident() - before < 150 * 1024**2
        load.keep_running(1.0)
    load.check()
    assert load.slowest_answer < ANSWER, load.summary()
    assert health(server.target, "qonduit.v1.JobService") == SERVING
    assert server.process.poll() is None
    lines = log.read_text().splitlines()
    away = sum('"database unavailable"' in line for line in lines)
    logged = sum("STORE_UNAVAILABLE" in line for line in lines)
    # One line a second for each method that the load calls, and one for each change.
    assert away <= 2 + AWAY, away
    assert logged <= 4 * (AWAY + 15), logged
    assert not any('"level":"critical"' in line or "Traceback" in line for line in lines)
    return load


@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", ["stopped", "silent"])
def test_postgresql_is_unavailable(own_postgresql: PostgresqlServer, tmp_path: Path, how: str) -> None:
    url, log = own_postgresql.url(own_postgresql.new_database()), tmp_path / "log"
    with serving(url, providers="IBM", preload="IBM", workers="2", lease_seconds=str(3 * AWAY + 20), log=log) as server:
        take_away, start_database = (
            (own_postgresql.stop, own_postgresql.start)
            if how == "stopped"
            else (own_postgresql.freeze, own_postgresql.thaw)
        )
        watched: list[int] = []

        def stop_database() -> None:
            take_away()
            watched.append(health(server.target, "qonduit.v1.JobService", wait_for=NOT_SERVING))

        load = go_through(server, log, stop_database, start_database)
        assert watched == [NOT_SERVING]
        # The outage was shorter than the lease: running jobs continue, and none is started again.
        assert load.attempts() == {1}


@pytest.mark.timeout(300)
def test_postgresql_is_unavailable_to_a_server_with_a_worker_machine(
    own_postgresql: PostgresqlServer, rabbitmq: RabbitmqBroker, tmp_path: Path
) -> None:
    url, log = own_postgresql.url(own_postgresql.new_database()), tmp_path / "log"
    settings = {"executor": "celery", "broker": rabbitmq.url(), "lease_seconds": str(3 * AWAY + 20)}
    with working(rabbitmq.url(), preload="IBM", workers="2"), serving(url, log=log, **settings) as server:
        with Client(server.target) as client:
            deadline = time.monotonic() + START_SECONDS
            while "IBM/aer_simulator" not in client.named_devices("available = true"):
                assert time.monotonic() < deadline
                time.sleep(0.05)
        load = go_through(server, log, own_postgresql.stop, own_postgresql.start)
        assert load.attempts() == {1}


@pytest.mark.timeout(300)
@pytest.mark.long
def test_postgresql_is_read_only(own_postgresql: PostgresqlServer, tmp_path: Path) -> None:
    name, log = own_postgresql.new_database(), tmp_path / "log"
    with serving(own_postgresql.url(name), providers="IBM", preload="IBM", workers="2", log=log) as server:

        def only_reads(on: str) -> None:
            own_postgresql.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = {on}')
            own_postgresql.execute(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
            )

        load = go_through(server, log, lambda: only_reads("on"), lambda: only_reads("off"))
        assert load.attempts() == {1}


_HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
connection.execute("BEGIN " + sys.argv[2])
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("how", "seconds"), [("IMMEDIATE", 1.0), ("EXCLUSIVE", AWAY)])
def test_sqlite_is_locked_by_another_process(tmp_path: Path, how: str, seconds: float) -> None:
    path, log = tmp_path / "q.sqlite3", tmp_path / "log"
    held: list[subprocess.Popen[bytes]] = []

    def lock() -> None:
        holder = subprocess.Popen(
            [sys.executable, "-c", _HOLD, str(path), how], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        held.append(holder)
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"

    def unlock() -> None:
        held[0].communicate()

    with serving(f"sqlite:///{path}", providers="IBM", preload="IBM", workers="2", log=log) as server:
        if seconds < 2:
            # Within the lock timeout: clients see only a delay.
            with Load(server.target) as load:
                load.wait_until_busy()
                lock()
                load.keep_running(seconds)
                unlock()
                load.keep_running(0.5)
            load.check()
            assert load.refused == 0, load.summary()
        else:
            load = go_through(server, log, lock, unlock)
        assert load.attempts() == {1}


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """Mount a file system of a few megabytes, where that is allowed; return whether it is mounted."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "none", str(folder)], capture_output=True, check=False
    )
    try:
        yield done.returncode == 0
    finally:
        if done.returncode == 0:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", ["full", pytest.param("limited", marks=pytest.mark.long)])
def test_the_disk_under_sqlite_is_full(tmp_path: Path, how: str) -> None:
    """A full file system, where one may be mounted; and in any case files that may not grow."""
    log = tmp_path / "log"
    with small_disk(tmp_path / "disk") as mounted:
        if how == "full" and not mounted:
            # Where mounting is not allowed, the other case covers it: the writes of both fail in the kernel.
            print("no file system may be mounted here: a limit of the size of files stands for a full disk")
            how = "limited"
        folder = tmp_path / ("disk" if how == "full" else "")
        url = f"sqlite:///{folder / 'q.sqlite3'}"
        with serving(url, providers="IBM", preload="IBM", workers="2", log=log) as server:
            pid = server.process.pid
            filler = folder / "filler"

            def fill() -> None:
                if how == "limited":
                    resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
                    return
                with filler.open("wb", buffering=0) as file:
                    for size in (1 << 20, 1 << 12, 1):
                        try:
                            while file.write(b"x" * size):
                                pass
                        except OSError:
                            continue

            def free_disk() -> None:
                if how == "limited":
                    resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
                else:
                    filler.unlink()

            load = go_through(server, log, fill, free_disk)
            assert load.attempts() == {1}


@pytest.mark.parametrize("how", ["stopped", "silent"])
def test_a_start_without_a_database_fails_soon_with_a_message(own_postgresql: PostgresqlServer, how: str) -> None:
    url = own_postgresql.url(own_postgresql.new_database())
    (own_postgresql.stop if how == "stopped" else own_postgresql.freeze)()
    try:
        _assert_no_start(url, "cannot be used")
    finally:
        if how == "silent":
            own_postgresql.thaw()


@pytest.mark.long
def test_a_start_with_a_locked_file_fails_soon_with_a_message(tmp_path: Path) -> None:
    path = tmp_path / "q.sqlite3"
    with serving(f"sqlite:///{path}", providers="IBM", preload="IBM"):
        pass
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path), "IMMEDIATE"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        _assert_no_start(f"sqlite:///{path}", "is not writable")
        assert holder.stdin is not None
        holder.stdin.close()


def _assert_no_start(url: str, words: str) -> None:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "qonduit_server", "serve", "--listen", "127.0.0.1:0", "--database", url],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert time.monotonic() - began < 30
