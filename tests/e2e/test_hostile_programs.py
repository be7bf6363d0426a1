# SPDX-License-Identifier: Apache-2.0
"""Programs written to attack a parser: each is refused quickly, in bounded memory, and its worker keeps running."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from qiskit import QuantumCircuit, qpy

from qonduit.v1 import job_service_pb2
from qonduit.v1.failure_pb2 import FailureCategory
from qonduit.v1.job_pb2 import Job, JobState
from qonduit.v1.job_service_pb2_grpc import JobServiceStub
from tests.benchmarks.programs import BELL
from tests.server_process import Server, serving

#: The limit of a refusal, in seconds of a processor, since other programs may use the machine.
MOST_CPU = 5.0
#: The memory limit of one task, and the peak memory of its worker.
MEMORY = 1 << 30
SECRET = "content-of-a-secret-file"

QASM2_HEADER = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2];\n'
QASM3_HEADER = 'OPENQASM 3.0; include "stdgates.inc"; qubit[2] q; bit[2] c;\n'


@dataclass
class SharedServer:
    """A server with one worker, how to reach it, and a folder with a file that programs must not read."""

    server: Server
    jobs: JobServiceStub
    folder: Path

    def run(self, language: str, program: str | bytes, **fields: Any) -> Job:
        """Run a program; return the job as it ended."""
        message = job_service_pb2.RunJobRequest(job=Job(shots=10), device="IBM/aer_simulator")
        made = message.deployment.programs.add(assembler_language=f"ASSEMBLER_LANGUAGE_{language}", **fields)
        if isinstance(program, str):
            made.quantum_circuit = program
        else:
            made.quantum_circuit_binary = program
        *_, last = self.jobs.RunJob(message, timeout=60)
        return last.event.state_change.job

    def workers(self) -> dict[int, int]:
        """Return the workers' process ids with the peak memory of each, in bytes."""
        found = {}
        for pid in self.server.workers():
            status = Path(f"/proc/{pid}/status").read_text()
            peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
            found[pid] = int(peak.split()[1]) * 1024
        return found


@pytest.fixture(scope="module")
def single_worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedServer]:
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "secret.inc").write_text(f"{SECRET};\n")
    settings = {"providers": "IBM", "workers": "1", "max_task_memory_bytes": str(MEMORY), "max_attempts": "1"}
    with (
        serving(f"sqlite:///{folder}/q.sqlite3", **settings) as server,
        grpc.insecure_channel(server.target) as channel,
    ):
        made = SharedServer(server, JobServiceStub(channel), folder)
        assert made.run("QASM2", BELL).state == JobState.JOB_STATE_SUCCEEDED
        yield made


def doubling(levels: int) -> str:
    """Return gates of which each consists of two of the one before."""
    lines = ["gate g0 a { x a; }"]
    lines += [f"gate g{n} a {{ g{n - 1} a; g{n - 1} a; }}" for n in range(1, levels + 1)]
    return "\n".join(lines) + f"\ng{levels} q[0];\n"


def recursion(gate: str) -> str:
    return f"gate {gate} a {{ {gate} a; }}\n{gate} q[0];\n"


def nested(thing: object, levels: int) -> str:
    """Return JSON nested so deep that it can only be written as text."""
    return "[" * levels + json.dumps(thing) + "]" * levels


def cirq(operation: dict[str, Any]) -> str:
    """Return a Cirq circuit of one operation."""
    moment = {"cirq_type": "Moment", "operations": [operation]}
    return json.dumps({"cirq_type": "Circuit", "moments": [moment]})


LINE = {"cirq_type": "LineQubit", "x": 0}


def rotation(exponent: object) -> str:
    """Return a Cirq circuit of X to a power."""
    gate = {"cirq_type": "XPowGate", "exponent": exponent, "global_shift": 0.0}
    return cirq({"cirq_type": "GateOperation", "gate": gate, "qubits": [LINE]})


def repeated(times: int, levels: int) -> str:
    """Return a Cirq circuit that repeats a circuit that repeats a circuit ..."""
    gate = {"cirq_type": "XPowGate", "exponent": 1.0, "global_shift": 0.0}
    inner: dict[str, Any] = {"cirq_type": "GateOperation", "gate": gate, "qubits": [LINE]}
    for _ in range(levels):
        moments = [{"cirq_type": "Moment", "operations": [inner]}]
        inner = {
            "cirq_type": "CircuitOperation",
            "circuit": {"cirq_type": "FrozenCircuit", "moments": moments},
            "repetitions": times,
            "qubit_map": [],
            "measurement_key_map": {},
            "param_resolver": {"cirq_type": "ParamResolver", "param_dict": []},
            "repetition_ids": None,
            "parent_path": [],
        }
    return cirq(inner)


