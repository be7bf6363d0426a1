# SPDX-License-Identifier: Apache-2.0
"""The contract of the store behind a real PgBouncer: it is used where it keeps sessions, and refused where not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Protocol

import pytest

from qonduit_server.errors import StartError
from qonduit_server.store.database import Database, open_database
from tests.contract.rpc_fixture import until
from tests.pgbouncer import PgBouncer, start_or_skip
from tests.postgresql import PostgresqlServer
from tests.store_fixture import claim, history, submit, succeed

NO_SESSIONS = "leads through a connection pooler in transaction or statement mode"


class StartPooler(Protocol):
    """Starts a pooler."""

    def __call__(self, mode: str, connections: int = 5) -> PgBouncer:
        """Start one in a mode, with a number of connections."""
        ...


@pytest.fixture
def start(postgresql: PostgresqlServer) -> Iterator[StartPooler]:
    """Start poolers, which end with the test."""
    with ExitStack() as stack:

        def started(mode: str, connections: int = 5) -> PgBouncer:
            pooler = start_or_skip(postgresql, mode, connections)
            stack.callback(pooler.close)
            return pooler

        yield started


@pytest.fixture
def name(postgresql: PostgresqlServer, postgresql_template: str) -> Iterator[str]:
    """The name of a new database."""
    name = postgresql.new_database(postgresql_template)
    yield name
    postgresql.drop_database(name)


def run_at_one_watch_at_the_other(here: Database, there: Database) -> None:
    job = submit(here)
    heard: set[int] = set()
    unsubscribe = there.notifications.subscribe(lambda notification: heard.update(notification.jobs))
    succeed(here, claim(here))
    until(lambda: job.id in heard)
    unsubscribe()
    assert history(there, job.id) == history(here, job.id)


def test_servers_behind_a_pooler_in_session_mode_notify_each_other(start: StartPooler, name: str) -> None:
    url = start("session", 50).url(name)
    with closing(open_database(url)) as here, closing(open_database(url)) as there:
        run_at_one_watch_at_the_other(here, there)
        with here.read() as connection:
            assert connection.exec_driver_sql("SHOW lock_timeout").scalar() == "4s"


def test_reads_share_the_connections_of_a_pooler_in_transaction_mode(
    postgresql: PostgresqlServer, start: StartPooler, name: str
) -> None:
    url, pooler = postgresql.url(name), start("transaction", 1).url(name)
    with (
        closing(open_database(url, pooler=pooler)) as here,
        closing(open_database(url, pooler=pooler)) as there,
        ExitStack() as stack,
    ):
        run_at_one_watch_at_the_other(here, there)
        readers = [stack.enter_context(here.read()) for _ in range(20)]
        # More often than a driver executes a statement before it prepares it.
        for _ in range(12):
            backends = {reader.exec_driver_sql("SELECT pg_backend_pid()").scalar() for reader in readers}
            assert len(backends) == 1


@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_a_pooler_that_keeps_no_sessions_is_refused_as_the_database(start: StartPooler, name: str, mode: str) -> None:
    with pytest.raises(StartError, match=NO_SESSIONS):
        open_database(start(mode).url(name))


def test_other_mistakes_with_poolers_are_refused(
    postgresql: PostgresqlServer, start: StartPooler, name: str, tmp_path: Path
) -> None:
    pooler, url = start("transaction"), postgresql.url(name)
    other = postgresql.new_database()
    with pytest.raises(StartError, match="database_pooler leads to another database than database"):
        open_database(url, pooler=pooler.url(other))
    with pytest.raises(StartError, match=r"database_pooler\) cannot be used") as refused:
        open_database(url, pooler="postgresql://test:secret@127.0.0.1:1/x")
    assert "secret" not in str(refused.value)
    with pytest.raises(StartError, match="database_pooler must be the URL of a pooler of PostgreSQL"):
        open_database(url, pooler=f"sqlite:///{tmp_path / 'q.sqlite3'}")
    with pytest.raises(StartError, match="database_pooler needs a database on PostgreSQL"):
        open_database(f"sqlite:///{tmp_path / 'q.sqlite3'}", pooler=pooler.url(name))
    with pytest.raises(StartError, match="assigned no connection within 10 s: raise its pool size"):
        open_database(start("session", 1).url(name))
    postgresql.drop_database(other)
