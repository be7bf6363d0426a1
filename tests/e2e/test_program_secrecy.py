# SPDX-License-Identifier: Apache-2.0
"""The text of programs is in no log (of any level), diagnosis or audit log, however its job ends."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import grpc
import pytest

from qonduit.v1.job_pb2 import Job
from qonduit.v1.job_service_pb2 import RunJobRequest
from qonduit.v1.job_service_pb2_grpc import JobServiceStub
from qonduit.v1.program_service_pb2 import TranslateProgramRequest
from qonduit.v1.program_service_pb2_grpc import ProgramServiceStub
from qonduit.v1.provider_pb2 import AssemblerLanguage
from tests.command_line import output_of, qonduit
from tests.server_process import Server, serving

#: A name that occurs in every program, also in lower and upper case.
PLANTED: Final = "plantedsecretname"
PATIENCE: Final = 120.0
#: Runs of 13 shots kill their worker; runs of 14 shots raise an exception of the SDK.
BROKEN: Final = """
import sys
if "qonduit_server.worker.forkserver" in " ".join(sys.orig_argv):
    import os
    from qonduit_server.providers.aer.aer_simulator import AerSimulator
    run = AerSimulator.run
    quoted = "planted" + "secretname"  # a traceback contains this line
    def breaking(self, device, prepared, shots, seed):
        if shots == 13:
            os.kill(os.getpid(), 9)
        if shots == 14:
            raise ZeroDivisionError("deep inside of the SDK: " + quoted) from ValueError(quoted.upper())
        return run(self, device, prepared, shots, seed)
    AerSimulator.run = breaking
