# SPDX-License-Identifier: Apache-2.0
"""`validate_only` on a real server: programs are read and compiled for the device, and nothing is stored or run."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from qiskit import QuantumCircuit, qpy

from qonduit.v1.deployment_pb2 import Deployment, QuantumProgram
from qonduit.v1.job_pb2 import Job
from qonduit.v1.job_service_pb2 import CreateJobRequest, ListJobsRequest, RunJobRequest
from qonduit.v1.job_service_pb2_grpc import JobServiceStub
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_client import Client, InvalidRequest
from tests.contract.rpc_fixture import refused
from tests.e2e.test_cli import qonduit
from tests.server_process import Server

QASM2 = AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2
CIRQ = AssemblerLanguage.ASSEMBLER_LANGUAGE_CIRQ
HEAD = 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[3];\ncreg c[3];\n'
GHZ = HEAD + "h q[0];\ncx q[0],q[1];\ncx q[1],q[2];\nmeasure q -> c;\n"
TELEPORT = HEAD + "h q[0];\nmeasure q[0] -> c[0];\nif(c==1) x q[1];\nreset q[0];\nmeasure q -> c;\n"
WRONG = HEAD + "h q[0];\nfoo q[1];\n"
#: Loading an SDK is slow on a busy machine.
WAIT = 180.0


@pytest.fixture(scope="module")
def jobs(server: Server) -> Iterator[JobServiceStub]:
    with grpc.insecure_channel(server.target) as channel:
        yield JobServiceStub(channel)


def request(*texts: str, device: str = "IBM/aer_simulator", language: AssemblerLanguage = QASM2) -> CreateJobRequest:
    programs = [QuantumProgram(quantum_circuit=text, assembler_language=language) for text in texts]
    return CreateJobRequest(
        job=Job(shots=10), device=device, deployment=Deployment(programs=programs), validate_only=True
    )


def newest(jobs: JobServiceStub) -> list[int]:
    return [job.id for job in jobs.ListJobs(ListJobsRequest(page_size=1), timeout=WAIT).jobs]


def test_an_undefined_gate_is_named_with_its_line_and_nothing_is_stored(jobs: JobServiceStub) -> None:
    before = newest(jobs)
    asked = request(GHZ, WRONG, WRONG)
    run = RunJobRequest(job=asked.job, device=asked.device, deployment=asked.deployment, validate_only=True)
    for call in (lambda: jobs.CreateJob(asked, timeout=WAIT), lambda: list(jobs.RunJob(run, timeout=WAIT))):
        code, details = refused(call)
        assert (code, details["ErrorInfo"].reason) == ("INVALID_ARGUMENT", "INVALID_PROGRAM")
        first, second = details["BadRequest"].field_violations
        assert first.field == "deployment.programs[1].quantum_circuit"
        assert second.field == "deployment.programs[2].quantum_circuit"
        assert "line 6" in first.description
        assert "foo" in first.description
    assert newest(jobs) == before


@pytest.mark.parametrize("device", ["IBM/aer_simulator", "AWS/local_simulator", "GOOGLE/cirq_simulator"])
def test_the_compilation_is_reported(jobs: JobServiceStub, device: str) -> None:
    before = newest(jobs)
    answer = jobs.CreateJob(request(GHZ, TELEPORT, device=device), timeout=WAIT)
    ghz, teleport = answer.compiled
    assert (ghz.index, ghz.num_qubits, ghz.depth, ghz.two_qubit_gates, ghz.circuits) == (0, 3, 4, 2, 1)
    assert 16 << 3 <= ghz.memory_bytes < 1024**2
    assert (teleport.index, teleport.circuits) == (1, 1)
    assert teleport.depth >= 3
    assert (answer.job.id, answer.job.shots) == (0, 10)
    assert newest(jobs) == before


def test_every_gate_of_a_branching_circuit_is_counted(jobs: JobServiceStub) -> None:
    # Twenty qubits that are measured and reused: too many helpers, so the circuit branches.
    head = 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[2];\ncreg c[1];\n'
    rounds = "h q[0];\ncx q[0],q[1];\nmeasure q[0] -> c[0];\nif(c==1) x q[1];\n" * 20
    for device in ("IBM/aer_simulator", "AWS/local_simulator", "GOOGLE/cirq_simulator"):
        (found,) = jobs.CreateJob(request(head + rounds, device=device), timeout=WAIT).compiled
        assert (found.num_qubits, found.two_qubit_gates) == (2, 20)
        assert found.depth == 61  # in sequence, except the last x of each round, which the next h need not wait for


def test_a_device_that_is_too_small_is_no_fault_of_the_program(jobs: JobServiceStub) -> None:
    cirq = pytest.importorskip("cirq")
    line = cirq.LineQubit.range(60)
    text = cirq.to_json(cirq.Circuit(cirq.H.on_each(line), cirq.measure(*line)))
    asked = request(text, language=CIRQ)
    asked.job.simulation.method = "statevector"  # others are wider
    code, details = refused(lambda: jobs.CreateJob(asked, timeout=WAIT))
    assert (code, details["ErrorInfo"].reason) == ("FAILED_PRECONDITION", "UNSUPPORTED_BY_DEVICE")
    assert "60 qubits" in details["PreconditionFailure"].violations[0].description


def test_a_qpy_file_with_too_many_qubits_is_refused_at_submit(jobs: JobServiceStub) -> None:
    file = io.BytesIO()
    qpy.dump(QuantumCircuit(60), file)
    program = QuantumProgram(
        quantum_circuit_binary=file.getvalue(), assembler_language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QISKIT
    )
    asked = CreateJobRequest(job=Job(shots=10), device="IBM/aer_simulator", deployment=Deployment(programs=[program]))
    asked.job.simulation.method = "statevector"  # others are wider
    code, details = refused(lambda: jobs.CreateJob(asked, timeout=WAIT))
    assert (code, details["ErrorInfo"].reason) == ("FAILED_PRECONDITION", "UNSUPPORTED_BY_DEVICE")
    (broken,) = details["PreconditionFailure"].violations
    assert broken.subject == "deployment.programs[0].quantum_circuit_binary"
    assert "declares 60 qubits" in broken.description


def test_a_stored_deployment_and_the_statevector(server: Server) -> None:
    with Client(server.target) as client:
        made = client.deploy(GHZ)
        (plain,) = client.check(deployment_id=made.id).compiled
        (exact,) = client.check(deployment_id=made.id, statevector=True).compiled
        assert exact.circuits == plain.circuits + 1
        assert exact.memory_bytes > plain.memory_bytes
        with pytest.raises(InvalidRequest, match="line 6"):
            client.check(WRONG)


def test_the_command_line_shows_the_compilation(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "ghz.qasm"
    file.write_text(GHZ)
    code, written, _ = qonduit(server, "run", str(file), "--validate-only")
    assert code == 0
    head, row = written.splitlines()[1:3]
    assert head.split() == ["PROGRAM", "QUBITS", "DEPTH", "TWO-QUBIT", "GATES", "CIRCUITS", "MEMORY"]
    assert row.split()[:5] == ["0", "3", "4", "2", "1"]
    answer = json.loads(qonduit(server, "run", str(file), "--validate-only", "--json")[1])
    assert answer["compiled"][0]["two_qubit_gates"] == 2
    file.write_text(WRONG)
    code, _, errors = qonduit(server, "run", str(file), "--validate-only")
    assert code != 0
    assert "line 6" in errors
