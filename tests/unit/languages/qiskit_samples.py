# SPDX-License-Identifier: Apache-2.0
"""Qiskit circuits and their QPY files, for tests of readers."""

from __future__ import annotations

import io
from collections.abc import Iterator

from qiskit import QuantumCircuit, qpy
from qiskit.circuit import AnnotatedOperation, ControlModifier, InverseModifier, PowerModifier
from qiskit.circuit import library as qk
from qiskit.quantum_info import SparsePauliOp, random_clifford, random_statevector, random_unitary

VERSIONS = (13, 15, 17, 18)


def dumped(circuit: QuantumCircuit, version: int = 18) -> bytes:
    file = io.BytesIO()
    qpy.dump(circuit, file, version=version)
    return file.getvalue()


def made() -> Iterator[tuple[str, object, int]]:
    body = QuantumCircuit(2, name="own", global_phase=0.3)
    body.h(0)
    body.cx(0, 1)
    own = body.to_gate()
    yield "own", own, 2
    yield "controlled", own.control(2, ctrl_state=1), 4
    yield "annotated", AnnotatedOperation(own, [InverseModifier(), ControlModifier(1, 0), PowerModifier(2)]), 3
    yield "fraction", AnnotatedOperation(qk.SGate(), [PowerModifier(0.5), ControlModifier(2, 2)]), 3
    yield "inside", AnnotatedOperation(AnnotatedOperation(own, [PowerModifier(-1)]), [ControlModifier(1)]), 3
    yield "open", qk.CRXGate(0.4, ctrl_state=0), 2
    yield "mcx", qk.MCXGate(4, ctrl_state=5), 5
    yield "mcp", qk.MCPhaseGate(0.7, 3), 4
    yield "matrix", qk.UnitaryGate(random_unitary(4, 1)), 2
    yield "controlled-matrix", qk.UnitaryGate(random_unitary(2, 1)).control(1, ctrl_state=0), 2
    yield "state", qk.StatePreparation(random_statevector(4, 1).data), 2
    yield "evolution", qk.PauliEvolutionGate(SparsePauliOp(["XX", "ZZ"], [0.4, 0.3]), time=0.7), 2
    yield "qft", qk.QFTGate(3), 3
    yield "permutation", qk.PermutationGate([2, 0, 1]), 3
    yield "diagonal", qk.DiagonalGate([1, 1j, -1, 1]), 2
    yield "clifford", random_clifford(2, seed=3), 2
    yield "rccx", qk.RCCXGate(), 3
