# SPDX-License-Identifier: Apache-2.0
"""Only declared qubits are counted in a program's text."""

from __future__ import annotations

import io

import pytest
from qiskit import QuantumCircuit, qpy

from qonduit_server.rpc.program_requirements import find_excess_qubits, qpy_qubits


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("OPENQASM 2.0;\nqreg q[5];", None),
        ("OPENQASM 2.0;\nqreg q[6];", (2, 6)),
        ("OPENQASM 2.0;\nqreg q[3];\nqreg r[3];\nqreg s[1];", (3, 7)),
        ("OPENQASM 3.0;\n\nqubit[6] q;", (3, 6)),
        ("qubit [ 1_0 ]\n q ;", (1, 10)),
        ("qreg q[" + "9" * 5000 + "];", (1, 10**9)),
        ("qreg q[0005];", None),
        ("// qreg q[6];\nqreg q[5];", None),
        ("/* qubit[40] q;\n qubit[40] r; */\nqubit[4] q;", None),
        ("/* qubit[40] q;\n */\nqubit[4] q; // more\nqubit[2] r;", (4, 6)),
        ("/* never closed qubit[40] q;", None),
        ('include "qubit[40] q;";\nqubit[2] q;', None),
        ("pragma qubit[40] q;\n#pragma qubit[40] q;\nqubit[2] q;", None),
        ("def f(qubit[40] p) { }\nqubit[2] q;", None),
        ("gate f(a) p, r { }\nqubit[n] q;", None),
        ("bit[40] c; creg d[40]; int[40] n;", None),
        ("myqubit[40] q; aqreg q[40];", None),
    ],
)  # fmt: skip
def test_declared_qubits(text: str, expected: tuple[int, int] | None) -> None:
    assert find_excess_qubits(text, 5) == expected


def written(*circuits: QuantumCircuit, version: int) -> bytes:
    """Return the circuits as QPY."""
    file = io.BytesIO()
    qpy.dump(list(circuits), file, version=version)
    return file.getvalue()


@pytest.mark.parametrize("version", range(13, qpy.common.QPY_VERSION + 1))
def test_the_qubits_of_a_qpy_file_are_read_from_its_header(version: int) -> None:
    circuit = QuantumCircuit(60, 3, name="sixty", global_phase=0.5)
    circuit.h(range(60))
    data = written(circuit, version=version)
    assert qpy_qubits(data) == 60
    assert qpy_qubits(written(circuit, circuit, version=version)) == 0
    assert [qpy_qubits(data[:size]) for size in range(24)] == [0] * 24
    assert qpy_qubits(b"X" + data[1:]) == 0
