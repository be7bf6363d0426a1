# SPDX-License-Identifier: Apache-2.0
"""Qunicorn's files are read; every error has a path, and hostile files are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_client.qunicorn import MOST_ENTRIES, OldDeployment, OldJob, Refusal, entries_of

BELL = "OPENQASM 2.0; qreg q[2]; creg c[2];"


def deployment(**other: Any) -> dict[str, Any]:
    """Return a deployment as Qunicorn's API accepts it."""
    return {"name": "Pair", "programs": [{"quantumCircuit": BELL, "assemblerLanguage": "QASM2"}]} | other


def program(**other: Any) -> dict[str, Any]:
    """Return a deployment of one program."""
    return deployment(programs=[{"quantumCircuit": BELL, "assemblerLanguage": "QASM2"} | other])


def job(**other: Any) -> dict[str, Any]:
    """Return a job request as Qunicorn's API accepts it."""
    return {
        "name": "Try",
        "providerName": "IBM",
        "deviceName": "aer_simulator",
        "shots": 4000,
        "token": "",
        "type": "RUNNER",
        "deploymentId": 3,
    } | other


def read(found: object) -> list[OldDeployment | OldJob | Refusal]:
    """Read it as a file."""
    return list(entries_of(json.dumps(found).encode()))


def test_a_deployment_and_a_job() -> None:
    stored, asked = read([deployment(id=4), job(token="secret", errorMitigation="none", cutToWidth=None)])
    assert isinstance(stored, OldDeployment)
    assert (stored.path, stored.name, stored.old_id) == ("$[0]", "Pair", 4)
    assert stored.programs[0].quantum_circuit == BELL
    assert isinstance(asked, OldJob)
    assert asked.device == "IBM/aer_simulator"
    assert (asked.name, asked.shots, asked.deployment_id, asked.token) == ("Try", 4000, 3, "secret")
    assert "secret" not in repr(asked)


def test_both_ways_to_write_names() -> None:
    snake = {
        "programs": [{"quantum_circuit": BELL, "assembler_language": "QASM2", "python_file_path": "a.py"}],
        "name": None,
    }
    (stored,) = read(snake)
    assert isinstance(stored, OldDeployment)
    assert stored.name is None
    assert stored.programs[0].python_file_path == "a.py"
    (asked,) = read(
        {"name": "n", "provider_name": "aws", "device_name": "local_simulator", "type": "RUNNER", "deployment_id": 1}
    )
    assert isinstance(asked, OldJob)
    assert (asked.device, asked.shots, asked.token) == ("AWS/local_simulator", None, "")


@pytest.mark.parametrize(
    ("language", "source", "known", "begins"),
    [
        ("QASM3", "OPENQASM 3;", "QASM3", "OPENQASM 3;"),
        ("QUIL", "H 0", "QUIL", "H 0"),
        ("QISKIT-PYTHON", "circuit = QuantumCircuit(2)", "QISKIT", "from qiskit import QuantumCircuit\ncircuit ="),
        ("QISKIT", "circuit = QuantumCircuit(2)", "QISKIT", "from qiskit import QuantumCircuit\ncircuit ="),
        ("BRAKET-PYTHON", "Circuit().h(0)", "BRAKET", "from braket.circuits import Circuit\ncircuit = (\nCircuit()"),
        ("BRAKET", "OPENQASM 3;", "BRAKET", "OPENQASM 3;"),
        ("QRISP_PYTHON", "circuit = QuantumCircuit(2)", "QRISP", "from qrisp import QuantumCircuit\ncircuit ="),
        ("PYTHON", "circuit = 1", "PYTHON", "circuit = 1"),
    ],
)
def test_languages(language: str, source: str, known: str, begins: str) -> None:
    (stored,) = read(program(quantumCircuit=source, assemblerLanguage=language))
    assert isinstance(stored, OldDeployment)
    assert AssemblerLanguage.Name(stored.programs[0].assembler_language) == f"ASSEMBLER_LANGUAGE_{known}"
    assert stored.programs[0].quantum_circuit.startswith(begins)


def test_a_program_of_python_is_python() -> None:
    (stored,) = read(program(quantumCircuit="Circuit().h(0) # x", assemblerLanguage="BRAKET-PYTHON"))
    assert isinstance(stored, OldDeployment)
    compile(stored.programs[0].quantum_circuit, "program", "exec")


def test_options_of_a_program() -> None:
    (stored,) = read(program(pythonFileMetadata="m", pythonFileInputs={"theta": 0.5}, pythonFileOptions={"n": [1]}))
    assert isinstance(stored, OldDeployment)
    assert MessageToDict(stored.programs[0].python_file_inputs) == {"theta": 0.5}
    assert MessageToDict(stored.programs[0].python_file_options) == {"n": [1]}
    assert stored.programs[0].python_file_metadata == "m"


