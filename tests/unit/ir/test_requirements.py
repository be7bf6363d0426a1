# SPDX-License-Identifier: Apache-2.0
"""A circuit's requirements are found, and no others."""

from __future__ import annotations

import pytest

from qonduit.execution.v1.task_pb2 import ProgramNeeds
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_server.ir.requirements import requirements_of
from qonduit_server.languages.registry import Languages

HEADER = 'OPENQASM 3.0; include "stdgates.inc"; qubit[2] q; bit[2] c; '


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", set()),
        ("h q[0]; c = measure q;", set()),
        ("h q[0]; c[0] = measure q[0]; h q[1]; c[1] = measure q[1];", set()),
        ("reset q; h q; barrier q; c = measure q; barrier q;", set()),
        ("h q[0]; c[0] = measure q[0]; h q[0];", {"mid_circuit_measurement"}),
        ("c[0] = measure q[0]; c[1] = measure q[0];", {"mid_circuit_measurement"}),
        ("c[0] = measure q[0]; barrier q; cx q[1], q[0];", {"mid_circuit_measurement"}),
        ("h q[0]; reset q[0];", {"reset"}),
        ("c[0] = measure q[0]; reset q[0];", {"mid_circuit_measurement", "reset"}),
        ("h q[0]; c[0] = measure q[0]; if (c[0]) x q[1];", {"mid_circuit_measurement", "conditionals"}),
        ("h q[0]; c[0] = measure q[0]; if (c[0]) { h q[1]; reset q[1]; }",
         {"mid_circuit_measurement", "conditionals", "reset"}),
        ("c[0] = measure q[0]; if (c[0]) { c[1] = measure q[1]; x q[1]; }",
         {"mid_circuit_measurement", "conditionals"}),
    ],
)  # fmt: skip
def test_needs(text: str, expected: set[str]) -> None:
    circuit = Languages().read(AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3, HEADER + text, b"", {})
    assert requirements_of(circuit.quantum) == ProgramNeeds(num_qubits=2, **dict.fromkeys(expected, True))


def test_a_round_of_a_loop_follows_another() -> None:
    text = "h q[0]; c[0] = measure q[0]; while (c[0]) { reset q[1]; h q[1]; c[0] = measure q[1]; }"
    circuit = Languages().read(AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3, HEADER + text, b"", {})
    needs = requirements_of(circuit.quantum)
    assert needs.loops
    assert needs.reset
    assert needs.mid_circuit_measurement