def dumped(version: int = 13) -> bytes:
    circuit = QuantumCircuit(1, 1)
    circuit.h(0)
    circuit.measure(0, 0)
    out = io.BytesIO()
    qpy.dump(circuit, out, version=version)
    return out.getvalue()


def crafted_qpy(canary: str) -> bytes:
    """Return QPY of version 12 with a parameter expression that is Python and creates a file."""
    body = f"__import__('os').system('touch {canary}')".encode()
    head = struct.pack("!6sBBBBQ", b"QISKIT", 12, 1, 0, 0, 1)
    return head + b"p" + b"q" + body


EVIL = "__import__('os').system('touch {canary}')"

PROGRAMS: dict[str, tuple[str, str | bytes]] = {
    # OpenQASM 2
    "a file is included": ("QASM2", 'OPENQASM 2.0; include "{folder}/secret.inc";'),
    "a device is included": ("QASM2", 'OPENQASM 2.0; include "/dev/zero";'),
    "a billion qubits": ("QASM2", "OPENQASM 2.0; qreg q[1000000000];"),
    "more bits than there are numbers": ("QASM2", f"OPENQASM 2.0; creg c[{'9' * 60}];"),
    "gates that double": ("QASM2", QASM2_HEADER + doubling(40)),
    "a gate made of itself": ("QASM2", QASM2_HEADER + recursion("g")),
    "deep parentheses": ("QASM2", QASM2_HEADER + "U(" + "(" * 50_000 + "1" + ")" * 50_000 + ",0,0) q[0];"),
    "a power tower": ("QASM2", QASM2_HEADER + "U(" + "2^" * 400 + "2,0,0) q[0];"),
    "a long name": ("QASM2", f"OPENQASM 2.0; qreg q[2]; creg {'c' * 900_000}[2];"),
    "a register for each bit": ("QASM2", "OPENQASM 2.0; " + "".join(f"creg c{n}[1];" for n in range(20_000))),
    "nothing but brackets": ("QASM2", "(" * 900_000),
    # OpenQASM 3
    "a file is included in 3": ("QASM3", 'OPENQASM 3.0; include "{folder}/secret.inc";'),
    "a device is included in 3": ("QASM3", "OPENQASM 3.0; include '/dev/zero';"),
    "a billion qubits in 3": ("QASM3", "OPENQASM 3.0; qubit[1000000000] q;"),
    "a billion rounds": ("QASM3", QASM3_HEADER + "for int i in [0:1000000000] { x q[0]; }"),
    "an endless loop": ("QASM3", QASM3_HEADER + "while (true) { x q[0]; }"),
    "loops in loops": (
        "QASM3",
        QASM3_HEADER + "for int i in [0:999] { for int j in [0:999] { for int k in [0:999] { x q[0]; } } }",
    ),
    "a power of a billion": ("QASM3", QASM3_HEADER + "pow(1000000000) @ x q[0];"),
    "forty controls": ("QASM3", "OPENQASM 3.0; qubit[41] q; ctrl(40) @ U(1, 2, 3) q;"),
    "a number of 2**40 digits": ("QASM3", QASM3_HEADER + "const int n = 2**2**40; rx(n) q[0];"),
    "a subroutine calls itself": ("QASM3", QASM3_HEADER + "def f(int n) -> int { return f(n); } rx(f(1)) q[0];"),
    "deep blocks": ("QASM3", QASM3_HEADER + "if (c[0]) {" * 20_000 + "}" * 20_000),
    "a huge array": ("QASM3", QASM3_HEADER + "array[int[32], 100000, 100000] a;"),
    "gates that double in 3": ("QASM3", QASM3_HEADER + doubling(40)),
    # Braket's dialect
    "Braket includes a file": ("BRAKET", 'OPENQASM 3.0; include "{folder}/secret.inc"; qubit q;'),
    "Braket includes a device": ("BRAKET", 'OPENQASM 3.0; include "/dev/zero"; qubit q;'),
    "a matrix too large": (
        "BRAKET", "OPENQASM 3.0; qubit[2] q;\n#pragma braket unitary([[" + "1," * 200_000 + "1]]) q[0]"),
    "a far physical qubit": ("BRAKET", "OPENQASM 3.0; h $" + "9" * 5000 + ";"),
    # Quil
    "a billion bits in Quil": ("QUIL", "DECLARE ro BIT[1000000000]\nX 0\n"),
    "an endless loop in Quil": ("QUIL", "LABEL @a\nX 0\nJUMP @a\n"),
    "deep parentheses in Quil": ("QUIL", "RX(" + "(" * 100_000 + "1" + ")" * 100_000 + ") 0\n"),
    "circuits that double": (
        "QUIL",
        "DEFCIRCUIT C0 a:\n    X a\n\n"
        + "".join(f"DEFCIRCUIT C{n} a:\n    C{n - 1} a\n    C{n - 1} a\n\n" for n in range(1, 41))
        + "C40 0\n",
    ),
    "many controls in Quil": ("QUIL", "CONTROLLED " * 2000 + "X " + " ".join(map(str, range(2001))) + "\n"),
    # Cirq's JSON
    "an expression that is Python": (
        "CIRQ",
        rotation({"cirq_type": "sympy.Not", "args": [EVIL]}),
    ),
    "an index that is Python": (
        "CIRQ",
        rotation({"cirq_type": "sympy.Indexed", "args": [{"cirq_type": "sympy.IndexedBase", "label": EVIL}, 0]}),
    ),
    "a symbol that is Python": ("CIRQ", rotation({"cirq_type": "sympy.Symbol", "name": EVIL})),
    "a number that is Python": ("CIRQ", rotation(EVIL)),
    "JSON nested deep": ("CIRQ", '{"cirq_type": "Circuit", "moments": ' + nested(1, 400_000) + "}"),
    "a billion repetitions": ("CIRQ", repeated(10**9, 1)),
    "repetitions of repetitions": ("CIRQ", repeated(1000, 20)),
    "a number of a million digits": ("CIRQ", rotation(0).replace("\"exponent\": 0", '"exponent": ' + "9" * 500_000)),
    # IonQ's JSON
    "a billion qubits in JSON": ("IONQ", '{"qubits": 1000000000, "circuit": []}'),
    "a far target": ("IONQ", '{"circuit": [{"gate": "x", "target": 1000000000000}]}'),
    "IonQ's JSON nested deep": ("IONQ", '{"circuit": ' + nested(1, 400_000) + "}"),
    # QPY
    "QPY that is Python": ("QISKIT", crafted_qpy("{canary}")),
    "QPY cut short": ("QISKIT", dumped()[:-20]),
    "QPY that claims more": ("QISKIT", dumped().replace(struct.pack("!I", 1), struct.pack("!I", 0xFFFFFFFF))),
    "QPY that is something else": ("QISKIT", b"QISKIT" + zlib.compress(b"0" * 500_000)),
    "bytes that are nothing": ("QISKIT", b"\x00\xff" * 100_000),
}  # fmt: skip


