# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL primary dies under load and its standby takes over: servers continue, and a lost tail is detected."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import text

from qonduit.v1.job_pb2 import JobState
from qonduit_client import Client
from qonduit_client.errors import NotFound, PreconditionFailed
from qonduit_server.errors import Unavailable
from qonduit_server.store import catalogue
from qonduit_server.store.admin import restoration
from qonduit_server.store.database import Database, open_database
from qonduit_server.store.jobs import job_rows, queue
from qonduit_server.store.writer import Operation
from tests.contract.rpc_fixture import BELL, until
from tests.e2e.load import Load
from tests.e2e.test_backup import QONDUIT
from tests.missing_components import lacking
from tests.postgresql import PostgresqlServer, find_binaries
from tests.server_process import log_lines, serving
from tests.store_fixture import CALLER, LEASE, claim, description, submit, succeed

WAIT = 100.0
#: The number of failovers under load; `make failover` uses more.
FAILOVERS = int(os.environ.get("FAILOVERS", "1"))


@pytest.fixture
def pair() -> Iterator[tuple[PostgresqlServer, PostgresqlServer]]:
    """A primary with an empty database `qonduit`, and its standby."""
    binaries = find_binaries()
    if binaries is None:
        lacking("failovers", "PostgreSQL")
    with ExitStack() as stack:
        primary = PostgresqlServer(binaries)
        stack.callback(primary.close)
        primary.execute("CREATE DATABASE qonduit")
        standby = PostgresqlServer(binaries, primary)
        stack.callback(standby.close)
        yield primary, standby


def catch_up(primary: PostgresqlServer, standby: PostgresqlServer) -> None:
    """Wait until the standby has replayed what the primary has written."""
    ((position,),) = primary.execute("SELECT pg_current_wal_lsn()")
    until(lambda: standby.execute(f"SELECT pg_last_wal_replay_lsn() >= '{position}'") == [(True,)])


def wait_for_standby(primary: PostgresqlServer) -> None:
    """Make commits of a primary wait for its standby from now on."""
    primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
    primary.execute("SELECT pg_reload_conf()")
    until(lambda: primary.execute("SELECT sync_state FROM pg_stat_replication") == [("sync",)])


@pytest.mark.timeout(300 * FAILOVERS)
def test_a_failover_to_a_synchronous_standby_loses_nothing(
    pair: tuple[PostgresqlServer, PostgresqlServer], tmp_path: Path
) -> None:
    primary, standby = pair
    wait_for_standby(primary)
    url = primary.url("qonduit", standby)
    # The lease is longer than the outage.
    with (
        serving(url, log=tmp_path / "first", providers="IBM", workers="1", lease_seconds="60") as first,
        serving(url, log=tmp_path / "second", providers="IBM", workers="1", lease_seconds="60") as second,
    ):
        with Load(first.target) as load:
            load.wait_until_busy()
            for left in reversed(range(FAILOVERS)):
                primary.kill()
                load.wait_until_refused()
                standby.promote()
                load.wait_until_served()
                if left:
                    primary.follow(standby)
                    primary, standby = standby, primary
                    wait_for_standby(primary)
                    load.wait_until_served()
        load.check()
        print(load.summary())
        # The claims are on the standby too: no job started again.
        assert load.attempts() == {1}
        followed = [
            line
            for server in (first, second)
            for line in log_lines(server, lambda line: line["event"] == "database failed over")
        ]
        assert [line["lost"] for line in followed] == [False] * len(followed)
        assert sum(line["new_log"] for line in followed) == FAILOVERS
        assert first.process.poll() is second.process.poll() is None


