# SPDX-License-Identifier: Apache-2.0
"""Two servers on one PostgreSQL: one stops between intent and call of a submission, the other takes its job over."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest

from qonduit.v1.job_pb2 import JobState
from tests.e2e.faults.trap import Trap
from tests.e2e.faults.vendor_points import VENDOR_POINTS
from tests.postgresql import PostgresqlServer
from tests.vendor_cloud.fake_vendor import fake_vendor
from tests.vendor_cloud.served_vendor import served_vendor

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def shared(postgresql: PostgresqlServer, postgresql_template: str) -> Iterator[str]:
    """Return the URL of a new database that servers can share."""
    name = postgresql.new_database(postgresql_template)
    yield postgresql.url(name)
    postgresql.drop_database(name)


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize("provider", ["CLOUD_TOKEN", "CLOUD_NOTHING"])
def test_a_server_that_was_stopped_before_a_submission_does_not_make_it_later(
    shared: str, tmp_path: Path, provider: str
) -> None:
    hits: SimpleQueue[int] = SimpleQueue()
    trap = Trap(tmp_path / "trap", lambda _, pid: hits.put(pid), VENDOR_POINTS)
    path = os.pathsep.join((str(Path(__file__).with_name("deadly")), str(tmp_path / "packages"), str(ROOT)))
    deadly = {"DEADLY": trap.environment["DEADLY"], "PYTHONPATH": path}
    settings = {"providers": provider, "preload": provider, "lease_seconds": "2"}
    with (
        fake_vendor() as vendor,
        served_vendor(tmp_path, vendor=vendor, database=shared, environment=deadly, **settings) as stale,
    ):
        trap.arm("change-committed", action="S")
        job_id = stale.create(provider)
        assert hits.get(timeout=200) == stale.server.process.pid
        with served_vendor(tmp_path, vendor=vendor, database=shared, **settings) as fresh:
            job = fresh.end(job_id)
            # Other threads than the one at the trap stop first, so the call may have been made in time.
            before = vendor.accepted
            # Its next change of the ledger shows that it lost the job, after the call that it would have made.
            trap.arm("change-committed", action="T")
            stale.server.process.send_signal(signal.SIGCONT)
            hits.get(timeout=200)
            assert fresh.run(provider).state == JobState.JOB_STATE_SUCCEEDED
            assert vendor.accepted == before + 1  # the other job
        if provider == "CLOUD_TOKEN":
            assert (job.state, job.attempt, before) == (JobState.JOB_STATE_SUCCEEDED, 2, 1), job.failure
        else:
            assert job.failure.reason == "SUBMISSION_UNKNOWN"
            assert before <= 1
    trap.close()
