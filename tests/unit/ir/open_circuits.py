# SPDX-License-Identifier: Apache-2.0
"""Circuits with parameters, for tests."""

from __future__ import annotations

from qiskit.circuit import Gate, Parameter, QuantumCircuit

from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_server.ir.circuit import Circuit, ClassicalRegister
from qonduit_server.languages.registry import Languages

X, Y = Parameter("x"), Parameter("y")
QASM = 'OPENQASM 3.0; include "stdgates.inc"; input float x; input float y; qubit[2] q; bit[2] c; '


def read(body: str, names: frozenset[str] = frozenset()) -> Circuit:
    return Languages().read(
        AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3, QASM + body, b"", {}, gate_names=names, free=frozenset("xy")
    )


def circuit_of(quantum: QuantumCircuit) -> Circuit:
    names = tuple(sorted(each.name for each in quantum.parameters))
    register = ClassicalRegister("c", tuple(range(quantum.num_clbits)))
    return Circuit(quantum, (register,), parameters=names)


def nested() -> Circuit:
    """Return a circuit with parameters in gates, in definitions, in bodies and as global phases."""
    own = QuantumCircuit(1, name="own", global_phase=2 * X)
    own.ry(Y, 0)
    gate = Gate("own", 1, [X, Y])
    gate.definition = own
    quantum = QuantumCircuit(2, 1, global_phase=X)
    quantum.h(0)
    quantum.rx(X + Y, 0)
    quantum.append(gate, [1])
    quantum.append(gate.control(1), [0, 1])
    quantum.measure(0, 0)
    with quantum.if_test((quantum.clbits[0], True)):
        quantum.rz(X / Y, 1)
        quantum.append(gate, [1])
    return circuit_of(quantum)
