# SPDX-License-Identifier: Apache-2.0
"""Statevectors through a real server: large ones as rows, small ones as JSON, and again for a rerun."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import json_format

from qonduit.v1.job_service_pb2 import CreateJobRequest
from qonduit.v1.result_pb2 import Result, ResultType
from qonduit_client import Client, JobFailed
from tests.command_line import output_of
from tests.server_process import Server

WAIT = 100.0
BELL = 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[2];\ncreg c[2];\nh q[0];\ncx q[0], q[1];\nmeasure q -> c;\n'
#: Qubit 0 is 1, qubit 1 is idle, qubit 2 is rotated by a quarter turn: nonzero at indexes 1 and 5.
THREE = 'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit[3] q;\nbit c;\nx q[0];\nh q[2];\ns q[2];\nc = measure q[0];\n'
DEVICES = ("IBM/aer_simulator", "AWS/local_simulator", "GOOGLE/cirq_simulator")


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """A client of the session's server."""
    with Client(server.target) as connected:
        yield connected


def phases(qubits: int) -> tuple[str, np.ndarray[tuple[int], np.dtype[np.complex128]]]:
    """Return a program whose amplitudes differ in their phases only, and its exact state."""
    lines = ["OPENQASM 2.0;", 'include "qelib1.inc";', f"qreg q[{qubits}];", f"creg c[{qubits}];", "h q;"]
    places = np.arange(1 << qubits)
    angles = np.zeros(1 << qubits)
    for k in range(qubits):
        lines.append(f"u1({0.37 * (k + 1)!r}) q[{k}];")
        angles += 0.37 * (k + 1) * (places >> k & 1)
        if k:
            lines.append(f"cu1({0.11 * k!r}) q[{k - 1}],q[{k}];")
            angles += 0.11 * k * (places >> k & places >> k - 1 & 1)
    lines.append("measure q -> c;")
    return "\n".join(lines), np.exp(1j * angles) / 2 ** (qubits / 2)


def same(found: list[complex] | None, wanted: np.ndarray[tuple[int], np.dtype[np.complex128]]) -> bool:
    """Return whether two states are the same within 1e-9, up to a global phase."""
    assert found is not None
    state = np.array(found)
    assert state.shape == wanted.shape
    overlap = np.vdot(state, wanted)
    return bool(np.abs(state * (overlap / abs(overlap)) - wanted).max() < 1e-9)


def test_twenty_qubits(client: Client) -> None:
    program, exact = phases(20)
    job = client.run(program, shots=100, seed=3, statevector=True)
    result = job.result(timeout=WAIT)
    counts, state = job.stored_results()
    assert sum(counts.counts.values()) == 100
    assert state.message.buffer.size_bytes == 16 * 1024**2
    assert state.message.buffer.rows == 1 << 20
    assert [column.name for column in state.message.buffer.columns] == ["real", "imaginary"]
    assert list(job.job().program_runs[0].result_ids) == [counts.id, state.id]
    assert same(result.statevector, exact)


@pytest.mark.parametrize("device", DEVICES)
def test_every_device_returns_it_with_its_counts(client: Client, device: str) -> None:
    first, second = client.run([THREE, BELL], device, shots=50, statevector=True).results(timeout=WAIT)
    assert first.counts == {"0x1": 50}
    assert same(first.statevector, np.array([0, 1, 0, 0, 0, 1j, 0, 0]) / np.sqrt(2))
    assert set(second.counts) <= {"0x0", "0x3"}
    assert same(second.statevector, np.array([1, 0, 0, 1]) / np.sqrt(2))
    assert client.run(BELL, device, shots=5).result(timeout=WAIT).statevector is None


def test_a_rerun_returns_it_again(client: Client) -> None:
    first = client.run(BELL, shots=5, statevector=True)
    first.wait(timeout=WAIT)
    again = client.rerun(first.id)
    assert again.job().include_statevector
    assert same(again.result(timeout=WAIT).statevector, np.array([1, 0, 0, 1]) / np.sqrt(2))


def test_a_program_without_one_fails_with_the_reason(client: Client) -> None:
    program = 'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit q;\nbit c;\nh q;\nc = measure q;\nif (c) { x q; }\n'
    job = client.run(program, shots=5, statevector=True)
    with pytest.raises(JobFailed) as failed:
        job.results(timeout=WAIT)
    failure = failed.value.job.failure
    assert (failure.reason, failure.line) == ("NO_STATEVECTOR", 7)
    assert "without include_statevector" in failure.message
    assert job.stored_results() == []
    assert client.run(program, shots=5).result(timeout=WAIT).counts


def test_a_state_over_the_result_limit_is_refused_at_once(client: Client) -> None:
    job = client.run('OPENQASM 2.0;include "qelib1.inc";qreg q[23];h q;', shots=5, statevector=True)
    with pytest.raises(JobFailed) as failed:
        job.results(timeout=WAIT)
    assert failed.value.job.failure.reason == "RESULT_TOO_LARGE"


def test_as_json(client: Client) -> None:
    """The form that grpcurl and other readers of protobuf's JSON receive."""
    request = {"job": {"shots": "5", "includeStatevector": True}, "device": DEVICES[0]}
    assert json_format.ParseDict(request, CreateJobRequest()).job.include_statevector
    job = client.run(THREE, shots=5, statevector=True)
    job.wait(timeout=WAIT)
    _, state = job.stored_results()
    printed = json.loads(json_format.MessageToJson(state.message))
    assert printed["resultType"] == "RESULT_TYPE_STATEVECTOR"
    assert printed["statevector"]["numQubits"] == 3
    assert len(printed["statevector"]["real"]) == len(printed["statevector"]["imaginary"]) == 8
    assert printed["metaData"]["sdk"] == "qiskit-aer"
    assert json_format.ParseDict(printed, Result()) == state.message
    assert state.message.result_type == ResultType.RESULT_TYPE_STATEVECTOR


def test_on_the_command_line(server: Server, tmp_path: Path) -> None:
    program = tmp_path / "three.qasm"
    program.write_text(THREE)

    def run(*words: str) -> str:
        return output_of("run", str(program), "--server", server.target, *words)

    shown = run("--shots", "7", "--statevector")
    assert "7 shots" in shown
    assert "statevector of 3 qubits" in shown
    assert "001  " in shown
    assert "101  " in shown
    printed = json.loads(run("--shots", "7", "--statevector", "--json").splitlines()[-1])
    assert [each["result_type"] for each in printed["results"]] == [
        "RESULT_TYPE_COUNTS_AND_PROBABILITIES",
        "RESULT_TYPE_STATEVECTOR",
    ]
    state = printed["results"][1]["statevector"]
    parts = [complex(*pair) for pair in zip(state["real"], state["imaginary"], strict=True)]
    assert same(parts, np.array([0, 1, 0, 0, 0, 1j, 0, 0]) / np.sqrt(2))
    assert run("--statevector", "--validate-only").startswith("valid: ")
