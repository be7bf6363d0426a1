# SPDX-License-Identifier: Apache-2.0
"""Two servers on one PostgreSQL: one stops responding, the other finishes its jobs; late events are refused."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import pytest

from qonduit_client import Client
from tests.e2e.faults.checking import assert_ended_well, family, sound
from tests.e2e.faults.points import KillPoint, named
from tests.e2e.faults.submitting import SUCCEEDED, a_job, long_job, submit, wait_for, watch, working
from tests.e2e.faults.trap import Trap
from tests.postgresql import PostgresqlServer
from tests.server_process import serving

SETTINGS = {"providers": "IBM", "preload": "IBM", "lease_seconds": "1"}
#: Events of jobs that the other server has taken over are refused.
REFUSED = KillPoint(
    "late-events-refused", 11, "server", "qonduit_server.store.jobs.queue", "record", "after", when="refuses"
)
UNCOMMITTED = named("events-not-committed")


@pytest.fixture
def shared(postgresql: PostgresqlServer, postgresql_template: str) -> Iterator[str]:
    """Return the URL of a new database that servers can share."""
    name = postgresql.new_database(postgresql_template)
    yield postgresql.url(name)
    postgresql.drop_database(name)


class RecordingTrap:
    """The hits that a trap reported."""

    def __init__(self, folder: Path) -> None:
        self.hits: SimpleQueue[str] = SimpleQueue()
        self.trap = Trap(folder, lambda name, _: self.hits.put(name), [REFUSED, UNCOMMITTED])


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[RecordingTrap]:
    """A trap, and the hits that it reported."""
    one = RecordingTrap(tmp_path / "trap")
    yield one
    one.trap.close()


@pytest.mark.timeout(240)
def test_a_killed_servers_jobs_are_finished_by_the_other(shared: str) -> None:
    with serving(shared, **SETTINGS) as first, serving(shared, **SETTINGS) as second:
        # Each runs two at once, so both servers run some of four long jobs.
        long = [submit(target, long_job()) for target in (first.target, second.target) * 2]
        short = [submit(target, a_job(2, 3, 2)) for target in (first.target, second.target) * 3]
        with ThreadPoolExecutor(len(long)) as pool:
            list(pool.map(lambda job_id: wait_for(second.target, job_id, working), long))
        seen = wait_for(first.target, long[0], working)
        first.process.kill()
        first.process.wait()
        attempts = [assert_ended_well(second.target, job_id, 40).attempt for job_id in long]
        assert set(attempts) == {1, 2}, "one of the servers had run nothing"
        for job_id in short:
            assert assert_ended_well(second.target, job_id, 2).attempt <= 2
        # A watcher at the killed server resumes at the other one.
        whole = list(watch(second.target, long[0]))
        assert seen + list(watch(second.target, long[0], after=len(seen))) == whole


@pytest.mark.timeout(240)
def test_late_events_of_a_stopped_server_are_refused(shared: str, recording: RecordingTrap) -> None:
    with serving(shared, environment=recording.trap.environment, **SETTINGS) as stale:
        job_id = submit(stale.target, long_job())
        seen: list[object] = []
        # Its stream may break after such a silence; then it is resumed.
        client = Client(stale.target, timeout=100)
        watching = threading.Thread(target=lambda: seen.extend(client.job(job_id).events()))
        watching.start()
        wait_for(stale.target, job_id, working)
        workers = family(stale)
        stale.process.send_signal(signal.SIGSTOP)
        try:
            with serving(shared, **SETTINGS) as fresh:
                final = assert_ended_well(fresh.target, job_id, 40)
                assert final.attempt == 2
                history = list(watch(fresh.target, job_id))
                recording.trap.arm(REFUSED.name, action="T")
                stale.process.send_signal(signal.SIGCONT)
                # Its worker continued meanwhile; its events now arrive under the first attempt.
                assert recording.hits.get(timeout=60) == REFUSED.name
                watching.join(60)
                client.close()
                assert seen == history
                fresh.process.send_signal(signal.SIGTERM)
                assert fresh.process.wait(60) == 0
            # The stopped server is a member again, and has lost no worker.
            assert assert_ended_well(stale.target, submit(stale.target, a_job(1, 0, 0)), 1).attempt == 1
            assert set(workers) & set(family(stale)), "its fork server went with the job"
            assert list(watch(stale.target, job_id)) == history
            assert assert_ended_well(stale.target, job_id, 40) == final
        finally:
            stale.process.send_signal(signal.SIGCONT)


@pytest.mark.timeout(240)
def test_a_server_stopped_inside_a_transaction_blocks_no_other(shared: str, recording: RecordingTrap) -> None:
    with serving(shared, environment=recording.trap.environment, **SETTINGS) as stale:
        recording.trap.arm(UNCOMMITTED.name, action="S")
        job_id = submit(stale.target, long_job())
        assert recording.hits.get(timeout=60) == UNCOMMITTED.name
        try:
            with serving(shared, **SETTINGS) as fresh:
                # Its locks last until PostgreSQL ends the transaction by its timeout.
                final = assert_ended_well(fresh.target, job_id, 40)
                assert final.attempt == 2
                recording.trap.arm(REFUSED.name, action="T")
                stale.process.send_signal(signal.SIGCONT)
                assert recording.hits.get(timeout=60) == REFUSED.name
                history = list(watch(stale.target, job_id))
                assert history == list(watch(fresh.target, job_id))
                assert sound(history).state == SUCCEEDED
        finally:
            stale.process.send_signal(signal.SIGCONT)
