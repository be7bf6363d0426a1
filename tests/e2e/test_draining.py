# SPDX-License-Identifier: Apache-2.0
"""A draining server accepts no jobs, notifies all clients, ends in bounded time and leaves no process running."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from qonduit.v1 import job_service_pb2 as calls
from qonduit.v1.job_service_pb2_grpc import JobServiceStub
from tests.e2e.faults.checking import assert_ended_well, family, wait_until_gone
from tests.e2e.faults.submitting import RUNNING, a_job, submit, wait_for, watch
from tests.postgresql import PostgresqlServer, start_or_skip
from tests.server_process import SERVE, Server, log_lines, serving

#: The bound after a second signal on a busy machine: less than the 10 s of a slow reader and the 20 s of a start, for
#: which the server must not wait. On an idle machine it is a fraction of a second.
AT_ONCE = 9.0
#: The time to stop when there is no job to wait for.
SOON = 10.0


def endless() -> calls.CreateJobRequest:
    """Return one simulation of minutes, in which Aer holds Python's lock."""
    return a_job(1, 24, 400)


def run(target: str, request: calls.CreateJobRequest) -> int:
    """Submit, and wait until the job runs."""
    job_id = submit(target, request)
    wait_for(target, job_id, lambda event: event.state_change.to_state == RUNNING)
    return job_id


def refusal(error: grpc.RpcError) -> tuple[str, float]:
    """Return the reason of an UNAVAILABLE, and its retry delay in seconds."""
    assert error.code() == grpc.StatusCode.UNAVAILABLE, error
    status = rpc_status.from_call(error)
    assert status is not None, error
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    assert any(detail.Unpack(retry) for detail in status.details)
    return info.reason, retry.retry_delay.ToTimedelta().total_seconds()


def assert_ends(server: Server, processes: list[int], within: float) -> None:
    """Check that the server ends with 0, and all of its processes with it."""
    began = time.monotonic()
    assert server.process.wait(timeout=60) == 0
    assert time.monotonic() - began < within
    for pid in processes:
        wait_until_gone(pid)


def test_new_work_is_refused_streams_are_notified_and_running_jobs_are_requeued_uncounted(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'q.sqlite3'}"
    with (
        serving(url, providers="IBM", preload="IBM", workers="1", drain_seconds="60", log=tmp_path / "log") as server,
        grpc.insecure_channel(server.target) as channel,
    ):
        jobs = JobServiceStub(channel)
        job_id = run(server.target, endless())
        queued = submit(server.target, a_job(1, 0, 0))
        streams = [jobs.WatchJob(calls.WatchJobRequest(job_id=job), timeout=60) for job in [queued] * 200 + [job_id]]
        streams.append(jobs.RunJob(calls.RunJobRequest(**_inline(a_job(1, 0, 0))), timeout=60))
        for stream in streams:
            next(stream)
        server.process.send_signal(signal.SIGTERM)
        for stream in streams:
            with pytest.raises(grpc.RpcError) as refusal_error:
                list(stream)
            assert refusal(refusal_error.value) == ("DRAINING", 1.0)
        with pytest.raises(grpc.RpcError) as refused:
            jobs.CreateJob(a_job(1, 0, 0), timeout=100)
        assert refusal(refused.value) == ("DRAINING", 1.0)
        with pytest.raises(grpc.RpcError) as refused:
            list(jobs.RunJob(calls.RunJobRequest(**_inline(a_job(1, 0, 0))), timeout=100))
        assert refusal(refused.value) == ("DRAINING", 1.0)
        # Read-only calls are served as long as jobs run.
        assert jobs.GetJob(calls.GetJobRequest(id=job_id), timeout=100).job.state == RUNNING
        processes = family(server)
        server.process.send_signal(signal.SIGTERM)
        assert_ends(server, processes, AT_ONCE)
    # Two hundred streams that end for one reason are logged in fewer lines.
    assert (tmp_path / "log").read_text().count("DRAINING") < 20
    with serving(url, providers="IBM", preload="IBM", workers="2", drain_seconds="0") as server:
        assert assert_ended_well(server.target, queued, 1).attempt == 1
        begun: list[int] = []
        for event in watch(server.target, job_id):
            if event.state_change.to_state == RUNNING:
                begun.append(event.state_change.job.attempt)
            if len(begun) == 2:
                break
        # The job was started twice, and the first attempt does not count.
        assert begun == [1, 1]


def _inline(request: calls.CreateJobRequest) -> dict[str, object]:
    return {"job": request.job, "device": request.device, "deployment": request.deployment}


def test_a_stalled_reader_does_not_delay_the_shutdown(tmp_path: Path) -> None:
    with (
        serving(f"sqlite:///{tmp_path / 'q.sqlite3'}", providers="IBM", preload="IBM") as server,
        grpc.insecure_channel(server.target) as channel,
    ):
        job_id = submit(server.target, a_job(300, 0, 0))
        wait_for(server.target, job_id, lambda event: event.HasField("result_ready"))
        stream = JobServiceStub(channel).WatchJob(calls.WatchJobRequest(job_id=job_id), timeout=60)
        next(stream)
        processes = family(server)
        server.process.send_signal(signal.SIGTERM)
        server.process.send_signal(signal.SIGINT)
        assert_ends(server, processes, AT_ONCE)
        with pytest.raises(grpc.RpcError) as refusal_error:
            list(stream)
        assert refusal_error.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