"""
_QUBITS: Final = [{"cirq_type": "LineQubit", "x": 0}]


def qpy(name: str) -> bytes:
    from qiskit import QuantumCircuit, QuantumRegister, qpy
    from qiskit.circuit import ClassicalRegister

    circuit = QuantumCircuit(QuantumRegister(1, name), ClassicalRegister(1, f"{name}c"), name=name)
    circuit.h(0)
    circuit.measure(0, 0)
    file = io.BytesIO()
    qpy.dump(circuit, file)
    return file.getvalue()


def good() -> dict[str, str | bytes]:
    cirq = {
        "cirq_type": "Circuit",
        "moments": [
            {
                "cirq_type": "Moment",
                "operations": [
                    {
                        "cirq_type": "GateOperation",
                        "gate": {"cirq_type": "MeasurementGate", "num_qubits": 1, "key": PLANTED, "invert_mask": []},
                        "qubits": _QUBITS,
                    }
                ],
            }
        ],
    }
    return {
        "QASM2": f'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg {PLANTED}[1];\ncreg c[1];\nmeasure {PLANTED} -> c;\n',
        "QASM3": f'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit {PLANTED};\nbit c;\nc = measure {PLANTED};\n',
        "BRAKET": f"OPENQASM 3.0;\nqubit[1] {PLANTED};\nbit[1] c;\nh {PLANTED}[0];\nc[0] = measure {PLANTED}[0];\n",
        "QUIL": f"DECLARE {PLANTED} BIT[1]\nH 0\nMEASURE 0 {PLANTED}[0]\n",
        "CIRQ": json.dumps(cirq),
        "IONQ": json.dumps(
            {"format": "ionq.circuit.v0", "qubits": 1, "circuit": [{"gate": "h", "target": 0}], "name": PLANTED}
        ),
        "QISKIT": qpy(PLANTED),
    }


def bad() -> dict[str, list[str | bytes]]:
    texts = good()
    broken: dict[str, list[str | bytes]] = {}
    for language, text in texts.items():
        if isinstance(text, bytes):
            broken[language] = [text[:-20], PLANTED.encode(), text.replace(b"QISKIT", b"QISKIX")]
        else:
            broken[language] = [f"{text}\n{PLANTED} {PLANTED}", text[: len(text) * 2 // 3], PLANTED]
    broken["QASM2"].append(texts["QASM2"].replace("measure", f"{PLANTED}gate"))  # type: ignore[union-attr]
    broken["QASM3"].append(f"OPENQASM 3.0;\nqubit q;\n{PLANTED} q;\n")
    broken["BRAKET"].append(f"OPENQASM 3.0;\nqubit[1] q;\n{PLANTED} q[0];\n")
    broken["QUIL"].append(f"{PLANTED.upper()} 0\n")
    broken["CIRQ"].append(json.dumps({"cirq_type": PLANTED}))
    broken["IONQ"].append(json.dumps({"qubits": 1, "circuit": [{"gate": PLANTED, "target": 0}]}))
    return broken


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    folder = tmp_path_factory.mktemp("secrecy")
    (folder / "sitecustomize.py").write_text(BROKEN)
    with serving(
        f"sqlite:///{folder / 'q.sqlite3'}",
        log=folder / "log.jsonl",
        environment={"PYTHONPATH": str(folder)},
        log_level="debug",
        providers="IBM",
        workers="2",
        audit="all",
        enable_python_source="QISKIT",
        max_attempts="2",
    ) as running:
        yield running, folder


def request(language: str, source: str | bytes, shots: int = 10, **fields: bool) -> RunJobRequest:
    made = RunJobRequest(job=Job(shots=shots, name=PLANTED), device="IBM/aer_simulator", **fields)
    program = made.deployment.programs.add(assembler_language=AssemblerLanguage.Value(f"ASSEMBLER_LANGUAGE_{language}"))
    if isinstance(source, bytes):
        program.quantum_circuit_binary = source
    else:
        program.quantum_circuit = source
    return made


def outcome(jobs: JobServiceStub, made: RunJobRequest) -> str:
    """Run a job, and return the reason of its failure or refusal; empty if it succeeds."""
    try:
        *_, last = jobs.RunJob(made, timeout=PATIENCE)
    except grpc.RpcError as error:
        return str(error.code().name)
    return str(last.event.state_change.job.failure.reason)


def test_no_log_diagnosis_or_audit_log_contains_the_text_of_a_program(server: tuple[Server, Path]) -> None:
    running, folder = server
    with grpc.insecure_channel(running.target) as channel:
        jobs, programs = JobServiceStub(channel), ProgramServiceStub(channel)
        for language, source in good().items():
            assert outcome(jobs, request(language, source)) == "", language
            assert outcome(jobs, request(language, source, validate_only=True)) == "", language
            assert outcome(jobs, request(language, source, 14)) == "INTERNAL", language
        assert outcome(jobs, request("QASM2", good()["QASM2"], 13)) == "WORKER_DIED"
        for language, sources in bad().items():
            # The start of a program may be a program; all others fail in each way to read them.
            failed = [source for source in sources if outcome(jobs, request(language, source))]
            assert len(failed) >= len(sources) - 1, language
            for source in failed:
                assert outcome(jobs, request(language, source, validate_only=True)), (language, source)
                asked = TranslateProgramRequest(target_language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3)
                asked.program.CopyFrom(request(language, source).deployment.programs[0])
                with pytest.raises(grpc.RpcError):
                    programs.TranslateProgram(asked, timeout=PATIENCE)
        for text in (f"raise ValueError('{PLANTED}')", f"print('{PLANTED}')", f"import {PLANTED}", f"{PLANTED} ("):
            assert outcome(jobs, request("QISKIT", f"{text}\n"))
    database = f"sqlite:///{folder}/q.sqlite3"
    doctor = qonduit("doctor", "--deep", "--database", database, QONDUIT_PROVIDERS="IBM")
    exported = output_of("audit", "export", "--database", database)
    log = (folder / "log.jsonl").read_text()
    # The search can find the name: the database contains the programs.
    assert "exception in a worker" in log
    assert '"WORKER_DIED"' in log
    assert "JobService/RunJob" in exported
    assert PLANTED.encode() in (folder / "q.sqlite3").read_bytes() + (folder / "q.sqlite3-wal").read_bytes()
    for name, text in (("log", log), ("doctor", doctor.stdout + doctor.stderr), ("audit", exported)):
        lines = [line for line in text.splitlines() if PLANTED in line.lower()]
        assert not lines, (name, len(lines), lines[:5])
