# SPDX-License-Identifier: Apache-2.0
"""The fork server's protocol, and real providers in forked workers."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.execution.v1.task_pb2 import Task, TaskProgram
from qonduit.execution.v1.worker_pb2 import ForkServerReply
from qonduit.v1.job_pb2 import JobType
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_server.execution.local.pool import ProcessPool
from qonduit_server.process.framing import FrameBuffer
from tests.unit.execution.pool_fixture import PATIENCE, RecordingListener

BELL = """OPENQASM 2.0;
include "qelib1.inc";
qreg q[2];
creg c[2];
h q[0];
cx q[0],q[1];
measure q -> c;
"""


@contextmanager
def forkserver(provider: str) -> Iterator[tuple[subprocess.Popen[bytes], socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours:
        ours.settimeout(PATIENCE)
        command = [sys.executable, "-m", "qonduit_server.worker.forkserver", "--provider", provider, "--socket"]
        process = subprocess.Popen([*command, str(theirs.fileno())], pass_fds=[theirs.fileno()])
        theirs.close()
        with process:
            yield process, ours
            ours.close()
            process.wait(PATIENCE)


def reply(link: socket.socket) -> ForkServerReply:
    buffer = FrameBuffer()
    while True:
        for body in buffer.feed(link.recv(65536)):
            return ForkServerReply.FromString(body)


def test_it_describes_its_provider_without_the_sdk_and_ends_with_its_socket() -> None:
    with forkserver("IBM") as (process, link):
        description = reply(link).description
        assert description.provider.name == "IBM"
        assert [device.name for device in description.devices][:2] == ["aer_simulator", "fake_manila"]
        read = {AssemblerLanguage.Name(each.supported_language) for each in description.provider.supported_languages}
        assert {"ASSEMBLER_LANGUAGE_QASM3", "ASSEMBLER_LANGUAGE_QRISP"} <= read
        assert "ASSEMBLER_LANGUAGE_PYTHON" not in read
        with open(f"/proc/{process.pid}/maps") as maps:  # noqa: PTH123
            assert "qiskit" not in maps.read()
    assert process.returncode == 0


def test_an_unknown_provider_is_described_as_unavailable() -> None:
    with forkserver("UNKNOWN") as (_, link):
        assert "UNKNOWN" in reply(link).description.unavailable


@pytest.fixture(scope="module")
def ibm() -> Iterator[tuple[ProcessPool, RecordingListener]]:
    pool, listener = ProcessPool(["IBM"], 2, memory_limit_bytes=4 * 1024**3, show_errors=True), RecordingListener()
    pool.launch()
    pool.start(listener)
    yield pool, listener
    pool.stop(PATIENCE)


def aer(job_id: int, text: str = BELL, shots: int = 100) -> Task:
    program = TaskProgram(program_id=1, language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2, text=text)
    return Task(
        job_id=job_id,
        attempt=1,
        provider="IBM",
        device="aer_simulator",
        spec=JobSpec(type=JobType.JOB_TYPE_RUNNER, shots=shots),
        programs=[program],
    )


def test_bell_on_aer(ibm: tuple[ProcessPool, RecordingListener]) -> None:
    pool, listener = ibm
    pool.submit([aer(i) for i in range(1, 101)])
    listener.wait_ended(*range(1, 101))
    assert not listener.losses
    draws = set()
    for events in listener.received.values():
        (result,) = [event.program_succeeded.result for event in events if event.HasField("program_succeeded")]
        counts = dict(result.counts_and_probabilities.counts)
        assert set(counts) <= {"0x0", "0x3"}
        assert sum(counts.values()) == 100
        draws.add(counts.get("0x0", 0))
    assert len(draws) > 5  # workers do not share a random state


def test_a_circuit_with_all_cores_runs_in_a_forked_worker(ibm: tuple[ProcessPool, RecordingListener]) -> None:
    pool, listener = ibm
    entangle = "h q[0];\n" + "".join(f"cx q[{i}],q[{i + 1}];\n" for i in range(17))
    pool.submit([aer(500, BELL.replace("[2]", "[18]").replace("h q[0];\ncx q[0],q[1];\n", entangle))])
    listener.wait_ended(500)
    (result,) = [e.program_succeeded.result for e in listener.received[500] if e.HasField("program_succeeded")]
    assert set(result.counts_and_probabilities.counts) <= {"0x0", "0x3ffff"}


def test_a_simulation_is_cancelled_while_it_holds_pythons_lock(ibm: tuple[ProcessPool, RecordingListener]) -> None:
    pool, listener = ibm
    n = 24
    layer = "".join(f"u3(0.1,0.2,{i}) q[{i}];\n" for i in range(n)) + "".join(
        f"cx q[{i}],q[{i + 1}];\n" for i in range(n - 1)
    )
    text = f'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[{n}];\ncreg c[{n}];\n{layer * 40}measure q -> c;\n'
    pool.submit([aer(1001, text)])
    listener.wait_begun(1001)
    pool.cancel(1001, 1)
    listener.wait_ended(1001)
    assert 1001 in listener.losses
    pool.submit([aer(1002)])
    listener.wait_ended(1002)
    assert 1002 in listener.finished
