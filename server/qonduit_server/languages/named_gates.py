# SPDX-License-Identifier: Apache-2.0
"""Gates that a program defines and a noise model mentions: kept whole, under their own names."""

from __future__ import annotations

from collections.abc import Sequence

from qiskit.circuit import Gate, QuantumCircuit
from qiskit.circuit.library import GlobalPhaseGate

from qonduit_server.ir.controls import Step


def named(name: str, steps: Sequence[Step], qubits: int) -> list[Step]:
    """Return steps on places 0 to `qubits` - 1 as one gate of a name."""
    definition = QuantumCircuit(qubits)
    for gate, places in steps:
        if isinstance(gate, GlobalPhaseGate):
            definition.global_phase += gate.params[0]
        else:
            definition.append(gate, list(places))
    # With its parameters as its own, Qiskit binds the definition too.
    whole = Gate(name, qubits, list(definition.parameters))
    whole.definition = definition
    return [(whole, tuple(range(qubits)))]


def inlined(steps: Sequence[Step]) -> list[Step]:
    """Return steps without named gates, for modifiers: a modified gate is not the one that the model mentions."""
    if all(type(gate) is not Gate for gate, _ in steps):
        return list(steps)
    done: list[Step] = []
    for gate, places in steps:
        if type(gate) is not Gate:
            done.append((gate, places))
            continue
        definition = gate.definition
        own: list[Step] = [
            (each.operation, tuple([places[definition.find_bit(qubit).index] for qubit in each.qubits]))
            for each in definition.data
        ]
        if definition.global_phase:
            own.append((GlobalPhaseGate(definition.global_phase), ()))
        done += inlined(own)
    return done