def test_the_time_for_running_jobs_is_bounded_also_for_an_unresponsive_one(tmp_path: Path) -> None:
    with serving(f"sqlite:///{tmp_path / 'q.sqlite3'}", providers="IBM", preload="IBM", drain_seconds="1") as server:
        run(server.target, endless())
        processes = family(server)
        server.process.send_signal(signal.SIGINT)
        assert_ends(server, processes, SOON)


def test_a_second_signal_while_a_fork_server_loads(tmp_path: Path) -> None:
    with serving(f"sqlite:///{tmp_path / 'q.sqlite3'}") as server:
        # All SDKs are preloaded, one after another, for some seconds.
        processes = family(server)
        server.process.send_signal(signal.SIGTERM)
        server.process.send_signal(signal.SIGINT)
        assert_ends(server, processes, AT_ONCE)


@pytest.fixture
def own_postgresql() -> Iterator[PostgresqlServer]:
    """A PostgreSQL for this test alone."""
    server = start_or_skip()
    yield server
    server.close()


@pytest.mark.parametrize("how", ["gone", "silent"])
def test_a_second_signal_while_the_database_is_away_and_a_simulation_runs(
    own_postgresql: PostgresqlServer, tmp_path: Path, how: str
) -> None:
    url = own_postgresql.url(own_postgresql.new_database())
    with serving(url, providers="IBM", preload="IBM", lease_seconds="3", log=tmp_path / "log") as server:
        run(server.target, endless())
        processes = family(server)
        if how == "gone":
            own_postgresql.stop()
        else:
            own_postgresql.freeze()
        try:
            server.process.send_signal(signal.SIGTERM)
            # Sent as a separate signal, not merged into the first.
            wait_until_draining(server)
            server.process.send_signal(signal.SIGTERM)
            assert_ends(server, processes, AT_ONCE)
        finally:
            if how == "silent":
                own_postgresql.thaw()


def wait_until_draining(server: Server) -> None:
    """Wait until the server has received a signal; calls may wait for a database that is away."""
    log_lines(server, lambda line: line["event"] == "draining")


#: Starts a session with a terminal, as a login does, and replaces itself: `python -c ... TERMINAL COMMAND`.
LOG_IN = "import os, sys; os.setsid(); os.open(sys.argv[1], os.O_RDWR); os.execv(sys.argv[2], sys.argv[2:])"


def test_a_closing_terminal_drains_the_server_however_many_hangups_it_sends(tmp_path: Path) -> None:
    log = tmp_path / "log"
    terminal, inner = pty.openpty()
    command = (sys.executable, "-c", LOG_IN, os.ttyname(inner), *SERVE)
    settings = {"preload": "IBM", "drain_seconds": "3"}
    with serving(f"sqlite:///{tmp_path / 'q.sqlite3'}", log=log, command=command, **settings) as server:
        os.close(inner)
        # As long as the terminal is there, a hangup is a reload.
        server.process.send_signal(signal.SIGHUP)
        log_lines(server, lambda line: line["event"] == "configuration reloaded")
        job_id = run(server.target, endless())
        processes = family(server)
        began = time.monotonic()
        # The kernel sends the hangup.
        os.close(terminal)
        wait_until_draining(server)
        server.process.send_signal(signal.SIGHUP)
        assert_ends(server, processes, SOON)
        assert time.monotonic() - began >= 3.0
    stopped = [line for line in map(json.loads, log.read_text().splitlines()) if line["event"] == "stopped"]
    assert stopped
    with serving(f"sqlite:///{tmp_path / 'q.sqlite3'}", drain_seconds="0") as server:
        wait_for(
            server.target, job_id, lambda event: event.state_change.job.attempt == 1
        )  # the job was requeued, uncounted


def test_nohup_detaches_a_server_from_its_terminal(tmp_path: Path) -> None:
    process = subprocess.Popen(
        ["/bin/sh", "-c", 'trap "" HUP; exec "$@"', "sh", sys.executable, "-m", "qonduit_server", "serve"],
        env=os.environ
        | {"QONDUIT_DATABASE": f"sqlite:///{tmp_path / 'q.sqlite3'}", "QONDUIT_PROVIDERS": "IBM"}
        | {"QONDUIT_LISTEN": "127.0.0.1:0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout:
        target = process.stdout.readline().split()[-1]
        process.send_signal(signal.SIGHUP)
        with grpc.insecure_channel(target) as channel:
            assert submitted(channel) > 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def submitted(channel: grpc.Channel) -> int:
    """Return the id of a new job; a draining server creates none."""
    return JobServiceStub(channel).CreateJob(a_job(1, 0, 0), timeout=60).job.id


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_startup(tmp_path: Path, number: signal.Signals) -> None:
    """A silent provider process delays the start by up to twenty seconds; a signal does not wait for it."""
    pid_pipe = tmp_path / "pid"
    os.mkfifo(pid_pipe)
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho $$ > {pid_pipe}\nexec sleep 1000\n")
    python.chmod(0o755)
    process = subprocess.Popen(
        [sys.executable, "-m", "qonduit_server", "serve", "--listen", "127.0.0.1:0"],
        env=os.environ
        | {"QONDUIT_DATABASE": f"sqlite:///{tmp_path / 'q.sqlite3'}", "QONDUIT_PROVIDER_PYTHON": f"IBM={python}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    child = int(pid_pipe.read_text())
    process.send_signal(number)
    began = time.monotonic()
    out, _ = process.communicate(timeout=100)
    assert process.returncode == 0
    assert time.monotonic() - began < AT_ONCE
    assert out == b""
    wait_until_gone(child)
