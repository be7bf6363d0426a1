# SPDX-License-Identifier: Apache-2.0
"""Convert tapes to programs in the simplest sufficient language, with the data to read their results."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from pennylane import BitFlip
from pennylane.ops import Conditional, MidMeasure

from qonduit.v1.deployment_pb2 import QuantumProgram
from qonduit_client.dilation import dilated
from qonduit_client.pennylane.pennylane_channels import kraus_operators, noise_statement
from qonduit_client.pennylane.pennylane_gates import (
    Dialect,
    Statement,
    is_channel,
    projected,
    statement,
    unitary_statement,
)

#: The registers: of the measured wires, of mid-circuit measurements, and of what is selected by its value.
MEASURED: Final = "c"
MID_CIRCUIT: Final = "mid"
SELECTED: Final = "selected"

_HEADERS: Final = {
    Dialect.QASM2: 'OPENQASM 2.0;\ninclude "qelib1.inc";',
    Dialect.QASM3: 'OPENQASM 3.0;\ninclude "stdgates.inc";',
    Dialect.BRAKET: 'OPENQASM 3.0;\ninclude "stdgates.inc";',
}


@dataclass
class Program:
    """The program of a tape's operations.

    Attributes:
        wires: the number of the tape's wires; qubit i is wire i, and qubits after them are helpers.
        exact: whether the result is a state, without shots.
        phase: by which the state must be multiplied as exp(i phase): global phases do not travel.
        selected: the values that the helper qubits must have, in their order, for a shot to count; None for a qubit
            that is traced out, in an exact program with channels.
        noisy: whether it has channels, also such that take no further qubits.
        mid_circuit: the mid-circuit measurements, and the bit of each.
        measured: the wires that are measured at the end, in the order of their bits.
        readout_prob: the probability that one of these bits is flipped.
    """

    wires: int
    exact: bool = False
    phase: float = 0.0
    selected: list[int | None] = field(default_factory=list)
    noisy: bool = False
    mid_circuit: dict[Any, int] = field(default_factory=dict)
    measured: list[int] = field(default_factory=list)
    readout_prob: float = 0.0
    _statements: list[Statement] = field(default_factory=list)

    @property
    def qubits(self) -> int:
        """The number of qubits, helpers included."""
        return self.wires + len(self.selected)

    @property
    def message(self) -> QuantumProgram:
        """The message for the server; a program needs at least one qubit."""
        statements = [*self._statements]
        if self.readout_prob:
            statements += [noise_statement(BitFlip(self.readout_prob, wire), [wire]) for wire in self.measured]
        dialect = max((each.dialect for each in statements), default=Dialect.QASM2)
        old = dialect is Dialect.QASM2
        lines = [_HEADERS[dialect], f"qreg q[{self.qubits}];" if old else f"qubit[{self.qubits}] q;"]
        sizes = {MEASURED: len(self.measured), MID_CIRCUIT: len(self.mid_circuit)}
        if self.measured or self.mid_circuit:
            sizes[SELECTED] = len(self.selected)
        for name, size in sizes.items():
            if size:
                lines.append(f"creg {name}[{size}];" if old else f"bit[{size}] {name};")
        lines += [each.text for each in statements]
        endings = {MEASURED: self.measured}
        if SELECTED in sizes:
            endings[SELECTED] = list(range(self.wires, self.qubits))
        for name, qubits in endings.items():
            for bit, qubit in enumerate(qubits):
                measured, kept = f"q[{qubit}]", f"{name}[{bit}]"
                lines.append(f"measure {measured} -> {kept};" if old else f"{kept} = measure {measured};")
        return QuantumProgram(
            quantum_circuit="\n".join(lines) + "\n", assembler_language=f"ASSEMBLER_LANGUAGE_{dialect.name}"
        )

    def add(self, op: Any) -> None:
        """Add an operation that `travels`, on wires 0 to `wires` - 1.

        Raises:
            DeviceError: a parameter is not a finite number.
        """
        if isinstance(op, MidMeasure):
            self._measure(op)
        elif isinstance(op, Conditional):
            converted = statement(op.base, op.base.wires.tolist())
            if converted is not None:
                text = f"if ({self._condition(op.meas_val)}) {{ {converted.text} }}"
                self._statements.append(Statement(text, max(converted.dialect, Dialect.QASM3)))
        elif (values := projected(op)) is not None:
            for wire, value in zip(op.wires.tolist(), values, strict=True):
                self._statements.append(Statement(f"cx q[{wire}],q[{self.qubits}];"))
                self.selected.append(value)
        elif is_channel(op):
            self._add_channel(op)
        else:
            if op.name == "GlobalPhase":
                self.phase -= float(op.parameters[0])
            converted = statement(op, op.wires.tolist())
            if converted is not None:
                self._statements.append(converted)

    def _add_channel(self, op: Any) -> None:
        self.noisy = True
        qubits = op.wires.tolist()
        if not self.exact:
            self._statements.append(noise_statement(op, qubits))
            return
        matrix, further = dilated(kraus_operators(op))
        qubits += range(self.qubits, self.qubits + further)
        self._statements.append(unitary_statement(matrix, qubits))
        self.selected += [None] * further

    def _measure(self, op: Any) -> None:
        wire = op.wires.tolist()[0]
        self._statements.append(
            Statement(f"{MID_CIRCUIT}[{len(self.mid_circuit)}] = measure q[{wire}];", Dialect.QASM3)
        )
        self.mid_circuit[op] = len(self.mid_circuit)
        if op.reset:
            self._statements.append(Statement(f"reset q[{wire}];"))

    def _condition(self, value: Any) -> str:
        """Return a condition that is true where PennyLane treats a measured value as true."""
        bits = [f"{MID_CIRCUIT}[{self.mid_circuit[each]}]" for each in value.measurements]
        branches = [branch for branch, outcome in value.branches.items() if outcome]
        if len(branches) == 2 ** len(bits):
            return "true"
        return (
            " || ".join(
                "(" + " && ".join(f"{bit} == {int(each)}" for bit, each in zip(bits, branch, strict=True)) + ")"
                for branch in branches
            )
            or "false"
        )


def program_of(tape: Any) -> Program:
    """Return a tape's operations as a program that measures nothing at its end yet.

    Args:
        tape: in operations that travel, on wires 0, 1, 2 ...
    """
    program = Program(len(tape.wires), exact=not tape.shots)
    for op in tape.operations:
        program.add(op)
    return program
