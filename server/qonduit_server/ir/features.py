# SPDX-License-Identifier: Apache-2.0
"""The features of a circuit on which the choice of a device depends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qonduit.execution.v1.task_pb2 import ProgramFeatures
from qonduit_server.ir.clifford import clifford_content
from qonduit_server.ir.requirements import requirements_of

if TYPE_CHECKING:
    from qiskit import QuantumCircuit

_PASSIVE: Final = frozenset(("barrier", "delay"))


def features_of(quantum: QuantumCircuit) -> ProgramFeatures:
    """Return the features of an IR circuit, without `index`."""
    features = ProgramFeatures(needs=requirements_of(quantum), obstacle=clifford_content(quantum).obstacle)
    features.needs.clifford = not features.obstacle
    _count(quantum, features)
    return features


def _count(block: QuantumCircuit, features: ProgramFeatures) -> None:
    for instruction in block.data:
        blocks = getattr(instruction.operation, "blocks", None)
        if blocks is not None:
            for inner in blocks:
                _count(inner, features)
        elif instruction.name not in _PASSIVE:
            features.operations += 1
            features.two_qubit_gates += len(instruction.qubits) > 1