@pytest.mark.parametrize("case", PROGRAMS)
def test_a_hostile_program_is_refused_and_its_worker_keeps_running(
    case: str, single_worker: SharedServer, tmp_path: Path
) -> None:
    language, program = PROGRAMS[case]
    canary = tmp_path / "canary"
    if isinstance(program, str):
        program = program.replace("{canary}", str(canary)).replace("{folder}", str(single_worker.folder))
    else:
        program = program.replace(b"{canary}", str(canary).encode())
    before = set(single_worker.workers())
    used = single_worker.server.cpu()
    try:
        failure = single_worker.run(language, program).failure
    except grpc.RpcError as error:  # programs that are visibly invalid without a parser are refused at submit
        message, code = str(error.details()), error.code()
        assert code == grpc.StatusCode.FAILED_PRECONDITION
    else:
        message = failure.message
        assert failure.category in (
            FailureCategory.FAILURE_CATEGORY_PROGRAM,
            FailureCategory.FAILURE_CATEGORY_LIMIT,
        ), failure
    assert single_worker.server.cpu() - used < MOST_CPU
    assert SECRET not in message
    assert len(message) <= 2000
    assert not canary.exists()
    assert set(single_worker.workers()) == before
    assert max(single_worker.workers().values()) < MEMORY


def test_an_absurd_but_valid_program_runs(single_worker: SharedServer) -> None:
    """A condition that can never hold is no error."""
    job = single_worker.run("QASM2", QASM2_HEADER + f"if(c=={'9' * 100_000}) x q[0]; measure q -> c;")
    assert job.state == JobState.JOB_STATE_SUCCEEDED
