# SPDX-License-Identifier: Apache-2.0
"""Backups of a server under load, restored: every acknowledged job is in them, and running jobs are run again."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from qonduit.v1 import job_service_pb2 as calls
from qonduit.v1.job_pb2 import Job, JobState
from qonduit.v1.job_service_pb2_grpc import JobServiceStub
from tests.benchmarks.programs import BELL
from tests.postgresql import PostgresqlServer, find_binaries
from tests.server_process import Server, serving
from tests.upgrade.sample import LONG, programs

QONDUIT = [sys.executable, "-m", "qonduit_server"]


def backup(database: str, file: Path, *prefix: str) -> subprocess.CompletedProcess[str]:
    """Run `qonduit backup`, after a prefix of the command."""
    command = [*prefix, *QONDUIT, "backup", str(file), "--database", database]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def creating(text: str = BELL) -> calls.CreateJobRequest:
    """Return a request for a job of one program."""
    request = calls.CreateJobRequest(job=Job(shots=10), device="IBM/aer_simulator")
    request.deployment.programs.extend(programs(text))
    return request


def ended(target: str, job_id: int) -> Job:
    """Watch a job to its end; check that its events are 1, 2, 3 ..."""
    with grpc.insecure_channel(target) as channel:
        watching = JobServiceStub(channel).WatchJob(calls.WatchJobRequest(job_id=job_id), timeout=60)
        events = [reply.event for reply in watching if reply.event.WhichOneof("event") != "heartbeat"]
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    return events[-1].state_change.job


class Load:
    """Submits jobs from several threads, and records those that were acknowledged."""

    def __init__(self, server: Server, threads: int = 4) -> None:
        self.acknowledged: list[int] = []
        self._stop = threading.Event()
        self._some = threading.Condition()
        self._channel = grpc.insecure_channel(server.target)
        self._pool = ThreadPoolExecutor(threads)
        self._running = [self._pool.submit(self._submit) for _ in range(threads)]

    def _submit(self) -> None:
        jobs = JobServiceStub(self._channel)
        while not self._stop.is_set():
            job_id = jobs.CreateJob(creating(), timeout=100).job.id
            with self._some:
                self.acknowledged.append(job_id)
                self._some.notify_all()

    def wait(self, count: int) -> None:
        """Wait until this many were acknowledged."""
        with self._some:
            assert self._some.wait_for(lambda: len(self.acknowledged) >= count, 60)

    def stop(self) -> None:
        """Stop, and raise any error."""
        self._stop.set()
        for each in self._running:
            each.result(timeout=100)
        self._channel.close()


@pytest.mark.timeout(240)
def test_a_backup_under_load_contains_every_acknowledged_job_and_the_server_continues(tmp_path: Path) -> None:
    url, copy = f"sqlite:///{tmp_path / 'q.sqlite3'}", tmp_path / "copy.sqlite3"
    with serving(url, providers="IBM", preload="IBM") as server:
        with grpc.insecure_channel(server.target) as channel:
            jobs = JobServiceStub(channel)
            running = jobs.CreateJob(creating(LONG), timeout=100).job.id
            for reply in jobs.WatchJob(calls.WatchJobRequest(job_id=running), timeout=60):
                if reply.event.state_change.to_state == JobState.JOB_STATE_RUNNING:
                    break
            load = Load(server)
            load.wait(100)
            before = list(load.acknowledged)
            done = backup(url, copy)
            while_copied = len(load.acknowledged) - len(before)
            load.stop()
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"{copy}: {copy.stat().st_size} bytes\n"
        assert while_copied > 0
    assert sorted(path.name for path in tmp_path.iterdir() if "copy" in path.name) == ["copy.sqlite3"]
    assert copy.stat().st_mode & 0o777 == 0o600
    with sqlite3.connect(f"file:{copy}?mode=ro", uri=True) as connection:
        held = dict(connection.execute("SELECT id, state FROM jobs"))
    connection.close()
    assert set(before) <= set(held)
    with serving(f"sqlite:///{copy}", providers="IBM", preload="IBM") as restored:
        for job_id, state in held.items():
            final = ended(restored.target, job_id)
            assert final.state == JobState.JOB_STATE_SUCCEEDED
            if state == JobState.JOB_STATE_RUNNING:
                assert final.attempt == 2


def test_no_file_is_overwritten_and_a_failed_backup_leaves_none(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'q.sqlite3'}"
    subprocess.run([*QONDUIT, "migrate", "--database", url], check=True, capture_output=True)
    there = tmp_path / "there"
    there.write_text("dear")
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("there", "dangling", "q.sqlite3"):
        done = backup(url, tmp_path / name)
        assert (done.returncode, "exists already" in done.stderr) == (1, True), done
    assert there.read_text() == "dear"
    missing = backup(f"sqlite:///{tmp_path / 'missing.sqlite3'}", tmp_path / "copy")
    assert (missing.returncode, "there is no database" in missing.stderr) == (1, True)
    assert not (tmp_path / "missing.sqlite3").exists()
    nowhere = backup(url, tmp_path / "no" / "folder" / "copy")
    assert (nowhere.returncode, "cannot write" in nowhere.stderr) == (1, True)
    full = backup(url, tmp_path / "copy", "prlimit", f"--fsize={16 * 1024}")
    assert (full.returncode, "the backup failed" in full.stderr) == (1, True), full
    damaged = tmp_path / "damaged.sqlite3"
    data = bytearray((tmp_path / "q.sqlite3").read_bytes())
    data[4096 * 2 : 4096 * 20] = os.urandom(4096 * 18)
    damaged.write_bytes(data)
    broken = backup(f"sqlite:///{damaged}", tmp_path / "copy")
    assert (broken.returncode, "damaged" in broken.stderr or "malformed" in broken.stderr) == (1, True), broken
    assert sorted(path.name for path in tmp_path.iterdir() if "copy" in path.name or "partial" in path.name) == []


@pytest.mark.timeout(240)
def test_postgresql_is_backed_up_by_its_own_tools(postgresql: PostgresqlServer, tmp_path: Path) -> None:
    url = postgresql.url(postgresql.new_database())
    refused = backup(url, tmp_path / "copy")
    assert refused.returncode == 1
    assert "pg_dump --format=custom" in refused.stderr
    binaries = find_binaries()
    assert binaries is not None
    with serving(url, providers="IBM", preload="IBM", lease_seconds="2") as server:
        load = Load(server)
        load.wait(100)
        before = list(load.acknowledged)
        subprocess.run(
            [binaries / "pg_dump", "--format=custom", f"--file={tmp_path / 'dump'}", f"--dbname={url}"], check=True
        )
        load.stop()
    new = postgresql.url(postgresql.new_database())
    subprocess.run([binaries / "pg_restore", f"--dbname={new}", tmp_path / "dump"], check=True)
    with serving(new, providers="IBM", preload="IBM", lease_seconds="2") as restored:
        for job_id in before:
            assert ended(restored.target, job_id).state == JobState.JOB_STATE_SUCCEEDED
        with grpc.insecure_channel(restored.target) as channel:
            # New ids continue after the highest assigned one.
            assert JobServiceStub(channel).CreateJob(creating(), timeout=100).job.id > max(before)
