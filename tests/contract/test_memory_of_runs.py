# SPDX-License-Identifier: Apache-2.0
"""A run's memory estimate matches its real use, from the simulation to the last byte sent to the server."""

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
from qonduit.v1.noise_pb2 import GateError, NoiseChannel, NoiseModel
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_server.ir.noise_pass import with_noise
from qonduit_server.languages.registry import Languages
from qonduit_server.providers import registry
from qonduit_server.providers.provider import CompileOptions
from qonduit_server.providers.simulation.branching import BYTES_PER_AMPLITUDE
from qonduit_server.worker import loop, runner
from tests.universal_providers import universal_providers

QASM2 = AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2
QUBITS = 20
#: For runs that return counts only: 32 MiB of amplitudes, much more than a process uses otherwise.
WIDE = 21
#: The same programs with fewer amplitudes.
NARROW = 17
#: Memory of a run besides its amplitudes.
SLACK = 4 * 1024**2

#: On two qubits and on one.
NOISE = NoiseModel(
    gate_errors=[
        GateError(gates=["cx"], channel=NoiseChannel(depolarizing=0.05)),
        GateError(gates=["h"], channel=NoiseChannel(amplitude_damping=0.1)),
    ]
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports the peak memory of a process")


def resident(what: str) -> int:
    """Return this process's resident bytes now ("VmRSS") or at their peak ("VmHWM")."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) * 1024


class Measured:
    """A provider in this process, and the memory that its runs use."""

    def __init__(self, name: str, device: str = "", method: str = "", shots: int = 1000) -> None:
        self.provider = registry.get(name)
        self.device = device or self.provider.describe().devices[0].name
        self.spec = JobSpec(type=JobType.JOB_TYPE_RUNNER, shots=shots)
        if method:
            self.spec.simulation.method = method
            self.spec.noise_model.CopyFrom(NOISE)
        self.languages = Languages()
        self.running = runner.Runner(self.provider, self.languages)
        self.running.load()
        self.sent = 0

    def estimate(self, text: str, *, statevector: bool = False, limit_bytes: int = 0) -> int:
        """Return the memory estimate of a program's run, in bytes."""
        circuit = with_noise(self.languages.read(QASM2, text, b"", {}), self.spec.noise_model)
        options = CompileOptions(limit_bytes, statevector, self.spec.shots, self.spec.simulation)
        return self.provider.compile(circuit, self.device, options).memory_bytes

    def used(self, text: str, warm: str, *, statevector: bool = False, limit_bytes: int = 0) -> int:
        """Return the peak memory of a run, from the simulation to the last byte sent to the server, in bytes.

        Args:
            text: the program.
            warm: a similar program that runs first: SDKs compile code in the first run and keep memory.
            statevector: whether the run returns its statevector.
            limit_bytes: the task's memory limit.
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
            spec = JobSpec(include_statevector=statevector)
            spec.MergeFrom(self.spec)
            task = Task(
                job_id=1,
                attempt=1,
                provider=self.provider.name,
                device=self.device,
                spec=spec,
                memory_limit_bytes=limit_bytes,
                programs=[TaskProgram(program_id=1, language=QASM2, text=program)],
            )
            self.running.run(task, emit)
            outbox.flush()

        run(warm)
        # Memory that earlier tests freed in this process would hide the run's use.
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        before = resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")
        run(text)
        used = resident("VmHWM") - before
        near.shutdown(socket.SHUT_WR)
        reader.join(timeout=60)
        assert not failures
        return used


def program(qubits: int, end: str) -> str:
    """Return a program with gates of each kind that act on all qubits, and then `end`."""
    gates = "h q; cx q[0],q[1]; ry(0.3) q[2]; u2(0.1,0.2) q[3]; ccx q[0],q[2],q[4]; cu1(0.2) q[5],q[0]; swap q[1],q[8];"
    return f'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[{qubits}]; creg c[{qubits}]; {gates} {end}'


ONE, ALL = "measure q[0] -> c[0];", "measure q -> c;"
BRANCHES = (
    "measure q[0] -> c[0]; if(c==1) x q[1]; h q[0]; reset q[5]; h q[5]; measure q[5] -> c[0]; h q[7]; "
    "measure q[7] -> c[1]; if(c==2) x q[3]; h q[7]; cx q[7],q[8]; measure q[7] -> c[1];"
)


@pytest.mark.parametrize("name", universal_providers())
def test_a_run_uses_no_more_memory_than_estimated(name: str) -> None:
    it = Measured(name)
    text = program(QUBITS, ONE)
    estimate, used = it.estimate(text, statevector=True), it.used(text, text, statevector=True)
    assert it.sent > 2 * 16 << QUBITS
    # At least its array was allocated at some time; otherwise nothing was measured.
    assert 16 << QUBITS < used < estimate, f"{used >> QUBITS} bytes an amplitude, {estimate >> QUBITS} were estimated"


@pytest.mark.parametrize("name", universal_providers())
def test_a_run_with_counts_only_uses_no_more_memory_than_estimated(name: str) -> None:
    it = Measured(name)
    text = program(WIDE, ALL)
    estimate, used = it.estimate(text), it.used(text, program(NARROW, ALL))
    # Other jobs wait for the estimate, so it is less than twice the use.
    assert estimate / 2 < used <= estimate + SLACK, (
        f"{used / 2**WIDE:.1f} bytes an amplitude, {estimate >> WIDE} were estimated"
    )


@pytest.mark.parametrize("name", ["AWS", "GOOGLE"])
def test_a_program_that_branches_uses_no_more_memory_than_estimated(name: str) -> None:
    it = Measured(name)
    text = program(WIDE, BRANCHES)
    # Slightly more than the minimum: no room for states of waiting branches, so all memory is accounted for.
    limit = (BYTES_PER_AMPLITUDE + 1) << WIDE
    estimate, used = it.estimate(text, limit_bytes=limit), it.used(text, program(NARROW, BRANCHES), limit_bytes=limit)
    assert estimate / 2 < used <= estimate + SLACK, (
        f"{used / 2**WIDE:.1f} bytes an amplitude, {estimate / 2**WIDE:.1f} were estimated"
    )


@pytest.mark.parametrize(
    ("name", "device", "method", "end"),
    [
        ("AWS", "braket_dm", "density_matrix", ALL),
        ("AWS", "braket_dm", "density_matrix", BRANCHES),
        ("AWS", "braket_dm", "trajectories", BRANCHES),
        ("GOOGLE", "cirq_density_matrix", "density_matrix", ALL),
        ("GOOGLE", "cirq_density_matrix", "density_matrix", BRANCHES),
        ("GOOGLE", "cirq_density_matrix", "trajectories", BRANCHES),
        ("GOOGLE", "cirq_simulator", "trajectories", ALL),
    ],
)
def test_a_run_with_noise_uses_no_more_memory_than_estimated(name: str, device: str, method: str, end: str) -> None:
    it = Measured(name, device, method, shots=2)
    # 2^18 entries of a density matrix, or as many amplitudes.
    qubits = 9 if method == "density_matrix" else 18
    text = program(qubits, end)
    estimate, used = it.estimate(text), it.used(text, text)
    assert 16 << 18 < used <= estimate + SLACK, f"{used >> 18} bytes an entry, {estimate >> 18} were estimated"
