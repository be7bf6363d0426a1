# SPDX-License-Identifier: Apache-2.0
"""A server with unread standard error and output serves and ends; its log includes the output of libraries."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from qonduit.v1.system_service_pb2 import GetServerInfoRequest
from qonduit.v1.system_service_pb2_grpc import SystemServiceStub
from tests.server_process import free_port, serving

PATIENCE = 60.0


@contextmanager
def full_pipe() -> Iterator[int]:
    """The writing end of a small pipe that is full and has no reader."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, b"\n")
    except BlockingIOError:
        os.set_blocking(writing, True)
    try:
        yield writing
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.timeout(200)
@pytest.mark.parametrize("signals", [1, 2])
def test_a_server_with_unread_output_and_log_answers_and_ends(tmp_path: Path, signals: int) -> None:
    target = f"127.0.0.1:{free_port()}"
    with full_pipe() as log, full_pipe() as out:
        server = subprocess.Popen(
            [sys.executable, "-m", "qonduit_server", "serve", "--listen", target, "--providers", "IBM"],
            env=os.environ | {"QONDUIT_DATABASE": f"sqlite:///{tmp_path / 'q.sqlite3'}"},
            stdout=out,
            stderr=log,
        )
        try:
            with grpc.insecure_channel(target) as channel:
                system = SystemServiceStub(channel)
                for _ in range(100):
                    system.GetServerInfo(GetServerInfoRequest(), timeout=PATIENCE, wait_for_ready=True)
            for _ in range(signals):
                server.send_signal(signal.SIGTERM)
            assert server.wait(PATIENCE) == 0
        finally:
            server.kill()
            server.wait()


def test_a_server_that_cannot_start_ends_though_its_error_is_not_read(tmp_path: Path) -> None:
    with full_pipe() as log:
        done = subprocess.run(
            [sys.executable, "-m", "qonduit_server", "serve", "--providers", "UNKNOWN"],
            env=os.environ | {"QONDUIT_DATABASE": f"sqlite:///{tmp_path / 'q.sqlite3'}"},
            stderr=log,
            timeout=PATIENCE,
            check=False,
        )
    assert done.returncode == 1


def test_standard_error_of_libraries_is_in_the_log_as_json(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    # gRPC's core writes in C++, past any replacement in Python.
    tracing = {"GRPC_VERBOSITY": "debug", "GRPC_TRACE": "api"}
    with (
        serving(f"sqlite:///{tmp_path / 'q.sqlite3'}", log=log, providers="IBM", environment=tracing) as server,
        grpc.insecure_channel(server.target) as channel,
    ):
        SystemServiceStub(channel).GetServerInfo(GetServerInfoRequest(), timeout=PATIENCE)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    written = [line["line"] for line in lines if line["event"] == "standard error"]
    assert any("grpc_server_start" in line for line in written)
    assert lines[-1]["event"] == "stopped" or lines[-1]["event"] == "standard error"
