# SPDX-License-Identifier: Apache-2.0
"""A server with a retention time: jobs that expired before its start are deleted at once, and logged in one line."""

from __future__ import annotations

import time
from pathlib import Path

import grpc
import pytest

from qonduit.v1 import job_service_pb2 as calls
from qonduit.v1.job_service_pb2_grpc import JobServiceStub
from qonduit.v1.system_service_pb2 import GetServerInfoRequest
from qonduit.v1.system_service_pb2_grpc import SystemServiceStub
from tests.server_process import serving
from tests.upgrade.sample import creating


@pytest.mark.timeout(240)
def test_a_server_deletes_and_logs_expired_jobs(database_url: str, tmp_path: Path) -> None:
    with (
        serving(database_url, providers="IBM", preload="IBM") as server,
        grpc.insecure_channel(server.target) as channel,
    ):
        jobs = JobServiceStub(channel)
        made = [jobs.CreateJob(creating(name), timeout=100).job.id for name in ("succeeded", "failed")]
        # Watched from before its end until after it: the stream ends as usual.
        for job_id in made:
            list(jobs.WatchJob(calls.WatchJobRequest(job_id=job_id), timeout=60))
    log = tmp_path / "log"
    # A thousandth of a second.
    settings = {"providers": "IBM", "retention_days": "0.00000001", "log_format": "json"}
    with serving(database_url, log=log, **settings) as server, grpc.insecure_channel(server.target) as channel:
        jobs = JobServiceStub(channel)
        info = SystemServiceStub(channel).GetServerInfo(GetServerInfoRequest(), timeout=100)
        assert info.limits.HasField("job_retention")
        gone = [code(jobs, job_id) for job_id in made]
        assert gone == [grpc.StatusCode.NOT_FOUND] * 2
        # Its request id was deleted with it.
        assert not jobs.CreateJob(creating("succeeded"), timeout=100).deduplicated
        # A stopping server aborts its sweep, so the log line must come first.
        end = time.monotonic() + 100
        while '"event":"retention"' not in log.read_text() and time.monotonic() < end:
            SystemServiceStub(channel).GetServerInfo(GetServerInfoRequest(), timeout=100)
    (line,) = [line for line in log.read_text().splitlines() if '"event":"retention"' in line]
    assert '"jobs":2' in line
    assert '"deployments":2' in line


def code(jobs: JobServiceStub, job_id: int) -> grpc.StatusCode:
    """Return how a watch of a job that may be deleted at any moment ends: a deleted job cannot be watched."""
    end = time.monotonic() + 100
    while time.monotonic() < end:
        try:
            list(jobs.WatchJob(calls.WatchJobRequest(job_id=job_id), timeout=100))
        except grpc.RpcError as error:
            found: grpc.StatusCode = error.code()
            return found
    return grpc.StatusCode.OK
