# SPDX-License-Identifier: Apache-2.0
"""However a server ends, every process that it started ends: fork servers, workers, translators, sandboxes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import grpc
import pytest

from qonduit.v1.job_service_pb2 import CreateJobRequest
from qonduit.v1.job_service_pb2_grpc import JobServiceStub
from qonduit.v1.program_service_pb2 import TranslateProgramRequest
from qonduit.v1.program_service_pb2_grpc import ProgramServiceStub
from qonduit.v1.provider_pb2 import AssemblerLanguage
from tests.benchmarks.programs import BELL
from tests.e2e.faults.checking import children, wait_until_gone
from tests.server_process import Server, serving
from tests.warm_workers import REAL_WORKERS

PATIENCE = 60.0
ENDLESS = "from qiskit import QuantumCircuit\nwhile True:\n    pass\n"


def descendants(pid: int) -> list[int]:
    """Return all descendants of a process."""
    found = [pid]
    for each in found:
        with suppress(FileNotFoundError):
            found += children(each)
    return found[1:]


def sandboxes(server: Server) -> list[int]:
    """Return the server's processes that run Python source, which are in separate sessions."""
    return [pid for pid in descendants(server.process.pid) if os.getsid(pid) == pid]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT])
def test_a_fork_server_that_never_reads_its_socket(tmp_path: Path, number: signal.Signals) -> None:
    python, began = tmp_path / "python", tmp_path / "began"
    os.mkfifo(began)
    python.write_text(f"#!/bin/sh\necho $$ > {began}\nexec sleep 1000\n")
    python.chmod(0o755)
    server = subprocess.Popen(
        [sys.executable, "-m", "qonduit_server", "serve", "--listen", "127.0.0.1:0", "--providers", "IBM,AWS"],
        env=os.environ
        | {"QONDUIT_DATABASE": f"sqlite:///{tmp_path / 'q.sqlite3'}", "QONDUIT_PROVIDER_PYTHON": f"AWS={python}"},
        stderr=subprocess.DEVNULL,
    )
    hangs = int(began.read_text())
    processes = descendants(server.pid)
    assert hangs in processes
    server.send_signal(number)
    assert server.wait(PATIENCE) == -number
    for pid in processes:
        wait_until_gone(pid)


def test_translators_and_a_busy_sandbox(tmp_path: Path) -> None:
    request = CreateJobRequest(device="IBM/aer_simulator")
    request.job.shots = 1
    request.deployment.programs.add(
        quantum_circuit=ENDLESS, assembler_language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QISKIT
    )
    translation = TranslateProgramRequest(target_language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3)
    translation.program.quantum_circuit = BELL
    translation.program.assembler_language = AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2
    url = f"sqlite:///{tmp_path / 'q.sqlite3'}"
    with (
        serving(url, environment=REAL_WORKERS, providers="IBM", enable_python_source="QISKIT") as server,
        grpc.insecure_channel(server.target) as channel,
    ):
        ProgramServiceStub(channel).TranslateProgram(translation, timeout=PATIENCE)
        JobServiceStub(channel).CreateJob(request, timeout=PATIENCE)
        deadline = time.monotonic() + PATIENCE
        while not sandboxes(server):
            assert time.monotonic() < deadline
            threading.Event().wait(0.02)
        processes = descendants(server.process.pid)
        assert len(processes) >= 5  # two fork servers, a worker of each, a sandbox
        server.process.kill()
        server.process.wait(PATIENCE)
        for pid in processes:
            wait_until_gone(pid)
