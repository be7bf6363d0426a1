# SPDX-License-Identifier: Apache-2.0
"""A server dies, and is started again from an earlier backup: clients learn of it, and nothing continues wrongly."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from qonduit_client.errors import NotFound, PreconditionFailed
from qonduit_client.schedule import Schedule
from tests.benchmarks.programs import BELL, layered
from tests.both_clients import BOTH_CLIENTS
from tests.e2e.test_backup import QONDUIT
from tests.e2e.test_client import Proxy
from tests.postgresql import PostgresqlServer, find_binaries
from tests.server_process import SERVE, serving

WAIT = 100.0
RESTORED = (*SERVE, "--restored")


class Store(NamedTuple):
    """A database, a function that makes a backup and returns the URL of the restored one, and how to serve that."""

    url: str
    restore: Callable[[], str]
    command: tuple[str, ...]


def by_qonduit(url: str, copy: Path) -> str:
    subprocess.run([*QONDUIT, "backup", str(copy), "--database", url], check=True, capture_output=True)
    return f"sqlite:///{copy}"


def by_sqlite(file: Path, copy: Path) -> str:
    with closing(sqlite3.connect(file)) as reading, closing(sqlite3.connect(copy)) as writing:
        reading.backup(writing)
    return f"sqlite:///{copy}"


def by_pg_dump(server: PostgresqlServer, url: str, dump: Path) -> str:
    binaries = find_binaries()
    assert binaries is not None
    subprocess.run([binaries / "pg_dump", "--format=custom", f"--file={dump}", f"--dbname={url}"], check=True)
    restored = server.url(server.new_database())
    subprocess.run([binaries / "pg_restore", f"--dbname={restored}", dump], check=True)
    return restored


@pytest.fixture(params=["qonduit backup", "sqlite", "pg_dump"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "pg_dump":
        server: PostgresqlServer = request.getfixturevalue("postgresql")
        url = server.url(server.new_database())
        yield Store(url, lambda: by_pg_dump(server, url, tmp_path / "dump"), RESTORED)
        return
    file, copy = tmp_path / "q.sqlite3", tmp_path / "copy.sqlite3"
    url = f"sqlite:///{file}"
    if request.param == "sqlite":
        yield Store(url, lambda: by_sqlite(file, copy), RESTORED)
    else:
        yield Store(url, lambda: by_qonduit(url, copy), SERVE)


@pytest.mark.timeout(300)
def test_clients_of_a_lost_log_learn_of_the_restore_and_their_jobs_run(store: Store) -> None:
    """The backup is made before the clients receive the later events of a job, and before another one is created."""
    begun = {name: threading.Event() for name in BOTH_CLIENTS}
    gone = threading.Event()
    now = datetime.now(UTC)
    later: Schedule = {"not_before": now + timedelta(hours=1)}

    def follow(name: str) -> tuple[str, int]:
        with BOTH_CLIENTS[name](way.target, timeout=WAIT) as client:
            job = client.job(job_id)
            events = job.events(timeout=WAIT)
            while not next(events).HasField("program_run"):
                pass
            begun[name].set()
            gone.wait(WAIT)
            with pytest.raises(PreconditionFailed) as raised:
                list(events)
            # A handle that waits for the end needs no event of the lost log.
            return raised.value.reason, len(job.results(WAIT))

    def estimate() -> None:
        with BOTH_CLIENTS["blocking"](way.target, timeout=WAIT) as client:
            client.estimate(layered(4, 2, seed=1), "Z0", exact=True, name="lost", schedule=later, timeout=WAIT)

    with ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor())
        with serving(store.url, providers="IBM", preload="IBM", workers="1") as first:
            way = Proxy(first.target)
            stack.callback(way.close)
            with BOTH_CLIENTS["blocking"](first.target) as client:
                job_id = client.run([layered(8, 8, seed=k) for k in range(30)], shots=100, schedule=later).id
                url = store.restore()
                followed = [threads.submit(follow, name) for name in BOTH_CLIENTS]
                estimated = threads.submit(estimate)
                lost: list[int] = []
                for event in client.job(job_id).events(heartbeat=0.05):
                    lost = [job.id for job in client.jobs() if job.name == "lost"]
                    if lost and event.HasField("heartbeat"):
                        break
                client.job(job_id).update(schedule={"not_before": now})
                assert all(each.wait(WAIT) for each in begun.values())
            first.process.send_signal(signal.SIGKILL)
            first.process.wait(WAIT)
            way.cut()
            gone.set()
        with serving(url, command=store.command, providers="IBM", preload="IBM", workers="1") as second:
            with BOTH_CLIENTS["blocking"](second.target) as client:
                client.job(job_id).update(schedule={"not_before": now})
            way.forward_to(second.target)
            assert [call.result(WAIT) for call in followed] == [("LOG_RESTORED", 30)] * len(BOTH_CLIENTS)
            with pytest.raises(NotFound, match=f"job {lost[0]} does not exist"):
                estimated.result(WAIT)
            with BOTH_CLIENTS["blocking"](second.target) as client:
                assert [job.id for job in client.jobs()] == [job_id]
                known = client.job(job_id).job()
                assert known.log_epoch > 0
                events = list(client.job(job_id).events())
                assert [event.sequence for event in events] == list(range(1, known.last_sequence + 1))
                assert [event.log_epoch for event in events] == [0, *[known.log_epoch] * (len(events) - 1)]
                assert client.run(BELL, shots=10).id > lost[0]
        # The option is for one start: the next one continues the log.
        with serving(url) as third, BOTH_CLIENTS["blocking"](third.target) as client:
            assert client.run(BELL, shots=10).job().log_epoch == known.log_epoch


def test_other_servers_must_be_stopped_first(postgresql: PostgresqlServer) -> None:
    url = postgresql.url(postgresql.new_database())
    with serving(url) as running:
        late = [*RESTORED, "--listen", "127.0.0.1:0", "--database", url]
        done = subprocess.run(late, capture_output=True, text=True, timeout=WAIT, check=False)
        assert done.returncode == 1
        assert "other servers or commands use the database: stop them, then start with --restored" in done.stderr
        with BOTH_CLIENTS["blocking"](running.target) as client:
            assert client.run(BELL, shots=10).job().log_epoch == 0
