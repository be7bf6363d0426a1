# SPDX-License-Identifier: Apache-2.0
"""Operators pause, drain and resume devices while jobs run and wait, over restarts and on two servers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from qonduit.v1.job_pb2 import JobState, QueueReason
from qonduit_client import Client
from qonduit_client.job import JobHandle
from tests.both_clients import BOTH_CLIENTS, Connect
from tests.command_line import QONDUIT, qonduit
from tests.contract.rpc_fixture import BELL
from tests.e2e.faults.submitting import SIMULATOR, a_job, submit
from tests.e2e.faults.trap import RecordingTrap
from tests.postgresql import PostgresqlServer
from tests.server_process import serving

SETTINGS = {"providers": "IBM", "preload": "IBM", "workers": "1"}
SUCCEEDED = JobState.JOB_STATE_SUCCEEDED
OTHER = "IBM/fake_manila"


@pytest.fixture
def shared(postgresql: PostgresqlServer, postgresql_template: str) -> Iterator[str]:
    """Return the URL of a new database that servers can share."""
    name = postgresql.new_database(postgresql_template)
    yield postgresql.url(name)
    postgresql.drop_database(name)


def wait_for_pause(waiting: JobHandle) -> None:
    """Wait until a job waits for a paused device."""
    for event in waiting.events(queue_updates=True, timeout=60):
        if event.queue_change.queue.reason == QueueReason.QUEUE_REASON_PAUSED:
            return


def test_a_device_drains_while_its_jobs_run_and_wait(tmp_path: Path, trap: RecordingTrap) -> None:
    with (
        serving(f"sqlite:///{tmp_path / 'q.sqlite3'}", environment=trap.environment, **SETTINGS) as server,
        Client(server.target) as client,
    ):
        running, worker = trap.submit_and_stop(server.target, a_job(6, 3, 2))
        waiting = client.job(submit(server.target, a_job(1, 0, 0)))
        command = [*QONDUIT, "--server", server.target, "drain", SIMULATOR, "--message", "new cables"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        drain = subprocess.Popen([*command, "--wait", "--json"], text=True, **pipes)
        wait_for_pause(waiting)
        os.kill(worker, signal.SIGCONT)
        shown, errors = drain.communicate(timeout=100)
        assert drain.returncode == 0, errors
        found = json.loads(shown)
        assert (found["subject"], found["running_jobs"], found["drained"]) == (SIMULATOR, 0, True)
        assert client.job(running).job().state == SUCCEEDED  # it was not cancelled
        assert waiting.job().queue.reason == QueueReason.QUEUE_REASON_PAUSED
        # Other devices of the provider still run, those of jobs that choose their device too.
        assert client.run(BELL, OTHER, 10).result(timeout=60).counts
        shown = qonduit("--server", server.target, "job", str(waiting.id)).stdout
        assert f"{SIMULATOR} is paused: new cables" in shown
        assert "paused: new cables" in qonduit("--server", server.target, "devices").stdout
        assert SIMULATOR in qonduit("--server", server.target, "pauses").stdout
        watched = waiting.events(queue_updates=True, timeout=60)
        reasons = []
        for event in watched:
            if event.HasField("queue_change"):
                reasons.append(event.queue_change.queue.reason)
                if len(reasons) == 1:
                    assert (
                        qonduit("--server", server.target, "resume", SIMULATOR).stdout == f"{SIMULATOR} is not paused\n"
                    )
        assert reasons[0] == QueueReason.QUEUE_REASON_PAUSED
        assert waiting.wait(60).state == SUCCEEDED
        assert qonduit("--server", server.target, "pauses").stdout == "nothing is paused\n"


def test_a_killed_server_is_still_paused_after_its_restart(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'q.sqlite3'}"
    with serving(url, **SETTINGS) as server, Client(server.target) as client:
        client.pause("server", "upgrade")
        client.pause(SIMULATOR)
        job_id = submit(server.target, a_job(1, 0, 0))
        server.process.kill()
        server.process.wait()
    with serving(url, **SETTINGS) as server, Client(server.target) as client:
        job = client.job(job_id)
        assert [each.subject for each in client.pauses()] == ["server", SIMULATOR]
        client.resume("server")
        assert client.run(BELL, OTHER, 10).result(timeout=60).counts
        place = job.job().queue
        assert (place.reason, place.message) == (QueueReason.QUEUE_REASON_PAUSED, f"{SIMULATOR} is paused")
        client.resume(SIMULATOR)
        assert job.wait(60).state == SUCCEEDED


def test_a_pause_at_one_server_holds_at_the_other(shared: str) -> None:
    with (
        serving(shared, **SETTINGS) as first,
        serving(shared, **SETTINGS) as second,
        Client(first.target) as one,
        Client(second.target) as other,
    ):
        one.pause(SIMULATOR, "both")
        jobs = [client.run(BELL, SIMULATOR, 10) for client in (one, other) for _ in range(5)]
        # Both servers still run the other device.
        for client in (one, other):
            assert client.run(BELL, OTHER, 10).result(timeout=60).counts
        assert {each.job().queue.reason for each in jobs} == {QueueReason.QUEUE_REASON_PAUSED}
        (seen,) = other.pauses()
        assert (seen.subject, seen.message, seen.running_jobs) == (SIMULATOR, "both", 0)
        other.resume(SIMULATOR)
        for job in jobs:
            assert job.wait(60).state == SUCCEEDED


@pytest.mark.parametrize("connect", BOTH_CLIENTS.values(), ids=BOTH_CLIENTS)
def test_both_clients_pause_and_resume(tmp_path: Path, connect: Connect) -> None:
    with serving(f"sqlite:///{tmp_path / 'q.sqlite3'}", **SETTINGS) as server, connect(server.target) as client:
        assert client.pause("IBM", "one").subject == "IBM"
        assert client.pause("IBM", "two").message == "two"
        assert client.named_devices("paused = true")[SIMULATOR].pause.message == "two"
        assert "two" in repr(client.pauses())
        assert "paused (IBM): two" in repr(client.devices())
        client.resume("IBM")
        assert client.pauses() == []
    missing = qonduit("--server", server.target, "drain", "IBM", "--timeout", "3")
    assert missing.returncode == 2


def test_a_drain_ends_at_its_timeout_and_names_unknown_subjects(tmp_path: Path, trap: RecordingTrap) -> None:
    with serving(f"sqlite:///{tmp_path / 'q.sqlite3'}", environment=trap.environment, **SETTINGS) as server:
        running, _ = trap.submit_and_stop(server.target, a_job(6, 3, 2))
        late = qonduit("--server", server.target, "drain", "server", "--wait", "--timeout", "0.1")
        assert late.returncode == 124
        assert " 1 " in late.stdout  # running
        for subject in ("IBM/none", "NONE"):
            unknown = qonduit("--server", server.target, "pause", subject)
            assert (unknown.returncode, f"{subject!r} does not exist" in unknown.stderr) == (3, True)
        with Client(server.target) as client:
            client.job(running).cancel()
