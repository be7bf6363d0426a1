# SPDX-License-Identifier: Apache-2.0
"""The features of circuits on which the choice of a device depends."""

from __future__ import annotations

import pytest

from qonduit.execution.v1.task_pb2 import ProgramFeatures, ProgramNeeds
from qonduit.v1.noise_pb2 import GateError, NoiseChannel, NoiseModel
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_server.ir.features import features_of
from qonduit_server.ir.noise_pass import gate_names, with_noise
from qonduit_server.languages.registry import Languages

HEADER = 'OPENQASM 3.0; include "stdgates.inc"; qubit[3] q; bit[3] c; '
QASM3 = AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3


def needs(**fields: bool) -> ProgramNeeds:
    return ProgramNeeds(num_qubits=3, **{"clifford": True, **fields})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ProgramFeatures(needs=needs())),
        (
            "h q[0]; barrier q; cx q[0], q[1]; cx q[1], q[2]; c = measure q;",
            ProgramFeatures(needs=needs(), operations=6, two_qubit_gates=2),
        ),
        (
            "h q[0]; t q[1]; ccx q[0], q[1], q[2];",
            ProgramFeatures(needs=needs(clifford=False), operations=3, two_qubit_gates=1, obstacle="gate t at qubit 1"),
        ),
        (
            "c[0] = measure q[0]; if (c[0]) { x q[1]; cx q[1], q[2]; }",
            ProgramFeatures(
                needs=needs(mid_circuit_measurement=True, conditionals=True), operations=3, two_qubit_gates=1
            ),
        ),
    ],
)
def test_features(text: str, expected: ProgramFeatures) -> None:
    assert features_of(Languages().read(QASM3, HEADER + text, b"", {}).quantum) == expected


@pytest.mark.parametrize(("channel", "clifford"), [({"bit_flip": 0.1}, True), ({"amplitude_damping": 0.1}, False)])
def test_noise_counts_and_only_pauli_noise_is_clifford(channel: dict[str, float], clifford: bool) -> None:
    model = NoiseModel(gate_errors=[GateError(gates=["x"], channel=NoiseChannel(**channel))])
    circuit = Languages().read(QASM3, HEADER + "x q[0]; c = measure q;", b"", {}, None, gate_names(model))
    found = features_of(with_noise(circuit, model).quantum)
    assert (found.needs.noise, found.needs.clifford, found.operations) == (True, clifford, 5)
