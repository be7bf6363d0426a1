# SPDX-License-Identifier: Apache-2.0
"""Languages are detected from headers and suffixes; texts, files, bytes and messages become programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from qonduit.v1.deployment_pb2 import QuantumProgram
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_client.errors import ProgramUnreadable
from qonduit_client.program_messages import guess_language, programs_of
from tests.unit.client.peer import BELL


@pytest.mark.parametrize(
    ("source", "suffix", "language"),
    [
        (BELL, "", "QASM2"),
        ("// a comment\n/* and\n another */\n  OPENQASM 2.0;", ".qasm", "QASM2"),
        ("OPENQASM 2 ;", "", "QASM2"),
        ("OPENQASM 3;", "", "QASM3"),
        ("OPENQASM 3.1;\nqubit q;", "", "QASM3"),
        ("\ufeffOPENQASM 3.0;", "", "QASM3"),
        ("OPENQASM 3;", ".qasm2", "QASM3"),
        ("OPENQASM 3;\n#pragma braket noise bit_flip(0.1) q[0]", "", "BRAKET"),
        ("qubit q; h q;", ".qasm", "QASM3"),
        ('include "qelib1.inc";\nqreg q[1];', ".qasm", "QASM2"),
        ("qubit q;", ".QASM3", "QASM3"),
        ("H 0", ".quil", "QUIL"),
        ("print(1)", ".py", "PYTHON"),
        ('{"cirq_type": "Circuit"}', ".json", "CIRQ"),
        ('{"qubits": 2, "circuit": []}', "", "IONQ"),
        (b"QISKIT\x0d\x00\xff", "", "QISKIT"),
        (b"OPENQASM 2.0;", "", "QASM2"),
        ('{"cirq_type": "Circuit"}', "", "CIRQ"),
        ('{"format": "ionq.circuit.v0", "qubits": 2, "circuit": []}', ".json", "IONQ"),
        (b"QISKIT\x0d\x00\xff", ".qpy", "QISKIT"),
        (b"\xff\x00 damaged", ".qpy", "QISKIT"),
        (b"H 0\nMEASURE 0 ro[0]\n", ".quil", "QUIL"),
        ("# a comment\nDECLARE ro BIT[2]\nH 0\n", "", "QUIL"),
        ("H 0\nCNOT 0 1\n", "", "QUIL"),
        ("RX(pi/2) 0\n", "", "QUIL"),
        ("# a comment\nfrom qiskit import QuantumCircuit\n", "", "PYTHON"),
        ("import cirq\n", "", "PYTHON"),
        (b"circuit = 1\n", ".py", "PYTHON"),
    ],
)
def test_language_is_detected(source: str | bytes, suffix: str, language: str) -> None:
    assert guess_language(source, suffix) == language


@pytest.mark.parametrize(
    ("source", "suffix"),
    [("h q[0];", ""), ("", ""), ("OPENQASM 4.0;", ".qasm"), (b"\xff\xfe", ".qasm"), ("{}", ".json"), ("x", ".txt")],
)
def test_unrecognized_language(source: str | bytes, suffix: str) -> None:
    with pytest.raises(ProgramUnreadable, match="pass the language") as caught:
        guess_language(source, suffix)
    assert isinstance(caught.value, ValueError)
    assert caught.value.reason == "UNKNOWN_LANGUAGE"


def test_every_kind_of_program_in_one_job(tmp_path: Path) -> None:
    file = tmp_path / "bell.qasm"
    file.write_text(BELL)
    ready = QuantumProgram(quantum_circuit="x", assembler_language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QUIL)
    found = programs_of([BELL, file, BELL.encode(), b"QISKIT\x00", ready])
    assert [program.quantum_circuit for program in found] == [BELL, BELL, BELL, "", "x"]
    assert found[3].quantum_circuit_binary == b"QISKIT\x00"
    assert found[4] is ready
    assert [program.assembler_language for program in found] == [1, 1, 1, 3, 6]


@pytest.mark.parametrize("name", ["qasm3", "QASM3", "ASSEMBLER_LANGUAGE_QASM3"])
def test_language_that_is_named_wins(name: str) -> None:
    assert programs_of(BELL, name)[0].assembler_language == AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3


@pytest.mark.parametrize("name", ["COBOL", "UNSPECIFIED"])
def test_language_that_does_not_exist(name: str) -> None:
    with pytest.raises(ProgramUnreadable, match="QASM2, QASM3"):
        programs_of(BELL, name)


def test_name_of_a_file_is_not_taken_as_text() -> None:
    with pytest.raises(ProgramUnreadable, match="Path"):
        programs_of("circuits/bell.qasm")


def test_text_that_is_not_utf8() -> None:
    with pytest.raises(ProgramUnreadable, match="UTF-8"):
        programs_of(b"OPENQASM 2.0; // \xff", "QASM2")


def test_python_source_of_a_binary_language_is_text(tmp_path: Path) -> None:
    file = tmp_path / "circuit.py"
    file.write_text("from qiskit import QuantumCircuit\n")
    for program in (file, file.read_bytes(), file.read_text()):
        (found,) = programs_of(program, "QISKIT")
        assert (found.quantum_circuit, found.quantum_circuit_binary) == (file.read_text(), b"")
    (damaged,) = programs_of(b"\xff\x00", "QISKIT")
    assert damaged.quantum_circuit_binary == b"\xff\x00"
