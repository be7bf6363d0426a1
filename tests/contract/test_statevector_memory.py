# SPDX-License-Identifier: Apache-2.0
"""What a statevector is said to take is what it takes: from the simulation to the last byte sent to the server."""

from __future__ import annotations

import ctypes
import gc
import socket
import sys
import threading
from pathlib import Path

import pytest

from qonduit.execution.v1.task_pb2 import Task, TaskEvent, TaskProgram
from qonduit.v1.job_pb2 import JobType
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_server import runner, worker
from qonduit_server.languages.registry import Languages
from qonduit_server.providers import registry

QASM2 = AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2
QUBITS = 20


def resident(what: str) -> int:
    """Bytes that this process has in memory ("VmRSS"), or had at most ("VmHWM")."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="the most memory a process had is told by Linux alone")
@pytest.mark.parametrize("name", sorted(registry.PROVIDERS))
def test_a_run_takes_no_more_than_was_said(name: str) -> None:
    provider = registry.get(name)
    languages = Languages()
    running = runner.Runner(provider, languages)
    running.load()
    device = provider.describe().devices[0].name
    gates = (
        "h q; cx q[0],q[1]; ry(0.3) q[2]; u2(0.1,0.2) q[3]; ccx q[0],q[2],q[4]; cu1(0.2) q[19],q[0]; swap q[1],q[9];"
    )
    text = f'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[{QUBITS}]; creg c[1]; {gates} measure q[0] -> c[0];'
    circuit = languages.read(QASM2, text, b"", {})
    said = provider.prepare(circuit, device, 0, statevector=True).memory_bytes
    near, far = socket.socketpair()
    sent = 0

    def drain() -> None:
        nonlocal sent
        while piece := far.recv(1 << 18):
            sent += len(piece)

    reader = threading.Thread(target=drain)
    reader.start()
    outbox = worker.Outbox(near)
    failures = []

    def emit(event: TaskEvent) -> None:
        if event.HasField("program_failed"):
            failures.append(event.program_failed.failure)
        outbox(event)

    task = Task(
        job_id=1,
        attempt=1,
        provider=name,
        device=device,
        type=JobType.JOB_TYPE_RUNNER,
        shots=10,
        include_statevector=True,
        programs=[TaskProgram(program_id=1, language=QASM2, text=text)],
    )
    running.run(task, emit)  # once before: SDKs compile code of their own in the first run
    outbox.flush()
    # What earlier tests left free in this process would hide what is taken.
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    running.run(task, emit)
    outbox.flush()
    taken = resident("VmHWM") - before
    near.shutdown(socket.SHUT_WR)
    reader.join(timeout=100)
    assert not failures
    assert sent > 2 * 16 << QUBITS
    # Its array at the least is there at some time: else nothing was measured.
    assert 16 << QUBITS < taken < said, f"{taken >> QUBITS} bytes an amplitude, {said >> QUBITS} were said"