@pytest.mark.timeout(300)
def test_the_first_start_after_a_failover_begins_a_new_log(
    pair: tuple[PostgresqlServer, PostgresqlServer], tmp_path: Path
) -> None:
    primary, standby = pair
    url, log = primary.url("qonduit", standby), tmp_path / "log"
    later = {"not_before": datetime.now(UTC) + timedelta(hours=1)}
    with serving(url, log=log, providers="STIM", preload="STIM") as server, Client(server.target) as client:
        job = client.run(BELL, device="STIM/stim", shots=10, schedule=later)
    catch_up(primary, standby)
    primary.kill()
    standby.promote()
    done = subprocess.run(
        [*QONDUIT, "adopt", "anna", "--to", "ben", "--database", url], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "failed over to another PostgreSQL server: start a Qonduit server first" in done.stderr
    with serving(url, log=log, providers="STIM", preload="STIM") as server, Client(server.target) as client:
        (line,) = log_lines(server, lambda line: line["event"] == "database failed over")
        assert (line["new_log"], line["lost"]) == (True, False)
        assert client.run(BELL, device="STIM/stim", shots=10).job().log_epoch == line["log_epoch"]
        # What the client knows is there: it continues.
        client.job(job.id).update(schedule={"not_before": datetime.now(UTC)})
        assert next(client.job(job.id).events(after_sequence=1)).sequence == 2


_BACKEND: Final[Operation[None, int]] = Operation(
    lambda transaction, calls: [transaction.connection.execute(text("SELECT pg_backend_pid()")).scalar_one()]
)


@pytest.mark.timeout(300)
def test_a_job_that_another_server_deleted_is_not_taken_for_lost(
    pair: tuple[PostgresqlServer, PostgresqlServer],
) -> None:
    primary, standby = pair
    url, follow = primary.url("qonduit", standby), restoration.follow_failover
    lost: list[str] = []

    def writes(db: Database) -> bool:
        try:
            return submit(db).id > 0
        except Unavailable:
            return bool(lost)

    def writer_of(db: Database) -> int:
        return db.write(_BACKEND, None)

    with (
        closing(open_database(url, follow_failover=follow)) as idle,
        closing(open_database(url, follow_failover=follow)) as other,
    ):
        idle.on_lost(lambda: lost.append("idle"))
        catalogue.sync(idle, [description()])
        until(lambda: bool(catalogue.devices_by_name(other)))
        job = submit(idle)
        succeed(idle, claim(idle))
        job_rows.delete(other, CALLER, job.id)
        queue.renew(idle, "me", LEASE)
        catch_up(primary, standby)
        primary.kill()
        standby.promote()
        until(lambda: writes(other))
        before = writer_of(other)
        until(lambda: writes(idle))
        assert not lost
        # The second server that follows does not end the session of the first one.
        assert writer_of(other) == before


@pytest.mark.timeout(300)
def test_changes_that_a_failover_loses_are_detected(
    pair: tuple[PostgresqlServer, PostgresqlServer], tmp_path: Path
) -> None:
    primary, standby = pair
    url = primary.url("qonduit", standby)
    later = {"not_before": datetime.now(UTC) + timedelta(hours=1)}
    with ExitStack() as stack:
        busy = stack.enter_context(serving(url, log=tmp_path / "busy", providers="IBM", workers="1"))
        idle = stack.enter_context(serving(url, log=tmp_path / "idle", providers="STIM", preload="STIM"))
        client = stack.enter_context(Client(busy.target))
        kept = client.run(BELL, shots=10)
        assert kept.wait(WAIT).state == JobState.JOB_STATE_SUCCEEDED
        waiting = client.run(BELL, shots=10, schedule=later)
        catch_up(primary, standby)
        standby.execute("ALTER SYSTEM SET primary_conninfo = ''")
        standby.execute("SELECT pg_reload_conf()")
        until(lambda: standby.execute("SELECT count(*) FROM pg_stat_wal_receiver") == [(0,)])
        lost = client.run(BELL, shots=10)
        assert lost.wait(WAIT).state == JobState.JOB_STATE_SUCCEEDED
        waiting.update(name="renamed")
        assert waiting.job().last_sequence == 2
        primary.kill()
        standby.promote()
        # This server's memory contains lost changes; the other one continues.
        assert busy.process.wait(WAIT) == 1
        (line,) = [line for line in (tmp_path / "busy").read_text().splitlines() if '"database failed over"' in line]
        assert json.loads(line)["lost"]
        (line,) = log_lines(idle, lambda line: line["event"] == "database failed over")
        assert not line["lost"]
        assert idle.process.poll() is None
        other = stack.enter_context(Client(idle.target))
        with pytest.raises(NotFound):
            other.job(lost.id).job()
        assert other.job(kept.id).job().state == JobState.JOB_STATE_SUCCEEDED
        assert other.job(waiting.id).job().last_sequence == 1
        with pytest.raises(PreconditionFailed) as refused:
            next(other.job(waiting.id).events(after_sequence=2))
        assert refused.value.reason == "LOG_RESTORED"
        again = stack.enter_context(serving(url, log=tmp_path / "again", providers="IBM", workers="1"))
        with Client(again.target) as client:
            new = client.run(BELL, shots=10)
            assert new.wait(WAIT).state == JobState.JOB_STATE_SUCCEEDED
            assert new.id > lost.id
            assert new.job().log_epoch > 0
            client.job(waiting.id).update(schedule={"not_before": datetime.now(UTC)})
            assert client.job(waiting.id).wait(WAIT).state == JobState.JOB_STATE_SUCCEEDED
        # The new log has begun: this start found nothing to follow.
        assert "database failed over" not in (tmp_path / "again").read_text()
