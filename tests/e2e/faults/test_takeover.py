# SPDX-License-Identifier: Apache-2.0
"""Two servers on one PostgreSQL: one stops responding, the other finishes its jobs; late events are refused."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from qonduit_client import Client
from tests.contract.rpc_fixture import until
from tests.e2e.faults.checking import assert_ended_well, family, sound
from tests.e2e.faults.points import REFUSED, named
from tests.e2e.faults.submitting import SUCCEEDED, a_job, long_job, submit, wait_for, watch, working
from tests.e2e.faults.trap import RecordingTrap
from tests.postgresql import PostgresqlServer
from tests.server_process import serving

SETTINGS = {"providers": "IBM", "preload": "IBM", "lease_seconds": "1"}
#: Starts a server on a machine whose clock is ahead, as far as its store reads it.
AHEAD = """
import datetime, sys
import qonduit_server.store.database
class Ahead(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return super().now(tz) + datetime.timedelta(seconds=120)
qonduit_server.store.database.datetime = Ahead
from qonduit_server.cli import main
main(["serve", *sys.argv[1:]])
"""
UNCOMMITTED = named("events-not-committed")


@pytest.fixture
def shared(postgresql: PostgresqlServer, postgresql_template: str) -> Iterator[str]:
    """Return the URL of a new database that servers can share."""
    name = postgresql.new_database(postgresql_template)
    yield postgresql.url(name)
    postgresql.drop_database(name)


@pytest.mark.timeout(240)
def test_a_killed_servers_jobs_are_finished_by_the_other(shared: str, trap: RecordingTrap) -> None:
    with serving(shared, environment=trap.environment, workers="1", **SETTINGS) as first:
        # While its only worker is stopped in the middle of a job, it begins no other.
        held, _ = trap.submit_and_stop(first.target, a_job(6, 3, 2))
        seen = wait_for(first.target, held, working)
        with serving(shared, **SETTINGS) as second:
            others = [submit(target, a_job(2, 3, 2)) for target in (first.target, second.target) * 3]
            # Their events reach the watchers at both servers.
            for job_id in others:
                assert assert_ended_well(first.target, job_id, 2).attempt == 1
            under_way = submit(first.target, long_job())
            wait_for(first.target, under_way, working)
            first.process.kill()
            first.process.wait()
            assert assert_ended_well(second.target, held, 6).attempt == 2
            assert assert_ended_well(second.target, under_way, 40).attempt == 1
            # A watcher at the killed server resumes at the other one.
            assert seen + list(watch(second.target, held, after=len(seen))) == list(watch(second.target, held))


@pytest.mark.timeout(240)
def test_a_server_whose_clock_is_two_minutes_ahead_takes_no_lease(shared: str, trap: RecordingTrap) -> None:
    database = sa.create_engine(shared.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT")
    settings = SETTINGS | {"workers": "1", "lease_seconds": "5"}
    leases: set[int] = set()

    def renewed() -> bool:
        with database.connect() as connection:
            leases.add(
                connection.execute(sa.text("SELECT lease_until FROM jobs WHERE id = :id"), {"id": held}).scalar_one()
            )
        return len(leases) > 4

    with serving(shared, environment=trap.environment, **settings) as first:
        held, worker = trap.submit_and_stop(first.target, a_job(6, 3, 2))
        with serving(shared, command=(sys.executable, "-c", AHEAD), **settings) as ahead:
            # Each server looks for expired leases whenever it renews its own.
            other = submit(ahead.target, a_job(2, 3, 2))
            ended = assert_ended_well(ahead.target, other, 2)
            assert abs(ended.created_at.ToSeconds() - time.time()) < 60
            until(renewed)
            os.kill(worker, signal.SIGCONT)
            assert assert_ended_well(ahead.target, held, 6).attempt == 1
    database.dispose()


@pytest.mark.timeout(240)
def test_late_events_of_a_stopped_server_are_refused(shared: str, trap: RecordingTrap) -> None:
    with serving(shared, environment=trap.environment, **SETTINGS) as stale:
        job_id, worker = trap.submit_and_stop(stale.target, a_job(6, 3, 2))
        seen: list[object] = []
        # Its stream may break after such a silence; then it is resumed.
        client = Client(stale.target, timeout=100)
        watching = threading.Thread(target=lambda: seen.extend(client.job(job_id).events()))
        watching.start()
        wait_for(stale.target, job_id, working)
        workers = family(stale)
        stale.process.send_signal(signal.SIGSTOP)
        # Its worker continues, and its events wait for the server.
        os.kill(worker, signal.SIGCONT)
        try:
            with serving(shared, **SETTINGS) as fresh:
                final = assert_ended_well(fresh.target, job_id, 6)
                assert final.attempt == 2
                history = list(watch(fresh.target, job_id))
                trap.arm(REFUSED.name, action="T")
                stale.process.send_signal(signal.SIGCONT)
                # They now arrive under the first attempt.
                trap.wait(REFUSED.name)
                watching.join(60)
                client.close()
                assert seen == history
                fresh.process.send_signal(signal.SIGTERM)
                assert fresh.process.wait(60) == 0
            # The stopped server is a member again, and has lost no worker.
            assert assert_ended_well(stale.target, submit(stale.target, a_job(1, 0, 0)), 1).attempt == 1
            assert set(workers) & set(family(stale)), "its fork server went with the job"
            assert list(watch(stale.target, job_id)) == history
            assert assert_ended_well(stale.target, job_id, 6) == final
        finally:
            stale.process.send_signal(signal.SIGCONT)


@pytest.mark.timeout(240)
def test_a_server_stopped_inside_a_transaction_blocks_no_other(shared: str, trap: RecordingTrap) -> None:
    with serving(shared, environment=trap.environment, **SETTINGS) as stale:
        trap.arm(UNCOMMITTED.name, action="S")
        job_id = submit(stale.target, long_job())
        trap.wait(UNCOMMITTED.name)
        try:
            with serving(shared, **SETTINGS) as fresh:
                # Its locks last until PostgreSQL ends the transaction by its timeout.
                final = assert_ended_well(fresh.target, job_id, 40)
                assert final.attempt == 2
                trap.arm(REFUSED.name, action="T")
                stale.process.send_signal(signal.SIGCONT)
                trap.wait(REFUSED.name)
                history = list(watch(stale.target, job_id))
                assert history == list(watch(fresh.target, job_id))
                assert sound(history).state == SUCCEEDED
        finally:
            stale.process.send_signal(signal.SIGCONT)
