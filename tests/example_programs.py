# SPDX-License-Identifier: Apache-2.0
"""One small program in every language, all with the same meaning, and their expected results."""

from __future__ import annotations

import io
import json
import math
from typing import Any, Final

from qonduit.v1.provider_pb2 import AssemblerLanguage

#: The probabilities of their outcomes: in register c, bit 1 depends on bit 0 through a mid-circuit measurement.
THETA: Final = 0.7
EXPECTED: Final = {"0x0": math.cos(THETA / 2) ** 2, "0x3": math.sin(THETA / 2) ** 2}
REGISTERS: Final = [("c", 2)]

QASM2: Final = """OPENQASM 2.0;
include "qelib1.inc";
qreg q[2];
creg c[2];
ry(0.7) q[0];
cx q[0], q[1];
measure q -> c;
"""
QASM3: Final = """OPENQASM 3.0;
include "stdgates.inc";
input float theta;
qubit[2] q;
bit[2] c;
ry(theta) q[0];
c[0] = measure q[0];
if (c[0]) { x q[1]; }
c[1] = measure q[1];
"""
BRAKET: Final = """OPENQASM 3.0;
input float theta;
bit[2] c;
qubit[2] q;
ry(theta) q[0];
cnot q[0], q[1];
#pragma braket unitary([[0, 1], [1, 0]]) q[1]
x q[1];
c = measure q;
"""
QUIL: Final = """DECLARE c BIT[2]
DECLARE theta REAL
RY(theta) 0
MEASURE 0 c[0]
JUMP-UNLESS @end c[0]
X 1
LABEL @end
MEASURE 1 c[1]
"""
_LINE: Final = [{"cirq_type": "LineQubit", "x": 0}, {"cirq_type": "LineQubit", "x": 1}]


def _operation(gate: dict[str, Any], *qubits: int) -> dict[str, Any]:
    return {"cirq_type": "GateOperation", "gate": gate, "qubits": [_LINE[qubit] for qubit in qubits]}


CIRQ: Final = json.dumps(
    {
        "cirq_type": "Circuit",
        "moments": [
            {"cirq_type": "Moment", "operations": [operation]}
            for operation in (
                _operation({"cirq_type": "Ry", "rads": {"cirq_type": "sympy.Symbol", "name": "theta"}}, 0),
                _operation({"cirq_type": "CXPowGate", "exponent": 1.0, "global_shift": 0.0}, 0, 1),
                _operation({"cirq_type": "MeasurementGate", "num_qubits": 2, "key": "c", "invert_mask": []}, 0, 1),
            )
        ],
    }
)
#: IonQ's circuits measure all qubits, into a register that the program does not name.
IONQ: Final = json.dumps(
    {
        "qubits": 2,
        "circuit": [
            {"gate": "ry", "target": 0, "rotation": THETA},
            {"gate": "cnot", "control": 0, "target": 1},
        ],
    }
)


def qpy() -> bytes:
    """Return the program as QPY, written by Qiskit."""
    from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister
    from qiskit import qpy as form
    from qiskit.circuit import Parameter

    circuit = QuantumCircuit(QuantumRegister(2, "q"), ClassicalRegister(2, "c"))
    circuit.ry(Parameter("theta"), 0)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(1)
    circuit.measure(1, 1)
    out = io.BytesIO()
    form.dump(circuit, out)
    return out.getvalue()


def programs() -> dict[AssemblerLanguage, str | bytes]:
    """Return all programs, by language."""
    language = AssemblerLanguage
    return {
        language.ASSEMBLER_LANGUAGE_QASM2: QASM2,
        language.ASSEMBLER_LANGUAGE_QASM3: QASM3,
        language.ASSEMBLER_LANGUAGE_QISKIT: qpy(),
        language.ASSEMBLER_LANGUAGE_BRAKET: BRAKET,
        language.ASSEMBLER_LANGUAGE_CIRQ: CIRQ,
        language.ASSEMBLER_LANGUAGE_QUIL: QUIL,
        language.ASSEMBLER_LANGUAGE_QRISP: QASM2,
        language.ASSEMBLER_LANGUAGE_IONQ: IONQ,
    }


def registers_of(language: AssemblerLanguage) -> list[tuple[str, int]]:
    """Return names and sizes of the classical registers of the program in a language."""
    return [("meas", 2)] if language == AssemblerLanguage.ASSEMBLER_LANGUAGE_IONQ else REGISTERS