@pytest.mark.parametrize(
    ("found", "path", "why"),
    [
        (3, "$", "expected an object, got 3"),
        (None, "$", "expected an object"),
        ([], "$", "must contain"),
        ([1], "$[0]", "expected an object"),
        ([[deployment()]], "$[0]", "expected an object, got a list"),
        ({}, "$", "expected a deployment"),
        ({"results": [], "executedOn": {}}, "$", "results are not imported"),
        (deployment(programs=[]), "$.programs", "at least one program"),
        (deployment(programs={}), "$.programs", "got an object"),
        (deployment(programs=["x"]), "$.programs[0]", "expected an object"),
        (deployment(name=7), "$.name", "expected a string, got 7"),
        (deployment(name="x" * 256), "$.name", "255 bytes"),
        (deployment(id="4"), "$.id", "an integer"),
        (deployment(id=True), "$.id", "an integer"),
        (deployment(id=2**70), "$.id", "beyond 64 bits"),
        (program(quantumCircuit=None), "$.programs[0].quantumCircuit", "the program is missing"),
        (program(quantumCircuit=["H 0"]), "$.programs[0].quantumCircuit", "got a list"),
        (program(quantumCircuit="\ud800"), "$.programs[0].quantumCircuit", "unpaired surrogates"),
        (program(assemblerLanguage="QASM9"), "$.programs[0].assemblerLanguage", "one of QASM2"),
        (program(assemblerLanguage=None), "$.programs[0].assemblerLanguage", "required: one of QASM2"),
        (program(assemblerLanguage="QUIL-PYTHON"), "$.programs[0].assemblerLanguage", "as QUIL"),
        (program(pythonFileInputs=3), "$.programs[0].pythonFileInputs", "expected an object"),
        (program(pythonFileInputs={"a": {}}), "$.programs[0].pythonFileInputs", "expected a number"),
        (program(pythonFilePath="x" * 5000), "$.programs[0].pythonFilePath", "too long"),
        ([deployment(), program(assemblerLanguage=1)], "$[1].programs[0].assemblerLanguage", "expected a string"),
        (job(shots=0), "$.shots", "at least 1"),
        (job(shots=1.5), "$.shots", "got 1.5"),
        (job(shots="many"), "$.shots", 'got "many"'),
        (job(shots=10**100), "$.shots", "beyond 64 bits"),
        (job(type="SAMPLER"), "$.type", "RUNNER returns"),
        (job(type="DANCE"), "$.type", "one of RUNNER"),
        (job(type=None), "$.type", "one of RUNNER"),
        (job(deviceName=""), "$.deviceName", "required"),
        (job(providerName=None), "$.providerName", "required"),
        (job(deviceName="x" * 5000), "$.deviceName", "required"),
        (job(deploymentId=None), "$.deploymentId", "required"),
        (job(deploymentId="3"), "$.deploymentId", "an integer"),
        (job(errorMitigation="pauli_twirling"), "$.errorMitigation", "use none"),
        (job(cutToWidth=2), "$.cutToWidth", "cutting is not supported"),
        (job(token="x" * 5000), "$.token", "longer than"),
        (job(token=5), "$.token", "expected a string"),
    ],
)
def test_mistakes_have_a_path_and_a_next_step(found: object, path: str, why: str) -> None:
    refusals = [each for each in read(found) if isinstance(each, Refusal)]
    assert [each.path for each in refusals] == [path]
    assert why in refusals[0].why
    assert len(refusals[0].why) < 300


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b'{"shots": ' + b"9" * 100_000 + b"}",
        b'{"programs": NaN}',
        b'{"programs": Infinity}',
        b'"' + b"x" * 1_000_000 + b'"',
        json.dumps([1] * (MOST_ENTRIES + 1)).encode(),
    ],
)
def test_hostile_files_are_one_refusal(text: bytes) -> None:
    found = list(entries_of(text))
    assert len(found) == 1
    assert isinstance(found[0], Refusal)
    assert found[0].why
    assert len(str(found[0])) < 500


def test_a_byte_order_mark_and_a_key_that_comes_twice() -> None:
    (asked,) = entries_of(b"\xef\xbb\xbf" + json.dumps(job()).encode())
    assert isinstance(asked, OldJob)
    twice = json.dumps(job())[:-1] + ', "shots": 5}'
    (asked,) = entries_of(twice.encode())
    assert isinstance(asked, OldJob)
    assert asked.shots == 5


def python_file(**other: Any) -> dict[str, Any]:
    """Return the deployment of an uploaded file, as in Qunicorn's files."""
    return {
        "programs": [
            {
                "python_file_path": "files/vqe.py",
                "python_file_metadata": "files/vqe.json",
                "python_file_options": [{"backend": "ibmq_qasm_simulator", "log_level": "DEBUG"}],
                "python_file_inputs": [{"iterations": 3}],
            }
            | other
        ]
    }


def test_an_uploaded_file_is_read_with_its_metadata() -> None:
    files = {"files/vqe.py": "def main(a, b): ...\n", "files/vqe.json": '{"name": "vqe"}'}
    (stored,) = entries_of(json.dumps(python_file()).encode(), files.__getitem__)
    assert isinstance(stored, OldDeployment)
    (found,) = stored.programs
    assert (found.quantum_circuit, found.python_file_path) == (files["files/vqe.py"], "vqe.py")
    assert found.python_file_metadata == '{"name": "vqe"}'
    assert found.assembler_language == AssemblerLanguage.ASSEMBLER_LANGUAGE_PYTHON
    assert MessageToDict(found.python_file_options) == {"log_level": "DEBUG"}
    assert MessageToDict(found.python_file_inputs) == {"iterations": 3}
    (inline,) = entries_of(json.dumps(python_file(python_file_metadata='{"name": "x"}')).encode(), files.__getitem__)
    assert isinstance(inline, OldDeployment)
    assert inline.programs[0].python_file_metadata == '{"name": "x"}'


def test_files_are_not_read_from_standard_input() -> None:
    (refusal,) = read(python_file())
    assert isinstance(refusal, Refusal)
    assert refusal.path == "$.programs[0].python_file_path"
    assert "import the entry from a file beside it" in refusal.why


@pytest.mark.parametrize("kind", ["IBM_UPLOAD", "IBM_RUNNER"])
def test_jobs_of_uploaded_files(kind: str) -> None:
    (asked,) = read(job(type=kind))
    assert isinstance(asked, OldJob)
    assert asked.kind == kind
