# SPDX-License-Identifier: Apache-2.0
"""Create the samples of the installed server's schema: `make upgrade-sample`, once for each revision.

A real server does the work, and is killed in the middle of it: deployments, jobs in every state, events, results,
request ids. For the schema of an older version run it with that version's code:

    git worktree add /tmp/old <commit>
    PYTHONPATH=/tmp/old/server:/tmp/old/generated/python:/tmp/old/clients/python .venv/bin/python -m tests.upgrade
"""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import grpc
import psycopg

from qonduit.v1 import job_service_pb2 as calls
from qonduit.v1.deployment_pb2 import Deployment
from qonduit.v1.deployment_service_pb2 import UpdateDeploymentRequest
from qonduit.v1.deployment_service_pb2_grpc import DeploymentServiceStub
from qonduit.v1.job_pb2 import JobState
from qonduit.v1.job_service_pb2_grpc import JobServiceStub
from qonduit_server.store import migrations
from tests.postgresql import PostgresqlServer, find_binaries
from tests.server_process import serving
from tests.upgrade.sample import FOLDER, GHZ, LABELS, LARGE, STATES, SWEEP, creating, deploying, programs, request_id

_ATTEMPTS = 20
#: More jobs than two workers take at once.
_AHEAD = 40


def fill(database: str) -> None:
    """Have a server do work of every kind, then kill it."""
    with (
        serving(database, providers="IBM", preload="IBM", workers="2") as server,
        grpc.insecure_channel(server.target) as channel,
    ):
        jobs, deployments = JobServiceStub(channel), DeploymentServiceStub(channel)

        def create(name: str, deployment_id: int = 0) -> int:
            return jobs.CreateJob(creating(name, deployment_id), timeout=100).job.id

        def follow(job_id: int, until: JobState | None = None) -> None:
            for reply in jobs.WatchJob(calls.WatchJobRequest(job_id=job_id), timeout=60):
                if until is not None and reply.event.state_change.to_state == until:
                    return

        kept = deployments.CreateDeployment(deploying(), timeout=100).deployment.id
        done = create("succeeded")
        for job_id in (done, create("of a deployment", kept), create("failed"), create(SWEEP)):
            follow(job_id)
        again = jobs.RerunJob(calls.RerunJobRequest(id=done, request_id=request_id("again")), timeout=100).job.id
        follow(again)
        deployments.UpdateDeployment(
            UpdateDeploymentRequest(deployment=Deployment(id=kept, programs=programs(GHZ), labels=LABELS)),
            timeout=100,
        )
        # Two tasks run at once: the others wait.
        running, cancelling = create("running"), create("cancelling")
        for job_id in (running, cancelling):
            follow(job_id, JobState.JOB_STATE_RUNNING)
        waiting = create("cancelled")
        # Workers are assigned short tasks ahead.
        for number in range(_AHEAD):
            create(f"ahead {number}")
        create("queued")
        create(LARGE)
        jobs.CancelJob(calls.CancelJobRequest(id=waiting), timeout=100)
        jobs.CancelJob(calls.CancelJobRequest(id=cancelling), timeout=100)
        server.process.kill()
        server.process.wait()


def states(rows: list[tuple[str, int]]) -> bool:
    """Return whether each job is in its expected state: the server may have been quicker than the kill."""
    return all((name, int(state)) in rows for name, state in STATES.items())


def make_sqlite(target: Path) -> None:
    """Write a SQLite file, as small as it can be."""
    for _ in range(_ATTEMPTS):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "sample.sqlite3"
            fill(f"sqlite:///{path}")
            connection = sqlite3.connect(path)
            fits = states(connection.execute("SELECT name, state FROM jobs").fetchall())
            for statement in ("PRAGMA journal_mode=DELETE", "PRAGMA page_size=1024", "VACUUM"):
                connection.execute(statement)
            connection.close()
            if fits:
                shutil.copyfile(path, target)
                return
    raise RuntimeError("the server was always quicker than the kill")


def make_postgresql(target: Path) -> None:
    """Write the output of pg_dump as statements that any client can execute."""
    binaries = find_binaries()
    if binaries is None:
        raise RuntimeError("no PostgreSQL found")
    server = PostgresqlServer(binaries)
    try:
        for _ in range(_ATTEMPTS):
            url = server.url(server.new_database())
            fill(url)
            with psycopg.connect(url) as connection:
                fits = states(connection.execute("SELECT name, state FROM jobs").fetchall())
            if fits:
                arguments = ["--inserts", "--rows-per-insert=50", "--no-owner", "--no-privileges", f"--dbname={url}"]
                dump = subprocess.run(
                    [binaries / "pg_dump", *arguments], check=True, capture_output=True, text=True
                ).stdout
                # Omit commands of psql (\restrict) and comments.
                target.write_text(re.sub(r"(?m)^(\\.*|--.*|)\n", "", dump))
                return
    finally:
        server.close()
    raise RuntimeError("the server was always quicker than the kill")


def main() -> int:
    """Create both samples, unless they exist."""
    for suffix, make in ((".sqlite3", make_sqlite), (".sql", make_postgresql)):
        target = FOLDER / f"{migrations.HEAD}{suffix}"
        if target.exists():
            print(f"{target.name} exists already: samples of released schemas are never recreated")
            return 1
        make(target)
        print(f"{target.name}: {target.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
