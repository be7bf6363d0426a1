# SPDX-License-Identifier: Apache-2.0
"""What a run is said to take is what it takes: from the simulation to the last byte sent to the server."""

from __future__ import annotations

import ctypes
import gc
import socket
import sys
import threading
from pathlib import Path

import pytest

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.execution.v1.task_pb2 import Task, TaskEvent, TaskProgram
from qonduit.v1.job_pb2 import JobType
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_server.languages.registry import Languages
from qonduit_server.providers import registry
from qonduit_server.providers.branching import BYTES_PER_AMPLITUDE
from qonduit_server.providers.provider import CompileOptions
from qonduit_server.worker import loop, runner

QASM2 = AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2
QUBITS = 20
#: For runs that give counts alone: 32 MiB of amplitudes, beside which what a process takes otherwise is little.
WIDE = 21
#: The same programs with fewer amplitudes.
NARROW = 17
#: What a run takes beside its amplitudes.
SLACK = 4 * 1024**2

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the most memory a process had is told by Linux alone")


def resident(what: str) -> int:
    """Bytes that this process has in memory ("VmRSS"), or had at most ("VmHWM")."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) * 1024


class Measured:
    """A provider in this process, and what its runs take."""

    def __init__(self, name: str) -> None:
        self.provider = registry.get(name)
        self.device = self.provider.describe().devices[0].name
        self.languages = Languages()
        self.running = runner.Runner(self.provider, self.languages)
        self.running.load()
        self.sent = 0

    def said(self, text: str, *, statevector: bool = False, limit_bytes: int = 0) -> int:
        """Return what a run of a program is said to take, in bytes."""
        circuit = self.languages.read(QASM2, text, b"", {})
        if statevector:
            return self.provider.compile(circuit, self.device, CompileOptions(limit_bytes, True)).memory_bytes
        return self.provider.compile(circuit, self.device, CompileOptions(limit_bytes)).memory_bytes

    def taken(self, text: str, warm: str, *, statevector: bool = False, limit_bytes: int = 0) -> int:
        """Return what a run takes at most, from the simulation to the last byte sent to the server, in bytes.

        Args:
            text: the program.
            warm: one like it that is run before: SDKs compile code of their own in the first run, and keep memory.
            statevector: whether it gives its statevector, too.
            limit_bytes: what it may take.
        """
        near, far = socket.socketpair()

        def drain() -> None:
            while piece := far.recv(1 << 18):
                self.sent += len(piece)

        reader = threading.Thread(target=drain)
        reader.start()
        outbox = loop.Outbox(near)
        failures = []

        def emit(event: TaskEvent) -> None:
            if event.HasField("program_failed"):
                failures.append(event.program_failed.failure)
            outbox(event)

        def run(program: str) -> None:
            task = Task(
                job_id=1,
                attempt=1,
                provider=self.provider.name,
                device=self.device,
                spec=JobSpec(type=JobType.JOB_TYPE_RUNNER, shots=1000, include_statevector=statevector),
                memory_limit_bytes=limit_bytes,
                programs=[TaskProgram(program_id=1, language=QASM2, text=program)],
            )
            self.running.run(task, emit)
            outbox.flush()

        run(warm)
        # What earlier tests left free in this process would hide what is taken.
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        before = resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")
        run(text)
        taken = resident("VmHWM") - before
        near.shutdown(socket.SHUT_WR)
        reader.join(timeout=60)
        assert not failures
        return taken


def program(qubits: int, end: str) -> str:
    """A program with gates of each kind that act on all qubits, and then `end`."""
    gates = "h q; cx q[0],q[1]; ry(0.3) q[2]; u2(0.1,0.2) q[3]; ccx q[0],q[2],q[4]; cu1(0.2) q[5],q[0]; swap q[1],q[9];"
    return f'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[{qubits}]; creg c[{qubits}]; {gates} {end}'


ONE, ALL = "measure q[0] -> c[0];", "measure q -> c;"
BRANCHES = (
    "measure q[0] -> c[0]; if(c==1) x q[1]; h q[0]; reset q[5]; h q[5]; measure q[5] -> c[0]; h q[7]; "
    "measure q[7] -> c[1]; if(c==2) x q[3]; h q[7]; cx q[7],q[8]; measure q[7] -> c[1];"
)


@pytest.mark.parametrize("name", sorted(registry.PROVIDERS))
def test_a_run_takes_no_more_than_was_said(name: str) -> None:
    it = Measured(name)
    text = program(QUBITS, ONE)
    said, taken = it.said(text, statevector=True), it.taken(text, text, statevector=True)
    assert it.sent > 2 * 16 << QUBITS
    # Its array at the least is there at some time: else nothing was measured.
    assert 16 << QUBITS < taken < said, f"{taken >> QUBITS} bytes an amplitude, {said >> QUBITS} were said"


@pytest.mark.parametrize("name", sorted(registry.PROVIDERS))
def test_counts_alone_take_no_more_than_was_said(name: str) -> None:
    it = Measured(name)
    text = program(WIDE, ALL)
    said, taken = it.said(text), it.taken(text, program(NARROW, ALL))
    # Others wait for what is said: it is not twice what is taken.
    assert said / 2 < taken <= said + SLACK, f"{taken / 2**WIDE:.1f} bytes an amplitude, {said >> WIDE} were said"


@pytest.mark.parametrize("name", ["AWS", "GOOGLE"])
def test_a_program_that_branches_takes_no_more_than_was_said(name: str) -> None:
    it = Measured(name)
    text = program(WIDE, BRANCHES)
    # With little more than the least: no room for states of branches that wait, so that all of it is accounted for.
    limit = (BYTES_PER_AMPLITUDE + 1) << WIDE
    said, taken = it.said(text, limit_bytes=limit), it.taken(text, program(NARROW, BRANCHES), limit_bytes=limit)
    assert said / 2 < taken <= said + SLACK, f"{taken / 2**WIDE:.1f} bytes an amplitude, {said / 2**WIDE:.1f} were said"
