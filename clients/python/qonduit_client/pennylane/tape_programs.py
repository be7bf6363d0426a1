# SPDX-License-Identifier: Apache-2.0
"""Convert tapes to programs in the simplest sufficient language, with the data to read their results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from pennylane import BitFlip
from pennylane.ops import Conditional, MidMeasure

from qonduit.v1.deployment_pb2 import QuantumProgram
from qonduit_client.dilation import dilated
from qonduit_client.pennylane.pennylane_channels import kraus_operators, noise_statement
from qonduit_client.pennylane.pennylane_gates import (
    ANGLE,
    GATES,
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


#: Operations that became one statement with all of their parameters as angles, by identity.
Known: TypeAlias = dict[int, tuple[Any, Statement]]


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
        parameters: for each parameter of the tape's operations the place of its angle; None if it is no angle.
    """

    wires: int
    exact: bool = False
    phase: float = 0.0
    selected: list[int | None] = field(default_factory=list)
    noisy: bool = False
    mid_circuit: dict[Any, int] = field(default_factory=dict)
    measured: list[int] = field(default_factory=list)
    readout_prob: float = 0.0
    parameters: list[int | None] = field(default_factory=list)
    _statements: list[Statement] = field(default_factory=list)
    _num_angles: int = 0
    _known: Known = field(default_factory=dict)

    @property
    def qubits(self) -> int:
        """The number of qubits, helpers included."""
        return self.wires + len(self.selected)

    @property
    def angles(self) -> list[float]:
        """The angles of all gates, in order."""
        return [angle for each in self._statements for angle in each.angles]

    @property
    def message(self) -> QuantumProgram:
        """The message for the server; a program needs at least one qubit."""
        return self.with_inputs(())

    @property
    def outline(self) -> str:
        """The text without the values of angles, which is equal for programs that differ in these only."""
        dialect, text = self._text(Dialect.QASM2, ())
        return f"{dialect.name}\n{text}"

    def with_inputs(self, free: Sequence[int]) -> QuantumProgram:
        """Return the message with inputs instead of some angles: `input_name(place)` for the angle at a place."""
        declared = [f"input float[64] {input_name(place)};" for place in free]
        dialect, text = self._text(Dialect.QASM3 if free else Dialect.QASM2, declared)
        values = [repr(angle) for angle in self.angles]
        for place in free:
            values[place] = input_name(place)
        first, *rest = text.split(ANGLE)
        filled = "".join(value + part for value, part in zip(values, rest, strict=True))
        return QuantumProgram(quantum_circuit=first + filled, assembler_language=f"ASSEMBLER_LANGUAGE_{dialect.name}")

    def _text(self, least: Dialect, declared: Sequence[str]) -> tuple[Dialect, str]:
        """Return the text with `ANGLE` for each angle, and its language."""
        statements = [*self._statements]
        if self.readout_prob:
            statements += [noise_statement(BitFlip(self.readout_prob, wire), [wire]) for wire in self.measured]
        dialect = max((each.dialect for each in statements), default=least)
        dialect = max(dialect, least)
        old = dialect is Dialect.QASM2
        lines = [_HEADERS[dialect], *declared, f"qreg q[{self.qubits}];" if old else f"qubit[{self.qubits}] q;"]
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
        return dialect, "\n".join(lines) + "\n"

    def add(self, op: Any) -> None:
        """Add an operation that `travels`, on wires 0 to `wires` - 1.

        Raises:
            DeviceError: a parameter is not a finite number.
        """
        before, statements = self._num_angles, len(self._statements)
        self._add(op)
        own = range(before, self._num_angles)
        number = len(op.parameters)
        self.parameters += own if len(own) == number else [None] * number
        simple = len(own) == number and op.name in GATES
        if simple and len(self._statements) == statements + 1:
            self._known[id(op)] = op, self._statements[-1]

    def add_known(self, op: Any) -> bool:
        """Add an operation that was added to a program with the same `_known`; return whether it was."""
        known = self._known.get(id(op))
        if known is None:
            return False
        added = known[1]
        self.parameters += range(self._num_angles, self._num_angles + len(added.angles))
        self._append(added)
        return True

    def _add(self, op: Any) -> None:
        if isinstance(op, MidMeasure):
            self._measure(op)
        elif isinstance(op, Conditional):
            converted = statement(op.base, op.base.wires.tolist())
            if converted is not None:
                text = f"if ({self._condition(op.meas_val)}) {{ {converted.text} }}"
                self._append(Statement(text, max(converted.dialect, Dialect.QASM3), converted.angles))
        elif (values := projected(op)) is not None:
            for wire, value in zip(op.wires.tolist(), values, strict=True):
                self._append(Statement(f"cx q[{wire}],q[{self.qubits}];"))
                self.selected.append(value)
        elif is_channel(op):
            self._add_channel(op)
        else:
            if op.name == "GlobalPhase":
                self.phase -= float(op.parameters[0])
            converted = statement(op, op.wires.tolist())
            if converted is not None:
                self._append(converted)

    def _append(self, added: Statement) -> None:
        self._statements.append(added)
        self._num_angles += len(added.angles)

    def _add_channel(self, op: Any) -> None:
        self.noisy = True
        qubits = op.wires.tolist()
        if not self.exact:
            self._append(noise_statement(op, qubits))
            return
        matrix, further = dilated(kraus_operators(op))
        qubits += range(self.qubits, self.qubits + further)
        self._append(unitary_statement(matrix, qubits))
        self.selected += [None] * further

    def _measure(self, op: Any) -> None:
        wire = op.wires.tolist()[0]
        self._append(Statement(f"{MID_CIRCUIT}[{len(self.mid_circuit)}] = measure q[{wire}];", Dialect.QASM3))
        self.mid_circuit[op] = len(self.mid_circuit)
        if op.reset:
            self._append(Statement(f"reset q[{wire}];"))

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


def input_name(place: int) -> str:
    """Return the name of the input for the angle at a place."""
    return f"a{place}"


def program_of(tape: Any, known: Known | None = None) -> Program:
    """Return a tape's operations as a program that measures nothing at its end yet.

    Args:
        tape: in operations that travel, on wires 0, 1, 2 ...
        known: is filled in and used, since tapes of one gradient share most operations.
    """
    program = Program(len(tape.wires), exact=not tape.shots, _known={} if known is None else known)
    for op in tape.operations:
        if not program.add_known(op):
            program.add(op)
    return program
